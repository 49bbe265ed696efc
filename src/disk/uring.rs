//! The io_uring engine: plain direct writes from registered buffers, syncs as separate requests.
//!
//! RWF_DSYNC is never used here: without FUA the kernel ends such a write on a per-CPU work queue, 4 ms late on a busy
//! CPU (measured on Linux 6.18). No polling, no linked requests: a short write would cancel a linked sync silently.
//!
//! The ring belongs to the thread that first submits: it is made disabled, and enabled there (SINGLE_ISSUER).
#![allow(unsafe_code)] // The submission queue and registered memory: each use has its reason.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::IoUring;
use io_uring::opcode;
use io_uring::squeue;
use io_uring::types;

use crate::disk::AlignedBuffer;
use crate::disk::Completion;
use crate::disk::Disk;
use crate::disk::Done;
use crate::disk::Engine;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::Waker;
use crate::disk::WriteRequest;
use crate::disk::files::SlotFiles;

/// One ring over the slot files.
pub(super) struct UringDisk {
    // Dropped first: the ring must be gone before the memory that its requests point to.
    ring: IoUring,
    enabled: bool,
    buffers_registered: bool,
    in_flight: HashMap<u64, Option<AlignedBuffer>>,
    spare: Vec<AlignedBuffer>,
    files: SlotFiles,
    files_max: u32,
    bell: Option<PolledWaker>,
}

/// The waker as the ring sees it.
struct PolledWaker {
    waker: Waker,
    /// A poll of it is in the ring.
    is_polled: bool,
    /// It was used, and no wait has ended for it yet.
    rang: bool,
}

impl UringDisk {
    /// Builds the ring and registers `files_max` file places and `buffers` buffers of `buffer_bytes` each.
    ///
    /// If the kernel will not pin the buffers (RLIMIT_MEMLOCK) they are used unregistered.
    pub(super) fn new(files: SlotFiles, files_max: u32, buffers: u16, buffer_bytes: usize) -> io::Result<UringDisk> {
        let ring = build_ring()?;
        let mut table = vec![NO_FILE; files_max as usize];
        for slot in 0..files.count().min(files_max) {
            if let Ok(file) = files.file(SlotId(slot)) {
                table[slot as usize] = file.as_raw_fd();
            }
        }
        ring.submitter().register_files(&table)?;
        let mut spare: Vec<AlignedBuffer> =
            (0..buffers).map(|_| AlignedBuffer::new(buffer_bytes, files.block_bytes())).collect();
        let vectors: Vec<libc::iovec> = spare.iter_mut().map(iovec).collect();
        // SAFETY: the memory lives in boxes that this value owns, in `spare` or `in_flight`, longer than `ring`.
        let registered = unsafe { ring.submitter().register_buffers(&vectors) };
        if registered.is_ok() {
            for (index, buffer) in spare.iter_mut().enumerate() {
                buffer.set_registered(u16::try_from(index).expect("at most `buffers`, a u16"));
            }
        }
        let (enabled, in_flight) = (false, HashMap::new());
        let (bell, buffers_registered) = (None, registered.is_ok());
        Ok(UringDisk { ring, enabled, buffers_registered, in_flight, spare, files, files_max, bell })
    }

    /// False if writes go unregistered because the kernel refused to pin the buffers.
    pub(super) fn buffers_registered(&self) -> bool {
        self.buffers_registered
    }

    fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        Ok(())
    }

    fn queue(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        self.enable()?;
        // SAFETY: the buffer of a write was moved into `in_flight` before, and stays there until its completion.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::Error::other("submission queue full"))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        self.queue(entry)?;
        loop {
            match self.ring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn register_file(&mut self, slot: SlotId) -> io::Result<()> {
        if slot.0 >= self.files_max {
            return Err(io::Error::other("more slots than places were registered"));
        }
        let descriptor = [self.files.file(slot)?.as_raw_fd()];
        self.ring.submitter().register_files_update(slot.0, &descriptor).map(|_| ())
    }

    /// Queues a poll of the waker, which the next wait submits.
    fn listen(&mut self) -> io::Result<()> {
        let Some(bell) = self.bell.as_mut().filter(|bell| !bell.is_polled) else {
            return Ok(());
        };
        bell.is_polled = true;
        let poll = opcode::PollAdd::new(types::Fd(bell.waker.raw()), libc::POLLIN as u32).build();
        self.queue(&poll.user_data(BELL))
    }

    fn take_completion(&mut self) -> Option<Completion> {
        let mut entry = self.ring.completion().next()?;
        while let (BELL, Some(bell)) = (entry.user_data(), &mut self.bell) {
            bell.waker.reset();
            (bell.is_polled, bell.rang) = (false, true);
            entry = self.ring.completion().next()?;
        }
        let op = OpId(entry.user_data());
        let buffer = self.in_flight.remove(&op.0).flatten();
        let result = match usize::try_from(entry.result()) {
            Ok(bytes) if buffer.is_some() => Ok(Done::Written { bytes, durable: false }),
            Ok(_) => Ok(Done::Synced),
            Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
        };
        Some(Completion { op, result, buffer })
    }
}

impl Disk for UringDisk {
    fn engine(&self) -> Engine {
        Engine::Uring
    }

    fn block_bytes(&self) -> usize {
        self.files.block_bytes()
    }

    fn slot_count(&self) -> u32 {
        self.files.count()
    }

    fn slot_bytes(&self, slot: SlotId) -> Option<u64> {
        self.files.bytes(slot)
    }

    fn create_slot(&mut self, bytes: u64, progress: &mut dyn FnMut(u64)) -> io::Result<SlotId> {
        let slot = self.files.create(bytes, progress)?;
        self.register_file(slot)?;
        Ok(slot)
    }

    fn start_growing(&mut self, bytes: u64) {
        self.files.start_growing(bytes);
    }

    fn take_grown(&mut self) -> Option<io::Result<SlotId>> {
        let grown = self.files.take_grown()?;
        Some(grown.and_then(|slot| self.register_file(slot).map(|()| slot)))
    }

    fn take_buffer(&mut self, bytes: usize) -> AlignedBuffer {
        match self.spare.iter().position(|buffer| buffer.len() >= bytes) {
            Some(at) => self.spare.swap_remove(at),
            None => AlignedBuffer::new(bytes, self.files.block_bytes()),
        }
    }

    fn return_buffer(&mut self, buffer: AlignedBuffer) {
        // Registered memory must live as long as the ring; the rest is for rare large entries.
        if buffer.registered().is_some() || self.spare.is_empty() && buffer.len() <= SPARE_BUFFER_BYTES_MAX {
            self.spare.push(buffer);
        }
    }

    fn read(&mut self, slot: SlotId, offset: u64, buffer: &mut AlignedBuffer, bytes: usize) -> io::Result<()> {
        self.files.read(slot, offset, buffer, bytes)
    }

    fn submit_write(&mut self, write: WriteRequest) -> io::Result<()> {
        let bytes = &write.buffer[write.from..write.to];
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let place = types::Fixed(write.slot.0);
        let entry = match write.buffer.registered() {
            Some(index) => opcode::WriteFixed::new(place, bytes.as_ptr(), length, index).offset(write.offset).build(),
            None => opcode::Write::new(place, bytes.as_ptr(), length).offset(write.offset).build(),
        };
        let known = self.in_flight.insert(write.op.0, Some(write.buffer));
        assert!(known.is_none(), "an op names one request");
        self.push(&entry.user_data(write.op.0))
    }

    fn submit_sync(&mut self, op: OpId, slot: SlotId) -> io::Result<()> {
        let entry = opcode::Fsync::new(types::Fixed(slot.0)).flags(types::FsyncFlags::DATASYNC).build();
        let known = self.in_flight.insert(op.0, None);
        assert!(known.is_none(), "an op names one request");
        self.push(&entry.user_data(op.0))
    }

    fn ready(&mut self) -> Option<Completion> {
        self.take_completion()
    }

    fn waker(&mut self) -> Option<Waker> {
        // Without one appends wait for the device now and then, which is slower and nothing else.
        let waker = Waker::new().ok()?;
        self.bell = Some(PolledWaker { waker: waker.clone(), is_polled: false, rang: false });
        Some(waker)
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<Option<Completion>> {
        if let Some(completion) = self.take_completion() {
            return Ok(Some(completion));
        }
        let rang = self.bell.as_mut().is_some_and(|bell| std::mem::take(&mut bell.rang));
        if rang || self.in_flight.is_empty() {
            return Ok(None);
        }
        self.listen()?;
        let timeout = types::Timespec::from(timeout);
        let arguments = types::SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
        let completion = self.take_completion();
        if let Some(bell) = &mut self.bell {
            bell.rang = false;
        }
        Ok(completion)
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        // Requests in flight read from our memory: wait for them, and if one hangs leak its buffer rather than free it.
        for _ in 0..DROP_WAITS_MAX {
            if self.in_flight.is_empty() {
                return;
            }
            if let Ok(Some(completion)) = self.wait(Duration::from_millis(100)) {
                drop(completion);
            }
        }
        for (_, buffer) in self.in_flight.drain() {
            std::mem::forget(buffer);
        }
        // The memory of registered buffers is pinned by the kernel itself.
    }
}

debug_fields!(self: UringDisk { files: self.files });

/// The ring as the log uses it, disabled: it is enabled by, and then belongs to, the thread that submits first.
fn build_ring() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all().setup_r_disabled();
    builder.build(RING_ENTRIES)
}

fn iovec(buffer: &mut AlignedBuffer) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR))
}

/// Frames and their syncs in flight, zeroings beside them: far below this.
const RING_ENTRIES: u32 = 32;
/// Names the poll of the waker; the log counts its ops from 1.
const BELL: u64 = u64::MAX;
/// A place of the file table that holds nothing yet.
const NO_FILE: i32 = -1;
/// 10 s in all: as long as a hung sync is waited for.
const DROP_WAITS_MAX: usize = 100;
/// A buffer for an entry larger than this is given back to the allocator.
const SPARE_BUFFER_BYTES_MAX: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;
    use std::time::Instant;

    use crate::disk::Disk;
    use crate::disk::files::SlotFiles;
    use crate::disk::uring::UringDisk;

    #[test]
    fn a_wait_ends_when_its_waker_is_used_before_or_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let Ok(mut disk) = UringDisk::new(SlotFiles::open(dir.path()).unwrap(), 4, 1, 4096) else {
            return eprintln!("skipped: no io_uring here");
        };
        let waker = disk.waker().unwrap();
        // A request that never comes back.
        disk.in_flight.insert(1, None);
        disk.enable().unwrap();
        let begin = Instant::now();
        assert!(disk.wait(Duration::from_millis(20)).unwrap().is_none());
        assert!(begin.elapsed() >= Duration::from_millis(20), "nobody woke it");
        for round in 0..100 {
            let waker = waker.clone();
            let other = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(50 * (round % 4)));
                waker.wake();
            });
            assert!(disk.wait(Duration::from_secs(60)).unwrap().is_none());
            other.join().unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(50), "each wait was ended");
        disk.in_flight.clear();
    }
}
