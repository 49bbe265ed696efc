//! Every start but the first: the disk behind an engine, and the log that it holds.

use std::sync::Arc;

use crate::disk::Disk;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
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
    /// The entries above `compacted`, without gaps, up to the newest; if they are too many for memory, the newest of them.
    pub entries: Vec<LogEntry>,
    /// Of those above `compacted` that are not in `entries`: where each run of one term begins, and its term.
    pub older_terms: Vec<(Index, Term)>,
    /// `None` if this log knows no cutover.
    pub cutover: Option<Index>,
    /// Where an unfinished end was dropped; it was never acknowledged.
    pub torn: Option<TornEnd>,
    /// Frames read.
    pub frames: u64,
}

impl Recovered {
    /// The term of the entry at `index`, in memory or not; of the compacted position too. `None`: the log does not say.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        let last = self.entries.last().map_or(self.compacted.index, |entry| entry.index);
        if index == self.compacted.index {
            return Some(self.compacted.term);
        }
        if index < self.compacted.index || index > last {
            return None;
        }
        let first = self.entries.first().map_or(index, |entry| entry.index);
        match index.0.checked_sub(first.0) {
            Some(offset) => self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.term),
            None => {
                let behind = self.older_terms.partition_point(|(begin, _)| *begin <= index);
                self.older_terms.get(behind.checked_sub(1)?).map(|(_, term)| *term)
            }
        }
    }
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
    open_watched(config, clock, entropy, &mut |_, _| ())
}

/// The same; `watch` hears how many bytes of how many are read.
///
/// # Errors
/// As [`open`].
pub fn open_watched(
    config: &LogConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<(LogLoop, Recovered), WalError> {
    let disk = config.open_disk()?;
    LogLoop::open_watched(config, disk, clock, entropy, watch)
}

impl LogLoop {
    /// Recovers a log. Changes nothing on disk: that begins with the first append.
    ///
    /// # Errors
    /// Damage, another key, another owner, a missing slot; see [`WalError::blame`].
    pub fn open(
        config: &LogConfig,
        disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(LogLoop, Recovered), WalError> {
        LogLoop::open_watched(config, disk, clock, entropy, &mut |_, _| ())
    }

    fn open_watched(
        config: &LogConfig,
        mut disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        watch: &mut dyn FnMut(u64, u64),
    ) -> Result<(LogLoop, Recovered), WalError> {
        config.check_frames_in_flight()?;
        let keys = SegmentKeys::new(config.log_key.clone(), config.node_id, config.cluster_id);
        let (mut before, mut all) = (0, 0);
        let mut look = |part: LogPart<'_>| {
            let offset = match part {
                LogPart::Segment { header, at, of, .. } => {
                    let segment_bytes = header.segment_bytes;
                    (before, all) = (at as u64 * segment_bytes, of as u64 * segment_bytes);
                    0
                }
                LogPart::Frame { offset, .. } => offset,
            };
            watch(before + offset, all);
            Ok(())
        };
        let (entry_max, keep) = (config.entry_bytes_max, Keep::Entries { bytes_max: config.kept_bytes_max });
        let mut replayed = recovery::recover(disk.as_mut(), &keys, entry_max, keep, &mut look)?;
        let (entries, older_terms) = std::mem::take(&mut replayed.entries).into_parts();
        let state = replayed.contents.state();
        let recovered = Recovered {
            hard_state: state.hard_state,
            compacted: state.compacted,
            cutover: Some(state.cutover).filter(|cutover| *cutover != Index::NEVER),
            entries,
            older_terms,
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
