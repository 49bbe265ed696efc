//! One size: all implementations checked, then timed in turns over the same frames.

use std::time::Duration;
use std::time::Instant;

use crate::arena::Arena;
use crate::peers::Peer;
use crate::peers::all;

/// Times of one implementation, operation and size.
pub struct Row {
    /// Name and version.
    pub implementation: String,
    /// Tier of sealkv; of others, how they were built.
    pub tier: &'static str,
    /// `seal` or `open`, with what is not as usual.
    pub operation: String,
    /// Bytes of text.
    pub size: usize,
    /// Messages of one call.
    pub batch: usize,
    /// Median of all passes, for one message.
    pub nanoseconds: f64,
    /// Half the distance of the quartiles, in percent of the median.
    pub spread_percent: f64,
}

/// Turns of each, at least.
const TURNS_MIN: usize = 15;
/// Time of a turn, in passes: long enough that few of them find the caches as others left them.
const TURN: Duration = Duration::from_micros(300);

/// Measures all whose name or tier contains `filter`, for about `seconds` each; beside it what cannot run here.
///
/// # Panics
/// If an implementation makes other bytes than the rest, or does not open what it sealed.
pub fn measure(size: usize, filter: &str, seconds: f64) -> (Vec<Row>, Vec<&'static str>) {
    let (mut peers, missing) = all(size);
    peers.retain(|peer| peer.name().contains(filter) || peer.tier().contains(filter));
    let mut arena = Arena::new(size);
    check(&mut peers, &mut arena);
    let mut times: Vec<[Vec<f64>; 2]> = peers.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    let begin = Instant::now();
    let mut turns = 0;
    while turns < TURNS_MIN || begin.elapsed().as_secs_f64() < seconds * peers.len() as f64 {
        for turn in 0..peers.len() {
            // Another one goes first each time: what ran before leaves its mark on caches and clock.
            let at = (turn + turns) % peers.len();
            let begin = Instant::now();
            while begin.elapsed() < TURN {
                let [seal, open] = pass(peers[at].as_mut(), &mut arena);
                times[at][0].push(seal);
                times[at][1].push(open);
            }
        }
        turns += 1;
    }
    let mut rows = Vec::new();
    for (peer, times) in peers.iter().zip(times) {
        for (operation, times) in ["seal", "open"].into_iter().zip(times) {
            rows.push(row(peer.as_ref(), operation, size, times));
        }
    }
    (rows, missing)
}

/// Seals and opens all frames once; nanoseconds for one message of each.
fn pass(peer: &mut dyn Peer, arena: &mut Arena) -> [f64; 2] {
    let count = arena.count() as f64;
    let mut messages = arena.messages(peer.aad_len());
    let begin = Instant::now();
    peer.seal(std::hint::black_box(&mut messages));
    let seal = begin.elapsed();
    let begin = Instant::now();
    let opened = peer.open(std::hint::black_box(&mut messages));
    let open = begin.elapsed();
    assert!(opened, "{} does not open what it sealed", peer.name());
    [seal, open].map(|time| time.as_nanos() as f64 / count)
}

/// All must make the same bytes, and give the text back.
fn check(peers: &mut [Box<dyn Peer>], arena: &mut Arena) {
    let plain = arena.bytes().to_vec();
    let mut expected: Vec<(usize, Vec<u8>)> = Vec::new();
    for peer in peers {
        let name = format!("{} {}", peer.name(), peer.tier());
        peer.seal(&mut arena.messages(peer.aad_len()));
        match expected.iter().find(|(aad_len, _)| *aad_len == peer.aad_len()) {
            Some((_, expected)) => assert!(expected == arena.bytes(), "{name} makes other bytes"),
            None => expected.push((peer.aad_len(), arena.bytes().to_vec())),
        }
        assert!(peer.open(&mut arena.messages(peer.aad_len())), "{name} does not open what it sealed");
        assert!(arena.same_texts(&plain), "{name} gives another text back");
    }
}

fn row(peer: &dyn Peer, operation: &str, size: usize, mut times: Vec<f64>) -> Row {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let operation = match peer.aad_len() {
        crate::arena::AAD_LEN => operation.to_owned(),
        aad_len => format!("{operation}/aad={aad_len}"),
    };
    Row {
        implementation: peer.name(),
        tier: peer.tier(),
        operation,
        size,
        batch: peer.batch(),
        nanoseconds: at(0.5),
        spread_percent: (at(0.75) - at(0.25)) / 2.0 / at(0.5) * 100.0,
    }
}
