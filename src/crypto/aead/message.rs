//! What is sealed and opened, and what a tier can do with it: messages, verdicts, and the two traits of an expanded key.

/// Bytes of a GCM nonce (SP 800-38D: 96-bit IVs are used as they are).
pub const NONCE_LEN: usize = 12;
/// Bytes of a GCM tag; shorter tags are never made nor accepted.
pub const TAG_LEN: usize = 16;
/// Bytes of an AES-256 key.
pub const KEY_LEN: usize = 32;
/// Bytes of both keys together: POLYVAL 16, AES 32.
pub const TAG_KEYS_LEN: usize = 48;

/// One message of a batch.
pub struct Message<'a> {
    /// Unique under the key (NONCE-UNIQUE is the caller's duty; see `nonce`).
    pub nonce: [u8; NONCE_LEN],
    /// Authenticated, not encrypted; any length.
    pub aad: &'a [u8],
    /// Plaintext or ciphertext, followed by the 16 bytes of the tag.
    pub text_inout: &'a mut [u8],
}

debug_fields!(self: Message<'_> { text_bytes: self.text_inout.len() });

/// Whether a message of an opened batch was authentic. Its text is plaintext only if it was; otherwise it was wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The tag is right; the text is plaintext.
    Authentic,
    /// The tag is wrong (or there is no space for one); the whole text, tag included, is zero.
    Unauthentic,
}

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

debug_fields!(self: TagMessage<'_> { plaintext_bytes: self.plaintext.len() });

/// One expanded AES-256 key and the code that is fastest for it on this machine. Wiped on drop.
pub trait Aead: Send + Sync {
    /// Seals every message in place: text becomes ciphertext, the last 16 bytes the tag.
    ///
    /// # Panics
    /// If a message has no space for a tag (shorter than 16 bytes): the caller laid out the arena.
    fn seal_batch(&self, messages: &mut [Message<'_>]);

    /// Opens every message in place and writes one verdict for each; a failed one is wiped before this returns.
    ///
    /// # Panics
    /// If `verdicts_inout` has another length than `messages`.
    fn open_batch(&self, messages: &mut [Message<'_>], verdicts_inout: &mut [Verdict]);

    /// The tier's name, as logs and metrics show it.
    fn tier(&self) -> &'static str;
}

/// Both keys, expanded for one tier. Wiped on drop.
pub trait Tags: Send + Sync {
    /// Writes the tag of each message.
    ///
    /// # Panics
    /// If there are not as many tags as messages.
    fn tags(&self, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]);
}
