//! The slot files themselves, for both engines: names, sizes, creation, growth, alignment, blocking reads.
//!
//! A slot is made under the name `slot-NNNN.new`, filled with real zeros, synced, renamed, and the directory synced.
//! Real zeros because a block that was only allocated costs a metadata change, and so a slower sync, at its first write.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::io::Errno;

use crate::disk::AlignedBuffer;
use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::SlotId;
use crate::limits::LOG_GROWTH_LEAVES_BYTES;

/// The slot files of one log directory.
#[derive(Debug)]
pub(super) struct SlotFiles {
    dir: PathBuf,
    slots: Vec<Option<Slot>>,
    direct: bool,
    /// How slots are opened: to read and write, or to read only.
    access: OFlags,
    block_bytes: usize,
    growing: Option<mpsc::Receiver<io::Result<SlotId>>>,
}

#[derive(Debug)]
struct Slot {
    file: File,
    bytes: u64,
}

impl SlotFiles {
    /// Opens every slot of `dir` with O_DIRECT, or all of them buffered where the file system refuses it.
    pub(super) fn open(dir: &Path) -> io::Result<SlotFiles> {
        let numbers = slot_numbers(dir)?;
        let probe = temporary(dir, OFlags::DIRECT);
        // A disk that fails says nothing about O_DIRECT.
        if let Err(failed @ Errno::IO) = probe {
            return Err(failed.into());
        }
        let direct = probe.is_ok() || accepts_direct(dir, &numbers);
        let block_bytes = match &probe {
            Ok(file) => alignment(file),
            Err(_) => BLOCK_BYTES_MIN,
        };
        SlotFiles { access: OFlags::RDWR, direct, block_bytes, ..SlotFiles::none(dir) }.with(numbers)
    }

    /// The same to read them only; nothing is made in `dir`, not even a nameless file.
    pub(super) fn open_to_read(dir: &Path) -> io::Result<SlotFiles> {
        let numbers = slot_numbers(dir)?;
        SlotFiles { direct: accepts_direct(dir, &numbers), ..SlotFiles::none(dir) }.with(numbers)
    }

    fn none(dir: &Path) -> SlotFiles {
        let (access, block_bytes) = (OFlags::RDONLY, BLOCK_BYTES_MIN);
        SlotFiles { dir: dir.to_owned(), slots: Vec::new(), direct: false, access, block_bytes, growing: None }
    }

    fn with(mut self, numbers: Vec<u32>) -> io::Result<SlotFiles> {
        for number in numbers {
            self.adopt(SlotId(number))?;
        }
        Ok(self)
    }

    /// One nameless file in the place of slot 0, for the self-test.
    pub(super) fn of_one(file: File, block_bytes: usize) -> SlotFiles {
        let slots = vec![Some(Slot { file, bytes: 0 })];
        SlotFiles { slots, direct: true, block_bytes, ..SlotFiles::none(Path::new("")) }
    }

    pub(super) fn direct(&self) -> bool {
        self.direct
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("slot numbers are u32")
    }

    pub(super) fn bytes(&self, slot: SlotId) -> Option<u64> {
        self.slots.get(slot.0 as usize)?.as_ref().map(|slot| slot.bytes)
    }

    pub(super) fn file(&self, slot: SlotId) -> io::Result<&File> {
        let found = self.slots.get(slot.0 as usize).and_then(Option::as_ref);
        found.map(|slot| &slot.file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Makes the next slot, blocking.
    pub(super) fn create(&mut self, bytes: u64, progress: &mut dyn FnMut(u64)) -> io::Result<SlotId> {
        let slot = SlotId(self.count());
        make_slot(&self.dir, slot, bytes, self.block_bytes, progress)?;
        self.adopt(slot)?;
        Ok(slot)
    }

    /// Makes the next slot on another thread.
    pub(super) fn start_growing(&mut self, bytes: u64) {
        if self.growing.is_some() {
            return;
        }
        let (sender, receiver) = mpsc::channel();
        let (dir, slot, block_bytes) = (self.dir.clone(), SlotId(self.count()), self.block_bytes);
        let work = move || {
            let made = leaves_space(&dir, bytes)
                .and_then(|()| make_slot(&dir, slot, bytes, block_bytes, &mut |_| ()))
                .map(|()| slot);
            // The receiver is gone only when the whole log is: then nobody wants the slot now.
            drop(sender.send(made));
        };
        // If no thread can be made the sender is dropped with the closure, which `take_grown` reports as a failure.
        drop(thread::Builder::new().name("wal-grow".to_owned()).spawn(work));
        self.growing = Some(receiver);
    }

    /// The slot that was made, opened.
    pub(super) fn take_grown(&mut self) -> Option<io::Result<SlotId>> {
        let made = match self.growing.as_ref()?.try_recv() {
            Ok(made) => made,
            Err(mpsc::TryRecvError::Empty) => return None,
            Err(mpsc::TryRecvError::Disconnected) => Err(io::Error::other("no thread could be made to grow the log")),
        };
        self.growing = None;
        Some(made.and_then(|slot| self.adopt(slot).map(|()| slot)))
    }

    /// Reads into the front of `buffer`; several calls if the kernel stops early.
    pub(super) fn read(&self, slot: SlotId, offset: u64, buffer: &mut AlignedBuffer, bytes: usize) -> io::Result<()> {
        let file = self.file(slot)?;
        let mut done = 0;
        while done < bytes {
            match rustix::io::pread(file, &mut buffer[done..bytes], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn adopt(&mut self, slot: SlotId) -> io::Result<()> {
        let mut flags = self.access | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if self.direct {
            flags |= OFlags::DIRECT;
        }
        let name = slot_name(slot);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
        let opened = rustix::fs::open(self.dir.join(&name), flags, Mode::empty());
        let file = File::from(opened.map_err(|errno| named(errno.into()))?);
        if !file.metadata()?.is_file() {
            return Err(named(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        self.block_bytes = self.block_bytes.max(if self.direct { alignment(&file) } else { BLOCK_BYTES_MIN });
        if !self.direct {
            // After a failed sync the page cache may differ from the medium: read the medium.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
        let bytes = file.metadata()?.len();
        while self.slots.len() <= slot.0 as usize {
            self.slots.push(None);
        }
        self.slots[slot.0 as usize] = Some(Slot { file, bytes });
        Ok(())
    }
}

/// A file without a name in `dir`: a self-test leaves nothing behind. Where the file system makes none (FUSE, NFS, overlayfs
/// of old kernels) it has a name until it is open: the one of a slot that is being made, which every start passes over.
pub(super) fn temporary(dir: &Path, flags: OFlags) -> rustix::io::Result<File> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC | flags, Mode::RUSR | Mode::WUSR);
    rustix::fs::open(dir, OFlags::TMPFILE | flags, mode).map(File::from).or_else(|_| {
        let path = new_slot(dir, SlotId(0));
        let file = rustix::fs::open(&path, OFlags::CREATE | flags, mode)?;
        rustix::fs::unlink(&path)?;
        Ok(file.into())
    })
}

/// Where a slot is made before it has its name.
fn new_slot(dir: &Path, slot: SlotId) -> PathBuf {
    dir.join(format!("slot-{:04}.new", slot.0))
}

/// The name of a slot's file.
#[must_use]
pub fn slot_name(slot: SlotId) -> String {
    format!("slot-{:04}.wal", slot.0)
}

fn slot_numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix("slot-")?.strip_suffix(".wal"));
        if let Some(number) = digits.and_then(|digits| digits.parse::<u32>().ok()) {
            // A name that this program never gives (slot-7.wal) is somebody else's file.
            if name.to_str() == Some(&slot_name(SlotId(number))) && number < SLOT_NUMBERS_MAX {
                numbers.push(number);
            }
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A pool that grows into the last space of a disk takes what the state needs to be written, and only that makes slots free.
fn leaves_space(dir: &Path, bytes: u64) -> io::Result<()> {
    let stat = rustix::fs::statvfs(dir)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= bytes.saturating_add(LOG_GROWTH_LEAVES_BYTES) {
        return Ok(());
    }
    let why =
        format!("{free} bytes are free, a slot takes {bytes} and must leave {LOG_GROWTH_LEAVES_BYTES} for the state");
    Err(io::Error::new(io::ErrorKind::StorageFull, why))
}

fn make_slot(
    dir: &Path,
    slot: SlotId,
    bytes: u64,
    block_bytes: usize,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let temporary = new_slot(dir, slot);
    let made = fill_slot(&temporary, bytes, block_bytes, progress);
    if let Err(error) = made {
        // Best effort: the next attempt truncates it anyway, and the blocks are wanted back after ENOSPC.
        drop(std::fs::remove_file(&temporary));
        return Err(error);
    }
    std::fs::rename(&temporary, dir.join(slot_name(slot)))?;
    File::open(dir)?.sync_all()
}

fn fill_slot(path: &Path, bytes: u64, block_bytes: usize, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = AlignedBuffer::new(ZERO_WRITE_BYTES, block_bytes);
    let mut done = 0;
    while done < bytes {
        let want = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(ZERO_WRITE_BYTES);
        let count = match rustix::io::pwrite(&file, &zeros[..want], done) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += count as u64;
        progress(done);
    }
    file.sync_all()?;
    // Pages of these buffered writes must not stand beside later direct ones.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    Ok(())
}

fn alignment(file: &File) -> usize {
    let flags = StatxFlags::DIOALIGN;
    let aligned = match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, flags) {
        Ok(stat) if stat.stx_mask & flags.bits() != 0 => stat.stx_dio_offset_align.max(stat.stx_dio_mem_align),
        // Older kernels do not tell; their devices accept 4096.
        _ => 0,
    };
    (aligned as usize).next_power_of_two().max(BLOCK_BYTES_MIN)
}

/// Whether O_DIRECT works although no nameless file could be made with it: overlay file systems know no O_TMPFILE.
fn accepts_direct(dir: &Path, numbers: &[u32]) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECT;
    let first = numbers.first().map(|number| dir.join(slot_name(SlotId(*number))));
    first.is_some_and(|path| rustix::fs::open(path, flags, Mode::empty()).is_ok())
}

/// True if the directory is on ZFS, where writing with registered buffers has hung unkillably (OpenZFS 16133).
pub(super) fn is_zfs(dir: &Path) -> bool {
    const ZFS_SUPER_MAGIC: i128 = 0x2fc1_2fc1;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, dir, flags, Mode::empty());
    opened.and_then(rustix::fs::fstatfs).is_ok_and(|stat| i128::from(stat.f_type) == ZFS_SUPER_MAGIC)
}

/// Large enough for full speed, small enough that progress moves.
const ZERO_WRITE_BYTES: usize = 1 << 20;
/// Four digits of a name; far above any pool.
const SLOT_NUMBERS_MAX: u32 = 10_000;
