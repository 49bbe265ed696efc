//! Four messages side by side, up to 1 KiB each: one AES pipeline for all their counters, one tail for their tags.
//!
//! Each message has a vector of consecutive counters; the four first counter blocks (which mask the tags) are a quad. The
//! products of each message's hash stay unreduced in two accumulators; at the end they are turned so that a quad has one
//! block of each message, and lengths, reduction, mask and comparison are done once for four.

use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::add_powers;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::zero_sum;
use crate::crypto::aead::lanes::table::POWERS;
use crate::crypto::aead::lanes::table::PowerOffset;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_LEN;

/// Longest text that is taken four at a time.
pub(super) const TEXT_MAX: usize = 1024;

/// Whether a message of these lengths may be taken by [`four`]: the powers must reach its first block.
#[inline(always)]
pub(super) fn fits(text_len: usize, aad_len: usize) -> bool {
    text_len <= TEXT_MAX && text_len.div_ceil(16) + aad_len.div_ceil(16) < POWERS
}

/// What a group needs to know of its messages.
struct Group {
    text: [*mut u8; 4],
    text_len: [usize; 4],
    /// Where the powers for the first block of text begin.
    offset: [PowerOffset; 4],
}

impl Group {
    #[inline(always)]
    fn tag_at(&self, m: usize) -> *mut u8 {
        self.text[m].wrapping_add(self.text_len[m])
    }
}

/// Seals or opens four messages. Opening returns two bits for each, not zero where the tag is wrong (the text is then
/// plaintext that nobody vouches for); sealing returns zero.
///
/// # Safety
/// As for [`Vector`]; each message [`fits`] and has room for its tag.
#[inline(always)]
pub(super) unsafe fn four<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    messages: [&mut Message<'_>; 4],
) -> u32 {
    let [a, b, c, d] = messages;
    let nonces = [&a.nonce, &b.nonce, &c.nonce, &d.nonce];
    let aads = [a.aad, b.aad, c.aad, d.aad];
    let len = |message: &Message<'_>| message.text_inout.len().wrapping_sub(TAG_LEN);
    let text_len = [len(a), len(b), len(c), len(d)];
    let offset = |len: usize| Table::offset(len.div_ceil(16).wrapping_add(1));
    let group = Group {
        text: [
            a.text_inout.as_mut_ptr(),
            b.text_inout.as_mut_ptr(),
            c.text_inout.as_mut_ptr(),
            d.text_inout.as_mut_ptr(),
        ],
        text_len,
        offset: [offset(text_len[0]), offset(text_len[1]), offset(text_len[2]), offset(text_len[3])],
    };
    // SAFETY: texts are good for their length and the tag behind it; the rest is as the caller promises.
    unsafe {
        let mut counters = [
            V::splat_nonce(nonces[0]),
            V::splat_nonce(nonces[1]),
            V::splat_nonce(nonces[2]),
            V::splat_nonce(nonces[3]),
        ];
        let mut masks = V::quad_of_firsts(counters);
        for mask in &mut masks {
            *mask = mask.xor(V::ramp(1u32.to_be(), 0));
        }
        for counter in &mut counters {
            *counter = counter.xor(V::ramp(2u32.to_be(), 1u32.to_be()));
        }
        let (shared, mut sums) = hash_aads::<V, Q>(table, &group, aads);
        crypt_texts::<V, Q, SEAL>(table, &group, counters, &mut masks, &mut sums);
        let r = V::quad_of_folds([sums[0].r, sums[1].r, sums[2].r, sums[3].r]);
        let f = V::quad_of_folds([sums[0].f, sums[1].f, sums[2].f, sums[3].f]);
        let mut tags = masks;
        for q in 0..Q {
            let sum = Sum { r: r[q].xor(shared[q].r), f: f[q].xor(shared[q].f) };
            tags[q] = reduce(sum).reverse().xor(masks[q]);
        }
        let tag_at = [group.tag_at(0), group.tag_at(1), group.tag_at(2), group.tag_at(3)];
        if SEAL {
            V::scatter(tags, tag_at);
            0
        } else {
            let [a, b, c, d] = tag_at;
            V::differences(tags, V::gather([a.cast_const(), b.cast_const(), c.cast_const(), d.cast_const()]))
        }
    }
}

/// The part of the sums that comes from AADs and lengths: a quad if each AAD is one block at most, else the lengths as a
/// quad and the AADs in each message's own sum.
#[inline(always)]
unsafe fn hash_aads<V: Vector<Q>, const Q: usize>(
    table: &Table,
    group: &Group,
    aads: [&[u8]; 4],
) -> ([Sum<V>; Q], [Sum<V>; 4]) {
    let len = [aads[0].len(), aads[1].len(), aads[2].len(), aads[3].len()];
    let longest = len[0].max(len[1]).max(len[2].max(len[3]));
    // SAFETY: AADs are read to their length only; the powers reach the first block because the message fits.
    unsafe {
        let lengths = V::quad_of_words(bits(group.text_len), bits(len));
        let h1 = V::splat(table.h_at(Table::offset(1)));
        let d1 = V::splat(table.d_at(Table::offset(1)));
        let mut shared = [zero_sum(); Q];
        let mut own = [zero_sum(); 4];
        for q in 0..Q {
            shared[q] = add(shared[q], lengths[q], h1, d1);
        }
        if longest <= 16 {
            let from = [aads[0].as_ptr(), aads[1].as_ptr(), aads[2].as_ptr(), aads[3].as_ptr()];
            let at = |m: usize| PowerOffset(group.offset[m].0.wrapping_sub(16));
            let h = V::gather([table.h_at(at(0)), table.h_at(at(1)), table.h_at(at(2)), table.h_at(at(3))]);
            let d = V::gather([table.d_at(at(0)), table.d_at(at(1)), table.d_at(at(2)), table.d_at(at(3))]);
            let blocks = V::gather_exact(from, len);
            for q in 0..Q {
                shared[q] = add(shared[q], blocks[q].reverse(), h[q], d[q]);
            }
        } else {
            for m in 0..4 {
                let mut at = group.offset[m].0.wrapping_sub(len[m].div_ceil(16).wrapping_mul(16));
                let mut done = 0;
                while done < len[m] {
                    let blocks = V::load_exact(aads[m].as_ptr().add(done), (len[m] - done).min(V::BYTES));
                    own[m] = add_powers(own[m], blocks.reverse(), table, PowerOffset(at));
                    done = done.wrapping_add(V::BYTES);
                    at = at.wrapping_add(V::BYTES);
                }
            }
        }
        (shared, own)
    }
}

/// XORs the texts with their key streams and adds the ciphertexts to the sums; encrypts the masks on the way.
#[inline(always)]
unsafe fn crypt_texts<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    group: &Group,
    mut counters: [V; 4],
    masks: &mut [V; Q],
    sums: &mut [Sum<V>; 4],
) {
    let len = group.text_len;
    let full = len[0].min(len[1]).min(len[2].min(len[3])) / V::BYTES;
    let all = len[0].max(len[1]).max(len[2].max(len[3])).div_ceil(V::BYTES);
    let keys = &table.round_keys;
    let mut v: usize = 0;
    // SAFETY: vectors before `full` are whole in every text; others are cut at the text's end.
    unsafe {
        if full >= 2 {
            let mut x = both(next(&mut counters), next(&mut counters));
            V::aes8_and_quad(keys, &mut x, masks);
            for m in 0..4 {
                whole::<V, Q, SEAL>(table, group, m, 0, x[m], &mut sums[m]);
                whole::<V, Q, SEAL>(table, group, m, 1, x[m + 4], &mut sums[m]);
            }
            v = 2;
        } else {
            let mut x = next(&mut counters);
            V::aes4_and_quad(keys, &mut x, masks);
            if full == 1 {
                for m in 0..4 {
                    whole::<V, Q, SEAL>(table, group, m, 0, x[m], &mut sums[m]);
                }
            } else {
                for m in 0..4 {
                    cut::<V, Q, SEAL>(table, group, m, 0, x[m], &mut sums[m]);
                }
            }
            v = v.wrapping_add(1);
        }
        while v.wrapping_add(2) <= full {
            let mut x = both(next(&mut counters), next(&mut counters));
            V::aes8(keys, &mut x);
            for m in 0..4 {
                whole::<V, Q, SEAL>(table, group, m, v, x[m], &mut sums[m]);
                whole::<V, Q, SEAL>(table, group, m, v.wrapping_add(1), x[m + 4], &mut sums[m]);
            }
            v = v.wrapping_add(2);
        }
        while v < all {
            let mut x = next(&mut counters);
            V::aes4(keys, &mut x);
            for m in 0..4 {
                cut::<V, Q, SEAL>(table, group, m, v, x[m], &mut sums[m]);
            }
            v = v.wrapping_add(1);
        }
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

/// Vector `v` of message `m`, which is whole.
#[inline(always)]
unsafe fn whole<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    group: &Group,
    m: usize,
    v: usize,
    stream: V,
    sum: &mut Sum<V>,
) {
    let begin = v.wrapping_mul(V::BYTES);
    // SAFETY: the text has this vector.
    unsafe {
        let at = group.text[m].add(begin);
        let before = V::load(at);
        let after = before.xor(stream);
        after.store(at);
        let sealed = if SEAL { after } else { before };
        let offset = PowerOffset(group.offset[m].0.wrapping_add(begin));
        *sum = add_powers(*sum, sealed.reverse(), table, offset);
    }
}

/// Vector `v` of message `m`, of which the text may have a part or nothing.
#[inline(always)]
unsafe fn cut<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    group: &Group,
    m: usize,
    v: usize,
    stream: V,
    sum: &mut Sum<V>,
) {
    let begin = v.wrapping_mul(V::BYTES);
    let left = group.text_len[m].saturating_sub(begin).min(V::BYTES);
    // SAFETY: nothing is touched beyond the end of the text; powers beyond the table's are zero.
    unsafe {
        let sealed = V::crypt_tail::<SEAL>(group.text[m].wrapping_add(begin), left, stream);
        let offset = PowerOffset(group.offset[m].0.wrapping_add(begin).min(POWERS * 16));
        *sum = add_powers(*sum, sealed.reverse(), table, offset);
    }
}

#[inline(always)]
fn both<V: Copy>(a: [V; 4], b: [V; 4]) -> [V; 8] {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}

#[inline(always)]
fn bits(len: [usize; 4]) -> [u64; 4] {
    [(len[0] as u64) << 3, (len[1] as u64) << 3, (len[2] as u64) << 3, (len[3] as u64) << 3]
}
