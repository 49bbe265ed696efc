//! What an instruction set must offer: about two dozen operations on vectors of 16-byte blocks.
//!
//! The kernels (`four`, `one`, `tags`) are written once over this trait and compiled once per instruction set, in a
//! function that has the features switched on; everything here is `inline(always)` so that it ends up in there. A
//! vector holds `4 / Q` blocks; four messages are one *quad* of `Q` vectors, a block of each message in order.

use crate::crypto::aead::lanes::table::ROUND_KEYS;

/// The expanded key, as the AES operations read it.
pub(super) type RoundKeys = [[u8; 16]; ROUND_KEYS];

/// A sum of products that has not been reduced.
#[derive(Clone, Copy)]
pub(super) struct ProductSum<V> {
    pub(super) r: V,
    pub(super) f: V,
}

/// A vector of `4 / Q` blocks of 16 bytes.
///
/// # Safety
/// Every function may only be called on a CPU that has the instruction set of the implementing type (the kernels are
/// entered through a token that proves it). Pointers must be good for as many bytes as the function says.
pub(super) trait Vector<const Q: usize>: Copy {
    /// Blocks in a vector.
    const BLOCKS: usize = 4 / Q;
    /// Bytes in a vector.
    const BYTES: usize = 16 * Self::BLOCKS;

    /// All bits zero.
    unsafe fn zero() -> Self;
    /// Reads `BYTES` bytes.
    unsafe fn load(source: *const u8) -> Self;
    /// Writes `BYTES` bytes.
    unsafe fn store(self, target: *mut u8);
    /// Reads exactly `len <= BYTES` bytes; the rest is zero.
    unsafe fn load_exact(source: *const u8, len: usize) -> Self;
    /// XORs `len <= BYTES` bytes of text with `stream` in place and returns the ciphertext, zero beyond `len`. If `len`
    /// is not zero, 16 bytes behind the text must be readable and writable (the tag's space); they keep their value.
    unsafe fn crypt_tail<const SEAL: bool>(text_inout: *mut u8, len: usize, stream: Self) -> Self;
    /// One block in every place.
    unsafe fn splat(block: *const u8) -> Self;
    /// `nonce | 0` in every place.
    unsafe fn splat_nonce(nonce: &[u8; 12]) -> Self;
    /// The last four bytes of the block at place `i` are `first + i * step`, in the machine's order; the rest is zero.
    unsafe fn ramp(first: u32, step: u32) -> Self;
    /// The first block is `low | high << 64`; the others are zero.
    unsafe fn first(low: u64, high: u64) -> Self;

    /// Bitwise exclusive or.
    unsafe fn xor(self, other: Self) -> Self;
    /// Exclusive or of three.
    unsafe fn xor3(self, b: Self, c: Self) -> Self;
    /// Sums of the 32-bit words, without carry between them.
    unsafe fn add32(self, other: Self) -> Self;
    /// Bytes of each block in opposite order.
    unsafe fn reverse(self) -> Self;
    /// Bytes of the last word of each block in opposite order.
    unsafe fn reverse_counter(self) -> Self;
    /// The two halves of each block exchanged.
    unsafe fn swap_halves(self) -> Self;
    /// Carry-less product of a half of each block; `HALVES` as in PCLMULQDQ.
    unsafe fn clmul<const HALVES: i32>(self, other: Self) -> Self;
    /// XOR of the blocks in the first place, zero in the others.
    unsafe fn fold(self) -> Self;

    /// 16 bytes from each address.
    unsafe fn gather(sources: [*const u8; 4]) -> [Self; Q];
    /// Exactly `lens[m] <= 16` bytes from each address, zero beyond.
    unsafe fn gather_exact(sources: [*const u8; 4], lens: [usize; 4]) -> [Self; Q];
    /// 16 bytes to each address.
    unsafe fn scatter(quad: [Self; Q], targets: [*mut u8; 4]);
    /// The first block of each.
    unsafe fn quad_of_firsts(vectors: [Self; 4]) -> [Self; Q];
    /// The XOR of the blocks of each.
    unsafe fn quad_of_folds(vectors: [Self; 4]) -> [Self; Q];
    /// `low[m] | high[m] << 64`.
    unsafe fn quad_of_words(low: [u64; 4], high: [u64; 4]) -> [Self; Q];
    /// Two bits for each message, not zero where the blocks differ.
    unsafe fn differences(a: [Self; Q], b: [Self; Q]) -> u32;

    /// AES-256 of four vectors.
    unsafe fn aes4(keys: &RoundKeys, x: &mut [Self; 4]);
    /// AES-256 of eight vectors.
    unsafe fn aes8(keys: &RoundKeys, x: &mut [Self; 8]);
    /// AES-256 of four vectors and a quad.
    unsafe fn aes4_and_quad(keys: &RoundKeys, x: &mut [Self; 4], quad: &mut [Self; Q]);
    /// AES-256 of eight vectors and a quad.
    unsafe fn aes8_and_quad(keys: &RoundKeys, x: &mut [Self; 8], quad: &mut [Self; Q]);
    /// The XOR before the first round, of eight vectors.
    unsafe fn aes8_whiten(keys: &RoundKeys, x: &mut [Self; 8]);
    /// Middle round `ROUND` of eight vectors, and beside it `sum + blocks * h`; `d` belongs to `h`. One block of assembly,
    /// because LLVM moves the products out from between the rounds.
    unsafe fn aes8_round_add<const ROUND: usize>(
        keys: &RoundKeys,
        x: &mut [Self; 8],
        sum: ProductSum<Self>,
        blocks: Self,
        h: Self,
        d: Self,
    ) -> ProductSum<Self>;
    /// Middle round `ROUND` of eight vectors, and beside it half of a product: `HALF` is 0x10 for what a sum has in
    /// `r`, 0x00 for `f`. AES and products take turns best if each round has as many of them.
    unsafe fn aes8_round_half<const ROUND: usize, const HALF: i32>(
        keys: &RoundKeys,
        x: &mut [Self; 8],
        sum: Self,
        blocks: Self,
        h: Self,
        d: Self,
    ) -> Self;
    /// The last round of eight vectors.
    unsafe fn aes8_last(keys: &RoundKeys, x: &mut [Self; 8]);
}
