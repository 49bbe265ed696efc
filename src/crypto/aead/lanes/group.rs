//! Four messages side by side, up to 1 KiB each: one AES pipeline for all their counters, one tail for their tags.
//!
//! Each message has a vector of consecutive counters; the four first counter blocks (which mask the tags) are a quad. The
//! products of each message's hash stay unreduced in two accumulators; at the end they are turned so that a quad has one
//! block of each message, and lengths, reduction, mask and comparison are done once for four.

use crate::crypto::aead::Message;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::add_powers;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::zero_sum;
use crate::crypto::aead::lanes::table::POWERS;
use crate::crypto::aead::lanes::table::PowerOffset;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::Vector;

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
    let texts = [&mut *a.text_inout, &mut *b.text_inout, &mut *c.text_inout, &mut *d.text_inout];
    let text_len = texts.each_ref().map(|text| text.len().wrapping_sub(TAG_LEN));
    let group = Group {
        text: texts.map(|text| text.as_mut_ptr()),
        text_len,
        offset: text_len.map(|len| Table::offset(len.div_ceil(16).wrapping_add(1))),
    };
    // SAFETY: texts are good for their length and the tag behind it; the rest is as the caller promises.
    unsafe {
        let bases = nonces.map(|nonce| V::splat_nonce(nonce));
        let masks = V::quad_of_firsts(bases).map(|base| base.xor(V::ramp(1u32.to_be(), 0)));
        let counters = bases.map(|base| base.xor(V::ramp(2u32.to_be(), 1u32.to_be())));
        let (shared, own) = hash_aads::<V, Q>(table, &group, aads);
        let (sums, masks) = crypt_texts::<V, Q, SEAL>(table, &group, counters, masks, own);
        let r = V::quad_of_folds(sums.map(|sum| sum.r));
        let f = V::quad_of_folds(sums.map(|sum| sum.f));
        let mut tags = masks;
        for q in 0..Q {
            let sum = Sum { r: r[q].xor(shared[q].r), f: f[q].xor(shared[q].f) };
            tags[q] = reduce(sum).reverse().xor(masks[q]);
        }
        let tag_at: [*mut u8; 4] = core::array::from_fn(|m| group.text[m].wrapping_add(group.text_len[m]));
        if SEAL {
            V::scatter(tags, tag_at);
            0
        } else {
            V::differences(tags, V::gather(tag_at.map(<*mut u8>::cast_const)))
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
    let len = aads.map(<[u8]>::len);
    let longest = len[0].max(len[1]).max(len[2].max(len[3]));
    let from = aads.map(<[u8]>::as_ptr);
    // SAFETY: AADs are read to their length only; the powers reach the first block because the message fits.
    unsafe {
        let lengths = V::quad_of_words(
            group.text_len.map(|len| (len as u64).wrapping_mul(8)),
            len.map(|len| (len as u64).wrapping_mul(8)),
        );
        let h1 = V::splat(table.h_at(Table::offset(1)));
        let d1 = V::splat(table.d_at(Table::offset(1)));
        let mut shared = lengths.map(|lengths| add(zero_sum(), lengths, h1, d1));
        let mut own = [zero_sum(); 4];
        if longest <= 16 {
            let offset = group.offset.map(|offset| PowerOffset(offset.0.wrapping_sub(16)));
            let h = V::gather(offset.map(|offset| table.h_at(offset)));
            let d = V::gather(offset.map(|offset| table.d_at(offset)));
            let blocks = V::gather_exact(from, len);
            for q in 0..Q {
                shared[q] = add(shared[q], blocks[q].reverse(), h[q], d[q]);
            }
        } else {
            for m in 0..4 {
                let mut at = group.offset[m].0.wrapping_sub(len[m].div_ceil(16).wrapping_mul(16));
                let mut done = 0;
                while done < len[m] {
                    let blocks = V::load_exact(from[m].add(done), (len[m] - done).min(V::BYTES));
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
    mut masks: [V; Q],
    mut sums: [Sum<V>; 4],
) -> ([Sum<V>; 4], [V; Q]) {
    let len = group.text_len;
    let full = len[0].min(len[1]).min(len[2].min(len[3])) / V::BYTES;
    let all = len[0].max(len[1]).max(len[2].max(len[3])).div_ceil(V::BYTES);
    let keys = &table.round_keys;
    // SAFETY: vectors before `full` are whole in every text; others are cut at the text's end.
    unsafe {
        // Counters stay below 256 in a text of 1 KiB: adding to the last byte never carries.
        let step = V::ramp((V::BLOCKS as u32).to_be(), 0);
        let mut next = || {
            let now = counters;
            counters = counters.map(|counter| counter.add32(step));
            now
        };
        let whole = |sums: &mut [Sum<V>; 4], stream: V, m: usize, v: usize| {
            let at = group.text[m].add(v * V::BYTES);
            let before = V::load(at);
            let after = before.xor(stream);
            after.store(at);
            let sealed = if SEAL { after } else { before };
            let offset = PowerOffset(group.offset[m].0.wrapping_add(v * V::BYTES));
            sums[m] = add_powers(sums[m], sealed.reverse(), table, offset);
        };
        let cut = |sums: &mut [Sum<V>; 4], stream: V, m: usize, v: usize| {
            let left = len[m].saturating_sub(v * V::BYTES).min(V::BYTES);
            let sealed = V::crypt_tail::<SEAL>(group.text[m].wrapping_add(v * V::BYTES), left, stream);
            let offset = PowerOffset(group.offset[m].0.wrapping_add(v * V::BYTES).min(POWERS * 16));
            sums[m] = add_powers(sums[m], sealed.reverse(), table, offset);
        };
        let mut v = 0;
        if full >= 2 {
            let mut x = both(next(), next());
            V::aes8_and_quad(keys, &mut x, &mut masks);
            for m in 0..4 {
                whole(&mut sums, x[m], m, 0);
                whole(&mut sums, x[m + 4], m, 1);
            }
            v = 2;
        } else {
            let mut x = next();
            V::aes4_and_quad(keys, &mut x, &mut masks);
            for m in 0..4 {
                if full == 1 { whole(&mut sums, x[m], m, 0) } else { cut(&mut sums, x[m], m, 0) }
            }
            v += 1;
        }
        while v + 2 <= full {
            let mut x = both(next(), next());
            V::aes8(keys, &mut x);
            for m in 0..4 {
                whole(&mut sums, x[m], m, v);
                whole(&mut sums, x[m + 4], m, v + 1);
            }
            v += 2;
        }
        while v < all {
            let mut x = next();
            V::aes4(keys, &mut x);
            for m in 0..4 {
                cut(&mut sums, x[m], m, v);
            }
            v += 1;
        }
    }
    (sums, masks)
}

#[inline(always)]
fn both<V: Copy>(a: [V; 4], b: [V; 4]) -> [V; 8] {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}
