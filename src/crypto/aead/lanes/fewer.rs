//! A tier that does without some of its kernels, to be measured beside the whole: what is a kernel worth? One that is
//! not faster than those behind it is deleted.

use crate::crypto::aead::lanes::kernel::Kernel;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TagMessage;
use crate::crypto::aead::message::Verdict;

/// The shared kernels: none of those that only one instruction set has (`eights`, `stream`, `segments`).
pub(in crate::crypto::aead) const SHARED: u8 = 0;
/// Of these, four messages of any lengths, and one: messages that are alike are not told apart from others.
pub(in crate::crypto::aead) const UNLIKE: u8 = 1;
/// One message after another.
pub(in crate::crypto::aead) const ONE: u8 = 2;

/// The tier `K` with the kernels that `LEFT` says.
#[derive(Clone, Copy)]
pub(in crate::crypto::aead) struct Fewer<K, const LEFT: u8>(pub(in crate::crypto::aead) K);

impl<K: Kernel, const LEFT: u8> Kernel for Fewer<K, LEFT> {
    const TIER: &'static str = K::TIER;

    fn fill(self, table: &mut Table, key: &[u8; KEY_LEN]) {
        self.0.fill(table, key)
    }

    fn fill_for_tags(self, table: &mut Table, authentication: &[u8; 16], encryption: &[u8; 32]) {
        self.0.fill_for_tags(table, authentication, encryption)
    }

    fn tags(self, table: &Table, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]) {
        self.0.tags(table, messages, tags_inout)
    }

    unsafe fn four<const SEAL: bool>(self, table: &Table, messages: [&mut Message<'_>; 4]) -> u32 {
        if LEFT < ONE {
            return self.0.four::<SEAL>(table, messages);
        }
        let mut wrong = 0;
        for (m, message) in messages.into_iter().enumerate() {
            wrong |= u32::from(!self.0.long::<SEAL>(table, message)) << (2 * m);
        }
        wrong
    }

    unsafe fn alike<const SEAL: bool>(
        self,
        table: &Table,
        messages: &mut [Message<'_>],
        verdicts: &mut [Verdict],
    ) -> usize {
        if LEFT == SHARED { self.0.fours::<SEAL>(table, messages, verdicts) } else { 0 }
    }

    unsafe fn one<const SEAL: bool>(self, table: &Table, message: &mut Message<'_>) -> bool {
        self.0.long::<SEAL>(table, message)
    }

    unsafe fn fours<const SEAL: bool>(
        self,
        table: &Table,
        messages: &mut [Message<'_>],
        verdicts: &mut [Verdict],
    ) -> usize {
        self.0.fours::<SEAL>(table, messages, verdicts)
    }

    unsafe fn long<const SEAL: bool>(self, table: &Table, message: &mut Message<'_>) -> bool {
        self.0.long::<SEAL>(table, message)
    }

    fn clear(self) {
        self.0.clear()
    }
}
