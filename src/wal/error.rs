//! What can go wrong with the log, grouped by who must act.

use std::io;
use std::time::Duration;

use crate::disk::DiskError;
use crate::disk::SlotId;
use crate::exit::Blame;
use crate::ids::Index;

/// Why the log cannot be made, opened, read or written. Everything that a running log returns is final.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Damage: stop here, never guess. Nothing was changed on disk.
    #[error("log segment {segment} (slot {slot}) at offset {offset}: {reason}")]
    Refused {
        /// Number of the segment.
        segment: u64,
        /// Where it lies.
        slot: SlotId,
        /// Bytes from the start of the slot.
        offset: u64,
        /// The fault.
        reason: Reason,
    },
    /// Damage: a slot file is gone.
    #[error("log slot {slot} of {slots} is missing")]
    SlotMissing {
        /// The lowest one missing.
        slot: SlotId,
        /// How many there must be.
        slots: u32,
    },
    /// Damage: no slot has a segment, although the first one is made together with the log.
    #[error("no log segment in any slot")]
    NoSegment,
    /// Operator: the header is intact and its seal does not open: wrong key, or forged.
    #[error("log segment {segment} (slot {slot}) does not open under this log key")]
    WrongKey {
        /// Number of the segment as its header claims.
        segment: u64,
        /// Where it lies.
        slot: SlotId,
    },
    /// Operator: the log is another node's or another cluster's.
    #[error("log segment {segment} (slot {slot}) belongs to another node or cluster")]
    Foreign {
        /// Number of the segment.
        segment: u64,
        /// Where it lies.
        slot: SlotId,
    },
    /// Operator: written by another version of this program.
    #[error("log format version {found}, this program knows {known}")]
    Version {
        /// In the header.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Operator: the log was written with another block size than this device needs.
    #[error("log blocks of {found} bytes, the device wants {wanted}")]
    BlockBytes {
        /// In the header.
        found: u32,
        /// The device's.
        wanted: u32,
    },
    /// Operator: settings that cannot work together.
    #[error("log settings")]
    Config(#[from] LogConfigError),
    /// Operator: the chosen engine or the directory cannot be used.
    #[error(transparent)]
    Open(#[from] DiskError),
    /// Damage: an entry that must be readable is not in the log.
    #[error("entry {index} is not in the log")]
    NoEntry {
        /// The entry.
        index: Index,
    },
    /// The device: a request failed. The log is poisoned (SYNC-FATAL).
    #[error("log slot {slot}: {during}")]
    Disk {
        /// The slot.
        slot: SlotId,
        /// The operation.
        during: During,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device: a request has not come back. The log is poisoned.
    #[error("log slot {slot}: {during} has hung for {} ms", waited.as_millis())]
    Hung {
        /// The slot.
        slot: SlotId,
        /// The operation.
        during: During,
        /// For how long.
        waited: Duration,
    },
    /// Operator: no slot is free for the first frame, and none can be added.
    #[error("no log slot is free and none can be added")]
    NoSlot {
        /// Why the pool did not grow, if it was tried.
        source: Option<io::Error>,
    },
    /// Nobody: a bug of the caller; recovery would refuse this frame. Nothing was written.
    #[error("an append contradicts the log: its first entry is {first:?}, the next one would be {next}")]
    Contradiction {
        /// Of the append, if it has entries.
        first: Option<Index>,
        /// The log's.
        next: Index,
    },
    /// After any other error: the log is closed.
    #[error("the log failed earlier, the process must end")]
    Poisoned,
}

impl WalError {
    /// Who must act: an operator's key or setting is the cause, or else damage or I/O.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            // A disk that fails or hangs in the trial is no setting.
            WalError::Open(DiskError::EngineRefused { source, .. }) if is_of_the_device(source) => Blame::Damage,
            WalError::WrongKey { .. }
            | WalError::Foreign { .. }
            | WalError::Version { .. }
            | WalError::BlockBytes { .. }
            | WalError::Config(_)
            | WalError::Open(DiskError::EngineRefused { .. }) => Blame::Config,
            WalError::Refused { .. }
            | WalError::SlotMissing { .. }
            | WalError::NoSegment
            | WalError::NoEntry { .. }
            | WalError::Disk { .. }
            | WalError::Hung { .. }
            | WalError::NoSlot { .. }
            | WalError::Open(DiskError::Open { .. })
            | WalError::Contradiction { .. }
            | WalError::Poisoned => Blame::Damage,
        }
    }
}

fn is_of_the_device(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut || error.raw_os_error() == Some(EIO)
}

/// Linux' number, on every machine that it runs on.
const EIO: i32 = 5;

/// The fault at the offset that a refusal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Rule 4: this frame was acknowledged and is not readable.
    #[error("an acknowledged frame is damaged or missing")]
    AcknowledgedDamaged,
    /// Rule 4: a later segment begins behind frames that are not here.
    #[error("the frames before this segment are damaged or missing")]
    GapBeforeSegment,
    /// Rule 3: number is not the one that comes next.
    #[error("a frame is out of order")]
    OutOfOrder,
    /// Rule 3: not made after the frame before it.
    #[error("a frame does not continue the chain")]
    ChainBroken,
    /// Rule 3: the checksum is right and the seal is not.
    #[error("a frame was forged")]
    Forged,
    /// Rule 3: names another segment.
    #[error("a frame of another segment")]
    OtherSegment,
    /// The log has a key, this is not sealed under it.
    #[error("not sealed, in a log with a key")]
    NotSealed,
    /// The log has no key, this is sealed.
    #[error("sealed, in a log without a key")]
    Sealed,
    /// The checksum is right and the contents make no sense.
    #[error("a frame's contents are malformed")]
    Malformed,
    /// The checksum is right and the contents of the header make no sense.
    #[error("the segment header is malformed")]
    MalformedHeader,
    /// Rule 1.
    #[error("two slots hold the same segment")]
    SegmentTwice,
    /// Rule 5: entries between the compacted position and the first one found.
    #[error("entries are missing from the segment before")]
    EntriesMissing,
    /// Slots must have one size.
    #[error("the slot has another size than its segment says")]
    SlotSize,
}

/// The operation of the disk that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum During {
    /// Writing a frame.
    #[error("write")]
    Write,
    /// Syncing frames.
    #[error("sync")]
    Sync,
    /// Reading.
    #[error("read")]
    Read,
    /// Zeroing the headers of a slot that was freed.
    #[error("zeroing a freed slot")]
    Zero,
    /// Making a slot.
    #[error("making a slot")]
    Create,
    /// Handing out what was read of it.
    #[error("showing its contents")]
    Show,
    /// Waiting for requests.
    #[error("waiting for requests")]
    Wait,
}

/// Which setting is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogConfigError {
    /// One holds the newest segment, one is being filled, one is kept for trims.
    #[error("at least {least} slots are needed")]
    SlotsMin {
        /// The least number.
        least: u32,
    },
    /// The pool cannot begin larger than it may become.
    #[error("slots are more than slots_max")]
    SlotsAboveMax,
    /// A slot must hold four of the largest entry.
    #[error("a slot must have at least {least_bytes} bytes, four times the largest entry")]
    SlotBytesMin {
        /// The least size.
        least_bytes: u64,
    },
    /// Slots are written in whole blocks.
    #[error("slot bytes must be a multiple of {block_bytes}")]
    SlotBytesAlignment {
        /// The block.
        block_bytes: u64,
    },
    /// Lengths in headers are 32 bits.
    #[error("a slot must have at most {most_bytes} bytes")]
    SlotBytesMax {
        /// The largest size.
        most_bytes: u64,
    },
    /// None would write nothing; more than the bound only queue.
    #[error("frames in flight must be 1 to {most}")]
    FramesInFlight {
        /// The largest number.
        most: usize,
    },
    /// Making a log where there is one.
    #[error("there are slots already")]
    SlotsExist,
}
