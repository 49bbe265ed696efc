//! The segment header: one block of 4096 bytes, written twice (blocks 0 and 1) together with the segment's first frame.
//!
//! ```text
//! off   size  field
//! 0     8     magic "SKVWAL01"
//! 8     4     format version (1)
//! 12    4     block size
//! 16    8     segment number, increasing over all slots
//! 24    8     segment bytes
//! 32    32    salt, fresh from the kernel for every use of a slot
//! 64    16    chain in: tag of the last frame of the previous segment
//! 80    8     number of the first frame
//! 88    8     next index
//! 96    8     compacted index
//! 104   8     compacted term
//! 112   8     current term
//! 120   8     vote (0 = nobody)
//! 128   8     commit
//! 136   8     cutover known to this log (all ones = none)
//! 144   16    node id
//! 160   16    cluster id
//! 176   4     number of slots
//! 180         zero, to 4064
//! 4064  16    GMAC of bytes 0..4064 under the segment key, nonce all ones; zero in a log without a key
//! 4080        zero, to 4092
//! 4092  4     CRC32C of bytes 0..4092
//! ```
//!
//! Term, vote, commit, indexes and cutover are those just before the segment's first frame.

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::aead::NONCE_LEN;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::LOG_NUMBER_MAX;
use crate::wal::HardState;
use crate::wal::frame::Tag;
use crate::wal::seal::SegmentSeal;

/// Bytes of a header, also where a block is larger.
pub(crate) const HEADER_LEN: usize = 4096;
/// Bytes of both copies, each at the front of a block.
pub(crate) fn headers_len(block: usize) -> usize {
    2 * block
}

/// The only format there is.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// A segment header's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Unit of frames in this segment.
    pub block_bytes: u32,
    /// Increasing over all slots.
    pub segment: u64,
    /// Bytes of the slot.
    pub segment_bytes: u64,
    /// Fresh for every use of a slot.
    pub salt: [u8; 32],
    /// Tag of the frame before the first one.
    pub chain_in: Tag,
    /// Number of the first frame.
    pub first_frame: u64,
    /// Index that the next entry would have had.
    pub next_index: Index,
    /// The position up to which a snapshot or the flushed state replaces the log.
    pub compacted: Position,
    /// Raft's.
    pub hard_state: HardState,
    /// `Index::NEVER` if none.
    pub cutover: Index,
    /// The node that owns the log.
    pub node_id: [u8; 16],
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Slots of the pool when this was written.
    pub slots: u32,
}

/// One copy of a header as found on disk, before its seal is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderCopy {
    /// All zero: the slot is free.
    Zero,
    /// Neither zero nor a header whose checksum is right.
    Bad,
    /// Magic and checksum are right.
    Good(Box<[u8; HEADER_LEN]>),
}

impl HeaderCopy {
    /// Judges the first 4096 bytes of a block.
    pub(crate) fn of(block: &[u8]) -> HeaderCopy {
        let Some(bytes) = block.first_chunk::<HEADER_LEN>() else {
            return HeaderCopy::Bad;
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return HeaderCopy::Zero;
        }
        let crc = crc32c::crc32c(&bytes[..CRC]);
        if bytes[..8] == MAGIC && bytes[CRC..] == crc.to_be_bytes() {
            return HeaderCopy::Good(Box::new(*bytes));
        }
        HeaderCopy::Bad
    }
}

impl SegmentHeader {
    /// Draws the header, sealed if the segment is.
    pub(crate) fn encode(&self, seal: &SegmentSeal) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &FORMAT_VERSION.to_be_bytes());
        put(12, &self.block_bytes.to_be_bytes());
        put(16, &self.segment.to_be_bytes());
        put(24, &self.segment_bytes.to_be_bytes());
        put(32, &self.salt);
        put(64, &self.chain_in);
        put(80, &self.first_frame.to_be_bytes());
        put(88, &self.next_index.0.to_be_bytes());
        put(96, &self.compacted.index.0.to_be_bytes());
        put(104, &self.compacted.term.0.to_be_bytes());
        put(112, &self.hard_state.term.0.to_be_bytes());
        put(120, &self.hard_state.vote.to_be_bytes());
        put(128, &self.hard_state.commit.0.to_be_bytes());
        put(136, &self.cutover.0.to_be_bytes());
        put(144, &self.node_id);
        put(160, &self.cluster_id.0);
        put(176, &self.slots.to_be_bytes());
        if seal.is_sealed() {
            let (clear, rest) = bytes.split_at_mut(GMAC);
            seal.seal(HEADER_NONCE, clear, &mut rest[..GMAC_LEN]);
        }
        let crc = crc32c::crc32c(&bytes[..CRC]);
        bytes[CRC..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads the fields of a copy whose checksum is right.
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> SegmentHeader {
        read(&mut Reader::new(&bytes[BLOCK_BYTES..])).expect("a header holds every field")
    }

    /// Whether a log can have these numbers, so that it can be counted on from them.
    pub(crate) fn is_possible(&self) -> bool {
        let (compacted, hard_state) = (self.compacted, self.hard_state);
        let indexes = [self.next_index, compacted.index, hard_state.commit].map(|index| index.0);
        let terms = [compacted.term, hard_state.term].map(|term| term.0);
        let counted = [self.segment, self.first_frame];
        let are_small = [indexes.as_slice(), &terms, &counted].concat().iter().all(|number| *number <= LOG_NUMBER_MAX);
        are_small && self.segment > 0 && self.first_frame > 0 && self.next_index > compacted.index
    }

    /// Whether the copy carries a GMAC at all.
    pub(crate) fn is_sealed(bytes: &[u8; HEADER_LEN]) -> bool {
        bytes[GMAC..GMAC + GMAC_LEN].iter().any(|byte| *byte != 0)
    }

    /// Whether the GMAC is the segment key's.
    pub(crate) fn authentic(bytes: &[u8; HEADER_LEN], seal: &SegmentSeal) -> bool {
        let mut tag = *bytes[GMAC..].first_chunk::<GMAC_LEN>().expect("16 bytes of the header");
        seal.open(HEADER_NONCE, &bytes[..GMAC], &mut tag)
    }
}

/// The version field of a copy.
pub(crate) fn version(bytes: &[u8; HEADER_LEN]) -> u32 {
    u32::from_be_bytes(*bytes[VERSION..].first_chunk().expect("4 bytes of the header"))
}

/// Every field from the block size on.
fn read(reader: &mut Reader<'_>) -> Result<SegmentHeader, CodecError> {
    Ok(SegmentHeader {
        block_bytes: reader.u32("block size")?,
        segment: reader.u64("segment")?,
        segment_bytes: reader.u64("segment bytes")?,
        salt: reader.array("salt")?,
        chain_in: reader.array("chain in")?,
        first_frame: reader.u64("first frame")?,
        next_index: Index(reader.u64("next index")?),
        compacted: Position { index: Index(reader.u64("compacted")?), term: Term(reader.u64("compacted term")?) },
        hard_state: HardState {
            term: Term(reader.u64("term")?),
            vote: reader.u64("vote")?,
            commit: Index(reader.u64("commit")?),
        },
        cutover: Index(reader.u64("cutover")?),
        node_id: reader.array("node id")?,
        cluster_id: ClusterId(reader.array("cluster id")?),
        slots: reader.u32("slots")?,
    })
}

const MAGIC: [u8; 8] = *b"SKVWAL01";
const VERSION: usize = 8;
const BLOCK_BYTES: usize = 12;
const GMAC: usize = 4064;
const GMAC_LEN: usize = 16;
const CRC: usize = 4092;
/// No frame has it: frame numbers count from 1 and never get there.
const HEADER_NONCE: [u8; NONCE_LEN] = [0xff; NONCE_LEN];
