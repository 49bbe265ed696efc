//! Conditions of a batch: keys and the change that each must still have when the entry is applied.

use bytes::Bytes;

use crate::codec::Reader;
use crate::fsm::command::EncodeError;
use crate::fsm::command::PayloadError;
use crate::fsm::command::fields::Field;
use crate::fsm::command::fields::KeyField;
use crate::fsm::name::Database;
use crate::ids::Index;

/// A key that must not have changed: what WATCH asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The key's database.
    pub database: Database,
    /// The key.
    pub key: Bytes,
    /// The entry that changed it last; 0 = no such key.
    pub last_change: Index,
}

/// A [`Condition`] as it stands in an entry: borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionRef<'a> {
    /// The key's database.
    pub database: Database,
    /// The key.
    pub key: &'a [u8],
    /// The entry that must have changed it last; 0 = no such key.
    pub last_change: Index,
}

/// A checked list of conditions; iterate it.
#[derive(Clone, Debug)]
pub struct Conditions<'a> {
    left: u32,
    reader: Reader<'a>,
}

impl Condition {
    /// That `key` still has the `last_change` that [`ReadCommand::LastChanges`](crate::fsm::command::ReadCommand) answered.
    #[must_use]
    pub fn new(database: Database, key: Bytes, last_change: u64) -> Condition {
        Condition { database, key, last_change: Index(last_change) }
    }

    /// What the list is sorted by.
    pub(super) fn order(&self) -> (Database, &[u8]) {
        (self.database, &self.key)
    }

    pub(super) fn encoded_len(&self) -> usize {
        size_of::<u8>() + size_of::<u64>() + KeyField::len(&self.key)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(self.database.number());
        out.extend_from_slice(&self.last_change.0.to_be_bytes());
        KeyField::put(&self.key, out)
    }
}

impl<'a> ConditionRef<'a> {
    /// What the list is sorted by.
    pub(super) fn order(&self) -> (Database, &'a [u8]) {
        (self.database, self.key)
    }

    pub(super) fn take(reader: &mut Reader<'a>) -> Result<ConditionRef<'a>, PayloadError> {
        let number = reader.u8("database")?;
        let database = Database::new(number).ok_or(PayloadError::Field { field: "database", found: number })?;
        let last_change = Index(reader.u64("last change")?);
        Ok(ConditionRef { database, key: KeyField::take(reader)?, last_change })
    }
}

impl<'a> Conditions<'a> {
    /// `bytes` begin with `count` conditions that were checked.
    pub(super) fn new(count: u32, bytes: &'a [u8]) -> Conditions<'a> {
        Conditions { left: count, reader: Reader::new(bytes) }
    }
}

impl<'a> Iterator for Conditions<'a> {
    type Item = ConditionRef<'a>;

    fn next(&mut self) -> Option<ConditionRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(ConditionRef::take(&mut self.reader).expect("Payload::decode checked every condition"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Conditions<'_> {}
