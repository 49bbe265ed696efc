//! Names of rows: what one costs, by tier, batch and length of the user's key.

use std::sync::Arc;
use std::time::Instant;

use sealkv::crypto::aead::TAG_KEYS_LEN;
use sealkv::crypto::aead::TAG_LEN;
use sealkv::crypto::aead::TagMessage;
use sealkv::crypto::aead::Tags;
use sealkv::crypto::aead::Tier;

use crate::run::Row;

/// Keys of one call.
const BATCHES: [usize; 3] = [1, 16, 64];
/// Bytes of a user's key.
const SIZES: [usize; 2] = [16, 64];
/// Names that are timed together.
const PASS: usize = 6400;

/// Measures every tier of this machine, in turns, for about `seconds` each.
pub fn measure(seconds: f64) -> Vec<Row> {
    let tiers: Vec<(Tier, Arc<dyn Tags>)> =
        Tier::ALL.into_iter().filter_map(|tier| Some((tier, tier.tag_key(&[7; TAG_KEYS_LEN])?))).collect();
    let keys: Vec<[u8; 64]> = (0..PASS).map(|n| std::array::from_fn(|place| (n * 31 + place * 7) as u8)).collect();
    let mut rows = Vec::new();
    for size in SIZES {
        for batch in BATCHES {
            let mut times: Vec<Vec<f64>> = tiers.iter().map(|_| Vec::new()).collect();
            let begin = Instant::now();
            while begin.elapsed().as_secs_f64() < seconds * tiers.len() as f64 {
                for ((_, tags), times) in tiers.iter().zip(&mut times) {
                    times.push(pass(tags.as_ref(), &keys, size, batch));
                }
            }
            rows.extend(tiers.iter().zip(times).map(|((tier, _), times)| row(*tier, size, batch, times)));
        }
    }
    rows
}

/// Prints a line for each tier and length.
pub fn print_table(rows: &[Row]) {
    println!("\nnames, ns each                 key   batch      ns  spread");
    for row in rows {
        let Row { tier, size, batch, nanoseconds, spread_percent, .. } = row;
        println!("sealkv {tier:<22} {size:>5} {batch:>7} {nanoseconds:>7.1} {spread_percent:>5.1} %");
    }
}

/// Nanoseconds for one name; the batch is put together as `crypto::names` does it.
fn pass(tags: &dyn Tags, keys: &[[u8; 64]], size: usize, batch: usize) -> f64 {
    let mut names = [[0; TAG_LEN]; 64];
    let begin = Instant::now();
    for keys in std::hint::black_box(keys).chunks(batch) {
        let names = std::hint::black_box(&mut names[..keys.len()]);
        if let [key] = keys {
            tags.tags(&[message(&key[..size])], names);
            continue;
        }
        for (keys, names) in keys.chunks(16).zip(names.chunks_mut(16)) {
            let mut messages = [message(&[]); 16];
            for (place, key) in messages.iter_mut().zip(keys) {
                *place = message(&key[..size]);
            }
            tags.tags(&messages[..keys.len()], names);
        }
    }
    begin.elapsed().as_nanos() as f64 / keys.len() as f64
}

fn message(key: &[u8]) -> TagMessage<'_> {
    TagMessage { aad: &[], plaintext: key, place: [0; 12] }
}

fn row(tier: Tier, size: usize, batch: usize, mut times: Vec<f64>) -> Row {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Row {
        implementation: "sealkv".to_owned(),
        tier: tier.name(),
        operation: "name".to_owned(),
        size,
        batch,
        nanoseconds: at(0.5),
        spread_percent: (at(0.75) - at(0.25)) / 2.0 / at(0.5) * 100.0,
    }
}
