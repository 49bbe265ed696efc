//! The simulated twin of the RocksDB store: rows in memory that a crash takes back to the last flush, or to a later commit.
//! [`NoCipher`] reads them without keys.
//!
//! Real RocksDB may flush by itself at any commit, so a crash takes the number of commits after the last flush that survive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::crypto::names::NameKey;
use crate::fsm::name::RowName;
use crate::fsm::reader::ReadError;
use crate::fsm::reader::RowCipher;
use crate::fsm::store::Commit;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::fsm::store::StoreError;
use crate::ids::ClusterId;

/// A [`Store`] without a disk.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<RowHistory>,
}

#[derive(Default)]
struct RowHistory {
    current: Rows,
    flushed: Rows,
    /// Finished commits that `flushed` does not have, oldest first.
    unflushed: Vec<Commit>,
}

#[derive(Clone, Default)]
struct Rows {
    users: BTreeMap<RowName, Vec<u8>>,
    state: BTreeMap<StateRow, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Finished commits that a crash may forget.
    #[must_use]
    pub fn unflushed_commits(&self) -> usize {
        self.lock().unflushed.len()
    }

    /// What RocksDB does when a memtable is full: the oldest `commits` of the unflushed commits become durable.
    pub fn flush_by_itself(&self, commits: usize) {
        let inner = &mut *self.lock();
        let count = commits.min(inner.unflushed.len());
        for commit in inner.unflushed.drain(..count) {
            inner.flushed.apply(commit);
        }
    }

    /// Forgets what a crash forgets: every commit after the last flush but the oldest `kept_commits` of them.
    pub fn crash(&self, kept_commits: usize) {
        self.flush_by_itself(kept_commits);
        let inner = &mut *self.lock();
        inner.unflushed.clear();
        inner.current = inner.flushed.clone();
    }

    fn lock(&self) -> MutexGuard<'_, RowHistory> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

impl Store for MemoryStore {
    fn get(&self, name: &RowName) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().current.users.get(name).cloned())
    }

    fn get_each(&self, names: &[RowName], visit: &mut dyn FnMut(Option<Vec<u8>>) -> bool) -> Result<(), StoreError> {
        let inner = self.lock();
        let _stopped = names.iter().all(|name| visit(inner.current.users.get(name).cloned()));
        Ok(())
    }

    fn state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().current.state.get(&row).cloned())
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().flushed.state.get(&row).cloned())
    }

    fn write(&self, commit: Commit) -> Result<(), StoreError> {
        let inner = &mut *self.lock();
        let copy = Commit {
            cleared: commit.cleared.clone(),
            puts: commit.puts.clone(),
            deletes: commit.deletes.clone(),
            state: commit.state.clone(),
        };
        inner.current.apply(copy);
        inner.unflushed.push(commit);
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.flush_by_itself(usize::MAX);
        Ok(())
    }

    fn scan(&self, visit: &mut dyn FnMut(&RowName, &[u8]) -> bool) -> Result<(), StoreError> {
        let moment = self.lock().current.users.clone();
        for (name, row) in &moment {
            if !visit(name, row) {
                break;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("MemoryStore")
            .field("rows", &inner.current.users.len())
            .field("unflushed", &inner.unflushed.len())
            .finish_non_exhaustive()
    }
}

impl Rows {
    fn apply(&mut self, commit: Commit) {
        self.users.retain(|name, _| !commit.cleared.contains(&name.database()));
        for name in commit.deletes {
            self.users.remove(&name);
        }
        self.users.extend(commit.puts);
        self.state.extend(commit.state);
    }
}

/// The cipher of a node without keys: clear rows are fine, sealed ones cannot be read; names are those of cluster 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCipher;

impl RowCipher for NoCipher {
    fn accepts_clear_rows(&self) -> bool {
        true
    }

    fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        static CLEAR: OnceLock<Arc<NameKey>> = OnceLock::new();
        Ok(Arc::clone(CLEAR.get_or_init(|| Arc::new(NameKey::clear(ClusterId([0; 16]))))))
    }

    fn open(&self, _name: &RowName, _row: Vec<u8>) -> Result<Bytes, ReadError> {
        Err(ReadError::NoCipher)
    }
}
