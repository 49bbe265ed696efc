//! Messages of one length that fit one vector, eight side by side: for instruction sets with 32 registers.
//!
//! AES and the hash are bound by different units, but the CPU does not look far enough ahead to run them side by side
//! by itself. So the hash of eight messages is written between the rounds of eight others: when sealing those before
//! them, when opening their own, because ciphertext is there from the start. Ciphertexts are turned before they are
//! multiplied: a quad has the same block of four messages, and one power is good for all of them.
//!
//! Sixteen at a time with Karatsuba's products, as in `stream`, were slower (5.8 to 6.8 ns a message of 64 bytes where this
//! takes 5.0): nonces, turns and tags are two thirds of the work here, and twenty vectors in flight leave them no registers.

use core::arch::x86_64::*;

use crate::crypto::aead::lanes::avx512::rounds;
use crate::crypto::aead::lanes::avx512::wide::NONCE;
use crate::crypto::aead::lanes::avx512::wide::and_xor;
use crate::crypto::aead::lanes::avx512::wide::splat_nonce_loosely;
use crate::crypto::aead::lanes::four::Shape;
use crate::crypto::aead::lanes::four::hash_aads;
use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::kernel::conclude;
use crate::crypto::aead::lanes::table::PowerOffset;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::Verdict;

/// What all messages of a batch have in common.
struct Eights<'a> {
    table: &'a Table,
    shape: Shape<__m512i>,
    /// The powers for the four blocks of a text, each with its companion.
    powers: [[__m512i; 2]; 4],
    /// The power for an AAD of one block, and its companion.
    aad_power: [__m512i; 2],
}

/// Where eight messages are.
#[derive(Clone, Copy)]
struct Eight {
    texts: [*mut u8; 8],
    aads: [*const u8; 8],
}

/// Seals or opens messages in eights, and writes verdicts when opening, until one has other lengths than the first or
/// fewer than eight are left. Returns how many were taken.
///
/// # Safety
/// As for [`Vector`]; the first message fits one vector (is one, if `WHOLE`), and has space for its tag.
#[inline(always)]
pub(super) unsafe fn eights<const SEAL: bool, const WHOLE: bool>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    // In bounds: each eight that is taken has the lengths of the first.
    let shape = Shape::of(table, &messages[0]);
    let power = |i: usize| {
        let offset = PowerOffset(Table::offset(shape.exponent).0.wrapping_add(i * 16));
        [__m512i::splat(table.h_at(offset)), __m512i::splat(table.d_at(offset))]
    };
    let powers = [power(0), power(1), power(2), power(3)];
    let offset = Table::offset(shape.exponent + 1);
    let aad_power = [__m512i::splat(table.h_at(offset)), __m512i::splat(table.d_at(offset))];
    let batch = Eights { table, shape, powers, aad_power };
    let mut before: Option<(Eight, [__m512i; 2])> = None;
    let mut taken = 0;
    for group in messages.as_chunks_mut::<8>().0 {
        if !batch.shape.is_of_all(group) {
            break;
        }
        let eight = Eight {
            texts: group.each_mut().map(|message| message.text_inout.as_mut_ptr()),
            aads: group.each_ref().map(|message| message.aad.as_ptr()),
        };
        let mut x = counters(&batch, group);
        if SEAL {
            match before {
                None => encrypt(&table.round_keys, &mut x),
                Some((eight, masks)) => {
                    let sums = encrypt_beside_hash::<WHOLE>(&batch, &eight, &mut x);
                    write_tags(&batch, &eight, sums, masks);
                }
            }
            crypt::<SEAL, WHOLE>(&batch, &eight, &x);
            before = Some((eight, [x[8], x[9]]));
        } else {
            let sums = encrypt_beside_hash::<WHOLE>(&batch, &eight, &mut x);
            let wrong = differences(&batch, &eight, sums, [x[8], x[9]]);
            crypt::<SEAL, WHOLE>(&batch, &eight, &x);
            let verdicts = &mut verdicts[taken..taken + 8];
            if wrong == 0 {
                verdicts.fill(Verdict::Authentic);
            } else {
                conclude(group, verdicts, [0, 1, 2, 3], wrong & 0xff);
                conclude(group, verdicts, [4, 5, 6, 7], wrong >> 8);
            }
        }
        taken += 8;
    }
    if let Some((eight, masks)) = &before {
        let sums = [hash::<WHOLE>(&batch, eight, 0), hash::<WHOLE>(&batch, eight, 4)];
        write_tags(&batch, eight, sums, *masks);
    }
    taken
}

/// The next counter of each message, then the first counters, a quad of four messages each; all after the XOR before the
/// first round.
#[inline(always)]
unsafe fn counters(batch: &Eights<'_>, group: &[Message<'_>; 8]) -> [__m512i; 10] {
    let key = __m512i::splat(batch.table.round_keys[0].as_ptr());
    let next = key.xor(__m512i::ramp(2u32.to_be(), 1u32.to_be()));
    let first = key.xor(__m512i::ramp(1u32.to_be(), 0));
    let nonce = __m512i::splat(NONCE.as_ptr().cast());
    let mut x = [__m512i::zero(); 10];
    for m in 0..8 {
        x[m] = splat_nonce_loosely(&group[m]);
    }
    let [low] = __m512i::quad_of_firsts([x[0], x[1], x[2], x[3]]);
    let [high] = __m512i::quad_of_firsts([x[4], x[5], x[6], x[7]]);
    for counter in &mut x[..8] {
        *counter = and_xor(*counter, nonce, next);
    }
    x[8] = and_xor(low, nonce, first);
    x[9] = and_xor(high, nonce, first);
    x
}

/// AES alone.
#[inline(always)]
unsafe fn encrypt(keys: &RoundKeys, x: &mut [__m512i; 10]) {
    macro_rules! rounds {
        ($($round:literal)*) => {$(rounds::round10::<$round>(keys, x);)*};
    }
    rounds!(1 2 3 4 5 6 7 8 9 10 11 12 13);
    rounds::last10::<14>(keys, x);
}

/// AES of `x` with the hash of `eight` between the rounds; the sums of its two fours.
#[inline(always)]
unsafe fn encrypt_beside_hash<const WHOLE: bool>(
    batch: &Eights<'_>,
    eight: &Eight,
    x: &mut [__m512i; 10],
) -> [ProductSum<__m512i>; 2] {
    let keys = &batch.table.round_keys;
    let powers = &batch.powers;
    rounds::round10::<1>(keys, x);
    let [a, b, c, d] = load_turned::<WHOLE>(batch, eight, 0);
    let sum = add_aads(batch, eight, 0);
    let sum = rounds::round10_add::<2, 0>(keys, x, sum, a, powers);
    let sum = rounds::round10_add::<3, 1>(keys, x, sum, b, powers);
    let sum = rounds::round10_add::<4, 2>(keys, x, sum, c, powers);
    let low = rounds::round10_add::<5, 3>(keys, x, sum, d, powers);
    rounds::round10::<6>(keys, x);
    rounds::round10::<7>(keys, x);
    let [a, b, c, d] = load_turned::<WHOLE>(batch, eight, 4);
    let sum = add_aads(batch, eight, 4);
    let sum = rounds::round10_add::<8, 0>(keys, x, sum, a, powers);
    let sum = rounds::round10_add::<9, 1>(keys, x, sum, b, powers);
    let sum = rounds::round10_add::<10, 2>(keys, x, sum, c, powers);
    let high = rounds::round10_add::<11, 3>(keys, x, sum, d, powers);
    rounds::round10::<12>(keys, x);
    rounds::round10::<13>(keys, x);
    rounds::last10::<14>(keys, x);
    [low, high]
}

/// The blocks of four texts, reversed for the hash, as quads. Masks are slow in some CPUs, so whole vectors do without.
#[inline(always)]
unsafe fn load_turned<const WHOLE: bool>(batch: &Eights<'_>, eight: &Eight, first: usize) -> [__m512i; 4] {
    let load = |m: usize| {
        let text = eight.texts[first + m].cast_const();
        // In bounds: the text is read to its length.
        if WHOLE { __m512i::load(text) } else { __m512i::load_exact(text, batch.shape.text_len) }
    };
    let [a, b, c, d] = [load(0), load(1), load(2), load(3)];
    turned([a.reverse(), b.reverse(), c.reverse(), d.reverse()])
}

/// Places and vectors exchanged: vector `i` of the result has the blocks `i` of the four.
#[inline(always)]
unsafe fn turned([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (low_ab, high_ab) = (_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
    let (low_cd, high_cd) = (_mm512_shuffle_i64x2::<0x44>(c, d), _mm512_shuffle_i64x2::<0xee>(c, d));
    [
        _mm512_shuffle_i64x2::<0x88>(low_ab, low_cd),
        _mm512_shuffle_i64x2::<0xdd>(low_ab, low_cd),
        _mm512_shuffle_i64x2::<0x88>(high_ab, high_cd),
        _mm512_shuffle_i64x2::<0xdd>(high_ab, high_cd),
    ]
}

/// The sum of four messages, without AES beside it.
#[inline(always)]
unsafe fn hash<const WHOLE: bool>(batch: &Eights<'_>, eight: &Eight, first: usize) -> ProductSum<__m512i> {
    let blocks = load_turned::<WHOLE>(batch, eight, first);
    let mut sum = add_aads(batch, eight, first);
    for (block, &[h, d]) in blocks.into_iter().zip(&batch.powers) {
        sum = add(sum, block, h, d);
    }
    sum
}

/// The products of AADs and lengths of four messages.
#[inline(always)]
unsafe fn add_aads(batch: &Eights<'_>, eight: &Eight, first: usize) -> ProductSum<__m512i> {
    let aads = &eight.aads;
    let four = [aads[first], aads[first + 1], aads[first + 2], aads[first + 3]];
    let shape = &batch.shape;
    if shape.aad_len > 16 {
        let [sum] = hash_aads(batch.table, shape, four);
        return sum;
    }
    let [blocks] = __m512i::gather_exact(four, [shape.aad_len; 4]);
    {
        let [h, d] = batch.aad_power;
        add(shape.lengths, blocks.reverse(), h, d)
    }
}

/// XORs the texts with their key streams.
#[inline(always)]
unsafe fn crypt<const SEAL: bool, const WHOLE: bool>(batch: &Eights<'_>, eight: &Eight, x: &[__m512i; 10]) {
    for (&text, &stream) in eight.texts.iter().zip(x) {
        // In bounds: nothing is touched beyond the end of the text.
        if WHOLE {
            __m512i::load(text).xor(stream).store(text);
        } else {
            __m512i::crypt_tail::<SEAL>(text, batch.shape.text_len, stream);
        }
    }
}

/// Where the tags of four messages are.
#[inline(always)]
fn tags_at(batch: &Eights<'_>, eight: &Eight, first: usize) -> [*mut u8; 4] {
    let at = |m: usize| eight.texts[first + m].wrapping_add(batch.shape.text_len);
    [at(0), at(1), at(2), at(3)]
}

/// Reduces the sums and writes the tags.
#[inline(always)]
unsafe fn write_tags(batch: &Eights<'_>, eight: &Eight, sums: [ProductSum<__m512i>; 2], masks: [__m512i; 2]) {
    // In bounds: each text has space for its tag.
    __m512i::scatter([reduce(sums[0]).reverse().xor(masks[0])], tags_at(batch, eight, 0));
    __m512i::scatter([reduce(sums[1]).reverse().xor(masks[1])], tags_at(batch, eight, 4));
}

/// Reduces the sums and compares the tags: two bits for each message, not zero where it is wrong.
#[inline(always)]
unsafe fn differences(batch: &Eights<'_>, eight: &Eight, sums: [ProductSum<__m512i>; 2], masks: [__m512i; 2]) -> u32 {
    // In bounds: each text is followed by its tag.
    let low = __m512i::gather(tags_at(batch, eight, 0).map(<*mut u8>::cast_const));
    let high = __m512i::gather(tags_at(batch, eight, 4).map(<*mut u8>::cast_const));
    let low = __m512i::differences([reduce(sums[0]).reverse().xor(masks[0])], low);
    let high = __m512i::differences([reduce(sums[1]).reverse().xor(masks[1])], high);
    low | high << 8
}
