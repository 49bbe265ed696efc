//! Four messages side by side, up to 1 KiB each: one AES pipeline for all their counters, one tail for their tags.
//!
//! Each message has a vector of consecutive counters; the four first counter blocks (which mask the tags) are a quad. The
//! products of each message's hash stay unreduced in two accumulators; at the end they are turned so that a quad has one
//! block of each message, and lengths, reduction, mask and comparison are done once for four.
//!
//! Messages that are alike have one length of text and one of AAD. They share powers, which are loaded once for four, and
//! the product of the length block, which is computed once for a run of them.

use crate::crypto::aead::lanes::hash::add;
use crate::crypto::aead::lanes::hash::add_powers;
use crate::crypto::aead::lanes::hash::reduce;
use crate::crypto::aead::lanes::hash::zero_sum;
use crate::crypto::aead::lanes::kernel::conclude;
use crate::crypto::aead::lanes::table::POWERS;
use crate::crypto::aead::lanes::table::PowerOffset;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_LEN;
use crate::crypto::aead::message::Verdict;

/// Longest text that is taken four at a time.
pub(super) const TEXT_MAX: usize = 1024;

/// Whether a message of these lengths may be taken four at a time: the powers must reach its first block.
#[inline(always)]
pub(super) fn fits(text_len: usize, aad_len: usize) -> bool {
    text_len <= TEXT_MAX && text_len.div_ceil(16) + aad_len.div_ceil(16) < POWERS
}

/// What messages that are alike have in common.
pub(super) struct Shape<V> {
    pub(super) text_len: usize,
    pub(super) aad_len: usize,
    /// Exponent of the first block of text.
    pub(super) exponent: usize,
    /// The product of the length block, in each place.
    pub(super) lengths: ProductSum<V>,
}

impl<V> Shape<V> {
    /// The shape of `message`.
    ///
    /// # Safety
    /// As for [`Vector`]; the message has space for its tag.
    #[inline(always)]
    pub(super) unsafe fn of<const Q: usize>(table: &Table, message: &Message<'_>) -> Self
    where
        V: Vector<Q>,
    {
        let text_len = message.text_inout.len().wrapping_sub(TAG_LEN);
        let aad_len = message.aad.len();
        let words = [(text_len as u64) << 3, (aad_len as u64) << 3];
        let h1 = V::splat(table.h_at(Table::offset(1)));
        let d1 = V::splat(table.d_at(Table::offset(1)));
        let lengths = add(zero_sum(), V::splat(words.as_ptr().cast()), h1, d1);
        Self { text_len, aad_len, exponent: text_len.div_ceil(16).wrapping_add(1), lengths }
    }

    /// Whether all messages have it.
    #[inline(always)]
    pub(super) fn is_of_all(&self, messages: &[Message<'_>]) -> bool {
        let (text_len, aad_len) = (self.text_len.wrapping_add(TAG_LEN), self.aad_len);
        messages.iter().all(|message| message.text_inout.len() == text_len && message.aad.len() == aad_len)
    }
}

/// The counters of four messages: a quad of the first ones, which mask the tags, and a vector of each for its text.
struct Counters<V, const Q: usize> {
    masks: [V; Q],
    texts: [V; 4],
}

impl<V: Vector<Q>, const Q: usize> Counters<V, Q> {
    /// To be made before the AADs are hashed: the key stream waits for nothing else, and takes longest.
    ///
    /// # Safety
    /// As for [`Vector`].
    #[inline(always)]
    unsafe fn of(messages: [&Message<'_>; 4]) -> Self {
        let [a, b, c, d] = messages;
        let mut texts =
            [V::splat_nonce(&a.nonce), V::splat_nonce(&b.nonce), V::splat_nonce(&c.nonce), V::splat_nonce(&d.nonce)];
        let mut masks = V::quad_of_firsts(texts);
        for mask in &mut masks {
            *mask = mask.xor(V::ramp(1u32.to_be(), 0));
        }
        for text in &mut texts {
            *text = text.xor(V::ramp(2u32.to_be(), 1u32.to_be()));
        }
        Self { masks, texts }
    }
}

/// Where four texts are.
struct FourTexts {
    at: [*mut u8; 4],
    len: [usize; 4],
    /// Where the powers for the first block of text begin.
    offset: [PowerOffset; 4],
}

/// Seals or opens messages that are alike in fours, and writes verdicts when opening, until one has another shape than
/// the first or fewer than four are left. Returns how many it took.
///
/// # Safety
/// As for [`Vector`]; the first message [`fits`] and has space for its tag.
#[inline(always)]
pub(super) unsafe fn alike<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    let shape = Shape::of(table, &messages[0]);
    let mut taken = 0;
    for group in messages.as_chunks_mut::<4>().0 {
        if !shape.is_of_all(group) {
            break;
        }
        let [a, b, c, d] = group;
        let counters = Counters::of([a, b, c, d]);
        let shared = hash_aads(table, &shape, [a.aad.as_ptr(), b.aad.as_ptr(), c.aad.as_ptr(), d.aad.as_ptr()]);
        let at = [text_at(a), text_at(b), text_at(c), text_at(d)];
        let wrong = crypt::<V, Q, SEAL, true>(table, at, [shape.text_len; 4], counters, shared, [zero_sum(); 4]);
        if !SEAL {
            conclude(group, &mut verdicts[taken..taken + 4], [0, 1, 2, 3], wrong);
        }
        taken = taken.wrapping_add(4);
    }
    taken
}

/// Seals or opens four messages of any lengths. Opening returns two bits for each, not zero where the tag is wrong (the
/// text is then plaintext that nobody vouches for); sealing returns zero.
///
/// # Safety
/// As for [`Vector`]; each message [`fits`] and has space for its tag.
#[inline(always)]
pub(super) unsafe fn unlike<V: Vector<Q>, const Q: usize, const SEAL: bool>(
    table: &Table,
    messages: [&mut Message<'_>; 4],
) -> u32 {
    let [a, b, c, d] = messages;
    let counters = Counters::of([a, b, c, d]);
    let text_len = |message: &Message<'_>| message.text_inout.len().wrapping_sub(TAG_LEN);
    let text_len = [text_len(a), text_len(b), text_len(c), text_len(d)];
    let (shared, own) = hash_unlike_aads::<V, Q>(table, text_len, [a.aad, b.aad, c.aad, d.aad]);
    let at = [text_at(a), text_at(b), text_at(c), text_at(d)];
    crypt::<V, Q, SEAL, false>(table, at, text_len, counters, shared, own)
}

#[inline(always)]
fn text_at(message: &mut Message<'_>) -> *mut u8 {
    message.text_inout.as_mut_ptr()
}

/// Seals or opens four messages with texts of `len` at `at`. AADs and lengths are hashed already: into sums that each message has
/// (`own`) and a quad that has a place for each.
#[inline(always)]
unsafe fn crypt<V: Vector<Q>, const Q: usize, const SEAL: bool, const ALIKE: bool>(
    table: &Table,
    at: [*mut u8; 4],
    len: [usize; 4],
    counters: Counters<V, Q>,
    shared: [ProductSum<V>; Q],
    own: [ProductSum<V>; 4],
) -> u32 {
    let mut masks = counters.masks;
    let texts = FourTexts { at, len, offset: text_offsets(len) };
    let sums = crypt_texts::<V, Q, SEAL, ALIKE>(table, &texts, counters.texts, &mut masks, own);
    let r = V::quad_of_folds([sums[0].r, sums[1].r, sums[2].r, sums[3].r]);
    let f = V::quad_of_folds([sums[0].f, sums[1].f, sums[2].f, sums[3].f]);
    let mut tags = masks;
    for q in 0..Q {
        let sum = ProductSum { r: r[q].xor(shared[q].r), f: f[q].xor(shared[q].f) };
        tags[q] = reduce(sum).reverse().xor(masks[q]);
    }
    // In bounds: each text is followed by the space for its tag.
    let tag_at = [at[0].add(len[0]), at[1].add(len[1]), at[2].add(len[2]), at[3].add(len[3])];
    if SEAL {
        V::scatter(tags, tag_at);
        0
    } else {
        V::differences(tags, V::gather(tag_at.map(<*mut u8>::cast_const)))
    }
}

/// The products of AADs and lengths of messages that are alike: a quad of blocks at a time, one power for all.
///
/// # Safety
/// As for [`Vector`]; the AADs are of the shape's length.
#[inline(always)]
pub(super) unsafe fn hash_aads<V: Vector<Q>, const Q: usize>(
    table: &Table,
    shape: &Shape<V>,
    aads: [*const u8; 4],
) -> [ProductSum<V>; Q] {
    let mut sums = [shape.lengths; Q];
    let mut done = 0;
    let mut exponent = shape.exponent.wrapping_add(shape.aad_len.div_ceil(16));
    while done < shape.aad_len {
        // In bounds: blocks are cut at the end of the AAD, and the powers reach the first because the messages fit.
        let left = (shape.aad_len - done).min(16);
        let from = [aads[0].add(done), aads[1].add(done), aads[2].add(done), aads[3].add(done)];
        let blocks = V::gather_exact(from, [left; 4]);
        let h = V::splat(table.h_at(Table::offset(exponent)));
        let d = V::splat(table.d_at(Table::offset(exponent)));
        for q in 0..Q {
            sums[q] = add(sums[q], blocks[q].reverse(), h, d);
        }
        done = done.wrapping_add(16);
        exponent = exponent.wrapping_sub(1);
    }
    sums
}

/// The same for AADs and texts of any length: a quad if each AAD is one block at most, else the lengths as a quad and the
/// AADs in each message's own sum.
#[inline(always)]
unsafe fn hash_unlike_aads<V: Vector<Q>, const Q: usize>(
    table: &Table,
    text_len: [usize; 4],
    aads: [&[u8]; 4],
) -> ([ProductSum<V>; Q], [ProductSum<V>; 4]) {
    let len = [aads[0].len(), aads[1].len(), aads[2].len(), aads[3].len()];
    let offset = text_offsets(text_len);
    let lengths = V::quad_of_words(bits(text_len), bits(len));
    let h1 = V::splat(table.h_at(Table::offset(1)));
    let d1 = V::splat(table.d_at(Table::offset(1)));
    let mut shared = [zero_sum(); Q];
    let mut own = [zero_sum(); 4];
    for q in 0..Q {
        shared[q] = add(shared[q], lengths[q], h1, d1);
    }
    // In bounds: AADs are cut at their ends, and the powers reach the first block because the messages fit.
    if len[0].max(len[1]).max(len[2].max(len[3])) <= 16 {
        let from = [aads[0].as_ptr(), aads[1].as_ptr(), aads[2].as_ptr(), aads[3].as_ptr()];
        let at = |m: usize| PowerOffset(offset[m].0.wrapping_sub(16));
        let h = V::gather([table.h_at(at(0)), table.h_at(at(1)), table.h_at(at(2)), table.h_at(at(3))]);
        let d = V::gather([table.d_at(at(0)), table.d_at(at(1)), table.d_at(at(2)), table.d_at(at(3))]);
        let blocks = V::gather_exact(from, len);
        for q in 0..Q {
            shared[q] = add(shared[q], blocks[q].reverse(), h[q], d[q]);
        }
    } else {
        for m in 0..4 {
            let mut at = offset[m].0.wrapping_sub(len[m].div_ceil(16).wrapping_mul(16));
            let mut done = 0;
            while done < len[m] {
                let blocks = V::load_exact(aads[m].as_ptr().add(done), (len[m] - done).min(V::BYTES));
                own[m] = add_powers(own[m], blocks.reverse(), table, PowerOffset(at));
                done = done.wrapping_add(V::BYTES);
                at = at.wrapping_add(V::BYTES);
            }
        }
    }
    (shared, own)
}

/// XORs the texts with their key streams and adds the ciphertexts to the sums; encrypts the masks on the way.
#[inline(always)]
unsafe fn crypt_texts<V: Vector<Q>, const Q: usize, const SEAL: bool, const ALIKE: bool>(
    table: &Table,
    texts: &FourTexts,
    mut counters: [V; 4],
    masks: &mut [V; Q],
    mut sums: [ProductSum<V>; 4],
) -> [ProductSum<V>; 4] {
    let len = texts.len;
    let whole = len[0].min(len[1]).min(len[2].min(len[3])) / V::BYTES;
    let all = len[0].max(len[1]).max(len[2].max(len[3])).div_ceil(V::BYTES);
    let keys = &table.round_keys;
    macro_rules! vectors {
        ($whole:literal $v:expr, $x:expr) => {
            crypt_vectors::<V, Q, SEAL, ALIKE, $whole>(table, texts, $v, $x, &mut sums)
        };
    }
    let mut v: usize = 1;
    if whole >= 2 {
        let mut x = two(&mut counters);
        V::aes8_and_quad(keys, &mut x, masks);
        let [a, b, c, d, e, f, g, h] = x;
        vectors!(true 0, [a, b, c, d]);
        vectors!(true 1, [e, f, g, h]);
        v = 2;
    } else {
        let mut x = next(&mut counters);
        V::aes4_and_quad(keys, &mut x, masks);
        if whole == 1 {
            vectors!(true 0, x);
        } else {
            vectors!(false 0, x);
        }
    }
    while v.wrapping_add(2) <= whole {
        let mut x = two(&mut counters);
        V::aes8(keys, &mut x);
        let [a, b, c, d, e, f, g, h] = x;
        vectors!(true v, [a, b, c, d]);
        vectors!(true v.wrapping_add(1), [e, f, g, h]);
        v = v.wrapping_add(2);
    }
    while v < all {
        let mut x = next(&mut counters);
        V::aes4(keys, &mut x);
        vectors!(false v, x);
        v = v.wrapping_add(1);
    }
    sums
}

/// XORs vector `v` of each text with its key stream and adds the ciphertext to its sum. `WHOLE`: all texts have this
/// vector; otherwise a text may have a part of it or nothing.
#[inline(always)]
unsafe fn crypt_vectors<V: Vector<Q>, const Q: usize, const SEAL: bool, const ALIKE: bool, const WHOLE: bool>(
    table: &Table,
    texts: &FourTexts,
    v: usize,
    x: [V; 4],
    sums: &mut [ProductSum<V>; 4],
) {
    let begin = v.wrapping_mul(V::BYTES);
    let powers = |m: usize| {
        // In bounds: behind its end a text is multiplied by the table's padding, which is zero. Texts that are alike end
        // together.
        let at = texts.offset[m].0.wrapping_add(begin);
        let offset = PowerOffset(if ALIKE { at } else { at.min(POWERS * 16) });
        (V::load(table.h_at(offset)), V::load(table.d_at(offset)))
    };
    let (mut h, mut d) = powers(0);
    for m in 0..4 {
        if !ALIKE && m > 0 {
            (h, d) = powers(m);
        }
        // In bounds: vectors are cut at the end of the text unless it has them whole.
        let at = texts.at[m].wrapping_add(begin);
        let sealed = if WHOLE {
            let before = V::load(at);
            let after = before.xor(x[m]);
            after.store(at);
            if SEAL { after } else { before }
        } else {
            V::crypt_tail::<SEAL>(at, texts.len[m].saturating_sub(begin).min(V::BYTES), x[m])
        };
        sums[m] = add(sums[m], sealed.reverse(), h, d);
    }
}

/// The counters of the next vector of each message. They stay below 256 in a text of 1 KiB: their last byte never
/// carries.
#[inline(always)]
unsafe fn next<V: Vector<Q>, const Q: usize>(counters: &mut [V; 4]) -> [V; 4] {
    let now = *counters;
    for counter in counters {
        *counter = counter.add32(V::ramp((V::BLOCKS as u32).to_be(), 0));
    }
    now
}

/// The counters of the next two vectors of each.
#[inline(always)]
unsafe fn two<V: Vector<Q>, const Q: usize>(counters: &mut [V; 4]) -> [V; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (next(counters), next(counters));
    [a, b, c, d, e, f, g, h]
}

/// Where the powers for texts of these lengths begin.
#[inline(always)]
fn text_offsets(len: [usize; 4]) -> [PowerOffset; 4] {
    len.map(|len| Table::offset(len.div_ceil(16).wrapping_add(1)))
}

#[inline(always)]
fn bits(len: [usize; 4]) -> [u64; 4] {
    len.map(|len| (len as u64) << 3)
}
