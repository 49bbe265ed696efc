//! The log's settings, and the sizes that follow from them.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::disk;
use crate::disk::Disk;
use crate::disk::DiskError;
use crate::disk::EngineChoice;
use crate::disk::padded;
use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::limits::ENTRY_BYTES_MAX;
use crate::limits::FRAME_BYTES_MAX;
use crate::limits::HUNG_SYNC;
use crate::limits::LOG_FRAMES_IN_FLIGHT;
use crate::limits::LOG_FRAMES_IN_FLIGHT_MAX;
use crate::limits::LOG_IDLE;
use crate::limits::LOG_SLOT_BYTES;
use crate::limits::LOG_SLOT_BYTES_MAX;
use crate::limits::LOG_SLOTS;
use crate::limits::LOG_SLOTS_GROWN_MAX;
use crate::limits::LOG_SLOTS_SPARE;
use crate::limits::SLOW_SYNC;
use crate::wal::error::LogConfigError;
use crate::wal::frame::FRAME_OVERHEAD_MAX;
use crate::wal::header::headers_len;

/// How the log is made and run. Slots and their size hold for a new log; an old one keeps what it has.
#[derive(Clone)]
pub struct LogConfig {
    /// The log's directory.
    pub dir: PathBuf,
    /// The engine that the operator chose.
    pub engine: EngineChoice,
    /// Slots of a new log.
    pub slots: u32,
    /// How far the pool may grow.
    pub slots_max: u32,
    /// Bytes of a slot of a new log.
    pub slot_bytes: u64,
    /// Largest entry data.
    pub entry_bytes_max: usize,
    /// This node.
    pub node_id: NodeId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Seals the frames; `None` for a log in the clear. IDENTITY alone decides which it is.
    pub log_key: Option<Zeroizing<[u8; 32]>>,
    /// Bytes of entry data that a recovery keeps in memory, the newest ones; what is older is read back when it is wanted. Those above
    /// the commit are kept, however many they are.
    pub kept_bytes_max: usize,
    /// Frames written or synced at one time; the next one is built when fewer are.
    pub frames_in_flight: usize,
    /// With the watermark behind and nothing to write for so long, an idle frame is written.
    pub idle: Duration,
    /// A sync that takes longer is warned of.
    pub slow_sync: Duration,
    /// A request that takes longer is the end.
    pub hung: Duration,
}

impl LogConfig {
    /// The defaults for a directory and a node, see [`crate::design`].
    #[must_use]
    pub fn new(dir: PathBuf, node_id: NodeId, cluster_id: ClusterId) -> LogConfig {
        LogConfig {
            dir,
            engine: EngineChoice::Auto,
            slots: LOG_SLOTS,
            slots_max: LOG_SLOTS_GROWN_MAX,
            slot_bytes: LOG_SLOT_BYTES,
            entry_bytes_max: ENTRY_BYTES_MAX,
            node_id,
            cluster_id,
            log_key: None,
            kept_bytes_max: usize::MAX,
            frames_in_flight: LOG_FRAMES_IN_FLIGHT,
            idle: LOG_IDLE,
            slow_sync: SLOW_SYNC,
            hung: HUNG_SYNC,
        }
    }

    /// Opens the log's directory behind an engine. Writes nothing that stays.
    ///
    /// # Errors
    /// As [`disk::open`].
    pub fn open_disk(&self) -> Result<Box<dyn Disk>, DiskError> {
        let frame = FRAME_BYTES_MAX + 2 * disk::BLOCK_BYTES_MIN;
        disk::open(&disk::DiskConfig {
            dir: self.dir.clone(),
            engine: self.engine,
            slots_max: self.slots_max.max(LOG_SLOTS_GROWN_MAX) + LOG_SLOTS_SPARE,
            buffers: u16::try_from(self.frames_in_flight).unwrap_or(u16::MAX),
            buffer_bytes: frame,
        })
    }

    /// Checks settings against each other and against the block of the device.
    ///
    /// # Errors
    /// The first impossible one.
    pub fn check(&self, block_bytes: usize) -> Result<(), LogConfigError> {
        if self.slots < SLOTS_MIN {
            return Err(LogConfigError::SlotsMin { least: SLOTS_MIN });
        }
        if self.slots > self.slots_max {
            return Err(LogConfigError::SlotsAboveMax);
        }
        self.check_frames_in_flight()?;
        check_slot_bytes(self.slot_bytes, self.entry_bytes_max, block_bytes)
    }

    /// Checks the setting that holds for an old log too.
    pub(super) fn check_frames_in_flight(&self) -> Result<(), LogConfigError> {
        let most = LOG_FRAMES_IN_FLIGHT_MAX;
        let possible = (1..=most).contains(&self.frames_in_flight);
        if possible { Ok(()) } else { Err(LogConfigError::FramesInFlight { most }) }
    }
}

debug_fields!(self: LogConfig {
    dir: self.dir,
    engine: self.engine,
    slots: self.slots,
    slots_max: self.slots_max,
    slot_bytes: self.slot_bytes,
    sealed: self.log_key.is_some(),
});

/// Sizes that the codec and the pool work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Unit of everything on disk.
    pub(crate) block: usize,
    /// Bytes of a slot.
    pub(crate) slot: u64,
    /// Longest frame that gathers several entries.
    pub(crate) gather_max: usize,
    /// Longest frame at all: one largest entry.
    pub(crate) frame_max: usize,
}

impl Sizes {
    pub(crate) fn new(slot: u64, entry_bytes_max: usize, block: usize) -> Result<Sizes, LogConfigError> {
        check_slot_bytes(slot, entry_bytes_max, block)?;
        let quarter = usize::try_from(slot / 4).unwrap_or(usize::MAX);
        let gather_max = FRAME_BYTES_MAX.min(quarter);
        let frame_max = gather_max.max(padded(entry_bytes_max + FRAME_OVERHEAD_MAX, block));
        Ok(Sizes { block, slot, gather_max, frame_max })
    }

    /// Both copies of the header.
    pub(crate) fn headers(self) -> u64 {
        headers_len(self.block) as u64
    }

    /// Bytes of a slot that frames of any sizes fill: less than one frame is lost at the end.
    pub(crate) fn usable(self) -> u64 {
        self.slot - self.headers() - (self.frame_max - self.block) as u64
    }
}

fn check_slot_bytes(slot_bytes: u64, entry_bytes_max: usize, block_bytes: usize) -> Result<(), LogConfigError> {
    let least_bytes = 4 * padded(entry_bytes_max, block_bytes).max(2 * block_bytes) as u64;
    if slot_bytes < least_bytes {
        return Err(LogConfigError::SlotBytesMin { least_bytes });
    }
    if slot_bytes > LOG_SLOT_BYTES_MAX {
        return Err(LogConfigError::SlotBytesMax { most_bytes: LOG_SLOT_BYTES_MAX });
    }
    let block_bytes = block_bytes as u64;
    if !slot_bytes.is_multiple_of(block_bytes) {
        return Err(LogConfigError::SlotBytesAlignment { block_bytes });
    }
    Ok(())
}

/// The newest segment, one to roll into, one for trims while the door is closed.
const SLOTS_MIN: u32 = 3;
