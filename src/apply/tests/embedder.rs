//! The hook that an embedder holds, and what a halt says of itself.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::HaltClass;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::hook::Delivery;
use crate::apply::hook::Hook;
use crate::apply::hook::StateMachine;
use crate::apply::open::Openings;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::at;
use crate::apply::tests::kit::set;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::OpenError;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::fsm::opening::ReadError;
use crate::ids::Cutover;
use crate::ids::Index;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::lack::KeyLack;

/// Notes payloads; sets the cutover at an entry, and may say that it is full.
struct Machine {
    cutover: Arc<Cutover>,
    cutover_at: u64,
    full_after: usize,
    seen: Vec<Vec<u8>>,
}

impl Machine {
    fn new(cutover: &Arc<Cutover>, cutover_at: u64) -> Machine {
        Machine { cutover: Arc::clone(cutover), cutover_at, full_after: usize::MAX, seen: Vec::new() }
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        if delivery.position.index == Index(self.cutover_at) {
            self.cutover.set(delivery.position.index);
        }
        self.seen.push(delivery.payload.to_vec());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.seen.len() >= self.full_after
    }
}

fn clear(index: u64, payload: &[u8]) -> LogEntry {
    let data = EntryFrame { proposal_id: ProposalId(index), payload }.encode();
    LogEntry { term: Term(1), index: Index(index), kind: EntryKind::Normal, data }
}

/// Entry 4 (the opener of a real log) replaced by a clear one of our own, 5 to 8 sealed.
fn across() -> (Leader, Vec<LogEntry>) {
    let mut leader = Leader::sealed(1);
    for _ in 0..4 {
        leader.clients(&[set("k", "v")]);
    }
    let sealed = leader.log[3..].iter().map(|committed| committed.entry.clone());
    let entries = [clear(3, b"three"), clear(4, b"turn it on")].into_iter().chain(sealed).collect();
    (leader, entries)
}

#[test]
fn inert_default_a_hook_without_anything_gives_out_what_was_proposed() {
    let mut machine = Machine::new(&Arc::default(), 0);
    let entries =
        [clear(2, b"one"), clear(3, b""), LogEntry { data: Bytes::new(), ..clear(4, b"") }, clear(u64::MAX, b"x")];
    assert_eq!(Hook::default().open_and_deliver(&entries, None, &mut machine).unwrap(), 4);
    assert_eq!(machine.seen, [&b"one"[..], b"", b"x"]);
}

#[test]
fn cutover_strict_an_entry_that_sets_the_cutover_is_followed_by_sealed_ones_in_the_same_call() {
    let (leader, entries) = across();
    let keys = leader.node_keys.current().entry_keys().unwrap();
    let cutover = Arc::<Cutover>::default();
    let mut machine = Machine::new(&cutover, 4);
    let mut hook = Hook::new(Arc::clone(&cutover), Openings::new(None));
    assert_eq!(hook.open_and_deliver(&entries, Some(&keys), &mut machine).unwrap(), 6);
    assert_eq!(machine.seen[1], b"turn it on");
    let opened = Leader::payload(&leader, &[set("k", "v")]);
    assert!(machine.seen[2..].iter().all(|payload| payload.len() == opened.len()), "no envelope reached the machine");
    // Without keys nothing behind it does.
    let cutover = Arc::<Cutover>::default();
    let mut machine = Machine::new(&cutover, 4);
    let halt = Hook::new(cutover, Openings::new(None)).open_and_deliver(&entries, None, &mut machine).unwrap_err();
    assert_eq!((halt.position.index, halt.class(), machine.seen.len()), (Index(5), HaltClass::NoCipher, 2));
}

#[test]
fn a_full_machine_gets_the_rest_in_the_next_call_and_a_halt_counts_from_the_first_entry() {
    let (leader, mut entries) = across();
    let keys = leader.node_keys.current().entry_keys().unwrap();
    let cutover = Arc::<Cutover>::default();
    let mut machine = Machine::new(&cutover, 4);
    machine.full_after = 3;
    let mut hook = Hook::new(Arc::clone(&cutover), Openings::new(None));
    assert_eq!(hook.open_and_deliver(&entries, Some(&keys), &mut machine).unwrap(), 3);
    let mut data = entries[5].data.to_vec();
    *data.last_mut().unwrap() ^= 1;
    entries[5].data = Bytes::from(data);
    machine.full_after = usize::MAX;
    let halt = hook.open_and_deliver(&entries[3..], Some(&keys), &mut machine).unwrap_err();
    assert_eq!((halt.class(), halt.position.index), (HaltClass::Unauthentic, Index(8)));
    assert_eq!(machine.seen.len(), 5);
}

/// Goal: whoever looks at a halt finds its class, and by the chain of sources the exact error of the room below.
#[test]
fn err_mark_a_halt_matches_its_class_and_its_cause_and_says_where_and_what_to_do() {
    fn has<E: Error + PartialEq + 'static>(halt: &Halt, cause: &E) -> bool {
        chain(halt).any(|error| error.downcast_ref::<E>() == Some(cause))
    }
    let made = |cause| Halt { position: at(7, 81), proposal_id: Some(ProposalId(5)), key_id: Some(9), cause };
    let lack = KeyLack::Unknown { key_id: 9 };
    let short = OpenError::EnvelopeShort { bytes: 3 };
    let unknown = made(HaltCause::UnknownKey(lack));
    assert!(matches!(unknown.class(), HaltClass::UnknownKey) && has(&unknown, &lack));
    let malformed = made(short.into());
    assert!(matches!(malformed.class(), HaltClass::Malformed) && has(&malformed, &short));
    assert!(has(&malformed, &Malformation::Bytes(short)));
    let machine = made(HaltCause::StateMachine(MachineError::Read(ReadError::UnknownKey { key_id: 4 })));
    assert!(matches!(machine.class(), HaltClass::StateMachine));
    let read = chain(&machine).find_map(|error| error.downcast_ref::<ReadError>());
    assert!(matches!(read, Some(ReadError::UnknownKey { key_id: 4 })));
    let all = [unknown, malformed, machine, made(HaltCause::NoCipher), made(HaltCause::Unauthentic)];
    let mut classes: Vec<HaltClass> = all.iter().map(Halt::class).collect();
    classes.sort_unstable();
    assert_eq!(classes, HaltClass::ALL);
    for halt in &all {
        assert!(
            matches!(halt.source().unwrap().downcast_ref(), Some(cause) if halt.class() == HaltCause::class(cause))
        );
        let line = halt.to_string();
        for part in ["index 81", "term 7", "key 9", "0x0000000000000005", halt.class().word(), halt.cause.advice()] {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
        }
    }
}

/// An error and its sources.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}
