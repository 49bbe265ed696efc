//! Goal: no input whatever makes a tier differ from the library, or a flipped bit go unnoticed. Method: any bytes are a
//! case; a mutator without feedback makes them, from a seed. `scripts/slow lanes-fuzz` runs it longer.
//!
//! ```text
//! case = key(32) | flipped bit(4, LE) | { length of text(2, LE) | length of AAD(1) } ... ; what is cut off is zero
//! ```

use super::differential::check_damaged;
use super::differential::flip;
use super::*;

/// Longest text of a case: beyond the point where every kernel has turned to its long form, with each kind of rest.
const TEXT_BYTES_MAX: usize = 4200;
/// Messages of a case.
const MESSAGES_MAX: usize = 70;
const HEAD: usize = KEY_LEN + 4;
/// Inputs that mutations start from.
const CORPUS: usize = 32;

/// Lengths around blocks and vectors.
const EDGES: [u8; 15] = [0, 1, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 127, 128, 255];

struct Case {
    key: [u8; KEY_LEN],
    lengths: Vec<(usize, usize)>,
    bit: usize,
}

/// Any bytes are a case.
fn read(bytes: &[u8]) -> Case {
    let mut head = [0; HEAD];
    let given = bytes.len().min(HEAD);
    head[..given].copy_from_slice(&bytes[..given]);
    let (key, bit) = head.split_first_chunk::<KEY_LEN>().expect("key and bit");
    let lengths = bytes[given..].chunks(3).take(MESSAGES_MAX);
    let lengths = lengths.map(|chunk| {
        let at = |place: usize| usize::from(chunk.get(place).copied().unwrap_or(0));
        ((at(0) | at(1) << 8) % (TEXT_BYTES_MAX + 1), at(2))
    });
    let bit = u32::from_le_bytes(bit.try_into().expect("4 bytes")) as usize;
    Case { key: *key, lengths: lengths.collect(), bit }
}

/// Every tier seals as the library does, opens it, and finds the flipped bit and nothing else.
fn try_one(bytes: &[u8]) {
    let case = read(bytes);
    let random = Seeded::new(u64::from_le_bytes(case.key[..8].try_into().expect("8 bytes")));
    let plain: Vec<Owned> = case.lengths.iter().map(|&(len, aad_len)| Owned::random(&random, len, aad_len)).collect();
    let library = Library::new(&case.key);
    let mut sealed = plain.clone();
    seal(&library, &mut sealed);
    for aead in lanes(&case.key) {
        assert_same_both_ways(aead.as_ref(), &library, &plain, "a case of the fuzzer");
        let Some(place) = case.bit.checked_rem(plain.len()) else { continue };
        let (mut damaged, message) = (sealed.clone(), &plain[place]);
        let bit = case.bit / plain.len() % ((12 + message.aad.len() + message.text.len()) * 8);
        flip(&mut damaged[place], bit);
        check_damaged(aead.as_ref(), &plain, damaged, place, bit);
    }
}

/// Changes bytes as fuzzers do: bits, bytes at the edges of widths, pieces cut, doubled and taken from another input.
fn mutate(random: &Seeded, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.index(4) {
        let at = random.index(input.len() + 1);
        match random.index(8) {
            0 if at < input.len() => input[at] ^= 1 << random.index(8),
            1 if at < input.len() => input[at] = EDGES[random.index(EDGES.len())],
            2 => input.truncate(at),
            3 => input.insert(at, random.bits() as u8),
            4 => {
                let piece = input[at..(at + 3 * random.index(20)).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            5 if !other.is_empty() => {
                let from = random.index(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            // Many kernels are chosen by the longest of a few messages: one bound for all of them.
            6 => {
                let bounds = [random.index(17) as u8, EDGES[random.index(EDGES.len())]];
                for message in input.get_mut(HEAD + 1..).unwrap_or_default().chunks_mut(3) {
                    // High byte of the text's length, then the AAD's.
                    message.iter_mut().zip(bounds).for_each(|(byte, bound)| *byte = (*byte).min(bound));
                }
            }
            // A batch of one shape: the kernels for equal lengths.
            _ => {
                let shape = [random.bits() as u8, random.index(6) as u8, [0, 6, 31][random.index(3)]];
                input.truncate(HEAD);
                (0..random.index(MESSAGES_MAX)).for_each(|_| input.extend(shape));
            }
        }
    }
    input.truncate(HEAD + 3 * MESSAGES_MAX);
}

/// Says which input it was if the test ends by a panic.
struct Replay<'a>(&'a [u8]);

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("replay: SEALKV_LANES_INPUT={}", hex::encode(self.0));
        }
    }
}

/// `SEALKV_RUNS` makes it longer; `SEALKV_LANES_INPUT` tries one input.
#[test]
fn any_bytes_are_a_case_in_which_tiers_agree_and_damage_is_found() {
    if let Ok(input) = std::env::var("SEALKV_LANES_INPUT") {
        return try_one(&hex::decode(input).expect("hex"));
    }
    let cases = std::env::var("SEALKV_RUNS").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000usize);
    let random = Seeded::replayable(SEED);
    let mut corpus = vec![Vec::new(); CORPUS];
    for _ in 0..cases {
        let (from, other, to) = (random.index(CORPUS), random.index(CORPUS), random.index(CORPUS));
        let mut input = corpus[from].clone();
        mutate(&random, &mut input, &corpus[other]);
        let replay = Replay(&input);
        try_one(replay.0);
        drop(replay);
        corpus[to] = input;
    }
    println!("{cases} tried, 0 failed");
}

#[test]
fn the_fuzzer_reaches_what_it_is_for() {
    let random = Seeded::replayable(SEED);
    let mut corpus = vec![Vec::new(); CORPUS];
    let (mut empty, mut alike, mut unlike, mut long, mut full) = (0, 0, 0, 0, 0);
    for _ in 0..2000 {
        let (from, other, to) = (random.index(CORPUS), random.index(CORPUS), random.index(CORPUS));
        let mut input = corpus[from].clone();
        mutate(&random, &mut input, &corpus[other]);
        let lengths = read(&input).lengths;
        empty += usize::from(lengths.is_empty());
        alike += usize::from(lengths.len() >= 8 && lengths.iter().all(|one| *one == lengths[0]));
        unlike += usize::from(lengths.len() >= 8 && lengths.iter().any(|one| *one != lengths[0]));
        long += usize::from(lengths.iter().any(|one| one.0 > 1100));
        full += usize::from(lengths.len() == MESSAGES_MAX);
        corpus[to] = input;
    }
    println!("empty {empty}, alike {alike}, unlike {unlike}, long {long}, full {full}");
    assert!(empty > 20 && alike > 50 && unlike > 50 && long > 100 && full > 5);
}
