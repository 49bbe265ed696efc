//! Names of rows as a field of a command: as they were given, as they stand in an entry, and their bytes.

use crate::codec::Reader;
use crate::fsm::command::fields::EncodeError;
use crate::fsm::command::fields::Field;
use crate::fsm::command::fields::LEN_LEN;
use crate::fsm::command::fields::PayloadError;
use crate::fsm::command::fields::put_count;
use crate::fsm::name::ROW_NAME_LEN;
use crate::fsm::name::RowName;

/// A count (4), then the name of a row each.
pub(super) struct NamesField;

impl Field for NamesField {
    type Owned = Vec<RowName>;
    type Borrowed<'a> = NameList<'a>;

    fn len(owned: &Vec<RowName>) -> usize {
        LEN_LEN + owned.len() * ROW_NAME_LEN
    }

    fn put(owned: &Vec<RowName>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_count(owned.len(), out)?;
        owned.iter().for_each(|name| out.extend_from_slice(name.as_bytes()));
        Ok(())
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<NameList<'a>, PayloadError> {
        let count = reader.count(ROW_NAME_LEN, "count of names")? as usize;
        let bytes = reader.slice(count * ROW_NAME_LEN, "names")?;
        let (names, _) = bytes.as_chunks::<ROW_NAME_LEN>();
        match names.iter().find(|name| RowName::from_bytes(&name[..]).is_none()) {
            Some(name) => Err(PayloadError::Field { field: "database of a name", found: name[0] }),
            None => Ok(NameList { names }),
        }
    }

    #[cfg(test)]
    fn copied(borrowed: NameList<'_>) -> Vec<RowName> {
        borrowed.collect()
    }
}

/// A checked list of names; iterate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameList<'a> {
    names: &'a [[u8; ROW_NAME_LEN]],
}

impl Iterator for NameList<'_> {
    type Item = RowName;

    fn next(&mut self) -> Option<RowName> {
        let (name, rest) = self.names.split_first()?;
        self.names = rest;
        Some(RowName::from_bytes(name).expect("Payload::decode checked every name"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.names.len(), Some(self.names.len()))
    }
}

impl ExactSizeIterator for NameList<'_> {}
