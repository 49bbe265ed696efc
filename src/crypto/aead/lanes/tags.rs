//! The tag of RFC 8452 section 4 of many messages: POLYVAL four side by side, then AES over all of them.
//!
//! Products of a message stay unreduced as long as the powers reach; longer ones are reduced on the way, and what they
//! come to is added to the length block.

use crate::crypto::aead::lanes::hash::absorb;
use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::add_powers;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::zero_sum;
use crate::crypto::aead::lanes::table::POWERS;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::TagMessage;

/// Bytes of AAD that are put together at a time: whole blocks.
const AAD_BYTES: usize = 256;

/// What is left of a message before its length block: products that are not reduced, and a state that is.
#[derive(Clone, Copy)]
struct Part<V> {
    sum: ProductSum<V>,
    state: V,
    bits: [u64; 2],
}

/// Writes a tag for each message.
///
/// # Safety
/// As for [`Vector`]; as many tags as messages.
#[inline(always)]
pub(super) unsafe fn tags<V: Vector<Q>, const Q: usize>(
    table: &Table,
    messages: &[TagMessage<'_>],
    tags_inout: &mut [[u8; 16]],
) {
    for (messages, tags_inout) in messages.chunks(4).zip(tags_inout.chunks_mut(4)) {
        hash_four::<V, Q>(table, messages, tags_inout);
    }
    for (message, tag) in messages.iter().zip(tags_inout.iter_mut()) {
        for (byte, place) in tag.iter_mut().zip(message.place) {
            *byte ^= place;
        }
        tag[15] &= 0x7f;
    }
    for blocks in tags_inout.chunks_mut(8 * V::BLOCKS) {
        encrypt::<V, Q>(table, blocks.as_flattened_mut());
    }
}

/// POLYVAL of up to four messages.
#[inline(always)]
unsafe fn hash_four<V: Vector<Q>, const Q: usize>(table: &Table, messages: &[TagMessage<'_>], hashes: &mut [[u8; 16]]) {
    let nothing = Part { sum: zero_sum(), state: V::zero(), bits: [0, 0] };
    let mut parts = [nothing; 4];
    for (part, message) in parts.iter_mut().zip(messages) {
        *part = hash_message::<V, Q>(table, message);
    }
    let [a, b, c, d] = parts;
    let r = V::quad_of_folds([a.sum.r, b.sum.r, c.sum.r, d.sum.r]);
    let f = V::quad_of_folds([a.sum.f, b.sum.f, c.sum.f, d.sum.f]);
    let state = V::quad_of_firsts([a.state, b.state, c.state, d.state]);
    let bits = [a.bits, b.bits, c.bits, d.bits];
    let lengths = V::quad_of_words(bits.map(|[aad, _]| aad), bits.map(|[_, text]| text));
    let h = V::splat(table.h_at(Table::offset(1)));
    let d = V::splat(table.d_at(Table::offset(1)));
    let mut results = state;
    for q in 0..Q {
        results[q] = reduce(add(ProductSum { r: r[q], f: f[q] }, lengths[q].xor(state[q]), h, d));
    }
    let mut found = [[0; 16]; 4];
    let [a, b, c, d] = &mut found;
    V::scatter(results, [a.as_mut_ptr(), b.as_mut_ptr(), c.as_mut_ptr(), d.as_mut_ptr()]);
    hashes.copy_from_slice(&found[..hashes.len()]);
}

/// One message up to its length block.
#[inline(always)]
unsafe fn hash_message<V: Vector<Q>, const Q: usize>(table: &Table, message: &TagMessage<'_>) -> Part<V> {
    let text = message.plaintext;
    let aad_len: usize = message.aad.iter().map(|part| part.len()).sum();
    let bits = [(aad_len as u64) << 3, (text.len() as u64) << 3];
    let exponent = text.len().div_ceil(16) + 1;
    let mut together = [0; AAD_BYTES];
    let mut filled = 0;
    // Strings are read to their length; powers reach because of what is asked first.
    if aad_len <= AAD_BYTES && exponent + aad_len.div_ceil(16) <= POWERS {
        for part in message.aad {
            together[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        }
        let sum = multiply::<V, Q>(table, exponent + aad_len.div_ceil(16), &together[..aad_len], zero_sum());
        return Part { sum: multiply::<V, Q>(table, exponent, text, sum), state: V::zero(), bits };
    }
    let mut state = V::zero();
    for mut part in message.aad.iter().copied() {
        while !part.is_empty() {
            let taken;
            (taken, part) = part.split_at(part.len().min(AAD_BYTES - filled));
            together[filled..filled + taken.len()].copy_from_slice(taken);
            filled += taken.len();
            if filled == AAD_BYTES {
                state = absorb::<V, Q, false>(table, state, together.as_ptr(), filled);
                filled = 0;
            }
        }
    }
    let state = absorb::<V, Q, false>(table, state, together.as_ptr(), filled);
    let state = absorb::<V, Q, false>(table, state, text.as_ptr(), text.len());
    Part { sum: zero_sum(), state, bits }
}

/// Adds the products of `bytes`, whose first block is multiplied by the power `exponent`.
#[inline(always)]
unsafe fn multiply<V: Vector<Q>, const Q: usize>(
    table: &Table,
    mut exponent: usize,
    bytes: &[u8],
    mut sum: ProductSum<V>,
) -> ProductSum<V> {
    let mut done = 0;
    while done < bytes.len() {
        let left = bytes.len() - done;
        // In bounds: read to the end; the powers reach.
        let from = bytes.as_ptr().add(done);
        let blocks = if left >= V::BYTES { V::load(from) } else { V::load_exact(from, left) };
        sum = add_powers(sum, blocks, table, Table::offset(exponent));
        done += V::BYTES;
        exponent = exponent.saturating_sub(V::BLOCKS);
    }
    sum
}

/// AES of up to eight vectors of blocks, in place.
#[inline(always)]
unsafe fn encrypt<V: Vector<Q>, const Q: usize>(table: &Table, blocks: &mut [u8]) {
    // In bounds: vectors are cut at the end of the blocks.
    let mut x = [V::zero(); 8];
    for (vector, bytes) in x.iter_mut().zip(blocks.chunks(V::BYTES)) {
        *vector = V::load_exact(bytes.as_ptr(), bytes.len());
    }
    V::aes8(&table.round_keys, &mut x);
    for (vector, bytes) in x.into_iter().zip(blocks.chunks_mut(V::BYTES)) {
        let mut whole = [0; 64];
        vector.store(whole.as_mut_ptr());
        bytes.copy_from_slice(&whole[..bytes.len()]);
    }
}
