//! Messages of one length of more than two vectors and at most 1 KiB, one behind the other as a stream of vectors: for
//! instruction sets with 32 registers.
//!
//! A *unit* is as many whole messages as fit sixteen vectors (or twelve). Its AES is in flight all at once, and beside its
//! rounds stands the hash of another: when sealing the unit before, when opening the unit itself. So neither the
//! beginning of a message nor its tag leaves the AES units idle, where short texts lose most of their time.
//!
//! Two vectors are one *pair*: Karatsuba's products of a pair need three quarters of the multiplications of the
//! four-product form and no more instructions. On Zen 5 the multiplier stands in the way of AES: in a loop of nothing
//! else, over texts that are not aligned, a vector takes 10.1 cycles with four products, 9.0 with three, and 9.8 with three
//! but only eight vectors in flight (23 Nov 2026, family 26 model 2).

use crate::crypto::aead::lanes::alike;
use crate::crypto::aead::lanes::alike::Shape;
use crate::crypto::aead::lanes::avx512::wide::NONCE;
use crate::crypto::aead::lanes::avx512::wide::PAIR;
use crate::crypto::aead::lanes::avx512::wide::RAMP;
use crate::crypto::aead::lanes::avx512::wide::Wide;
use crate::crypto::aead::lanes::avx512::wide::eight_times;
use crate::crypto::aead::lanes::hash::Products;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::reduce_products;
use crate::crypto::aead::lanes::hash::zero_products;
use crate::crypto::aead::lanes::kernel::WINDOW;
use crate::crypto::aead::lanes::kernel::conclude;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::Verdict;

/// Messages and pairs from which a stream is faster than four messages side by side: it has to fill and to run dry (measured
/// with batches of 4, 8, 12, 16 and 32 on Zen 5, 23 Nov 2026).
const LEAST_MESSAGES: usize = 8;
const LEAST_PAIRS: usize = 32;
/// Quads of masks that are encrypted at a time.
const MASK_QUADS: usize = 4;

/// The messages, and what they have in common: `count` of them, all with the lengths of the first, which has `PAIRS` pairs.
///
/// What the unsafe functions of this file ask of their callers is the instruction set of `V`, and that the messages they are
/// told of (a unit, or a quad, from the first on) are among those of the batch.
struct Batch<'a, 'm, V> {
    table: &'a Table,
    shape: Shape<V>,
    messages: *mut Message<'m>,
    count: usize,
    /// Where the powers for the first pair of a text begin.
    powers: *const u8,
    /// Bytes of a text beyond its last pair but one.
    rest: usize,
}

/// The texts of a unit of `K` messages.
type Texts<const K: usize> = [*mut u8; K];

/// Steps of [`make_tags`].
const TAG_STEPS: usize = 4;

/// What is kept of messages from their hash to their tag.
struct Hashed<V> {
    /// Of the messages of the quad that is hashed, those that are done.
    ready: [Products<V>; 4],
    /// Encrypted first counters of this quad and its neighbours, and before them of those whose tags are not made yet.
    masks: [[V; MASK_QUADS]; 2],
    /// The quad whose tags are being made: its sums, and the state that comes of them.
    folded: Products<V>,
    aads: Sum<V>,
    state: V,
    /// Two bits for each message of a quad, not zero where the tag is wrong, or nobody compared it.
    wrong: [u8; WINDOW / 4],
}

/// Seals or opens messages of `PAIRS` pairs, `K` in a unit, as long as they have the lengths of the first, in quads, and
/// writes verdicts when opening. Returns how many were taken: none if they are too few.
///
/// # Safety
/// As for [`Vector`](crate::crypto::aead::lanes::vector::Vector); the first message has `PAIRS` pairs, fits a group, and has room for its tag; there
/// are at most [`WINDOW`] messages, and a verdict for each when opening.
#[inline(always)]
pub(super) unsafe fn units<V: Wide, const SEAL: bool, const PAIRS: usize, const K: usize>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    const { assert!(4 % K == 0 && PAIRS * K <= 8, "quads are whole units or parts of one") };
    debug_assert!(messages.len() <= WINDOW);
    let count = alike::run(messages) / 4 * 4;
    if count < LEAST_MESSAGES || count * PAIRS < LEAST_PAIRS {
        return 0;
    }
    // SAFETY: the first `count` have its lengths and `K` divides `count`; the pointers are used while `messages` is borrowed,
    // which nothing else touches until then.
    unsafe {
        let shape = Shape::<V>::of(table, &messages[0]);
        let powers = table.h_at(Table::offset(shape.exponent));
        let rest = shape.text_len.wrapping_sub((PAIRS - 1) * PAIR);
        let lengths = shape.lengths;
        let batch = Batch { table, shape, messages: messages.as_mut_ptr(), count, powers, rest };
        let mut hashed = Hashed {
            ready: [zero_products(); 4],
            masks: [[V::zero(); MASK_QUADS]; 2],
            folded: zero_products(),
            aads: lengths,
            state: V::zero(),
            wrong: [0xff; WINDOW / 4],
        };
        let mut before = texts::<V, K>(&batch, 0);
        let mut m = 0;
        while m < count {
            let texts = texts::<V, K>(&batch, m);
            prepare(&batch, m, &mut hashed);
            let mut x = counters::<V, PAIRS, K>(&batch, m);
            // Sealing, the first unit has none before it: what its plaintext gives is overwritten by what its ciphertext does.
            let (beside, first) = if SEAL { (before, m.saturating_sub(K)) } else { (texts, m) };
            if SEAL {
                for text in texts {
                    for at in (0..PAIRS * PAIR).step_by(64) {
                        V::prefetch(text.wrapping_add(at));
                    }
                }
            }
            encrypt_beside_hash::<V, SEAL, PAIRS, K>(&batch, &mut x, &beside, first, &mut hashed);
            crypt::<V, SEAL, PAIRS, K>(&batch, &x, &texts);
            before = texts;
            m = m.wrapping_add(K);
        }
        if SEAL {
            let last = count.wrapping_sub(K);
            if last > 0 && last.is_multiple_of(4) {
                last_tags::<V, SEAL>(&batch, last, &mut hashed);
            }
            hash_alone::<V, PAIRS, K>(&batch, &before, last, &mut hashed);
        }
        last_tags::<V, SEAL>(&batch, count, &mut hashed);
        if !SEAL {
            for (quad, wrong) in hashed.wrong[..count / 4].iter().enumerate() {
                let m = 4 * quad;
                conclude(&mut messages[m..m + 4], &mut verdicts[m..m + 4], [0, 1, 2, 3], u32::from(*wrong));
            }
        }
    }
    count
}

impl<'m, V> Batch<'_, 'm, V> {
    /// # Safety
    /// There is such a message.
    #[inline(always)]
    unsafe fn message(&self, m: usize) -> &Message<'m> {
        // SAFETY: as the caller promises.
        unsafe { &*self.messages.add(m) }
    }

    /// Where the text of message `m` begins.
    ///
    /// # Safety
    /// There is such a message.
    #[inline(always)]
    unsafe fn text(&self, m: usize) -> *mut u8 {
        // SAFETY: as the caller promises; no reference to the text is made.
        unsafe { (&raw mut *(*self.messages.add(m)).text_inout).cast() }
    }
}

#[inline(always)]
unsafe fn texts<V, const K: usize>(batch: &Batch<'_, '_, V>, m: usize) -> Texts<K> {
    let mut texts = [core::ptr::null_mut(); K];
    for (k, text) in texts.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        *text = unsafe { batch.text(m.wrapping_add(k)) };
    }
    texts
}

/// The counters of a unit, after the XOR before the first round.
#[inline(always)]
unsafe fn counters<V: Wide, const PAIRS: usize, const K: usize>(batch: &Batch<'_, '_, V>, first: usize) -> [V; 16] {
    // SAFETY: there are `K` messages from `first` on; the ramp has sixteen vectors.
    unsafe {
        let key = V::splat(batch.table.round_keys[0].as_ptr());
        let nonce = V::splat(NONCE.as_ptr().cast());
        let ramp = RAMP.0.as_ptr().cast::<u8>();
        let mut x = [V::zero(); 16];
        macro_rules! message {
            ($k:literal) => {
                if $k < K {
                    let base = V::splat_nonce_loosely(batch.message(first.wrapping_add($k))).and_xor(nonce, key);
                    macro_rules! pair {
                        ($p:literal) => {
                            if $p < PAIRS && 2 * ($k * PAIRS + $p) < 16 {
                                x[2 * ($k * PAIRS + $p)] = base.xor(V::load(ramp.add($p * PAIR)));
                                x[2 * ($k * PAIRS + $p) + 1] = base.xor(V::load(ramp.add($p * PAIR + 64)));
                            }
                        };
                    }
                    eight_times!(pair);
                }
            };
        }
        eight_times!(message);
        x
    }
}

/// Whether a unit has sixteen vectors or twelve.
const fn is_wide(pairs: usize) -> bool {
    pairs > 6
}

/// The rounds between the XOR and the last one, with the hash of the unit of `texts` beside them, whose first message is
/// `first`.
#[inline(always)]
unsafe fn encrypt_beside_hash<V: Wide, const SEAL: bool, const PAIRS: usize, const K: usize>(
    batch: &Batch<'_, '_, V>,
    x: &mut [V; 16],
    texts: &Texts<K>,
    first: usize,
    hashed: &mut Hashed<V>,
) {
    let keys = &batch.table.round_keys;
    // SAFETY: as the caller promises.
    unsafe {
        let mut products = zero_products();
        macro_rules! share {
            ($i:literal) => {
                if matches!($i, 1..=TAG_STEPS) && first > 0 && first.is_multiple_of(4) {
                    make_tags::<V, SEAL>(batch, first.wrapping_sub(4), $i, hashed);
                }
                if $i < PAIRS * K {
                    let (k, p) = ($i / PAIRS, $i % PAIRS);
                    let [a, b] = blocks::<V, PAIRS>(batch, texts[k], p);
                    let powers = batch.powers.wrapping_add(p * PAIR);
                    let before = if p == 0 { zero_products() } else { products };
                    products = if is_wide(PAIRS * K) {
                        V::share_beside::<true, $i>(keys, x, before, a, b, powers)
                    } else {
                        V::share_beside::<false, $i>(keys, x, before, a, b, powers)
                    };
                    if p == PAIRS - 1 {
                        hashed.ready[first.wrapping_add(k) % 4] = products;
                    }
                } else if is_wide(PAIRS * K) {
                    V::share::<true, $i>(keys, x);
                } else if $i < 6 {
                    V::share::<false, $i>(keys, x);
                }
            };
        }
        eight_times!(share);
        if is_wide(PAIRS * K) {
            V::last_middle::<true>(keys, x);
        } else {
            V::last_middle::<false>(keys, x);
        }
    }
}

/// The hash of a unit without AES beside it.
#[inline(always)]
unsafe fn hash_alone<V: Wide, const PAIRS: usize, const K: usize>(
    batch: &Batch<'_, '_, V>,
    texts: &Texts<K>,
    first: usize,
    hashed: &mut Hashed<V>,
) {
    // SAFETY: as the caller promises.
    unsafe {
        for (k, &text) in texts.iter().enumerate() {
            let mut products = zero_products();
            for p in 0..PAIRS {
                let [a, b] = blocks::<V, PAIRS>(batch, text, p);
                products = V::add_pair(products, a, b, batch.powers.wrapping_add(p * PAIR));
            }
            hashed.ready[first.wrapping_add(k) % 4] = products;
        }
    }
}

/// The last round, and the XOR with the texts.
#[inline(always)]
unsafe fn crypt<V: Wide, const SEAL: bool, const PAIRS: usize, const K: usize>(
    batch: &Batch<'_, '_, V>,
    x: &[V; 16],
    texts: &Texts<K>,
) {
    // SAFETY: nothing is touched beyond the end of a text.
    unsafe {
        let key = V::splat(batch.table.round_keys[14].as_ptr());
        macro_rules! pair {
            ($i:literal) => {
                if $i < PAIRS * K {
                    let at = texts[$i / PAIRS].add($i % PAIRS * PAIR);
                    let [a, b] = [x[2 * $i], x[2 * $i + 1]];
                    if $i % PAIRS < PAIRS - 1 || batch.rest == PAIR {
                        a.last_round(key.xor(V::load(at))).store(at);
                        b.last_round(key.xor(V::load(at.add(64)))).store(at.add(64));
                    } else {
                        V::crypt_tail::<SEAL>(at, batch.rest.min(64), a.last_round(key));
                        if batch.rest > 64 {
                            V::crypt_tail::<SEAL>(at.add(64), batch.rest.wrapping_sub(64), b.last_round(key));
                        }
                    }
                }
            };
        }
        eight_times!(pair);
    }
}

/// The blocks of pair `p` of a text, reversed, zero beyond its end.
#[inline(always)]
unsafe fn blocks<V: Wide, const PAIRS: usize>(batch: &Batch<'_, '_, V>, text: *mut u8, p: usize) -> [V; 2] {
    // SAFETY: the text is read to its end.
    unsafe {
        let at = text.add(p * PAIR).cast_const();
        let [a, b] = if p < PAIRS - 1 || batch.rest == PAIR {
            [V::load(at), V::load(at.add(64))]
        } else if batch.rest > 64 {
            [V::load(at), V::load_exact(at.add(64), batch.rest.wrapping_sub(64))]
        } else {
            [V::load_exact(at, batch.rest), V::zero()]
        };
        [a.reverse(), b.reverse()]
    }
}

/// Encrypts the masks of the messages from `first` on, if those before do not have the same quads.
#[inline(always)]
unsafe fn prepare<V: Wide>(batch: &Batch<'_, '_, V>, first: usize, hashed: &mut Hashed<V>) {
    if !first.is_multiple_of(4 * MASK_QUADS) {
        return;
    }
    // SAFETY: as the caller promises; messages come in quads.
    unsafe {
        let nonce = |m: usize| V::splat_nonce(&batch.message(m).nonce);
        let one = V::ramp(1u32.to_be(), 0);
        let masks = &mut hashed.masks[first / (4 * MASK_QUADS) % 2];
        for (q, mask) in masks.iter_mut().enumerate() {
            let m = first.wrapping_add(4 * q);
            if m < batch.count {
                let [quad] = V::quad_of_firsts([nonce(m), nonce(m + 1), nonce(m + 2), nonce(m + 3)]);
                *mask = quad.xor(one);
            }
        }
        V::aes4(&batch.table.round_keys, masks);
    }
}

/// All steps for the four messages before `end`.
#[inline(always)]
unsafe fn last_tags<V: Wide, const SEAL: bool>(batch: &Batch<'_, '_, V>, end: usize, hashed: &mut Hashed<V>) {
    for i in 1..=TAG_STEPS {
        // SAFETY: as the caller promises.
        unsafe { make_tags::<V, SEAL>(batch, end.wrapping_sub(4), i, hashed) };
    }
}

/// One of the steps that make the tags of the four messages from `m` on, to be written or compared. They are taken beside
/// shares of the rounds: all at once they would be a long chain, behind which the CPU does not see the next rounds.
#[inline(always)]
unsafe fn make_tags<V: Wide, const SEAL: bool>(
    batch: &Batch<'_, '_, V>,
    m: usize,
    step: usize,
    hashed: &mut Hashed<V>,
) {
    // SAFETY: each text is followed by its tag.
    unsafe {
        match step {
            1 => {
                let [a, b, c, d] = hashed.ready;
                let [low] = V::quad_of_folds([a.low, b.low, c.low, d.low]);
                let [middle] = V::quad_of_folds([a.middle, b.middle, c.middle, d.middle]);
                let [high] = V::quad_of_folds([a.high, b.high, c.high, d.high]);
                hashed.folded = Products { low, middle, high };
            }
            2 => {
                let aad = |i: usize| batch.message(m + i).aad.as_ptr();
                [hashed.aads] = alike::hash_aads(batch.table, &batch.shape, [aad(0), aad(1), aad(2), aad(3)]);
            }
            3 => hashed.state = reduce_products(hashed.folded).xor(reduce(hashed.aads)),
            _ => {
                let tag = |i: usize| batch.text(m + i).add(batch.shape.text_len);
                let tags = hashed.state.reverse().xor(hashed.masks[m / (4 * MASK_QUADS) % 2][m / 4 % MASK_QUADS]);
                let tag_at = [tag(0), tag(1), tag(2), tag(3)];
                if SEAL {
                    V::scatter([tags], tag_at);
                } else {
                    let wrong = V::differences([tags], V::gather(tag_at.map(<*mut u8>::cast_const)));
                    hashed.wrong[m / 4] = wrong as u8;
                }
            }
        }
    }
}
