//! The seam to the state: a map of rows that changes in atomic commits and remembers durably back to its last flush.
//!
//! Rows of users are `value_header | body` as drawn in `value.rs`; the store does not look inside. The state record's
//! rows (applied, keyring) change in the same commit as the effects they belong to (ATOMIC-APPLY).

use crate::fsm::name::Database;
use crate::fsm::name::RowName;

/// The rows of the state record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateRow {
    /// Index, term, last stamp, membership, digest of the keyring row, MAC.
    Applied,
    /// Wrapped DEKs and everything replicated about them.
    Keyring,
}

/// Everything one run changes, in one commit.
#[derive(Debug, Default)]
pub struct Commit {
    /// All rows of these databases go first; `puts` and `deletes` came after that.
    pub cleared: Vec<Database>,
    /// Users' rows as they will stand; no name twice, none that is in `deletes`.
    pub puts: Vec<(RowName, Vec<u8>)>,
    /// Users' rows that go; there need not be one.
    pub deletes: Vec<RowName>,
    /// State rows as they will stand; `Applied` is in every commit.
    pub state: Vec<(StateRow, Vec<u8>)>,
}

/// What the store itself can get wrong. The operator's disk, or damage: the node stops (74).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// RocksDB said so; the text is RocksDB's and holds no values.
    #[error("state store: {0}")]
    Backend(String),
    /// A row that this program never writes.
    #[error("state store: row of {what} is malformed")]
    Malformed {
        /// Which kind of row.
        what: &'static str,
    },
}

/// A place for rows. Reads see every finished commit; a crash forgets back to some commit at or after the last flush.
pub trait Store: Send + Sync {
    /// A user's row.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn get(&self, name: &RowName) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `visit` with each of several users' rows, in the order of `names`, until it answers false. They are
    /// as they stood at one moment: of every commit, all of it is seen, or none. Few rows are held at once (`FETCH_KEYS_MAX`).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn get_each(&self, names: &[RowName], visit: &mut dyn FnMut(Option<Vec<u8>>) -> bool) -> Result<(), StoreError>;

    /// One row of the state record.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError>;

    /// One row of the state record as it would be found after a crash now.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError>;

    /// Makes all of `commit` visible at once.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the commit may be relied on and the node must stop.
    fn write(&self, commit: Commit) -> Result<(), StoreError>;

    /// Makes every finished commit durable.
    ///
    /// # Errors
    /// [`StoreError`]; the node must stop.
    fn flush(&self) -> Result<(), StoreError>;

    /// Calls `visit` with every user's row in the order of names, as of one moment, until it answers false.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn scan(&self, visit: &mut dyn FnMut(&RowName, &[u8]) -> bool) -> Result<(), StoreError>;
}
