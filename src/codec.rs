//! The one reader of formats: every read names its field, and no length is believed before it was compared with what is left.

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a field, or a count or a length promises more than there is.
    #[error("ends inside {field}: {need} bytes wanted, {left} left")]
    Truncated {
        /// The field that is not whole.
        field: &'static str,
        /// Bytes that it takes at least.
        need: u64,
        /// Bytes that are left for it.
        left: usize,
    },
    /// A field holds what no writer of this version puts there.
    #[error("{field} holds what is never written")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// Bytes behind the last field.
    #[error("has {bytes} byte{} too many at its end", if *bytes == 1 { "" } else { "s" })]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Written by a program with another format.
    #[error("has version {found}, this program reads {expected}")]
    Version {
        /// In the record.
        found: u32,
        /// What is read here.
        expected: u32,
    },
}

/// Reads big-endian fields from the front of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated(field, N as u64))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn slice(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.truncated(field, len as u64))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, CodecError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, CodecError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, CodecError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// One byte that is 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, CodecError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Field { field }),
        }
    }

    /// A count (4 bytes) of items that take at least `item_len_min` bytes each: there is space for them behind it.
    pub(crate) fn count(&mut self, item_len_min: usize, field: &'static str) -> Result<u32, CodecError> {
        let count = self.u32(field)?;
        let need = u64::from(count) * item_len_min as u64;
        if need > self.rest.len() as u64 { Err(self.truncated(field, need)) } else { Ok(count) }
    }

    /// The bytes that were not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing may follow the last field.
    pub(crate) fn end(self) -> Result<(), CodecError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(CodecError::Trailing { bytes }),
        }
    }

    fn truncated(&self, field: &'static str, need: u64) -> CodecError {
        CodecError::Truncated { field, need, left: self.rest.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_big_endian_and_nothing_may_follow_the_last() {
        let bytes: Vec<u8> = (0..=27).collect();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8("a"), Ok(0));
        assert_eq!(reader.u16("b"), Ok(0x0102));
        assert_eq!(reader.u32("c"), Ok(0x0304_0506));
        assert_eq!(reader.u64("d"), Ok(0x0708_090a_0b0c_0d0e));
        assert_eq!(reader.array("e"), Ok([0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16]));
        assert_eq!(reader.slice(2, "f"), Ok(&[0x17, 0x18][..]));
        assert_eq!((reader.array("g"), reader.remaining(), reader.rest()), (Ok([0x19, 0x1a]), 1, &[0x1b][..]));
        assert_eq!(reader.end(), Err(CodecError::Trailing { bytes: 1 }));
    }

    #[test]
    fn an_end_inside_a_field_says_what_was_wanted_and_takes_nothing() {
        let mut reader = Reader::new(&[0, 0, 0]);
        let expected = CodecError::Truncated { field: "term", need: 8, left: 3 };
        assert_eq!(reader.u64("term"), Err(expected));
        assert_eq!(expected.to_string(), "ends inside term: 8 bytes wanted, 3 left");
        assert_eq!(reader.slice(4, "key"), Err(CodecError::Truncated { field: "key", need: 4, left: 3 }));
        assert_eq!(reader.remaining(), 3);
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused() {
        let two = [0, 0, 0, 2, 9, 9, 9, 9];
        assert_eq!(Reader::new(&two).count(2, "keys"), Ok(2));
        let error = CodecError::Truncated { field: "keys", need: 6, left: 4 };
        assert_eq!(Reader::new(&two).count(3, "keys"), Err(error));
        assert!(Reader::new(&[0xff; 5]).count(usize::MAX >> 32, "keys").is_err());
    }

    #[test]
    fn a_flag_is_zero_or_one() {
        let flags: Vec<_> = [0, 1, 2].map(|byte| Reader::new(&[byte]).flag("sealed")).into();
        assert_eq!(flags, [Ok(false), Ok(true), Err(CodecError::Field { field: "sealed" })]);
    }
}
