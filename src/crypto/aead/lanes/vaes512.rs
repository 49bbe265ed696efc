//! The 512-bit vector: four blocks, VAES and VPCLMULQDQ on ZMM registers, masked loads and stores.

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::mem::offset_of;

use crate::crypto::aead::KEY_LEN;
use crate::crypto::aead::Message;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::Verdict;
use crate::crypto::aead::cpu::HasVaes512;
use crate::crypto::aead::lanes::Kernel;
use crate::crypto::aead::lanes::alike;
use crate::crypto::aead::lanes::eights;
use crate::crypto::aead::lanes::eights::Power;
use crate::crypto::aead::lanes::eights::Wide;
use crate::crypto::aead::lanes::group;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::long;
use crate::crypto::aead::lanes::rounds512;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::tags;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::tags::TagMessage;

impl Kernel for HasVaes512 {
    const TIER: &'static str = "vaes512";

    fn fill(self, table: &mut Table, key: &[u8; KEY_LEN]) {
        // SAFETY: `self` proves the features.
        unsafe { table.fill(key) }
    }

    fn fill_for_tags(self, table: &mut Table, authentication: &[u8; 16], encryption: &[u8; 32]) {
        // SAFETY: `self` proves the features.
        unsafe { table.fill_for_tags(authentication, encryption) }
    }

    fn tags(self, table: &Table, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]) {
        // SAFETY: `self` proves the features.
        unsafe { tag(table, messages, tags_inout) }
    }

    fn four<const SEAL: bool>(self, table: &Table, messages: [&mut Message<'_>; 4]) -> u32 {
        // SAFETY: `self` proves the features; the caller checked the lengths.
        unsafe { four::<SEAL>(table, messages) }
    }

    fn alike<const SEAL: bool>(self, table: &Table, messages: &mut [Message<'_>], verdicts: &mut [Verdict]) -> usize {
        // SAFETY: `self` proves the features; the caller checked the lengths.
        unsafe { alike::<SEAL>(table, messages, verdicts) }
    }

    fn one<const SEAL: bool>(self, table: &Table, message: &mut Message<'_>) -> bool {
        // SAFETY: `self` proves the features; the caller checked the length.
        unsafe { one::<SEAL>(table, message) }
    }

    fn clear(self) {
        // SAFETY: `self` proves the features.
        unsafe { clear() }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline(never)]
unsafe fn tag(table: &Table, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]) {
    // SAFETY: the features are those of this function.
    unsafe { tags::tags::<Zmm, 1>(table, messages, tags_inout) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline(never)]
unsafe fn four<const SEAL: bool>(table: &Table, messages: [&mut Message<'_>; 4]) -> u32 {
    // SAFETY: the features are those of this function.
    unsafe { group::four::<Zmm, 1, SEAL>(table, messages) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline(never)]
unsafe fn alike<const SEAL: bool>(table: &Table, messages: &mut [Message<'_>], verdicts: &mut [Verdict]) -> usize {
    // SAFETY: the features are those of this function.
    unsafe {
        let len = messages[0].text_inout.len() - TAG_LEN;
        if messages.len() >= 8 && len == Zmm::BYTES {
            eights::eights::<Zmm, SEAL, true>(table, messages, verdicts)
        } else if messages.len() >= 8 && len < Zmm::BYTES {
            eights::eights::<Zmm, SEAL, false>(table, messages, verdicts)
        } else {
            alike::fours::<Zmm, 1, SEAL>(table, messages, verdicts)
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline(never)]
unsafe fn one<const SEAL: bool>(table: &Table, message: &mut Message<'_>) -> bool {
    // SAFETY: the features are those of this function.
    unsafe { long::one::<Zmm, 1, SEAL>(table, message) }
}

/// Stack that [`clear`] zeroes, in vectors: the frames of the kernels and of what calls them.
const STACK_VECTORS: usize = 32;

#[target_feature(enable = "avx512f")]
#[inline(never)]
fn clear() {
    let mut room = MaybeUninit::<[__m512i; STACK_VECTORS]>::uninit();
    room.write([_mm512_setzero_si512(); STACK_VECTORS]);
    // SAFETY: changes registers only; that it may read `room` keeps the zeros from being left out.
    unsafe {
        asm!(
            "vpxor xmm0, xmm0, xmm0", "vpxor xmm1, xmm1, xmm1", "vpxor xmm2, xmm2, xmm2", "vpxor xmm3, xmm3, xmm3",
            "vpxor xmm4, xmm4, xmm4", "vpxor xmm5, xmm5, xmm5", "vpxor xmm6, xmm6, xmm6", "vpxor xmm7, xmm7, xmm7",
            "vpxor xmm8, xmm8, xmm8", "vpxor xmm9, xmm9, xmm9", "vpxor xmm10, xmm10, xmm10",
            "vpxor xmm11, xmm11, xmm11", "vpxor xmm12, xmm12, xmm12", "vpxor xmm13, xmm13, xmm13",
            "vpxor xmm14, xmm14, xmm14", "vpxor xmm15, xmm15, xmm15",
            "vpxord zmm16, zmm16, zmm16", "vpxord zmm17, zmm17, zmm17", "vpxord zmm18, zmm18, zmm18",
            "vpxord zmm19, zmm19, zmm19", "vpxord zmm20, zmm20, zmm20", "vpxord zmm21, zmm21, zmm21",
            "vpxord zmm22, zmm22, zmm22", "vpxord zmm23, zmm23, zmm23", "vpxord zmm24, zmm24, zmm24",
            "vpxord zmm25, zmm25, zmm25", "vpxord zmm26, zmm26, zmm26", "vpxord zmm27, zmm27, zmm27",
            "vpxord zmm28, zmm28, zmm28", "vpxord zmm29, zmm29, zmm29", "vpxord zmm30, zmm30, zmm30",
            "vpxord zmm31, zmm31, zmm31",
            in("rax") room.as_mut_ptr(),
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
            out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
            out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _,
            out("zmm30") _, out("zmm31") _,
            options(nostack, preserves_flags)
        );
    }
}

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
    unsafe fn aes4(keys: &RoundKeys, x: &mut [Self; 4]) {
        // SAFETY: see above.
        unsafe { rounds512::aes4(keys, x) }
    }

    #[inline(always)]
    unsafe fn aes8(keys: &RoundKeys, x: &mut [Self; 8]) {
        // SAFETY: see above.
        unsafe { rounds512::aes8(keys, x) }
    }

    #[inline(always)]
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; 1]) {
        let mut all = [x[0], x[1], x[2], x[3], quad[0]];
        // SAFETY: see above.
        unsafe { rounds512::aes5(keys, &mut all) };
        [x[0], x[1], x[2], x[3], quad[0]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; 1]) {
        let mut all = [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0]];
        // SAFETY: see above.
        unsafe { rounds512::aes9(keys, &mut all) };
        [x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], quad[0]] = all;
    }

    #[inline(always)]
    unsafe fn aes8_whiten(keys: &RoundKeys, x: &mut [Self; 8]) {
        // SAFETY: see above.
        unsafe { rounds512::whiten8::<0>(keys, x) }
    }

    #[inline(always)]
    unsafe fn aes8_round_add<const ROUND: usize>(
        keys: &RoundKeys,
        x: &mut [Self; 8],
        sum: Sum<Self>,
        blocks: Self,
        h: Self,
        d: Self,
    ) -> Sum<Self> {
        // SAFETY: see above.
        unsafe { rounds512::round8_add::<ROUND>(keys, x, sum, blocks, h, d) }
    }

    #[inline(always)]
    unsafe fn aes8_round_half<const ROUND: usize, const HALF: i32>(
        keys: &RoundKeys,
        x: &mut [Self; 8],
        sum: Self,
        blocks: Self,
        h: Self,
        d: Self,
    ) -> Self {
        // SAFETY: see above.
        unsafe { rounds512::round8_half::<ROUND, HALF>(keys, x, sum, blocks, h, d) }
    }

    #[inline(always)]
    unsafe fn aes8_last(keys: &RoundKeys, x: &mut [Self; 8]) {
        // SAFETY: see above.
        unsafe { rounds512::last8::<14>(keys, x) }
    }
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
        unsafe { rounds512::splat_loosely(at) }
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
        unsafe { rounds512::round10::<ROUND>(keys, x) }
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
        unsafe { rounds512::round10_add::<ROUND, POWER>(keys, x, sum, blocks, powers) }
    }

    #[inline(always)]
    unsafe fn last10(keys: &RoundKeys, x: &mut [Self; 10]) {
        // SAFETY: see above.
        unsafe { rounds512::last10::<14>(keys, x) }
    }
}
