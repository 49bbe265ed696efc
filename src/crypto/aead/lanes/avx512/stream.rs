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

use core::arch::x86_64::*;

use crate::crypto::aead::lanes::avx512::rounds::KaratsubaSum;
use crate::crypto::aead::lanes::avx512::wide::NONCE;
use crate::crypto::aead::lanes::avx512::wide::PAIR;
use crate::crypto::aead::lanes::avx512::wide::RAMP;
use crate::crypto::aead::lanes::avx512::wide::add_pair;
use crate::crypto::aead::lanes::avx512::wide::and_xor;
use crate::crypto::aead::lanes::avx512::wide::eight_times;
use crate::crypto::aead::lanes::avx512::wide::last_middle;
use crate::crypto::aead::lanes::avx512::wide::last_round;
use crate::crypto::aead::lanes::avx512::wide::prefetch;
use crate::crypto::aead::lanes::avx512::wide::reduce_karatsuba;
use crate::crypto::aead::lanes::avx512::wide::share;
use crate::crypto::aead::lanes::avx512::wide::share_beside;
use crate::crypto::aead::lanes::avx512::wide::splat_nonce_loosely;
use crate::crypto::aead::lanes::avx512::wide::zero_karatsuba;
use crate::crypto::aead::lanes::four::Shape;
use crate::crypto::aead::lanes::four::hash_aads;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::kernel::WINDOW;
use crate::crypto::aead::lanes::kernel::conclude;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::Vector;
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
/// What the unsafe functions of this file ask of their callers is AVX-512, and that the messages they are
/// told of (a unit, or a quad, from the first on) are among those of the batch.
struct Stream<'a, 'm> {
    table: &'a Table,
    shape: Shape<__m512i>,
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
struct Hashed {
    /// Of the messages of the quad that is hashed, those that are done.
    ready: [KaratsubaSum; 4],
    /// Encrypted first counters of this quad and its neighbours, and before them of those whose tags are not made yet.
    masks: [[__m512i; MASK_QUADS]; 2],
    /// The quad whose tags are being made: its sums, and the state that comes of them.
    folded: KaratsubaSum,
    aads: ProductSum<__m512i>,
    state: __m512i,
    /// Two bits for each message of a quad, not zero where the tag is wrong, or nobody compared it.
    wrong: [u8; WINDOW / 4],
}

/// Seals or opens messages of `PAIRS` pairs, `K` in a unit, as long as they have the lengths of the first, in quads, and
/// writes verdicts when opening. Returns how many were taken: none if they are too few.
///
/// # Safety
/// As for [`Vector`]; the first message has `PAIRS` pairs, fits `four`, and has space for its tag; there
/// are at most [`WINDOW`] messages, and a verdict for each when opening.
#[inline(always)]
pub(super) unsafe fn units<const SEAL: bool, const PAIRS: usize, const K: usize>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    const { assert!(4 % K == 0 && PAIRS * K <= 8, "quads are whole units or parts of one") };
    debug_assert!(messages.len() <= WINDOW);
    let count = run(messages) / 4 * 4;
    if count < LEAST_MESSAGES || count * PAIRS < LEAST_PAIRS {
        return 0;
    }
    // In bounds: the first `count` have its lengths and `K` divides `count`. The pointers are used while `messages` is
    // borrowed, which nothing else touches until then.
    let shape = Shape::of(table, &messages[0]);
    let powers = table.h_at(Table::offset(shape.exponent));
    let rest = shape.text_len.wrapping_sub((PAIRS - 1) * PAIR);
    let lengths = shape.lengths;
    let batch = Stream { table, shape, messages: messages.as_mut_ptr(), count, powers, rest };
    let mut hashed = Hashed {
        ready: [zero_karatsuba(); 4],
        masks: [[__m512i::zero(); MASK_QUADS]; 2],
        folded: zero_karatsuba(),
        aads: lengths,
        state: __m512i::zero(),
        wrong: [0xff; WINDOW / 4],
    };
    let mut before = texts::<K>(&batch, 0);
    let mut m = 0;
    while m < count {
        let texts = texts::<K>(&batch, m);
        prepare(&batch, m, &mut hashed);
        let mut x = counters::<PAIRS, K>(&batch, m);
        // Sealing, the first unit has none before it: what its plaintext gives is overwritten by what its ciphertext does.
        let (beside, first) = if SEAL { (before, m.saturating_sub(K)) } else { (texts, m) };
        if SEAL {
            for text in texts {
                for at in (0..PAIRS * PAIR).step_by(64) {
                    prefetch(text.wrapping_add(at));
                }
            }
        }
        encrypt_beside_hash::<SEAL, PAIRS, K>(&batch, &mut x, &beside, first, &mut hashed);
        crypt::<SEAL, PAIRS, K>(&batch, &x, &texts);
        before = texts;
        m = m.wrapping_add(K);
    }
    if SEAL {
        let last = count.wrapping_sub(K);
        if last > 0 && last.is_multiple_of(4) {
            last_tags::<SEAL>(&batch, last, &mut hashed);
        }
        hash_alone::<PAIRS, K>(&batch, &before, last, &mut hashed);
    }
    last_tags::<SEAL>(&batch, count, &mut hashed);
    if !SEAL {
        for (quad, wrong) in hashed.wrong[..count / 4].iter().enumerate() {
            let m = 4 * quad;
            conclude(&mut messages[m..m + 4], &mut verdicts[m..m + 4], [0, 1, 2, 3], u32::from(*wrong));
        }
    }
    count
}

/// How many of the first messages have the lengths of the first.
#[inline(always)]
fn run(messages: &[Message<'_>]) -> usize {
    let (text_len, aad_len) = (messages[0].text_inout.len(), messages[0].aad.len());
    let alike = |message: &Message<'_>| message.text_inout.len() == text_len && message.aad.len() == aad_len;
    messages.iter().position(|message| !alike(message)).unwrap_or(messages.len())
}

impl<'m> Stream<'_, 'm> {
    /// # Safety
    /// There is such a message.
    #[inline(always)]
    unsafe fn message(&self, m: usize) -> &Message<'m> {
        &*self.messages.add(m)
    }

    /// Where the text of message `m` begins.
    ///
    /// # Safety
    /// There is such a message.
    #[inline(always)]
    unsafe fn text(&self, m: usize) -> *mut u8 {
        // No reference to the text is made.
        (&raw mut *(*self.messages.add(m)).text_inout).cast()
    }
}

#[inline(always)]
unsafe fn texts<const K: usize>(batch: &Stream<'_, '_>, m: usize) -> Texts<K> {
    let mut texts = [core::ptr::null_mut(); K];
    for (k, text) in texts.iter_mut().enumerate() {
        *text = batch.text(m.wrapping_add(k));
    }
    texts
}

/// The counters of a unit, after the XOR before the first round.
#[inline(always)]
unsafe fn counters<const PAIRS: usize, const K: usize>(batch: &Stream<'_, '_>, first: usize) -> [__m512i; 16] {
    // There are `K` messages from `first` on; the ramp has sixteen vectors.
    let key = __m512i::splat(batch.table.round_keys[0].as_ptr());
    let nonce = __m512i::splat(NONCE.as_ptr().cast());
    let ramp = RAMP.0.as_ptr().cast::<u8>();
    let mut x = [__m512i::zero(); 16];
    macro_rules! message {
        ($k:literal) => {
            if $k < K {
                let base = and_xor(splat_nonce_loosely(batch.message(first.wrapping_add($k))), nonce, key);
                macro_rules! pair {
                    ($p:literal) => {
                        if $p < PAIRS && 2 * ($k * PAIRS + $p) < 16 {
                            x[2 * ($k * PAIRS + $p)] = base.xor(__m512i::load(ramp.add($p * PAIR)));
                            x[2 * ($k * PAIRS + $p) + 1] = base.xor(__m512i::load(ramp.add($p * PAIR + 64)));
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

/// Whether a unit has sixteen vectors or twelve.
const fn is_wide(pairs: usize) -> bool {
    pairs > 6
}

/// The rounds between the XOR and the last one, with the hash of the unit of `texts` beside them, whose first message is
/// `first`.
#[inline(always)]
unsafe fn encrypt_beside_hash<const SEAL: bool, const PAIRS: usize, const K: usize>(
    batch: &Stream<'_, '_>,
    x: &mut [__m512i; 16],
    texts: &Texts<K>,
    first: usize,
    hashed: &mut Hashed,
) {
    let keys = &batch.table.round_keys;
    let mut products = zero_karatsuba();
    macro_rules! share {
        ($i:literal) => {
            if matches!($i, 1..=TAG_STEPS) && first > 0 && first.is_multiple_of(4) {
                make_tags::<SEAL>(batch, first.wrapping_sub(4), $i, hashed);
            }
            if $i < PAIRS * K {
                let (k, p) = ($i / PAIRS, $i % PAIRS);
                let [a, b] = blocks::<PAIRS>(batch, texts[k], p);
                let powers = batch.powers.wrapping_add(p * PAIR);
                let before = if p == 0 { zero_karatsuba() } else { products };
                products = if is_wide(PAIRS * K) {
                    share_beside::<true, $i>(keys, x, before, a, b, powers)
                } else {
                    share_beside::<false, $i>(keys, x, before, a, b, powers)
                };
                if p == PAIRS - 1 {
                    hashed.ready[first.wrapping_add(k) % 4] = products;
                }
            } else if is_wide(PAIRS * K) {
                share::<true, $i>(keys, x);
            } else if $i < 6 {
                share::<false, $i>(keys, x);
            }
        };
    }
    eight_times!(share);
    if is_wide(PAIRS * K) {
        last_middle::<true>(keys, x);
    } else {
        last_middle::<false>(keys, x);
    }
}

/// The hash of a unit without AES beside it.
#[inline(always)]
unsafe fn hash_alone<const PAIRS: usize, const K: usize>(
    batch: &Stream<'_, '_>,
    texts: &Texts<K>,
    first: usize,
    hashed: &mut Hashed,
) {
    for (k, &text) in texts.iter().enumerate() {
        let mut products = zero_karatsuba();
        for p in 0..PAIRS {
            let [a, b] = blocks::<PAIRS>(batch, text, p);
            products = add_pair(products, a, b, batch.powers.wrapping_add(p * PAIR));
        }
        hashed.ready[first.wrapping_add(k) % 4] = products;
    }
}

/// The last round, and the XOR with the texts.
#[inline(always)]
unsafe fn crypt<const SEAL: bool, const PAIRS: usize, const K: usize>(
    batch: &Stream<'_, '_>,
    x: &[__m512i; 16],
    texts: &Texts<K>,
) {
    // In bounds: nothing is touched beyond the end of a text.
    let key = __m512i::splat(batch.table.round_keys[14].as_ptr());
    macro_rules! pair {
        ($i:literal) => {
            if $i < PAIRS * K {
                let at = texts[$i / PAIRS].add($i % PAIRS * PAIR);
                let [a, b] = [x[2 * $i], x[2 * $i + 1]];
                if $i % PAIRS < PAIRS - 1 || batch.rest == PAIR {
                    last_round(a, key.xor(__m512i::load(at))).store(at);
                    last_round(b, key.xor(__m512i::load(at.add(64)))).store(at.add(64));
                } else {
                    __m512i::crypt_tail::<SEAL>(at, batch.rest.min(64), last_round(a, key));
                    if batch.rest > 64 {
                        __m512i::crypt_tail::<SEAL>(at.add(64), batch.rest.wrapping_sub(64), last_round(b, key));
                    }
                }
            }
        };
    }
    eight_times!(pair);
}

/// The blocks of pair `p` of a text, reversed, zero beyond its end.
#[inline(always)]
unsafe fn blocks<const PAIRS: usize>(batch: &Stream<'_, '_>, text: *mut u8, p: usize) -> [__m512i; 2] {
    // In bounds: the text is read to its end.
    let at = text.add(p * PAIR).cast_const();
    let [a, b] = if p < PAIRS - 1 || batch.rest == PAIR {
        [__m512i::load(at), __m512i::load(at.add(64))]
    } else if batch.rest > 64 {
        [__m512i::load(at), __m512i::load_exact(at.add(64), batch.rest.wrapping_sub(64))]
    } else {
        [__m512i::load_exact(at, batch.rest), __m512i::zero()]
    };
    [a.reverse(), b.reverse()]
}

/// Encrypts the masks of the messages from `first` on, if those before do not have the same quads.
#[inline(always)]
unsafe fn prepare(batch: &Stream<'_, '_>, first: usize, hashed: &mut Hashed) {
    if !first.is_multiple_of(4 * MASK_QUADS) {
        return;
    }
    // Messages come in quads.
    let nonce = |m: usize| __m512i::splat_nonce(&batch.message(m).nonce);
    let one = __m512i::ramp(1u32.to_be(), 0);
    let masks = &mut hashed.masks[first / (4 * MASK_QUADS) % 2];
    for (q, mask) in masks.iter_mut().enumerate() {
        let m = first.wrapping_add(4 * q);
        if m < batch.count {
            let [quad] = __m512i::quad_of_firsts([nonce(m), nonce(m + 1), nonce(m + 2), nonce(m + 3)]);
            *mask = quad.xor(one);
        }
    }
    __m512i::aes4(&batch.table.round_keys, masks);
}

/// All steps for the four messages before `end`.
#[inline(always)]
unsafe fn last_tags<const SEAL: bool>(batch: &Stream<'_, '_>, end: usize, hashed: &mut Hashed) {
    for i in 1..=TAG_STEPS {
        make_tags::<SEAL>(batch, end.wrapping_sub(4), i, hashed);
    }
}

/// One of the steps that make the tags of the four messages from `m` on, to be written or compared. They are taken beside
/// shares of the rounds: all at once they would be a long chain, behind which the CPU does not see the next rounds.
#[inline(always)]
unsafe fn make_tags<const SEAL: bool>(batch: &Stream<'_, '_>, m: usize, step: usize, hashed: &mut Hashed) {
    // In bounds: each text is followed by its tag.
    match step {
        1 => {
            let [a, b, c, d] = hashed.ready;
            let [low] = __m512i::quad_of_folds([a.low, b.low, c.low, d.low]);
            let [middle] = __m512i::quad_of_folds([a.middle, b.middle, c.middle, d.middle]);
            let [high] = __m512i::quad_of_folds([a.high, b.high, c.high, d.high]);
            hashed.folded = KaratsubaSum { low, middle, high };
        }
        2 => {
            let aad = |i: usize| batch.message(m + i).aad.as_ptr();
            [hashed.aads] = hash_aads(batch.table, &batch.shape, [aad(0), aad(1), aad(2), aad(3)]);
        }
        3 => hashed.state = reduce_karatsuba(hashed.folded).xor(reduce(hashed.aads)),
        _ => {
            let tag = |i: usize| batch.text(m + i).add(batch.shape.text_len);
            let tags = hashed.state.reverse().xor(hashed.masks[m / (4 * MASK_QUADS) % 2][m / 4 % MASK_QUADS]);
            let tag_at = [tag(0), tag(1), tag(2), tag(3)];
            if SEAL {
                __m512i::scatter([tags], tag_at);
            } else {
                let wrong = __m512i::differences([tags], __m512i::gather(tag_at.map(<*mut u8>::cast_const)));
                hashed.wrong[m / 4] = wrong as u8;
            }
        }
    }
}
