//! Whether the node still moves: apply, the log, and the disks under it. What stands still is said by `/readyz`, a disk that is
//! nearly full by a log line, and a disk of the state that answers nothing ends the node, as one of the log does.
//!
//! A slow state is no reason to end: RocksDB may have much to compact. So the disk itself is asked, with a block that is
//! written and synced beside the state. Only while clients ask something of the node: an idle one writes nothing, and is only asked
//! for its free space.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::limits::DISK_FREE_BYTES_LOW;
use crate::limits::DISK_LOW_EVERY;
use crate::limits::ELECTION_TICKS;
use crate::limits::HAND_OVER_PAUSE;
use crate::limits::HUNG_SYNC;
use crate::limits::PROBE_EVERY;
use crate::limits::RAFT_TICK;
use crate::limits::WATCH_EVERY;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::hand_over::HandOver;
use crate::node::kept_watch::KeptWatch;
use crate::node::numbers::NodeNumbers;
use crate::node::refusal::Refusal;
use crate::node::trial;
use crate::node::trial::free_bytes;
use crate::node::watch_facts::millis_of;
use crate::world::Standstill;

/// Starts the threads that watch and that ask the disk. They end with the process.
///
/// # Errors
/// [`Refusal::Make`]: no thread.
pub(super) fn spawn(
    data_dir: &Path,
    numbers: &Arc<NodeNumbers>,
    ends: &Ends,
    hand_over: HandOver,
) -> Result<(), Refusal> {
    let (ask, asked) = bounded(1);
    let (answer, answered) = bounded(1);
    let (log, state) = (data_dir.join("log"), data_dir.join("state"));
    let mut prober = Prober { log, state: state.clone(), file: None };
    let probe = move || asked.iter().for_each(|probe| drop(answer.send(prober.ask(probe))));
    let watch = NodeWatch {
        numbers: Arc::clone(numbers),
        ends: ends.clone(),
        state,
        ask,
        answered,
        asked_at: None,
        probed_at: None,
        said_at: None,
        work_seen: 0,
        apply: Stuck::default(),
        log: Stuck::default(),
        flushes: FlushesSeen::default(),
        kept: KeptWatch::default(),
        hand_over,
        is_unable_since: None,
        handed_over_at: None,
    };
    let cannot = |source| Refusal::Make { what: "the threads that watch cannot be made".to_owned(), source };
    thread::Builder::new().name("disk-probe".to_owned()).spawn(probe).map_err(cannot)?;
    thread::Builder::new().name("watch".to_owned()).spawn(move || watch.run()).map_err(cannot)?;
    Ok(())
}

/// A follower waits so long for its leader, at least.
const ELECTION_TIMEOUT: Duration = RAFT_TICK.saturating_mul(ELECTION_TICKS);

/// How many flushes of the state there were when one was done last.
#[derive(Default)]
struct FlushesSeen {
    done: u64,
    failed: u64,
}

impl FlushesSeen {
    /// Whether one failed since the newest that was done.
    fn newest_failed(&mut self, done: u64, failed: u64) -> bool {
        if done != self.done {
            *self = FlushesSeen { done, failed };
        }
        assert!(failed >= self.failed, "failures are counted up");
        failed > self.failed
    }
}

/// The thread that looks.
struct NodeWatch {
    numbers: Arc<NodeNumbers>,
    ends: Ends,
    state: PathBuf,
    ask: Sender<Probe>,
    answered: Receiver<io::Result<FreeBytes>>,
    /// Since when an answer of the disk is owed.
    asked_at: Option<Instant>,
    probed_at: Option<Instant>,
    said_at: Option<Instant>,
    /// What clients had sent and apply had done when the disk was asked last.
    work_seen: u64,
    apply: Stuck,
    log: Stuck,
    flushes: FlushesSeen,
    kept: KeptWatch,
    hand_over: HandOver,
    /// Since when this node could not do a leader's work.
    is_unable_since: Option<Instant>,
    handed_over_at: Option<Instant>,
}

impl NodeWatch {
    fn run(mut self) {
        let (begun, mut standstill) = (Instant::now(), Standstill::default());
        loop {
            thread::sleep(WATCH_EVERY);
            if standstill.look(begun.elapsed(), WATCH_EVERY) {
                self.forget_waits();
            }
            self.look();
            self.take_answer();
            self.ask_if_due();
            let waited = self.asked_at.map_or(Duration::ZERO, |at| at.elapsed());
            self.numbers.watch.state_disk_millis.store(millis_of(waited), Relaxed);
            if waited > HUNG_SYNC {
                self.ends.fail(NodeFailure::StateHung { path: self.state.clone(), waited });
                return;
            }
        }
    }

    /// This process stood still: who has not moved since then had no time to.
    fn forget_waits(&mut self) {
        tracing::warn!(
            "this process stood still for some seconds: it was stopped, or its container or machine was paused"
        );
        (self.apply.since, self.log.since, self.is_unable_since) = (None, None, None);
        self.asked_at = self.asked_at.map(|_| Instant::now());
    }

    /// Whether log and apply have moved.
    fn look(&mut self) {
        self.numbers.clients.sample();
        self.kept.look(&self.numbers.memory);
        let status = self.numbers.status.load();
        let applied = self.numbers.apply.applied_index.load(Relaxed);
        let facts = &self.numbers.watch;
        let apply = self.apply.waited(status.committed.0 > applied, applied);
        facts.apply_stuck_millis.store(millis_of(apply), Relaxed);
        let log = self.log.waited(status.last > status.persisted, status.persisted.0);
        facts.log_stuck_millis.store(millis_of(log), Relaxed);
        let (done, failed) =
            (self.numbers.apply.flushes.load(Relaxed), self.numbers.apply.failed_flushes.load(Relaxed));
        let flush_fails = self.flushes.newest_failed(done, failed);
        facts.flush_fails.store(flush_fails, Relaxed);
        self.hand_over_if_unable(flush_fails, log);
    }

    /// A leader whose state or log is not written for an election timeout holds up everybody: another node may do better.
    fn hand_over_if_unable(&mut self, flush_fails: bool, log: Duration) {
        if !flush_fails && log < ELECTION_TIMEOUT {
            self.is_unable_since = None;
            return;
        }
        let since = *self.is_unable_since.get_or_insert_with(Instant::now);
        let is_long = !flush_fails || since.elapsed() >= ELECTION_TIMEOUT;
        let may = self.handed_over_at.is_none_or(|at| at.elapsed() >= HAND_OVER_PAUSE);
        let why = if flush_fails { "its state cannot be flushed" } else { "its log is not written" };
        if is_long && may && self.hand_over.begin(why) {
            self.handed_over_at = Some(Instant::now());
        }
    }

    fn ask_if_due(&mut self) {
        let is_due = self.probed_at.is_none_or(|at| at.elapsed() >= PROBE_EVERY);
        let input = self.numbers.clients.input_bytes_total.load(Relaxed);
        let work = input.wrapping_add(self.numbers.apply.applied_index.load(Relaxed));
        if self.asked_at.is_some() || !is_due {
            return;
        }
        let is_idle = work == self.work_seen && self.probed_at.is_some();
        // Its queue is empty: nothing is asked while an answer is owed.
        if self.ask.try_send(if is_idle { Probe::Space } else { Probe::Write }).is_ok() {
            (self.work_seen, self.asked_at, self.probed_at) = (work, Some(Instant::now()), Some(Instant::now()));
        }
    }

    fn take_answer(&mut self) {
        let Ok(answer) = self.answered.try_recv() else { return };
        self.asked_at = None;
        match answer {
            Ok(free) => {
                self.numbers.watch.log_free_bytes.store(free.log, Relaxed);
                self.numbers.watch.state_free_bytes.store(free.state, Relaxed);
                self.say_if_low(&free);
            }
            // What it means for the state is for RocksDB to find out: its next write ends the node with the reason.
            Err(error) => tracing::warn!(%error, "the disk of the state takes no write"),
        }
    }

    fn say_if_low(&mut self, free: &FreeBytes) {
        let is_low = free.state.min(free.log) < DISK_FREE_BYTES_LOW;
        if is_low && self.said_at.is_none_or(|at| at.elapsed() >= DISK_LOW_EVERY) {
            self.said_at = Some(Instant::now());
            let (state, log) = (free.state >> 20, free.log >> 20);
            tracing::warn!(
                "the disk is nearly full, {state} MiB are free for the state and {log} MiB for the log: make space, writes \
                 are refused when there is none"
            );
        }
    }
}

/// A number that should move while something waits for it.
#[derive(Debug, Default)]
struct Stuck {
    at: u64,
    since: Option<Instant>,
}

impl Stuck {
    /// For how long it has stood at `at` while something waited.
    fn waited(&mut self, is_waiting: bool, at: u64) -> Duration {
        if !is_waiting || at != self.at {
            self.since = None;
        }
        self.at = at;
        if is_waiting { self.since.get_or_insert_with(Instant::now).elapsed() } else { Duration::ZERO }
    }
}

/// What the disks are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// How much space is free.
    Space,
    /// The same, and whether a write goes through.
    Write,
}

/// Free space of the disks.
struct FreeBytes {
    log: u64,
    state: u64,
}

/// The thread that may hang with the disk.
struct Prober {
    log: PathBuf,
    state: PathBuf,
    /// Without a name, beside the state: written again and again, so that a sync changes no metadata.
    file: Option<std::fs::File>,
}

impl Prober {
    fn ask(&mut self, probe: Probe) -> io::Result<FreeBytes> {
        let free = FreeBytes { log: free_bytes(&self.log)?, state: free_bytes(&self.state)? };
        if probe == Probe::Space {
            return Ok(free);
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => trial::nameless(&self.state)?,
        };
        // A block that is full already has space; the first one may find none, which the free bytes say.
        let written = file.write_all_at(&[0; 4096], 0).and_then(|()| file.sync_data());
        match written {
            Ok(()) => self.file = Some(file),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            Err(error) => return Err(error),
        }
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_or_has_nothing_to_do_is_not_stuck() {
        let mut stuck = Stuck::default();
        assert_eq!(stuck.waited(false, 0), Duration::ZERO);
        stuck.waited(true, 5);
        thread::sleep(Duration::from_millis(20));
        assert!(stuck.waited(true, 5) >= Duration::from_millis(20));
        assert!(stuck.waited(true, 6) < Duration::from_millis(20), "it moved");
        thread::sleep(Duration::from_millis(20));
        assert_eq!(stuck.waited(false, 6), Duration::ZERO);
    }
}
