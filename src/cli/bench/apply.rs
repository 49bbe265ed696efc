//! Runs of committed entries through the hook: clear ones handed on, sealed ones opened and handed on, strictly in order.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::halt::HaltCause;
use crate::apply::hook::Delivery;
use crate::apply::hook::Hook;
use crate::apply::hook::StateMachine;
use crate::apply::open::Openings;
use crate::cli::bench::cell::Cell;
use crate::cli::bench::cell::Sample;
use crate::cli::bench::cell::for_a_while;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::KeyStore;
use crate::crypto::keystore::Purpose;
use crate::crypto::keystore::TermSalt;
use crate::crypto::open::EntryKeys;
use crate::crypto::seal::seal_entries;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::exit::chain;
use crate::ids::ClusterId;
use crate::ids::Cutover;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::ProposalId;
use crate::ids::Term;

struct ApplyCell {
    name: String,
    hook: Hook,
    keys: Option<EntryKeys>,
    entries: Vec<LogEntry>,
}

pub(super) fn cells() -> Vec<Box<dyn Cell>> {
    let mut cells: Vec<Box<dyn Cell>> = Vec::new();
    for size in SIZES {
        for run in RUNS {
            for is_sealed in [false, true] {
                cells.push(Box::new(ApplyCell::new(is_sealed, run, size)));
            }
        }
    }
    cells
}

impl ApplyCell {
    fn new(is_sealed: bool, run: usize, size: usize) -> ApplyCell {
        let id = KeyId::new(1).expect("not 0");
        let store = KeyStore::new(ClusterId([1; 16]));
        store.insert(id, Purpose::Entry, Dek::new(&[7; 32])).expect("the first key");
        let term_salt = TermSalt { term: Term(3), index: OPENER, salt: [5; 32] };
        let payload = vec![0x61; size];
        let ids = (0..run as u64).map(ProposalId);
        let datas = if is_sealed {
            let key = store.snapshot().entry(id).expect("just inserted").leadership(&term_salt);
            let items: Vec<(ProposalId, &[u8])> = ids.map(|id| (id, &payload[..])).collect();
            seal_entries(&key, [1; 7], OPENER.next(), &items).expect("behind its opener")
        } else {
            ids.map(|proposal_id| EntryFrame { proposal_id, payload: &payload }.encode()).collect()
        };
        let entry = |(index, data)| LogEntry { term: Term(3), index: Index(index), kind: EntryKind::Normal, data };
        let cutover = Arc::new(Cutover::default());
        if is_sealed {
            cutover.set(OPENER);
        }
        ApplyCell {
            name: format!("{} {size} B runs of {run}", if is_sealed { "sealed" } else { "nil" }),
            hook: Hook::new(cutover, Openings::new(None)),
            keys: is_sealed.then(|| EntryKeys::new(store.snapshot(), Some(term_salt))),
            entries: (OPENER.0 + 1..).zip(datas).map(entry).collect(),
        }
    }
}

impl Cell for ApplyCell {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn measure(&mut self, time: Duration) -> Result<Sample, String> {
        let (entries, keys) = (&self.entries, self.keys.as_ref());
        for_a_while(time, || {
            let mut counted = Counted::default();
            self.hook.open_and_deliver(entries, keys, &mut counted).map_err(|halt| chain(&halt))?;
            Ok(counted.0)
        })
    }
}

/// A state machine that only counts.
#[derive(Default)]
struct Counted(u64);

impl StateMachine for Counted {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        self.0 += u64::from(!delivery.payload.is_empty());
        Ok(())
    }
}

const SIZES: [usize; 3] = [64, 256, 4096];
const RUNS: [usize; 2] = [16, 1024];
const OPENER: Index = Index(10);
