//! The safe side of the kernels: batches of messages under one key.
//!
//! It hands out messages that are alike together, orders the others by length and hands them out in fours, turns the
//! kernels' bits into verdicts, wipes what failed, and clears registers and stack behind itself. Nothing is allocated by a call.

use core::fmt;
#[cfg(test)]
use core::mem::ManuallyDrop;

use zeroize::Zeroize;

#[cfg(test)]
use crate::crypto::aead::cpu::HasAesNi;
#[cfg(test)]
use crate::crypto::aead::cpu::HasVaes256;
#[cfg(test)]
use crate::crypto::aead::cpu::HasVaes512;
use crate::crypto::aead::lanes::four;
use crate::crypto::aead::lanes::kernel::Kernel;
use crate::crypto::aead::lanes::kernel::WINDOW;
use crate::crypto::aead::lanes::kernel::conclude;
use crate::crypto::aead::lanes::kernel::verdict;
#[cfg(test)]
use crate::crypto::aead::lanes::table::ROUND_KEYS;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::message::Aead;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_KEYS_LEN;
use crate::crypto::aead::message::TAG_LEN;
use crate::crypto::aead::message::TagMessage;
use crate::crypto::aead::message::Tags;
use crate::crypto::aead::message::Verdict;
#[cfg(test)]
use crate::crypto::aead::tier::Tier;

/// Classes of a message: its whole and cut vectors of 64 bytes, then the two that take no lane.
const CLASS_LONG: u8 = (four::TEXT_MAX / 64) as u8 + 1;
const CLASS_NO_TAG: u8 = CLASS_LONG + 1;
const CLASSES: usize = CLASS_NO_TAG as usize + 1;
/// Longest text: 2^32 - 2 counters (SP 800-38D section 5.2.1.1).
const TEXT_BYTES_MAX: u64 = ((1 << 32) - 2) * 16;

/// An expanded key and the kernels that use it.
pub(in crate::crypto::aead) struct Lanes<K: Kernel> {
    kernel: K,
    table: Box<Table>,
}

impl<K: Kernel> Lanes<K> {
    /// Expands `key`.
    pub(in crate::crypto::aead) fn new(kernel: K, key: &[u8; KEY_LEN]) -> Self {
        let mut table = Box::new(Table::zeroed());
        kernel.fill(&mut table, key);
        kernel.clear();
        Self { kernel, table }
    }

    #[inline(always)]
    fn run<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict]) {
        let mut verdicts = verdicts.chunks_mut(WINDOW);
        for window in messages.chunks_mut(WINDOW) {
            self.window::<SEAL>(window, verdicts.next().unwrap_or_default());
        }
        self.kernel.clear();
    }

    /// Takes up to [`WINDOW`] messages: runs of one length together, then the others by length.
    #[inline(always)]
    fn window<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict]) {
        if messages.len() == 1 {
            return self.alone::<SEAL>(messages, verdicts, 0);
        }
        let mut at = 0;
        while at < messages.len() {
            match self.alike::<SEAL>(&mut messages[at..], verdicts.get_mut(at..).unwrap_or_default()) {
                0 => return self.unlike::<SEAL>(messages, verdicts, at),
                taken => at += taken,
            }
        }
    }

    /// The messages from `at` on, the first of which is not alike to those behind it. Apart, because a batch of messages
    /// that are all alike has nothing to remember. To clear that space cost four messages of 64 bytes 4 % of their time (28 November
    /// 2026, Zen 3).
    #[inline(never)]
    fn unlike<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict], at: usize) {
        let mut left = [0u8; WINDOW];
        let (mut left_count, mut at) = (0, at);
        while at < messages.len() {
            match self.alike::<SEAL>(&mut messages[at..], verdicts.get_mut(at..).unwrap_or_default()) {
                0 => {
                    left[left_count] = at as u8;
                    left_count += 1;
                    at += 1;
                }
                taken => at += taken,
            }
        }
        match left[..left_count] {
            [] => {}
            [id] => self.alone::<SEAL>(messages, verdicts, usize::from(id)),
            _ => self.mixed::<SEAL>(messages, verdicts, &left[..left_count]),
        }
    }

    /// Takes messages from the first on that have its lengths, if there are four of them at least and they fit `four`. Returns
    /// how many it took: not always all of them.
    #[inline(always)]
    fn alike<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict]) -> usize {
        let [a, b, c, d, ..] = messages else { return 0 };
        let lengths = |message: &Message<'_>| (message.text_inout.len(), message.aad.len());
        if lengths(a) != lengths(b) || lengths(a) != lengths(c) || lengths(a) != lengths(d) || class(a) >= CLASS_LONG {
            return 0;
        }
        // SAFETY: the first fits `four` and has space for its tag; when opening there are as many verdicts.
        unsafe { self.kernel.alike::<SEAL>(&self.table, messages, verdicts) }
    }

    /// Unlike messages: a counting sort by class, then fours of neighbours, then the long ones.
    #[inline(never)]
    fn mixed<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict], unlike: &[u8]) {
        let class_of = |messages: &[Message<'_>], id: u8| usize::from(class(&messages[usize::from(id)]));
        let mut ends = [0usize; CLASSES];
        for &id in unlike {
            ends[class_of(messages, id)] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            (*end, sum) = (sum, sum + *end);
        }
        let mut order = [0u8; WINDOW];
        for &id in unlike {
            let end = &mut ends[class_of(messages, id)];
            order[*end] = id;
            *end += 1;
        }
        let short = ends[usize::from(CLASS_LONG) - 1];
        let (fours, rest) = order[..short].as_chunks::<4>();
        for four in fours {
            let ids = four.map(usize::from);
            let group = messages.get_disjoint_mut(ids).expect("the order names each message once");
            // SAFETY: their class says that they fit `four` and have space for their tags.
            let wrong = unsafe { self.kernel.four::<SEAL>(&self.table, group) };
            if !SEAL {
                conclude(messages, verdicts, ids, wrong);
            }
        }
        let mut ids = [0; 3];
        for (id, &rest) in ids.iter_mut().zip(rest) {
            *id = usize::from(rest);
        }
        self.few::<SEAL>(messages, verdicts, &ids[..rest.len()]);
        for &id in &order[short..unlike.len()] {
            self.alone::<SEAL>(messages, verdicts, usize::from(id));
        }
    }

    /// Fewer than four short messages: one alone, more beside empty ones.
    #[inline(always)]
    fn few<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict], ids: &[usize]) {
        match *ids {
            [] => {}
            [id] => self.alone::<SEAL>(messages, verdicts, id),
            _ => self.beside_empty::<SEAL>(messages, verdicts, ids),
        }
    }

    #[inline(never)]
    fn beside_empty<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict], ids: &[usize]) {
        let mut space = [[0u8; TAG_LEN]; 4];
        let mut group = space.each_mut().map(|tag| Message { nonce: [0; 12], aad: &[], text_inout: tag });
        const UNIQUE: &str = "the caller names each message once";
        match *ids {
            [first, second, third] => {
                let found = messages.get_disjoint_mut([first, second, third]).expect(UNIQUE);
                for (slot, message) in group.iter_mut().zip(found) {
                    *slot = lend(message);
                }
            }
            [first, second] => {
                let found = messages.get_disjoint_mut([first, second]).expect(UNIQUE);
                for (slot, message) in group.iter_mut().zip(found) {
                    *slot = lend(message);
                }
            }
            _ => unreachable!("two or three"),
        }
        let [a, b, c, d] = &mut group;
        // SAFETY: the caller took them by their class; those that are empty have space for a tag.
        let wrong = unsafe { self.kernel.four::<SEAL>(&self.table, [a, b, c, d]) };
        if !SEAL {
            for (m, &id) in ids.iter().enumerate() {
                verdicts[id] = verdict((wrong >> (2 * m)) & 3 == 0, &mut messages[id]);
            }
        }
        space.zeroize();
    }

    /// A message that takes no lane.
    fn alone<const SEAL: bool>(&self, messages: &mut [Message<'_>], verdicts: &mut [Verdict], id: usize) {
        let message = &mut messages[id];
        assert!(!SEAL || class(message) != CLASS_NO_TAG, "a message has no space for its tag");
        // SAFETY: the message has space for its tag.
        let right = class(message) != CLASS_NO_TAG && unsafe { self.kernel.one::<SEAL>(&self.table, message) };
        if !SEAL {
            verdicts[id] = verdict(right, message);
        }
    }
}

impl<K: Kernel> Aead for Lanes<K> {
    fn seal_batch(&self, messages: &mut [Message<'_>]) {
        if !messages.is_empty() {
            self.run::<true>(messages, &mut []);
        }
    }

    fn open_batch(&self, messages: &mut [Message<'_>], verdicts_inout: &mut [Verdict]) {
        assert_eq!(messages.len(), verdicts_inout.len(), "a verdict for each message");
        if !messages.is_empty() {
            self.run::<false>(messages, verdicts_inout);
        }
    }

    fn tier(&self) -> &'static str {
        K::TIER
    }
}

impl<K: Kernel> fmt::Debug for Lanes<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lanes").field("tier", &K::TIER).finish_non_exhaustive()
    }
}

/// The same message for a shorter time.
fn lend<'a>(message: &'a mut Message<'_>) -> Message<'a> {
    Message { nonce: message.nonce, aad: message.aad, text_inout: message.text_inout }
}

/// The keys of RFC 8452's tag, expanded, and the kernels that use them.
pub(in crate::crypto::aead) struct TagLanes<K: Kernel> {
    kernel: K,
    table: Box<Table>,
}

impl<K: Kernel> TagLanes<K> {
    /// Expands `authentication key(16) | encryption key(32)`.
    pub(in crate::crypto::aead) fn new(kernel: K, bytes: &[u8; TAG_KEYS_LEN]) -> Self {
        let (authentication, encryption) = bytes.split_first_chunk().expect("48 bytes");
        let mut table = Box::new(Table::zeroed());
        kernel.fill_for_tags(&mut table, authentication, encryption.try_into().expect("48 - 16 = 32 bytes"));
        kernel.clear();
        Self { kernel, table }
    }
}

impl<K: Kernel> Tags for TagLanes<K> {
    fn tags(&self, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]) {
        assert_eq!(messages.len(), tags_inout.len(), "a tag for each message");
        self.kernel.tags(&self.table, messages, tags_inout);
    }
}

/// The bytes of an expanded key, for a test: the same for every instruction set.
#[cfg(test)]
pub(in crate::crypto::aead) fn table_bytes(key: &[u8; KEY_LEN]) -> Vec<u8> {
    let mut table = Table::zeroed();
    HasAesNi::detect().expect("a machine with lanes has AES-NI").fill(&mut table, key);
    // SAFETY: the table is arrays of bytes without padding in `BYTES`.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(&table).cast::<u8>(), Table::BYTES) }.to_vec()
}

/// The bytes of a table after its destructor ran, for a test.
#[cfg(test)]
pub(in crate::crypto::aead) fn table_after_drop(tier: Tier, key: &[u8; KEY_LEN]) -> Option<Vec<u8>> {
    let mut table = ManuallyDrop::new(Table::zeroed());
    match tier {
        Tier::Vaes512 => HasVaes512::detect()?.fill(&mut table, key),
        Tier::Vaes256 => HasVaes256::detect()?.fill(&mut table, key),
        Tier::AesNi => HasAesNi::detect()?.fill(&mut table, key),
        Tier::Library => return None,
    }
    assert_ne!(table.round_keys, [[0; 16]; ROUND_KEYS]);
    // SAFETY: dropped once, here; what is read afterwards are bytes.
    unsafe { ManuallyDrop::drop(&mut table) };
    // SAFETY: the table is arrays of bytes, without padding but at its end, which was zeroed with it.
    let bytes = unsafe { core::slice::from_raw_parts(core::ptr::from_ref(&*table).cast::<u8>(), Table::BYTES) };
    Some(bytes.to_vec())
}

/// Which messages go side by side: by vectors of 64 bytes.
#[inline(always)]
fn class(message: &Message<'_>) -> u8 {
    let Some(len) = message.text_inout.len().checked_sub(TAG_LEN) else {
        return CLASS_NO_TAG;
    };
    if four::fits(len, message.aad.len()) {
        len.div_ceil(64) as u8
    } else if len as u64 <= TEXT_BYTES_MAX {
        CLASS_LONG
    } else {
        CLASS_NO_TAG
    }
}
