//! Messages of one length that fit one vector, eight side by side: for instruction sets with 32 registers.
//!
//! AES and the hash are bound by different units, but the CPU does not look far enough ahead to run them side by side
//! by itself. So the hash of eight messages is written between the rounds of eight others: when sealing those before
//! them, when opening their own, because ciphertext is there from the start.

use crate::crypto::aead::Message;
use crate::crypto::aead::Verdict;
use crate::crypto::aead::lanes::alike::Shape;
use crate::crypto::aead::lanes::alike::hash_aads;
use crate::crypto::aead::lanes::conclude;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::zero_sum;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::RoundKeys;
use crate::crypto::aead::lanes::vector::Vector;

/// A vector of which there are 32 registers.
///
/// # Safety
/// As for [`Vector`].
pub(super) trait Wide: Vector<1> {
    /// The XOR before the first round, of ten vectors.
    unsafe fn whiten10(keys: &RoundKeys, x: &mut [Self; 10]);
    /// Middle round `ROUND` of ten vectors.
    unsafe fn round10<const ROUND: usize>(keys: &RoundKeys, x: &mut [Self; 10]);
    /// Middle round `ROUND` of ten vectors, and beside it `blocks * h`; `d` belongs to `h`.
    unsafe fn round10_times<const ROUND: usize>(
        keys: &RoundKeys,
        x: &mut [Self; 10],
        blocks: Self,
        h: Self,
        d: Self,
    ) -> Sum<Self>;
    /// The last round of ten vectors.
    unsafe fn last10(keys: &RoundKeys, x: &mut [Self; 10]);
    /// The same value; LLVM cannot compute it later than here.
    unsafe fn pinned(self) -> Self;
}

/// Where eight messages are.
struct Eight {
    texts: [*mut u8; 8],
    aads: [*const u8; 8],
}

/// Seals or opens messages in eights, and writes verdicts when opening. Returns how many were taken.
///
/// # Safety
/// As for [`Vector`]; all messages have the lengths of the first, fit one vector (are one, if `WHOLE`), and have
/// room for their tags.
#[inline(always)]
pub(super) unsafe fn eights<V: Wide, const SEAL: bool, const WHOLE: bool>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    // SAFETY: the caller's promise holds for each eight.
    unsafe {
        let shape = Shape::<V>::of(table, &messages[0]);
        let mut before: Option<(Eight, [V; 2])> = None;
        let mut taken = 0;
        for group in messages.as_chunks_mut::<8>().0 {
            let eight = Eight {
                texts: group.each_mut().map(|message| message.text_inout.as_mut_ptr()),
                aads: group.each_ref().map(|message| message.aad.as_ptr()),
            };
            let mut x = counters(group);
            if SEAL {
                match &before {
                    None => encrypt(&table.round_keys, &mut x),
                    Some((eight, masks)) => {
                        let sums = encrypt_beside_hash::<V, WHOLE>(table, &shape, eight, &mut x);
                        write_tags(&shape, eight, sums, *masks);
                    }
                }
                crypt::<V, SEAL, WHOLE>(&shape, &eight, &x);
                before = Some((eight, [x[8], x[9]]));
            } else {
                let sums = encrypt_beside_hash::<V, WHOLE>(table, &shape, &eight, &mut x);
                let wrong = differences(&shape, &eight, sums, [x[8], x[9]]);
                crypt::<V, SEAL, WHOLE>(&shape, &eight, &x);
                conclude(group, &mut verdicts[taken..], [0, 1, 2, 3], wrong & 0xff);
                conclude(group, &mut verdicts[taken..], [4, 5, 6, 7], wrong >> 8);
            }
            taken += 8;
        }
        if let Some((eight, masks)) = &before {
            let sums = [hash_four::<V, WHOLE>(table, &shape, eight, 0), hash_four::<V, WHOLE>(table, &shape, eight, 4)];
            let sums = [add_aads(table, &shape, eight, 0, sums[0]), add_aads(table, &shape, eight, 4, sums[1])];
            write_tags(&shape, eight, sums, *masks);
        }
        taken
    }
}

/// The next counter of each message, then the first counters, a quad of four messages each.
#[inline(always)]
unsafe fn counters<V: Wide>(group: &[Message<'_>; 8]) -> [V; 10] {
    // SAFETY: as the caller promises.
    unsafe {
        let mut x = [V::zero(); 10];
        for m in 0..8 {
            x[m] = V::splat_nonce(&group[m].nonce);
        }
        [x[8]] = V::quad_of_firsts([x[0], x[1], x[2], x[3]]);
        [x[9]] = V::quad_of_firsts([x[4], x[5], x[6], x[7]]);
        for counter in &mut x[..8] {
            *counter = counter.xor(V::ramp(2u32.to_be(), 1u32.to_be()));
        }
        for mask in &mut x[8..] {
            *mask = mask.xor(V::ramp(1u32.to_be(), 0));
        }
        x
    }
}

/// AES alone.
#[inline(always)]
unsafe fn encrypt<V: Wide>(keys: &RoundKeys, x: &mut [V; 10]) {
    // SAFETY: as the caller promises.
    unsafe {
        V::whiten10(keys, x);
        macro_rules! rounds {
            ($($round:literal)*) => {$(V::round10::<$round>(keys, x);)*};
        }
        rounds!(1 2 3 4 5 6 7 8 9 10 11 12 13);
        V::last10(keys, x);
    }
}

/// AES of `x` with the hash of `eight` between the rounds; the sums of its two fours.
#[inline(always)]
unsafe fn encrypt_beside_hash<V: Wide, const WHOLE: bool>(
    table: &Table,
    shape: &Shape<V>,
    eight: &Eight,
    x: &mut [V; 10],
) -> [Sum<V>; 2] {
    let keys = &table.round_keys;
    // SAFETY: as the caller promises.
    unsafe {
        let h = V::load(table.h_at(Table::offset(shape.exponent)));
        let d = V::load(table.d_at(Table::offset(shape.exponent)));
        macro_rules! four {
            ($($m:literal in $round:literal)*) => {
                fold([$(V::round10_times::<$round>(keys, x, load::<V, WHOLE>(shape, eight.texts[$m]).reverse(), h, d)),*])
            };
        }
        V::whiten10(keys, x);
        V::round10::<1>(keys, x);
        let low = four!(0 in 2 1 in 3 2 in 4 3 in 5);
        V::round10::<6>(keys, x);
        let low = add_aads(table, shape, eight, 0, low);
        V::round10::<7>(keys, x);
        let high = four!(4 in 8 5 in 9 6 in 10 7 in 11);
        V::round10::<12>(keys, x);
        let high = add_aads(table, shape, eight, 4, high);
        V::round10::<13>(keys, x);
        V::last10(keys, x);
        [low, high]
    }
}

/// One text. Masks are slow in some CPUs, so whole vectors do without.
#[inline(always)]
unsafe fn load<V: Wide, const WHOLE: bool>(shape: &Shape<V>, text: *const u8) -> V {
    // SAFETY: the text is read to its length.
    unsafe { if WHOLE { V::load(text) } else { V::load_exact(text, shape.text_len) } }
}

/// The product of one ciphertext.
#[inline(always)]
unsafe fn product<V: Wide, const WHOLE: bool>(table: &Table, shape: &Shape<V>, text: *const u8) -> Sum<V> {
    // SAFETY: the text is read to its length.
    unsafe {
        let h = V::load(table.h_at(Table::offset(shape.exponent)));
        let d = V::load(table.d_at(Table::offset(shape.exponent)));
        add(zero_sum(), load::<V, WHOLE>(shape, text).reverse(), h, d)
    }
}

/// The sums of four messages as a quad.
#[inline(always)]
unsafe fn fold<V: Wide>(sums: [Sum<V>; 4]) -> Sum<V> {
    // SAFETY: as the caller promises.
    unsafe {
        let [r] = V::quad_of_folds([sums[0].r, sums[1].r, sums[2].r, sums[3].r]);
        let [f] = V::quad_of_folds([sums[0].f, sums[1].f, sums[2].f, sums[3].f]);
        Sum { r, f }
    }
}

/// The products of the ciphertexts of four messages.
#[inline(always)]
unsafe fn hash_four<V: Wide, const WHOLE: bool>(
    table: &Table,
    shape: &Shape<V>,
    eight: &Eight,
    first: usize,
) -> Sum<V> {
    // SAFETY: as the caller promises.
    unsafe {
        let mut products = [zero_sum(); 4];
        for m in 0..4 {
            products[m] = product::<V, WHOLE>(table, shape, eight.texts[first + m]);
        }
        fold(products)
    }
}

/// Adds the products of AADs and lengths of four messages.
#[inline(always)]
unsafe fn add_aads<V: Wide>(table: &Table, shape: &Shape<V>, eight: &Eight, first: usize, sum: Sum<V>) -> Sum<V> {
    let aads = &eight.aads;
    // SAFETY: as the caller promises.
    unsafe {
        let [aad] = hash_aads(table, shape, [aads[first], aads[first + 1], aads[first + 2], aads[first + 3]]);
        Sum { r: sum.r.xor(aad.r).pinned(), f: sum.f.xor(aad.f).pinned() }
    }
}

/// XORs the texts with their key streams.
#[inline(always)]
unsafe fn crypt<V: Wide, const SEAL: bool, const WHOLE: bool>(shape: &Shape<V>, eight: &Eight, x: &[V; 10]) {
    for m in 0..8 {
        // SAFETY: nothing is touched beyond the end of the text.
        unsafe {
            if WHOLE {
                V::load(eight.texts[m]).xor(x[m]).store(eight.texts[m]);
            } else {
                V::crypt_tail::<SEAL>(eight.texts[m], shape.text_len, x[m]);
            }
        }
    }
}

/// Where the tags of four messages are.
#[inline(always)]
fn tags_at<V>(shape: &Shape<V>, eight: &Eight, first: usize) -> [*mut u8; 4] {
    let at = |m: usize| eight.texts[first + m].wrapping_add(shape.text_len);
    [at(0), at(1), at(2), at(3)]
}

/// Reduces the sums and writes the tags.
#[inline(always)]
unsafe fn write_tags<V: Wide>(shape: &Shape<V>, eight: &Eight, sums: [Sum<V>; 2], masks: [V; 2]) {
    // SAFETY: each text has room for its tag.
    unsafe {
        V::scatter([reduce(sums[0]).reverse().xor(masks[0])], tags_at(shape, eight, 0));
        V::scatter([reduce(sums[1]).reverse().xor(masks[1])], tags_at(shape, eight, 4));
    }
}

/// Reduces the sums and compares the tags: two bits for each message, not zero where it is wrong.
#[inline(always)]
unsafe fn differences<V: Wide>(shape: &Shape<V>, eight: &Eight, sums: [Sum<V>; 2], masks: [V; 2]) -> u32 {
    // SAFETY: each text is followed by its tag.
    unsafe {
        let low = V::gather(tags_at(shape, eight, 0).map(<*mut u8>::cast_const));
        let high = V::gather(tags_at(shape, eight, 4).map(<*mut u8>::cast_const));
        let low = V::differences([reduce(sums[0]).reverse().xor(masks[0])], low);
        let high = V::differences([reduce(sums[1]).reverse().xor(masks[1])], high);
        low | high << 8
    }
}
