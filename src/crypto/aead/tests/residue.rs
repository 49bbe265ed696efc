//! Goal: nothing of a key or a key stream is left behind. Method: the stack below a call and the registers after it are
//! searched for the key streams it must have made, and a dropped key's memory for its round keys.

use aes::Aes256Enc;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::KeyInit;

use super::*;

/// Bytes below a call that are searched.
const DEPTH: usize = 16 << 10;

/// What lies on the stack below the caller. The bytes belong to nobody; they are only compared.
#[inline(never)]
#[allow(unsafe_code, reason = "reads its own uninitialized stack on purpose, through assembly")]
fn stack_below() -> Vec<u8> {
    let mut found = vec![0u8; DEPTH];
    let room = std::mem::MaybeUninit::<[u8; DEPTH]>::uninit();
    // SAFETY: copies `room`, whatever it holds, into `found`, which is as long.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rsi") room.as_ptr() => _, inout("rdi") found.as_mut_ptr() => _, inout("rcx") DEPTH => _,
            options(nostack, preserves_flags)
        );
    }
    found
}

/// Every block of key stream of a message.
fn key_stream(key: &[u8; KEY_LEN], nonce: [u8; 12], blocks: u32) -> Vec<[u8; 16]> {
    let cipher = Aes256Enc::new(&(*key).into());
    let stream = (1..=blocks + 1).map(|counter| {
        let mut block = [0; 16];
        block[..12].copy_from_slice(&nonce);
        block[12..].copy_from_slice(&counter.to_be_bytes());
        cipher.encrypt_block((&mut block).into());
        block
    });
    stream.collect()
}

fn contains(haystack: &[u8], needles: &[[u8; 16]]) -> bool {
    haystack.windows(16).any(|window| needles.iter().any(|needle| window == needle))
}

/// Seals, in a frame of its own, so that what it leaves lies below its caller's.
#[inline(never)]
fn seal_here(aead: &dyn Aead, batch: &mut [Message<'_>]) {
    aead.seal_batch(batch);
}

/// Messages and their bytes: one alone, short and long, few, and as many as take each kernel for messages that are alike.
const SHAPES: [(usize, usize); 15] = [
    (1, 64),
    (1, 300),
    (1, 1024),
    (1, 3000),
    (2, 100),
    (4, 64),
    (5, 200),
    (16, 64),
    (16, 40),
    (16, 200),
    (16, 300),
    (16, 700),
    (16, 900),
    (20, 600),
    (32, 1000),
];

/// What is cleared is as large as the frames of optimized kernels; in other builds they are larger.
#[test]
#[ignore = "holds in the optimized build only: scripts/slow lanes runs it"]
fn no_key_stream_is_left_on_the_stack() {
    let mut random = Random::seeded("no_key_stream");
    let key: [u8; KEY_LEN] = random.array();
    for aead in lanes(&key) {
        for (count, len) in SHAPES {
            for alike in [true, false] {
                let mut messages: Vec<Owned> =
                    (0..count).map(|i| Owned::random(&mut random, if alike { len } else { len + i * 3 }, 6)).collect();
                let needles: Vec<[u8; 16]> = messages
                    .iter()
                    .flat_map(|message| key_stream(&key, message.nonce, message.text.len().div_ceil(16) as u32))
                    .collect();
                let mut batch = borrow(&mut messages);
                seal_here(aead.as_ref(), &mut batch);
                let below = stack_below();
                assert!(!contains(&below, &needles), "{}: {count} of {len} bytes", aead.tier());
            }
        }
    }
}

/// The search finds what is there: without this the test above would prove nothing.
#[test]
fn the_search_finds_a_stream_that_is_left() {
    #[inline(never)]
    fn leave(block: [u8; 16]) {
        let kept = [block; 8];
        std::hint::black_box(&kept);
    }
    let block = [0xa7, 3, 9, 77, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    leave(block);
    let below = stack_below();
    assert!(contains(&below, &[block]));
}

#[test]
fn a_dropped_key_leaves_no_round_keys() {
    let key: [u8; KEY_LEN] = Random::seeded("a_dropped_key").array();
    for tier in Tier::ALL.into_iter().filter(|&tier| tier != Tier::Library) {
        let Some(wiped) = crate::crypto::aead::lanes::table_after_drop(tier, &key) else { continue };
        assert!(wiped.iter().all(|&byte| byte == 0), "{tier}");
    }
}
