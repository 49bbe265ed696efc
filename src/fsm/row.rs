//! Rows by name: what a run did, and what a level of the view knows of a row.

use hashbrown::HashMap;

use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::table_row::TableRow;
use crate::keys::node_keys::ActiveValue;

/// A row as it will stand; `None` = it goes, whether there is one or not.
pub type RowFate = Option<TableRow>;

/// Rows by name. The hash is seeded anew in each process.
pub(crate) type RowMap = HashMap<RowName, RowFate>;

/// What a level of the view knows of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundRow {
    /// This is it.
    Row(TableRow),
    /// There is none: it was deleted, or its database was cleared.
    Gone,
    /// Nothing: the level below knows.
    Below,
}

impl FoundRow {
    /// What a level knows that has this fate for the row, if any, and whose database was cleared or not.
    pub(crate) fn of(fate: Option<&RowFate>, is_cleared: bool) -> FoundRow {
        match fate {
            Some(fate) => fate.into(),
            None if is_cleared => FoundRow::Gone,
            None => FoundRow::Below,
        }
    }

    /// This, or what the level below knows.
    #[must_use]
    pub(crate) fn or_below(self, below: impl FnOnce() -> FoundRow) -> FoundRow {
        match self {
            FoundRow::Below => below(),
            found => found,
        }
    }
}

impl From<&RowFate> for FoundRow {
    fn from(fate: &RowFate) -> FoundRow {
        fate.as_ref().map_or(FoundRow::Gone, |row| FoundRow::Row(row.clone()))
    }
}

/// A set of databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Databases(u16);

impl Databases {
    /// Whether there is none in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is in it.
    #[must_use]
    pub fn has(self, database: Database) -> bool {
        self.0 & Databases::bit(database) != 0
    }

    /// Those in it, in order.
    pub fn iter(self) -> impl Iterator<Item = Database> {
        Database::all().filter(move |database| self.has(*database))
    }

    /// Whether all of them are in `others`.
    #[must_use]
    pub fn is_within(self, others: Databases) -> bool {
        self.0 & !others.0 == 0
    }

    /// Puts it in.
    pub fn insert(&mut self, database: Database) {
        self.0 |= Databases::bit(database);
    }

    fn bit(database: Database) -> u16 {
        1 << database.number()
    }
}

/// All effects of a run on users' rows.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// All rows of these databases went first; `rows` came after that.
    cleared: Databases,
    rows: RowMap,
    bytes: u64,
    value_key: Option<ActiveValue>,
}

impl Effects {
    /// Whether nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cleared.is_empty() && self.rows.is_empty()
    }

    /// Databases whose rows from before the run are gone.
    #[must_use]
    pub fn cleared(&self) -> Databases {
        self.cleared
    }

    /// Each changed row once, in no order.
    #[must_use]
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&RowName, &RowFate)> {
        self.rows.iter()
    }

    /// Makes space for so many more rows at once.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
    }

    /// Bytes of memory that the rows take.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    /// The key of the run's sealed values: it is held until they are sealed, and may be rotated before that.
    #[must_use]
    pub fn value_key(&self) -> Option<&ActiveValue> {
        self.value_key.as_ref()
    }

    /// Holds the key that values of the run will be sealed with.
    ///
    /// # Panics
    /// If it is another one than before: a rotation is a run by itself.
    pub fn seal_with(&mut self, key: &ActiveValue) {
        let known = self.value_key.get_or_insert_with(|| key.clone());
        assert_eq!(known.dek.key_id(), key.dek.key_id(), "a run has one key for its values");
    }

    /// What the run did to a row.
    #[must_use]
    pub fn find(&self, name: &RowName) -> FoundRow {
        FoundRow::of(self.rows.get(name), self.cleared.has(name.database()))
    }

    /// Forgets a row that the run has written and is about to write again, and so its hold on its bytes.
    pub(crate) fn detach(&mut self, name: &RowName) {
        self.bytes -= self.rows.remove(name).as_ref().map_or(0, memory_of);
    }

    /// The row as it will stand.
    pub fn set(&mut self, name: RowName, fate: RowFate) {
        self.bytes += memory_of(&fate);
        if let Some(before) = self.rows.insert(name, fate) {
            self.bytes -= memory_of(&before);
            before.into_iter().for_each(TableRow::give_back);
        }
    }

    /// All rows of the database go, those of the run included.
    pub fn clear(&mut self, database: Database) {
        self.cleared.insert(database);
        self.rows.retain(|name, _| name.database() != database);
        self.bytes = self.rows.values().map(memory_of).sum();
    }
}

/// Bytes that a changed row takes, its place in a map apart.
pub(crate) fn memory_of(fate: &RowFate) -> u64 {
    fate.as_ref().map_or(0, |row| row.memory_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::table_row::RowBytes;
    use crate::fsm::table_row::WrittenAt;
    use crate::ids::Index;

    fn of_bytes(bytes: &[u8]) -> TableRow {
        TableRow::new(b"k", RowBytes::Copied(bytes), 0, WrittenAt::new(Index(7), 0, None))
    }

    #[test]
    fn a_row_that_a_run_overwrites_in_itself_leaves_its_block() {
        let (mut effects, name) = (Effects::default(), RowName::new(Database::FIRST, [1; 16]));
        let first = of_bytes(&[1; 300]);
        let block = first.value().bytes.as_ptr();
        effects.set(name, Some(first));
        effects.set(name, Some(of_bytes(&[2; 300])));
        assert_eq!(of_bytes(&[3; 300]).value().bytes.as_ptr(), block);
        assert_eq!(effects.memory_bytes(), of_bytes(&[2; 300]).memory_bytes());
    }
}
