//! A trial of the log's engine in the directory: the engine that a node takes there writes and syncs blocks as a log does.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use crate::disk;
use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::Disk;
use crate::disk::DiskConfig;
use crate::disk::DiskError;
use crate::disk::Done;
use crate::disk::EngineChoice;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::exit::chain;

/// How it went.
#[derive(Clone, Debug)]
pub(super) struct EngineTrial {
    /// As in `--log-engine`.
    pub(super) engine: &'static str,
    /// Why it is not io_uring, if it is not.
    pub(super) refusal: Option<String>,
    /// Of a block that was written and synced.
    pub(super) median: Duration,
    /// Of a hundred, the second slowest.
    pub(super) p99: Duration,
}

/// Tries the engine in a directory of its own below `dir`, which is removed at the end.
pub(super) fn try_engine(dir: &Path) -> Result<EngineTrial, String> {
    remove_older(dir);
    let own = OwnDirectory::new(dir).map_err(|error| format!("nothing can be made here: {error}"))?;
    let open = |engine| {
        let (dir, buffer_bytes) = (own.0.clone(), 64 << 10);
        disk::open(&DiskConfig { dir, engine, slots_max: 1, buffers: 1, buffer_bytes })
    };
    let (mut disk, refusal) = match open(EngineChoice::Uring) {
        Ok(disk) => (disk, None),
        Err(DiskError::EngineRefused { step, source }) => {
            let plain = open(EngineChoice::Plain).map_err(|error| chain(&error))?;
            (plain, Some(format!("{step}: {source}")))
        }
        Err(error) => return Err(chain(&error)),
    };
    let mut times = latencies(&mut *disk).map_err(|error| format!("a block cannot be written and synced: {error}"))?;
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    Ok(EngineTrial { engine: disk.engine().word(), refusal, median: at(50), p99: at(99) })
}

/// Writes and syncs a block after the other, as long as a person waits for an answer.
fn latencies(disk: &mut dyn Disk) -> io::Result<Vec<Duration>> {
    let block = disk.block_bytes().max(BLOCK_BYTES_MIN);
    let slot = disk.create_slot(SLOT_BYTES, &mut |_| ())?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < WRITES && begin.elapsed() < TRIAL_TIME {
        let offset = (times.len() * block) as u64 % SLOT_BYTES;
        let at = Instant::now();
        write(disk, slot, offset, block)?;
        times.push(at.elapsed());
    }
    Ok(times)
}

fn write(disk: &mut dyn Disk, slot: SlotId, offset: u64, to: usize) -> io::Result<()> {
    let buffer = disk.take_buffer(to);
    disk.submit_write(WriteRequest { op: OpId(1), slot, offset, buffer, from: 0, to })?;
    let Done::Written { durable, .. } = end(disk)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if !durable {
        disk.submit_sync(OpId(2), slot)?;
        end(disk)?;
    }
    Ok(())
}

fn end(disk: &mut dyn Disk) -> io::Result<Done> {
    let completion = disk.wait(HUNG)?.ok_or(io::ErrorKind::TimedOut)?;
    if let Some(buffer) = completion.buffer {
        disk.return_buffer(buffer);
    }
    completion.result
}

/// Removed when it goes.
struct OwnDirectory(PathBuf);

impl OwnDirectory {
    fn new(above: &Path) -> io::Result<OwnDirectory> {
        let path = above.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(OwnDirectory(path))
    }
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        // What stays is removed by the next trial.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a doctor that was killed has left.
fn remove_older(dir: &Path) {
    for found in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = found.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(found.path());
        }
    }
}

const PREFIX: &str = ".sealkv-doctor-";
const SLOT_BYTES: u64 = 1 << 20;
const WRITES: usize = 300;
const TRIAL_TIME: Duration = Duration::from_secs(3);
/// A node ends at a sync of ten seconds; so does the trial.
const HUNG: Duration = Duration::from_secs(10);
