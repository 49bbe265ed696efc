//! The hook in front of the state machine in five ways, and what a planted regression of five instructions looks like.
//!
//! ```text
//! none     the loop of any raft without the hook: only normal entries that are not empty, their frame decoded, handed over
//! nil      no keys, no cutover: the nil cipher
//! inert    keys, and no cutover
//! below    keys, and every entry at or below the cutover
//! sealed   keys, and every entry above the cutover
//! planted  nil, over entries that cost five instructions more each
//! ```

use std::hint::black_box;
use std::slice::Iter;
use std::sync::Arc;

use sealkv::apply::halt::HaltCause;
use sealkv::apply::hook::Delivery;
use sealkv::apply::hook::Hook;
use sealkv::apply::hook::StateMachine;
use sealkv::apply::open::Openings;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::entry::EntryKind;
use sealkv::entry::LogEntry;
use sealkv::ids::Cutover;
use sealkv::ids::Index;
use sealkv::testing::workload::OPENER;
use sealkv::testing::workload::Scale;
use sealkv::testing::workload::Workload;

use crate::bench::Bench;
use crate::bench::Way;

const WAYS: [&str; 6] = ["none", "nil", "inert", "below", "sealed", "planted"];
const COUNTS: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];
const SIZES: [usize; 2] = [64, 256];

/// A state machine that does as little as one can: it counts entries and bytes.
#[derive(Default)]
pub struct Sum {
    entries: u64,
    bytes: u64,
}

impl Sum {
    pub fn number(&self) -> u64 {
        self.entries << 32 | self.bytes
    }
}

impl StateMachine for Sum {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        self.entries += 1;
        self.bytes += delivery.payload.len() as u64;
        Ok(())
    }
}

pub fn all(scale: Scale) -> Vec<Bench> {
    let mut benches = Vec::new();
    for size in scale.of(&SIZES) {
        for count in scale.of(&COUNTS) {
            for way in WAYS {
                let name = format!("apply::hook/hook={way} size={size} count={count}");
                let expected = (count as u64) << 32 | (count * size) as u64;
                benches.push(Bench::new(name, (count, 0), expected, move || work(way, count, size)));
            }
        }
    }
    benches
}

pub fn work(way: &'static str, count: usize, size: usize) -> Way {
    let twins = Workload::new(1).twins(count, size);
    let entries = if way == "sealed" { twins.sealed } else { twins.clear };
    let last = entries[count - 1].index;
    let keys = twins.keys.entry_keys();
    let (cutover, keys) = match way {
        "nil" | "planted" => (Index::NEVER, None),
        "inert" => (Index::NEVER, Some(keys)),
        "below" => (last, Some(keys)),
        _ => (OPENER, Some(keys)),
    };
    let shared = Arc::new(Cutover::default());
    shared.set(cutover);
    let mut hook = Hook::new(shared, Openings::new(None));
    match way {
        "none" => Way::again(move || {
            let mut machine = Sum::default();
            without_hook(black_box(&entries), &mut machine);
            machine.number()
        }),
        "planted" => Way::again(move || {
            let mut machine = Sum::default();
            let _ = hook.open_and_deliver(Planted(black_box(&entries[..]).iter()), keys.as_ref(), &mut machine);
            machine.number()
        }),
        _ => Way::again(move || {
            let mut machine = Sum::default();
            let _ = hook.open_and_deliver(black_box(&entries[..]), keys.as_ref(), &mut machine);
            machine.number()
        }),
    }
}

/// Not inlined, so that the state machine is behind a reference as it is for the hook, and not in registers.
#[inline(never)]
fn without_hook(entries: &[LogEntry], machine: &mut Sum) {
    for entry in entries {
        let position = entry.position();
        // As with the hook: membership changes are somebody else's.
        assert_eq!(entry.kind, EntryKind::Normal);
        if entry.data.is_empty() {
            machine.skip(position);
            continue;
        }
        let Ok(EntryFrame { proposal_id, payload }) = EntryFrame::decode(&entry.data) else { break };
        if machine.apply(Delivery { position, proposal_id, payload, entry_tag: None }).is_err() {
            break;
        }
    }
}

/// Entries, each of which costs five instructions more: the bug that the gate has to catch.
#[derive(Clone)]
struct Planted<'e>(Iter<'e, LogEntry>);

impl<'e> Iterator for Planted<'e> {
    type Item = &'e LogEntry;

    #[inline]
    fn next(&mut self) -> Option<&'e LogEntry> {
        let entry = self.0.next()?;
        // Through memory and back, twice: a store, a load, an addition, a store, a load.
        let _ = black_box(black_box(entry.index.0).wrapping_add(3));
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<&'e LogEntry> {
        self.0.nth(n)
    }
}

impl ExactSizeIterator for Planted<'_> {}
