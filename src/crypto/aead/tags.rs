//! Tags of RFC 8452 section 4 over batches, in the tier of the process: what value nonces are made of (`siv`).

use std::fmt;
use std::sync::Arc;

#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::cpu::HasAesNi;
#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::cpu::HasVaes256;
#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::cpu::HasVaes512;
#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::lanes::TagLanes;
use crate::crypto::aead::library_tags::LibraryTags;
use crate::crypto::aead::tier::Tier;

/// Bytes of both keys together: POLYVAL 16, AES 32.
pub const TAG_KEYS_LEN: usize = 48;

/// One tag to compute.
#[derive(Clone, Copy)]
pub struct TagMessage<'a> {
    /// Associated data, in parts that are hashed as if they were one.
    pub aad: &'a [&'a [u8]],
    /// What the tag is about.
    pub plaintext: &'a [u8],
    /// RFC 8452's nonce; for value nonces `delta(36 bits) | op(16 bits) | 0` (`nonce::value_place`).
    pub place: [u8; 12],
}

impl fmt::Debug for TagMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagMessage").field("plaintext_bytes", &self.plaintext.len()).finish_non_exhaustive()
    }
}

/// Both keys, expanded for one tier. Wiped on drop.
pub trait Tags: Send + Sync {
    /// Writes the tag of each message.
    ///
    /// # Panics
    /// If there are not as many tags as messages.
    fn tags(&self, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]);
}

impl Tier {
    /// Expands `authentication key(16) | encryption key(32)`; `None` if this CPU cannot run this tier.
    #[must_use]
    pub fn tag_key(self, bytes: &[u8; TAG_KEYS_LEN]) -> Option<Arc<dyn Tags>> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes512 => HasVaes512::detect().map(|cpu| Arc::new(TagLanes::new(cpu, bytes)) as Arc<dyn Tags>),
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes256 => HasVaes256::detect().map(|cpu| Arc::new(TagLanes::new(cpu, bytes)) as Arc<dyn Tags>),
            #[cfg(target_arch = "x86_64")]
            Tier::AesNi => HasAesNi::detect().map(|cpu| Arc::new(TagLanes::new(cpu, bytes)) as Arc<dyn Tags>),
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Vaes512 | Tier::Vaes256 | Tier::AesNi => None,
            Tier::Library => Some(Arc::new(LibraryTags::new(bytes))),
        }
    }
}
