//! Goal: nothing of a key or a key stream is left behind. Method: the stack is painted, a call made, and what lies below
//! it is searched for the key streams it must have made and for every word of the expanded key: one power of the hash key
//! gives them all, and with them forgeries. A dropped key's memory is searched for its round keys.

use std::collections::HashSet;

use aes::Aes256Enc;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::KeyInit;

use super::*;
use crate::crypto::aead::TagMessage;
use crate::crypto::aead::Tags;

/// Bytes below a call that are searched.
const DEPTH: usize = 16 << 10;
/// What the stack is painted with.
const PAINT: u8 = 0xa5;

#[inline(never)]
#[allow(unsafe_code, reason = "writes below its caller, where nobody's frame is")]
fn paint_below() {
    let mut space = std::mem::MaybeUninit::<[u8; DEPTH]>::uninit();
    // SAFETY: fills `space`.
    unsafe {
        std::arch::asm!(
            "rep stosb",
            inout("rdi") space.as_mut_ptr() => _, inout("rcx") DEPTH => _, in("al") PAINT,
            options(nostack, preserves_flags)
        );
    }
}

/// What lies on the stack below the caller. The bytes belong to nobody; they are only compared.
#[inline(never)]
#[allow(unsafe_code, reason = "reads its own uninitialized stack on purpose, through assembly")]
fn stack_below(found: &mut [u8; DEPTH]) {
    let space = std::mem::MaybeUninit::<[u8; DEPTH]>::uninit();
    // SAFETY: copies `space`, whatever it holds, into `found`, which is as long.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rsi") space.as_ptr() => _, inout("rdi") found.as_mut_ptr() => _, inout("rcx") DEPTH => _,
            options(nostack, preserves_flags)
        );
    }
}

/// The halves of blocks that must not be found.
struct Needles(HashSet<[u8; 8]>);

impl Needles {
    /// Of an expanded key: round keys and all that comes of the hash key.
    fn of_key(key: &[u8; KEY_LEN]) -> Self {
        let table = crate::crypto::aead::lanes::table_bytes(key);
        Self(table.as_chunks::<8>().0.iter().copied().filter(|word| *word != [0; 8]).collect())
    }

    /// And of the key streams of messages.
    fn and_streams(&self, key: &[u8; KEY_LEN], messages: &[Owned]) -> Self {
        let cipher = Aes256Enc::new(&(*key).into());
        let mut words = self.0.clone();
        for message in messages {
            for counter in 1..=message.text.len().div_ceil(16) as u32 + 1 {
                let mut block = [0; 16];
                block[..12].copy_from_slice(&message.nonce);
                block[12..].copy_from_slice(&counter.to_be_bytes());
                cipher.encrypt_block((&mut block).into());
                words.extend(block.as_chunks::<8>().0);
            }
        }
        Self(words)
    }

    /// How far below the caller one of them is, if one is.
    fn depth_in(&self, found: &[u8; DEPTH]) -> Option<usize> {
        let at = found.windows(8).position(|window| self.0.contains(window))?;
        Some(DEPTH - at)
    }
}

/// How far below the caller there is a block that looks random, if there is one: sums of products, from which the hash key
/// can be computed, are in no list. Addresses and lengths have zeros and repeat their bytes.
fn random_in(found: &[u8; DEPTH]) -> Option<usize> {
    let looks_random = |block: &[u8]| {
        let distinct: HashSet<&u8> = block.iter().collect();
        let zeros = block.iter().filter(|&&byte| byte == 0).count();
        // Places in a batch, by which messages are ordered, are small.
        distinct.len() >= 11 && zeros <= 2 && block.iter().any(|&byte| byte >= 64)
    };
    let at = (0..=DEPTH - 16).step_by(8).find(|&at| looks_random(&found[at..at + 16]))?;
    Some(DEPTH - at)
}

/// In frames of their own, so that what they leave lies below their caller's.
#[inline(never)]
fn seal_here(aead: &dyn Aead, batch: &mut [Message<'_>]) {
    aead.seal_batch(batch);
}

#[inline(never)]
fn open_here(aead: &dyn Aead, batch: &mut [Message<'_>], verdicts: &mut [Verdict]) {
    aead.open_batch(batch, verdicts);
}

#[inline(never)]
fn key_here(tier: Tier, key: &[u8; KEY_LEN]) -> Option<Arc<dyn Aead>> {
    tier.key(key)
}

#[inline(never)]
fn tags_here(tags: &dyn Tags, messages: &[TagMessage<'_>], found: &mut [[u8; 16]]) {
    tags.tags(messages, found);
}

/// One alone, few, fours, eights, and streams that fill units or do not; 18 is a stream and two more.
const COUNTS: [usize; 9] = [1, 2, 3, 4, 7, 8, 16, 18, 33];
/// A length for each kernel, whole and cut.
const TEXT_LENGTHS: [usize; 14] = [0, 40, 64, 100, 128, 200, 300, 450, 600, 700, 850, 1000, 1024, 3000];

/// What is cleared is as large as the frames of optimized kernels; in other builds they are larger.
#[test]
#[ignore = "holds in the optimized build only: scripts/slow lanes runs it"]
fn no_key_and_no_key_stream_is_left_on_the_stack() {
    let random = Seeded::replayable(SEED);
    let key: [u8; KEY_LEN] = random.array();
    let needles = Needles::of_key(&key);
    let mut found = [0; DEPTH];
    for tier in Tier::ALL.into_iter().filter(|&tier| tier != Tier::Library) {
        paint_below();
        let Some(aead) = key_here(tier, &key) else { continue };
        stack_below(&mut found);
        assert_eq!(needles.depth_in(&found), None, "{tier}: a new key");
        for count in COUNTS {
            for (len, aad_len) in TEXT_LENGTHS.into_iter().flat_map(|len| [6, 40].map(|aad_len| (len, aad_len))) {
                // All alike, or each longer than the one before.
                for step in [0, 3] {
                    let mut messages: Vec<Owned> =
                        (0..count).map(|i| Owned::random(&random, len + i * step, aad_len)).collect();
                    let needles = needles.and_streams(&key, &messages);
                    let mut verdicts = vec![Verdict::Unauthentic; count];
                    let mut batch = borrow(&mut messages);
                    let what = format!("{tier}: {count} of {len} bytes and {step} more each");
                    paint_below();
                    seal_here(aead.as_ref(), &mut batch);
                    stack_below(&mut found);
                    assert_eq!((needles.depth_in(&found), random_in(&found)), (None, None), "{what}, sealed");
                    paint_below();
                    open_here(aead.as_ref(), &mut batch, &mut verdicts);
                    stack_below(&mut found);
                    assert_eq!((needles.depth_in(&found), random_in(&found)), (None, None), "{what}, opened");
                }
            }
        }
    }
}

/// The keys of RFC 8452's tag, and what its polynomial made, which are tags before they are encrypted.
#[test]
#[ignore = "holds in the optimized build only: scripts/slow lanes runs it"]
fn no_key_of_tags_is_left_on_the_stack() {
    let random = Seeded::replayable(SEED);
    let keys: [u8; 48] = random.array();
    let round_keys = Needles::of_key(&keys[16..].try_into().expect("48 - 16 = 32 bytes"));
    let mut needles = Needles(round_keys.0);
    needles.0.extend(keys.as_chunks::<8>().0);
    let mut found = [0; DEPTH];
    for tier in Tier::ALL.into_iter().filter(|&tier| tier != Tier::Library) {
        let Some(tags) = tier.tag_key(&keys) else { continue };
        for count in COUNTS {
            for len in TEXT_LENGTHS {
                let bytes = random.bytes(len + 70);
                let aad = [&bytes[len..]];
                let messages: Vec<TagMessage<'_>> = (0..count)
                    .map(|_| TagMessage { aad: &aad, plaintext: &bytes[..len], place: random.array() })
                    .collect();
                let mut made = vec![[0; 16]; count];
                paint_below();
                tags_here(tags.as_ref(), &messages, &mut made);
                stack_below(&mut found);
                let left = (needles.depth_in(&found), random_in(&found));
                assert_eq!(left, (None, None), "{tier}: tags of {count} of {len} bytes");
            }
        }
    }
}

/// The search finds what is there: without this the tests above would prove nothing.
#[test]
fn the_search_finds_a_stream_that_is_left() {
    #[inline(never)]
    fn leave(block: [u8; 16]) {
        let kept = [block; 8];
        std::hint::black_box(&kept);
    }
    let random = Seeded::replayable(SEED);
    let key: [u8; KEY_LEN] = random.array();
    let message = Owned::random(&random, 20, 0);
    let mut block = [0; 16];
    block[..12].copy_from_slice(&message.nonce);
    block[15] = 2;
    Aes256Enc::new(&key.into()).encrypt_block((&mut block).into());
    let needles = Needles::of_key(&key).and_streams(&key, &[message]);
    let mut found = [0; DEPTH];
    paint_below();
    leave(block);
    stack_below(&mut found);
    assert!(needles.depth_in(&found).is_some());
}

#[test]
fn a_dropped_key_leaves_no_round_keys() {
    let key: [u8; KEY_LEN] = Seeded::replayable(SEED).array();
    for tier in Tier::ALL.into_iter().filter(|&tier| tier != Tier::Library) {
        let Some(wiped) = crate::crypto::aead::lanes::table_after_drop(tier, &key) else { continue };
        assert!(wiped.iter().all(|&byte| byte == 0), "{tier}");
    }
}
