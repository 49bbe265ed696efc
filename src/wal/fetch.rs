//! Reading old entries back, for followers that lag behind what is in memory.

use crate::disk::padded;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::wal::error::Reason;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::HEAD_LEN;
use crate::wal::index::FrameEntries;
use crate::wal::log_loop::LogLoop;

impl LogLoop {
    /// Entries from `first` to `last` inclusive, at least one, then as many as `bytes_max` bytes of data allow.
    ///
    /// # Errors
    /// [`WalError::NoEntry`] if `first` is trimmed, replaced or not durable yet; [`WalError::Refused`] if what was
    /// written does not read back. It is damaged then, not missing: never answer with a shorter log.
    pub fn fetch(&mut self, first: Index, last: Index, bytes_max: usize) -> Result<Vec<LogEntry>, WalError> {
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        let mut at = first;
        while at <= last {
            let place = self.index.find(at).filter(|place| place.frame <= self.durable).copied();
            let Some(place) = place.filter(|_| at > self.state.compacted.index) else {
                break;
            };
            for entry in self.read_frame(&place)? {
                if entry.index != at || at > last || entry.index >= place.end {
                    continue;
                }
                bytes += entry.data.len();
                if bytes > bytes_max && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
                at = at.next();
            }
            if at < place.end && at <= last {
                return Err(refused(&place, Reason::AcknowledgedDamaged));
            }
        }
        if entries.is_empty() { Err(WalError::NoEntry { index: first }) } else { Ok(entries) }
    }

    fn read_frame(&mut self, place: &FrameEntries) -> Result<Vec<LogEntry>, WalError> {
        let seal = &self.segments.segment(place.segment).ok_or(WalError::NoEntry { index: place.first })?.seal;
        let length = place.length as usize;
        let whole = padded(length, self.sizes.block);
        let bytes = self.window.bytes_exactly(self.pipeline.disk.as_mut(), place.slot, place.offset, whole)?;
        let frame = &bytes[..length];
        let head = FrameHead::parse(frame.first_chunk::<HEAD_LEN>().expect("frames have a head"));
        let is_it = head.length == place.length && head.number == place.frame && frame::crc_is_right(frame, seal);
        if !is_it {
            return Err(refused(place, Reason::AcknowledgedDamaged));
        }
        let body = frame::open(frame, seal).map_err(|reason| refused(place, reason))?;
        Ok(body.entries)
    }
}

fn refused(place: &FrameEntries, reason: Reason) -> WalError {
    WalError::Refused { segment: place.segment, slot: place.slot, offset: place.offset, reason }
}
