//! The tag of RFC 8452 section 4 under two given keys: 44 of its bits make value nonces unlike each other, and all of it
//! is the name of a row ([`crate::crypto::names`]).
//!
//! ```text
//! S = POLYVAL(authentication key, pad(AAD) | pad(plaintext) | bits of AAD (8, LE) | bits of plaintext (8, LE))
//! S[0..12] ^= place; S[15] &= 0x7f; T = AES-256(encryption key, S)
//! ```
//!
//! It is used as a pseudorandom function of all its input, not as a cipher: nothing is encrypted under these keys.

use std::sync::Arc;

use crate::crypto::aead;
use crate::crypto::aead::TAG_KEYS_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::TagMessage;
use crate::crypto::aead::Tags;

/// Both keys, expanded for the tier of this process. Wiped on drop.
pub struct TagKey(Arc<dyn Tags>);

impl TagKey {
    /// Expands `authentication key(16) | encryption key(32)`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; TAG_KEYS_LEN]) -> TagKey {
        TagKey(aead::tag_key(bytes))
    }

    /// The tags of all items, in their order, computed as one batch.
    #[must_use]
    pub fn tags(&self, items: &[TagMessage<'_>]) -> Vec<[u8; TAG_LEN]> {
        let mut tags = vec![[0; TAG_LEN]; items.len()];
        self.tags_into(items, &mut tags);
        tags
    }

    /// The same into the caller's memory.
    ///
    /// # Panics
    /// If there are not as many tags as items.
    pub fn tags_into(&self, items: &[TagMessage<'_>], tags_inout: &mut [[u8; TAG_LEN]]) {
        self.0.tags(items, tags_inout);
    }
}

debug_fields!(self: TagKey {});
