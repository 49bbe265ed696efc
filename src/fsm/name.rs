//! The place of a user's row: its database and the keyed name of its key. Tables and base find and order rows by it.
//!
//! ```text
//! off  size  field
//! 0    1     1 + number of the database: 0x01 to 0x10; rows of the state record begin with 0x00
//! 1    16    name
//! ```

use std::cmp::Ordering;
use std::hash::Hash;
use std::hash::Hasher;

/// Databases of a node, as Redis numbers them: 0 to 15.
pub const DATABASES: usize = 16;
/// Bytes of a [`RowName`].
pub const ROW_NAME_LEN: usize = 1 + NAME_LEN;
/// Bytes of the name in it.
pub const NAME_LEN: usize = 16;

/// The number of a database, 0 to 15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Database(u8);

impl Database {
    /// The one that a connection begins in.
    pub const FIRST: Database = Database(0);

    /// `None` if there is no such database.
    #[must_use]
    pub fn new(number: u8) -> Option<Database> {
        (usize::from(number) < DATABASES).then_some(Database(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Every database, in the order of their rows.
    pub fn all() -> impl ExactSizeIterator<Item = Database> + DoubleEndedIterator {
        (0..16_u8).map(Database)
    }
}

/// The place of a user's row, as drawn at the head of this file. Rows are ordered by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowName([u8; ROW_NAME_LEN]);

impl RowName {
    /// The row of a key of that name.
    #[must_use]
    pub fn new(database: Database, name: [u8; NAME_LEN]) -> RowName {
        let mut bytes = [0; ROW_NAME_LEN];
        bytes[0] = 1 + database.0;
        bytes[1..].copy_from_slice(&name);
        RowName(bytes)
    }

    /// `None` if these are not the bytes of a name.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<RowName> {
        let bytes: [u8; ROW_NAME_LEN] = bytes.try_into().ok()?;
        Database::new(bytes[0].checked_sub(1)?)?;
        Some(RowName(bytes))
    }

    /// The bytes under which its row stands, and by which it is authenticated.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; ROW_NAME_LEN] {
        &self.0
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> Database {
        Database(self.0[0] - 1)
    }

    /// The name of the key, without the database.
    #[must_use]
    pub fn name(&self) -> &[u8; NAME_LEN] {
        self.0.last_chunk().expect("a name is the end of a row name")
    }
}

/// That of its bytes, compared as numbers: a run of a flush sorts them, and bytes are compared by a call.
impl Ord for RowName {
    fn cmp(&self, other: &RowName) -> Ordering {
        let order = |name: &RowName| (name.0[0], u128::from_be_bytes(*name.name()));
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for RowName {
    fn partial_cmp(&self, other: &RowName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Two words, for names are as good as random; the byte between them is left out.
impl Hash for RowName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (first, last) = (self.0.first_chunk(), self.0.last_chunk());
        state.write_u64(u64::from_ne_bytes(*first.expect("a row name is longer")));
        state.write_u64(u64::from_ne_bytes(*last.expect("a row name is longer")));
    }
}

/// A row that is asked for: its name, and the user's key that it must hold.
#[derive(Clone, Copy)]
pub struct RowKey<'a> {
    /// Finds it.
    pub name: RowName,
    /// Compared with the key in the row; `None` = whatever is there, for who knows the name alone.
    pub key: Option<&'a [u8]>,
}

impl<'a> RowKey<'a> {
    /// The row of a user's key.
    #[must_use]
    pub fn new(name: RowName, key: &'a [u8]) -> RowKey<'a> {
        RowKey { name, key: Some(key) }
    }

    /// Whatever row has that name.
    #[must_use]
    pub fn named(name: RowName) -> RowKey<'static> {
        RowKey { name, key: None }
    }

    /// Whether the key that was found in the row is the one that is asked for.
    #[must_use]
    pub fn is_of(&self, found: &[u8]) -> bool {
        self.key.is_none_or(|key| key == found)
    }
}

debug_fields!(self: RowKey<'_> { name: self.name });

const _: () = assert!(DATABASES == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_database_then_by_name_and_read_back() {
        let mut before = None;
        for database in Database::all() {
            for name in [[0; NAME_LEN], [7; NAME_LEN], [0xff; NAME_LEN]] {
                let row = RowName::new(database, name);
                assert_eq!((row.database(), row.name()), (database, &name));
                assert_eq!(RowName::from_bytes(row.as_bytes()), Some(row));
                assert!(before < Some(row));
                before = Some(row);
            }
        }
        let bytes = |seed: u8| std::array::from_fn(|at| (seed as usize * 37 + at * seed as usize) as u8);
        let mut rows: Vec<RowName> = (0..=255).map(|seed| RowName::new(Database(seed & 1), bytes(seed))).collect();
        rows.sort_unstable();
        assert!(rows.is_sorted_by_key(|row| *row.as_bytes()), "the order is that of their bytes");
        assert_eq!(Database::all().len(), DATABASES);
    }

    #[test]
    fn bytes_of_no_database_or_another_length_are_no_name() {
        for first in [0x00, 0x11, 0xff] {
            let mut bytes = *RowName::new(Database::FIRST, [1; NAME_LEN]).as_bytes();
            bytes[0] = first;
            assert_eq!(RowName::from_bytes(&bytes), None);
        }
        assert_eq!(RowName::from_bytes(&[1; ROW_NAME_LEN - 1]), None);
        assert_eq!(RowName::from_bytes(&[1; ROW_NAME_LEN + 1]), None);
        assert_eq!(Database::new(16), None);
    }
}
