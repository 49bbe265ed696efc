//! GHASH in POLYVAL form over any vector: sums of unreduced products, their reduction, and whole byte strings.

use crate::crypto::aead::lanes::avx512::wide::Wide;
use crate::crypto::aead::lanes::table::POLYNOMIAL;
use crate::crypto::aead::lanes::table::PowerOffset;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::Vector;

/// A sum of products that has not been reduced.
#[derive(Clone, Copy)]
pub(super) struct Sum<V> {
    pub(super) r: V,
    pub(super) f: V,
}

/// The polynomial as a block.
static POLYNOMIAL_BLOCK: [u64; 2] = [POLYNOMIAL, 0];
/// A mask for the low half of a block.
static LOW_HALF: [u64; 2] = [u64::MAX, 0];
/// Blocks between two reductions of [`absorb`].
const STRIDE_BLOCKS: usize = 64;

/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn zero_sum<V: Vector<Q>, const Q: usize>() -> Sum<V> {
    // SAFETY: as the caller promises.
    unsafe { Sum { r: V::zero(), f: V::zero() } }
}

/// Adds `blocks * h`, block by block; `d` belongs to `h`.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn add<V: Vector<Q>, const Q: usize>(sum: Sum<V>, blocks: V, h: V, d: V) -> Sum<V> {
    // SAFETY: as the caller promises.
    unsafe {
        Sum {
            r: sum.r.xor3(blocks.clmul::<0x10>(d), blocks.clmul::<0x11>(h)),
            f: sum.f.xor3(blocks.clmul::<0x00>(d), blocks.clmul::<0x01>(h)),
        }
    }
}

/// Adds `blocks` times the powers that begin at `offset`.
///
/// # Safety
/// As for [`Vector`]; `offset` lies in the table.
#[inline(always)]
pub(super) unsafe fn add_powers<V: Vector<Q>, const Q: usize>(
    sum: Sum<V>,
    blocks: V,
    table: &Table,
    offset: PowerOffset,
) -> Sum<V> {
    // SAFETY: the table is padded so that a vector may be read from any offset in it.
    unsafe { add(sum, blocks, V::load(table.h_at(offset)), V::load(table.d_at(offset))) }
}

/// The sum in each place, reduced.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn reduce<V: Vector<Q>, const Q: usize>(sum: Sum<V>) -> V {
    // SAFETY: constants have 16 bytes.
    unsafe {
        let polynomial = V::splat(POLYNOMIAL_BLOCK.as_ptr().cast());
        sum.r.xor3(sum.f.swap_halves(), sum.f.clmul::<0x00>(polynomial))
    }
}

/// A sum of Karatsuba's products that has not been reduced: halves with their like, and sums of halves.
#[derive(Clone, Copy)]
pub(super) struct Products<V> {
    pub(super) low: V,
    pub(super) middle: V,
    pub(super) high: V,
}

/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn zero_products<V: Wide>() -> Products<V> {
    // SAFETY: as the caller promises.
    unsafe { Products { low: V::zero(), middle: V::zero(), high: V::zero() } }
}

/// The sum in each place, reduced: POLYVAL's Montgomery reduction in two steps of 64 bits.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn reduce_products<V: Wide>(products: Products<V>) -> V {
    let Products { low, middle, high } = products;
    // SAFETY: constants have 16 bytes.
    unsafe {
        let polynomial = V::splat(POLYNOMIAL_BLOCK.as_ptr().cast());
        let low_halves = V::splat(LOW_HALF.as_ptr().cast());
        let middle = middle.xor3(low, high).swap_halves();
        let high = middle.and_xor(low_halves, high);
        let low = middle.xor(middle.and_xor(low_halves, low));
        let low = low.swap_halves().xor(low.clmul::<0x00>(polynomial));
        high.xor3(low.swap_halves(), low.clmul::<0x00>(polynomial))
    }
}

/// Takes `len` bytes, padded with zeros to whole blocks, into the hash whose state is the first block of `state`.
/// `REVERSED` is GHASH; without it the blocks are taken as they are (POLYVAL).
///
/// # Safety
/// As for [`Vector`]; `source` is good for `len` bytes.
#[inline(always)]
pub(super) unsafe fn absorb<V: Vector<Q>, const Q: usize, const REVERSED: bool>(
    table: &Table,
    mut state: V,
    mut source: *const u8,
    mut len: usize,
) -> V {
    while len > 0 {
        let blocks = len.div_ceil(16).min(STRIDE_BLOCKS);
        let bytes = len.min(blocks * 16);
        let mut done = 0;
        // SAFETY: `done < bytes <= len`, and what is read is cut at `bytes`.
        unsafe {
            let mut sum = zero_sum();
            while done < bytes {
                let here = source.add(done);
                let left = bytes - done;
                let taken = if left >= V::BYTES { V::load(here) } else { V::load_exact(here, left) };
                let mut blocks_here = if REVERSED { taken.reverse() } else { taken };
                if done == 0 {
                    blocks_here = blocks_here.xor(state);
                }
                sum = add_powers(sum, blocks_here, table, Table::offset(blocks - done / 16));
                done += V::BYTES;
            }
            state = reduce(sum).fold();
            source = source.add(bytes);
        }
        len -= bytes;
    }
    state
}
