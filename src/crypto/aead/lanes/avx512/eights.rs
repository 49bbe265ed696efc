//! Messages of one length that fit one vector, eight side by side: for instruction sets with 32 registers.
//!
//! AES and the hash are bound by different units, but the CPU does not look far enough ahead to run them side by side
//! by itself. So the hash of eight messages is written between the rounds of eight others: when sealing those before
//! them, when opening their own, because ciphertext is there from the start. Ciphertexts are turned before they are
//! multiplied: a quad has the same block of four messages, and one power is good for all of them.
//!
//! Sixteen at a time with Karatsuba's products, as in `stream`, were slower (5.8 to 6.8 ns a message of 64 bytes where this
//! takes 5.0): nonces, turns and tags are two thirds of the work here, and twenty vectors in flight leave them no registers.

use crate::crypto::aead::lanes::alike::Shape;
use crate::crypto::aead::lanes::alike::all_alike;
use crate::crypto::aead::lanes::alike::hash_aads;
use crate::crypto::aead::lanes::avx512::wide::NONCE;
use crate::crypto::aead::lanes::avx512::wide::Power;
use crate::crypto::aead::lanes::avx512::wide::Wide;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::kernel::conclude;
use crate::crypto::aead::lanes::table::PowerOffset;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::Verdict;

/// What all messages of a batch have in common.
struct Batch<'a, V> {
    table: &'a Table,
    shape: Shape<V>,
    /// The powers for the four blocks of a text.
    powers: [Power<V>; 4],
    /// The power for an AAD of one block.
    aad_power: Power<V>,
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
/// As for [`Wide`]; the first message fits one vector (is one, if `WHOLE`), and has room for its tag.
#[inline(always)]
pub(super) unsafe fn eights<V: Wide, const SEAL: bool, const WHOLE: bool>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    // SAFETY: each eight that is taken has the lengths of the first.
    unsafe {
        let shape = Shape::<V>::of(table, &messages[0]);
        let power = |i: usize| {
            let offset = PowerOffset(Table::offset(shape.exponent).0.wrapping_add(i * 16));
            Power { h: V::splat(table.h_at(offset)), d: V::splat(table.d_at(offset)) }
        };
        let powers = [power(0), power(1), power(2), power(3)];
        let offset = Table::offset(shape.exponent + 1);
        let aad_power = Power { h: V::splat(table.h_at(offset)), d: V::splat(table.d_at(offset)) };
        let batch = Batch { table, shape, powers, aad_power };
        let mut before: Option<(Eight, [V; 2])> = None;
        let mut taken = 0;
        for group in messages.as_chunks_mut::<8>().0 {
            if !all_alike(&batch.shape, group) {
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
                        let sums = encrypt_beside_hash::<V, WHOLE>(&batch, &eight, &mut x);
                        write_tags(&batch, &eight, sums, masks);
                    }
                }
                crypt::<V, SEAL, WHOLE>(&batch, &eight, &x);
                before = Some((eight, [x[8], x[9]]));
            } else {
                let sums = encrypt_beside_hash::<V, WHOLE>(&batch, &eight, &mut x);
                let wrong = differences(&batch, &eight, sums, [x[8], x[9]]);
                crypt::<V, SEAL, WHOLE>(&batch, &eight, &x);
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
            let sums = [hash::<V, WHOLE>(&batch, eight, 0), hash::<V, WHOLE>(&batch, eight, 4)];
            write_tags(&batch, eight, sums, *masks);
        }
        taken
    }
}

/// The next counter of each message, then the first counters, a quad of four messages each; all after the XOR before the
/// first round.
#[inline(always)]
unsafe fn counters<V: Wide>(batch: &Batch<'_, V>, group: &[Message<'_>; 8]) -> [V; 10] {
    // SAFETY: as the caller promises.
    unsafe {
        let key = V::splat(batch.table.round_keys[0].as_ptr());
        let next = key.xor(V::ramp(2u32.to_be(), 1u32.to_be()));
        let first = key.xor(V::ramp(1u32.to_be(), 0));
        let nonce = V::splat(NONCE.as_ptr().cast());
        let mut x = [V::zero(); 10];
        for m in 0..8 {
            x[m] = V::splat_nonce_loosely(&group[m]);
        }
        let [low] = V::quad_of_firsts([x[0], x[1], x[2], x[3]]);
        let [high] = V::quad_of_firsts([x[4], x[5], x[6], x[7]]);
        for counter in &mut x[..8] {
            *counter = counter.and_xor(nonce, next);
        }
        x[8] = low.and_xor(nonce, first);
        x[9] = high.and_xor(nonce, first);
        x
    }
}

/// AES alone.
#[inline(always)]
unsafe fn encrypt<V: Wide>(keys: &RoundKeys, x: &mut [V; 10]) {
    macro_rules! rounds {
        ($($round:literal)*) => {$(V::round10::<$round>(keys, x);)*};
    }
    // SAFETY: as the caller promises.
    unsafe {
        rounds!(1 2 3 4 5 6 7 8 9 10 11 12 13);
        V::last10(keys, x);
    }
}

/// AES of `x` with the hash of `eight` between the rounds; the sums of its two fours.
#[inline(always)]
unsafe fn encrypt_beside_hash<V: Wide, const WHOLE: bool>(
    batch: &Batch<'_, V>,
    eight: &Eight,
    x: &mut [V; 10],
) -> [Sum<V>; 2] {
    let keys = &batch.table.round_keys;
    let powers = &batch.powers;
    // SAFETY: as the caller promises.
    unsafe {
        V::round10::<1>(keys, x);
        let [a, b, c, d] = load_turned::<V, WHOLE>(batch, eight, 0);
        let sum = add_aads(batch, eight, 0);
        let sum = V::round10_add::<2, 0>(keys, x, sum, a, powers);
        let sum = V::round10_add::<3, 1>(keys, x, sum, b, powers);
        let sum = V::round10_add::<4, 2>(keys, x, sum, c, powers);
        let low = V::round10_add::<5, 3>(keys, x, sum, d, powers);
        V::round10::<6>(keys, x);
        V::round10::<7>(keys, x);
        let [a, b, c, d] = load_turned::<V, WHOLE>(batch, eight, 4);
        let sum = add_aads(batch, eight, 4);
        let sum = V::round10_add::<8, 0>(keys, x, sum, a, powers);
        let sum = V::round10_add::<9, 1>(keys, x, sum, b, powers);
        let sum = V::round10_add::<10, 2>(keys, x, sum, c, powers);
        let high = V::round10_add::<11, 3>(keys, x, sum, d, powers);
        V::round10::<12>(keys, x);
        V::round10::<13>(keys, x);
        V::last10(keys, x);
        [low, high]
    }
}

/// The blocks of four texts, reversed for the hash, as quads. Masks are slow in some CPUs, so whole vectors do without.
#[inline(always)]
unsafe fn load_turned<V: Wide, const WHOLE: bool>(batch: &Batch<'_, V>, eight: &Eight, first: usize) -> [V; 4] {
    let load = |m: usize| {
        let text = eight.texts[first + m].cast_const();
        // SAFETY: the text is read to its length.
        unsafe { if WHOLE { V::load(text) } else { V::load_exact(text, batch.shape.text_len) } }
    };
    let [a, b, c, d] = [load(0), load(1), load(2), load(3)];
    // SAFETY: as the caller promises.
    unsafe { V::turned([a.reverse(), b.reverse(), c.reverse(), d.reverse()]) }
}

/// The sum of four messages, without AES beside it.
#[inline(always)]
unsafe fn hash<V: Wide, const WHOLE: bool>(batch: &Batch<'_, V>, eight: &Eight, first: usize) -> Sum<V> {
    // SAFETY: as the caller promises.
    unsafe {
        let blocks = load_turned::<V, WHOLE>(batch, eight, first);
        let mut sum = add_aads(batch, eight, first);
        for (block, power) in blocks.into_iter().zip(&batch.powers) {
            sum = add(sum, block, power.h, power.d);
        }
        sum
    }
}

/// The products of AADs and lengths of four messages.
#[inline(always)]
unsafe fn add_aads<V: Wide>(batch: &Batch<'_, V>, eight: &Eight, first: usize) -> Sum<V> {
    let aads = &eight.aads;
    // SAFETY: as the caller promises.
    unsafe {
        let four = [aads[first], aads[first + 1], aads[first + 2], aads[first + 3]];
        let shape = &batch.shape;
        if shape.aad_len > 16 {
            let [sum] = hash_aads(batch.table, shape, four);
            return sum;
        }
        let [blocks] = V::gather_exact(four, [shape.aad_len; 4]);
        add(shape.lengths, blocks.reverse(), batch.aad_power.h, batch.aad_power.d)
    }
}

/// XORs the texts with their key streams.
#[inline(always)]
unsafe fn crypt<V: Wide, const SEAL: bool, const WHOLE: bool>(batch: &Batch<'_, V>, eight: &Eight, x: &[V; 10]) {
    for (&text, &stream) in eight.texts.iter().zip(x) {
        // SAFETY: nothing is touched beyond the end of the text.
        unsafe {
            if WHOLE {
                V::load(text).xor(stream).store(text);
            } else {
                V::crypt_tail::<SEAL>(text, batch.shape.text_len, stream);
            }
        }
    }
}

/// Where the tags of four messages are.
#[inline(always)]
fn tags_at<V>(batch: &Batch<'_, V>, eight: &Eight, first: usize) -> [*mut u8; 4] {
    let at = |m: usize| eight.texts[first + m].wrapping_add(batch.shape.text_len);
    [at(0), at(1), at(2), at(3)]
}

/// Reduces the sums and writes the tags.
#[inline(always)]
unsafe fn write_tags<V: Wide>(batch: &Batch<'_, V>, eight: &Eight, sums: [Sum<V>; 2], masks: [V; 2]) {
    // SAFETY: each text has room for its tag.
    unsafe {
        V::scatter([reduce(sums[0]).reverse().xor(masks[0])], tags_at(batch, eight, 0));
        V::scatter([reduce(sums[1]).reverse().xor(masks[1])], tags_at(batch, eight, 4));
    }
}

/// Reduces the sums and compares the tags: two bits for each message, not zero where it is wrong.
#[inline(always)]
unsafe fn differences<V: Wide>(batch: &Batch<'_, V>, eight: &Eight, sums: [Sum<V>; 2], masks: [V; 2]) -> u32 {
    // SAFETY: each text is followed by its tag.
    unsafe {
        let low = V::gather(tags_at(batch, eight, 0).map(<*mut u8>::cast_const));
        let high = V::gather(tags_at(batch, eight, 4).map(<*mut u8>::cast_const));
        let low = V::differences([reduce(sums[0]).reverse().xor(masks[0])], low);
        let high = V::differences([reduce(sums[1]).reverse().xor(masks[1])], high);
        low | high << 8
    }
}
