//! Every bit of a sealed log and of IDENTITY, flipped one at a time: refused by name, or harmless, or a torn end behind the
//! last acknowledged frame. Never an acknowledged entry that differs or is gone.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use sealkv::disk::SlotId;
use sealkv::keys::identity::Identity;
use sealkv::keys::identity::LogKey;
use sealkv::testing::leader::keks;
use sealkv::testing::log::LogRig;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;
use sealkv::wal::WalError;

use crate::log_model::Contents;
use crate::sealed_log::SealedLog;
use crate::sealed_log::is_header;

#[derive(Default)]
struct Verdicts {
    refused: AtomicU64,
    harmless: AtomicU64,
    torn: AtomicU64,
    failed: AtomicU64,
}

/// All bits of the slots that hold a segment, `SEALKV_RUNS` of them.
#[test]
fn every_bit_of_a_sealed_log_is_refused_by_name_or_changes_nothing_that_was_acknowledged() {
    let log = SealedLog::new(1, LIVE_BYTES);
    let live: Vec<SlotId> = log.slots().filter(|slot| is_header(&log.rig.platters.bytes(*slot))).collect();
    let slot_bits = log.rig.platters.bytes(live[0]).len() * 8;
    let all = live.len() * slot_bits;
    let size = usize::try_from(runs(CI_BITS)).unwrap().min(all);
    let (next, verdicts) = (AtomicUsize::new(0), Verdicts::default());
    let work = || {
        let rig = log.rig.image();
        loop {
            let at = next.fetch_add(1, Relaxed);
            if at >= size {
                break;
            }
            // Evenly over all, and every bit of a byte: the step is odd.
            let bit = if size == all { at } else { at * ((all / size) | 1) % all };
            flip(&rig, &log, live[bit / slot_bits], bit % slot_bits, &verdicts);
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        (0..workers).for_each(|_| drop(scope.spawn(work)));
    });
    let count = |of: &AtomicU64| of.load(Relaxed);
    let Verdicts { refused, harmless, torn, failed } = &verdicts;
    eprintln!(
        "{} slots, {all} bits: {} refused, {} harmless, {} torn",
        live.len(),
        count(refused),
        count(harmless),
        count(torn)
    );
    println!("{size} tried, {} failed", count(failed));
    assert_eq!(count(failed), 0);
    let frames = log.frames();
    assert!(live.len() >= 3 && frames.len() >= 20, "vacuous: {} slots, {} frames", live.len(), frames.len());
    let few = size as u64 / 20;
    assert!(count(refused) > few && count(harmless) > few, "vacuous");
}

fn flip(rig: &LogRig, log: &SealedLog, slot: SlotId, bit: usize, verdicts: &Verdicts) {
    let flip = || rig.platters.alter(slot, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    flip();
    let opened = rig.open().map(|(_, recovered)| recovered);
    flip();
    let counted = match opened {
        Err(WalError::Refused { slot: named, offset, .. }) if named == slot && offset <= bit as u64 / 8 => {
            &verdicts.refused
        }
        Ok(recovered) if Contents::of(&recovered) == *log.contents() => {
            if recovered.torn.is_some() {
                &verdicts.torn
            } else {
                &verdicts.harmless
            }
        }
        other => {
            eprintln!("failed: bit {bit} of slot {slot}: {other:?}");
            &verdicts.failed
        }
    };
    counted.fetch_add(1, Relaxed);
}

#[test]
fn every_bit_of_identity_is_refused() {
    let chance = Seeded::new(2);
    let identity =
        Identity { node: LogRig::new(1).config.node_id, cluster: LogRig::new(1).config.cluster_id, log_slots: 4 };
    let (sealed, clear) = (keks(7), sealkv::keys::kek::KekSet::default());
    let log_key = LogKey::make(&sealed, identity.node, identity.cluster, &chance).unwrap();
    for (bytes, keks) in [(identity.encode(Some(&log_key)), &sealed), (identity.encode(None), &clear)] {
        assert_eq!(Identity::open(&bytes, keks).unwrap().0, identity);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::open(&flipped, keks).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Identity::open(&bytes[..length], keks).is_err(), "{length} bytes");
        }
    }
}

const LIVE_BYTES: usize = 80 << 10;
/// `scripts/slow bit-flips` takes every bit.
const CI_BITS: u64 = 3_000;
