//! Opening, many at a time: ciphertexts are copied into one reused arena and opened there, one batch per key.
//!
//! Entry bytes are never modified. Each thread has its own [`OpenArena`]; in steady state an entry costs no allocation.

use std::sync::Arc;

use crate::crypto::envelope::OpenError;
use crate::crypto::keystore::Keys;
use crate::crypto::keystore::Opener;
use crate::ids::Position;

/// All that decides which key opens an entry: the keys of this moment and the newest opener. Share it between threads.
#[derive(Clone, Debug)]
pub struct EntryKeys {
    keys: Arc<Keys>,
    opener: Option<Opener>,
}

impl EntryKeys {
    /// For a run whose keyring names `opener` as the newest, if there is one.
    #[must_use]
    pub fn new(keys: Arc<Keys>, opener: Option<Opener>) -> EntryKeys {
        EntryKeys { keys, opener }
    }
}

/// One entry to open: version 2 or 3, told apart by its envelope.
#[derive(Clone, Copy, Debug)]
pub struct OpenJob<'a> {
    /// Where it lies in the log, by the log's word.
    pub position: Position,
    /// Its data: entry frame and envelope.
    pub data: &'a [u8],
}

/// Room to open in, reused from run to run, and the results of the last batch. Wiped on drop.
#[derive(Default)]
pub struct OpenArena {
    text: Vec<u8>,
}

impl OpenArena {
    /// How many things the last batch had.
    #[must_use]
    pub fn count(&self) -> usize {
        todo!()
    }

    /// The plaintext of the n-th thing of the last batch, or why there is none.
    ///
    /// # Errors
    /// [`OpenError`] of that thing; others are not affected by it.
    ///
    /// # Panics
    /// If the last batch had no n-th thing.
    pub fn get(&self, n: usize) -> Result<&[u8], OpenError> {
        let _ = (n, &self.text);
        todo!()
    }

    /// All results of the last batch, in its order.
    pub fn results(&self) -> impl Iterator<Item = Result<&[u8], OpenError>> {
        (0..self.count()).map(|n| self.get(n))
    }
}

/// Opens a chunk of entries; `arena` then has a result for each, in the order of `jobs`.
pub fn open_entries(keys: &EntryKeys, jobs: &[OpenJob<'_>], arena: &mut OpenArena) {
    let _ = (keys, jobs, arena, &keys.keys, &keys.opener);
    todo!()
}

/// Opens one entry.
///
/// # Errors
/// [`OpenError`].
pub fn open_entry(keys: &EntryKeys, job: OpenJob<'_>) -> Result<Vec<u8>, OpenError> {
    let mut arena = OpenArena::default();
    open_entries(keys, &[job], &mut arena);
    arena.get(0).map(<[u8]>::to_vec)
}
