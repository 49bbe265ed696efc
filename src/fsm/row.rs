//! Rows in memory: what a run did, and what a level of the view knows of a row.
//!
//! A row is made once, when its command runs, and from then on only its pointer moves: from the run's effects into the
//! table, from there to readers and to the flush.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::user_key::UserKey;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::keys::node_keys::ActiveValue;

/// What the values of a sealed entry are sealed with.
#[derive(Clone, Copy, Debug)]
pub struct SealedBy {
    /// GCM tag of the entry's envelope.
    pub entry_tag: [u8; 16],
    /// The value DEK that was active at the entry; who holds the row holds the key ([`Effects::seal_with`]). `None` = this
    /// node cannot unwrap it: the entry halts if it writes a value.
    pub key_id: Option<KeyId>,
}

/// Without a key: for tests of what is not sealed in the end.
impl From<[u8; 16]> for SealedBy {
    fn from(entry_tag: [u8; 16]) -> SealedBy {
        SealedBy { entry_tag, key_id: None }
    }
}

/// The write that made a value: all that its nonce is made of. Flat, and without a pointer: every row of a table has one.
#[derive(Clone, Copy, Debug)]
pub struct WrittenAt {
    /// The entry.
    pub index: Index,
    /// Which sealed write of the entry, counted from 0 in execution order.
    pub op: u16,
    is_sealed: bool,
    key_id: Option<KeyId>,
    entry_tag: [u8; 16],
}

impl WrittenAt {
    /// The write `op` of the entry at `index`. `None` = the entry was in the clear, and so is the value.
    #[must_use]
    pub fn new(index: Index, op: u16, sealed: Option<SealedBy>) -> WrittenAt {
        let SealedBy { entry_tag, key_id } = sealed.unwrap_or([0; 16].into());
        WrittenAt { index, op, is_sealed: sealed.is_some(), key_id, entry_tag }
    }

    /// What the value is sealed with; `None` = it is in the clear.
    #[must_use]
    pub fn sealed(&self) -> Option<SealedBy> {
        self.is_sealed.then_some(SealedBy { entry_tag: self.entry_tag, key_id: self.key_id })
    }

    /// GCM tag of the entry's envelope, if it had one.
    #[must_use]
    pub fn entry_tag(&self) -> Option<[u8; 16]> {
        self.is_sealed.then_some(self.entry_tag)
    }
}

impl PartialEq for WrittenAt {
    fn eq(&self, other: &WrittenAt) -> bool {
        (self.index, self.op, self.entry_tag()) == (other.index, other.op, other.entry_tag())
    }
}

impl Eq for WrittenAt {}

/// A row in plaintext, with the user's key and with all that it will be sealed with.
#[derive(Debug, PartialEq, Eq)]
pub struct TableRow {
    /// What is in it.
    pub value: Value,
    /// What wrote it.
    pub at: WrittenAt,
    /// The user's key.
    pub key: UserKey,
    /// Bytes of the buffer that holds the value: at least its length.
    pub held_bytes: usize,
}

impl TableRow {
    /// Its value, for who asks for this key.
    ///
    /// # Errors
    /// [`ValueError::OtherKey`]: two keys have one name.
    pub fn value_for(&self, asked: RowKey<'_>) -> Result<&Value, ValueError> {
        if asked.is_of(&self.key) { Ok(&self.value) } else { Err(ValueError::OtherKey) }
    }

    /// Appends the body that its row in the base has.
    pub fn encode_body(&self, out: &mut Vec<u8>) {
        self.value.encode_body(&self.key, out);
    }

    /// Appends its row in the base, if it is not sealed.
    pub fn encode_clear(&self, out: &mut Vec<u8>) {
        self.value.encode_clear(&self.key, out);
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        (ROW_BYTES + self.key.heap_bytes() + self.held_bytes) as u64
    }
}

/// Reads a little of each row, so that the memory of all of them comes at the same time: whoever reads them one by one waits for
/// each, and where they are many that is most of what a read costs.
pub(crate) fn warm<'r>(rows: impl Iterator<Item = &'r TableRow> + Clone) {
    // Nothing in these loops waits for what it reads but the sums.
    let heads: usize = rows.clone().map(|row| row.key.len() ^ row.value.bytes.len()).fold(0, |all, len| all ^ len);
    let lines = |row: &'r TableRow| row.value.bytes.iter().step_by(CACHE_LINE).take(WARM_LINES);
    let bodies = rows.flat_map(|row| row.key.first().into_iter().chain(lines(row))).fold(0, |all, byte| all ^ byte);
    std::hint::black_box((heads, bodies));
}

const CACHE_LINE: usize = 64;
/// Lines of a value that are worth it: the CPU fetches what follows by itself.
const WARM_LINES: usize = 8;

/// A row as it will stand; `None` = it goes, whether there is one or not.
pub type RowFate = Option<Arc<TableRow>>;

/// Rows by name. The hash is seeded anew in each process.
pub(crate) type RowMap = HashMap<RowName, RowFate>;

/// What a level of the view knows of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundRow {
    /// This is it.
    Row(Arc<TableRow>),
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
}

impl From<&RowFate> for FoundRow {
    fn from(fate: &RowFate) -> FoundRow {
        fate.as_ref().map_or(FoundRow::Gone, |row| FoundRow::Row(Arc::clone(row)))
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

    /// Gives up a row's hold on its bytes, which nobody else shares yet.
    pub(crate) fn detach(&mut self, name: &RowName) {
        if let Some(Some(row)) = self.rows.get_mut(name)
            && let Some(row) = Arc::get_mut(row)
        {
            self.bytes -= row.held_bytes as u64;
            (row.held_bytes, row.value.bytes) = (0, Bytes::new());
        }
    }

    /// Says that a row that the run just wrote holds a larger buffer than its value is long.
    pub(crate) fn hold(&mut self, name: &RowName, held_bytes: usize) {
        if let Some(Some(row)) = self.rows.get_mut(name)
            && let Some(row) = Arc::get_mut(row)
        {
            self.bytes += (held_bytes - row.held_bytes) as u64;
            row.held_bytes = held_bytes;
        }
    }

    /// The row as it will stand.
    pub fn set(&mut self, name: RowName, fate: RowFate) {
        self.bytes += memory_of(&fate);
        if let Some(before) = self.rows.insert(name, fate) {
            self.bytes -= memory_of(&before);
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

/// A row without its buffers: the struct, and the counts of the pointer to it.
const ROW_BYTES: usize = size_of::<TableRow>() + 2 * size_of::<usize>();
