//! The tag of RFC 8452 section 4 under two given keys: 44 of its bits make value nonces unlike each other (design 3.4).
//!
//! ```text
//! S = POLYVAL(authentication key, pad(AAD) | pad(plaintext) | bits of AAD (8, LE) | bits of plaintext (8, LE))
//! S[0..12] ^= place; S[15] &= 0x7f; T = AES-256(encryption key, S)
//! ```
//!
//! It is used as a pseudorandom function of all its input, not as a cipher: nothing is encrypted under these keys.

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::Block;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::KeyInit;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use crate::crypto::aead::NONCE_LEN;

/// Bytes of both keys together: POLYVAL 16, AES 32.
pub const TAG_KEYS_LEN: usize = 48;
const BLOCK: usize = 16;

/// One tag to compute.
#[derive(Clone, Copy)]
pub struct TagItem<'a> {
    /// Associated data, in parts that are hashed as if they were one.
    pub aad: &'a [&'a [u8]],
    /// What the tag is about.
    pub plaintext: &'a [u8],
    /// RFC 8452's nonce; here `delta(36 bits) | op(16 bits) | 0` (`nonce::value_place`).
    pub place: [u8; NONCE_LEN],
}

impl fmt::Debug for TagItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagItem").field("plaintext_bytes", &self.plaintext.len()).finish_non_exhaustive()
    }
}

/// Both keys, expanded. Wiped on drop by the crates that hold them.
pub struct TagKey {
    polyval: Polyval,
    aes: Aes256Enc,
}

impl TagKey {
    /// Expands `authentication key(16) | encryption key(32)`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; TAG_KEYS_LEN]) -> TagKey {
        let (authentication, encryption) = bytes.split_first_chunk::<16>().expect("48 bytes");
        let encryption: &[u8; 32] = encryption.try_into().expect("48 - 16 = 32 bytes");
        TagKey { polyval: Polyval::new(authentication.into()), aes: Aes256Enc::new(encryption.into()) }
    }

    /// The tags of all items, in their order; AES runs over all of them at once.
    #[must_use]
    pub fn tags(&self, items: &[TagItem<'_>]) -> Vec<[u8; BLOCK]> {
        let mut blocks: Vec<Block<Aes256Enc>> = items.iter().map(|item| self.masked_hash(item)).collect();
        self.aes.encrypt_blocks(&mut blocks);
        blocks.into_iter().map(Into::into).collect()
    }

    fn masked_hash(&self, item: &TagItem<'_>) -> Block<Aes256Enc> {
        let mut hash = PaddedHash::new(self.polyval.clone());
        for part in item.aad {
            hash.update(part);
        }
        let aad_bits = hash.pad();
        hash.update(item.plaintext);
        let plaintext_bits = hash.pad();
        hash.update(&aad_bits.to_le_bytes());
        hash.update(&plaintext_bits.to_le_bytes());
        let mut block = hash.polyval.finalize();
        for (byte, place) in block.iter_mut().zip(item.place) {
            *byte ^= place;
        }
        block[BLOCK - 1] &= 0x7f;
        block
    }
}

/// POLYVAL over strings that come in parts, each string padded with zeros to whole blocks.
struct PaddedHash {
    polyval: Polyval,
    /// The unfinished block; what lies behind `pending_len` is zero.
    pending: [u8; BLOCK],
    pending_len: usize,
    bytes: u64,
}

impl PaddedHash {
    fn new(polyval: Polyval) -> PaddedHash {
        PaddedHash { polyval, pending: [0; BLOCK], pending_len: 0, bytes: 0 }
    }

    fn update(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        let (head, rest) = match self.pending_len {
            0 => (&[][..], part),
            filled => part.split_at(part.len().min(BLOCK - filled)),
        };
        self.fill(head);
        let (blocks, tail) = polyval::Block::slice_as_chunks(rest);
        self.polyval.update(blocks);
        self.fill(tail);
    }

    /// Adds bytes that fit into the unfinished block, and hashes it once it is full.
    fn fill(&mut self, bytes: &[u8]) {
        let filled = self.pending_len + bytes.len();
        self.pending[self.pending_len..filled].copy_from_slice(bytes);
        self.pending_len = filled;
        if filled == BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.polyval.update(&[self.pending.into()]);
        self.pending = [0; BLOCK];
        self.pending_len = 0;
    }

    /// Ends a string: pads it, and returns how many bits it had.
    fn pad(&mut self) -> u64 {
        if self.pending_len > 0 {
            self.flush();
        }
        std::mem::take(&mut self.bytes) * 8
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagKey").finish_non_exhaustive()
    }
}
