//! The 256-bit vector: two blocks, VAES and VPCLMULQDQ on YMM registers (VEX encoded, no AVX-512 needed).

use core::arch::x86_64::*;

use crate::crypto::aead::lanes::avx2::rounds;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::sse::xmm::crypt_block_tail;
use crate::crypto::aead::lanes::sse::xmm::load_short;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::lanes::vector::rounds_of;

/// Two blocks.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Ymm(pub(super) __m256i);

// SAFETY (of each block): the caller proves the features and that pointers are good; see `Vector`.
impl Vector<2> for Ymm {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_setzero_si256()) }
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_loadu_si256(source.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(target.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn load_exact(source: *const u8, len: usize) -> Self {
        // SAFETY: see above; the halves are cut at `len`.
        unsafe {
            if len > 16 {
                Self(_mm256_set_m128i(load_short(source.add(16), len - 16), _mm_loadu_si128(source.cast())))
            } else {
                Self(_mm256_zextsi128_si256(load_short(source, len)))
            }
        }
    }

    #[inline(always)]
    unsafe fn crypt_tail<const SEAL: bool>(text_inout: *mut u8, len: usize, stream: Self) -> Self {
        // SAFETY: see above; a half is touched only if text begins in it.
        unsafe {
            if len > 16 {
                let low = crypt_block_tail::<SEAL>(text_inout, 16, _mm256_castsi256_si128(stream.0));
                let stream = _mm256_extracti128_si256::<1>(stream.0);
                let high = crypt_block_tail::<SEAL>(text_inout.add(16), len - 16, stream);
                Self(_mm256_set_m128i(high, low))
            } else if len > 0 {
                let low = crypt_block_tail::<SEAL>(text_inout, len, _mm256_castsi256_si128(stream.0));
                Self(_mm256_zextsi128_si256(low))
            } else {
                Self::zero()
            }
        }
    }

    #[inline(always)]
    unsafe fn splat(block: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_broadcastsi128_si256(_mm_loadu_si128(block.cast()))) }
    }

    #[inline(always)]
    unsafe fn splat_nonce(nonce: &[u8; 12]) -> Self {
        // SAFETY: see above; twelve bytes are read.
        unsafe {
            let low = _mm_loadl_epi64(nonce.as_ptr().cast());
            let high = nonce.as_ptr().add(8).cast::<i32>().read_unaligned();
            Self(_mm256_broadcastsi128_si256(_mm_insert_epi32::<2>(low, high)))
        }
    }

    #[inline(always)]
    unsafe fn ramp(first: u32, step: u32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_set_epi32(first.wrapping_add(step) as i32, 0, 0, 0, first as i32, 0, 0, 0)) }
    }

    #[inline(always)]
    unsafe fn first(low: u64, high: u64) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_zextsi128_si256(_mm_set_epi64x(high as i64, low as i64))) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_xor_si256(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_xor_si256(self.0, _mm256_xor_si256(b.0, c.0))) }
    }

    #[inline(always)]
    unsafe fn add32(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn reverse(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            Self(_mm256_shuffle_epi8(self.0, _mm256_broadcastsi128_si256(order)))
        }
    }

    #[inline(always)]
    unsafe fn reverse_counter(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let order = _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            Self(_mm256_shuffle_epi8(self.0, _mm256_broadcastsi128_si256(order)))
        }
    }

    #[inline(always)]
    unsafe fn swap_halves(self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_shuffle_epi32::<0x4e>(self.0)) }
    }

    #[inline(always)]
    unsafe fn clmul<const HALVES: i32>(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_clmulepi64_epi128::<HALVES>(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn fold(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let high = _mm256_extracti128_si256::<1>(self.0);
            Self(_mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(self.0), high)))
        }
    }

    #[inline(always)]
    unsafe fn gather(sources: [*const u8; 4]) -> [Self; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_set_m128i(_mm_loadu_si128(sources[1].cast()), _mm_loadu_si128(sources[0].cast()));
            let high = _mm256_set_m128i(_mm_loadu_si128(sources[3].cast()), _mm_loadu_si128(sources[2].cast()));
            [Self(low), Self(high)]
        }
    }

    #[inline(always)]
    unsafe fn gather_exact(sources: [*const u8; 4], lens: [usize; 4]) -> [Self; 2] {
        // SAFETY: see above; no more than `lens` is read.
        unsafe {
            let low = _mm256_set_m128i(load_short(sources[1], lens[1]), load_short(sources[0], lens[0]));
            let high = _mm256_set_m128i(load_short(sources[3], lens[3]), load_short(sources[2], lens[2]));
            [Self(low), Self(high)]
        }
    }

    #[inline(always)]
    unsafe fn scatter(quad: [Self; 2], targets: [*mut u8; 4]) {
        // SAFETY: see above.
        unsafe {
            _mm_storeu_si128(targets[0].cast(), _mm256_castsi256_si128(quad[0].0));
            _mm_storeu_si128(targets[1].cast(), _mm256_extracti128_si256::<1>(quad[0].0));
            _mm_storeu_si128(targets[2].cast(), _mm256_castsi256_si128(quad[1].0));
            _mm_storeu_si128(targets[3].cast(), _mm256_extracti128_si256::<1>(quad[1].0));
        }
    }

    #[inline(always)]
    unsafe fn quad_of_firsts(vectors: [Self; 4]) -> [Self; 2] {
        let [Self(a), Self(b), Self(c), Self(d)] = vectors;
        // SAFETY: see above.
        unsafe { [Self(_mm256_permute2x128_si256::<0x20>(a, b)), Self(_mm256_permute2x128_si256::<0x20>(c, d))] }
    }

    #[inline(always)]
    unsafe fn quad_of_folds(vectors: [Self; 4]) -> [Self; 2] {
        let [Self(a), Self(b), Self(c), Self(d)] = vectors;
        // SAFETY: see above.
        unsafe {
            let low =
                _mm256_xor_si256(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
            let high =
                _mm256_xor_si256(_mm256_permute2x128_si256::<0x20>(c, d), _mm256_permute2x128_si256::<0x31>(c, d));
            [Self(low), Self(high)]
        }
    }

    #[inline(always)]
    unsafe fn quad_of_words(low: [u64; 4], high: [u64; 4]) -> [Self; 2] {
        let [l0, l1, l2, l3] = low.map(|word| word as i64);
        let [h0, h1, h2, h3] = high.map(|word| word as i64);
        // SAFETY: see above.
        unsafe { [Self(_mm256_set_epi64x(h1, l1, h0, l0)), Self(_mm256_set_epi64x(h3, l3, h2, l2))] }
    }

    #[inline(always)]
    unsafe fn differences(a: [Self; 2], b: [Self; 2]) -> u32 {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a[0].0, b[0].0)));
            let high = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a[1].0, b[1].0)));
            (low | high << 4) as u32 ^ 0xff
        }
    }

    #[inline(always)]
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; 2]) {
        let mut all = [x[0], x[1], x[2], x[3], quad[0], quad[1]];
        // SAFETY: see above.
        unsafe { rounds::aes6(keys, &mut all) };
        [x[0], x[1], x[2], x[3], quad[0], quad[1]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; 2]) {
        let mut all = [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1]];
        // SAFETY: see above.
        unsafe { rounds::aes10(keys, &mut all) };
        [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1]] = all;
    }

    rounds_of!(rounds);
}
