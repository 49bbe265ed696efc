//! Goal: lanes differ from the library in speed only. Method: the same messages through both, all lengths, all places
//! in a batch, all kinds of damage, over a range that CI can afford; `scripts/slow lanes` runs the random part longer.

use super::*;

/// AAD lengths that take every path: none, entries, stored values, blocks and vectors full, keys beyond any vector.
const AAD_LENGTHS: [usize; 14] = [0, 1, 6, 15, 16, 17, 31, 32, 33, 48, 64, 65, 300, 1100];

#[test]
fn every_length_to_1024_is_sealed_and_opened_as_the_library_does() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        for first in (0..=1024).step_by(41) {
            let plain: Vec<Owned> = (first..(first + 41).min(1025))
                .map(|len| Owned::random(&random, len, AAD_LENGTHS[len % AAD_LENGTHS.len()]))
                .collect();
            assert_same_both_ways(aead.as_ref(), &library, &plain, "in one batch");
            for one in &plain {
                assert_same_both_ways(aead.as_ref(), &library, std::slice::from_ref(one), "alone");
            }
        }
    }
}

#[test]
fn fewer_kernels_make_the_same_bytes() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for tier in Tier::ALL {
        for kernels in [Kernels::Shared, Kernels::Unlike, Kernels::One] {
            let Some(aead) = tier.key_with(kernels, &key) else { continue };
            for len in (0..=1100).step_by(13).chain([1024, 3000]) {
                let aad_len = AAD_LENGTHS[random.index(AAD_LENGTHS.len())];
                let plain: Vec<Owned> = (0..11).map(|_| Owned::random(&random, len, aad_len)).collect();
                assert_same_both_ways(aead.as_ref(), &library, &plain, &format!("{kernels:?}"));
            }
        }
    }
}

#[test]
fn longer_texts_are_sealed_and_opened_as_the_library_does() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        for len in (1025..=5000).chain([16384, 65536, 65537, 100_003]) {
            let aad_len = AAD_LENGTHS[random.index(AAD_LENGTHS.len())];
            let plain = [Owned::random(&random, len, aad_len)];
            assert_same_both_ways(aead.as_ref(), &library, &plain, "long");
        }
    }
}

#[test]
fn counters_carry_beyond_256_and_65536_blocks() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        let plain = [Owned::random(&random, 65_536 * 16 + 700, 6), Owned::random(&random, 300 * 16 + 5, 31)];
        assert_same_both_ways(aead.as_ref(), &library, &plain, "long counters");
    }
}

#[test]
fn each_place_of_a_batch_is_right_beside_any_neighbours() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        for place in 0..7 {
            for len in [0, 1, 16, 33, 64, 65, 200, 1000] {
                let mut plain: Vec<Owned> = (0..7)
                    .map(|_| {
                        let (len, aad_len) = (random.index(1100), random.index(90));
                        Owned::random(&random, len, aad_len)
                    })
                    .collect();
                plain[place] = Owned::random(&random, len, 6);
                assert_same_both_ways(aead.as_ref(), &library, &plain, "beside neighbours");
            }
        }
    }
}

#[test]
fn each_aad_length_is_right_in_groups_and_alone() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        for aad_len in (0..200).chain([1008, 1009, 1024, 1039, 1040, 1041, 1088, 4096, 65_536 + 18]) {
            let text_len = [64, 100, 0, 31][aad_len % 4];
            let alike: Vec<Owned> = (0..5).map(|_| Owned::random(&random, text_len, aad_len)).collect();
            assert_same_both_ways(aead.as_ref(), &library, &alike, "alike");
            let unlike: Vec<Owned> = (0..6)
                .map(|i| {
                    let text_len = random.index(130);
                    Owned::random(&random, text_len, aad_len / (i + 1))
                })
                .collect();
            assert_same_both_ways(aead.as_ref(), &library, &unlike, "unlike");
        }
    }
}

#[test]
fn each_batch_size_to_300_is_right() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        for count in 0..=300 {
            let alike: Vec<Owned> = (0..count).map(|_| Owned::random(&random, 64, 6)).collect();
            assert_same_both_ways(aead.as_ref(), &library, &alike, "alike");
            let unlike: Vec<Owned> = (0..count)
                .map(|_| {
                    let len = random.index([70, 600, 2000][count % 3]);
                    Owned::random(&random, len, 31)
                })
                .collect();
            assert_same_both_ways(aead.as_ref(), &library, &unlike, "unlike");
        }
    }
}

/// Every length to 300, every bit of nonce, AAD, text and tag; in `scripts/slow lanes` each of them in each place of the
/// batch, otherwise in two. Sixteen take the kernels for messages that are alike, the last is alone.
#[test]
fn any_flipped_bit_is_unauthentic_and_wiped_and_hurts_nobody_else() {
    const PLACES: usize = 17;
    let turns = if cases().is_some() { PLACES } else { 2 };
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let mut flipped = 0;
    for aead in lanes(&key) {
        for len in 0..=300 {
            let aad_len = AAD_LENGTHS[len % 8];
            let plain: Vec<Owned> = (0..PLACES).map(|_| Owned::random(&random, len, aad_len)).collect();
            let mut sealed = plain.clone();
            seal(aead.as_ref(), &mut sealed);
            let bits = (12 + aad_len + len + TAG_LEN) * 8;
            for turn in 0..turns {
                // Every other message of a batch is damaged, each in another bit, beside neighbours that are not.
                for first in (0..bits).step_by(PLACES / 2) {
                    let mut messages = sealed.clone();
                    let mut damaged = [None; PLACES];
                    for (i, bit) in (first..bits.min(first + PLACES / 2)).enumerate() {
                        let place = (turn + 2 * i) % PLACES;
                        flip(&mut messages[place], bit);
                        damaged[place] = Some(bit);
                        flipped += 1;
                    }
                    let verdicts = open(aead.as_ref(), &mut messages);
                    for (place, bit) in damaged.into_iter().enumerate() {
                        let found = (verdicts[place], messages[place].text.as_slice());
                        check_one(&plain[place], found, bit, &format!("{} {len} B place {place}", aead.tier()));
                    }
                }
            }
        }
    }
    println!("{flipped} bits flipped");
}

/// A message with a flipped bit is unauthentic and zero; another is authentic and as it was.
fn check_one(plain: &Owned, (verdict, text): (Verdict, &[u8]), flipped: Option<usize>, what: &str) {
    if flipped.is_some() {
        assert_eq!(verdict, Verdict::Unauthentic, "{what}: bit {flipped:?}");
        assert!(text.iter().all(|&byte| byte == 0), "{what}: bit {flipped:?}: not wiped");
    } else {
        assert_eq!(verdict, Verdict::Authentic, "{what}: hurt by a neighbour's bit");
        assert!(text[..text.len() - TAG_LEN] == *plain.plain(), "{what}: changed by a neighbour's bit");
    }
}

#[test]
fn streams_of_each_length_are_as_the_library_makes_them() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        for len in 60..=1088 {
            let count = 4 + random.index(if len % 64 == 0 { 40 } else { 20 });
            let aad_len = [6, 31, 0, 16, 33][len % 5];
            let plain: Vec<Owned> = (0..count).map(|_| Owned::random(&random, len, aad_len)).collect();
            assert_same_both_ways(aead.as_ref(), &library, &plain, "a stream");
        }
        for len in [129, 256, 384, 512, 640, 768, 896, 1000, 1024, 2048] {
            for count in (0..70).chain([255, 256, 257, 300]) {
                let plain: Vec<Owned> = (0..count).map(|_| Owned::random(&random, len, 31)).collect();
                assert_same_both_ways(aead.as_ref(), &library, &plain, "a stream");
            }
        }
    }
}

#[test]
fn runs_of_alike_messages_may_end_anywhere() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    for aead in lanes(&key) {
        for _ in 0..200 {
            let mut plain = Vec::new();
            for _ in 0..1 + random.index(6) {
                let (len, aad_len) = (random.index(1100), random.index(40));
                for _ in 0..random.index(40) {
                    plain.push(Owned::random(&random, len, aad_len));
                }
            }
            assert_same_both_ways(aead.as_ref(), &library, &plain, "runs");
        }
    }
}

#[test]
fn damage_in_long_and_lone_messages_is_found() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    for aead in lanes(&key) {
        for len in [1024, 1025, 1536, 2048, 5000, 20_000, 70_001] {
            let plain = [Owned::random(&random, len, 70)];
            let mut sealed = plain.to_vec();
            seal(aead.as_ref(), &mut sealed);
            for _ in 0..40 {
                let mut damaged = sealed.clone();
                let bit = random.index((12 + 70 + len + TAG_LEN) * 8);
                flip(&mut damaged[0], bit);
                check_damaged(aead.as_ref(), &plain, damaged, 0, bit);
            }
        }
    }
}

#[test]
fn several_damaged_messages_of_one_group_are_each_found() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    for aead in lanes(&key) {
        for pattern in 0..16u32 {
            let plain: Vec<Owned> = (0..4).map(|_| Owned::random(&random, 80, 6)).collect();
            let mut sealed = plain.clone();
            seal(aead.as_ref(), &mut sealed);
            for (i, message) in sealed.iter_mut().enumerate() {
                message.text[40] ^= (pattern >> i & 1) as u8;
            }
            for (i, verdict) in open(aead.as_ref(), &mut sealed).into_iter().enumerate() {
                assert_eq!(verdict == Verdict::Unauthentic, pattern >> i & 1 == 1, "{} {pattern} {i}", aead.tier());
            }
        }
    }
}

#[test]
fn texts_without_room_for_a_tag_are_unauthentic() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    for aead in lanes(&key) {
        let mut messages: Vec<Owned> = (0..9).map(|_| Owned::random(&random, 20, 6)).collect();
        seal(aead.as_ref(), &mut messages);
        for (i, len) in [(1, 0), (4, 15), (5, 1)] {
            messages[i].text.truncate(len);
        }
        let verdicts = open(aead.as_ref(), &mut messages);
        for (i, verdict) in verdicts.into_iter().enumerate() {
            let short = [1, 4, 5].contains(&i);
            assert_eq!(verdict == Verdict::Unauthentic, short, "{} message {i}", aead.tier());
            assert!(!short || messages[i].text.iter().all(|&byte| byte == 0));
        }
    }
}

#[test]
fn sealing_without_room_for_a_tag_panics_and_leaves_that_text_alone() {
    for aead in lanes(&[1; 32]) {
        for short in 0..5 {
            let mut texts = vec![vec![7u8; 40]; 5];
            texts[short].truncate(15);
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let messages = texts.iter_mut().map(|text| Message { nonce: [0; 12], aad: &[], text_inout: text });
                aead.seal_batch(&mut messages.collect::<Vec<_>>());
            }));
            let words = *panicked.expect_err("no space").downcast::<&str>().expect("plain words");
            assert_eq!(words, "a message has no space for its tag", "{}", aead.tier());
            assert_eq!(texts[short], [7; 15], "{}", aead.tier());
        }
    }
}

/// In every place of several windows, alike and unlike, in each kernel: what was damaged is found, and nothing else.
#[test]
fn forgeries_in_any_place_of_a_long_batch_are_found() {
    const COUNT: usize = 600;
    let random = Seeded::replayable(SEED);
    let key = random.array();
    for aead in lanes(&key) {
        for len in [0, 40, 64, 100, 200, 300, 450, 600, 700, 800, 1000, 1024, 1100] {
            for step in [0, 7] {
                let plain: Vec<Owned> = (0..COUNT).map(|i| Owned::random(&random, len + i % 5 * step, 6)).collect();
                let mut sealed = plain.clone();
                seal(aead.as_ref(), &mut sealed);
                for of_four in 1..4 {
                    let mut messages = sealed.clone();
                    let damaged: Vec<Option<usize>> = messages
                        .iter_mut()
                        .map(|message| {
                            let bit = random.index((12 + 6 + message.text.len()) * 8);
                            (random.index(4) < of_four).then(|| flip(message, bit)).map(|()| bit)
                        })
                        .collect();
                    let verdicts = open(aead.as_ref(), &mut messages);
                    for (place, bit) in damaged.into_iter().enumerate() {
                        let found = (verdicts[place], messages[place].text.as_slice());
                        check_one(&plain[place], found, bit, &format!("{} {len} B place {place}", aead.tier()));
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "half a gigabyte: scripts/slow lanes runs it"]
fn counters_carry_beyond_2_to_the_24_blocks() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    let bytes: Vec<u8> = random.bytes(1 << 16);
    let text = bytes.iter().copied().cycle().take((1 << 24) * 16 + 5003 + TAG_LEN).collect();
    let plain = [Owned { nonce: random.array(), aad: random.bytes(70), text }];
    for aead in lanes(&key) {
        assert_same_both_ways(aead.as_ref(), &library, &plain, "a very long text");
    }
}

/// How many cases `scripts/slow lanes` wants.
fn cases() -> Option<usize> {
    std::env::var("SEALKV_LANES_CASES").ok().map(|cases| cases.parse().expect("SEALKV_LANES_CASES is a number"))
}

/// Random batches; `SEALKV_LANES_CASES` makes it longer.
#[test]
fn random_batches_are_as_the_library_makes_them() {
    let cases = cases().unwrap_or(3000);
    let random = Seeded::replayable(SEED);
    let mut tried = 0;
    while tried < cases {
        let key = random.array();
        let library = Library::new(&key);
        for aead in lanes(&key) {
            let count = 1 + random.index(80);
            let longest = [65, 257, 1025, 3000][random.index(4)];
            // In half of the batches all are alike, in the others few are.
            let alike = (random.index(2) == 0).then(|| (random.index(longest), random.index(100)));
            let plain: Vec<Owned> = (0..count)
                .map(|_| {
                    let (len, aad_len) = alike.unwrap_or_else(|| (random.index(longest), random.index(100)));
                    Owned::random(&random, len, aad_len)
                })
                .collect();
            assert_same_both_ways(aead.as_ref(), &library, &plain, "random");
            let mut damaged = plain.clone();
            seal(aead.as_ref(), &mut damaged);
            let place = random.index(count);
            let bit = random.index((12 + damaged[place].aad.len() + damaged[place].text.len()) * 8);
            flip(&mut damaged[place], bit);
            check_damaged(aead.as_ref(), &plain, damaged, place, bit);
            tried += count;
        }
        if lanes(&key).is_empty() {
            break;
        }
    }
    println!("{tried} random messages tried, 0 failed");
}

/// Flips one bit of nonce, AAD or text, counted through all of them.
pub(super) fn flip(message: &mut Owned, bit: usize) {
    let (at, mask) = (bit / 8, 1u8 << (bit % 8));
    if at < 12 {
        message.nonce[at] ^= mask;
    } else if at < 12 + message.aad.len() {
        message.aad[at - 12] ^= mask;
    } else {
        message.text[at - 12 - message.aad.len()] ^= mask;
    }
}

/// Only the message at `place` may fail, and it must, and be zero all over.
pub(super) fn check_damaged(aead: &dyn Aead, plain: &[Owned], mut damaged: Vec<Owned>, place: usize, bit: usize) {
    let verdicts = open(aead, &mut damaged);
    for (i, verdict) in verdicts.into_iter().enumerate() {
        let tier = aead.tier();
        if i == place {
            assert_eq!(verdict, Verdict::Unauthentic, "{tier}: bit {bit} of message {i}");
            assert!(damaged[i].text.iter().all(|&byte| byte == 0), "{tier}: bit {bit}: message {i} is not wiped");
        } else {
            assert_eq!(verdict, Verdict::Authentic, "{tier}: bit {bit} of {place} hurt message {i}");
            assert!(damaged[i].plain() == plain[i].plain(), "{tier}: bit {bit} of {place} changed message {i}");
        }
    }
}
