//! The simulated twin of RocksDB below the table: a crash takes it back to the newest finished ingest, exactly.
//!
//! A test arms faults, holds an ingest half-way on its thread, and says how far compaction is behind.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;

use bytes::Bytes;

use crate::fsm::base::BaseError;
use crate::fsm::base::FinishedFile;
use crate::fsm::base::IngestError;
use crate::fsm::base::PinnedRows;
use crate::fsm::base::Pressure;
use crate::fsm::base::RowBase;
use crate::fsm::base::RowFile;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::opening::RowCipher;
use crate::fsm::reader::RowReader;
use crate::fsm::sized_rows::Bury;
use crate::fsm::view::ViewWriter;
use crate::ids::Position;
pub use crate::testing::no_cipher::NoCipher;

/// A fault, armed for one file or ingest, counted from the moment it is set (0 = the next).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFault {
    /// The nth file fails at this step.
    File(u64, FileStep),
    /// The nth ingest fails, and the base takes nothing more until it crashes. Whether the disk has the file shows then.
    Ingest {
        /// Ingests that come before.
        nth: u64,
        /// Whether the file is part of the state after the crash.
        survives: bool,
    },
}

/// Where a file fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStep {
    /// Before anything is in it.
    Begin,
    /// At the first change of a row.
    Row,
    /// When it is synced.
    Finish,
}

/// Where an ingest is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPoint {
    /// Nothing of the file is visible or durable.
    Before,
    /// All of it is, and the caller does not know yet.
    After,
}

/// What was asked of a base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseCounts {
    /// Files begun.
    pub begun: u64,
    /// Files that were written whole.
    pub finished: u64,
    /// Files that became part of the state.
    pub ingested: u64,
    /// Names that were looked up, one by one or in batches.
    pub looked_up: u64,
}

/// A [`RowBase`] without a disk.
#[derive(Default)]
pub struct MemoryBase {
    disk: Mutex<BaseDisk>,
    released: Condvar,
}

#[derive(Default)]
struct BaseDisk {
    rows: Arc<BTreeMap<RowName, Bytes>>,
    state: BTreeMap<StateRow, Vec<u8>>,
    faults: Vec<BaseFault>,
    counts: BaseCounts,
    /// Ingested files since the last merge.
    level0_files: u64,
    pending_bytes: u64,
    is_merging_held: bool,
    hold: Option<HoldPoint>,
    /// Where a thread waits in an ingest just now.
    held: Option<HoldPoint>,
    /// A file whose ingest failed and that shows after the crash.
    survivor: Option<FileContent>,
    is_stopped: bool,
    /// No file can be begun, whoever crashes.
    is_full: bool,
    /// Crashes: a file of a life before is never ingested.
    life: u64,
}

/// What is in a file, as it is applied: databases that are cleared, then rows.
#[derive(Debug)]
struct FileContent {
    cleared: Vec<Database>,
    rows: BTreeMap<RowName, Option<Bytes>>,
    record: StateRows,
}

impl MemoryBase {
    /// An empty base with this state record.
    #[must_use]
    pub fn new(record: StateRows) -> MemoryBase {
        let base = MemoryBase::default();
        base.lock().apply(FileContent { cleared: Vec::new(), rows: BTreeMap::new(), record });
        base
    }

    /// Arms a fault.
    pub fn arm(&self, fault: BaseFault) {
        self.lock().faults.push(fault);
    }

    /// Forgets what a crash forgets: files that were not ingested. An ingest that is held ends with an error.
    pub fn crash(&self) {
        let disk = &mut *self.lock();
        disk.life += 1;
        disk.faults.clear();
        disk.hold = None;
        disk.is_stopped = false;
        if let Some(content) = disk.survivor.take() {
            disk.apply(content);
        }
        self.released.notify_all();
    }

    /// From now on an ingest waits at this point, on the thread that asked for it, until [`MemoryBase::release`] or a crash.
    pub fn hold_ingests(&self, at: HoldPoint) {
        self.lock().hold = Some(at);
    }

    /// Lets a held ingest go on; none waits any more.
    pub fn release(&self) {
        self.lock().hold = None;
        self.released.notify_all();
    }

    /// Blocks until a thread waits in an ingest, or has been through it.
    pub fn wait_until_held(&self) {
        let disk = self.lock();
        drop(self.released.wait_while(disk, |disk| disk.held.is_none() && disk.hold.is_some()).expect(NO_PANIC));
    }

    /// While held, ingested files stay in level 0; let go, they are merged at once.
    pub fn hold_merging(&self, is_held: bool) {
        let disk = &mut *self.lock();
        disk.is_merging_held = is_held;
        if !is_held {
            disk.level0_files = 0;
        }
    }

    /// Whether there is no space for another file, over crashes too.
    pub fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// Says how many bytes compaction is behind.
    pub fn set_pending_bytes(&self, bytes: u64) {
        self.lock().pending_bytes = bytes;
    }

    /// What was asked so far.
    #[must_use]
    pub fn counts(&self) -> BaseCounts {
        self.lock().counts
    }

    /// Rows that a crash would leave.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn ingest(&self, content: FileContent, life: u64) -> Result<(), IngestError> {
        let mut disk = self.pass(self.lock(), HoldPoint::Before);
        disk.check_life(life)?;
        if let Some(survives) = disk.ingest_fault() {
            disk.is_stopped = true;
            disk.survivor = survives.then_some(content);
            return Err(IngestError { why: "armed by the test".to_owned() });
        }
        disk.apply(content);
        disk.counts.ingested += 1;
        disk.level0_files += u64::from(disk.is_merging_held);
        self.pass(disk, HoldPoint::After).check_life(life)
    }

    /// Waits here if ingests are held at this point.
    fn pass<'a>(&self, mut disk: MutexGuard<'a, BaseDisk>, point: HoldPoint) -> MutexGuard<'a, BaseDisk> {
        if disk.hold != Some(point) {
            return disk;
        }
        disk.held = Some(point);
        self.released.notify_all();
        let mut disk = self.released.wait_while(disk, |disk| disk.hold == Some(point)).expect(NO_PANIC);
        disk.held = None;
        disk
    }

    fn lock(&self) -> MutexGuard<'_, BaseDisk> {
        self.disk.lock().expect(NO_PANIC)
    }
}

impl RowBase for MemoryBase {
    fn row(&self, name: &RowName, visit: &mut dyn FnMut(&[u8])) -> Result<bool, BaseError> {
        let row = self.lock().look_up(name);
        row.iter().for_each(|row| visit(row));
        Ok(row.is_some())
    }

    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        for (batch, some) in names.chunks(BATCH).enumerate() {
            // Visited without the lock: a test may change the base between two batches.
            let rows: Vec<Option<Bytes>> = {
                let disk = &mut *self.lock();
                some.iter().map(|name| disk.look_up(name)).collect()
            };
            for (at, row) in rows.iter().enumerate() {
                if !visit(batch * BATCH + at, row.as_deref()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn pin(&self) -> Box<dyn PinnedRows + '_> {
        Box::new(PinnedMoment { base: self, rows: Arc::clone(&self.lock().rows) })
    }

    fn walk(
        &self,
        names: RangeInclusive<RowName>,
        visit: &mut dyn FnMut(RowName, &[u8]) -> bool,
    ) -> Result<(), BaseError> {
        if names.is_empty() {
            return Ok(());
        }
        let moment = Arc::clone(&self.lock().rows);
        let _stopped = moment.range(names).all(|(name, row)| visit(*name, row));
        Ok(())
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, BaseError> {
        Ok(self.lock().state.get(&row).cloned())
    }

    fn begin_file(&self, record: &StateRows) -> Result<Box<dyn RowFile + '_>, WriteFileError> {
        let disk = &mut *self.lock();
        disk.counts.begun += 1;
        let fails_at = if disk.is_full { Some(FileStep::Begin) } else { disk.file_fault() };
        let content = FileContent { cleared: Vec::new(), rows: BTreeMap::new(), record: record.clone() };
        let mut file = MemoryFile { base: self, content, fails_at, life: disk.life };
        file.reach(FileStep::Begin)?;
        Ok(Box::new(file))
    }

    fn pressure(&self) -> Result<Pressure, BaseError> {
        let disk = self.lock();
        if disk.is_stopped {
            return Err(BaseError::Backend("stopped after a failed ingest".to_owned()));
        }
        let table_bytes = disk.rows.values().map(|row| row.len() as u64).sum();
        Ok(Pressure { level0_files: disk.level0_files, pending_bytes: disk.pending_bytes, table_bytes })
    }

    fn hears(&self, _entry_bytes: u64) {}
}

/// The rows of a moment.
struct PinnedMoment<'a> {
    base: &'a MemoryBase,
    rows: Arc<BTreeMap<RowName, Bytes>>,
}

impl PinnedRows for PinnedMoment<'_> {
    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        self.base.lock().counts.looked_up += names.len() as u64;
        let _stopped = names.iter().enumerate().all(|(at, name)| visit(at, self.rows.get(name).map(|row| &row[..])));
        Ok(())
    }
}

impl fmt::Debug for MemoryBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.lock();
        f.debug_struct("MemoryBase").field("rows", &disk.rows.len()).field("life", &disk.life).finish_non_exhaustive()
    }
}

impl BaseDisk {
    fn apply(&mut self, content: FileContent) {
        let rows = Arc::make_mut(&mut self.rows);
        rows.retain(|name, _| !content.cleared.contains(&name.database()));
        for (name, row) in content.rows {
            match row {
                Some(row) => rows.insert(name, row),
                None => rows.remove(&name),
            };
        }
        self.state.insert(StateRow::Applied, content.record.applied);
        if let Some(keyring) = content.record.keyring {
            self.state.insert(StateRow::Keyring, keyring);
        }
    }

    fn look_up(&mut self, name: &RowName) -> Option<Bytes> {
        self.counts.looked_up += 1;
        self.rows.get(name).cloned()
    }

    fn check_life(&self, life: u64) -> Result<(), IngestError> {
        match (self.life == life, self.is_stopped) {
            (true, false) => Ok(()),
            (true, true) => Err(IngestError { why: "stopped after a failed ingest".to_owned() }),
            (false, _) => Err(IngestError { why: "the process crashed".to_owned() }),
        }
    }

    fn file_fault(&mut self) -> Option<FileStep> {
        let mut found = None;
        self.faults.retain_mut(|fault| match fault {
            BaseFault::File(0, step) => {
                found = Some(*step);
                false
            }
            BaseFault::File(nth, _) => {
                *nth -= 1;
                true
            }
            BaseFault::Ingest { .. } => true,
        });
        found
    }

    fn ingest_fault(&mut self) -> Option<bool> {
        let mut found = None;
        self.faults.retain_mut(|fault| match fault {
            BaseFault::Ingest { nth: 0, survives } => {
                found = Some(*survives);
                false
            }
            BaseFault::Ingest { nth, .. } => {
                *nth -= 1;
                true
            }
            BaseFault::File(..) => true,
        });
        found
    }
}

/// A file that is being written, or is whole.
struct MemoryFile<'a> {
    base: &'a MemoryBase,
    content: FileContent,
    fails_at: Option<FileStep>,
    life: u64,
}

impl MemoryFile<'_> {
    fn reach(&mut self, step: FileStep) -> Result<(), WriteFileError> {
        match self.fails_at {
            Some(at) if at == step => Err(WriteFileError { why: "armed by the test".to_owned() }),
            _ => Ok(()),
        }
    }

    fn change(&mut self, name: &RowName, row: Option<Bytes>) -> Result<(), WriteFileError> {
        let newest = self.content.rows.last_key_value().map(|(newest, _)| newest);
        assert!(newest < Some(name), "names of a file ascend");
        self.reach(FileStep::Row)?;
        self.content.rows.insert(*name, row);
        Ok(())
    }
}

impl RowFile for MemoryFile<'_> {
    fn clear(&mut self, database: Database) -> Result<(), WriteFileError> {
        self.reach(FileStep::Row)?;
        self.content.cleared.push(database);
        Ok(())
    }

    fn put(&mut self, name: &RowName, row: &[u8]) -> Result<(), WriteFileError> {
        self.change(name, Some(Bytes::copy_from_slice(row)))
    }

    fn delete(&mut self, name: &RowName) -> Result<(), WriteFileError> {
        self.change(name, None)
    }

    fn finish<'base>(mut self: Box<Self>) -> Result<Box<dyn FinishedFile + 'base>, WriteFileError>
    where
        Self: 'base,
    {
        self.reach(FileStep::Finish)?;
        self.base.lock().counts.finished += 1;
        Ok(self)
    }
}

impl FinishedFile for MemoryFile<'_> {
    fn bytes(&self) -> u64 {
        self.content.rows.values().flatten().map(|row| row.len() as u64).sum()
    }

    fn ingest(self: Box<Self>) -> Result<(), IngestError> {
        self.base.ingest(self.content, self.life)
    }
}

/// Rows of one moment in [`RowBase::rows`]: few, so that tests see batches end.
const BATCH: usize = 4;
const NO_PANIC: &str = "no holder of this lock panics";

/// A reader of what is flushed, with nothing above it.
pub fn reader_of(base: Arc<dyn RowBase>, cipher: Arc<dyn RowCipher>) -> RowReader {
    let bury: Bury = Arc::new(drop);
    let writer = ViewWriter::new(base, Position::default(), 0, &bury);
    RowReader::new(Arc::clone(writer.views()), cipher)
}
