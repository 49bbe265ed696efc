//! A small log on a simulated disk, for every room that needs one: made, opened, fed and stepped in one line each.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::disk::Disk;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::testing::clock::SimClock;
use crate::testing::disk::Platters;
use crate::testing::seed::Seeded;
use crate::wal::Append;
use crate::wal::LogConfig;
use crate::wal::LogLoop;
use crate::wal::Recovered;
use crate::wal::WalError;
use crate::wal::create;
use crate::world::KernelEntropy;
use crate::world::SystemClock;

/// Settings, platters, a clock and randomness for one node's log.
#[derive(Debug)]
pub struct LogRig {
    /// May be changed between opens.
    pub config: LogConfig,
    /// The disk.
    pub platters: Platters,
    /// Stands still but for hung requests.
    pub clock: Arc<SimClock>,
    entropy: Arc<Seeded>,
}

/// Where a founder's log begins.
pub const BEGINNING: Position = Position { term: Term(1), index: Index(1) };

impl LogRig {
    /// Four slots of 64 KiB, entries of at most 16 KiB, sealed.
    #[must_use]
    pub fn new(seed: u64) -> LogRig {
        let node_id = NodeId::new(7).expect("not 0");
        let mut config = LogConfig::new(PathBuf::new(), node_id, ClusterId([9; 16]));
        config.log_key = Some(Zeroizing::new([0x42; 32]));
        (config.slots, config.slots_max) = (4, 4);
        config.slot_bytes = 64 << 10;
        config.entry_bytes_max = 16 << 10;
        let (platters, clock) = (Platters::default(), Arc::default());
        LogRig { config, platters, clock, entropy: Arc::new(Seeded::new(seed)) }
    }

    /// The same without a key.
    #[must_use]
    pub fn clear(seed: u64) -> LogRig {
        let mut rig = LogRig::new(seed);
        rig.config.log_key = None;
        rig
    }

    /// Makes the log, beginning behind (term 1, index 1).
    ///
    /// # Errors
    /// As [`create`].
    pub fn create(&self) -> Result<(), WalError> {
        let disk = Box::new(self.platters.open(Some(self.clock.clone())));
        create(&self.config, disk, self.clock.clone(), self.entropy.clone(), BEGINNING, &mut |_, _| ()).map(drop)
    }

    /// Opens the log.
    ///
    /// # Errors
    /// As [`LogLoop::open`].
    pub fn open(&self) -> Result<(LogLoop, Recovered), WalError> {
        let disk: Box<dyn Disk> = Box::new(self.platters.open(Some(self.clock.clone())));
        LogLoop::open(&self.config, disk, self.clock.clone(), self.entropy.clone())
    }

    /// The same settings over a copy of the platters.
    #[must_use]
    pub fn image(&self) -> LogRig {
        LogRig {
            config: self.config.clone(),
            platters: self.platters.image(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        }
    }

    /// The same settings over other platters, with a clock and randomness of its own.
    #[must_use]
    pub fn on(&self, platters: Platters, seed: u64) -> LogRig {
        let entropy = Arc::new(Seeded::new(seed));
        LogRig { config: self.config.clone(), platters, clock: Arc::default(), entropy }
    }

    /// Lets so much time pass that an idle frame is due, and writes it.
    ///
    /// # Errors
    /// As [`LogLoop::step`].
    pub fn idle(&self, log: &mut LogLoop) -> Result<(), WalError> {
        self.clock.advance(self.config.idle);
        settle(log).map(drop)
    }
}

/// Makes a log on real files anew, with these contents and nothing else: for logs that no node would write, such as a
/// sealed entry with a changed byte inside an otherwise valid log. No node may have it open.
///
/// # Errors
/// As [`create`] and [`LogLoop::step`].
///
/// # Panics
/// If the old slots cannot be removed.
pub fn rebuild(config: &LogConfig, contents: &Recovered) -> Result<(), WalError> {
    for found in std::fs::read_dir(&config.dir).expect("the log's directory") {
        std::fs::remove_file(found.expect("an entry of the directory").path()).expect("a slot that can be removed");
    }
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(KernelEntropy));
    let disk = config.open_disk()?;
    let disk = create(config, disk, clock.clone(), entropy.clone(), contents.compacted, &mut |_, _| ())?;
    let (mut log, _) = LogLoop::open(config, disk, clock, entropy)?;
    let hard_state = Some(contents.hard_state);
    let append = Append { hard_state, cutover: contents.cutover, ..append(1, contents.entries.clone()) };
    write(&mut log, append).map(drop)
}

/// Offers an append and steps until all is quiet; the newest ticket that became durable.
///
/// # Errors
/// As [`LogLoop::step`].
///
/// # Panics
/// If the queue is full.
pub fn write(log: &mut LogLoop, append: Append) -> Result<Option<u64>, WalError> {
    log.offer(append).expect("the queue has space");
    settle(log)
}

/// Steps until nothing is in flight; the newest ticket that became durable.
///
/// # Errors
/// As [`LogLoop::step`].
pub fn settle(log: &mut LogLoop) -> Result<Option<u64>, WalError> {
    let mut newest = None;
    loop {
        let progress = log.step(Duration::from_secs(1))?;
        newest = progress.persisted_ticket.or(newest);
        if !progress.busy {
            return Ok(newest);
        }
    }
}

/// `count` entries of one term from `first` on, each of `len` bytes that depend on its place.
#[must_use]
pub fn entries(term: u64, first: u64, count: u64, len: usize) -> Vec<LogEntry> {
    let entry = |index: u64| {
        let start = (index as u8).wrapping_mul(31).wrapping_add((term as u8).wrapping_mul(7));
        let data = (0..len).map(|at| start.wrapping_add(at as u8)).collect::<Vec<u8>>();
        LogEntry { term: Term(term), index: Index(index), kind: EntryKind::Normal, data: Bytes::from(data) }
    };
    (first..first + count).map(entry).collect()
}

/// An append of nothing but entries.
#[must_use]
pub fn append(ticket: u64, entries: Vec<LogEntry>) -> Append {
    Append { ticket, entries, ..Append::default() }
}

/// An append of nothing but a trim.
#[must_use]
pub fn trim(ticket: u64, term: u64, index: u64) -> Append {
    let trim = Some(Position { term: Term(term), index: Index(index) });
    Append { ticket, trim, ..Append::default() }
}
