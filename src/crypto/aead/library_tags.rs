//! Tags of RFC 8452 by the `polyval` and `aes` crates: the way where there are no lanes, and what lanes are checked against.

use aes::Aes256Enc;
use aes::cipher::Block;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::KeyInit;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use crate::crypto::aead::message::TAG_KEYS_LEN;
use crate::crypto::aead::message::TagMessage;
use crate::crypto::aead::message::Tags;

const BLOCK: usize = 16;
/// Blocks that AES takes at once: what AES-NI keeps in registers.
const ENCRYPTED_AT_ONCE: usize = 8;

/// Both keys, expanded. Wiped on drop by the crates that hold them.
pub(super) struct LibraryTags {
    polyval: Polyval,
    aes: Aes256Enc,
}

impl LibraryTags {
    /// Expands `authentication key(16) | encryption key(32)`.
    pub(super) fn new(bytes: &[u8; TAG_KEYS_LEN]) -> LibraryTags {
        let (authentication, encryption) = bytes.split_first_chunk::<16>().expect("48 bytes");
        let encryption: &[u8; 32] = encryption.try_into().expect("48 - 16 = 32 bytes");
        LibraryTags { polyval: Polyval::new(authentication.into()), aes: Aes256Enc::new(encryption.into()) }
    }

    fn masked_hash(&self, message: &TagMessage<'_>) -> Block<Aes256Enc> {
        let mut hash = PaddedHash::new(self.polyval.clone());
        for part in message.aad {
            hash.update(part);
        }
        let aad_bits = hash.pad();
        hash.update(message.plaintext);
        let plaintext_bits = hash.pad();
        hash.update(&aad_bits.to_le_bytes());
        hash.update(&plaintext_bits.to_le_bytes());
        let mut block = hash.polyval.finalize();
        for (byte, place) in block.iter_mut().zip(message.place) {
            *byte ^= place;
        }
        block[BLOCK - 1] &= 0x7f;
        block
    }
}

impl Tags for LibraryTags {
    fn tags(&self, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; BLOCK]]) {
        assert_eq!(messages.len(), tags_inout.len(), "a tag for each message");
        let mut blocks = [Block::<Aes256Enc>::default(); ENCRYPTED_AT_ONCE];
        for (messages, tags) in messages.chunks(ENCRYPTED_AT_ONCE).zip(tags_inout.chunks_mut(ENCRYPTED_AT_ONCE)) {
            let blocks = &mut blocks[..messages.len()];
            for (block, message) in blocks.iter_mut().zip(messages) {
                *block = self.masked_hash(message);
            }
            self.aes.encrypt_blocks(blocks);
            for (tag, block) in tags.iter_mut().zip(blocks) {
                *tag = (*block).into();
            }
        }
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
