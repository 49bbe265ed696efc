//! The seam below the table: rows in the order of their names, changed only by whole files.
//!
//! ```text
//! begin_file -> RowFile: clear, put, delete -> finish -> FinishedFile -> ingest
//! ```
//!
//! A file holds everything that is newer than what the base holds, and both rows of the state record as of the same
//! entry. It is written and synced beside the state, then taken into it in one step, which is durable when `ingest`
//! returns: effects and applied index are one (ATOMIC-APPLY), and what the base shows is what a crash leaves.
//!
//! The two kinds of failure have different ends. A file that cannot be *written* is dropped and may be written anew: it
//! was never part of the state. An *ingest* that fails is final, because nobody knows whether the disk has it: the
//! process ends (74), the file stays where it is, and the next start finds out.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::limits::LEVEL0_FILES_MAX;
use crate::limits::PENDING_COMPACTION_BYTES_MAX;

/// The rows of the state record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateRow {
    /// Index, term, last stamp, membership, digest of the keyring row, MAC.
    Applied,
    /// Wrapped DEKs and everything replicated about them.
    Keyring,
}

/// Damage, or a device that fails: the base cannot be opened or read (74).
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// RocksDB said so; the text is RocksDB's and holds no values.
    #[error("state: {0}")]
    Backend(String),
    /// A row that this program never writes.
    #[error("state: row of {what} is malformed")]
    Malformed {
        /// Which kind of row.
        what: &'static str,
    },
    /// Damage: a part of the state is gone.
    #[error("state/{table} is missing, and no file in flush/ is it")]
    MissingTable {
        /// Its name in the directory.
        table: String,
    },
    /// Damage: a part of the state was cut or grew.
    #[error("state/{table} has {bytes} bytes, expected {expected}")]
    TableLength {
        /// Its name in the directory.
        table: String,
        /// How long it is.
        bytes: u64,
        /// How long the manifest says it is.
        expected: u64,
    },
    /// The kernel said so.
    #[error("{}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

/// A file that could not be written whole. It is gone and the state is untouched: the caller may write another.
#[derive(Debug, thiserror::Error)]
#[error("flush/: a file cannot be written: {why}")]
pub struct WriteFileError {
    /// The text of RocksDB or of the kernel; it holds no values.
    pub why: String,
}

/// A file that may or may not have become part of the state. Final: the process ends (74) and leaves the file.
#[derive(Debug, thiserror::Error)]
#[error("state: a file cannot be taken in: {why}")]
pub struct IngestError {
    /// The text of RocksDB; it holds no values.
    pub why: String,
}

/// Both rows of the state record. Every file has them, so that no effect is without its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRows {
    /// The applied row.
    pub applied: Vec<u8>,
    /// The keyring row; none before the bootstrap.
    pub keyring: Option<Vec<u8>>,
}

/// How much work the base has before it: files that every miss looks into, and bytes that compaction is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Ingested files that are not yet merged into the levels below.
    pub level0_files: u64,
    /// Estimate of the bytes that compaction must rewrite.
    pub pending_bytes: u64,
    /// Bytes of all tables.
    pub table_bytes: u64,
}

/// Bytes of memory that a base takes for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseMemory {
    /// Blocks that were read, those that are pinned included.
    pub cache_bytes: u64,
    /// What is written and not in a file: it should be next to nothing.
    pub memtable_bytes: u64,
    /// What it keeps of each open file.
    pub reader_bytes: u64,
}

impl Pressure {
    /// Whether no flush may begin: files would come faster than they are merged, without a bound. A few that clear databases
    /// may: merging has less to do with them than without, and on a full disk nothing else gives space back.
    #[must_use]
    pub fn is_high(&self, clears: bool) -> bool {
        if clears {
            return self.level0_files >= LEVEL0_FILES_MAX + CLEARS_MAX;
        }
        self.level0_files >= LEVEL0_FILES_MAX || self.pending_bytes > PENDING_COMPACTION_BYTES_MAX
    }
}

/// Ordered rows below the table. Reads see all of every ingested file, or nothing of it, for each row.
pub trait RowBase: Send + Sync {
    /// Calls `visit` with a row, as it lies in the base's memory, if there is one; says whether there is.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    fn row(&self, name: &RowName, visit: &mut dyn FnMut(&[u8])) -> Result<bool, BaseError>;

    /// Calls `visit` with the place in `names` and the row of each of several names, in the order of `names`, until it
    /// answers false. Names may stand in any order and more than once. They are fetched in batches, and rows of one
    /// batch are of one moment; rows of different batches need not be.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError>;

    /// The rows of this moment, whatever is ingested from now on. Reads nothing from a disk. To be held for one read only, since
    /// what is overwritten meanwhile is kept.
    fn pin(&self) -> Box<dyn PinnedRows + '_>;

    /// Calls `visit` with every name of the range that has a row, and its row, upward and as of one moment, until it
    /// answers false.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    fn walk(
        &self,
        names: RangeInclusive<RowName>,
        visit: &mut dyn FnMut(RowName, &[u8]) -> bool,
    ) -> Result<(), BaseError>;

    /// One row of the state record, as it would be found after a crash now.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, BaseError>;

    /// Begins a new file. One is written at a time.
    ///
    /// # Errors
    /// [`WriteFileError`]: the file is gone, another may be begun.
    fn begin_file(&self, record: &StateRows) -> Result<Box<dyn RowFile + '_>, WriteFileError>;

    /// How far compaction is behind. Asked before a flush, and while one waits.
    ///
    /// # Errors
    /// [`BaseError`] if compaction has stopped for good, so that waiting would never end.
    fn pressure(&self) -> Result<Pressure, BaseError>;

    /// So many bytes of entries were applied since the start of the process, in a file of the base or not yet. What a base puts off
    /// (merging its files) it does at their pace.
    fn hears(&self, entry_bytes: u64);

    /// Gives space free that is kept for a file which itself gives space back. False: there is none.
    fn let_go(&self) -> bool {
        false
    }

    /// Keeps such space again, if there is any.
    fn keep(&self) {}

    /// What it takes for itself now, as far as it knows; nothing of a base that is all memory.
    fn memory(&self) -> BaseMemory {
        BaseMemory::default()
    }

    /// Makes `to`, which must not be there, a directory of the base's files as of this moment. They share their bytes with the
    /// base's, so it takes no time and no space at first. A base without files has none.
    ///
    /// # Errors
    /// [`BaseError`]: what was made is unfinished.
    fn checkpoint(&self, _to: &Path) -> Result<(), BaseError> {
        Err(BaseError::Backend("a base in memory has no files".to_owned()))
    }
}

impl<B: RowBase + ?Sized> RowBase for Arc<B> {
    fn row(&self, name: &RowName, visit: &mut dyn FnMut(&[u8])) -> Result<bool, BaseError> {
        (**self).row(name, visit)
    }

    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        (**self).rows(names, visit)
    }

    fn pin(&self) -> Box<dyn PinnedRows + '_> {
        (**self).pin()
    }

    fn walk(
        &self,
        names: RangeInclusive<RowName>,
        visit: &mut dyn FnMut(RowName, &[u8]) -> bool,
    ) -> Result<(), BaseError> {
        (**self).walk(names, visit)
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, BaseError> {
        (**self).flushed_state(row)
    }

    fn begin_file(&self, record: &StateRows) -> Result<Box<dyn RowFile + '_>, WriteFileError> {
        (**self).begin_file(record)
    }

    fn pressure(&self) -> Result<Pressure, BaseError> {
        (**self).pressure()
    }

    fn hears(&self, entry_bytes: u64) {
        (**self).hears(entry_bytes);
    }

    fn let_go(&self) -> bool {
        (**self).let_go()
    }

    fn keep(&self) {
        (**self).keep();
    }

    fn memory(&self) -> BaseMemory {
        (**self).memory()
    }

    fn checkpoint(&self, to: &Path) -> Result<(), BaseError> {
        (**self).checkpoint(to)
    }
}

/// Rows of one moment.
pub trait PinnedRows {
    /// As [`RowBase::rows`], of that moment.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError>;
}

/// A file that is being written. Dropped unfinished, it is gone.
///
/// Names must ascend strictly over `put` and `delete` together; a name out of order is a bug of the caller and panics.
pub trait RowFile {
    /// All rows that the base has of a database go; rows of this file stay. At any moment, in any order. Their space comes back
    /// with the ingest, as far as they fill whole tables.
    ///
    /// # Errors
    /// [`WriteFileError`]: drop the file.
    fn clear(&mut self, database: Database) -> Result<(), WriteFileError>;

    /// The row as it will stand.
    ///
    /// # Errors
    /// [`WriteFileError`]: drop the file.
    fn put(&mut self, name: &RowName, row: &[u8]) -> Result<(), WriteFileError>;

    /// The row goes; there need not be one.
    ///
    /// # Errors
    /// [`WriteFileError`]: drop the file.
    fn delete(&mut self, name: &RowName) -> Result<(), WriteFileError>;

    /// Makes the file and its name durable.
    ///
    /// # Errors
    /// [`WriteFileError`]: the file is gone.
    fn finish<'base>(self: Box<Self>) -> Result<Box<dyn FinishedFile + 'base>, WriteFileError>
    where
        Self: 'base;
}

/// A file that is whole and durable, and not yet part of the state. Dropped, it is gone.
pub trait FinishedFile {
    /// Bytes of the file.
    fn bytes(&self) -> u64;

    /// Takes the file into the state in one step. When this returns, reads see all of it and no crash forgets it.
    ///
    /// # Errors
    /// [`IngestError`]: the process must end without trying again; the file is left for the next start.
    fn ingest(self: Box<Self>) -> Result<(), IngestError>;
}

/// Files that clear databases, beyond the others.
const CLEARS_MAX: u64 = 4;
