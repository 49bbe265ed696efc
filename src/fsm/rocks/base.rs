//! The base on RocksDB: one column family, no log of its own, no row in its memtable; what it shows is what its files hold.
//!
//! ```text
//! row key  0x00 | 0x01   applied row          state rows sort before all users' rows
//!          0x00 | 0x02   keyring row
//!          row name      a user's row: 0x01 to 0x10, then 16 bytes
//! ```

use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rocksdb::ColumnFamily;
use rocksdb::ColumnFamilyDescriptor;
use rocksdb::DB;
use rocksdb::ErrorKind;
use rocksdb::Options;
use rocksdb::ReadOptions;
use rocksdb::Snapshot;
use rocksdb::WriteBatch;
use rocksdb::WriteOptions;
use rocksdb::checkpoint::Checkpoint;

use crate::fsm::base::BaseError;
use crate::fsm::base::BaseMemory;
use crate::fsm::base::PinnedRows;
use crate::fsm::base::Pressure;
use crate::fsm::base::RowBase;
use crate::fsm::base::RowFile;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::name::RowName;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::file::FileBase;
use crate::fsm::rocks::file::FlushNames;
use crate::fsm::rocks::file::RocksFile;
use crate::fsm::rocks::key::state_key;
use crate::fsm::rocks::lines::text;
use crate::fsm::rocks::reserve::SpaceReserve;
use crate::fsm::rocks::tuning::BaseOptions;
use crate::fsm::rocks::tuning::base_options;
use crate::limits::FETCH_BATCH_ROWS_MAX;
use crate::limits::FETCH_KEYS_MAX;
use crate::limits::REPLY_BYTES_MAX;

/// Where a base lives. Both directories are on one file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePlace {
    /// RocksDB's own.
    pub state: PathBuf,
    /// Files on their way into it; must exist.
    pub flush: PathBuf,
}

/// A [`RowBase`] in a directory.
pub struct RocksBase {
    db: DB,
    options: BaseOptions,
    names: FlushNames,
    /// Held by whoever reads the rows of one moment, and against them while whole tables go.
    pins: RwLock<()>,
    is_read_only: bool,
    /// None of a base that is only made, or looked at.
    reserve: Option<SpaceReserve>,
    /// How many rows the next batch fetches.
    rows_at_once: AtomicUsize,
}

impl RocksBase {
    /// Makes a new base that holds `record` and no rows; its directory must not be there. `start` is random, drawn for
    /// this base alone: it is in the names of its files in `flush/`.
    ///
    /// # Errors
    /// The text of what went wrong; what was made is unfinished.
    pub fn create(
        place: &BasePlace,
        options: &RocksOptions,
        start: u64,
        record: &StateRows,
    ) -> Result<RocksBase, BaseError> {
        let mut options = base_options(options);
        options.db.create_if_missing(true);
        options.db.set_error_if_exists(true);
        let opened = DB::open_cf_descriptors(&options.db, &place.state, [family(&options.db)]);
        let base = RocksBase::finish(opened, options, place, start)?;
        let file = base.begin_file(record).map_err(|error| BaseError::Backend(error.to_string()))?;
        let file = file.finish().map_err(|error| BaseError::Backend(error.to_string()))?;
        file.ingest().map_err(|error| BaseError::Backend(error.to_string()))?;
        Ok(base)
    }

    /// Opens the base; one that is missing is never made.
    ///
    /// # Errors
    /// [`BaseError::Backend`]: missing, damaged, or held by another process.
    pub fn open(place: &BasePlace, options: &RocksOptions, start: u64) -> Result<RocksBase, BaseError> {
        let options = base_options(options);
        let opened = DB::open_cf_descriptors(&options.db, &place.state, [family(&options.db)]);
        let base = RocksBase::finish(opened, options, place, start)?;
        Ok(RocksBase { reserve: Some(SpaceReserve::of(&place.state)), ..base })
    }

    /// Opens the base to look at it: nothing in its directories changes, and another process may hold it. No file
    /// can be begun.
    ///
    /// # Errors
    /// [`BaseError::Backend`]: missing or damaged.
    pub fn open_read_only(place: &BasePlace, options: &RocksOptions) -> Result<RocksBase, BaseError> {
        RocksBase::look(place, options).map_err(|error| match error {
            LookError::Without { table } => BaseError::MissingTable { table },
            LookError::Other(error) => error,
        })
    }

    /// The same; a missing table is an error of its own.
    pub(crate) fn look(place: &BasePlace, options: &RocksOptions) -> Result<RocksBase, LookError> {
        let options = base_options(options);
        let db = DB::open_cf_descriptors_read_only(&options.db, &place.state, [family(&options.db)], false);
        let db = db.map_err(|error| match missing_table(error.as_ref()) {
            Some(table) => LookError::Without { table },
            None => LookError::Other(backend(&error)),
        })?;
        Ok(RocksBase { is_read_only: true, ..RocksBase::of(db, options, FlushNames::new(&place.flush, 0)) })
    }

    fn finish(
        opened: Result<DB, rocksdb::Error>,
        options: BaseOptions,
        place: &BasePlace,
        start: u64,
    ) -> Result<RocksBase, BaseError> {
        let db = opened.map_err(|error| backend(&error))?;
        Ok(RocksBase::of(db, options, FlushNames::new(&place.flush, start)))
    }

    fn of(db: DB, options: BaseOptions, names: FlushNames) -> RocksBase {
        let (pins, rows_at_once) = (RwLock::new(()), AtomicUsize::new(FETCH_KEYS_MAX));
        RocksBase { db, options, names, pins, is_read_only: false, reserve: None, rows_at_once }
    }

    /// See [`MergePace::spent`](crate::fsm::rocks::pace::MergePace::spent).
    #[cfg(test)]
    pub(crate) fn merging_spent(&self) -> (std::time::Duration, bool) {
        self.options.pace.spent()
    }

    /// Name within the directory and length of each table, as the manifest has them.
    pub(crate) fn tables(&self) -> Result<Vec<(String, u64)>, BaseError> {
        let files = self.db.live_files().map_err(|error| backend(&error))?;
        Ok(files.into_iter().map(|file| (file.name.trim_start_matches('/').to_owned(), file.size as u64)).collect())
    }

    /// Bytes of all tables that the base reads from.
    ///
    /// # Errors
    /// [`BaseError::Backend`].
    pub fn table_bytes(&self) -> Result<u64, BaseError> {
        Ok(self.tables()?.iter().map(|(_, bytes)| bytes).sum())
    }

    fn family(&self) -> &ColumnFamily {
        self.db.cf_handle(FAMILY).expect("opened with this family")
    }

    fn number(&self, property: &str) -> Result<u64, BaseError> {
        let value = self.db.property_int_value(property).map_err(|error| backend(&error))?;
        value.ok_or(BaseError::Malformed { what: "RocksDB's properties" })
    }

    /// After some errors RocksDB merges nothing any more, and says so only to whoever writes: an empty write changes nothing.
    fn check_alive(&self) -> Result<(), BaseError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        options.set_no_slowdown(true);
        match self.db.write_opt(WriteBatch::default(), &options) {
            Err(error) if error.kind() != ErrorKind::Incomplete => Err(backend(&error)),
            _ => Ok(()),
        }
    }

    /// As [`RowBase::rows`], by `options`.
    fn several(
        &self,
        options: &ReadOptions,
        names: &[RowName],
        visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool,
    ) -> Result<(), BaseError> {
        let mut offset = 0;
        while offset < names.len() {
            let count = self.rows_at_once.load(Relaxed);
            let some = &names[offset..names.len().min(offset + count)];
            let (largest, goes_on) = self.batch(options, offset, some, visit)?;
            offset += some.len();
            // Rows of one batch are held together. As long as they are small, more of them are taken, the next time too. Who
            // wants no more has had his fill of few: what else was fetched was for nothing.
            let next = if goes_on { (REPLY_BYTES_MAX / largest.max(1)).min(2 * count) } else { FETCH_KEYS_MAX };
            self.rows_at_once.store(next.clamp(FETCH_KEYS_MAX, FETCH_BATCH_ROWS_MAX), Relaxed);
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Fetches up to [`FETCH_BATCH_ROWS_MAX`] rows at once; answers the largest, and whether `visit` wants more.
    fn batch(
        &self,
        options: &ReadOptions,
        offset: usize,
        names: &[RowName],
        visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool,
    ) -> Result<(usize, bool), BaseError> {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_unstable_by_key(|at| names[*at]);
        let sorted = order.iter().map(|at| names[*at].as_bytes());
        let mut fetched = self.db.batched_multi_get_cf_opt(self.family(), sorted, true, options);
        let mut rows: Vec<_> = names.iter().map(|_| None).collect();
        for (at, row) in order.into_iter().zip(fetched.drain(..)) {
            rows[at] = row.map_err(|error| backend(&error))?;
        }
        let mut largest = 0;
        for (at, row) in rows.iter().enumerate() {
            largest = largest.max(row.as_ref().map_or(0, |row| row.len()));
            if !visit(offset + at, row.as_deref()) {
                return Ok((largest, false));
            }
        }
        Ok((largest, true))
    }
}

impl RowBase for RocksBase {
    fn row(&self, name: &RowName, visit: &mut dyn FnMut(&[u8])) -> Result<bool, BaseError> {
        let row = self.db.get_pinned(name.as_bytes()).map_err(|error| backend(&error))?;
        row.iter().for_each(|row| visit(row));
        Ok(row.is_some())
    }

    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        self.several(&ReadOptions::default(), names, visit)
    }

    fn pin(&self) -> Box<dyn PinnedRows + '_> {
        // A snapshot hides what comes later; it does not keep a table that goes whole.
        let held = self.pins.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.db.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        Box::new(PinnedBase { base: self, options, _snapshot: snapshot, _held: held })
    }

    fn walk(
        &self,
        names: RangeInclusive<RowName>,
        visit: &mut dyn FnMut(RowName, &[u8]) -> bool,
    ) -> Result<(), BaseError> {
        if names.is_empty() {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(*names.start().as_bytes());
        // The end is exclusive there: a longer key, which no row has.
        options.set_iterate_upper_bound([&names.end().as_bytes()[..], &[0]].concat());
        // A walk over everything must not push out what clients read.
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek_to_first();
        while let Some((key, row)) = rows.item() {
            let name = RowName::from_bytes(key).ok_or(BaseError::Malformed { what: "a user" })?;
            if !visit(name, row) {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(|error| backend(&error))
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, BaseError> {
        let row = self.db.get_pinned(state_key(row)).map_err(|error| backend(&error))?;
        Ok(row.map(|row| row.to_vec()))
    }

    fn begin_file(&self, record: &StateRows) -> Result<Box<dyn RowFile + '_>, WriteFileError> {
        if self.is_read_only {
            return Err(WriteFileError { why: "the state is open to look at it only".to_owned() });
        }
        let base = FileBase { db: &self.db, pins: &self.pins, pace: &self.options.pace };
        Ok(Box::new(RocksFile::begin(base, &self.options.db, &self.names, record)?))
    }

    fn pressure(&self) -> Result<Pressure, BaseError> {
        let level0 = self.db.property_value(LEVEL0_FILES).map_err(|error| backend(&error))?;
        let level0_files = level0.and_then(|number| number.parse().ok());
        let pressure = Pressure {
            level0_files: level0_files.ok_or(BaseError::Malformed { what: "RocksDB's properties" })?,
            pending_bytes: self.number(PENDING_BYTES)?,
            table_bytes: self.number(TABLE_BYTES)?,
        };
        self.options.pace.sees(pressure.level0_files);
        if pressure.is_high(false) {
            self.options.pace.hurry();
            self.check_alive()?;
        }
        Ok(pressure)
    }

    fn hears(&self, entry_bytes: u64) {
        self.options.pace.hears(entry_bytes);
    }

    fn let_go(&self) -> bool {
        self.reserve.as_ref().is_some_and(SpaceReserve::let_go)
    }

    fn keep(&self) {
        self.reserve.iter().for_each(SpaceReserve::keep);
    }

    fn memory(&self) -> BaseMemory {
        // A number that RocksDB does not give is shown as nothing: it is for the eye.
        let bytes = |property| self.number(property).unwrap_or(0);
        BaseMemory {
            cache_bytes: bytes(CACHE_BYTES),
            memtable_bytes: bytes(MEMTABLE_BYTES),
            reader_bytes: bytes(READER_BYTES),
        }
    }

    fn checkpoint(&self, to: &Path) -> Result<(), BaseError> {
        // Whole tables must not go while their names are copied.
        let _held = self.pins.read().unwrap_or_else(PoisonError::into_inner);
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| backend(&error))?;
        checkpoint.create_checkpoint(to).map_err(|error| backend(&error))
    }
}

/// A snapshot of RocksDB's. A file that is taken in meanwhile is newer than it.
struct PinnedBase<'a> {
    base: &'a RocksBase,
    // Before the snapshot that they name.
    options: ReadOptions,
    _snapshot: Snapshot<'a>,
    _held: RwLockReadGuard<'a, ()>,
}

impl PinnedRows for PinnedBase<'_> {
    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        self.base.several(&self.options, names, visit)
    }
}

debug_fields!(self: RocksBase { path: self.db.path(), is_read_only: self.is_read_only });

/// Why a base cannot be looked at.
#[derive(Debug)]
pub(crate) enum LookError {
    /// The manifest names a table that is not there.
    Without {
        /// Its name within the directory.
        table: String,
    },
    /// Anything else.
    Other(BaseError),
}

/// Named, because batches of names are looked up by the handle of a column family.
fn family(options: &Options) -> ColumnFamilyDescriptor {
    ColumnFamilyDescriptor::new(FAMILY, options.clone())
}

/// The table that RocksDB did not find, which only the text of its error says.
fn missing_table(text: &str) -> Option<String> {
    if !text.contains("No such file or directory") {
        return None;
    }
    let names = text.split(['/', ' ', ':', '\'']);
    names.filter(|name| name.strip_suffix(".sst").is_some_and(is_number)).map(str::to_owned).next()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn backend(error: &rocksdb::Error) -> BaseError {
    BaseError::Backend(text(error))
}

const FAMILY: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
const LEVEL0_FILES: &str = "rocksdb.num-files-at-level0";
const CACHE_BYTES: &str = "rocksdb.block-cache-usage";
const MEMTABLE_BYTES: &str = "rocksdb.cur-size-all-mem-tables";
const READER_BYTES: &str = "rocksdb.estimate-table-readers-mem";
const TABLE_BYTES: &str = "rocksdb.live-sst-files-size";
const PENDING_BYTES: &str = "rocksdb.estimate-pending-compaction-bytes";
