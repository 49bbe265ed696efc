//! The seam to the state: a map of rows that changes in atomic commits and remembers durably back to its last flush.
//!
//! Rows of users are `value_header | body` as drawn in `value.rs`; the store does not look inside. The state record's
//! rows (applied, keyring) change in the same commit as the effects they belong to (ATOMIC-APPLY).

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
    /// All users' rows go first (FLUSHALL); `puts` and `deletes` came after that.
    pub clear: bool,
    /// Users' keys and their rows as they will stand; no key twice, none that is in `deletes`.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Users' keys whose rows go; there need not be one.
    pub deletes: Vec<Vec<u8>>,
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
    /// The row of a user's key.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `visit` with the row of each of several users' keys, in the order of `keys`, until it answers false. They are
    /// as they stood at one moment: of every commit, all of it is seen, or none. Few rows are held at once (`FETCH_KEYS_MAX`).
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn get_each(&self, keys: &[&[u8]], visit: &mut dyn FnMut(Option<Vec<u8>>) -> bool) -> Result<(), StoreError>;

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

    /// Calls `visit` with every user's key and row in key order, as of one moment, until it answers false.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;
}
