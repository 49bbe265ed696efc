//! What a tier offers the batches, and how a kernel's answer becomes a verdict.

use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TagMessage;
use crate::crypto::aead::message::Verdict;

/// Messages that are ordered by length at a time.
pub(super) const WINDOW: usize = 256;

/// An instruction set that can run the kernels. The value is the proof that this CPU can.
pub(in crate::crypto::aead) trait Kernel: Copy + Send + Sync + 'static {
    /// As logs and metrics show it.
    const TIER: &'static str;
    /// Expands a key.
    fn fill(self, table: &mut Table, key: &[u8; KEY_LEN]);
    /// Expands the keys of RFC 8452's tag.
    fn fill_for_tags(self, table: &mut Table, authentication: &[u8; 16], encryption: &[u8; 32]);
    /// Writes RFC 8452's tag of each message; as many tags as messages. Clears registers and stack behind itself.
    fn tags(self, table: &Table, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]);
    /// Seals or opens four messages; see `four::unlike`.
    ///
    /// # Safety
    /// Each fits `four` (`four::fits`) and has space for its tag.
    unsafe fn four<const SEAL: bool>(self, table: &Table, messages: [&mut Message<'_>; 4]) -> u32;
    /// Seals or opens messages from the first of a batch on, up to the first one that has another length of text or of AAD
    /// than the first message. Returns how many it took.
    ///
    /// # Safety
    /// The first fits `four` and has space for its tag; there are four messages at least and [`WINDOW`] at most, and as
    /// many verdicts when opening.
    unsafe fn alike<const SEAL: bool>(
        self,
        table: &Table,
        messages: &mut [Message<'_>],
        verdicts: &mut [Verdict],
    ) -> usize;
    /// Seals or opens one message; whether its tag is right.
    ///
    /// # Safety
    /// It has space for its tag, and no more text than there are counters.
    unsafe fn one<const SEAL: bool>(self, table: &Table, message: &mut Message<'_>) -> bool;
    /// [`Kernel::alike`] by the kernel that all tiers share.
    ///
    /// # Safety
    /// As for [`Kernel::alike`].
    #[cfg(any(test, feature = "kernels"))]
    unsafe fn fours<const SEAL: bool>(
        self,
        table: &Table,
        messages: &mut [Message<'_>],
        verdicts: &mut [Verdict],
    ) -> usize;
    /// [`Kernel::one`] by the kernel that all tiers share.
    ///
    /// # Safety
    /// As for [`Kernel::one`].
    #[cfg(any(test, feature = "kernels"))]
    unsafe fn long<const SEAL: bool>(self, table: &Table, message: &mut Message<'_>) -> bool;
    /// Zeroes every vector register and, below its caller's frame, the stack where kernels may have spilled key stream.
    fn clear(self);
}

/// Verdicts of four messages from two bits for each, not zero where the tag is wrong.
#[inline(always)]
pub(super) fn conclude(messages: &mut [Message<'_>], verdicts: &mut [Verdict], ids: [usize; 4], wrong: u32) {
    if wrong == 0 {
        for id in ids {
            verdicts[id] = Verdict::Authentic;
        }
    } else {
        for (m, id) in ids.into_iter().enumerate() {
            verdicts[id] = verdict((wrong >> (2 * m)) & 3 == 0, &mut messages[id]);
        }
    }
}

/// The verdict; a message that is not authentic is wiped before anyone hears of it.
#[inline(always)]
pub(super) fn verdict(right: bool, message: &mut Message<'_>) -> Verdict {
    if right {
        Verdict::Authentic
    } else {
        message.text_inout.fill(0);
        Verdict::Unauthentic
    }
}
