//! GHASH in POLYVAL form over any vector: sums of unreduced products, their reduction, and whole byte strings.

use crate::crypto::aead::lanes::table::POLYNOMIAL;
use crate::crypto::aead::lanes::table::PowerOffset;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::Vector;

/// The polynomial as a block.
pub(super) static POLYNOMIAL_BLOCK: [u64; 2] = [POLYNOMIAL, 0];
/// Blocks between two reductions of [`absorb`].
const STRIDE_BLOCKS: usize = 64;

/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn zero_sum<V: Vector<Q>, const Q: usize>() -> ProductSum<V> {
    ProductSum { r: V::zero(), f: V::zero() }
}

/// Adds `blocks * h`, block by block; `d` belongs to `h`.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn add<V: Vector<Q>, const Q: usize>(sum: ProductSum<V>, blocks: V, h: V, d: V) -> ProductSum<V> {
    ProductSum {
        r: sum.r.xor3(blocks.clmul::<0x10>(d), blocks.clmul::<0x11>(h)),
        f: sum.f.xor3(blocks.clmul::<0x00>(d), blocks.clmul::<0x01>(h)),
    }
}

/// Adds `blocks` times the powers that begin at `offset`.
///
/// # Safety
/// As for [`Vector`]; `offset` lies in the table.
#[inline(always)]
pub(super) unsafe fn add_powers<V: Vector<Q>, const Q: usize>(
    sum: ProductSum<V>,
    blocks: V,
    table: &Table,
    offset: PowerOffset,
) -> ProductSum<V> {
    // The table is padded so that a vector may be read from any offset in it.
    add(sum, blocks, V::load(table.h_at(offset)), V::load(table.d_at(offset)))
}

/// The sum in each place, reduced.
///
/// # Safety
/// As for [`Vector`].
#[inline(always)]
pub(super) unsafe fn reduce<V: Vector<Q>, const Q: usize>(sum: ProductSum<V>) -> V {
    let polynomial = V::splat(POLYNOMIAL_BLOCK.as_ptr().cast());
    sum.r.xor3(sum.f.swap_halves(), sum.f.clmul::<0x00>(polynomial))
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
        // `done < bytes <= len`, and what is read is cut at `bytes`.
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
        len -= bytes;
    }
    state
}
