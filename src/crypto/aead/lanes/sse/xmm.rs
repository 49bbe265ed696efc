//! The 128-bit vector: one block, AES-NI and PCLMULQDQ on XMM registers (legacy encoding: no AVX needed).

use core::arch::x86_64::*;

use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::sse::rounds;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::lanes::vector::rounds_of;

/// Sliding it over 32 bytes makes masks: ones, then zeros.
static MASKS: [[u8; 16]; 2] = [[0xff; 16], [0; 16]];

/// Reads exactly `len <= 16` bytes; the rest is zero.
///
/// # Safety
/// `source` is good for `len` bytes; SSE2.
#[inline(always)]
pub(in crate::crypto::aead::lanes) unsafe fn load_short(source: *const u8, len: usize) -> __m128i {
    // Two reads that overlap, of the size that fits: never a byte outside.
    // SAFETY: each read lies within `len` bytes.
    unsafe {
        if len >= 16 {
            return _mm_loadu_si128(source.cast());
        }
        let (low, high) = if len > 8 {
            let last = source.add(len - 8).cast::<u64>().read_unaligned();
            (source.cast::<u64>().read_unaligned(), last >> (8 * (16 - len)))
        } else if len >= 4 {
            let first = u64::from(source.cast::<u32>().read_unaligned());
            let last = u64::from(source.add(len - 4).cast::<u32>().read_unaligned());
            (first | last << (8 * (len - 4)), 0)
        } else if len > 0 {
            let byte = |at: usize| u64::from(source.add(at).read()) << (8 * at);
            (byte(0) | byte(len / 2) | byte(len - 1), 0)
        } else {
            (0, 0)
        };
        _mm_set_epi64x(high as i64, low as i64)
    }
}

/// `Vector::crypt_tail` of one block, for `1 <= len <= 16`.
///
/// # Safety
/// 16 bytes are good at `text_inout`; SSE2.
#[inline(always)]
pub(in crate::crypto::aead::lanes) unsafe fn crypt_block_tail<const SEAL: bool>(
    text_inout: *mut u8,
    len: usize,
    stream: __m128i,
) -> __m128i {
    // SAFETY: the text is followed by the room for its tag, so 16 bytes from any byte of text are good; the mask is a
    // window on `MASKS`.
    unsafe {
        let mask = _mm_loadu_si128(MASKS.as_ptr().cast::<u8>().add(16 - len).cast());
        let before = _mm_loadu_si128(text_inout.cast());
        let after = _mm_xor_si128(before, _mm_and_si128(stream, mask));
        _mm_storeu_si128(text_inout.cast(), after);
        _mm_and_si128(if SEAL { after } else { before }, mask)
    }
}

/// One block.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(in crate::crypto::aead::lanes) struct Xmm(pub(super) __m128i);

// SAFETY (of each block): the caller proves the features and that pointers are good; see `Vector`.
impl Vector<4> for Xmm {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_setzero_si128()) }
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_loadu_si128(source.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm_storeu_si128(target.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn load_exact(source: *const u8, len: usize) -> Self {
        // SAFETY: see above.
        unsafe { Self(load_short(source, len)) }
    }

    #[inline(always)]
    unsafe fn crypt_tail<const SEAL: bool>(text_inout: *mut u8, len: usize, stream: Self) -> Self {
        // SAFETY: see above; nothing is touched if there is no text.
        unsafe { if len > 0 { Self(crypt_block_tail::<SEAL>(text_inout, len, stream.0)) } else { Self::zero() } }
    }

    #[inline(always)]
    unsafe fn splat(block: *const u8) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_loadu_si128(block.cast())) }
    }

    #[inline(always)]
    unsafe fn splat_nonce(nonce: &[u8; 12]) -> Self {
        // SAFETY: see above; twelve bytes are read.
        unsafe {
            let low = _mm_loadl_epi64(nonce.as_ptr().cast());
            let high = nonce.as_ptr().add(8).cast::<i32>().read_unaligned();
            Self(_mm_insert_epi32::<2>(low, high))
        }
    }

    #[inline(always)]
    unsafe fn ramp(first: u32, _step: u32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_set_epi32(first as i32, 0, 0, 0)) }
    }

    #[inline(always)]
    unsafe fn first(low: u64, high: u64) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_set_epi64x(high as i64, low as i64)) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_xor_si128(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_xor_si128(self.0, _mm_xor_si128(b.0, c.0))) }
    }

    #[inline(always)]
    unsafe fn add32(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn reverse(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            Self(_mm_shuffle_epi8(self.0, order))
        }
    }

    #[inline(always)]
    unsafe fn reverse_counter(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let order = _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            Self(_mm_shuffle_epi8(self.0, order))
        }
    }

    #[inline(always)]
    unsafe fn swap_halves(self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_shuffle_epi32::<0x4e>(self.0)) }
    }

    #[inline(always)]
    unsafe fn clmul<const HALVES: i32>(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm_clmulepi64_si128::<HALVES>(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn fold(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn gather(sources: [*const u8; 4]) -> [Self; 4] {
        // SAFETY: see above.
        unsafe { [Self::load(sources[0]), Self::load(sources[1]), Self::load(sources[2]), Self::load(sources[3])] }
    }

    #[inline(always)]
    unsafe fn gather_exact(sources: [*const u8; 4], lens: [usize; 4]) -> [Self; 4] {
        // SAFETY: see above; no more than `lens` is read.
        unsafe {
            [
                Self(load_short(sources[0], lens[0])),
                Self(load_short(sources[1], lens[1])),
                Self(load_short(sources[2], lens[2])),
                Self(load_short(sources[3], lens[3])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn scatter(quad: [Self; 4], targets: [*mut u8; 4]) {
        for (block, target) in quad.into_iter().zip(targets) {
            // SAFETY: see above.
            unsafe { block.store(target) }
        }
    }

    #[inline(always)]
    unsafe fn quad_of_firsts(vectors: [Self; 4]) -> [Self; 4] {
        vectors
    }

    #[inline(always)]
    unsafe fn quad_of_folds(vectors: [Self; 4]) -> [Self; 4] {
        vectors
    }

    #[inline(always)]
    unsafe fn quad_of_words(low: [u64; 4], high: [u64; 4]) -> [Self; 4] {
        // SAFETY: see above.
        unsafe {
            [
                Self::first(low[0], high[0]),
                Self::first(low[1], high[1]),
                Self::first(low[2], high[2]),
                Self::first(low[3], high[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn differences(a: [Self; 4], b: [Self; 4]) -> u32 {
        // SAFETY: see above.
        unsafe {
            let mut equal = 0;
            for m in 0..4 {
                equal |= _mm_movemask_pd(_mm_castsi128_pd(_mm_cmpeq_epi64(a[m].0, b[m].0))) << (2 * m);
            }
            equal as u32 ^ 0xff
        }
    }

    #[inline(always)]
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; 4]) {
        let mut all = [x[0], x[1], x[2], x[3], quad[0], quad[1], quad[2], quad[3]];
        // SAFETY: see above.
        unsafe { rounds::aes8(keys, &mut all) };
        [x[0], x[1], x[2], x[3], quad[0], quad[1], quad[2], quad[3]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; 4]) {
        let mut all = [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1], quad[2], quad[3]];
        // SAFETY: see above.
        unsafe { rounds::aes12(keys, &mut all) };
        [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1], quad[2], quad[3]] = all;
    }

    rounds_of!(rounds);
}
