//! AES-256-GCM over batches: the one door through which anything is sealed or opened.
//!
//! A batch is a slice of [`Message`]s under one key, each a mutable slice (text, then room for the tag) of one arena;
//! that they cannot overlap is the borrow checker's proof. Backends differ in speed, never in bytes.

use std::fmt;
use std::sync::Arc;

use crate::crypto::aead::library_tags::LibraryTags;

#[cfg(target_arch = "x86_64")]
mod cpu;
mod known;
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "the kernels: every operation on vectors is unsafe, for one reason that `lanes::vector` gives"
)]
mod lanes;
mod library;
mod library_tags;
mod tags;
mod tier;

pub use library::Library;
pub use tags::TAG_KEYS_LEN;
pub use tags::TagMessage;
pub use tags::Tags;
pub use tier::Tier;
pub use tier::TierChoice;
pub use tier::TierError;
pub use tier::choose;
pub use tier::chosen;

/// Bytes of a GCM nonce (SP 800-38D: 96-bit IVs are used as they are).
pub const NONCE_LEN: usize = 12;
/// Bytes of a GCM tag; shorter tags are never made nor accepted.
pub const TAG_LEN: usize = 16;
/// Bytes of an AES-256 key.
pub const KEY_LEN: usize = 32;

/// One message of a batch.
pub struct Message<'a> {
    /// Unique under the key (NONCE-UNIQUE is the caller's duty; see `nonce`).
    pub nonce: [u8; NONCE_LEN],
    /// Authenticated, not encrypted; any length.
    pub aad: &'a [u8],
    /// Plaintext or ciphertext, followed by the 16 bytes of the tag.
    pub text_inout: &'a mut [u8],
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("text_bytes", &self.text_inout.len()).finish_non_exhaustive()
    }
}

/// Whether a message of an opened batch was authentic. Its text is plaintext only if it was; otherwise it was wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The tag is right; the text is plaintext.
    Authentic,
    /// The tag is wrong (or there is no room for one); the whole text, tag included, is zero.
    Unauthentic,
}

/// One expanded AES-256 key and the code that is fastest for it on this machine. Wiped on drop.
pub trait Aead: Send + Sync {
    /// Seals every message in place: text becomes ciphertext, the last 16 bytes the tag.
    ///
    /// # Panics
    /// If a message has no room for a tag (shorter than 16 bytes): the caller laid out the arena.
    fn seal_batch(&self, messages: &mut [Message<'_>]);

    /// Opens every message in place and writes one verdict for each; a failed one is wiped before this returns.
    ///
    /// # Panics
    /// If `verdicts_inout` has another length than `messages`.
    fn open_batch(&self, messages: &mut [Message<'_>], verdicts_inout: &mut [Verdict]);

    /// The backend's name as logs and metrics show it: `library`, later `vaes512`, `vaes256`, `aesni`.
    fn tier(&self) -> &'static str;
}

/// Expands a key for the fastest backend of this machine; the choice is made here, once per key, never per message.
#[must_use]
pub fn key(bytes: &[u8; KEY_LEN]) -> Arc<dyn Aead> {
    chosen().key(bytes).unwrap_or_else(|| Arc::new(Library::new(bytes)))
}

/// The same for the keys of RFC 8452 tags.
#[must_use]
pub fn tag_key(bytes: &[u8; TAG_KEYS_LEN]) -> Arc<dyn Tags> {
    chosen().tag_key(bytes).unwrap_or_else(|| Arc::new(LibraryTags::new(bytes)))
}

#[cfg(test)]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "addresses of guard pages")]
mod tests;
