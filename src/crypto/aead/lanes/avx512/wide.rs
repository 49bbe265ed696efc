//! What the kernels that keep ten and more vectors in flight need beyond `vector`: only instruction sets with 32 registers
//! have room for them.

use crate::crypto::aead::lanes::hash::Products;
use crate::crypto::aead::lanes::hash::Sum;
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

/// A vector of which there are 32 registers.
///
/// # Safety
/// As for [`Vector`].
pub(in crate::crypto::aead::lanes) trait Wide: Vector<1> {
    /// The nonce in every place, and after it four bytes of any value.
    unsafe fn splat_nonce_loosely(message: &Message<'_>) -> Self;
    /// Asks for the bytes of a vector before they are needed. Any address will do.
    unsafe fn prefetch(at: *const u8);
    /// `(self & mask) ^ other`.
    unsafe fn and_xor(self, mask: Self, other: Self) -> Self;
    /// Places and vectors exchanged: vector `i` of the result has the blocks `i` of the four.
    unsafe fn turned(vectors: [Self; 4]) -> [Self; 4];
    /// Middle round `ROUND` of ten vectors.
    unsafe fn round10<const ROUND: usize>(keys: &RoundKeys, x: &mut [Self; 10]);
    /// Middle round `ROUND` of ten vectors, and beside it `sum + blocks * powers[POWER]`.
    unsafe fn round10_add<const ROUND: usize, const POWER: usize>(
        keys: &RoundKeys,
        x: &mut [Self; 10],
        sum: Sum<Self>,
        blocks: Self,
        powers: &[Power<Self>; 4],
    ) -> Sum<Self>;
    /// The last round of ten vectors.
    unsafe fn last10(keys: &RoundKeys, x: &mut [Self; 10]);

    /// The first blocks of this and the last ones of the other.
    unsafe fn low_and_high(self, other: Self) -> Self;
    /// AES-256 of one vector.
    unsafe fn aes1(self, keys: &RoundKeys) -> Self;
    /// The last round of AES.
    unsafe fn last_round(self, key: Self) -> Self;
    /// Share `SHARE` of the middle rounds but the last, of which there are eight if `WIDE`, for sixteen vectors, or six, for
    /// the first twelve.
    unsafe fn share<const WIDE: bool, const SHARE: usize>(keys: &RoundKeys, x: &mut [Self; 16]);
    /// The same, and beside it `products` with those of a pair added: `a` times the powers at `powers`, `b` times the
    /// next.
    unsafe fn share_beside<const WIDE: bool, const SHARE: usize>(
        keys: &RoundKeys,
        x: &mut [Self; 16],
        products: Products<Self>,
        a: Self,
        b: Self,
        powers: *const u8,
    ) -> Products<Self>;
    /// The last middle round.
    unsafe fn last_middle<const WIDE: bool>(keys: &RoundKeys, x: &mut [Self; 16]);
    /// The products of a pair, without AES beside them.
    unsafe fn add_pair(products: Products<Self>, a: Self, b: Self, powers: *const u8) -> Products<Self>;
}

/// A power of the hash key in every place, and its companion.
#[repr(C)]
pub(in crate::crypto::aead::lanes) struct Power<V> {
    pub(super) h: V,
    pub(super) d: V,
}
