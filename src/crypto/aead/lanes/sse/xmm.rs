//! The 128-bit vector: one block, AES-NI and PCLMULQDQ on XMM registers (legacy encoding: no AVX needed).
//!
//! LLVM runs chains of AES rounds one after another to save registers, and moves products out from between them; both cost a
//! quarter of the speed and more. So rounds are assembly: one block stays as it is written.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;

/// Sliding it over 32 bytes makes masks: ones, then zeros.
static MASKS: [[u8; 16]; 2] = [[0xff; 16], [0; 16]];

/// Reads exactly `len <= 16` bytes; the rest is zero.
///
/// # Safety
/// `source` is good for `len` bytes; SSE2.
#[inline(always)]
pub(in crate::crypto::aead::lanes) unsafe fn load_short(source: *const u8, len: usize) -> __m128i {
    // Two reads that overlap, of the size that fits: never a byte outside.
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
    // In bounds: the text is followed by the space for its tag, so 16 bytes from any byte of text are good; the mask is a
    // window on `MASKS`.
    let mask = _mm_loadu_si128(MASKS.as_ptr().cast::<u8>().add(16 - len).cast());
    let before = _mm_loadu_si128(text_inout.cast());
    let after = _mm_xor_si128(before, _mm_and_si128(stream, mask));
    _mm_storeu_si128(text_inout.cast(), after);
    _mm_and_si128(if SEAL { after } else { before }, mask)
}

/// AES-256 of several vectors.
macro_rules! aes_function {
    ($name:ident, $count:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "aes,sse2")]
        #[inline]
        unsafe fn $name(keys: &RoundKeys, x: &mut [__m128i; $count]) {
            // Reads the round keys, changes the named registers.
                asm!(
                    "movdqu xmm15, [{keys}]",
                    $(concat!("pxor {", stringify!($x), "}, xmm15"),)*
                    ".set o, 16", ".rept 13",
                    "movdqu xmm15, [{keys} + o]",
                    $(concat!("aesenc {", stringify!($x), "}, xmm15"),)*
                    ".set o, o + 16", ".endr",
                    "movdqu xmm15, [{keys} + 224]",
                    $(concat!("aesenclast {", stringify!($x), "}, xmm15"),)*
                    $($x = inout(xmm_reg) x[$i],)*
                    out("xmm15") _, keys = in(reg) keys.as_ptr(),
                    options(pure, readonly, nostack, preserves_flags)
                );
        }
    };
}
aes_function!(aes12, 12, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9 k 10 l 11);

/// One operation on eight blocks with the round key at byte `at`.
macro_rules! round_function {
    ($name:ident, $at:literal, $operation:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "aes,sse2")]
        #[inline]
        unsafe fn $name(keys: &RoundKeys, x: &mut [__m128i; 8]) {
            // Reads the round key, changes the named registers.
                asm!(
                    "movdqu xmm15, [{keys} + {at}]",
                    $(concat!($operation, " {", stringify!($x), "}, xmm15"),)*
                    $($x = inout(xmm_reg) x[$i],)*
                    out("xmm15") _, keys = in(reg) keys.as_ptr(), at = const $at,
                    options(readonly, nostack, preserves_flags)
                );
        }
    };
}

impl Vector<4> for __m128i {
    #[inline(always)]
    unsafe fn zero() -> Self {
        _mm_setzero_si128()
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        _mm_loadu_si128(source.cast())
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        _mm_storeu_si128(target.cast(), self)
    }

    #[inline(always)]
    unsafe fn load_exact(source: *const u8, len: usize) -> Self {
        load_short(source, len)
    }

    #[inline(always)]
    unsafe fn crypt_tail<const SEAL: bool>(text_inout: *mut u8, len: usize, stream: Self) -> Self {
        // In bounds: nothing is touched if there is no text.
        if len > 0 { crypt_block_tail::<SEAL>(text_inout, len, stream) } else { Self::zero() }
    }

    #[inline(always)]
    unsafe fn splat(block: *const u8) -> Self {
        _mm_loadu_si128(block.cast())
    }

    #[inline(always)]
    unsafe fn splat_nonce(nonce: &[u8; 12]) -> Self {
        // In bounds: twelve bytes are read.
        let low = _mm_loadl_epi64(nonce.as_ptr().cast());
        let high = nonce.as_ptr().add(8).cast::<i32>().read_unaligned();
        _mm_insert_epi32::<2>(low, high)
    }

    #[inline(always)]
    unsafe fn ramp(first: u32, _step: u32) -> Self {
        _mm_set_epi32(first as i32, 0, 0, 0)
    }

    #[inline(always)]
    unsafe fn first(low: u64, high: u64) -> Self {
        _mm_set_epi64x(high as i64, low as i64)
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        _mm_xor_si128(self, other)
    }

    #[inline(always)]
    unsafe fn xor3(self, b: Self, c: Self) -> Self {
        _mm_xor_si128(self, _mm_xor_si128(b, c))
    }

    #[inline(always)]
    unsafe fn add32(self, other: Self) -> Self {
        _mm_add_epi32(self, other)
    }

    #[inline(always)]
    unsafe fn reverse(self) -> Self {
        let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm_shuffle_epi8(self, order)
    }

    #[inline(always)]
    unsafe fn reverse_counter(self) -> Self {
        let order = _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        _mm_shuffle_epi8(self, order)
    }

    #[inline(always)]
    unsafe fn swap_halves(self) -> Self {
        _mm_shuffle_epi32::<0x4e>(self)
    }

    #[inline(always)]
    unsafe fn clmul<const HALVES: i32>(self, other: Self) -> Self {
        _mm_clmulepi64_si128::<HALVES>(self, other)
    }

    #[inline(always)]
    unsafe fn fold(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn gather(sources: [*const u8; 4]) -> [Self; 4] {
        [Self::load(sources[0]), Self::load(sources[1]), Self::load(sources[2]), Self::load(sources[3])]
    }

    #[inline(always)]
    unsafe fn gather_exact(sources: [*const u8; 4], lens: [usize; 4]) -> [Self; 4] {
        // In bounds: no more than `lens` is read.
        [
            load_short(sources[0], lens[0]),
            load_short(sources[1], lens[1]),
            load_short(sources[2], lens[2]),
            load_short(sources[3], lens[3]),
        ]
    }

    #[inline(always)]
    unsafe fn scatter(quad: [Self; 4], targets: [*mut u8; 4]) {
        for (block, target) in quad.into_iter().zip(targets) {
            block.store(target)
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
        [
            Self::first(low[0], high[0]),
            Self::first(low[1], high[1]),
            Self::first(low[2], high[2]),
            Self::first(low[3], high[3]),
        ]
    }

    #[inline(always)]
    unsafe fn differences(a: [Self; 4], b: [Self; 4]) -> u32 {
        let mut equal = 0;
        for m in 0..4 {
            equal |= _mm_movemask_pd(_mm_castsi128_pd(_mm_cmpeq_epi64(a[m], b[m]))) << (2 * m);
        }
        equal as u32 ^ 0xff
    }

    #[inline(always)]
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; 4]) {
        let mut all = [x[0], x[1], x[2], x[3], quad[0], quad[1], quad[2], quad[3]];
        Self::aes8(keys, &mut all);
        [x[0], x[1], x[2], x[3], quad[0], quad[1], quad[2], quad[3]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; 4]) {
        let mut all = [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1], quad[2], quad[3]];
        aes12(keys, &mut all);
        [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0], quad[1], quad[2], quad[3]] = all;
    }

    aes_function!(aes4, 4, a 0 b 1 c 2 d 3);
    aes_function!(aes8, 8, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
    round_function!(aes8_whiten, 0, "pxor", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
    round_function!(aes8_last, 224, "aesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);

    #[target_feature(enable = "aes,pclmulqdq,sse2")]
    #[inline]
    unsafe fn aes8_round_add<const ROUND: usize>(
        keys: &RoundKeys,
        x: &mut [__m128i; 8],
        sum: ProductSum<__m128i>,
        blocks: __m128i,
        h: __m128i,
        d: __m128i,
    ) -> ProductSum<__m128i> {
        let (mut r, mut f) = (sum.r, sum.f);
        let _t: __m128i;
        // Reads the round key, changes the named registers.
        asm!(
            "movdqu xmm15, [{keys} + {at}]",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {d}, 0x10",
            "aesenc {x0}, xmm15", "aesenc {x1}, xmm15",
            "pxor {r}, {t}",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {h}, 0x11",
            "aesenc {x2}, xmm15", "aesenc {x3}, xmm15",
            "pxor {r}, {t}",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {d}, 0x00",
            "aesenc {x4}, xmm15", "aesenc {x5}, xmm15",
            "pxor {f}, {t}",
            "pclmulqdq {blocks}, {h}, 0x01",
            "aesenc {x6}, xmm15", "aesenc {x7}, xmm15",
            "pxor {f}, {blocks}",
            x0 = inout(xmm_reg) x[0], x1 = inout(xmm_reg) x[1], x2 = inout(xmm_reg) x[2],
            x3 = inout(xmm_reg) x[3], x4 = inout(xmm_reg) x[4], x5 = inout(xmm_reg) x[5],
            x6 = inout(xmm_reg) x[6], x7 = inout(xmm_reg) x[7],
            blocks = inout(xmm_reg) blocks => _, h = in(xmm_reg) h, d = in(xmm_reg) d,
            r = inout(xmm_reg) r, f = inout(xmm_reg) f, t = out(xmm_reg) _t,
            out("xmm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
        ProductSum { r, f }
    }

    #[target_feature(enable = "aes,pclmulqdq,sse2")]
    #[inline]
    unsafe fn aes8_round_half<const ROUND: usize, const HALF: i32>(
        keys: &RoundKeys,
        x: &mut [__m128i; 8],
        sum: __m128i,
        blocks: __m128i,
        h: __m128i,
        d: __m128i,
    ) -> __m128i {
        let mut sum = sum;
        let _t: __m128i;
        // Reads the round key, changes the named registers.
        asm!(
            "movdqu xmm15, [{keys} + {at}]",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {d}, {with_d}",
            "aesenc {x0}, xmm15", "aesenc {x1}, xmm15", "aesenc {x2}, xmm15", "aesenc {x3}, xmm15",
            "pxor {sum}, {t}",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {h}, {with_h}",
            "aesenc {x4}, xmm15", "aesenc {x5}, xmm15", "aesenc {x6}, xmm15", "aesenc {x7}, xmm15",
            "pxor {sum}, {t}",
            x0 = inout(xmm_reg) x[0], x1 = inout(xmm_reg) x[1], x2 = inout(xmm_reg) x[2],
            x3 = inout(xmm_reg) x[3], x4 = inout(xmm_reg) x[4], x5 = inout(xmm_reg) x[5],
            x6 = inout(xmm_reg) x[6], x7 = inout(xmm_reg) x[7],
            blocks = in(xmm_reg) blocks, h = in(xmm_reg) h, d = in(xmm_reg) d,
            sum = inout(xmm_reg) sum, t = out(xmm_reg) _t,
            with_d = const HALF, with_h = const HALF | 1,
            out("xmm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
        sum
    }
}
