//! `scripts/bench recovery`: how fast a sealed log is read back, beside the disk alone.
//!
//! For each shape of frames a log of so many MiB is written, then opened as a start opens it, and read through as
//! `sealkv log verify` reads it. Slots are read with O_DIRECT, so the page cache has no part in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use sealkv::disk;
use sealkv::disk::AlignedBuffer;
use sealkv::disk::SlotId;
use sealkv::entry::EntryKind;
use sealkv::entry::LogEntry;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::keys::identity::Identity;
use sealkv::keys::kek;
use sealkv::keys::kek::KekSet;
use sealkv::wal;
use sealkv::wal::Append;
use sealkv::wal::LogConfig;
use sealkv::wal::inspect;
use sealkv::world::KernelEntropy;
use sealkv::world::SystemClock;
use zeroize::Zeroizing;

use crate::ours;
use crate::ours::TERM;
use crate::run::cpu;
use crate::run::payload;

/// Measures every shape in `dir`, with logs of `mib` MiB.
pub fn measure(dir: &Path, mib: u64, rounds: usize) {
    println!(
        "{:<28} {:>9} {:>10} {:>10} {:>10} {:>12}",
        "MB/s, median (best)", "log MB", "disk", "verify", "open", "entries"
    );
    for (group, entry_bytes) in [(1, 256), (16, 256), (256, 256), (8, 4096), (256, 4096), (1, 1 << 20)] {
        let dir = dir.join("recovery");
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a directory for the bench");
        let config = LogConfig { slots: slots(mib), slots_max: slots(mib), ..ours::config(&dir, true) };
        let entries = fill(&config, group, entry_bytes, mib << 20);
        let bytes = (mib << 20) as f64;
        let rate = |turn: &dyn Fn()| rate(bytes, rounds, turn);
        println!(
            "{:<22} {:>8.0} {:>22} {:>22} {:>22} {entries:>9}",
            format!("{group} x {entry_bytes} B"),
            bytes / 1e6,
            rate(&|| read_alone(&config, mib << 20)),
            rate(&|| verify(&config)),
            rate(&|| open(&config, entries)),
        );
        std::fs::remove_dir_all(&dir).expect("what was made");
    }
}

/// Makes the log of a stopped node anew, with frames of 64 entries of 1 KiB: a log of any size for `log verify` and `log dump`.
pub fn fill_node(data_dir: &Path, kek_file: &Path, mib: u64) {
    let keks = KekSet::new(vec![kek::from_file(kek_file).expect("a KEK")]).expect("one KEK");
    let identity = std::fs::read(data_dir.join("IDENTITY")).expect("a data directory");
    let (identity, log_key) = Identity::open(&identity, &keks).expect("the KEK of this directory");
    let dir = data_dir.join("log");
    std::fs::remove_dir_all(&dir).expect("the old log");
    std::fs::create_dir(&dir).expect("a place for the new one");
    let mut config = LogConfig::new(dir, identity.node, identity.cluster);
    config.log_key = log_key.map(|key| Zeroizing::new(*key.expose()));
    let config = LogConfig { slots: slots(mib), slots_max: slots(mib), ..config };
    println!("{} entries", fill(&config, 64, 1024, mib << 20));
}

/// How fast turns read so many bytes, and the CPU time that they take.
fn rate(bytes: f64, rounds: usize, turn: &dyn Fn()) -> String {
    let (mut rates, cpu_before) = (Vec::new(), cpu());
    for _ in 0..rounds {
        let begin = Instant::now();
        turn();
        rates.push(bytes / 1e6 / begin.elapsed().as_secs_f64());
    }
    let millis = (cpu() - cpu_before).as_secs_f64() * 1e3 / (bytes / 1e9 * rounds as f64);
    rates.sort_by(f64::total_cmp);
    format!("{:.0} ({:.0}), {millis:.0} ms", rates[rates.len() / 2], rates[rates.len() - 1])
}

/// Frames of `group` entries until so many bytes of slots are written; how many entries those are.
fn fill(config: &LogConfig, group: usize, entry_bytes: usize, bytes: u64) -> usize {
    let mut log = ours::made(config);
    let data = Bytes::from(payload(entry_bytes));
    let entry = |index| LogEntry { term: TERM, index: Index(index), kind: EntryKind::Normal, data: data.clone() };
    let frame_bytes = (group * (entry_bytes + 16) + 92).next_multiple_of(4096) as u64;
    let (mut offered, mut done, appends) = (0, 0, bytes / frame_bytes);
    while done < appends {
        // What waits together becomes one frame, so only one waits at a time.
        if offered < appends && offered - done < 2 {
            let first = 2 + offered * group as u64;
            let entries = (first..first + group as u64).map(entry).collect();
            offered += 1;
            log.offer(Append { ticket: offered, entries, ..Append::default() }).expect("few appends wait");
        }
        let progress = log.step(Duration::from_secs(10)).expect("a healthy disk");
        assert!(!progress.stalled, "the pool is large enough");
        done = progress.persisted_ticket.unwrap_or(done).max(done);
    }
    drop(log.into_disk());
    appends as usize * group
}

fn open(config: &LogConfig, entries: usize) {
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(KernelEntropy));
    let (_, recovered) = wal::open(config, clock, entropy).expect("the same log");
    assert_eq!(recovered.entries.len(), entries);
    assert_eq!(recovered.compacted, Position { term: TERM, index: Index(1) });
}

fn verify(config: &LogConfig) {
    let mut disk = disk::open_to_read(&config.dir).expect("a disk");
    let summary = inspect::read_through(config, disk.as_mut(), &mut |_| Ok(())).expect("a whole log");
    assert!(summary.frames > 0);
}

/// The same bytes in the same reads, one after another, and nothing done with them.
fn read_alone(config: &LogConfig, bytes: u64) {
    let mut disk = disk::open_to_read(&config.dir).expect("a disk");
    let mut buffer = AlignedBuffer::new(READ_BYTES, disk.block_bytes());
    let reads = (bytes / config.slot_bytes, config.slot_bytes / READ_BYTES as u64);
    for slot in (0..reads.0).map(|slot| SlotId(slot as u32)) {
        for at in 0..reads.1 {
            disk.read(slot, at * READ_BYTES as u64, &mut buffer, READ_BYTES).expect("a healthy disk");
        }
    }
}

/// Those that are filled, and some for the way.
fn slots(mib: u64) -> u32 {
    (mib / 64 + 8) as u32
}

/// As recovery reads.
const READ_BYTES: usize = 4 << 20;
