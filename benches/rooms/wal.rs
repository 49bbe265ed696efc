//! The log: frames drawn and sealed in memory, groups made durable on a real disk by each engine, and recovery.

use std::sync::Arc;

use sealkv::disk::EngineChoice;
use sealkv::entry::LogEntry;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::NodeId;
use sealkv::ids::Position;
use sealkv::testing::log::LogRig;
use sealkv::testing::log::append;
use sealkv::testing::log::entries;
use sealkv::testing::log::write;
use sealkv::testing::workload::Scale;
use sealkv::wal::LogConfig;
use sealkv::wal::LogLoop;
use sealkv::wal::create;
use sealkv::wal::testkit::FrameBench;
use sealkv::world::KernelEntropy;
use sealkv::world::SystemClock;
use zeroize::Zeroizing;

use crate::bench::Bench;
use crate::bench::Way;
use crate::propose::COUNTS;
use crate::propose::SIZES;

pub fn all(scale: Scale) -> Vec<Bench> {
    let mut benches = Vec::new();
    for cipher in ["nil", "sealed"] {
        for size in scale.of(&SIZES) {
            // A frame holds 8 MiB at most.
            for count in scale.of(&COUNTS).into_iter().filter(|count| count * size <= 4 << 20) {
                benches.push(frame(cipher, count, size));
            }
        }
        for engine in ["uring", "plain"] {
            for count in scale.of(&[1, 16, 256]) {
                benches.push(appending(engine, cipher, count, 256));
            }
        }
        benches.extend(scale.of(&[64, 256, 4096]).into_iter().map(|size| recovery(cipher, 1024, size)));
    }
    benches
}

pub fn frame(cipher: &'static str, count: usize, size: usize) -> Bench {
    let name = format!("wal::frame_encode/cipher={cipher} size={size} count={count}");
    let bytes = FrameBench::new(cipher == "sealed", count, size).frame_bytes();
    let bench = Bench::new(name, (count, count * size), bytes as u64, move || {
        let mut frames = FrameBench::new(cipher == "sealed", count, size);
        Way::again(move || {
            frames.encode();
            frames.frame_bytes() as u64
        })
    });
    bench.with_bytes_out(bytes)
}

/// A group of entries, written and synced: the time of the disk is in it. Below `TMPDIR`, else `/var/tmp`.
fn appending(engine: &'static str, cipher: &'static str, count: usize, size: usize) -> Bench {
    let name = format!("wal::append/engine={engine} cipher={cipher} size={size} count={count}");
    Bench::new(name, (count, count * size), 1, move || {
        let dir = tempfile::Builder::new().prefix("sealkv-bench").tempdir_in(disk_directory()).expect("a directory");
        let mut log = real_log(dir.path(), engine, cipher == "sealed");
        let (mut ticket, mut next) = (0, 2);
        Way::again(move || {
            // The directory lives as long as the log in it.
            let _ = &dir;
            ticket += 1;
            let mut group = append(ticket, entries(1, next, count as u64, size));
            next += count as u64;
            group.trim = Some(Position { term: sealkv::ids::Term(1), index: Index(next - count as u64 - 1) });
            let newest = write(&mut log, group).expect("the disk takes it");
            u64::from(newest == Some(ticket))
        })
    })
}

fn disk_directory() -> std::path::PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), Into::into)
}

fn real_log(dir: &std::path::Path, engine: &str, is_sealed: bool) -> LogLoop {
    let mut config = LogConfig::new(dir.to_owned(), NodeId::new(1).expect("not 0"), ClusterId([2; 16]));
    config.engine = if engine == "plain" { EngineChoice::Plain } else { EngineChoice::Auto };
    config.log_key = is_sealed.then(|| Zeroizing::new([7; 32]));
    (config.slots, config.slots_max, config.slot_bytes, config.entry_bytes_max) = (4, 8, 16 << 20, 1 << 20);
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(KernelEntropy));
    let disk = config.open_disk().expect("the directory is there");
    let beginning = sealkv::testing::log::BEGINNING;
    let disk = create(&config, disk, clock.clone(), entropy.clone(), beginning, &mut |_, _| ()).expect("a new log");
    LogLoop::open(&config, disk, clock, entropy).expect("just made").0
}

/// What a start reads: every frame of a log in memory, opened and checked; `count` entries in frames of sixteen.
fn recovery(cipher: &'static str, count: usize, size: usize) -> Bench {
    recovery_of(format!("wal::recover/cipher={cipher} size={size} count={count}"), cipher, (count, GROUP), size)
}

/// The same with frames of `group` entries, at most 1 MiB, and so many of them that what a start costs once does not count.
pub fn replay(cipher: &'static str, group: usize, size: usize) -> Bench {
    let group = group.min((1 << 20) / size).max(1);
    let count = (REPLAY_BYTES / (group * size)).clamp(1, REPLAY_FRAMES) * group;
    recovery_of(format!("wal::replay/cipher={cipher} size={size} count={count}"), cipher, (count, group), size)
}

fn recovery_of(name: String, cipher: &'static str, (count, group): (usize, usize), size: usize) -> Bench {
    Bench::new(name, (count, count * size), count as u64, move || {
        let mut rig = if cipher == "sealed" { LogRig::new(1) } else { LogRig::clear(1) };
        (rig.config.slot_bytes, rig.config.entry_bytes_max) = (4 << 20, 128 << 10);
        (rig.config.slots, rig.config.slots_max) = (REPLAY_SLOTS, REPLAY_SLOTS);
        rig.create().expect("a disk without faults");
        let (mut log, _) = rig.open().expect("just made");
        for first in (0..count).step_by(group) {
            let some: Vec<LogEntry> = entries(1, first as u64 + 2, group.min(count - first) as u64, size);
            write(&mut log, append(first as u64 + 1, some)).expect("a disk without faults");
        }
        drop(log);
        Way::again(move || rig.open().expect("it is whole").1.entries.len() as u64)
    })
}

const GROUP: usize = 16;
const REPLAY_SLOTS: u32 = 6;
/// Of the 24 MiB of the log, of which a slot stays free.
const REPLAY_BYTES: usize = 12 << 20;
/// Small entries: more frames would take long to write.
const REPLAY_FRAMES: usize = 512;
