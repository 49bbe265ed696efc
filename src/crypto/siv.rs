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
#[derive(Clone, Copy, Debug)]
pub struct TagItem<'a> {
    /// Associated data, in parts that are hashed as if they were one.
    pub aad: &'a [&'a [u8]],
    /// What the tag is about.
    pub plaintext: &'a [u8],
    /// RFC 8452's nonce; here `delta(36 bits) | op(16 bits) | 0` (`nonce::value_place`).
    pub place: [u8; NONCE_LEN],
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
        TagKey {
            polyval: Polyval::new(authentication.into()),
            aes: Aes256Enc::new(encryption.into()),
        }
    }

    /// The tags of all items, in their order.
    #[must_use]
    pub fn tags(&self, items: &[TagItem<'_>]) -> Vec<[u8; 16]> {
        let _ = items;
        todo!()
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagKey").finish_non_exhaustive()
    }
}
