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
        && let Some((first, _)) = find(at)
    {
        let last = last_of_read(find, first, *wanted.end(), bytes_max.saturating_sub(bytes), disk.block_bytes());
        let span = end_of(last, disk.block_bytes()) - first.offset;
        let span = usize::try_from(span).expect("not much more than a frame");
        let read = window.bytes_exactly(disk, first.slot, first.offset, span)?;
        while at < last.end
            && at <= *wanted.end()
            && let Some((held, seal)) = find(at)
        {
            let start = usize::try_from(held.offset - first.offset).expect("within what was read");
            for entry in open(&read[start..start + held.length as usize], held, seal)? {
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
    }
    if entries.is_empty() { Err(WalError::NoEntry { index: *wanted.start() }) } else { Ok(entries) }
}

/// The last frame that is read together with `first`: they lie behind each other, and everything between two durable frames of a
/// segment is durable too.
fn last_of_read<'a>(
    find: &dyn Fn(Index) -> Option<(&'a FrameEntries, &'a SegmentSeal)>,
    first: &'a FrameEntries,
    wanted_end: Index,
    bytes_max: usize,
    block: usize,
) -> &'a FrameEntries {
    let mut last = first;
    while last.end <= wanted_end
        && let Some((held, _)) = find(last.end)
        && held.segment == first.segment
        && end_of(held, block) - first.offset <= bytes_max as u64
    {
        last = held;
    }
    last
}

/// Where the frame behind this one may begin.
fn end_of(held: &FrameEntries, block: usize) -> u64 {
    held.offset + padded(held.length as usize, block) as u64
}

/// Every entry of a frame.
fn open(frame: &[u8], held: &FrameEntries, seal: &SegmentSeal) -> Result<Vec<LogEntry>, WalError> {
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
