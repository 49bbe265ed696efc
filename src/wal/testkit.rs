//! For tests and benches: the frames of a slot without opening the log, and frames drawn in memory. The format itself
//! stays private.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::Disk;
use crate::disk::SlotId;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Term;
use crate::wal::Reason;
use crate::wal::config::LogConfig;
use crate::wal::config::Sizes;
use crate::wal::error::WalError;
use crate::wal::frame;
pub use crate::wal::frame::Body;
pub use crate::wal::frame::FrameHead;
pub use crate::wal::frame::PeerMark;
pub use crate::wal::frame::Records;
pub use crate::wal::frame::Tag;
use crate::wal::header::HeaderCopy;
pub use crate::wal::header::SegmentHeader;
use crate::wal::header::headers_len;
use crate::wal::seal::SegmentKeys;
use crate::wal::seal::SegmentSeal;
use crate::wal::window::Window;

/// One frame of a slot.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Bytes from the start of the slot.
    pub offset: u64,
    /// The part outside the seal.
    pub head: FrameHead,
    /// The sealed part; an error if the seal does not open.
    pub body: Result<Body, Reason>,
}

/// The frames of one slot, from the first up to the first gap.
#[derive(Debug)]
pub struct SlotFrames<'a> {
    disk: &'a mut dyn Disk,
    slot: SlotId,
    header: SegmentHeader,
    seal: SegmentSeal,
    sizes: Sizes,
    window: Window,
    offset: u64,
}

/// The frames of a slot, or `None` if it holds no segment whose header is readable.
///
/// # Errors
/// If the slot cannot be read.
pub fn frames<'a>(
    disk: &'a mut dyn Disk,
    slot: SlotId,
    config: &LogConfig,
) -> Result<Option<SlotFrames<'a>>, WalError> {
    let block = disk.block_bytes();
    let Some(slot_bytes) = disk.slot_bytes(slot) else {
        return Err(WalError::SlotMissing { slot, slots: disk.slot_count() });
    };
    let mut window = Window::new(block);
    let bytes = window.bytes_exactly(disk, slot, 0, headers_len(block))?;
    let copies = [HeaderCopy::of(&bytes[..block]), HeaderCopy::of(&bytes[block..])];
    let good = copies.into_iter().find_map(|copy| match copy {
        HeaderCopy::Good(good) => Some(good),
        HeaderCopy::Zero | HeaderCopy::Bad => None,
    });
    let Some(good) = good else { return Ok(None) };
    let header = SegmentHeader::parse(&good);
    let key = SegmentKeys::new(config.log_key.clone(), config.node_id, config.cluster_id);
    let seal = key.segment(header.segment, &header.salt);
    let sizes = Sizes::new(slot_bytes, config.entry_bytes_max, block)?;
    Ok(Some(SlotFrames { disk, slot, header, seal, sizes, window, offset: sizes.headers() }))
}

impl SlotFrames<'_> {
    /// The segment's header.
    #[must_use]
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }
}

impl Iterator for SlotFrames<'_> {
    type Item = Result<Frame, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        match self.window.frame(self.disk, self.slot, &self.sizes, &self.seal, offset) {
            Err(error) => Some(Err(error)),
            Ok(None) => None,
            Ok(Some((head, bytes))) => {
                self.offset += (head.length as usize).next_multiple_of(self.sizes.block) as u64;
                Some(Ok(Frame { offset, head, body: frame::open(bytes, &self.seal) }))
            }
        }
    }
}

/// Draws frames of the same entries in memory, one after another, into the same buffer.
#[derive(Debug)]
pub struct FrameBench {
    seal: SegmentSeal,
    head: FrameHead,
    entries: Vec<LogEntry>,
    buffer: Vec<u8>,
}

impl FrameBench {
    /// Frames of `count` entries of `size` bytes each.
    ///
    /// # Panics
    /// If they do not fit one frame's length field.
    #[must_use]
    pub fn new(is_sealed: bool, count: usize, size: usize) -> FrameBench {
        let node = NodeId::new(1).expect("not 0");
        let key = SegmentKeys::new(is_sealed.then(|| Zeroizing::new([7; 32])), node, ClusterId([2; 16]));
        let data = Bytes::from(vec![0x61; size]);
        let entry =
            |index| LogEntry { term: Term(1), index: Index(index), kind: EntryKind::Normal, data: data.clone() };
        let entries: Vec<LogEntry> = (1..=count as u64).map(entry).collect();
        let buffer = vec![0; frame::frame_len(&Records::default(), &entries)];
        let head = FrameHead {
            length: 0,
            kind: 0,
            random: [0; 4],
            number: 1,
            watermark: 0,
            segment: 1,
            previous: Default::default(),
        };
        FrameBench { seal: key.segment(1, &[3; 32]), head, entries, buffer }
    }

    /// Bytes of one of its frames, as they go to the disk.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.buffer.len().next_multiple_of(BLOCK_BYTES_MIN)
    }

    /// Draws the next frame.
    pub fn encode(&mut self) {
        self.head.previous =
            frame::encode(&self.head, &Records::default(), &self.entries, &self.seal, &mut self.buffer);
        self.head.number += 1;
    }
}
