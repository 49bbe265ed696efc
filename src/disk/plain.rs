//! The plain engine: the same writes by system calls, one after the other. It runs wherever files can be written.
//!
//! `pwritev2` with RWF_DSYNC makes a write durable by itself; where the kernel or the file system refuses the flag,
//! `pwrite` and then `fdatasync` on demand. Requests are done while they are submitted; `wait` never sleeps.

use std::collections::VecDeque;
use std::io;
use std::io::IoSlice;
use std::time::Duration;

use rustix::io::Errno;
use rustix::io::ReadWriteFlags;

use crate::disk::AlignedBuffer;
use crate::disk::Completion;
use crate::disk::Disk;
use crate::disk::Done;
use crate::disk::Engine;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::disk::files::SlotFiles;

/// System calls on slot files.
#[derive(Debug)]
pub(super) struct PlainDisk {
    files: SlotFiles,
    sync_by_flag: bool,
    spare: Vec<AlignedBuffer>,
    completions: VecDeque<Completion>,
}

impl PlainDisk {
    /// `sync_by_flag`: whether RWF_DSYNC works here.
    pub(super) fn new(files: SlotFiles, sync_by_flag: bool) -> PlainDisk {
        PlainDisk { files, sync_by_flag, spare: Vec::new(), completions: VecDeque::new() }
    }

    fn write(&self, write: &WriteRequest) -> io::Result<Done> {
        let file = self.files.file(write.slot)?;
        let bytes = &write.buffer[write.from..write.to];
        let bytes = if self.sync_by_flag {
            rustix::io::pwritev2(file, &[IoSlice::new(bytes)], write.offset, ReadWriteFlags::DSYNC)?
        } else {
            // A sandbox may forbid the newer call, which has no flag to carry here.
            rustix::io::pwrite(file, bytes, write.offset)?
        };
        Ok(Done::Written { bytes, durable: self.sync_by_flag })
    }
}

impl Disk for PlainDisk {
    fn engine(&self) -> Engine {
        Engine::Plain
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
        self.files.create(bytes, progress)
    }

    fn start_growing(&mut self, bytes: u64) {
        self.files.start_growing(bytes);
    }

    fn take_grown(&mut self) -> Option<io::Result<SlotId>> {
        self.files.take_grown()
    }

    fn take_buffer(&mut self, bytes: usize) -> AlignedBuffer {
        match self.spare.iter().position(|buffer| buffer.len() >= bytes) {
            Some(at) => self.spare.swap_remove(at),
            None => AlignedBuffer::new(bytes, self.files.block_bytes()),
        }
    }

    fn return_buffer(&mut self, buffer: AlignedBuffer) {
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.len() <= SPARE_BUFFER_BYTES_MAX {
            self.spare.push(buffer);
        }
    }

    fn read(&mut self, slot: SlotId, offset: u64, buffer: &mut AlignedBuffer, bytes: usize) -> io::Result<()> {
        self.files.read(slot, offset, buffer, bytes)
    }

    fn submit_write(&mut self, write: WriteRequest) -> io::Result<()> {
        let result = self.write(&write);
        self.completions.push_back(Completion { op: write.op, result, buffer: Some(write.buffer) });
        Ok(())
    }

    fn submit_sync(&mut self, op: OpId, slot: SlotId) -> io::Result<()> {
        let synced = self.files.file(slot).and_then(|file| {
            loop {
                match rustix::fs::fdatasync(file) {
                    Ok(()) => break Ok(Done::Synced),
                    Err(Errno::INTR) => {}
                    Err(error) => break Err(error.into()),
                }
            }
        });
        self.completions.push_back(Completion { op, result: synced, buffer: None });
        Ok(())
    }

    fn ready(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn wait(&mut self, _timeout: Duration) -> io::Result<Option<Completion>> {
        Ok(self.completions.pop_front())
    }
}

/// Buffers kept for reuse: frames in flight at most, and one for headers.
const SPARE_BUFFERS_MAX: usize = 5;
/// A buffer for an entry larger than this is given back to the allocator.
const SPARE_BUFFER_BYTES_MAX: usize = 2 << 20;
