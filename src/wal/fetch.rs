//! Reading old entries back, for followers that need entries older than those in memory.

use std::ops::RangeInclusive;

use crate::disk::Disk;
use crate::disk::padded;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::wal::error::Reason;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::HEAD_LEN;
use crate::wal::index::FrameEntries;
use crate::wal::seal::SegmentSeal;
use crate::wal::window::Window;

/// See [`LogLoop::fetch`](crate::wal::LogLoop::fetch). `find` gives the durable frame that holds an entry, and its seal.
pub(super) fn entries<'a>(
    disk: &mut dyn Disk,
    window: &mut Window,
    find: &dyn Fn(Index) -> Option<(&'a FrameEntries, &'a SegmentSeal)>,
    wanted: RangeInclusive<Index>,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, WalError> {
    let (mut entries, mut bytes, mut at) = (Vec::new(), 0, *wanted.start());
    while at <= *wanted.end()
        && let Some((held, seal)) = find(at)
    {
        for entry in read(disk, window, held, seal)? {
            if entry.index != at || at > *wanted.end() || entry.index >= held.end {
                continue;
            }
            bytes += entry.data.len();
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
            at = at.next();
        }
        if at < held.end && at <= *wanted.end() {
            return Err(refused(held, Reason::AcknowledgedDamaged));
        }
    }
    if entries.is_empty() { Err(WalError::NoEntry { index: *wanted.start() }) } else { Ok(entries) }
}

/// Every entry of a frame, by one read.
fn read(
    disk: &mut dyn Disk,
    window: &mut Window,
    held: &FrameEntries,
    seal: &SegmentSeal,
) -> Result<Vec<LogEntry>, WalError> {
    let length = held.length as usize;
    let whole = padded(length, disk.block_bytes());
    let frame = &window.bytes_exactly(disk, held.slot, held.offset, whole)?[..length];
    let head = FrameHead::parse(frame.first_chunk::<HEAD_LEN>().expect("frames have a head"));
    let is_it = head.length == held.length && head.number == held.frame && frame::crc_is_right(frame, seal);
    if !is_it {
        return Err(refused(held, Reason::AcknowledgedDamaged));
    }
    Ok(frame::open(frame, seal).map_err(|reason| refused(held, reason))?.entries)
}

fn refused(held: &FrameEntries, reason: Reason) -> WalError {
    WalError::Refused { segment: held.segment, slot: held.slot, offset: held.offset, reason }
}
