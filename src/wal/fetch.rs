//! Reading old entries back, for followers that need entries older than those in memory.

use crate::disk::Disk;
use crate::disk::padded;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::wal::config::Sizes;
use crate::wal::contents::LogContents;
use crate::wal::error::Reason;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::HEAD_LEN;
use crate::wal::index::FrameEntries;
use crate::wal::segments::Segments;
use crate::wal::window::Window;

/// The parts of a log that reading needs.
pub(super) struct Fetcher<'a> {
    pub(super) disk: &'a mut dyn Disk,
    pub(super) window: &'a mut Window,
    pub(super) contents: &'a LogContents,
    pub(super) segments: &'a Segments,
    pub(super) sizes: &'a Sizes,
    /// Newest frame that may be read.
    pub(super) durable: u64,
}

impl Fetcher<'_> {
    /// See [`LogLoop::fetch`](crate::wal::LogLoop::fetch).
    pub(super) fn entries(&mut self, first: Index, last: Index, bytes_max: usize) -> Result<Vec<LogEntry>, WalError> {
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        let mut at = first;
        while at <= last {
            let held = self.contents.find(at).filter(|held| held.frame <= self.durable).copied();
            let Some(held) = held.filter(|_| at > self.contents.state().compacted.index) else {
                break;
            };
            for entry in self.frame(&held)? {
                if entry.index != at || at > last || entry.index >= held.end {
                    continue;
                }
                bytes += entry.data.len();
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
                at = at.next();
            }
            if at < held.end && at <= last {
                return Err(refused(&held, Reason::AcknowledgedDamaged));
            }
        }
        if entries.is_empty() { Err(WalError::NoEntry { index: first }) } else { Ok(entries) }
    }

    fn frame(&mut self, held: &FrameEntries) -> Result<Vec<LogEntry>, WalError> {
        let segment = self.segments.segment(held.segment).ok_or(WalError::NoEntry { index: held.first })?;
        let length = held.length as usize;
        let whole = padded(length, self.sizes.block);
        let bytes = self.window.bytes_exactly(self.disk, held.slot, held.offset, whole)?;
        let frame = &bytes[..length];
        let head = FrameHead::parse(frame.first_chunk::<HEAD_LEN>().expect("frames have a head"));
        let is_it =
            head.length == held.length && head.number == held.frame && frame::crc_is_right(frame, segment.seal());
        if !is_it {
            return Err(refused(held, Reason::AcknowledgedDamaged));
        }
        let body = frame::open(frame, segment.seal()).map_err(|reason| refused(held, reason))?;
        Ok(body.entries)
    }
}

fn refused(held: &FrameEntries, reason: Reason) -> WalError {
    WalError::Refused { segment: held.segment, slot: held.slot, offset: held.offset, reason }
}
