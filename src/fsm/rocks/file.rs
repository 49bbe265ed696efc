//! A file on its way into RocksDB: written and synced in `flush/` under a name that is used once, then moved in.
//!
//! ```text
//! <start, 16 hex>-<number, 8 hex>.part    being written
//! <start, 16 hex>-<number, 8 hex>.rows    whole and durable, its name too
//! ```
//!
//! RocksDB moves a file in by a hard link, one edit of its manifest, and the removal of the name here. A crash between
//! the last two leaves a live table with two names. So a name is never opened for writing twice, not in this process and
//! not by a later one: that would cut the live table to nothing.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rocksdb::IngestExternalFileOptions;
use rocksdb::Options;
use rocksdb::SstFileWriter;

use crate::fsm::base::FinishedFile;
use crate::fsm::base::IngestError;
use crate::fsm::base::RowFile;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::rocks::key::database_end;
use crate::fsm::rocks::key::database_start;
use crate::fsm::rocks::key::state_key;
use crate::fsm::rocks::lines::text;
use crate::fsm::rocks::pace::MergePace;
use crate::keys::file;

/// Names in `flush/` that nobody used before.
#[derive(Debug)]
pub(crate) struct FlushNames {
    directory: PathBuf,
    /// Random, drawn once per opened base.
    start: u64,
    number: AtomicU64,
}

impl FlushNames {
    pub(crate) fn new(directory: &Path, start: u64) -> FlushNames {
        FlushNames { directory: directory.to_owned(), start, number: AtomicU64::new(0) }
    }

    fn next(&self) -> Result<FlushPath, WriteFileError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{:016x}-{number:08x}.{PART}", self.start));
        for path in [path.clone(), path.with_extension(ROWS)] {
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&error)),
                Ok(_) => panic!("{} is there: a name in flush/ is used once", path.display()),
            }
        }
        Ok(FlushPath(Some(path)))
    }
}

/// A file in `flush/`, removed when it is dropped.
struct FlushPath(Option<PathBuf>);

impl FlushPath {
    fn path(&self) -> &Path {
        self.0.as_deref().expect("a path until it is left behind")
    }

    /// The file is left where it is.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for FlushPath {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The next start removes it; until then it only takes space.
            Err(error) => tracing::warn!(%error, path = %path.display(), "a file in flush/ cannot be removed"),
        }
    }
}

/// What a file needs of the base that takes it in.
#[derive(Clone, Copy)]
pub(crate) struct FileBase<'a> {
    pub(crate) db: &'a rocksdb::DB,
    pub(crate) pins: &'a RwLock<()>,
    pub(crate) pace: &'a MergePace,
}

/// A file that is being written.
pub(crate) struct RocksFile<'a> {
    // Closed before its name is removed.
    writer: SstFileWriter<'a>,
    path: FlushPath,
    newest: Option<RowName>,
    cleared: Vec<Database>,
    base: FileBase<'a>,
}

impl<'a> RocksFile<'a> {
    pub(crate) fn begin(
        base: FileBase<'a>,
        options: &'a Options,
        names: &FlushNames,
        record: &StateRows,
    ) -> Result<RocksFile<'a>, WriteFileError> {
        let path = names.next()?;
        let writer = SstFileWriter::create(options);
        let refused = |error| refused(&error, base.pace);
        writer.open(path.path()).map_err(refused)?;
        let mut file = RocksFile { writer, path, newest: None, cleared: Vec::new(), base };
        file.writer.put(state_key(StateRow::Applied), &record.applied).map_err(refused)?;
        if let Some(keyring) = &record.keyring {
            file.writer.put(state_key(StateRow::Keyring), keyring).map_err(refused)?;
        }
        Ok(file)
    }

    fn ascend(&mut self, name: &RowName) {
        assert!(self.newest.as_ref() < Some(name), "names of a file ascend");
        self.newest = Some(*name);
    }
}

impl RowFile for RocksFile<'_> {
    fn clear(&mut self, database: Database) -> Result<(), WriteFileError> {
        self.cleared.push(database);
        let (start, end) = (database_start(database), database_end(database));
        self.writer.delete_range(start, end).map_err(|error| refused(&error, self.base.pace))
    }

    fn put(&mut self, name: &RowName, row: &[u8]) -> Result<(), WriteFileError> {
        self.ascend(name);
        self.writer.put(name.as_bytes(), row).map_err(|error| refused(&error, self.base.pace))
    }

    fn delete(&mut self, name: &RowName) -> Result<(), WriteFileError> {
        self.ascend(name);
        self.writer.delete(name.as_bytes()).map_err(|error| refused(&error, self.base.pace))
    }

    fn finish<'base>(mut self: Box<Self>) -> Result<Box<dyn FinishedFile + 'base>, WriteFileError>
    where
        Self: 'base,
    {
        // Writes what is left and syncs the file.
        self.writer.finish().map_err(|error| refused(&error, self.base.pace))?;
        let bytes = self.writer.file_size();
        let RocksFile { writer, path: part, cleared, base, .. } = *self;
        drop(writer);
        let path = part.path().with_extension(ROWS);
        fs::rename(part.path(), &path).map_err(|error| failed(&error))?;
        part.leave();
        let path = FlushPath(Some(path));
        // If the ingest fails, a start finds the file by this name.
        file::sync_parent(path.path()).map_err(|error| failed(&error))?;
        Ok(Box::new(RocksFinished { path, bytes, cleared, base }))
    }
}

/// A file that is whole.
struct RocksFinished<'a> {
    path: FlushPath,
    bytes: u64,
    cleared: Vec<Database>,
    base: FileBase<'a>,
}

/// Files that are in RocksDB are not merged from here on, until this is dropped. What is being merged ends.
struct NoMerging<'a>(&'a rocksdb::DB);

impl<'a> NoMerging<'a> {
    fn begin(db: &'a rocksdb::DB) -> Result<NoMerging<'a>, rocksdb::Error> {
        // Made first: merging goes on again whatever became of the change.
        let paused = NoMerging(db);
        db.set_options(&[(AUTO_MERGING, "true")])?;
        Ok(paused)
    }
}

impl Drop for NoMerging<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.set_options(&[(AUTO_MERGING, "false")]) {
            tracing::warn!(error = text(&error), "the state merges no files until the next start");
        }
    }
}

/// Takes whole tables of cleared databases away. What they hold is below the range deletes of the newest file, which is in level 0
/// and stays there until it may be merged: so all of it is older than that file, and is hidden. Merged with others before,
/// parts of that file could be in a table that goes here, and old rows below it would come back.
fn drop_tables(db: &rocksdb::DB, cleared: &[Database], _paused: &NoMerging<'_>) {
    for database in cleared {
        if let Err(error) = db.delete_file_in_range(database_start(*database), database_end(*database)) {
            // They are hidden, and merging will find that out.
            tracing::warn!(error = text(&error), "tables of a cleared database stay until they are merged");
        }
    }
}

impl FinishedFile for RocksFinished<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn ingest(self: Box<Self>) -> Result<(), IngestError> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // The memtable is empty. Were it not, this must be an error and not a flush of something unknown.
        options.set_allow_blocking_flush(false);
        let FileBase { db, pins, pace } = self.base;
        let paused = if self.cleared.is_empty() { None } else { NoMerging::begin(db).ok() };
        match db.ingest_external_file_opts(&options, vec![self.path.path()]) {
            Ok(()) => {
                pace.takes();
                // Whoever reads the rows of one moment still needs them; they go when they are merged.
                if let (Some(paused), Ok(_unread)) = (&paused, pins.try_write()) {
                    drop_tables(db, &self.cleared, paused);
                    // What a merge reads keeps its space until it ends.
                    pace.hurry();
                }
                Ok(())
            }
            Err(error) => {
                self.path.leave();
                Err(IngestError { why: text(&error) })
            }
        }
    }
}

/// If there is no space, the merges that are under way give some back when they end.
fn refused(error: &rocksdb::Error, pace: &MergePace) -> WriteFileError {
    pace.hurry();
    WriteFileError { why: text(error) }
}

fn failed(error: &io::Error) -> WriteFileError {
    WriteFileError { why: error.to_string() }
}

/// A setting of RocksDB's. Nothing of it is on the disk for the next start, which brings its own.
const AUTO_MERGING: &str = "disable_auto_compactions";
/// How the name of a file ends while it is written.
pub(crate) const PART: &str = "part";
/// How the name of a whole file ends.
pub(crate) const ROWS: &str = "rows";
