//! The first look at every slot: headers (rules 1 and 2), and frames that are readable without one.

use crate::disk::Disk;
use crate::disk::SlotId;
use crate::wal::config::Sizes;
use crate::wal::error::During;
use crate::wal::error::Reason;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::HEAD_LEN;
use crate::wal::frame::kind;
use crate::wal::header;
use crate::wal::header::FORMAT_VERSION;
use crate::wal::header::HEADER_LEN;
use crate::wal::header::HeaderCopy;
use crate::wal::header::SegmentHeader;
use crate::wal::header::headers_len;
use crate::wal::seal::SegmentKeys;
use crate::wal::window::Window;

/// A segment's header and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct FoundSegment {
    pub(crate) slot: SlotId,
    pub(crate) header: SegmentHeader,
}

impl FoundSegment {
    pub(crate) fn refused(&self, offset: u64, reason: Reason) -> WalError {
        WalError::Refused { segment: self.header.segment, slot: self.slot, offset, reason }
    }
}

/// Every slot, sorted by its headers.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    /// The gapless run of segments that ends at the highest number, oldest first.
    pub(crate) run: Vec<FoundSegment>,
    /// Segments before a gap: freed, not yet zeroed.
    pub(crate) stale: Vec<SlotId>,
    /// Never used, or freed.
    pub(crate) free: Vec<SlotId>,
    /// Unreadable or contradicting headers: a first write that was not finished, unless proven otherwise.
    pub(crate) unfinished: Vec<SlotId>,
}

/// Reads both copies of every slot's header.
///
/// # Errors
/// A slot missing, another format, a seal that does not open, a segment twice.
pub(crate) fn read_headers(disk: &mut dyn Disk, key: &SegmentKeys) -> Result<Headers, WalError> {
    let slots = disk.slot_count();
    if let Some(slot) = (0..slots).map(SlotId).find(|slot| disk.slot_bytes(*slot).is_none()) {
        return Err(WalError::SlotMissing { slot, slots });
    }
    let mut headers = Headers::default();
    let mut window = Window::new(disk.block_bytes());
    for slot in (0..slots).map(SlotId) {
        match read_slot(disk, &mut window, slot, key)? {
            SlotHeader::Free => headers.free.push(slot),
            SlotHeader::Unfinished => headers.unfinished.push(slot),
            SlotHeader::Segment(header) => headers.run.push(FoundSegment { slot, header }),
        }
    }
    headers.run.sort_by_key(|found| found.header.segment);
    if let Some(pair) = headers.run.windows(2).find(|pair| pair[0].header.segment == pair[1].header.segment) {
        return Err(pair[1].refused(0, Reason::SegmentTwice));
    }
    // Counted from any segment: a slot was there when the header was written.
    let needed = headers.run.iter().map(|found| found.header.slots).max().unwrap_or(0);
    if needed > slots {
        return Err(WalError::SlotMissing { slot: SlotId(slots), slots: needed });
    }
    let run = &headers.run;
    let gap = (1..run.len()).rev().find(|at| run[at - 1].header.segment + 1 != run[*at].header.segment);
    headers.stale = headers.run.drain(..gap.unwrap_or(0)).map(|found| found.slot).collect();
    Ok(headers)
}

enum SlotHeader {
    Free,
    Unfinished,
    Segment(SegmentHeader),
}

fn read_slot(
    disk: &mut dyn Disk,
    window: &mut Window,
    slot: SlotId,
    key: &SegmentKeys,
) -> Result<SlotHeader, WalError> {
    let block = disk.block_bytes();
    let slot_bytes = disk.slot_bytes(slot).unwrap_or(0);
    if slot_bytes < headers_len(block) as u64 {
        let source = std::io::ErrorKind::UnexpectedEof.into();
        return Err(WalError::Disk { slot, during: During::Read, source });
    }
    // Both blocks and no more: most slots hold nothing that is looked at now.
    let bytes = window.bytes_exactly(disk, slot, 0, headers_len(block))?;
    let good = match (HeaderCopy::of(&bytes[..block]), HeaderCopy::of(&bytes[block..])) {
        (HeaderCopy::Zero, HeaderCopy::Zero) => return Ok(SlotHeader::Free),
        (HeaderCopy::Good(one), HeaderCopy::Good(two)) if one != two => return Ok(SlotHeader::Unfinished),
        (HeaderCopy::Good(good), _) | (_, HeaderCopy::Good(good)) => good,
        _ => return Ok(SlotHeader::Unfinished),
    };
    check_header(&good, slot, block, key).map(SlotHeader::Segment)
}

fn check_header(
    bytes: &[u8; HEADER_LEN],
    slot: SlotId,
    block: usize,
    key: &SegmentKeys,
) -> Result<SegmentHeader, WalError> {
    let found = header::version(bytes);
    if found != FORMAT_VERSION {
        return Err(WalError::Version { found, known: FORMAT_VERSION });
    }
    let header = SegmentHeader::parse(bytes);
    let (segment, foreign) = (header.segment, WalError::Foreign { segment: header.segment, slot });
    let seal = key.segment(segment, &header.salt);
    match (SegmentHeader::is_sealed(bytes), seal.is_sealed()) {
        (false, true) => {
            return Err(WalError::Refused { segment, slot, offset: 0, reason: Reason::NotSealed });
        }
        (true, false) => {
            return Err(WalError::Refused { segment, slot, offset: 0, reason: Reason::Sealed });
        }
        (true, true) if !SegmentHeader::authentic(bytes, &seal) => {
            let ours = header.node_id == key.node_id().to_bytes() && header.cluster_id == key.cluster_id();
            return Err(if ours { WalError::WrongKey { segment, slot } } else { foreign });
        }
        _ => {}
    }
    if header.node_id != key.node_id().to_bytes() || header.cluster_id != key.cluster_id() {
        return Err(foreign);
    }
    if header.block_bytes as usize != block {
        let wanted = u32::try_from(block).unwrap_or(u32::MAX);
        return Err(WalError::BlockBytes { found: header.block_bytes, wanted });
    }
    if !header.is_possible() {
        return Err(WalError::Refused { segment, slot, offset: 0, reason: Reason::MalformedHeader });
    }
    Ok(header)
}

/// A frame with a watermark at or above `missing` that continues the frame right before it, their seals unchecked.
pub(crate) fn chained_frame(
    disk: &mut dyn Disk,
    window: &mut Window,
    slot: SlotId,
    sizes: &Sizes,
    missing: u64,
) -> Result<Option<FrameHead>, WalError> {
    let mut offset = sizes.headers();
    while offset + sizes.block as u64 <= sizes.slot {
        let head = window.head(disk, slot, sizes, offset)?;
        if let Some(head) = head.filter(looks_like_ours) {
            let bytes = window.bytes(disk, slot, sizes.slot, offset, head.length as usize)?;
            let tag = frame::tag_of(bytes);
            let next = offset + (head.length as usize).next_multiple_of(sizes.block) as u64;
            let next = window.head(disk, slot, sizes, next)?.filter(looks_like_ours);
            let chained = |next: &FrameHead| {
                next.previous == tag && next.segment == head.segment && head.number.checked_add(1) == Some(next.number)
            };
            if let Some(next) = next.filter(chained).filter(|next| next.watermark >= missing) {
                return Ok(Some(next));
            }
        }
        offset += sizes.block as u64;
    }
    Ok(None)
}

fn looks_like_ours(head: &FrameHead) -> bool {
    head.kind & !kind::ALL == 0 && head.watermark < head.number && head.length as usize >= HEAD_LEN
}
