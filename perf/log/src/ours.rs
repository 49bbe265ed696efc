//! sealkv's log, stepped on the caller's thread as the log thread steps it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use sealkv::disk::EngineChoice;
use sealkv::entry::EntryKind;
use sealkv::entry::LogEntry;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::NodeId;
use sealkv::ids::Position;
use sealkv::ids::Term;
use sealkv::wal;
use sealkv::wal::Append;
use sealkv::wal::LogConfig;
use sealkv::wal::LogLoop;
use sealkv::world::KernelEntropy;
use sealkv::world::SystemClock;
use zeroize::Zeroizing;

use crate::run::Cell;
use crate::run::Contestant;
use crate::run::payload;

pub const TERM: Term = Term(1);

/// A log of its own, sealed or not, with four frames in flight at most.
pub struct Ours {
    log: LogLoop,
    sealed: bool,
    ticket: u64,
    next: u64,
    bytes_since_trim: usize,
    syncs: u64,
}

impl Ours {
    pub fn new(dir: &Path, sealed: bool, engine: EngineChoice) -> Ours {
        let mut config = config(dir, sealed);
        config.frames_in_flight = 4;
        config.engine = engine;
        let log = made(&config);
        Ours { log, sealed, ticket: 0, next: 2, bytes_since_trim: 0, syncs: 0 }
    }

    fn offer(&mut self, cell: Cell, entry: &Bytes) -> (u64, Instant) {
        let begin = Instant::now();
        let first = self.next;
        self.next += cell.group as u64;
        let entry = |index| LogEntry { term: TERM, index: Index(index), kind: EntryKind::Normal, data: entry.clone() };
        self.ticket += 1;
        self.bytes_since_trim += cell.group * cell.entry_bytes.max(4096 / cell.group);
        // As a node does once its state is flushed: what is behind is given up, and slots are used again.
        let trim = (self.bytes_since_trim > TRIM_BYTES).then(|| {
            self.bytes_since_trim = 0;
            Position { term: TERM, index: Index(first - 1) }
        });
        let entries = (first..self.next).map(entry).collect();
        let append = Append { ticket: self.ticket, entries, trim, ..Append::default() };
        self.log.offer(append).expect("few appends wait");
        (self.ticket, begin)
    }
}

impl Contestant for Ours {
    fn name(&self) -> String {
        let words = if self.sealed { "sealkv sealed" } else { "sealkv clear" };
        format!("{words} {}", self.log.engine().word())
    }

    fn own_syncs(&self) -> u64 {
        self.syncs
    }

    fn run(&mut self, cell: Cell, limit: Duration) -> Vec<Duration> {
        let (entry, begin) = (Bytes::from(payload(cell.entry_bytes)), Instant::now());
        let (mut waiting, mut times) = (VecDeque::new(), Vec::new());
        loop {
            while waiting.len() < cell.in_flight && begin.elapsed() < limit {
                waiting.push_back(self.offer(cell, &entry));
            }
            let progress = self.log.step(Duration::from_secs(10)).expect("a healthy disk");
            self.syncs = progress.counts.syncs;
            assert!(!progress.stalled, "trims keep slots free");
            let done = progress.persisted_ticket.unwrap_or(0);
            while let Some((_, since)) = waiting.pop_front_if(|(ticket, _)| *ticket <= done) {
                times.push(since.elapsed());
            }
            if waiting.is_empty() && begin.elapsed() >= limit {
                return times;
            }
        }
    }
}

/// A log in `dir`, with a key or without one.
pub fn config(dir: &Path, sealed: bool) -> LogConfig {
    let node = NodeId::new(1).expect("not 0");
    let mut config = LogConfig::new(dir.to_owned(), node, ClusterId([7; 16]));
    config.log_key = sealed.then(|| Zeroizing::new([0x42; 32]));
    config
}

/// A new log, which begins behind index 1.
pub fn made(config: &LogConfig) -> LogLoop {
    let disk = config.open_disk().expect("a disk");
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(KernelEntropy));
    let begins = Position { term: TERM, index: Index(1) };
    drop(wal::create(config, disk, clock.clone(), entropy.clone(), begins, &mut |_, _| ()).expect("a log"));
    wal::open(config, clock, entropy).expect("the same log").0
}

/// A slot's worth.
const TRIM_BYTES: usize = 64 << 20;
