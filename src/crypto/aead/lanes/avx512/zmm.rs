//! The 512-bit vector: four blocks, VAES and VPCLMULQDQ on ZMM registers, masked loads and stores.

use core::arch::x86_64::*;
use core::mem::offset_of;

use crate::crypto::aead::lanes::avx512::rounds;
use crate::crypto::aead::lanes::avx512::wide::Power;
use crate::crypto::aead::lanes::avx512::wide::Wide;
use crate::crypto::aead::lanes::hash::Products;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::lanes::vector::rounds_of;
use crate::crypto::aead::message::Message;

/// Four blocks.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Zmm(pub(super) __m512i);

/// A bit for each of the first `len <= 64` bytes.
#[inline(always)]
unsafe fn first_bytes(len: usize) -> u64 {
    debug_assert!(len <= 64);
    // SAFETY: registers only.
    unsafe { _bzhi_u64(!0, len as u32) }
}

/// 16 bytes from each address.
#[inline(always)]
unsafe fn four_blocks(blocks: [__m128i; 4]) -> __m512i {
    // SAFETY: registers only.
    unsafe {
        let v = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(blocks[0]), blocks[1]);
        let v = _mm512_inserti32x4::<2>(v, blocks[2]);
        _mm512_inserti32x4::<3>(v, blocks[3])
    }
}

// SAFETY (of each block): the caller proves the features and that pointers are good; see `Vector`.
impl Vector<1> for Zmm {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_setzero_si512()) }
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_loadu_si512(source.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(target.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn load_exact(source: *const u8, len: usize) -> Self {
        // SAFETY: see above; masked bytes are not accessed.
        unsafe { Self(_mm512_maskz_loadu_epi8(first_bytes(len), source.cast())) }
    }

    #[inline(always)]
    unsafe fn crypt_tail<const SEAL: bool>(text_inout: *mut u8, len: usize, stream: Self) -> Self {
        // SAFETY: see above; masked bytes are not accessed.
        unsafe {
            let mask = first_bytes(len);
            let before = _mm512_maskz_loadu_epi8(mask, text_inout.cast());
            let after = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(before, stream.0));
            _mm512_mask_storeu_epi8(text_inout.cast(), mask, after);
            Self(if SEAL { after } else { before })
        }
    }

    #[inline(always)]
    unsafe fn splat(block: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_broadcast_i32x4(_mm_loadu_si128(block.cast()))) }
    }

    #[inline(always)]
    unsafe fn splat_nonce(nonce: &[u8; 12]) -> Self {
        // SAFETY: see above; the mask takes twelve bytes.
        unsafe { Self(_mm512_broadcast_i32x4(_mm_maskz_loadu_epi32(0b0111, nonce.as_ptr().cast()))) }
    }

    #[inline(always)]
    unsafe fn ramp(first: u32, step: u32) -> Self {
        let at = |i: u32| first.wrapping_add(step.wrapping_mul(i)) as i32;
        // SAFETY: see above.
        unsafe { Self(_mm512_set_epi32(at(3), 0, 0, 0, at(2), 0, 0, 0, at(1), 0, 0, 0, at(0), 0, 0, 0)) }
    }

    #[inline(always)]
    unsafe fn first(low: u64, high: u64) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_zextsi128_si512(_mm_set_epi64x(high as i64, low as i64))) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_xor_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_ternarylogic_epi64::<0x96>(self.0, b.0, c.0)) }
    }

    #[inline(always)]
    unsafe fn add32(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn reverse(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            Self(_mm512_shuffle_epi8(self.0, _mm512_broadcast_i32x4(order)))
        }
    }

    #[inline(always)]
    unsafe fn reverse_counter(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let order = _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            Self(_mm512_shuffle_epi8(self.0, _mm512_broadcast_i32x4(order)))
        }
    }

    #[inline(always)]
    unsafe fn swap_halves(self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_shuffle_epi32::<0x4e>(self.0)) }
    }

    #[inline(always)]
    unsafe fn clmul<const HALVES: i32>(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_clmulepi64_epi128::<HALVES>(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn fold(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let two = _mm256_xor_si256(_mm512_castsi512_si256(self.0), _mm512_extracti64x4_epi64::<1>(self.0));
            let one = _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two));
            Self(_mm512_zextsi128_si512(one))
        }
    }

    #[inline(always)]
    unsafe fn gather(sources: [*const u8; 4]) -> [Self; 1] {
        // SAFETY: see above.
        unsafe {
            [Self(four_blocks([
                _mm_loadu_si128(sources[0].cast()),
                _mm_loadu_si128(sources[1].cast()),
                _mm_loadu_si128(sources[2].cast()),
                _mm_loadu_si128(sources[3].cast()),
            ]))]
        }
    }

    #[inline(always)]
    unsafe fn gather_exact(sources: [*const u8; 4], lens: [usize; 4]) -> [Self; 1] {
        // SAFETY: see above; masked bytes are not accessed.
        unsafe {
            [Self(four_blocks([
                _mm_maskz_loadu_epi8(first_bytes(lens[0]) as u16, sources[0].cast()),
                _mm_maskz_loadu_epi8(first_bytes(lens[1]) as u16, sources[1].cast()),
                _mm_maskz_loadu_epi8(first_bytes(lens[2]) as u16, sources[2].cast()),
                _mm_maskz_loadu_epi8(first_bytes(lens[3]) as u16, sources[3].cast()),
            ]))]
        }
    }

    #[inline(always)]
    unsafe fn scatter(quad: [Self; 1], targets: [*mut u8; 4]) {
        let [blocks] = quad;
        // SAFETY: see above.
        unsafe {
            _mm_storeu_si128(targets[0].cast(), _mm512_castsi512_si128(blocks.0));
            _mm_storeu_si128(targets[1].cast(), _mm512_extracti32x4_epi32::<1>(blocks.0));
            _mm_storeu_si128(targets[2].cast(), _mm512_extracti32x4_epi32::<2>(blocks.0));
            _mm_storeu_si128(targets[3].cast(), _mm512_extracti32x4_epi32::<3>(blocks.0));
        }
    }

    #[inline(always)]
    unsafe fn quad_of_firsts(vectors: [Self; 4]) -> [Self; 1] {
        let [Self(a), Self(b), Self(c), Self(d)] = vectors;
        // SAFETY: see above.
        unsafe {
            let low = _mm512_shuffle_i64x2::<0x00>(a, b);
            let high = _mm512_shuffle_i64x2::<0x00>(c, d);
            [Self(_mm512_shuffle_i64x2::<0x88>(low, high))]
        }
    }

    #[inline(always)]
    unsafe fn quad_of_folds(vectors: [Self; 4]) -> [Self; 1] {
        let [Self(a), Self(b), Self(c), Self(d)] = vectors;
        // SAFETY: see above.
        unsafe {
            let low = _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
            let high = _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(c, d), _mm512_shuffle_i64x2::<0xee>(c, d));
            [Self(_mm512_xor_si512(_mm512_shuffle_i64x2::<0x88>(low, high), _mm512_shuffle_i64x2::<0xdd>(low, high)))]
        }
    }

    #[inline(always)]
    unsafe fn quad_of_words(low: [u64; 4], high: [u64; 4]) -> [Self; 1] {
        let [l0, l1, l2, l3] = low.map(|word| word as i64);
        let [h0, h1, h2, h3] = high.map(|word| word as i64);
        // SAFETY: see above.
        unsafe { [Self(_mm512_set_epi64(h3, l3, h2, l2, h1, l1, h0, l0))] }
    }

    #[inline(always)]
    unsafe fn differences(a: [Self; 1], b: [Self; 1]) -> u32 {
        // SAFETY: see above.
        unsafe { u32::from(_mm512_cmpneq_epi64_mask(a[0].0, b[0].0)) }
    }

    #[inline(always)]
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; 1]) {
        let mut all = [x[0], x[1], x[2], x[3], quad[0]];
        // SAFETY: see above.
        unsafe { rounds::aes5(keys, &mut all) };
        [x[0], x[1], x[2], x[3], quad[0]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; 1]) {
        let mut all = [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0]];
        // SAFETY: see above.
        unsafe { rounds::aes9(keys, &mut all) };
        [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0]] = all;
    }

    rounds_of!(rounds);
}

impl Wide for Zmm {
    #[inline(always)]
    unsafe fn splat_nonce_loosely(message: &Message<'_>) -> Self {
        const ROOM: usize = size_of::<Message<'_>>() - offset_of!(Message<'_>, nonce);
        if ROOM < 16 {
            // SAFETY: see above.
            return unsafe { Self::splat_nonce(&message.nonce) };
        }
        let at = core::ptr::from_ref(message).cast::<u8>().wrapping_add(offset_of!(Message<'_>, nonce));
        // SAFETY: the message is good for 16 bytes from its nonce.
        unsafe { rounds::splat_loosely(at) }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: a hint, which never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn and_xor(self, mask: Self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_ternarylogic_epi64::<0x6a>(self.0, mask.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn turned(vectors: [Self; 4]) -> [Self; 4] {
        let [Self(a), Self(b), Self(c), Self(d)] = vectors;
        // SAFETY: see above.
        unsafe {
            let (low_ab, high_ab) = (_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
            let (low_cd, high_cd) = (_mm512_shuffle_i64x2::<0x44>(c, d), _mm512_shuffle_i64x2::<0xee>(c, d));
            [
                Self(_mm512_shuffle_i64x2::<0x88>(low_ab, low_cd)),
                Self(_mm512_shuffle_i64x2::<0xdd>(low_ab, low_cd)),
                Self(_mm512_shuffle_i64x2::<0x88>(high_ab, high_cd)),
                Self(_mm512_shuffle_i64x2::<0xdd>(high_ab, high_cd)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn round10<const ROUND: usize>(keys: &RoundKeys, x: &mut [Self; 10]) {
        // SAFETY: see above.
        unsafe { rounds::round10::<ROUND>(keys, x) }
    }

    #[inline(always)]
    unsafe fn round10_add<const ROUND: usize, const POWER: usize>(
        keys: &RoundKeys,
        x: &mut [Self; 10],
        sum: Sum<Self>,
        blocks: Self,
        powers: &[Power<Self>; 4],
    ) -> Sum<Self> {
        // SAFETY: see above.
        unsafe { rounds::round10_add::<ROUND, POWER>(keys, x, sum, blocks, powers) }
    }

    #[inline(always)]
    unsafe fn last10(keys: &RoundKeys, x: &mut [Self; 10]) {
        // SAFETY: see above.
        unsafe { rounds::last10::<14>(keys, x) }
    }

    #[inline(always)]
    unsafe fn low_and_high(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_mask_blend_epi64(0xf0, self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn aes1(self, keys: &RoundKeys) -> Self {
        // SAFETY: see above.
        unsafe {
            let mut x = self.xor(Self::splat(keys[0].as_ptr())).0;
            for key in &keys[1..14] {
                x = _mm512_aesenc_epi128(x, Self::splat(key.as_ptr()).0);
            }
            Self(x).last_round(Self::splat(keys[14].as_ptr()))
        }
    }

    #[inline(always)]
    unsafe fn last_round(self, key: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_aesenclast_epi128(self.0, key.0)) }
    }

    #[inline(always)]
    unsafe fn share<const WIDE: bool, const SHARE: usize>(keys: &RoundKeys, x: &mut [Self; 16]) {
        // SAFETY: see above.
        unsafe {
            match (WIDE, SHARE) {
                (true, 0) => rounds::share16_even::<1>(keys, x),
                (true, 1) => rounds::share16_odd::<2>(keys, x),
                (true, 2) => rounds::share16_even::<4>(keys, x),
                (true, 3) => rounds::share16_odd::<5>(keys, x),
                (true, 4) => rounds::share16_even::<7>(keys, x),
                (true, 5) => rounds::share16_odd::<8>(keys, x),
                (true, 6) => rounds::share16_even::<10>(keys, x),
                (true, 7) => rounds::share16_odd::<11>(keys, x),
                (false, 0) => rounds::share12::<1>(keys, x),
                (false, 1) => rounds::share12::<3>(keys, x),
                (false, 2) => rounds::share12::<5>(keys, x),
                (false, 3) => rounds::share12::<7>(keys, x),
                (false, 4) => rounds::share12::<9>(keys, x),
                (false, 5) => rounds::share12::<11>(keys, x),
                _ => unreachable!("six shares or eight"),
            }
        }
    }

    #[inline(always)]
    unsafe fn share_beside<const WIDE: bool, const SHARE: usize>(
        keys: &RoundKeys,
        x: &mut [Self; 16],
        products: Products<Self>,
        a: Self,
        b: Self,
        powers: *const u8,
    ) -> Products<Self> {
        // SAFETY: see above.
        unsafe {
            match (WIDE, SHARE) {
                (true, 0) => rounds::share16_even_beside::<1>(keys, x, products, a, b, powers),
                (true, 1) => rounds::share16_odd_beside::<2>(keys, x, products, a, b, powers),
                (true, 2) => rounds::share16_even_beside::<4>(keys, x, products, a, b, powers),
                (true, 3) => rounds::share16_odd_beside::<5>(keys, x, products, a, b, powers),
                (true, 4) => rounds::share16_even_beside::<7>(keys, x, products, a, b, powers),
                (true, 5) => rounds::share16_odd_beside::<8>(keys, x, products, a, b, powers),
                (true, 6) => rounds::share16_even_beside::<10>(keys, x, products, a, b, powers),
                (true, 7) => rounds::share16_odd_beside::<11>(keys, x, products, a, b, powers),
                (false, 0) => rounds::share12_beside::<1>(keys, x, products, a, b, powers),
                (false, 1) => rounds::share12_beside::<3>(keys, x, products, a, b, powers),
                (false, 2) => rounds::share12_beside::<5>(keys, x, products, a, b, powers),
                (false, 3) => rounds::share12_beside::<7>(keys, x, products, a, b, powers),
                (false, 4) => rounds::share12_beside::<9>(keys, x, products, a, b, powers),
                (false, 5) => rounds::share12_beside::<11>(keys, x, products, a, b, powers),
                _ => unreachable!("six shares or eight"),
            }
        }
    }

    #[inline(always)]
    unsafe fn last_middle<const WIDE: bool>(keys: &RoundKeys, x: &mut [Self; 16]) {
        // SAFETY: see above.
        unsafe { if WIDE { rounds::middle16::<13>(keys, x) } else { rounds::middle12::<13>(keys, x) } }
    }

    #[inline(always)]
    unsafe fn add_pair(products: Products<Self>, a: Self, b: Self, powers: *const u8) -> Products<Self> {
        // SAFETY: see above; the powers of the second vector stand behind those of the first, their sums in `middles`.
        unsafe {
            let (h, next) = (Self::load(powers), Self::load(powers.wrapping_add(Self::BYTES)));
            let middles = Self::load(powers.wrapping_add(Table::TO_MIDDLES));
            let sums = Self(_mm512_xor_si512(_mm512_unpacklo_epi64(a.0, b.0), _mm512_unpackhi_epi64(a.0, b.0)));
            Products {
                low: products.low.xor3(a.clmul::<0x00>(h), b.clmul::<0x00>(next)),
                high: products.high.xor3(a.clmul::<0x11>(h), b.clmul::<0x11>(next)),
                middle: products.middle.xor3(sums.clmul::<0x00>(middles), sums.clmul::<0x11>(middles)),
            }
        }
    }
}
