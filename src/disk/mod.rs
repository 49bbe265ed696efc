//! The only door to the kernel for the log: slot files of a fixed size, written in whole aligned blocks.
//!
//! [`Disk`] is the seam. [`open`] picks the engine: io_uring, or its plain twin where the kernel, the container or the
//! file system refuses it. A simulated disk with faults stands in `testing`. This room does not know the contents of blocks.
//!
//! A write that completed is not durable; it is once a sync that was submitted after that completion has completed, or
//! if the completion itself says so. Nothing here is ever tried again after an error: that is the caller's decision.

use std::fmt;
use std::io;
use std::time::Duration;

mod buffer;
mod choose;
mod files;
mod inherited;
mod lease;
mod plain;
mod uring;
mod waker;

#[cfg(test)]
mod tests;

pub use buffer::AlignedBuffer;
pub use choose::DiskConfig;
pub use choose::DiskError;
pub use choose::open;
pub use choose::open_to_read;
pub use files::slot_name;
pub use inherited::close_inherited;
pub use lease::is_open_nowhere_else;
pub use waker::Waker;

/// A slot file, by its number: `slot-0000.wal` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one submitted request until its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Which engine an operator asks for (`--log-engine`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where it works, the plain engine otherwise.
    #[default]
    Auto,
    /// io_uring, or no start.
    Uring,
    /// System calls, one after the other.
    Plain,
}

/// The engine that runs, as logs and metrics show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring with O_DIRECT.
    Uring,
    /// `pwritev2` with RWF_DSYNC, or `pwrite` and `fdatasync`.
    Plain,
    /// Memory with faults, under test.
    Simulated,
}

impl Engine {
    /// The word, as in `--log-engine`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Engine::Uring => "uring",
            Engine::Plain => "plain",
            Engine::Simulated => "simulated",
        }
    }
}

impl std::str::FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(word: &str) -> Result<EngineChoice, UnknownEngine> {
        match word {
            "auto" => Ok(EngineChoice::Auto),
            "uring" => Ok(EngineChoice::Uring),
            "plain" => Ok(EngineChoice::Plain),
            _ => Err(UnknownEngine),
        }
    }
}

/// A word that names no engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log engine is auto, uring or plain")]
pub struct UnknownEngine;

/// One write: `buffer[from..to]` goes to `offset` of the slot. All three are multiples of the block.
#[derive(Debug)]
pub struct WriteRequest {
    /// Comes back with the completion.
    pub op: OpId,
    /// Where to.
    pub slot: SlotId,
    /// Bytes from the start of the slot.
    pub offset: u64,
    /// Owned by the disk until the completion hands it back.
    pub buffer: AlignedBuffer,
    /// First byte of the buffer to write.
    pub from: usize,
    /// First byte not to write.
    pub to: usize,
}

/// The end of a request.
#[derive(Debug)]
pub struct Completion {
    /// Which request.
    pub op: OpId,
    /// Its effect, or the error.
    pub result: io::Result<Done>,
    /// The buffer of a write, successful or not.
    pub buffer: Option<AlignedBuffer>,
}

/// A request that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// So many bytes were written, perhaps fewer than requested; durable already, or only after a sync.
    Written {
        /// Bytes from the start of the request.
        bytes: usize,
        /// No sync is needed for these bytes.
        durable: bool,
    },
    /// Every write to that slot whose completion was handed out before this was submitted is durable.
    Synced,
}

/// Slot files, and requests on them. Submitting never waits in the io_uring engine; in the plain one it does the work.
pub trait Disk: Send + fmt::Debug {
    /// The engine behind the trait.
    fn engine(&self) -> Engine;

    /// Bytes that every offset, length and address of a request must be a multiple of; at least 4096.
    fn block_bytes(&self) -> usize;

    /// Number of slots, counting gaps: one more than the highest that exists.
    fn slot_count(&self) -> u32;

    /// Size of a slot in bytes, or `None` if the file is missing.
    fn slot_bytes(&self, slot: SlotId) -> Option<u64>;

    /// Makes the next slot: allocated, full of real zeros, synced, and only then named. Blocks; reports bytes done.
    ///
    /// # Errors
    /// The kernel's, ENOSPC above all: no slot was added.
    fn create_slot(&mut self, bytes: u64, progress: &mut dyn FnMut(u64)) -> io::Result<SlotId>;

    /// Begins to make the next slot in the background; no effect while one is being made.
    fn start_growing(&mut self, bytes: u64);

    /// The result of [`Disk::start_growing`], once, when it is done.
    fn take_grown(&mut self) -> Option<io::Result<SlotId>>;

    /// A buffer of at least `bytes`, registered with the kernel if one is free and large enough. Contents are undefined.
    fn take_buffer(&mut self, bytes: usize) -> AlignedBuffer;

    /// Gives a buffer back for reuse.
    fn return_buffer(&mut self, buffer: AlignedBuffer);

    /// Reads `bytes` at `offset` into the front of `buffer`, blocking. Bytes past the end of the slot are an error.
    ///
    /// # Errors
    /// The kernel's, or `UnexpectedEof`.
    fn read(&mut self, slot: SlotId, offset: u64, buffer: &mut AlignedBuffer, bytes: usize) -> io::Result<()>;

    /// Hands a write to the kernel.
    ///
    /// # Errors
    /// If the request could not be handed over at all; the log is then poisoned like after a failed write.
    fn submit_write(&mut self, write: WriteRequest) -> io::Result<()>;

    /// Hands a data sync of one slot to the kernel.
    ///
    /// # Errors
    /// As [`Disk::submit_write`].
    fn submit_sync(&mut self, op: OpId, slot: SlotId) -> io::Result<()>;

    /// A completion that has come already, if one can be had without a system call.
    fn ready(&mut self) -> Option<Completion> {
        None
    }

    /// Ends a [`Disk::wait`] from another thread; `None` where `wait` never sleeps.
    fn waker(&mut self) -> Option<Waker> {
        None
    }

    /// The next completion, sleeping at most `timeout` for it, or until the [`Disk::waker`] is used.
    ///
    /// # Errors
    /// If the kernel cannot be asked; not the errors of requests, which are in their completions.
    fn wait(&mut self, timeout: Duration) -> io::Result<Option<Completion>>;
}

/// Bytes of a block unless the device wants more: every device and file system of today accepts it for direct writes.
pub const BLOCK_BYTES_MIN: usize = 4096;

/// `bytes` rounded up to whole blocks.
#[must_use]
pub fn padded(bytes: usize, block_bytes: usize) -> usize {
    bytes.next_multiple_of(block_bytes)
}
