//! What a decoder reads from: a slice that gets shorter, and the lists that were checked in it.
//!
//! Every length and count is compared with what is left before anything is taken; nothing is allocated.

use crate::fsm::codec::LEN_LEN;
use crate::fsm::codec::decode::PayloadError;
use crate::fsm::command::Expiry;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;

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
        let mut cursor = PayloadReader { rest: self.bytes };
        let key = cursor.key().expect("Payload::decode checked every key");
        self.bytes = cursor.rest;
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
        let mut cursor = PayloadReader { rest: self.bytes };
        let key = cursor.key().expect("Payload::decode checked every key");
        let value = cursor.value().expect("Payload::decode checked every value");
        self.bytes = cursor.rest;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for PairList<'_> {}

/// What is left to read.
#[derive(Clone, Debug)]
pub(super) struct PayloadReader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> PayloadReader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PayloadError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(PayloadError::Short { need: len as u64, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(PayloadError::Short { need: N as u64, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, PayloadError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, PayloadError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, PayloadError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, PayloadError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A count of items that take at least `item_len_min` bytes each.
    pub(super) fn count(&mut self, item_len_min: usize) -> Result<u32, PayloadError> {
        let count = self.u32()?;
        let need = u64::from(count) * item_len_min as u64;
        if need > self.rest.len() as u64 {
            return Err(PayloadError::Short { need, left: self.rest.len() });
        }
        Ok(count)
    }

    pub(super) fn key(&mut self) -> Result<&'a [u8], PayloadError> {
        self.text("key", KEY_BYTES_MAX)
    }

    pub(super) fn value(&mut self) -> Result<&'a [u8], PayloadError> {
        self.text("value", VALUE_BYTES_MAX)
    }

    fn text(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], PayloadError> {
        let found = self.u32()? as usize;
        if found > max {
            return Err(PayloadError::Long { field, found, max });
        }
        self.take(found)
    }

    pub(super) fn expiry(&mut self) -> Result<Expiry, PayloadError> {
        Ok(match self.byte()? {
            0 => Expiry::Clear,
            1 => Expiry::Keep,
            2 => Expiry::In(self.i64()?),
            3 => Expiry::At(self.i64()?),
            found => return Err(PayloadError::Field { field: "expiry", found }),
        })
    }

    pub(super) fn keys(&mut self) -> Result<KeyList<'a>, PayloadError> {
        let left = self.count(LEN_LEN)?;
        let start = self.rest;
        for _ in 0..left {
            self.key()?;
        }
        Ok(KeyList { left, bytes: &start[..start.len() - self.rest.len()] })
    }

    pub(super) fn pairs(&mut self) -> Result<PairList<'a>, PayloadError> {
        let left = self.count(2 * LEN_LEN)?;
        let start = self.rest;
        for _ in 0..left {
            self.key()?;
            self.value()?;
        }
        Ok(PairList { left, bytes: &start[..start.len() - self.rest.len()] })
    }
}
