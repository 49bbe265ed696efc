//! The key of one segment: seals and opens frames, authenticates headers, or, in a log without a key, only checks.
//!
//! `key = HKDF-SHA256(log key, salt, "sealkv wal" | segment number(8) | node id(16) | cluster id(16))`. A segment has
//! one life, and a frame number is used once in it, so no nonce repeats under a key (NONCE-UNIQUE).

use std::sync::Arc;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::crypto::aead;
use crate::crypto::aead::Aead;
use crate::crypto::aead::Message;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::Verdict;
use crate::ids::ClusterId;
use crate::ids::NodeId;

/// The log's key and owner, from which each segment's key is derived.
#[derive(Clone)]
pub(crate) struct SegmentKeys {
    bytes: Option<Zeroizing<[u8; 32]>>,
    node_id: NodeId,
    cluster_id: ClusterId,
}

impl SegmentKeys {
    pub(crate) fn new(bytes: Option<Zeroizing<[u8; 32]>>, node_id: NodeId, cluster_id: ClusterId) -> SegmentKeys {
        SegmentKeys { bytes, node_id, cluster_id }
    }

    pub(crate) fn node_id(&self) -> NodeId {
        self.node_id
    }

    pub(crate) fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The seal of the segment that has this number and salt.
    pub(crate) fn segment(&self, number: u64, salt: &[u8; 32]) -> SegmentSeal {
        let crc_seed = u32::from_be_bytes(salt[..4].try_into().expect("4 of 32 bytes"));
        let Some(bytes) = &self.bytes else {
            return SegmentSeal { aead: None, crc_seed };
        };
        let mut key = Zeroizing::new([0; 32]);
        let (node, cluster) = (self.node_id.to_bytes(), self.cluster_id.0);
        let info: [&[u8]; 4] = [LABEL, &number.to_be_bytes(), &node, &cluster];
        let derived = Hkdf::<Sha256>::new(Some(salt), bytes.as_slice());
        derived.expand_multi_info(&info, key.as_mut_slice()).expect("32 bytes are within HKDF's reach");
        SegmentSeal { aead: Some(aead::key(&key)), crc_seed }
    }
}

debug_fields!(self: SegmentKeys { sealed: self.bytes.is_some() });

/// One segment's key, expanded, and the seed of its checksums.
#[derive(Clone)]
pub(crate) struct SegmentSeal {
    aead: Option<Arc<dyn Aead>>,
    crc_seed: u32,
}

impl SegmentSeal {
    /// Whether frames of this segment are sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.aead.is_some()
    }

    /// CRC32C of `bytes`, seeded with the salt: a frame of the slot's earlier life never matches.
    pub(crate) fn crc(&self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.crc_seed, bytes)
    }

    /// Seals `text` (the last 16 bytes become the tag) with `aad`. Without a key the tag is a checksum of both.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text_inout: &mut [u8]) {
        match &self.aead {
            Some(aead) => aead.seal_batch(&mut [Message { nonce, aad, text_inout }]),
            None => {
                let (text, tag) = text_inout.split_at_mut(text_inout.len() - TAG_LEN);
                tag.copy_from_slice(&self.clear_tag(aad, text));
            }
        }
    }

    /// Opens what [`SegmentSeal::seal`] made; false if it is not authentic, the text then being wiped in a sealed log.
    pub(crate) fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text_inout: &mut [u8]) -> bool {
        match &self.aead {
            Some(aead) => {
                let mut verdicts = [Verdict::Unauthentic];
                aead.open_batch(&mut [Message { nonce, aad, text_inout }], &mut verdicts);
                verdicts == [Verdict::Authentic]
            }
            None => {
                let (text, tag) = text_inout.split_at(text_inout.len() - TAG_LEN);
                tag == self.clear_tag(aad, text)
            }
        }
    }

    fn clear_tag(&self, aad: &[u8], text: &[u8]) -> [u8; TAG_LEN] {
        u128::from(crc32c::crc32c_append(self.crc(aad), text)).to_be_bytes()
    }
}

debug_fields!(self: SegmentSeal { sealed: self.is_sealed() });

/// Keeps this key apart from every other use of a key (NONCE-UNIQUE).
const LABEL: &[u8] = b"sealkv wal";
