//! The flush: a frozen table becomes one file of sealed rows, the file part of the base, and the log may drop what it holds.
//!
//! ```text
//! frozen -> rows in the order of names, sealed in batches -> one file with both state rows -> ingest -> trim
//! ```
//!
//! One flush is under way at a time; apply hands the next one over when that is done. Only writing the file is tried again, each
//! time as a new file: the table stays as it is, so nothing is lost by waiting, and free space is all that it takes. An
//! ingest that fails is final. While the base is behind with merging its files, no flush begins.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::apply::halt::MachineError;
use crate::apply::metrics::Metrics;
use crate::apply::ports::ApplyLog;
use crate::apply::seal::SealRowsError;
use crate::apply::seal::seal_table;
use crate::fsm::base::FinishedFile;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::kept::KeptShare;
use crate::fsm::sized_rows::Rubble;
use crate::fsm::table::RowTable;
use crate::ids::Position;
use crate::limits::FLUSH_END_DEADLINE;

/// A frozen table with the state record of the same index.
pub struct FlushJob {
    /// Nobody changes it.
    pub table: Arc<RowTable>,
    /// Both rows.
    pub record: StateRows,
    /// The newest entry in it.
    pub position: Position,
    /// Where it goes.
    pub base: Arc<dyn RowBase>,
    /// What stays in memory of it, and of the tables before.
    pub kept: KeptShare,
}

debug_fields!(self: FlushJob { position: self.position, table: self.table });

/// What one try came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FlushTry {
    /// There was nothing to flush.
    #[default]
    Idle,
    /// Everything up to here is durable.
    Done(Position),
    /// The base is behind with merging its files.
    Held,
    /// The file could not be written: the reason.
    Failed(Arc<str>),
}

impl FlushTry {
    /// Why it came to nothing.
    #[must_use]
    pub fn trouble(&self) -> Arc<str> {
        match self {
            FlushTry::Failed(why) => Arc::clone(why),
            FlushTry::Held => Arc::from(HELD),
            FlushTry::Idle | FlushTry::Done(_) => Arc::from("no flush was tried"),
        }
    }
}

/// What the thread that flushes has to do next.
#[derive(Debug)]
pub(super) enum FlushWork {
    /// Try to flush.
    Flush,
    /// Drop these.
    Drop(Vec<Rubble>),
    /// Nothing more.
    End,
}

/// The flush under way, shared by the thread that applies and the one that flushes.
pub struct Flusher {
    metrics: Arc<Metrics>,
    log: Arc<dyn ApplyLog>,
    desk: Mutex<FlushDesk>,
    changed: Condvar,
    end_deadline: Duration,
    base_bytes: AtomicU64,
    buried_bytes: AtomicU64,
}

#[derive(Default)]
struct FlushDesk {
    job: Option<Arc<FlushJob>>,
    /// A thread is at it.
    is_trying: bool,
    /// What the newest try came to.
    newest: FlushTry,
    /// An error that ends the process: nothing is tried again, since nobody knows what the disk has.
    is_final: bool,
    /// The job is one that was not tried yet.
    has_news: bool,
    /// A flush was asked for that nothing else makes due.
    is_asked: bool,
    /// The process ends: one more try, no waiting.
    is_ending: bool,
    /// The thread that applies is gone.
    is_closed: bool,
    /// A thread of its own flushes, and drops rubble.
    has_thread: bool,
    rubble: Vec<Rubble>,
}

impl FlushDesk {
    fn is_stuck(&self) -> bool {
        self.job.is_some() && self.is_in_vain() && !self.is_trying && !self.is_final
    }

    fn is_in_vain(&self) -> bool {
        matches!(self.newest, FlushTry::Held | FlushTry::Failed(_))
    }
}

impl Flusher {
    /// Nothing is under way.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, log: Arc<dyn ApplyLog>) -> Flusher {
        Flusher {
            metrics,
            log,
            desk: Mutex::default(),
            changed: Condvar::new(),
            end_deadline: FLUSH_END_DEADLINE,
            base_bytes: AtomicU64::new(0),
            buried_bytes: AtomicU64::new(0),
        }
    }

    /// The same, with another bound on what a flush may take at the end.
    #[cfg(test)]
    pub(super) fn ending_within(self, end_deadline: Duration) -> Flusher {
        Flusher { end_deadline, ..self }
    }

    /// Why nothing can be flushed at the moment, if that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        match self.newest_try() {
            FlushTry::Idle | FlushTry::Done(_) => None,
            failed => Some(failed.trouble()),
        }
    }

    /// What the newest try came to.
    pub(super) fn newest_try(&self) -> FlushTry {
        self.desk().newest.clone()
    }

    /// Whether a flush is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.desk().job.is_some()
    }

    /// Asks apply for a flush of what is applied, run or no run; wake it then.
    pub fn ask(&self) {
        self.desk().is_asked = true;
    }

    /// From now on nothing waits for a flush: what is under way gets one more try.
    pub fn interrupt(&self) {
        self.desk().is_ending = true;
        self.changed.notify_all();
    }

    /// Drops `rubble`, on the thread that flushes if there is one.
    pub fn bury(&self, rubble: Rubble) {
        let mut desk = self.desk();
        if desk.has_thread && desk.rubble.len() < RUBBLE_MAX {
            self.buried_bytes.fetch_add(rubble.bytes(), Relaxed);
            desk.rubble.push(rubble);
            self.changed.notify_all();
        } else {
            drop(desk);
            drop(rubble);
        }
    }

    /// Bytes of rubble that is not dropped yet.
    pub(super) fn buried_bytes(&self) -> u64 {
        self.buried_bytes.load(Relaxed)
    }

    /// Drops what was buried.
    pub(super) fn drop_rubble(&self, rubble: Vec<Rubble>) {
        let bytes = rubble.iter().map(Rubble::bytes).sum();
        drop(rubble);
        self.buried_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Tries once to flush what is under way. Not for two threads at once.
    ///
    /// # Errors
    /// [`MachineError`]: the process must end.
    pub fn try_once(&self) -> Result<FlushTry, MachineError> {
        let job = {
            let mut desk = self.desk();
            let Some(job) = desk.job.clone() else {
                return Ok(FlushTry::Idle);
            };
            if desk.is_final {
                return Ok(FlushTry::Failed(Arc::from(FINAL)));
            }
            desk.is_trying = true;
            job
        };
        let tried = self.flush(&job);
        let mut desk = self.desk();
        desk.is_trying = false;
        match &tried {
            Ok(tried) => {
                if let FlushTry::Done(_) = tried {
                    desk.job = None;
                }
                desk.newest = tried.clone();
            }
            // Nobody may wait for it.
            Err(_) => {
                (desk.is_ending, desk.is_final) = (true, true);
                desk.newest = FlushTry::Failed(Arc::from(FINAL));
            }
        }
        drop(desk);
        self.changed.notify_all();
        tried
    }

    pub(super) fn is_asked(&self) -> bool {
        self.desk().is_asked
    }

    /// Takes what apply has frozen.
    pub(super) fn begin(&self, job: FlushJob) {
        let mut desk = self.desk();
        assert!(desk.job.is_none(), "one flush is under way at a time");
        desk.job = Some(Arc::new(job));
        (desk.is_asked, desk.has_news) = (false, true);
        self.changed.notify_all();
    }

    /// Whether what is under way came to nothing so far, and nobody is at it just now: another job may take its place.
    pub(super) fn is_stuck(&self) -> bool {
        self.desk().is_stuck()
    }

    /// Bytes of the base's tables, as of the newest flush or the start.
    pub(super) fn base_bytes(&self) -> u64 {
        self.base_bytes.load(Relaxed)
    }

    /// Learns how large the base is.
    pub(super) fn weigh(&self, base: &dyn RowBase) {
        if let Ok(pressure) = base.pressure() {
            self.base_bytes.store(pressure.table_bytes, Relaxed);
        }
    }

    /// Takes back what is stuck, for another job to take its place. False: it is being tried again, or is done.
    pub(super) fn withdraw(&self) -> bool {
        let mut desk = self.desk();
        let is_stuck = desk.is_stuck();
        if is_stuck {
            (desk.job, desk.newest) = (None, FlushTry::Idle);
        }
        is_stuck
    }

    /// There is nothing to flush: whoever asked for it has it.
    pub(super) fn answered(&self) {
        self.desk().is_asked = false;
        self.changed.notify_all();
    }

    /// Blocks until no flush is under way or asked for, or for `patience`, or until the process ends. False: one still is.
    pub(super) fn wait_until_done(&self, patience: Duration) -> bool {
        let is_open = |desk: &FlushDesk| desk.is_asked || desk.job.is_some();
        let waits = |desk: &mut FlushDesk| is_open(desk) && !desk.is_ending;
        let (desk, _) =
            self.changed.wait_timeout_while(self.desk(), patience, waits).unwrap_or_else(PoisonError::into_inner);
        !is_open(&desk)
    }

    /// Blocks until no flush is under way, or for `pause`: one that fails may be in the way of what makes space. False: it will
    /// not end, because the process does.
    pub(super) fn wait_until_idle(&self, pause: Duration) -> bool {
        let waits = |desk: &mut FlushDesk| desk.job.is_some() && !desk.is_ending;
        let (desk, _) =
            self.changed.wait_timeout_while(self.desk(), pause, waits).unwrap_or_else(PoisonError::into_inner);
        desk.job.is_none() || !desk.is_ending
    }

    /// Blocks until what is under way was tried at least once, by the thread that flushes; what it came to.
    pub(super) fn wait_for_a_try(&self) -> FlushTry {
        let waits = |desk: &mut FlushDesk| desk.job.is_some() && !desk.is_in_vain() && desk.has_thread;
        let desk = self.changed.wait_while(self.desk(), waits).unwrap_or_else(PoisonError::into_inner);
        desk.newest.clone()
    }

    /// Whether what is under way waits for the base, or has until a moment ago.
    pub(super) fn is_waiting(&self) -> bool {
        let desk = self.desk();
        desk.job.is_some() && desk.newest == FlushTry::Held
    }

    /// Whether what is under way was tried in vain.
    pub(super) fn is_failing(&self) -> bool {
        let desk = self.desk();
        desk.job.is_some() && desk.is_in_vain()
    }

    /// Ends what is under way, with one try. True: it is durable, or there was nothing. Where another thread flushes, it is
    /// waited for at most half of the deadline, since apply asks twice: for what is under way and for what is left. That thread
    /// waits for nothing from then on.
    pub(super) fn end(&self) -> Result<bool, MachineError> {
        if !self.desk().has_thread {
            return Ok(matches!(self.try_once()?, FlushTry::Idle | FlushTry::Done(_)));
        }
        self.interrupt();
        let waits = |desk: &mut FlushDesk| desk.job.is_some() && desk.has_thread;
        let (desk, _) = self
            .changed
            .wait_timeout_while(self.desk(), self.end_deadline / 2, waits)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(desk.job.is_none())
    }

    /// A thread is going to do [`Flusher::next_work`].
    pub(super) fn attend(&self) {
        self.desk().has_thread = true;
    }

    /// The thread that applies is gone.
    pub(super) fn close(&self) {
        let mut desk = self.desk();
        (desk.is_closed, desk.is_ending) = (true, true);
        drop(desk);
        self.changed.notify_all();
    }

    /// The thread that flushes is gone.
    pub(super) fn leave(&self) {
        self.desk().has_thread = false;
        self.changed.notify_all();
    }

    /// Blocks until there is something to do for the thread that flushes. After a try that came to nothing it waits for
    /// `pause`, unless there is another job, or rubble; once the process ends nothing is tried again.
    ///
    /// Rubble goes first: until it is dropped it counts as memory of the tables, for want of which apply may wait. Unless the
    /// process ends, which gives it back anyway.
    pub(super) fn next_work(&self, pause: Option<Duration>) -> FlushWork {
        let mut desk = self.desk();
        if let Some(pause) = pause {
            if desk.is_ending {
                return FlushWork::End;
            }
            let waits =
                |desk: &mut FlushDesk| !desk.is_ending && !desk.is_closed && !desk.has_news && desk.rubble.is_empty();
            let waited = self.changed.wait_timeout_while(desk, pause, waits);
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let waits = |desk: &mut FlushDesk| desk.job.is_none() && desk.rubble.is_empty() && !desk.is_closed;
        let mut desk = self.changed.wait_while(desk, waits).unwrap_or_else(PoisonError::into_inner);
        let is_flush = desk.job.is_some() && (desk.rubble.is_empty() || desk.is_ending);
        if is_flush {
            desk.has_news = false;
            FlushWork::Flush
        } else if desk.rubble.is_empty() {
            FlushWork::End
        } else {
            FlushWork::Drop(std::mem::take(&mut desk.rubble))
        }
    }

    fn flush(&self, job: &FlushJob) -> Result<FlushTry, MachineError> {
        if job.base.pressure()?.is_high(!job.table.cleared().is_empty()) {
            return Ok(FlushTry::Held);
        }
        job.kept.make_room();
        let mut written = write(job);
        if matches!(written, Err(SealRowsError::File(_))) && !job.table.cleared().is_empty() && job.base.let_go() {
            written = write(job);
        }
        let sealed = match written {
            Ok((file, sealed)) => {
                file.ingest()?;
                job.base.keep();
                sealed
            }
            Err(SealRowsError::File(error)) => {
                Metrics::add(&self.metrics.failed_flushes, 1);
                return Ok(FlushTry::Failed(Arc::from(error.to_string())));
            }
            Err(SealRowsError::Seal(error)) => return Err(error.into()),
        };
        // Before the next table is frozen: until then this one hides what is old among them.
        job.kept.take_over(&job.table);
        self.weigh(&*job.base);
        self.log.trim(job.position);
        self.metrics.flushed_index.store(job.position.index.0, Relaxed);
        Metrics::add(&self.metrics.sealed_values, sealed);
        Metrics::add(&self.metrics.flushes, 1);
        Ok(FlushTry::Done(job.position))
    }

    fn desk(&self) -> MutexGuard<'_, FlushDesk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

debug_fields!(self: Flusher { is_busy: self.is_busy(), trouble: self.trouble() });

type WrittenFile<'a> = Box<dyn FinishedFile + 'a>;

/// Writes the file of a flush, and says how many values were sealed for it.
fn write(job: &FlushJob) -> Result<(WrittenFile<'_>, u64), SealRowsError<WriteFileError>> {
    let mut file = job.base.begin_file(&job.record).map_err(SealRowsError::File)?;
    for database in job.table.cleared().iter() {
        file.clear(database).map_err(SealRowsError::File)?;
    }
    let sealed = seal_table(&job.table, &mut |name, row| match row {
        Some(row) => file.put(name, row),
        None => file.delete(name),
    })?;
    Ok((file.finish().map_err(SealRowsError::File)?, sealed))
}

/// Why nothing is flushed while the base is behind.
const HELD: &str = "the state is behind with merging its files";
/// Why nothing is flushed any more.
const FINAL: &str = "an earlier flush ended with an error, and nothing is tried again";
/// Tables that wait to be dropped; one a flush, so more means that the thread is stuck.
const RUBBLE_MAX: usize = 8;
