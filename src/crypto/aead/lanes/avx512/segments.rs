//! One message of 1 KiB or more, sixteen vectors of AES at a time and the hash of sixteen others between the rounds: what
//! `long` does, for instruction sets with 32 registers.
//!
//! A *segment* is 1 KiB: 64 blocks, which the powers of a table reach. Its counters but the last two have all but six
//! bits in common, so one XOR makes each. What is left behind the last whole segment is left to `long`.

use core::arch::x86_64::*;

use crate::crypto::aead::lanes::avx512::rounds::KaratsubaSum;
use crate::crypto::aead::lanes::avx512::wide::PAIR;
use crate::crypto::aead::lanes::avx512::wide::RAMP;
use crate::crypto::aead::lanes::avx512::wide::add_pair;
use crate::crypto::aead::lanes::avx512::wide::aes1;
use crate::crypto::aead::lanes::avx512::wide::eight_times;
use crate::crypto::aead::lanes::avx512::wide::last_middle;
use crate::crypto::aead::lanes::avx512::wide::last_round;
use crate::crypto::aead::lanes::avx512::wide::prefetch;
use crate::crypto::aead::lanes::avx512::wide::reduce_karatsuba;
use crate::crypto::aead::lanes::avx512::wide::share;
use crate::crypto::aead::lanes::avx512::wide::share_beside;
use crate::crypto::aead::lanes::avx512::wide::zero_karatsuba;
use crate::crypto::aead::lanes::hash::absorb;
use crate::crypto::aead::lanes::one;
use crate::crypto::aead::lanes::one::TextProgress;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_LEN;

// What the unsafe functions of this file ask of their callers is AVX-512, and that a whole segment is at
// each address they are given.

/// Bytes of a segment.
pub(super) const SEGMENT: usize = 1024;

/// Seals or opens one message; whether its tag is right (always, when sealing).
///
/// # Safety
/// As for [`Vector`]; the message has a whole segment at least, and space for its tag.
#[inline(always)]
pub(super) unsafe fn one<const SEAL: bool>(table: &Table, message: &mut Message<'_>) -> bool {
    let len = message.text_inout.len() - TAG_LEN;
    let text = message.text_inout.as_mut_ptr();
    let whole = len / SEGMENT * SEGMENT;
    // In bounds: the text is good for `len` bytes and the tag behind it; the AAD for its length.
    let nonce = __m512i::splat_nonce(&message.nonce);
    let mask = aes1(nonce.xor(__m512i::ramp(1u32.to_be(), 0)), &table.round_keys);
    let base = nonce.xor(__m512i::splat(table.round_keys[0].as_ptr()));
    let mut state = absorb::<__m512i, 1, true>(table, __m512i::zero(), message.aad.as_ptr(), message.aad.len());
    let mut segment = base;
    let mut done = 0;
    while done < whole {
        let here = text.add(done);
        let next = base.xor(__m512i::ramp((((done.wrapping_add(SEGMENT)) / 16) as u32).to_be(), 0));
        let mut x = counters(segment, next);
        if SEAL && done == 0 {
            encrypt(table, &mut x);
        } else {
            let from = if SEAL { here.sub(SEGMENT) } else { here };
            let products = encrypt_beside_hash(table, &mut x, from, state);
            state = reduce_karatsuba(products).fold();
        }
        crypt(table, &x, here);
        segment = next;
        done = done.wrapping_add(SEGMENT);
    }
    if SEAL {
        state = hash_first_half(table, text.add(whole - SEGMENT), state);
    }
    let counters = nonce.xor(__m512i::ramp((whole / 16) as u32 + 2, 1));
    let mut progress = TextProgress { counters, mask, state, done: whole };
    one::go_on::<__m512i, 1, SEAL>(table, message, &mut progress, &mut [mask])
}

/// The counters of a segment, after the XOR before the first round: the last two are those of the next segment.
#[inline(always)]
unsafe fn counters(segment: __m512i, next: __m512i) -> [__m512i; 16] {
    // The ramp has sixteen vectors.
    let ramp = RAMP.0.as_ptr().cast::<u8>();
    let mut x = [__m512i::zero(); 16];
    macro_rules! pair {
        ($i:literal) => {
            x[2 * $i] = segment.xor(__m512i::load(ramp.add($i * PAIR)));
            x[2 * $i + 1] = segment.xor(__m512i::load(ramp.add($i * PAIR + 64)));
        };
    }
    eight_times!(pair);
    // 64 and 65 of this segment are 0 and 1 of the next.
    let carry = __m512i::ramp(64u32.to_be(), 0);
    let of_next = next.xor(carry).xor(__m512i::load(ramp.add(7 * PAIR + 64)));
    x[15] = _mm512_mask_blend_epi64(0xf0, x[15], of_next);
    x
}

/// The rounds between the XOR and the last one.
#[inline(always)]
unsafe fn encrypt(table: &Table, x: &mut [__m512i; 16]) {
    macro_rules! share {
        ($i:literal) => {
            share::<true, $i>(&table.round_keys, x);
        };
    }
    eight_times!(share);
    last_middle::<true>(&table.round_keys, x);
}

/// The same, with the products of the segment at `from` beside it. Those of the first pair come last: the state is ready
/// late.
#[inline(always)]
unsafe fn encrypt_beside_hash(table: &Table, x: &mut [__m512i; 16], from: *const u8, state: __m512i) -> KaratsubaSum {
    let powers = table.h_at(Table::offset(SEGMENT / 16));
    // In bounds: there is a segment at `from`.
    let mut products = zero_karatsuba();
    macro_rules! share {
            ($i:literal) => {
                // Sealing, this is what the last round will read: without it that would wait for each line (10 % at 64 KiB).
                prefetch(from.wrapping_add(SEGMENT + $i * PAIR));
                prefetch(from.wrapping_add(SEGMENT + $i * PAIR + 64));
                let at = ($i + 1) % 8 * PAIR;
                let (a, b) = (__m512i::load(from.add(at)).reverse(), __m512i::load(from.add(at + 64)).reverse());
                let a = if at == 0 { a.xor(state) } else { a };
                let powers = powers.wrapping_add(at);
                products = share_beside::<true, $i>(&table.round_keys, x, products, a, b, powers);
            };
        }
    eight_times!(share);
    last_middle::<true>(&table.round_keys, x);
    products
}

/// The state behind the first half of the segment at `from`: the second is what `long` hashes on its next step.
#[inline(always)]
unsafe fn hash_first_half(table: &Table, from: *const u8, state: __m512i) -> __m512i {
    let powers = table.h_at(Table::offset(SEGMENT / 32));
    // In bounds: there is a segment at `from`.
    let mut products = zero_karatsuba();
    for at in [PAIR, 2 * PAIR, 3 * PAIR, 0] {
        let (a, b) = (__m512i::load(from.add(at)).reverse(), __m512i::load(from.add(at + 64)).reverse());
        let a = if at == 0 { a.xor(state) } else { a };
        products = add_pair(products, a, b, powers.wrapping_add(at));
    }
    reduce_karatsuba(products).fold()
}

/// The last round, and the XOR with the text.
#[inline(always)]
unsafe fn crypt(table: &Table, x: &[__m512i; 16], text: *mut u8) {
    // In bounds: there is a segment at `text`.
    let key = __m512i::splat(table.round_keys[14].as_ptr());
    macro_rules! pair {
        ($i:literal) => {
            let (low, high) = (text.add($i * PAIR), text.add($i * PAIR + 64));
            last_round(x[2 * $i], key.xor(__m512i::load(low))).store(low);
            last_round(x[2 * $i + 1], key.xor(__m512i::load(high))).store(high);
        };
    }
    eight_times!(pair);
}
