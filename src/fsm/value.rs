//! A user's value and its row in the store.
//!
//! ```text
//! row     off  size  field
//!         0    9     header
//!         9    N     body in the clear, or an envelope around it, as the header says
//!
//! header  0    1     flags: bit 0 tombstone (always 0 here: a deleted key has no row), bits 1..2 state of the body
//!                    (0 clear, 1 sealed, others refused), the rest 0
//!         1    8     expire_at_ms, u64 LITTLE-endian, ms since 1970; 0 = never
//!
//! body    0    1     type: 1 = string
//!         1    8     last_change_index, u64 big-endian, never 0
//!         9    4     length of the user's key, at most KEY_BYTES_MAX
//!         13   K     the user's key
//!         13+K N     the bytes, at most VALUE_BYTES_MAX
//! ```
//!
//! A row is found by its name, which hides the key; so the key is in the body, and is compared once that is opened.
//!
//! The header is elastickv's, byte for byte, and is in the AAD of a sealed body. This file seals and opens nothing.

use bytes::Bytes;

use crate::crypto::envelope::ENVELOPE_OVERHEAD;
use crate::ids::Index;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;

/// Bytes of a row's header.
pub const HEADER_LEN: usize = 9;
/// Bytes of a body in front of the key.
pub const BODY_PREFIX_LEN: usize = 13;

/// Whether a row's body is an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// The body follows as it is.
    Clear,
    /// An envelope follows.
    Sealed,
}

/// The first 9 bytes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub state: BodyState,
    /// Ms since 1970 from which on the key is gone; 0 = never.
    pub expire_at_ms: u64,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Bytes.
    String,
}

/// One value in plaintext. `Debug` shows its length only (NO-SECRETS-OUT).
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// What the bytes are.
    pub kind: ValueKind,
    /// The entry that changed value or expiry last; never 0. WATCH compares it.
    pub last_change: Index,
    /// Ms since 1970 from which on the key is gone; 0 = never.
    pub expire_at_ms: u64,
    /// The value's own bytes.
    pub bytes: Bytes,
}

/// One value as it lies in a table or in an opened body. `Debug` shows its length only (NO-SECRETS-OUT).
#[derive(Clone, Copy)]
pub struct ValueRef<'a> {
    /// What the bytes are.
    pub kind: ValueKind,
    /// The entry that changed value or expiry last; never 0.
    pub last_change: Index,
    /// Ms since 1970 from which on the key is gone; 0 = never.
    pub expire_at_ms: u64,
    /// The value's own bytes.
    pub bytes: &'a [u8],
}

/// Why a row or body is not one of ours: damage, or another program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Shorter than a header.
    #[error("row of {found} bytes is shorter than its header of {HEADER_LEN}")]
    RowShort {
        /// Bytes of the row.
        found: usize,
    },
    /// A tombstone, an unknown state or a bit that is kept for later.
    #[error("row has flags {flags:#04x}")]
    Flags {
        /// The byte.
        flags: u8,
    },
    /// Shorter than type and index.
    #[error("body of {found} bytes is shorter than what it must hold, or names a longer key than there can be")]
    BodyShort {
        /// Bytes of the body.
        found: usize,
    },
    /// The row of one key holds another: rows were moved, or somebody who knows the name key made two keys of one name. Damage
    /// where names are secret.
    #[error("row holds another key than the one that it was found by")]
    OtherKey,
    /// A value that no command makes: it could not be written anew.
    #[error("value of {found} bytes, at most {VALUE_BYTES_MAX}")]
    ValueLong {
        /// Bytes of the value.
        found: usize,
    },
    /// A type that this version does not know.
    #[error("body has type {kind}")]
    Kind {
        /// The byte.
        kind: u8,
    },
    /// Index 0 stands for "no such key".
    #[error("body has last change index 0")]
    NoChangeIndex,
}

impl Header {
    /// The 9 bytes.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = match self.state {
            BodyState::Clear => FLAGS_CLEAR,
            BodyState::Sealed => FLAGS_SEALED,
        };
        bytes[1..].copy_from_slice(&self.expire_at_ms.to_le_bytes());
        bytes
    }

    /// The header of `row`, and what follows it.
    ///
    /// # Errors
    /// [`ValueError::RowShort`], [`ValueError::Flags`].
    pub fn split(row: &[u8]) -> Result<(Header, &[u8]), ValueError> {
        let Some((header, body)) = row.split_first_chunk::<HEADER_LEN>() else {
            return Err(ValueError::RowShort { found: row.len() });
        };
        let [flags, expire @ ..] = *header;
        let state = match flags {
            FLAGS_CLEAR => BodyState::Clear,
            FLAGS_SEALED => BodyState::Sealed,
            _ => return Err(ValueError::Flags { flags }),
        };
        Ok((Header { state, expire_at_ms: u64::from_le_bytes(expire) }, body))
    }

    /// Whether the key is gone at `now_ms` (the deadline itself is past).
    #[must_use]
    pub fn is_past_due(self, now_ms: u64) -> bool {
        is_past_due(self.expire_at_ms, now_ms)
    }
}

impl Value {
    /// Length of its sealed row. Where a value was read from the base its bytes are a piece of that row, and hold all of it.
    #[must_use]
    pub fn row_len(&self, key: &[u8]) -> usize {
        HEADER_LEN + ENVELOPE_OVERHEAD + self.borrowed().body_len(key)
    }

    /// The user's key and the value in an opened (or clear) body; both are slices of `body`, not copies.
    ///
    /// # Errors
    /// [`ValueError`] if it is not a body of this version.
    pub fn decode_body(header: Header, body: Bytes) -> Result<(Bytes, Value), ValueError> {
        let (key, value) = ValueRef::decode_body(header, &body)?;
        let ValueRef { kind, last_change, expire_at_ms, bytes } = value;
        Ok((body.slice_ref(key), Value { kind, last_change, expire_at_ms, bytes: body.slice_ref(bytes) }))
    }

    /// The same value, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> ValueRef<'_> {
        let Value { kind, last_change, expire_at_ms, bytes } = self;
        ValueRef { kind: *kind, last_change: *last_change, expire_at_ms: *expire_at_ms, bytes }
    }

    #[cfg(test)]
    pub(crate) fn encode_clear_row(&self, key: &[u8]) -> Vec<u8> {
        let mut row = self.borrowed().header(BodyState::Clear).encode().to_vec();
        self.borrowed().encode_body(key, &mut row);
        row
    }

    /// Whether the key is gone at `now_ms` (the deadline itself is past).
    #[must_use]
    pub fn is_past_due(&self, now_ms: u64) -> bool {
        is_past_due(self.expire_at_ms, now_ms)
    }
}

impl<'a> ValueRef<'a> {
    /// The user's key and the value in an opened (or clear) body.
    ///
    /// # Errors
    /// [`ValueError`] if it is not a body of this version.
    pub fn decode_body(header: Header, body: &'a [u8]) -> Result<(&'a [u8], ValueRef<'a>), ValueError> {
        let short = ValueError::BodyShort { found: body.len() };
        let (prefix, rest) = body.split_first_chunk::<BODY_PREFIX_LEN>().ok_or(short)?;
        let [kind, index @ .., k0, k1, k2, k3] = *prefix;
        let key_len = u32::from_be_bytes([k0, k1, k2, k3]) as usize;
        if key_len > KEY_BYTES_MAX.min(rest.len()) {
            return Err(short);
        }
        let kind = match kind {
            KIND_STRING => ValueKind::String,
            _ => return Err(ValueError::Kind { kind }),
        };
        let last_change = Index(u64::from_be_bytes(index));
        if last_change == Index(0) {
            return Err(ValueError::NoChangeIndex);
        }
        let (key, bytes) = rest.split_at(key_len);
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(ValueError::ValueLong { found: bytes.len() });
        }
        Ok((key, ValueRef { kind, last_change, expire_at_ms: header.expire_at_ms, bytes }))
    }

    /// The header that this value's row gets.
    #[must_use]
    pub fn header(self, state: BodyState) -> Header {
        Header { state, expire_at_ms: self.expire_at_ms }
    }

    /// Length of what [`ValueRef::encode_body`] appends.
    #[must_use]
    pub fn body_len(self, key: &[u8]) -> usize {
        BODY_PREFIX_LEN + key.len() + self.bytes.len()
    }

    /// Appends the body of this value under the user's `key`: what a sealed row holds inside its envelope.
    ///
    /// # Panics
    /// If the key is longer than `KEY_BYTES_MAX`.
    pub fn encode_body(self, key: &[u8], out: &mut Vec<u8>) {
        assert!(key.len() <= KEY_BYTES_MAX, "a longer key is refused before it gets into an entry");
        debug_assert_ne!(self.last_change, Index(0), "index 0 means no such key");
        out.push(match self.kind {
            ValueKind::String => KIND_STRING,
        });
        out.extend_from_slice(&self.last_change.0.to_be_bytes());
        out.extend_from_slice(&u32::try_from(key.len()).expect("at most KEY_BYTES_MAX").to_be_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(self.bytes);
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_value(self) -> Value {
        let ValueRef { kind, last_change, expire_at_ms, bytes } = self;
        Value { kind, last_change, expire_at_ms, bytes: Bytes::copy_from_slice(bytes) }
    }

    /// Whether the key is gone at `now_ms` (the deadline itself is past).
    #[must_use]
    pub fn is_past_due(self, now_ms: u64) -> bool {
        is_past_due(self.expire_at_ms, now_ms)
    }
}

debug_fields!(self: Value {
    kind: self.kind,
    last_change: self.last_change,
    expire_at_ms: self.expire_at_ms,
    len: self.bytes.len(),
});

debug_fields!(self: ValueRef<'_> {
    kind: self.kind,
    last_change: self.last_change,
    expire_at_ms: self.expire_at_ms,
    len: self.bytes.len(),
});

fn is_past_due(expire_at_ms: u64, now_ms: u64) -> bool {
    expire_at_ms != 0 && expire_at_ms <= now_ms
}

const FLAGS_CLEAR: u8 = 0b000;
const FLAGS_SEALED: u8 = 0b010;
const KIND_STRING: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> Value {
        Value {
            kind: ValueKind::String,
            last_change: Index(0x0102),
            expire_at_ms: 0x1122_3344_5566_7788,
            bytes: Bytes::from_static(b"abc"),
        }
    }

    #[test]
    fn golden_row_is_what_the_drawing_says() {
        let clear = value().encode_clear_row(b"key");
        assert_eq!(hex::encode(&clear), "008877665544332211010000000000000102000000036b6579616263");
        let sealed = value().borrowed().header(BodyState::Sealed).encode();
        assert_eq!(hex::encode(sealed), "028877665544332211");
    }

    #[test]
    fn a_row_decodes_to_what_was_encoded() {
        let row = value().encode_clear_row(b"key");
        let (header, body) = Header::split(&row).unwrap();
        assert_eq!(header.state, BodyState::Clear);
        let (key, found) = Value::decode_body(header, Bytes::copy_from_slice(body)).unwrap();
        assert_eq!((&key[..], found), (&b"key"[..], value()));
    }

    #[test]
    fn a_row_with_any_unknown_bit_is_refused() {
        for flags in 0..=255_u8 {
            let mut row = value().encode_clear_row(b"key");
            row[0] = flags;
            match Header::split(&row) {
                Ok((header, _)) => {
                    assert!(matches!((flags, header.state), (0, BodyState::Clear) | (2, BodyState::Sealed)))
                }
                Err(error) => assert_eq!(error, ValueError::Flags { flags }),
            }
        }
    }

    #[test]
    fn a_short_or_strange_body_is_refused() {
        let header = value().borrowed().header(BodyState::Clear);
        let row = value().encode_clear_row(b"key");
        for len in 0..HEADER_LEN {
            assert_eq!(Header::split(&row[..len]), Err(ValueError::RowShort { found: len }));
        }
        for len in 0..BODY_PREFIX_LEN + 3 {
            let body = Bytes::copy_from_slice(&row[HEADER_LEN..HEADER_LEN + len]);
            assert_eq!(Value::decode_body(header, body), Err(ValueError::BodyShort { found: len }));
        }
        let strange = Bytes::from_static(b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0x");
        assert_eq!(Value::decode_body(header, strange), Err(ValueError::Kind { kind: 2 }));
        for key_len in [KEY_BYTES_MAX + 1, 1 << 31, 15] {
            let mut body = value().encode_clear_row(b"key").split_off(HEADER_LEN);
            body[9..13].copy_from_slice(&u32::try_from(key_len).unwrap().to_be_bytes());
            body.resize(if key_len > 15 { BODY_PREFIX_LEN + KEY_BYTES_MAX + 1 } else { body.len() }, 0);
            let found = body.len();
            assert_eq!(Value::decode_body(header, body.into()), Err(ValueError::BodyShort { found }), "{key_len}");
        }
        let unborn = Bytes::from_static(b"\x01\0\0\0\0\0\0\0\0\0\0\0\0x");
        assert_eq!(Value::decode_body(header, unborn), Err(ValueError::NoChangeIndex));
        for found in [VALUE_BYTES_MAX, VALUE_BYTES_MAX + 1] {
            let mut long = value().encode_clear_row(b"key").split_off(HEADER_LEN);
            long.resize(BODY_PREFIX_LEN + 3 + found, 0);
            let decoded = Value::decode_body(header, long.into()).map(|(_, value)| value.bytes.len());
            assert_eq!(
                decoded,
                if found == VALUE_BYTES_MAX { Ok(found) } else { Err(ValueError::ValueLong { found }) }
            );
        }
    }

    #[test]
    fn debug_never_shows_the_bytes() {
        assert!(!format!("{:?}", value()).contains("abc"));
    }
}
