//! One message of any length: eight vectors of AES at a time, and the hash of eight others between the rounds.
//!
//! Sealing hashes what the step before wrote, opening what this step is about to overwrite, so that neither waits for
//! the other. Counters are kept in the machine's order and turned by one shuffle, because here they carry.

use crate::crypto::aead::lanes::hash::absorb;
use crate::crypto::aead::lanes::hash::add_powers;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::zero_sum;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_LEN;

/// Vectors in flight.
const STEP: usize = 8;

/// A message on its way.
pub(super) struct TextProgress<V> {
    /// The next counters, in the machine's order.
    pub(super) counters: V,
    /// The encrypted first counter block, in the first place.
    pub(super) mask: V,
    /// The state of the hash, in the first place.
    pub(super) state: V,
    /// Bytes of text that are done; when sealing, the last step of them is not hashed yet.
    pub(super) done: usize,
}

/// Seals or opens one message; whether its tag is right (always, when sealing).
///
/// # Safety
/// As for [`Vector`]; the message has space for its tag.
#[inline(always)]
pub(super) unsafe fn one<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    message: &mut Message<'_>,
) -> bool {
    let len = message.text_inout.len() - TAG_LEN;
    let text = message.text_inout.as_mut_ptr();
    // In bounds: the text is good for `len` bytes and the tag behind it; the AAD for its length.
    let nonce = V::splat_nonce(&message.nonce);
    let mut first = V::quad_of_firsts([nonce.xor(V::ramp(1u32.to_be(), 0)); 4]);
    let mut progress = TextProgress {
        counters: nonce.xor(V::ramp(2, 1)),
        mask: V::zero(),
        state: absorb::<V, Q, true>(table, V::zero(), message.aad.as_ptr(), message.aad.len()),
        done: 0,
    };
    if len >= STEP * V::BYTES {
        first_step::<V, Q, SEAL>(table, text, &mut progress, &mut first);
    }
    go_on::<V, Q, SEAL>(table, message, &mut progress, &mut first)
}

/// The same behind what is done: a whole step at least, or nothing.
///
/// # Safety
/// As for [`one`].
#[inline(always)]
pub(super) unsafe fn go_on<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    message: &mut Message<'_>,
    progress: &mut TextProgress<V>,
    first: &mut [V; Q],
) -> bool {
    let len = message.text_inout.len() - TAG_LEN;
    let text = message.text_inout.as_mut_ptr();
    // In bounds: the text is good for `len` bytes and the tag behind it.
    while len.wrapping_sub(progress.done) >= STEP * V::BYTES {
        step::<V, Q, SEAL>(table, text, progress);
    }
    let sum = rest::<V, Q, SEAL>(table, text, len, progress, first);
    let bits = [(len as u64) * 8, (message.aad.len() as u64) * 8];
    let lengths = V::first(bits[0], bits[1]);
    let lengths = if len == progress.done { lengths.xor(progress.state) } else { lengths };
    let sum = add_powers(sum, lengths, table, Table::offset(1));
    let tag = reduce(sum).fold().reverse().xor(progress.mask);
    finish::<V, Q, SEAL>(tag, text.add(len))
}

/// Writes the tag, or compares it.
#[inline(always)]
unsafe fn finish<V: Vector<Q>, const Q: usize, const SEAL: bool>(tag: V, tag_at: *mut u8) -> bool {
    // In bounds: 16 bytes are good at `tag_at`; the others of the quad go nowhere.
    if SEAL {
        let mut spare = [[0u8; 16]; 3];
        let [a, b, c] = spare.each_mut().map(|block| block.as_mut_ptr());
        V::scatter(V::quad_of_firsts([tag; 4]), [tag_at, a, b, c]);
        true
    } else {
        let found = V::load_exact(tag_at, 16);
        let differences = V::differences(V::quad_of_firsts([tag; 4]), V::quad_of_firsts([found; 4]));
        differences == 0
    }
}

/// The next eight vectors of counters.
#[inline(always)]
unsafe fn next<V: Vector<Q>, const Q: usize>(progress: &mut TextProgress<V>) -> [V; STEP] {
    let step = V::ramp(V::BLOCKS as u32, 0);
    let mut x = [V::zero(); STEP];
    for counters in &mut x {
        *counters = progress.counters.reverse_counter();
        progress.counters = progress.counters.add32(step);
    }
    x
}

/// Adds vector `t` of the eight at `from` to the sum, the first with the state.
#[inline(always)]
unsafe fn hash_vector<V: Vector<Q>, const Q: usize>(
    table: &Table,
    from: *const u8,
    t: usize,
    state: V,
    sum: ProductSum<V>,
) -> ProductSum<V> {
    // In bounds: eight vectors are good at `from`.
    let mut blocks = V::load(from.add(t * V::BYTES)).reverse();
    if t == 0 {
        blocks = blocks.xor(state);
    }
    add_powers(sum, blocks, table, Table::offset((STEP - t) * V::BLOCKS))
}

/// Takes eight vectors into the hash.
#[inline(always)]
unsafe fn hash_step<V: Vector<Q>, const Q: usize>(table: &Table, from: *const u8, progress: &mut TextProgress<V>) {
    // In bounds: eight vectors are good at `from`.
    let mut sum = zero_sum();
    for t in 0..STEP {
        sum = hash_vector(table, from, t, progress.state, sum);
    }
    progress.state = reduce(sum).fold();
}

/// XORs eight vectors of text with their key stream.
#[inline(always)]
unsafe fn crypt_step<V: Vector<Q>, const Q: usize>(text: *mut u8, x: [V; STEP], progress: &mut TextProgress<V>) {
    // In bounds: eight vectors are good behind what is done.
    for (t, stream) in x.into_iter().enumerate() {
        let at = text.add(progress.done + t * V::BYTES);
        V::load(at).xor(stream).store(at);
    }
    progress.done += STEP * V::BYTES;
}

/// The first eight vectors, with the mask.
#[inline(always)]
unsafe fn first_step<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    text: *mut u8,
    progress: &mut TextProgress<V>,
    first: &mut [V; Q],
) {
    // In bounds: the text has eight vectors.
    let mut x = next(progress);
    V::aes8_and_quad(&table.round_keys, &mut x, first);
    progress.mask = first[0];
    if !SEAL {
        hash_step(table, text, progress);
    }
    crypt_step(text, x, progress);
}

/// Eight more vectors, with the hash of eight between the rounds.
#[inline(always)]
unsafe fn step<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    text: *mut u8,
    progress: &mut TextProgress<V>,
) {
    let keys = &table.round_keys;
    // In bounds: the text has eight vectors behind what is done, and if that is sealed, eight before it.
    let hashed = if SEAL { progress.done - STEP * V::BYTES } else { progress.done };
    let from = text.add(hashed).cast_const();
    let mut x = next(progress);
    let mut sum = zero_sum();
    // The state comes last: it is ready late. Halves of products so that each round has as many.
    macro_rules! operands {
        ($t:literal) => {{
            let blocks = V::load(from.add($t * V::BYTES)).reverse();
            let blocks = if $t == 0 { blocks.xor(progress.state) } else { blocks };
            let offset = Table::offset((STEP - $t) * V::BLOCKS);
            (blocks, V::load(table.h_at(offset)), V::load(table.d_at(offset)))
        }};
    }
    macro_rules! two_rounds {
        ($round:literal $t:literal) => {
            let (blocks, h, d) = operands!($t);
            sum.r = V::aes8_round_half::<$round, 0x10>(keys, &mut x, sum.r, blocks, h, d);
            sum.f = V::aes8_round_half::<{ $round + 1 }, 0x00>(keys, &mut x, sum.f, blocks, h, d);
        };
    }
    macro_rules! one_round {
        ($round:literal $t:literal) => {
            let (blocks, h, d) = operands!($t);
            sum = V::aes8_round_add::<$round>(keys, &mut x, sum, blocks, h, d);
        };
    }
    V::aes8_whiten(keys, &mut x);
    two_rounds!(1 1);
    one_round!(3 2);
    two_rounds!(4 3);
    one_round!(6 4);
    two_rounds!(7 5);
    one_round!(9 6);
    two_rounds!(10 7);
    two_rounds!(12 0);
    progress.state = reduce(sum).fold();
    V::aes8_last(keys, &mut x);
    crypt_step(text, x, progress);
}

/// What is left: up to seven whole vectors and a part of one. Returns the sum of their products, to which the lengths
/// are added (with the state, if nothing was left).
#[inline(always)]
unsafe fn rest<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    text: *mut u8,
    len: usize,
    progress: &mut TextProgress<V>,
    first: &mut [V; Q],
) -> ProductSum<V> {
    let keys = &table.round_keys;
    let begin = progress.done;
    let vectors = (len - begin).div_ceil(V::BYTES);
    // In bounds: vectors are cut at the end of the text.
    let mut x = next(progress);
    let [a, b, c, d, ..] = x;
    let mut four = [a, b, c, d];
    if begin == 0 {
        if vectors > 4 {
            V::aes8_and_quad(keys, &mut x, first);
        } else {
            V::aes4_and_quad(keys, &mut four, first);
            x[..4].copy_from_slice(&four);
        }
        progress.mask = first[0];
    } else if vectors > 4 {
        V::aes8(keys, &mut x);
    } else if vectors > 0 {
        V::aes4(keys, &mut four);
        x[..4].copy_from_slice(&four);
    }
    if SEAL && begin > 0 {
        hash_step(table, text.add(begin - STEP * V::BYTES).cast_const(), progress);
    }
    let mut sum = zero_sum();
    // The first block left is multiplied by this power: the lengths take the first.
    let mut exponent = (len - begin).div_ceil(16) + 1;
    for (t, stream) in x.into_iter().enumerate() {
        if t < vectors {
            let left = (len - begin - t * V::BYTES).min(V::BYTES);
            let sealed = V::crypt_tail::<SEAL>(text.add(begin + t * V::BYTES), left, stream);
            let mut blocks = sealed.reverse();
            if t == 0 {
                blocks = blocks.xor(progress.state);
            }
            sum = add_powers(sum, blocks, table, Table::offset(exponent));
            exponent = exponent.saturating_sub(V::BLOCKS);
        }
    }
    sum
}
