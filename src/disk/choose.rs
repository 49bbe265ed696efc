//! Which engine runs: decided at start by a real write, not by version numbers, and logged in one line.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;

use crate::disk::AlignedBuffer;
use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::Disk;
use crate::disk::EngineChoice;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::disk::files::SlotFiles;
use crate::disk::files::is_zfs;
use crate::disk::files::temporary;
use crate::disk::plain::PlainDisk;
use crate::disk::uring::UringDisk;
use crate::limits::ENGINE_TRIAL_DEADLINE;

/// The directory, and the bounds of an engine.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// The directory of the slot files; it exists.
    pub dir: PathBuf,
    /// The engine that the operator chose.
    pub engine: EngineChoice,
    /// Places for slot files; the pool never grows beyond.
    pub slots_max: u32,
    /// Buffers to register.
    pub buffers: u16,
    /// Bytes of each, a multiple of 4096.
    pub buffer_bytes: usize,
}

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Operator: `--log-engine uring` does not work here; `auto` would take the plain engine.
    #[error("io_uring does not work here ({step}): with --log-engine auto plain system calls are taken instead")]
    EngineRefused {
        /// The step of the self-test that was refused.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Operator: the directory or a slot cannot be opened.
    #[error("log directory {}", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Opens the slot files of a directory behind the best engine that works. Writes nothing that stays.
///
/// # Errors
/// [`DiskError::EngineRefused`] only where io_uring was demanded; [`DiskError::Open`] if the files cannot be opened.
pub fn open(config: &DiskConfig) -> Result<Box<dyn Disk>, DiskError> {
    let files = open_files(config)?;
    // Only refusals are remembered: an engine that works returns at once.
    let refusal = match config.engine {
        EngineChoice::Plain => None,
        EngineChoice::Auto | EngineChoice::Uring => match try_uring(config, &files) {
            Ok(()) => match UringDisk::new(files, config.slots_max, config.buffers, config.buffer_bytes) {
                Ok(disk) => {
                    let registered = disk.buffers_registered();
                    let words = match registered {
                        true => "log engine: io_uring works",
                        false => {
                            "log engine: io_uring works; the kernel pins no buffers (is ulimit -l, RLIMIT_MEMLOCK, small?)"
                        }
                    };
                    tracing::info!(engine = "uring", registered_buffers = registered, "{words}");
                    return Ok(Box::new(disk));
                }
                Err(source) => Some(UringRefusal { step: "registering files", source }),
            },
            Err(refusal) => Some(refusal),
        },
    };
    if let (EngineChoice::Uring, Some(UringRefusal { step, source })) = (config.engine, refusal.as_ref()) {
        let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
        return Err(DiskError::EngineRefused { step, source });
    }
    let files = open_files(config)?;
    let sync_by_flag = dsync_flag_works(config, files.direct());
    let (step, error) = refusal.map_or(("asked for", String::new()), |it| (it.step, it.source.to_string()));
    tracing::info!(engine = "plain", direct = files.direct(), sync_by_flag, why = step, error, "log engine: plain");
    Ok(Box::new(PlainDisk::new(files, sync_by_flag)))
}

/// Opens the slot files of a directory to read them: by system calls, without a trial, and so that nothing can be written.
///
/// # Errors
/// [`DiskError::Open`].
pub fn open_to_read(dir: &Path) -> Result<Box<dyn Disk>, DiskError> {
    let files = SlotFiles::open_to_read(dir).map_err(|source| DiskError::Open { dir: dir.to_owned(), source })?;
    Ok(Box::new(PlainDisk::new(files, false)))
}

struct UringRefusal {
    step: &'static str,
    source: io::Error,
}

fn open_files(config: &DiskConfig) -> Result<SlotFiles, DiskError> {
    SlotFiles::open(&config.dir).map_err(|source| DiskError::Open { dir: config.dir.clone(), source })
}

/// Builds a ring, registers a buffer, writes a block to a nameless file in the same directory, and syncs it.
fn try_uring(config: &DiskConfig, files: &SlotFiles) -> Result<(), UringRefusal> {
    let refused = |step| move |source| UringRefusal { step, source };
    if is_zfs(&config.dir) {
        return Err(UringRefusal { step: "the file system is ZFS", source: io::ErrorKind::Unsupported.into() });
    }
    if !files.direct() {
        return Err(UringRefusal {
            step: "the file system refuses O_DIRECT",
            source: io::ErrorKind::Unsupported.into(),
        });
    }
    let file =
        temporary(&config.dir, OFlags::DIRECT).map_err(io::Error::from).map_err(refused("making a test file"))?;
    let block_bytes = files.block_bytes();
    let test_files = SlotFiles::of_one(file, block_bytes);
    let mut ring = UringDisk::new(test_files, 1, 1, block_bytes).map_err(refused("building the ring"))?;
    write_and_sync(&mut ring, block_bytes).map_err(refused("writing and syncing a block"))
}

fn write_and_sync(ring: &mut UringDisk, to: usize) -> io::Result<()> {
    let slot = SlotId(0);
    let buffer = ring.take_buffer(to);
    ring.submit_write(WriteRequest { op: OpId(1), slot, offset: 0, buffer, from: 0, to })?;
    finish(ring)?;
    ring.submit_sync(OpId(2), slot)?;
    finish(ring)
}

fn finish(ring: &mut UringDisk) -> io::Result<()> {
    match ring.wait(ENGINE_TRIAL_DEADLINE)? {
        Some(completion) => completion.result.map(|_| ()),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn dsync_flag_works(config: &DiskConfig, direct: bool) -> bool {
    let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
    let Ok(file) = temporary(&config.dir, flags) else {
        return false;
    };
    let block = AlignedBuffer::new(BLOCK_BYTES_MIN, BLOCK_BYTES_MIN);
    loop {
        let slices = [io::IoSlice::new(&block)];
        match rustix::io::pwritev2(&file, &slices, 0, ReadWriteFlags::DSYNC) {
            Err(Errno::INTR) => {}
            result => return result == Ok(block.len()),
        }
    }
}
