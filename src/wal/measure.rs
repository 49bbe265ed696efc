//! The door for benches: frames drawn in memory. The format itself stays private.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Term;
use crate::wal::frame::FrameHead;
use crate::wal::frame::Records;
use crate::wal::frame::encode;
use crate::wal::frame::frame_len;
use crate::wal::seal::SegmentKeys;
use crate::wal::seal::SegmentSeal;

/// FrameBench of the same entries, one after another, into the same buffer.
#[derive(Debug)]
pub struct FrameBench {
    seal: SegmentSeal,
    head: FrameHead,
    entries: Vec<LogEntry>,
    buffer: Vec<u8>,
}

impl FrameBench {
    /// FrameBench of `count` entries of `size` bytes each.
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
        let buffer = vec![0; frame_len(&Records::default(), &entries)];
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

    /// Draws the next frame.
    pub fn encode(&mut self) {
        self.head.previous = encode(&self.head, &Records::default(), &self.entries, &self.seal, &mut self.buffer);
        self.head.number += 1;
    }
}
