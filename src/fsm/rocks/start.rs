//! A start: the state is looked at first, and what a crash left in `flush/` is put in order.
//!
//! ```text
//! look     opened to read only; a table that the manifest names and that is not there is linked back from flush/
//! checks   the caller compares what it finds; refused: the link is taken away again, nothing has changed
//! open     for good; then what is left in flush/ is removed
//! ```
//!
//! A table can be missing because RocksDB takes its name away when an ingest fails, though the manifest may already name
//! it on the disk. The same file is then still in `flush/`, because a failed ingest ends the process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::fsm::base::BaseError;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::base::BasePlace;
use crate::fsm::rocks::base::LookError;
use crate::fsm::rocks::base::RocksBase;
use crate::fsm::rocks::file::ROWS;
use crate::keys::file;

/// A state that is whole and not yet open for good. Dropped, everything is as it was found.
#[derive(Debug)]
pub struct LookedAt {
    base: RocksBase,
    place: BasePlace,
    linked: Option<LinkedTable>,
}

impl LookedAt {
    /// Opens the state to look at it, after a missing table was linked back.
    ///
    /// # Errors
    /// [`BaseError`]: missing or damaged, and no file in `flush/` mends it.
    pub fn look(place: &BasePlace, options: &RocksOptions) -> Result<LookedAt, BaseError> {
        let table = match open_whole(place, options)? {
            Found::Whole(base) => return Ok(LookedAt { base: *base, place: place.clone(), linked: None }),
            Found::Without(table) => table,
        };
        for candidate in candidates(&place.flush).map_err(|source| io_error(&place.flush, source))? {
            let linked = LinkedTable::link(&candidate, place.state.join(&table))?;
            match open_whole(place, options) {
                Ok(Found::Whole(base)) => {
                    tracing::warn!(%table, file = %candidate.display(), "a table of the state was missing and is linked back");
                    return Ok(LookedAt { base: *base, place: place.clone(), linked: Some(linked) });
                }
                // Another file of the same directory; RocksDB knows its table by length and id.
                Ok(Found::Without(_)) | Err(_) => drop(linked),
            }
        }
        Err(BaseError::MissingTable { table })
    }

    /// The state, to be read only.
    #[must_use]
    pub fn base(&self) -> &RocksBase {
        &self.base
    }

    /// Opens the state for good, and removes what is left in `flush/`. Only after every check has passed. `start` is as in
    /// [`RocksBase::open`].
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn open(self, options: &RocksOptions, start: u64) -> Result<RocksBase, BaseError> {
        let LookedAt { base, place, mut linked } = self;
        drop(base);
        let opened = RocksBase::open(&place, options, start)?;
        if let Some(linked) = &mut linked {
            linked.is_kept = true;
        }
        remove_leftovers(&place.flush).map_err(|source| io_error(&place.flush, source))?;
        Ok(opened)
    }
}

/// A table that was linked back. Dropped, its name goes again unless the state was opened with it.
#[derive(Debug)]
struct LinkedTable {
    path: PathBuf,
    is_kept: bool,
}

impl LinkedTable {
    fn link(from: &Path, to: PathBuf) -> Result<LinkedTable, BaseError> {
        fs::hard_link(from, &to).map_err(|source| io_error(&to, source))?;
        let linked = LinkedTable { path: to, is_kept: false };
        file::sync_parent(&linked.path).map_err(|source| io_error(&linked.path, source))?;
        Ok(linked)
    }
}

impl Drop for LinkedTable {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // The file has its other name in flush/. A name that stays is what the next start would make again.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a table that was linked back cannot be taken away");
        }
    }
}

enum Found {
    Whole(Box<RocksBase>),
    /// The name of a table that is in the manifest and not in the directory.
    Without(String),
}

fn open_whole(place: &BasePlace, options: &RocksOptions) -> Result<Found, BaseError> {
    let base = match RocksBase::look(place, options) {
        Ok(base) => base,
        Err(LookError::Without { table }) => return Ok(Found::Without(table)),
        Err(LookError::Other(error)) => return Err(error),
    };
    // RocksDB opens only some of its tables at once; the others would be missed at a read, after the leftovers are gone.
    for (table, bytes) in base.tables()? {
        let path = place.state.join(&table);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == bytes => {}
            Ok(metadata) => return Err(BaseError::TableLength { table, bytes: metadata.len(), expected: bytes }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Without(table)),
            Err(source) => return Err(io_error(&path, source)),
        }
    }
    Ok(Found::Whole(Box::new(base)))
}

/// Whole files in `flush/` that are not tables of the state already, newest first.
fn candidates(flush: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(flush)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let path = entry.path();
        if path.extension().is_some_and(|end| end == ROWS) && metadata.is_file() && metadata.nlink() == 1 {
            found.push((metadata.modified()?, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

fn remove_leftovers(flush: &Path) -> io::Result<()> {
    for entry in fs::read_dir(flush)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

fn io_error(path: &Path, source: io::Error) -> BaseError {
    BaseError::Io { path: path.to_owned(), source }
}
