//! Messages of one length of text and one of AAD, four side by side: what `group` does for any four, with everything
//! that depends on lengths alone done once.
//!
//! All messages share powers, masks and the product of the length block; a vector of powers is loaded once for four.

use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::zero_sum;
use crate::crypto::aead::lanes::kernel::conclude;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_LEN;
use crate::crypto::aead::message::Verdict;

/// What all messages have in common.
pub(super) struct Shape<V> {
    pub(super) text_len: usize,
    pub(super) aad_len: usize,
    /// Exponent of the first block of text.
    pub(super) exponent: usize,
    /// The product of the length block, in each place.
    pub(super) lengths: Sum<V>,
}

impl<V> Shape<V> {
    /// The shape of `message`.
    ///
    /// # Safety
    /// As for [`Vector`]; the message has room for its tag.
    #[inline(always)]
    pub(super) unsafe fn of<const Q: usize>(table: &Table, message: &Message<'_>) -> Self
    where
        V: Vector<Q>,
    {
        let text_len = message.text_inout.len().wrapping_sub(TAG_LEN);
        let aad_len = message.aad.len();
        let words = [(text_len as u64) << 3, (aad_len as u64) << 3];
        // SAFETY: `words` has 16 bytes; the rest is as the caller promises.
        let lengths = unsafe {
            let h1 = V::splat(table.h_at(Table::offset(1)));
            let d1 = V::splat(table.d_at(Table::offset(1)));
            add(zero_sum(), V::splat(words.as_ptr().cast()), h1, d1)
        };
        Self { text_len, aad_len, exponent: text_len.div_ceil(16).wrapping_add(1), lengths }
    }
}

/// Seals or opens messages in fours, and writes verdicts when opening, until one has other lengths than the first or
/// fewer than four are left. Returns how many were taken.
///
/// # Safety
/// As for [`Vector`]; the first message fits (`group::fits`) and has room for its tag.
#[inline(always)]
pub(super) unsafe fn fours<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    // SAFETY: the caller's promise holds for each four.
    unsafe {
        let shape = Shape::of(table, &messages[0]);
        let mut taken = 0;
        for group in messages.as_chunks_mut::<4>().0 {
            if !all_alike(&shape, group) {
                break;
            }
            let [a, b, c, d] = group;
            let wrong = one_four::<V, Q, SEAL>(table, &shape, [a, b, c, d]);
            if !SEAL {
                conclude(group, &mut verdicts[taken..taken + 4], [0, 1, 2, 3], wrong);
            }
            taken = taken.wrapping_add(4);
        }
        taken
    }
}

/// How many of the first messages have the lengths of the first.
#[inline(always)]
pub(super) fn run(messages: &[Message<'_>]) -> usize {
    let (text_len, aad_len) = (messages[0].text_inout.len(), messages[0].aad.len());
    let alike = |message: &Message<'_>| message.text_inout.len() == text_len && message.aad.len() == aad_len;
    messages.iter().position(|message| !alike(message)).unwrap_or(messages.len())
}

/// Whether all have the lengths of the shape.
#[inline(always)]
pub(super) fn all_alike<V>(shape: &Shape<V>, group: &[Message<'_>]) -> bool {
    let (text_len, aad_len) = (shape.text_len.wrapping_add(TAG_LEN), shape.aad_len);
    group.iter().all(|message| message.text_inout.len() == text_len && message.aad.len() == aad_len)
}

/// Four messages: two bits for each when opening, not zero where the tag is wrong.
#[inline(always)]
unsafe fn one_four<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    shape: &Shape<V>,
    messages: [&mut Message<'_>; 4],
) -> u32 {
    let [a, b, c, d] = messages;
    let aads = [a.aad.as_ptr(), b.aad.as_ptr(), c.aad.as_ptr(), d.aad.as_ptr()];
    let texts =
        [a.text_inout.as_mut_ptr(), b.text_inout.as_mut_ptr(), c.text_inout.as_mut_ptr(), d.text_inout.as_mut_ptr()];
    // SAFETY: as the caller promises.
    unsafe {
        let mut counters =
            [V::splat_nonce(&a.nonce), V::splat_nonce(&b.nonce), V::splat_nonce(&c.nonce), V::splat_nonce(&d.nonce)];
        let mut masks = V::quad_of_firsts(counters);
        for mask in &mut masks {
            *mask = mask.xor(V::ramp(1u32.to_be(), 0));
        }
        for counter in &mut counters {
            *counter = counter.xor(V::ramp(2u32.to_be(), 1u32.to_be()));
        }
        let shared = hash_aads::<V, Q>(table, shape, aads);
        let sums = crypt_texts::<V, Q, SEAL>(table, shape, texts, counters, &mut masks);
        let r = V::quad_of_folds([sums[0].r, sums[1].r, sums[2].r, sums[3].r]);
        let f = V::quad_of_folds([sums[0].f, sums[1].f, sums[2].f, sums[3].f]);
        let mut tags = masks;
        for q in 0..Q {
            let sum = Sum { r: r[q].xor(shared[q].r), f: f[q].xor(shared[q].f) };
            tags[q] = reduce(sum).reverse().xor(masks[q]);
        }
        let len = shape.text_len;
        let tag_at = [texts[0].add(len), texts[1].add(len), texts[2].add(len), texts[3].add(len)];
        if SEAL {
            V::scatter(tags, tag_at);
            0
        } else {
            let [a, b, c, d] = tag_at;
            V::differences(tags, V::gather([a.cast_const(), b.cast_const(), c.cast_const(), d.cast_const()]))
        }
    }
}

/// The products of AADs and lengths: a quad of blocks at a time, one power for all.
///
/// # Safety
/// As for [`Vector`]; the AADs are of the shape's length.
#[inline(always)]
pub(super) unsafe fn hash_aads<V: Vector<Q>, const Q: usize>(
    table: &Table,
    shape: &Shape<V>,
    aads: [*const u8; 4],
) -> [Sum<V>; Q] {
    let mut sums = [shape.lengths; Q];
    let mut done = 0;
    let mut exponent = shape.exponent.wrapping_add(shape.aad_len.div_ceil(16));
    while done < shape.aad_len {
        let left = (shape.aad_len - done).min(16);
        // SAFETY: blocks are cut at the end of the AAD; the powers reach the first because the messages fit.
        unsafe {
            let from = [aads[0].add(done), aads[1].add(done), aads[2].add(done), aads[3].add(done)];
            let blocks = V::gather_exact(from, [left; 4]);
            let h = V::splat(table.h_at(Table::offset(exponent)));
            let d = V::splat(table.d_at(Table::offset(exponent)));
            for q in 0..Q {
                sums[q] = add(sums[q], blocks[q].reverse(), h, d);
            }
        }
        done = done.wrapping_add(16);
        exponent = exponent.wrapping_sub(1);
    }
    sums
}

/// XORs the texts with their key streams and sums the products of the ciphertexts; encrypts the masks on the way.
#[inline(always)]
unsafe fn crypt_texts<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    shape: &Shape<V>,
    texts: [*mut u8; 4],
    mut counters: [V; 4],
    masks: &mut [V; Q],
) -> [Sum<V>; 4] {
    let keys = &table.round_keys;
    let whole = shape.text_len / V::BYTES;
    let mut v: usize;
    // SAFETY: vectors before `whole` are whole; the one behind is cut at the end of the text.
    unsafe {
        let mut sums = [zero_sum(); 4];
        if whole >= 2 {
            let mut x = two(&mut counters);
            V::aes8_and_quad(keys, &mut x, masks);
            v = 2;
            let [a, b, c, d, e, f, g, h] = x;
            whole_four::<V, Q, SEAL>(table, shape, texts, 0, [a, b, c, d], &mut sums);
            whole_four::<V, Q, SEAL>(table, shape, texts, 1, [e, f, g, h], &mut sums);
        } else {
            let mut x = next(&mut counters);
            V::aes4_and_quad(keys, &mut x, masks);
            if whole == 1 {
                whole_four::<V, Q, SEAL>(table, shape, texts, 0, x, &mut sums);
                v = 1;
            } else {
                cut_four::<V, Q, SEAL>(table, shape, texts, 0, x, &mut sums);
                return sums;
            }
        }
        while v.wrapping_add(2) <= whole {
            let mut x = two(&mut counters);
            V::aes8(keys, &mut x);
            let [a, b, c, d, e, f, g, h] = x;
            whole_four::<V, Q, SEAL>(table, shape, texts, v, [a, b, c, d], &mut sums);
            whole_four::<V, Q, SEAL>(table, shape, texts, v.wrapping_add(1), [e, f, g, h], &mut sums);
            v = v.wrapping_add(2);
        }
        while v.wrapping_mul(V::BYTES) < shape.text_len {
            let mut x = next(&mut counters);
            V::aes4(keys, &mut x);
            cut_four::<V, Q, SEAL>(table, shape, texts, v, x, &mut sums);
            v = v.wrapping_add(1);
        }
        sums
    }
}

/// The counters of the next vector of each message. They stay below 256 in a text of 1 KiB: their last byte never
/// carries.
#[inline(always)]
unsafe fn next<V: Vector<Q>, const Q: usize>(counters: &mut [V; 4]) -> [V; 4] {
    let now = *counters;
    for counter in counters {
        // SAFETY: as the caller promises.
        *counter = unsafe { counter.add32(V::ramp((V::BLOCKS as u32).to_be(), 0)) };
    }
    now
}

/// The counters of the next two vectors of each.
#[inline(always)]
unsafe fn two<V: Vector<Q>, const Q: usize>(counters: &mut [V; 4]) -> [V; 8] {
    // SAFETY: as the caller promises.
    let ([a, b, c, d], [e, f, g, h]) = unsafe { (next(counters), next(counters)) };
    [a, b, c, d, e, f, g, h]
}

/// Vector `v` of each text, which is whole.
#[inline(always)]
unsafe fn whole_four<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    shape: &Shape<V>,
    texts: [*mut u8; 4],
    v: usize,
    x: [V; 4],
    sums: &mut [Sum<V>; 4],
) {
    let offset = Table::offset(shape.exponent.wrapping_sub(v.wrapping_mul(V::BLOCKS)));
    // SAFETY: the texts have this vector.
    unsafe {
        let h = V::load(table.h_at(offset));
        let d = V::load(table.d_at(offset));
        for m in 0..4 {
            let at = texts[m].add(v.wrapping_mul(V::BYTES));
            let before = V::load(at);
            let after = before.xor(x[m]);
            after.store(at);
            sums[m] = add(sums[m], if SEAL { after } else { before }.reverse(), h, d);
        }
    }
}

/// Vector `v` of each text, of which there is a part or nothing.
#[inline(always)]
unsafe fn cut_four<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    shape: &Shape<V>,
    texts: [*mut u8; 4],
    v: usize,
    x: [V; 4],
    sums: &mut [Sum<V>; 4],
) {
    let begin = v.wrapping_mul(V::BYTES);
    let left = shape.text_len.wrapping_sub(begin).min(V::BYTES);
    let offset = Table::offset(shape.exponent.wrapping_sub(v.wrapping_mul(V::BLOCKS)));
    // SAFETY: nothing is touched beyond the end of the text.
    unsafe {
        let h = V::load(table.h_at(offset));
        let d = V::load(table.d_at(offset));
        for m in 0..4 {
            let sealed = V::crypt_tail::<SEAL>(texts[m].add(begin), left, x[m]);
            sums[m] = add(sums[m], sealed.reverse(), h, d);
        }
    }
}
