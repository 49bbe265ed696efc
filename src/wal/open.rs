//! Every start but the first: the disk behind an engine, and the log that it holds.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::Disk;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::wal::HardState;
use crate::wal::config::LogConfig;
use crate::wal::error::WalError;
use crate::wal::inspect::LogPart;
use crate::wal::log_loop::LogLoop;
use crate::wal::recovery;
use crate::wal::recovery::Keep;
use crate::wal::recovery::TornEnd;
use crate::wal::seal::SegmentKeys;
use crate::world::Clock;
use crate::world::Entropy;

/// The contents of a log when it is opened.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Raft's hard state as last written; its commit may be behind.
    pub hard_state: HardState,
    /// Entries up to here are gone: the state must hold them.
    pub compacted: Position,
    /// Every entry above `compacted`, without gaps.
    pub entries: Vec<LogEntry>,
    /// `None` if this log knows no cutover.
    pub cutover: Option<Index>,
    /// Where an unfinished end was dropped; it was never acknowledged.
    pub torn: Option<TornEnd>,
    /// Frames read.
    pub frames: u64,
}

/// Opens the log's directory and recovers the log in it: [`LogConfig::open_disk`], then [`LogLoop::open`].
///
/// # Errors
/// As those two.
pub fn open(
    config: &LogConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(LogLoop, Recovered), WalError> {
    let disk = config.open_disk()?;
    LogLoop::open(config, disk, clock, entropy)
}

impl LogLoop {
    /// Recovers a log. Changes nothing on disk: that begins with the first append.
    ///
    /// # Errors
    /// Damage, another key, another owner, a missing slot; see [`WalError::blame`].
    pub fn open(
        config: &LogConfig,
        mut disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(LogLoop, Recovered), WalError> {
        config.check_frames_in_flight()?;
        let keys = SegmentKeys::new(config.log_key.clone(), config.node_id, config.cluster_id);
        let mut said = clock.monotonic();
        let mut watch = |part: LogPart<'_>| {
            if let LogPart::Segment { at, of, .. } = part
                && clock.monotonic().saturating_sub(said) >= PROGRESS_EVERY
            {
                said = clock.monotonic();
                tracing::info!(segments_read = at, segments = of, "log: being read");
            }
            Ok(())
        };
        let (entry_max, keep) = (config.entry_bytes_max, Keep::Entries);
        let mut replayed = recovery::recover(disk.as_mut(), &keys, entry_max, keep, &mut watch)?;
        let state = replayed.contents.state();
        let recovered = Recovered {
            hard_state: state.hard_state,
            compacted: state.compacted,
            cutover: Some(state.cutover).filter(|cutover| *cutover != Index::NEVER),
            entries: std::mem::take(&mut replayed.entries).into(),
            torn: replayed.torn,
            frames: replayed.frames,
        };
        if let Some(torn) = recovered.torn {
            let (segment, slot, offset) = (torn.segment, torn.slot.0, torn.offset);
            tracing::warn!(segment, slot, offset, "log: an unfinished end was dropped, it was never acknowledged");
        }
        Ok((LogLoop::begin(config, disk, clock, entropy, replayed), recovered))
    }
}

/// How often a long recovery says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
