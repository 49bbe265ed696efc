//! New segments and frames as bytes: the one part of the writer that has the log's key and draws randomness.

use std::sync::Arc;

use crate::wal::config::Sizes;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::Tag;
use crate::wal::group::FrameGroup;
use crate::wal::header::HEADER_LEN;
use crate::wal::header::SegmentHeader;
use crate::wal::seal::SegmentKeys;
use crate::wal::seal::SegmentSeal;
use crate::wal::segments::Segment;
use crate::wal::state::LogState;
use crate::world::Entropy;
use crate::world::random_array;

/// Draws the bytes that the pipeline writes.
pub(super) struct FrameBuilder {
    keys: SegmentKeys,
    entropy: Arc<dyn Entropy>,
    sizes: Sizes,
}

impl FrameBuilder {
    pub(super) fn new(keys: SegmentKeys, entropy: Arc<dyn Entropy>, sizes: Sizes) -> FrameBuilder {
        FrameBuilder { keys, entropy, sizes }
    }

    /// A new segment's seal and its header with this state, in a pool of so many slots.
    pub(super) fn segment(&self, number: u64, state: &LogState, slots: u32) -> (SegmentSeal, Box<[u8; HEADER_LEN]>) {
        let salt = random_array(self.entropy.as_ref());
        let seal = self.keys.segment(number, &salt);
        let header = SegmentHeader {
            block_bytes: u32::try_from(self.sizes.block).expect("a block is far below 4 GiB"),
            segment: number,
            segment_bytes: self.sizes.slot,
            salt,
            chain_in: state.chain,
            first_frame: state.frame + 1,
            next_index: state.next,
            compacted: state.compacted,
            hard_state: state.hard_state,
            cutover: state.cutover,
            node_id: self.keys.node_id().to_bytes(),
            cluster_id: self.keys.cluster_id(),
            slots,
        };
        let bytes = Box::new(header.encode(&seal));
        (seal, bytes)
    }

    /// Fills the first two blocks of a segment, one copy of its header in each.
    pub(super) fn headers(&self, header: &[u8; HEADER_LEN], out: &mut [u8]) {
        assert_eq!(out.len() as u64, self.sizes.headers(), "two copies");
        out.fill(0);
        for copy in out.chunks_exact_mut(self.sizes.block) {
            copy[..HEADER_LEN].copy_from_slice(header);
        }
    }

    /// Fills `out` with the frame that follows `state`, and returns its tag. `durable` is the watermark.
    pub(super) fn frame(
        &self,
        segment: &Segment,
        state: &LogState,
        durable: u64,
        group: &FrameGroup,
        out: &mut [u8],
    ) -> Tag {
        assert!(durable <= state.frame, "the watermark is below the frame");
        let head = FrameHead {
            length: 0,
            kind: 0,
            random: random_array(self.entropy.as_ref()),
            number: state.frame + 1,
            watermark: durable,
            segment: segment.number(),
            previous: state.chain,
        };
        frame::encode(&head, &group.records, &group.entries, segment.seal(), out)
    }
}
