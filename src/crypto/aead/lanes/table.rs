//! The expanded key: round keys and powers of the hash key, the same bytes for every instruction set.
//!
//! GHASH is computed in POLYVAL form (RFC 8452, appendix A): blocks are reversed and `H` is multiplied by x once. The
//! product is the "R/F" form of eprint 2025/2171, which the polyval crate uses too: with `D = swap(H) ^ low(H) * P` a
//! multiplication is four carry-less products and the reduction one, and products of many blocks are summed before it.
//! Where it is the products that limit, Karatsuba's three are taken instead, with sums of halves of `H` (`middles`) and a
//! reduction of two more products.

use core::arch::x86_64::*;
use core::mem::offset_of;

use zeroize::Zeroize;
use zeroize::ZeroizeOnDrop;

/// Round keys of AES-256.
pub(super) const ROUND_KEYS: usize = 15;
/// Highest power of the hash key in the table: 64 blocks of text (1 KiB), four of AAD and the lengths, and one mod 4, so
/// that loads of the powers for texts of whole 64-byte vectors are aligned.
pub(super) const POWERS: usize = 69;
/// Zero entries behind the first power, so that a vector load may begin at it, and where absent blocks point.
const PADDING: usize = 7;

/// One expanded key. Wiped on drop; lives in a box so that it is never moved.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(in crate::crypto::aead) struct Table {
    /// Entry `i` holds `H^(POWERS - i)`.
    h: [[u8; 16]; POWERS + PADDING],
    /// The same for `D`.
    d: [[u8; 16]; POWERS + PADDING],
    /// For pairs of vectors of four blocks: the sums of the halves of entry `i` and `i + 4` of `h`.
    middles: [[u8; 16]; POWERS + PADDING],
    /// Round keys in order of use.
    pub(super) round_keys: [[u8; 16]; ROUND_KEYS],
}

/// Where the powers for a run of blocks begin, in bytes from the start of `h` and of `d`.
#[derive(Clone, Copy)]
pub(super) struct PowerOffset(pub(super) usize);

impl Table {
    /// Bytes of its arrays.
    #[cfg(test)]
    pub(super) const BYTES: usize = (3 * (POWERS + PADDING) + ROUND_KEYS) * 16;

    /// A table without a key in it yet.
    pub(super) fn zeroed() -> Self {
        const NO_POWERS: [[u8; 16]; POWERS + PADDING] = [[0; 16]; POWERS + PADDING];
        Self { h: NO_POWERS, d: NO_POWERS, middles: NO_POWERS, round_keys: [[0; 16]; ROUND_KEYS] }
    }

    /// From the address of powers in `h` to that of their companions in `middles`.
    pub(super) const TO_MIDDLES: usize = offset_of!(Self, middles) - offset_of!(Self, h);

    /// Where powers from `H^exponent` down begin.
    #[inline(always)]
    pub(super) fn offset(exponent: usize) -> PowerOffset {
        debug_assert!(exponent <= POWERS);
        PowerOffset(POWERS.wrapping_sub(exponent).wrapping_mul(16))
    }

    /// Address of the powers of `H` at `offset`.
    #[inline(always)]
    pub(super) fn h_at(&self, offset: PowerOffset) -> *const u8 {
        debug_assert!(offset.0 <= POWERS * 16);
        core::ptr::from_ref(self).cast::<u8>().wrapping_add(offset_of!(Self, h) + offset.0)
    }

    /// Address of the powers of `D` at `offset`.
    #[inline(always)]
    pub(super) fn d_at(&self, offset: PowerOffset) -> *const u8 {
        debug_assert!(offset.0 <= POWERS * 16);
        core::ptr::from_ref(self).cast::<u8>().wrapping_add(offset_of!(Self, d) + offset.0)
    }

    /// Expands an AES-256-GCM key.
    #[target_feature(enable = "aes,pclmulqdq,sse4.1")]
    pub(super) fn fill(&mut self, key: &[u8; 32]) {
        expand(key, &mut self.round_keys);
        let mut hash_key = _mm_setzero_si128();
        hash_key = _mm_xor_si128(hash_key, load(&self.round_keys[0]));
        for round_key in &self.round_keys[1..ROUND_KEYS - 1] {
            hash_key = _mm_aesenc_si128(hash_key, load(round_key));
        }
        hash_key = _mm_aesenclast_si128(hash_key, load(&self.round_keys[ROUND_KEYS - 1]));
        let mut bytes = [0; 16];
        store(&mut bytes, hash_key);
        // mulX of RFC 8452, without a branch on the bit that falls out.
        let reversed = u128::from_be_bytes(bytes);
        let carry = reversed >> 127;
        let doubled = (reversed << 1) ^ carry ^ (carry << 127) ^ (carry << 126) ^ (carry << 121);
        self.fill_powers(doubled);
        bytes.zeroize();
    }

    /// Expands the keys of RFC 8452's tag: POLYVAL's, which is in its form already, and AES-256's.
    #[target_feature(enable = "aes,pclmulqdq,sse4.1")]
    pub(super) fn fill_for_tags(&mut self, authentication: &[u8; 16], encryption: &[u8; 32]) {
        expand(encryption, &mut self.round_keys);
        self.fill_powers(u128::from_le_bytes(*authentication));
    }

    /// Fills in the powers of `h`, which is in POLYVAL form. Four chains, so that they overlap.
    #[target_feature(enable = "aes,pclmulqdq,sse4.1")]
    fn fill_powers(&mut self, h: u128) {
        let h = _mm_set_epi64x((h >> 64) as i64, h as i64);
        let d = companion(h);
        let mut power = h;
        let mut chains = [h; 4];
        for chain in &mut chains {
            *chain = power;
            power = multiply(power, h, d);
        }
        let h4 = chains[3];
        let d4 = companion(h4);
        for exponent in 1..=POWERS {
            let chain = &mut chains[(exponent - 1) % 4];
            store(&mut self.h[POWERS - exponent], *chain);
            store(&mut self.d[POWERS - exponent], companion(*chain));
            *chain = multiply(*chain, h4, d4);
        }
        for i in 0..POWERS {
            let (low, high) = (load(&self.h[i]), load(&self.h[i + 4]));
            let middles = _mm_xor_si128(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high));
            store(&mut self.middles[i], middles);
        }
    }
}

impl core::fmt::Debug for Table {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Table(..)")
    }
}

/// The polynomial of POLYVAL without its highest and lowest terms, in the half where the products need it.
pub(super) const POLYNOMIAL: u64 = 0xc200_0000_0000_0000;

/// `D` for `h`.
#[target_feature(enable = "pclmulqdq,sse2")]
#[inline]
fn companion(h: __m128i) -> __m128i {
    let polynomial = _mm_set_epi64x(POLYNOMIAL as i64, 0);
    _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(h), _mm_clmulepi64_si128::<0x10>(h, polynomial))
}

/// `m * h` in POLYVAL's field; `d` belongs to `h`.
#[target_feature(enable = "pclmulqdq,sse2")]
#[inline]
fn multiply(m: __m128i, h: __m128i, d: __m128i) -> __m128i {
    let r = _mm_xor_si128(_mm_clmulepi64_si128::<0x10>(m, d), _mm_clmulepi64_si128::<0x11>(m, h));
    let f = _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(m, d), _mm_clmulepi64_si128::<0x01>(m, h));
    let polynomial = _mm_set_epi64x(0, POLYNOMIAL as i64);
    let reduced = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(f), _mm_clmulepi64_si128::<0x00>(f, polynomial));
    _mm_xor_si128(r, reduced)
}

#[target_feature(enable = "sse2")]
#[inline]
fn load(block: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is good for 16 bytes.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[target_feature(enable = "sse2")]
#[inline]
fn store(block: &mut [u8; 16], value: __m128i) {
    // SAFETY: the reference is good for 16 bytes.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) }
}

/// The key schedule of FIPS 197 section 5.2 for 256 bits.
#[target_feature(enable = "aes,sse2")]
fn expand(key: &[u8; 32], round_keys: &mut RoundKeyBytes) {
    let (first, second) = key.split_at(16);
    round_keys[0].copy_from_slice(first);
    round_keys[1].copy_from_slice(second);
    let mut even = load(&round_keys[0]);
    let mut odd = load(&round_keys[1]);
    macro_rules! even {
        ($at:literal, $round_constant:literal) => {
            let assist = _mm_aeskeygenassist_si128::<$round_constant>(odd);
            even = spread(even, _mm_shuffle_epi32::<0xff>(assist));
            store(&mut round_keys[$at], even);
        };
    }
    macro_rules! odd {
        ($at:literal) => {
            let assist = _mm_aeskeygenassist_si128::<0>(even);
            odd = spread(odd, _mm_shuffle_epi32::<0xaa>(assist));
            store(&mut round_keys[$at], odd);
        };
    }
    even!(2, 1);
    odd!(3);
    even!(4, 2);
    odd!(5);
    even!(6, 4);
    odd!(7);
    even!(8, 8);
    odd!(9);
    even!(10, 16);
    odd!(11);
    even!(12, 32);
    odd!(13);
    even!(14, 64);
}

/// The words of an earlier round key, each XORed with all before it, and with `word`.
#[target_feature(enable = "sse2")]
#[inline]
fn spread(mut key: __m128i, word: __m128i) -> __m128i {
    key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, word)
}

type RoundKeyBytes = [[u8; 16]; ROUND_KEYS];
