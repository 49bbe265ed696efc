//! The 512-bit vector: four blocks, VAES and VPCLMULQDQ on ZMM registers, masked loads and stores.
//!
//! LLVM runs chains of AES rounds one after another to save registers, and moves products out from between them; both cost a
//! quarter of the speed and more. So rounds are assembly: one block stays as it is written.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;

/// A bit for each of the first `len <= 64` bytes.
#[inline(always)]
unsafe fn first_bytes(len: usize) -> u64 {
    debug_assert!(len <= 64);
    _bzhi_u64(!0, len as u32)
}

/// 16 bytes from each address.
#[inline(always)]
unsafe fn four_blocks(blocks: [__m128i; 4]) -> __m512i {
    let v = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(blocks[0]), blocks[1]);
    let v = _mm512_inserti32x4::<2>(v, blocks[2]);
    _mm512_inserti32x4::<3>(v, blocks[3])
}

/// AES-256 of several vectors.
macro_rules! aes_function {
    ($name:ident, $count:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx512f,vaes")]
        #[inline]
        unsafe fn $name(keys: &RoundKeys, x: &mut [__m512i; $count]) {
            // Reads the round keys, changes the named registers.
                asm!(
                    "vbroadcasti32x4 zmm31, [{keys}]",
                    $(concat!("vpxorq {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    ".set o, 16", ".rept 13",
                    "vbroadcasti32x4 zmm31, [{keys} + o]",
                    $(concat!("vaesenc {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    ".set o, o + 16", ".endr",
                    "vbroadcasti32x4 zmm31, [{keys} + 224]",
                    $(concat!("vaesenclast {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    $($x = inout(zmm_reg) x[$i],)*
                    out("zmm31") _, keys = in(reg) keys.as_ptr(),
                    options(pure, readonly, nostack, preserves_flags)
                );
        }
    };
}
aes_function!(aes5, 5, a 0 b 1 c 2 d 3 e 4);
aes_function!(aes9, 9, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8);

/// One operation on eight vectors with the round key at byte `at`.
macro_rules! round_function {
    ($name:ident, $at:literal, $operation:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx512f,vaes")]
        #[inline]
        unsafe fn $name(keys: &RoundKeys, x: &mut [__m512i; 8]) {
            // Reads the round key, changes the named registers.
                asm!(
                    "vbroadcasti32x4 zmm31, [{keys} + {at}]",
                    $(concat!($operation, " {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    $($x = inout(zmm_reg) x[$i],)*
                    out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const $at,
                    options(readonly, nostack, preserves_flags)
                );
        }
    };
}

impl Vector<1> for __m512i {
    #[inline(always)]
    unsafe fn zero() -> Self {
        _mm512_setzero_si512()
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        _mm512_loadu_si512(source.cast())
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        _mm512_storeu_si512(target.cast(), self)
    }

    #[inline(always)]
    unsafe fn load_exact(source: *const u8, len: usize) -> Self {
        // In bounds: masked bytes are not accessed.
        _mm512_maskz_loadu_epi8(first_bytes(len), source.cast())
    }

    #[inline(always)]
    unsafe fn crypt_tail<const SEAL: bool>(text_inout: *mut u8, len: usize, stream: Self) -> Self {
        // In bounds: masked bytes are not accessed.
        let mask = first_bytes(len);
        let before = _mm512_maskz_loadu_epi8(mask, text_inout.cast());
        let after = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(before, stream));
        _mm512_mask_storeu_epi8(text_inout.cast(), mask, after);
        if SEAL { after } else { before }
    }

    #[inline(always)]
    unsafe fn splat(block: *const u8) -> Self {
        _mm512_broadcast_i32x4(_mm_loadu_si128(block.cast()))
    }

    #[inline(always)]
    unsafe fn splat_nonce(nonce: &[u8; 12]) -> Self {
        // The mask takes twelve bytes.
        _mm512_broadcast_i32x4(_mm_maskz_loadu_epi32(0b0111, nonce.as_ptr().cast()))
    }

    #[inline(always)]
    unsafe fn ramp(first: u32, step: u32) -> Self {
        let at = |i: u32| first.wrapping_add(step.wrapping_mul(i)) as i32;
        _mm512_set_epi32(at(3), 0, 0, 0, at(2), 0, 0, 0, at(1), 0, 0, 0, at(0), 0, 0, 0)
    }

    #[inline(always)]
    unsafe fn first(low: u64, high: u64) -> Self {
        _mm512_zextsi128_si512(_mm_set_epi64x(high as i64, low as i64))
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        _mm512_xor_si512(self, other)
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        _mm512_ternarylogic_epi64::<0x96>(self, b, c)
    }

    #[inline(always)]
    unsafe fn add32(self, other: Self) -> Self {
        _mm512_add_epi32(self, other)
    }

    #[inline(always)]
    unsafe fn reverse(self) -> Self {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm512_shuffle_epi8(self, _mm512_broadcast_i32x4(order))
    }

    #[inline(always)]
    unsafe fn reverse_counter(self) -> Self {
        let order = _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        _mm512_shuffle_epi8(self, _mm512_broadcast_i32x4(order))
    }

    #[inline(always)]
    unsafe fn swap_halves(self) -> Self {
        _mm512_shuffle_epi32::<0x4e>(self)
    }

    #[inline(always)]
    unsafe fn clmul<const HALVES: i32>(self, other: Self) -> Self {
        _mm512_clmulepi64_epi128::<HALVES>(self, other)
    }

    #[inline(always)]
    unsafe fn fold(self) -> Self {
        let two = _mm256_xor_si256(_mm512_castsi512_si256(self), _mm512_extracti64x4_epi64::<1>(self));
        let one = _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two));
        _mm512_zextsi128_si512(one)
    }

    #[inline(always)]
    unsafe fn gather(sources: [*const u8; 4]) -> [Self; 1] {
        [four_blocks([
            _mm_loadu_si128(sources[0].cast()),
            _mm_loadu_si128(sources[1].cast()),
            _mm_loadu_si128(sources[2].cast()),
            _mm_loadu_si128(sources[3].cast()),
        ])]
    }

    #[inline(always)]
    unsafe fn gather_exact(sources: [*const u8; 4], lens: [usize; 4]) -> [Self; 1] {
        // In bounds: masked bytes are not accessed.
        [four_blocks([
            _mm_maskz_loadu_epi8(first_bytes(lens[0]) as u16, sources[0].cast()),
            _mm_maskz_loadu_epi8(first_bytes(lens[1]) as u16, sources[1].cast()),
            _mm_maskz_loadu_epi8(first_bytes(lens[2]) as u16, sources[2].cast()),
            _mm_maskz_loadu_epi8(first_bytes(lens[3]) as u16, sources[3].cast()),
        ])]
    }

    #[inline(always)]
    unsafe fn scatter(quad: [Self; 1], targets: [*mut u8; 4]) {
        let [blocks] = quad;
        _mm_storeu_si128(targets[0].cast(), _mm512_castsi512_si128(blocks));
        _mm_storeu_si128(targets[1].cast(), _mm512_extracti32x4_epi32::<1>(blocks));
        _mm_storeu_si128(targets[2].cast(), _mm512_extracti32x4_epi32::<2>(blocks));
        _mm_storeu_si128(targets[3].cast(), _mm512_extracti32x4_epi32::<3>(blocks));
    }

    #[inline(always)]
    unsafe fn quad_of_firsts(vectors: [Self; 4]) -> [Self; 1] {
        let [a, b, c, d] = vectors;
        let low = _mm512_shuffle_i64x2::<0x00>(a, b);
        let high = _mm512_shuffle_i64x2::<0x00>(c, d);
        [_mm512_shuffle_i64x2::<0x88>(low, high)]
    }

    #[inline(always)]
    unsafe fn quad_of_folds(vectors: [Self; 4]) -> [Self; 1] {
        let [a, b, c, d] = vectors;
        let low = _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
        let high = _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(c, d), _mm512_shuffle_i64x2::<0xee>(c, d));
        [_mm512_xor_si512(_mm512_shuffle_i64x2::<0x88>(low, high), _mm512_shuffle_i64x2::<0xdd>(low, high))]
    }

    #[inline(always)]
    unsafe fn quad_of_words(low: [u64; 4], high: [u64; 4]) -> [Self; 1] {
        let [l0, l1, l2, l3] = low.map(|word| word as i64);
        let [h0, h1, h2, h3] = high.map(|word| word as i64);
        [_mm512_set_epi64(h3, l3, h2, l2, h1, l1, h0, l0)]
    }

    #[inline(always)]
    unsafe fn differences(a: [Self; 1], b: [Self; 1]) -> u32 {
        u32::from(_mm512_cmpneq_epi64_mask(a[0], b[0]))
    }

    #[inline(always)]
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; 1]) {
        let mut all = [x[0], x[1], x[2], x[3], quad[0]];
        aes5(keys, &mut all);
        [x[0], x[1], x[2], x[3], quad[0]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; 1]) {
        let mut all = [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0]];
        aes9(keys, &mut all);
        [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0]] = all;
    }

    aes_function!(aes4, 4, a 0 b 1 c 2 d 3);
    aes_function!(aes8, 8, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
    round_function!(aes8_whiten, 0, "vpxorq", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
    round_function!(aes8_last, 224, "vaesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);

    #[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
    #[inline]
    unsafe fn aes8_round_add<const ROUND: usize>(
        keys: &RoundKeys,
        x: &mut [__m512i; 8],
        sum: ProductSum<__m512i>,
        blocks: __m512i,
        h: __m512i,
        d: __m512i,
    ) -> ProductSum<__m512i> {
        let (mut r, mut f) = (sum.r, sum.f);
        let _t: __m512i;
        let _u: __m512i;
        // Reads the round key, changes the named registers.
        asm!(
            "vbroadcasti32x4 zmm31, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, {d}, 0x10",
            "vaesenc {x0}, {x0}, zmm31", "vaesenc {x1}, {x1}, zmm31", "vaesenc {x2}, {x2}, zmm31",
            "vpclmulqdq {u}, {blocks}, {h}, 0x11",
            "vaesenc {x3}, {x3}, zmm31", "vaesenc {x4}, {x4}, zmm31", "vaesenc {x5}, {x5}, zmm31",
            "vpternlogq {r}, {t}, {u}, 0x96",
            "vpclmulqdq {t}, {blocks}, {d}, 0x00",
            "vaesenc {x6}, {x6}, zmm31", "vaesenc {x7}, {x7}, zmm31",
            "vpclmulqdq {u}, {blocks}, {h}, 0x01",
            "vpternlogq {f}, {t}, {u}, 0x96",
            x0 = inout(zmm_reg) x[0], x1 = inout(zmm_reg) x[1], x2 = inout(zmm_reg) x[2],
            x3 = inout(zmm_reg) x[3], x4 = inout(zmm_reg) x[4], x5 = inout(zmm_reg) x[5],
            x6 = inout(zmm_reg) x[6], x7 = inout(zmm_reg) x[7],
            blocks = in(zmm_reg) blocks, h = in(zmm_reg) h, d = in(zmm_reg) d,
            r = inout(zmm_reg) r, f = inout(zmm_reg) f, t = out(zmm_reg) _t, u = out(zmm_reg) _u,
            out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
        ProductSum { r, f }
    }

    #[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
    #[inline]
    unsafe fn aes8_round_half<const ROUND: usize, const HALF: i32>(
        keys: &RoundKeys,
        x: &mut [__m512i; 8],
        sum: __m512i,
        blocks: __m512i,
        h: __m512i,
        d: __m512i,
    ) -> __m512i {
        let mut sum = sum;
        let _t: __m512i;
        let _u: __m512i;
        // Reads the round key, changes the named registers.
        asm!(
            "vbroadcasti32x4 zmm31, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, {d}, {with_d}",
            "vaesenc {x0}, {x0}, zmm31", "vaesenc {x1}, {x1}, zmm31", "vaesenc {x2}, {x2}, zmm31",
            "vaesenc {x3}, {x3}, zmm31",
            "vpclmulqdq {u}, {blocks}, {h}, {with_h}",
            "vaesenc {x4}, {x4}, zmm31", "vaesenc {x5}, {x5}, zmm31", "vaesenc {x6}, {x6}, zmm31",
            "vaesenc {x7}, {x7}, zmm31",
            "vpternlogq {sum}, {t}, {u}, 0x96",
            x0 = inout(zmm_reg) x[0], x1 = inout(zmm_reg) x[1], x2 = inout(zmm_reg) x[2],
            x3 = inout(zmm_reg) x[3], x4 = inout(zmm_reg) x[4], x5 = inout(zmm_reg) x[5],
            x6 = inout(zmm_reg) x[6], x7 = inout(zmm_reg) x[7],
            blocks = in(zmm_reg) blocks, h = in(zmm_reg) h, d = in(zmm_reg) d,
            sum = inout(zmm_reg) sum, t = out(zmm_reg) _t, u = out(zmm_reg) _u,
            with_d = const HALF, with_h = const HALF | 1,
            out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
        sum
    }
}
