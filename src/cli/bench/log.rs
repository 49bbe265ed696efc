//! A log of its own in the directory that is asked about: groups of entries written and synced, one after another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::cli::bench::cell::Cell;
use crate::cli::bench::cell::OwnPlace;
use crate::cli::bench::cell::Sample;
use crate::cli::say;
use crate::disk::DiskError;
use crate::disk::EngineChoice;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::exit::chain;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::wal::Append;
use crate::wal::LogConfig;
use crate::wal::LogLoop;
use crate::wal::WalError;
use crate::wal::create;
use crate::world::KernelEntropy;
use crate::world::SystemClock;

struct LogCell {
    name: String,
    log: LogLoop,
    group: u64,
    data: Bytes,
    ticket: u64,
    next: u64,
    /// The log's files, removed with the cell.
    _place: OwnPlace,
}

/// One log for each engine that works here, nil and sealed, and each size of group.
pub(super) fn cells(directory: &Path) -> Result<Vec<Box<dyn Cell>>, String> {
    let mut cells: Vec<Box<dyn Cell>> = Vec::new();
    let mut refusal = None;
    for (engine, word) in [(EngineChoice::Uring, "uring"), (EngineChoice::Plain, "plain")] {
        for is_sealed in [false, true] {
            for group in GROUPS {
                let cipher = if is_sealed { "sealed" } else { "nil" };
                let place = OwnPlace::new(directory, &format!("{word}-{cipher}-{group}"))?;
                let log = match open(&place.0, engine, is_sealed) {
                    Ok(log) => log,
                    Err(error @ WalError::Open(DiskError::EngineRefused { .. })) => {
                        refusal = Some(error);
                        continue;
                    }
                    Err(error) => return Err(chain(&error)),
                };
                let name = format!("{word} {cipher} groups of {group}");
                let data = Bytes::from(vec![0x61; ENTRY_BYTES]);
                cells.push(Box::new(LogCell { name, log, group, data, ticket: 0, next: 2, _place: place }));
            }
        }
    }
    if let Some(refusal) = refusal {
        say(&format!("sealkv: bench log: only plain system calls are measured: {}", chain(&refusal)));
    }
    Ok(cells)
}

fn open(dir: &Path, engine: EngineChoice, is_sealed: bool) -> Result<LogLoop, WalError> {
    let node = NodeId::new(1).expect("not 0");
    let mut config = LogConfig::new(dir.to_owned(), node, ClusterId([2; 16]));
    config.engine = engine;
    config.log_key = is_sealed.then(|| Zeroizing::new([7; 32]));
    (config.slots, config.slots_max, config.slot_bytes, config.entry_bytes_max) = (4, 8, 8 << 20, 1 << 20);
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(KernelEntropy));
    let beginning = Position { term: Term(1), index: Index(1) };
    let disk = create(&config, config.open_disk()?, clock.clone(), entropy.clone(), beginning, &mut |_, _| ())?;
    LogLoop::open(&config, disk, clock, entropy).map(|(log, _)| log)
}

impl LogCell {
    /// Appends one group and waits until it is durable.
    fn append(&mut self) -> Result<(), String> {
        self.ticket += 1;
        let entry =
            |index| LogEntry { term: Term(1), index: Index(index), kind: EntryKind::Normal, data: self.data.clone() };
        let entries: Vec<LogEntry> = (self.next..self.next + self.group).map(entry).collect();
        // What came before is given free at once: the log goes round.
        let trim = Some(Position { term: Term(1), index: Index(self.next - 1) }).filter(|it| it.index.0 > 1);
        self.next += self.group;
        let append = Append { ticket: self.ticket, entries, trim, ..Append::default() };
        self.log.offer(append).map_err(|_| "the log's queue is full".to_owned())?;
        loop {
            let progress = self.log.step(PATIENCE).map_err(|error| chain(&error))?;
            if progress.persisted_ticket == Some(self.ticket) {
                return Ok(());
            }
            if !progress.busy {
                return Err("the log rests and the group is not durable".to_owned());
            }
        }
    }
}

impl Cell for LogCell {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn measure(&mut self, time: Duration) -> Result<Sample, String> {
        let (begin, mut waits) = (Instant::now(), Vec::new());
        while waits.is_empty() || begin.elapsed() < time {
            let at = Instant::now();
            self.append()?;
            waits.push(at.elapsed());
        }
        Ok(Sample { count: self.group * waits.len() as u64, took: begin.elapsed(), waits })
    }
}

const GROUPS: [u64; 3] = [1, 16, 256];
const ENTRY_BYTES: usize = 256;
const PATIENCE: Duration = Duration::from_secs(1);
