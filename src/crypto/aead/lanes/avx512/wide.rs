//! What the kernels with ten and more vectors in flight need beyond `vector`. Only AVX-512 has the registers for them.

use core::arch::x86_64::*;
use core::mem::offset_of;

use crate::crypto::aead::lanes::avx512::rounds;
use crate::crypto::aead::lanes::avx512::rounds::KaratsubaSum;
use crate::crypto::aead::lanes::hash::POLYNOMIAL_BLOCK;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::Message;

/// Bytes of two vectors, whose products are summed as a pair.
pub(super) const PAIR: usize = 128;

/// A mask for the nonce of a counter block.
pub(super) static NONCE: [u32; 4] = [u32::MAX, u32::MAX, u32::MAX, 0];

/// The counters of a text, from 2 on.
#[repr(C, align(64))]
pub(super) struct Ramp(pub(super) [[u32; 4]; 64]);
pub(super) static RAMP: Ramp = Ramp(ramp());

const fn ramp() -> [[u32; 4]; 64] {
    let mut blocks = [[0; 4]; 64];
    let mut i = 0;
    while i < blocks.len() {
        blocks[i][3] = (i as u32 + 2).to_be();
        i += 1;
    }
    blocks
}

/// Runs a macro with 0 to 7: loops over registers that LLVM does not unroll go through memory.
macro_rules! eight_times {
    ($macro:ident) => {
        $macro!(0);
        $macro!(1);
        $macro!(2);
        $macro!(3);
        $macro!(4);
        $macro!(5);
        $macro!(6);
        $macro!(7);
    };
}
pub(super) use eight_times;

/// A mask for the low half of a block.
static LOW_HALF: [u64; 2] = [u64::MAX, 0];

/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn zero_karatsuba() -> KaratsubaSum {
    KaratsubaSum { low: __m512i::zero(), middle: __m512i::zero(), high: __m512i::zero() }
}

/// The sum in each place, reduced: POLYVAL's Montgomery reduction in two steps of 64 bits.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn reduce_karatsuba(sum: KaratsubaSum) -> __m512i {
    let KaratsubaSum { low, middle, high } = sum;
    let polynomial = __m512i::splat(POLYNOMIAL_BLOCK.as_ptr().cast());
    let low_halves = __m512i::splat(LOW_HALF.as_ptr().cast());
    let middle = middle.xor3(low, high).swap_halves();
    let high = and_xor(middle, low_halves, high);
    let low = middle.xor(and_xor(middle, low_halves, low));
    let low = low.swap_halves().xor(low.clmul::<0x00>(polynomial));
    high.xor3(low.swap_halves(), low.clmul::<0x00>(polynomial))
}

/// The nonce in every place, and after it four bytes of any value.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn splat_nonce_loosely(message: &Message<'_>) -> __m512i {
    const SPACE: usize = size_of::<Message<'_>>() - offset_of!(Message<'_>, nonce);
    if SPACE < 16 {
        return __m512i::splat_nonce(&message.nonce);
    }
    // In bounds: `SPACE` bytes of the message begin at its nonce.
    rounds::splat_loosely(core::ptr::from_ref(message).cast::<u8>().wrapping_add(offset_of!(Message<'_>, nonce)))
}

/// Asks for the bytes of a vector before they are needed. Any address will do: a hint never faults.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn prefetch(at: *const u8) {
    _mm_prefetch::<_MM_HINT_T0>(at.cast())
}

/// `(x & mask) ^ other`.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn and_xor(x: __m512i, mask: __m512i, other: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x6a>(x, mask, other)
}

/// AES-256 of one vector.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn aes1(x: __m512i, keys: &RoundKeys) -> __m512i {
    let mut x = x.xor(__m512i::splat(keys[0].as_ptr()));
    for key in &keys[1..14] {
        x = _mm512_aesenc_epi128(x, __m512i::splat(key.as_ptr()));
    }
    _mm512_aesenclast_epi128(x, __m512i::splat(keys[14].as_ptr()))
}

/// The last round of AES.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn last_round(x: __m512i, key: __m512i) -> __m512i {
    _mm512_aesenclast_epi128(x, key)
}

/// Share `SHARE` of the middle rounds but the last, of which there are eight if `WIDE`, for sixteen vectors, or six, for
/// the first twelve.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn share<const WIDE: bool, const SHARE: usize>(keys: &RoundKeys, x: &mut [__m512i; 16]) {
    match (WIDE, SHARE % 2) {
        (true, 0) => rounds::share16_even::<SHARE>(keys, x),
        (true, _) => rounds::share16_odd::<SHARE>(keys, x),
        (false, _) => rounds::share12::<SHARE>(keys, x),
    }
}

/// The same, and beside it `sum` with the products of a pair added: `a` times the powers at `powers`, `b` times the next.
///
/// # Safety
/// As for [`Vector`]; `powers` points at powers of a table.
#[inline(always)]
pub(super) unsafe fn share_beside<const WIDE: bool, const SHARE: usize>(
    keys: &RoundKeys,
    x: &mut [__m512i; 16],
    sum: KaratsubaSum,
    a: __m512i,
    b: __m512i,
    powers: *const u8,
) -> KaratsubaSum {
    match (WIDE, SHARE % 2) {
        (true, 0) => rounds::share16_even_beside::<SHARE>(keys, x, sum, a, b, powers),
        (true, _) => rounds::share16_odd_beside::<SHARE>(keys, x, sum, a, b, powers),
        (false, _) => rounds::share12_beside::<SHARE>(keys, x, sum, a, b, powers),
    }
}

/// The last middle round.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn last_middle<const WIDE: bool>(keys: &RoundKeys, x: &mut [__m512i; 16]) {
    if WIDE { rounds::middle16::<13>(keys, x) } else { rounds::middle12::<13>(keys, x) }
}

/// The products of a pair, without AES beside them.
///
/// # Safety
/// As for [`share_beside`].
#[inline(always)]
pub(super) unsafe fn add_pair(sum: KaratsubaSum, a: __m512i, b: __m512i, powers: *const u8) -> KaratsubaSum {
    // In bounds: the powers of the second vector stand behind those of the first, their sums in `middles`.
    let (h, next) = (__m512i::load(powers), __m512i::load(powers.wrapping_add(__m512i::BYTES)));
    let middles = __m512i::load(powers.wrapping_add(Table::TO_MIDDLES));
    let halves = _mm512_xor_si512(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    KaratsubaSum {
        low: sum.low.xor3(a.clmul::<0x00>(h), b.clmul::<0x00>(next)),
        high: sum.high.xor3(a.clmul::<0x11>(h), b.clmul::<0x11>(next)),
        middle: sum.middle.xor3(halves.clmul::<0x00>(middles), halves.clmul::<0x11>(middles)),
    }
}
