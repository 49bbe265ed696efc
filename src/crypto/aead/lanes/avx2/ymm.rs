//! The 256-bit vector: two blocks, VAES and VPCLMULQDQ on YMM registers (VEX encoded, no AVX-512 needed).
//!
//! LLVM runs chains of AES rounds one after another to save registers, and moves products out from between them; both cost a
//! quarter of the speed and more. So rounds are assembly: one block stays as it is written.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::crypto::aead::lanes::sse::xmm::crypt_block_tail;
use crate::crypto::aead::lanes::sse::xmm::load_short;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;

/// AES-256 of several vectors.
macro_rules! aes_function {
    ($name:ident, $count:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx2,vaes")]
        #[inline]
        unsafe fn $name(keys: &RoundKeys, x: &mut [__m256i; $count]) {
            // Reads the round keys, changes the named registers.
                asm!(
                    "vbroadcasti128 ymm15, [{keys}]",
                    $(concat!("vpxor {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    ".set o, 16", ".rept 13",
                    "vbroadcasti128 ymm15, [{keys} + o]",
                    $(concat!("vaesenc {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    ".set o, o + 16", ".endr",
                    "vbroadcasti128 ymm15, [{keys} + 224]",
                    $(concat!("vaesenclast {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    $($x = inout(ymm_reg) x[$i],)*
                    out("ymm15") _, keys = in(reg) keys.as_ptr(),
                    options(pure, readonly, nostack, preserves_flags)
                );
        }
    };
}
aes_function!(aes6, 6, a 0 b 1 c 2 d 3 e 4 f 5);
aes_function!(aes10, 10, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9);

/// One operation on eight vectors with the round key at byte `at`.
macro_rules! round_function {
    ($name:ident, $at:literal, $operation:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx2,vaes")]
        #[inline]
        unsafe fn $name(keys: &RoundKeys, x: &mut [__m256i; 8]) {
            // Reads the round key, changes the named registers.
                asm!(
                    "vbroadcasti128 ymm15, [{keys} + {at}]",
                    $(concat!($operation, " {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    $($x = inout(ymm_reg) x[$i],)*
                    out("ymm15") _, keys = in(reg) keys.as_ptr(), at = const $at,
                    options(readonly, nostack, preserves_flags)
                );
        }
    };
}

impl Vector<2> for __m256i {
    #[inline(always)]
    unsafe fn zero() -> Self {
        _mm256_setzero_si256()
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        _mm256_loadu_si256(source.cast())
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        _mm256_storeu_si256(target.cast(), self)
    }

    #[inline(always)]
    unsafe fn load_exact(source: *const u8, len: usize) -> Self {
        // The halves are cut at `len`.
        if len > 16 {
            _mm256_set_m128i(load_short(source.add(16), len - 16), _mm_loadu_si128(source.cast()))
        } else {
            _mm256_zextsi128_si256(load_short(source, len))
        }
    }

    #[inline(always)]
    unsafe fn crypt_tail<const SEAL: bool>(text_inout: *mut u8, len: usize, stream: Self) -> Self {
        // In bounds: a half is touched only if text begins in it.
        if len > 16 {
            let low = crypt_block_tail::<SEAL>(text_inout, 16, _mm256_castsi256_si128(stream));
            let stream = _mm256_extracti128_si256::<1>(stream);
            let high = crypt_block_tail::<SEAL>(text_inout.add(16), len - 16, stream);
            _mm256_set_m128i(high, low)
        } else if len > 0 {
            let low = crypt_block_tail::<SEAL>(text_inout, len, _mm256_castsi256_si128(stream));
            _mm256_zextsi128_si256(low)
        } else {
            Self::zero()
        }
    }

    #[inline(always)]
    unsafe fn splat(block: *const u8) -> Self {
        _mm256_broadcastsi128_si256(_mm_loadu_si128(block.cast()))
    }

    #[inline(always)]
    unsafe fn splat_nonce(nonce: &[u8; 12]) -> Self {
        // In bounds: twelve bytes are read.
        let low = _mm_loadl_epi64(nonce.as_ptr().cast());
        let high = nonce.as_ptr().add(8).cast::<i32>().read_unaligned();
        _mm256_broadcastsi128_si256(_mm_insert_epi32::<2>(low, high))
    }

    #[inline(always)]
    unsafe fn ramp(first: u32, step: u32) -> Self {
        _mm256_set_epi32(first.wrapping_add(step) as i32, 0, 0, 0, first as i32, 0, 0, 0)
    }

    #[inline(always)]
    unsafe fn first(low: u64, high: u64) -> Self {
        _mm256_zextsi128_si256(_mm_set_epi64x(high as i64, low as i64))
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        _mm256_xor_si256(self, other)
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        _mm256_xor_si256(self, _mm256_xor_si256(b, c))
    }

    #[inline(always)]
    unsafe fn add32(self, other: Self) -> Self {
        _mm256_add_epi32(self, other)
    }

    #[inline(always)]
    unsafe fn reverse(self) -> Self {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm256_shuffle_epi8(self, _mm256_broadcastsi128_si256(order))
    }

    #[inline(always)]
    unsafe fn reverse_counter(self) -> Self {
        let order = _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        _mm256_shuffle_epi8(self, _mm256_broadcastsi128_si256(order))
    }

    #[inline(always)]
    unsafe fn swap_halves(self) -> Self {
        _mm256_shuffle_epi32::<0x4e>(self)
    }

    #[inline(always)]
    unsafe fn clmul<const HALVES: i32>(self, other: Self) -> Self {
        _mm256_clmulepi64_epi128::<HALVES>(self, other)
    }

    #[inline(always)]
    unsafe fn fold(self) -> Self {
        let high = _mm256_extracti128_si256::<1>(self);
        _mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(self), high))
    }

    #[inline(always)]
    unsafe fn gather(sources: [*const u8; 4]) -> [Self; 2] {
        let low = _mm256_set_m128i(_mm_loadu_si128(sources[1].cast()), _mm_loadu_si128(sources[0].cast()));
        let high = _mm256_set_m128i(_mm_loadu_si128(sources[3].cast()), _mm_loadu_si128(sources[2].cast()));
        [low, high]
    }

    #[inline(always)]
    unsafe fn gather_exact(sources: [*const u8; 4], lens: [usize; 4]) -> [Self; 2] {
        // In bounds: no more than `lens` is read.
        let low = _mm256_set_m128i(load_short(sources[1], lens[1]), load_short(sources[0], lens[0]));
        let high = _mm256_set_m128i(load_short(sources[3], lens[3]), load_short(sources[2], lens[2]));
        [low, high]
    }

    #[inline(always)]
    unsafe fn scatter(quad: [Self; 2], targets: [*mut u8; 4]) {
        _mm_storeu_si128(targets[0].cast(), _mm256_castsi256_si128(quad[0]));
        _mm_storeu_si128(targets[1].cast(), _mm256_extracti128_si256::<1>(quad[0]));
        _mm_storeu_si128(targets[2].cast(), _mm256_castsi256_si128(quad[1]));
        _mm_storeu_si128(targets[3].cast(), _mm256_extracti128_si256::<1>(quad[1]));
    }

    #[inline(always)]
    unsafe fn quad_of_firsts(vectors: [Self; 4]) -> [Self; 2] {
        let [a, b, c, d] = vectors;
        [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x20>(c, d)]
    }

    #[inline(always)]
    unsafe fn quad_of_folds(vectors: [Self; 4]) -> [Self; 2] {
        let [a, b, c, d] = vectors;
        let low = _mm256_xor_si256(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
        let high = _mm256_xor_si256(_mm256_permute2x128_si256::<0x20>(c, d), _mm256_permute2x128_si256::<0x31>(c, d));
        [low, high]
    }

    #[inline(always)]
    unsafe fn quad_of_words(low: [u64; 4], high: [u64; 4]) -> [Self; 2] {
        let [l0, l1, l2, l3] = low.map(|word| word as i64);
        let [h0, h1, h2, h3] = high.map(|word| word as i64);
        [_mm256_set_epi64x(h1, l1, h0, l0), _mm256_set_epi64x(h3, l3, h2, l2)]
    }

    #[inline(always)]
    unsafe fn differences(a: [Self; 2], b: [Self; 2]) -> u32 {
        let low = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a[0], b[0])));
        let high = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a[1], b[1])));
        (low | high << 4) as u32 ^ 0xff
    }

    #[inline(always)]
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; 2]) {
        let mut all = [x[0], x[1], x[2], x[3], quad[0], quad[1]];
        aes6(keys, &mut all);
        [x[0], x[1], x[2], x[3], quad[0], quad[1]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; 2]) {
        let mut all = [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1]];
        aes10(keys, &mut all);
        [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1]] = all;
    }

    aes_function!(aes4, 4, a 0 b 1 c 2 d 3);
    aes_function!(aes8, 8, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
    round_function!(aes8_whiten, 0, "vpxor", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
    round_function!(aes8_last, 224, "vaesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);

    #[target_feature(enable = "avx2,vaes,vpclmulqdq")]
    #[inline]
    unsafe fn aes8_round_add<const ROUND: usize>(
        keys: &RoundKeys,
        x: &mut [__m256i; 8],
        sum: ProductSum<__m256i>,
        blocks: __m256i,
        h: __m256i,
        d: __m256i,
    ) -> ProductSum<__m256i> {
        let (mut r, mut f) = (sum.r, sum.f);
        let _t: __m256i;
        // Reads the round key, changes the named registers.
        asm!(
            "vbroadcasti128 ymm15, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, {d}, 0x10",
            "vaesenc {x0}, {x0}, ymm15", "vaesenc {x1}, {x1}, ymm15",
            "vpxor {r}, {r}, {t}",
            "vpclmulqdq {t}, {blocks}, {h}, 0x11",
            "vaesenc {x2}, {x2}, ymm15", "vaesenc {x3}, {x3}, ymm15",
            "vpxor {r}, {r}, {t}",
            "vpclmulqdq {t}, {blocks}, {d}, 0x00",
            "vaesenc {x4}, {x4}, ymm15", "vaesenc {x5}, {x5}, ymm15",
            "vpxor {f}, {f}, {t}",
            "vpclmulqdq {t}, {blocks}, {h}, 0x01",
            "vaesenc {x6}, {x6}, ymm15", "vaesenc {x7}, {x7}, ymm15",
            "vpxor {f}, {f}, {t}",
            x0 = inout(ymm_reg) x[0], x1 = inout(ymm_reg) x[1], x2 = inout(ymm_reg) x[2],
            x3 = inout(ymm_reg) x[3], x4 = inout(ymm_reg) x[4], x5 = inout(ymm_reg) x[5],
            x6 = inout(ymm_reg) x[6], x7 = inout(ymm_reg) x[7],
            blocks = in(ymm_reg) blocks, h = in(ymm_reg) h, d = in(ymm_reg) d,
            r = inout(ymm_reg) r, f = inout(ymm_reg) f, t = out(ymm_reg) _t,
            out("ymm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
        ProductSum { r, f }
    }

    #[target_feature(enable = "avx2,vaes,vpclmulqdq")]
    #[inline]
    unsafe fn aes8_round_half<const ROUND: usize, const HALF: i32>(
        keys: &RoundKeys,
        x: &mut [__m256i; 8],
        sum: __m256i,
        blocks: __m256i,
        h: __m256i,
        d: __m256i,
    ) -> __m256i {
        let mut sum = sum;
        let _t: __m256i;
        // Reads the round key, changes the named registers.
        asm!(
            "vbroadcasti128 ymm15, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, {d}, {with_d}",
            "vaesenc {x0}, {x0}, ymm15", "vaesenc {x1}, {x1}, ymm15", "vaesenc {x2}, {x2}, ymm15",
            "vaesenc {x3}, {x3}, ymm15",
            "vpxor {sum}, {sum}, {t}",
            "vpclmulqdq {t}, {blocks}, {h}, {with_h}",
            "vaesenc {x4}, {x4}, ymm15", "vaesenc {x5}, {x5}, ymm15", "vaesenc {x6}, {x6}, ymm15",
            "vaesenc {x7}, {x7}, ymm15",
            "vpxor {sum}, {sum}, {t}",
            x0 = inout(ymm_reg) x[0], x1 = inout(ymm_reg) x[1], x2 = inout(ymm_reg) x[2],
            x3 = inout(ymm_reg) x[3], x4 = inout(ymm_reg) x[4], x5 = inout(ymm_reg) x[5],
            x6 = inout(ymm_reg) x[6], x7 = inout(ymm_reg) x[7],
            blocks = in(ymm_reg) blocks, h = in(ymm_reg) h, d = in(ymm_reg) d,
            sum = inout(ymm_reg) sum, t = out(ymm_reg) _t,
            with_d = const HALF, with_h = const HALF | 1,
            out("ymm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
        sum
    }
}
