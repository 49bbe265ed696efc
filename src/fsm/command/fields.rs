//! The fields of commands: as a client gave them, as they stand in an entry, and their bytes.
//!
//! Every length and count is compared with what is left before anything is taken; nothing is allocated. Keys and values
//! are borrowed from the entry; a list is checked when it is taken, so walking it cannot fail.

use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::name::Database;
use crate::limits::ENTRY_CONDITIONS_MAX;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;

/// A kind of field.
pub(in crate::fsm) trait Field {
    /// As a client gave it.
    type Owned;
    /// As it stands in an entry.
    type Borrowed<'a>;

    /// Bytes that [`Field::put`] appends.
    fn len(owned: &Self::Owned) -> usize;

    /// Appends the field.
    ///
    /// # Errors
    /// It is larger than any entry may hold.
    fn put(owned: &Self::Owned, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Takes the field off the front.
    ///
    /// # Errors
    /// The bytes are not those of such a field.
    fn take<'a>(reader: &mut Reader<'a>) -> Result<Self::Borrowed<'a>, PayloadError>;

    /// Shows every key of the field, in its order.
    fn each_key<'a>(_borrowed: &Self::Borrowed<'a>, _visit: &mut dyn FnMut(&'a [u8])) {}

    /// A copy that outlives the entry.
    #[cfg(test)]
    fn copied(borrowed: Self::Borrowed<'_>) -> Self::Owned;
}

/// A field of one byte, which counts its meanings from 0.
pub(super) trait OneByte: Copy + Eq + 'static {
    /// Its name in errors.
    const FIELD: &'static str;
    /// What 0, 1, .. mean. The order never changes; a new meaning goes behind the others.
    const MEANINGS: &'static [Self];
}

/// Its number.
impl Field for Database {
    type Owned = Database;
    type Borrowed<'a> = Database;

    fn len(_: &Database) -> usize {
        1
    }

    fn put(owned: &Database, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(owned.number());
        Ok(())
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<Database, PayloadError> {
        let found = reader.u8("database")?;
        Database::new(found).ok_or(PayloadError::Field { field: "database", found })
    }

    #[cfg(test)]
    fn copied(borrowed: Database) -> Database {
        borrowed
    }
}

/// A length (4) of at most `KEY_BYTES_MAX`, and as many bytes.
pub(in crate::fsm) struct KeyField;

/// A length (4) of at most `VALUE_BYTES_MAX`, and as many bytes.
pub(super) struct ValueField;

/// A count (4), then a key each.
pub(in crate::fsm) struct KeysField;

/// A count (4), then a key and a value each.
pub(super) struct PairsField;

impl<T: OneByte> Field for T {
    type Owned = T;
    type Borrowed<'a> = T;

    fn len(_: &T) -> usize {
        1
    }

    fn put(owned: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let place = T::MEANINGS.iter().position(|meaning| meaning == owned).expect("every meaning is listed");
        out.push(u8::try_from(place).expect("a byte has 256 meanings at most"));
        Ok(())
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<T, PayloadError> {
        let found = reader.u8(T::FIELD)?;
        T::MEANINGS.get(usize::from(found)).copied().ok_or(PayloadError::Field { field: T::FIELD, found })
    }

    #[cfg(test)]
    fn copied(borrowed: T) -> T {
        borrowed
    }
}
/// Numbers are big-endian, signed ones in two's complement.
macro_rules! number_fields {
    ($($number:ident),*) => {$(
        impl Field for $number {
            type Owned = $number;
            type Borrowed<'a> = $number;

            fn len(_: &$number) -> usize {
                size_of::<$number>()
            }

            fn put(owned: &$number, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                out.extend_from_slice(&owned.to_be_bytes());
                Ok(())
            }

            fn take<'a>(reader: &mut Reader<'a>) -> Result<$number, PayloadError> {
                Ok(reader.array("number").map($number::from_be_bytes)?)
            }

            #[cfg(test)]
            fn copied(borrowed: $number) -> $number {
                borrowed
            }
        }
    )*};
}

number_fields!(u32, i64);

impl Field for KeyField {
    type Owned = Bytes;
    type Borrowed<'a> = &'a [u8];

    fn len(owned: &Bytes) -> usize {
        LEN_LEN + owned.len()
    }

    fn put(owned: &Bytes, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if owned.len() > KEY_BYTES_MAX {
            return Err(EncodeError::KeyLong { found: owned.len() });
        }
        put_text(owned, out)
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], PayloadError> {
        take_text(reader, "key", KEY_BYTES_MAX)
    }

    fn each_key<'a>(key: &&'a [u8], visit: &mut dyn FnMut(&'a [u8])) {
        visit(key);
    }

    #[cfg(test)]
    fn copied(borrowed: &[u8]) -> Bytes {
        Bytes::copy_from_slice(borrowed)
    }
}

impl Field for ValueField {
    type Owned = Bytes;
    type Borrowed<'a> = &'a [u8];

    fn len(owned: &Bytes) -> usize {
        LEN_LEN + owned.len()
    }

    fn put(owned: &Bytes, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if owned.len() > VALUE_BYTES_MAX {
            return Err(EncodeError::ValueLong { found: owned.len() });
        }
        put_text(owned, out)
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], PayloadError> {
        take_text(reader, "value", VALUE_BYTES_MAX)
    }

    #[cfg(test)]
    fn copied(borrowed: &[u8]) -> Bytes {
        Bytes::copy_from_slice(borrowed)
    }
}

impl Field for KeysField {
    type Owned = Vec<Bytes>;
    type Borrowed<'a> = KeyList<'a>;

    fn len(owned: &Vec<Bytes>) -> usize {
        LEN_LEN + owned.iter().map(KeyField::len).sum::<usize>()
    }

    fn put(owned: &Vec<Bytes>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_count(owned.len(), out)?;
        owned.iter().try_for_each(|key| KeyField::put(key, out))
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<KeyList<'a>, PayloadError> {
        let left = reader.count(LEN_LEN, "count of keys")?;
        let start = reader.rest();
        for _ in 0..left {
            KeyField::take(reader)?;
        }
        Ok(KeyList { left, bytes: &start[..start.len() - reader.remaining()] })
    }

    fn each_key<'a>(keys: &KeyList<'a>, visit: &mut dyn FnMut(&'a [u8])) {
        keys.for_each(visit);
    }

    #[cfg(test)]
    fn copied(borrowed: KeyList<'_>) -> Vec<Bytes> {
        borrowed.map(Bytes::copy_from_slice).collect()
    }
}

impl Field for PairsField {
    type Owned = Vec<(Bytes, Bytes)>;
    type Borrowed<'a> = PairList<'a>;

    fn len(owned: &Vec<(Bytes, Bytes)>) -> usize {
        LEN_LEN + owned.iter().map(|(key, value)| KeyField::len(key) + ValueField::len(value)).sum::<usize>()
    }

    fn put(owned: &Vec<(Bytes, Bytes)>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_count(owned.len(), out)?;
        owned.iter().try_for_each(|(key, value)| {
            KeyField::put(key, out)?;
            ValueField::put(value, out)
        })
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<PairList<'a>, PayloadError> {
        let left = reader.count(2 * LEN_LEN, "count of pairs")?;
        let start = reader.rest();
        for _ in 0..left {
            KeyField::take(reader)?;
            ValueField::take(reader)?;
        }
        Ok(PairList { left, bytes: &start[..start.len() - reader.remaining()] })
    }

    fn each_key<'a>(pairs: &PairList<'a>, visit: &mut dyn FnMut(&'a [u8])) {
        pairs.for_each(|(key, _)| visit(key));
    }

    #[cfg(test)]
    fn copied(borrowed: PairList<'_>) -> Vec<(Bytes, Bytes)> {
        borrowed.map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))).collect()
    }
}

/// A checked list of keys; iterate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyList<'a> {
    left: u32,
    bytes: &'a [u8],
}

/// A checked list of keys and values; iterate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairList<'a> {
    left: u32,
    bytes: &'a [u8],
}

impl<'a> Iterator for KeyList<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(self.bytes);
        let key = KeyField::take(&mut reader).expect("Payload::decode checked every key");
        self.bytes = reader.rest();
        Some(key)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for KeyList<'_> {}

impl<'a> Iterator for PairList<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(self.bytes);
        let key = KeyField::take(&mut reader).expect("Payload::decode checked every key");
        let value = ValueField::take(&mut reader).expect("Payload::decode checked every value");
        self.bytes = reader.rest();
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for PairList<'_> {}

fn take_text<'a>(reader: &mut Reader<'a>, field: &'static str, max: usize) -> Result<&'a [u8], PayloadError> {
    let found = reader.u32(field)? as usize;
    if found > max {
        return Err(PayloadError::Long { field, found, max });
    }
    Ok(reader.slice(found, field)?)
}

fn put_text(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_count(bytes.len(), out)?;
    out.extend_from_slice(bytes);
    Ok(())
}

pub(super) fn put_count(count: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let short = u32::try_from(count).map_err(|_| EncodeError::PayloadLong { found: count })?;
    out.extend_from_slice(&short.to_be_bytes());
    Ok(())
}

/// Bytes of a length or count.
pub(super) const LEN_LEN: usize = 4;

/// Why bytes are not a payload: a bug, or an entry that another version made. Above the cutover apply halts (MALFORMED-HALT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A kind byte that this version does not know.
    #[error("payload has kind {kind:#04x}")]
    Kind {
        /// The byte.
        kind: u8,
    },
    /// The bytes end inside a field, or go on behind the last command.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A batch without a command.
    #[error("batch without a command")]
    Empty,
    /// More conditions than a batch may have.
    #[error("{found} conditions, at most {ENTRY_CONDITIONS_MAX}")]
    ConditionsMany {
        /// How many.
        found: u32,
    },
    /// Conditions that are not ascending, or one that stands twice.
    #[error("conditions are not in ascending order")]
    ConditionsUnsorted,
    /// A command, or a version of one, that this program does not know.
    #[error("command {tag} of version {version} is unknown")]
    Command {
        /// Which command.
        tag: u8,
        /// Which version of it.
        version: u8,
    },
    /// A one-byte field with a value that has no meaning.
    #[error("field {field} has value {found}")]
    Field {
        /// The field's name in the drawing.
        field: &'static str,
        /// The byte.
        found: u8,
    },
    /// A key or value above its bound.
    #[error("{field} of {found} bytes, at most {max}")]
    Long {
        /// `key` or `value`.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The bound.
        max: usize,
    },
}

/// Why commands cannot be one entry. The caller's to answer: nothing was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// No command: an entry has at least one.
    #[error("no command")]
    Empty,
    /// A key above `KEY_BYTES_MAX`.
    #[error("key of {found} bytes, at most {KEY_BYTES_MAX}")]
    KeyLong {
        /// Bytes of the key.
        found: usize,
    },
    /// A value above `VALUE_BYTES_MAX`.
    #[error("value of {found} bytes, at most {VALUE_BYTES_MAX}")]
    ValueLong {
        /// Bytes of the value.
        found: usize,
    },
    /// More conditions than a batch may have.
    #[error("{found} conditions, at most {ENTRY_CONDITIONS_MAX}")]
    ConditionsMany {
        /// How many.
        found: usize,
    },
    /// More sealed writes than the nonces of values can number.
    #[error("{found} writes, at most {ENTRY_WRITES_MAX}")]
    WritesMany {
        /// How many.
        found: usize,
    },
    /// More bytes than an entry holds.
    #[error("payload of {found} bytes, at most {PAYLOAD_BYTES_MAX}")]
    PayloadLong {
        /// Bytes of the payload.
        found: usize,
    },
}
