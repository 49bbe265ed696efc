//! Reading a log from beginning to end without opening it: for the operator's tools. The same rules as recovery, memory
//! bounded whatever the log holds, and nothing is written.

use std::io;

use crate::disk::Disk;
use crate::ids::Index;
use crate::wal::HardState;
use crate::wal::config::LogConfig;
use crate::wal::error::WalError;
pub use crate::wal::frame::Records;
pub use crate::wal::header::SegmentHeader;
use crate::wal::recovery;
pub use crate::wal::recovery::LogPart;
use crate::wal::recovery::TornEnd;
use crate::wal::seal::SegmentKeys;

/// A whole log that recovery would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// Segments that count.
    pub segments: usize,
    /// Frames in them.
    pub frames: u64,
    /// Entries up to here are gone.
    pub compacted: Index,
    /// The newest entry; `compacted` if there is none.
    pub last: Index,
    /// As last written.
    pub hard_state: HardState,
    /// Where an unfinished end begins, which a start drops.
    pub torn: Option<TornEnd>,
}

/// Reads the whole log of `config` and hands out each part of it. Writes nothing.
///
/// # Errors
/// As [`LogLoop::open`](crate::wal::LogLoop::open), after everything before the fault was handed out; an error of `each`
/// ends the reading.
pub fn read_through(
    config: &LogConfig,
    disk: &mut dyn Disk,
    each: &mut dyn FnMut(LogPart<'_>) -> io::Result<()>,
) -> Result<LogSummary, WalError> {
    let keys = SegmentKeys::new(config.log_key.clone(), config.node_id, config.cluster_id);
    let mut segments = 0;
    let mut watch = |part: LogPart<'_>| {
        segments += usize::from(matches!(part, LogPart::Segment { .. }));
        each(part)
    };
    let log = recovery::recover(disk, &keys, config.entry_bytes_max, recovery::Keep::Nothing, &mut watch)?;
    let state = log.contents.state();
    Ok(LogSummary {
        segments,
        frames: log.frames,
        compacted: state.compacted.index,
        last: Index(state.next.0 - 1),
        hard_state: state.hard_state,
        torn: log.torn,
    })
}
