//! The hook alone, with a state machine that only notes what it is given.

use std::sync::Arc;

use bytes::Bytes;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::HaltClass;
use crate::apply::hook::Delivery;
use crate::apply::hook::Hook;
use crate::apply::hook::OpenedCount;
use crate::apply::hook::StateMachine;
use crate::apply::hook::is_sealed;
use crate::apply::open::Openings;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::pool;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::open::EntryKeys;
use crate::crypto::stored::ValueBinding;
use crate::crypto::stored::seal_values;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Cutover;
use crate::ids::Index;
use crate::ids::ProposalId;

/// Notes index, proposal and payload of every delivery, and where the payload lay in memory.
#[derive(Default)]
struct Notebook {
    seen: Vec<(u64, ProposalId, Vec<u8>)>,
    places: Vec<*const u8>,
    /// How many entries were opened at once, each time.
    parts: Vec<u64>,
    /// Payloads that were shown before they came.
    looked_at: Vec<Vec<u8>>,
}

impl StateMachine for Notebook {
    fn begin(&mut self, opened: OpenedCount) {
        self.parts.push(opened.entries);
    }

    fn look_ahead(&mut self, payloads: &mut dyn Iterator<Item = &[u8]>) {
        self.looked_at.extend(payloads.map(<[u8]>::to_vec));
    }

    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        self.seen.push((delivery.position.index.0, delivery.proposal_id, delivery.payload.to_vec()));
        self.places.push(delivery.payload.as_ptr());
        Ok(())
    }
}

impl Notebook {
    fn indexes(&self) -> Vec<u64> {
        self.seen.iter().map(|(index, ..)| *index).collect()
    }
}

fn hook(cutover: Index, openings: Openings) -> Hook {
    let shared = Cutover::default();
    if cutover != Index::NEVER {
        shared.set(cutover);
    }
    Hook::new(Arc::new(shared), openings)
}

fn run(entries: &[LogEntry], cutover: Index, keys: Option<&EntryKeys>) -> (Notebook, Result<usize, Halt>) {
    let mut machine = Notebook::default();
    let result = hook(cutover, Openings::new(None)).open_and_deliver(entries, keys, &mut machine);
    (machine, result)
}

/// A sealed log of client entries 5, 6, 7, ... (2 empty, 3 cutover, 4 opener), and what opens it.
fn sealed_entries(count: usize) -> (Leader, Vec<LogEntry>, Index, EntryKeys) {
    let mut leader = Leader::sealed(1);
    for number in 0..count {
        leader.clients(&[set(&format!("key {number}"), "value")]);
    }
    let entries = leader.log[3..].iter().map(|committed| committed.entry.clone()).collect();
    let view = leader.node_keys.current();
    (leader, entries, Index(3), view.entry_keys().unwrap())
}

fn class_at(result: Result<usize, Halt>) -> (HaltClass, u64) {
    let halt = result.unwrap_err();
    (halt.class(), halt.position.index.0)
}

#[test]
fn cutover_strict_the_entry_at_the_cutover_is_in_the_clear() {
    assert!(!is_sealed(Index(7), Index(7)));
    assert!(is_sealed(Index(8), Index(7)));
    assert!(!is_sealed(Index(u64::MAX), Index::NEVER), "no cutover: no index is above it");
    let (_leader, mut entries, _, keys) = sealed_entries(3);
    let clear = EntryFrame { proposal_id: ProposalId(9), payload: b"clear" }.encode();
    entries[0].data = clear.clone();
    let (machine, result) = run(&entries, Index(5), Some(&keys));
    assert_eq!(result.unwrap(), 3);
    assert_eq!(machine.seen[0], (5, ProposalId(9), b"clear".to_vec()));
    entries[1].data = clear;
    let (machine, result) = run(&entries, Index(5), Some(&keys));
    assert_eq!(class_at(result), (HaltClass::Malformed, 6));
    assert_eq!(machine.indexes(), [5]);
}

#[test]
fn without_a_cutover_the_hook_is_inert_and_copies_nothing() {
    let (_leader, entries, _, keys) = sealed_entries(4);
    for keys in [None, Some(&keys)] {
        let (machine, result) = run(&entries, Index::NEVER, keys);
        assert_eq!(result.unwrap(), 4);
        for (entry, (seen, place)) in entries.iter().zip(machine.seen.iter().zip(&machine.places)) {
            assert_eq!(seen.2, &entry.data[9..]);
            assert_eq!(*place, entry.data[9..].as_ptr(), "borrowed from the entry");
        }
    }
}

#[test]
fn decode_first_the_proposal_id_is_readable_before_and_after() {
    let (_leader, mut entries, cutover, keys) = sealed_entries(2);
    let before = entries.clone();
    let (machine, _) = run(&entries, cutover, Some(&keys));
    assert_eq!(entries, before, "an entry's bytes are never modified");
    let id = EntryFrame::decode(&entries[1].data).unwrap().proposal_id;
    assert_eq!(machine.seen[1].1, id);
    flip(&mut entries[1], 40);
    let halt = run(&entries, cutover, Some(&keys)).1.unwrap_err();
    assert_eq!(halt.proposal_id, Some(id));
    assert_eq!(halt.key_id, Some(1));
    // No frame, no cipher: the frame is judged first.
    entries[1].data = Bytes::from_static(b"\x02 not a frame at all");
    let halt = run(&entries[1..], cutover, None).1.unwrap_err();
    assert_eq!((halt.class(), halt.proposal_id), (HaltClass::Malformed, None));
}

#[test]
fn no_cipher_halt_envelope_bytes_never_reach_the_state_machine() {
    let (_leader, entries, cutover, _) = sealed_entries(2);
    let (machine, result) = run(&entries, cutover, None);
    assert_eq!(class_at(result), (HaltClass::NoCipher, 5));
    assert!(machine.seen.is_empty());
}

#[test]
fn malformed_halt_bytes_that_no_leader_makes_stop_the_log() {
    let (_leader, entries, cutover, keys) = sealed_entries(3);
    let good = entries[1].data.to_vec();
    let with = |at: usize, byte: u8| {
        let mut data = good.clone();
        data[at] = byte;
        data
    };
    let malformed = [
        b"\x01".to_vec(),
        good[..8].to_vec(),
        good[..9].to_vec(),
        good[..9 + 33].to_vec(),
        with(0, 0),
        with(0, 2),
        with(9, 0),
        with(9, 1),
        with(9, 4),
        with(10, 1),
        with(14, 0),
    ];
    for data in malformed {
        let mut entries = entries.clone();
        entries[1].data = Bytes::from(data.clone());
        let (machine, result) = run(&entries, cutover, Some(&keys));
        assert_eq!(class_at(result), (HaltClass::Malformed, 6), "{}", hex::encode(data));
        assert_eq!(machine.indexes(), [5]);
    }
}

#[test]
fn an_empty_entry_never_halts_anybody() {
    let (_leader, mut entries, cutover, keys) = sealed_entries(3);
    entries[1].data = Bytes::new();
    let (machine, result) = run(&entries, cutover, Some(&keys));
    assert_eq!(result.unwrap(), 3);
    assert_eq!(machine.indexes(), [5, 7], "nothing is made of it");
    assert_eq!(run(&entries[1..2], cutover, None).1.unwrap(), 1);
}

#[test]
fn open_halt_the_state_machine_sees_nothing_from_there_on() {
    let (_leader, entries, cutover, keys) = sealed_entries(5);
    for bad in 0..5 {
        // Nonce, ciphertext, tag: every byte of the envelope behind its key id.
        for byte in [15, 30, entries[bad].data.len() - 1] {
            let mut entries = entries.clone();
            flip(&mut entries[bad], byte);
            let (machine, result) = run(&entries, cutover, Some(&keys));
            assert_eq!(class_at(result), (HaltClass::Unauthentic, bad as u64 + 5));
            assert_eq!(machine.seen.len(), bad);
        }
    }
    let mut entries = entries;
    let mut data = entries[2].data.to_vec();
    data[14] = 77;
    entries[2].data = Bytes::from(data);
    let halt = run(&entries, cutover, Some(&keys)).1.unwrap_err();
    assert_eq!((halt.class(), halt.key_id), (HaltClass::UnknownKey, Some(77)));
}

#[test]
fn an_entry_of_another_term_than_the_openers_has_no_key() {
    let (mut leader, _, cutover, _) = sealed_entries(1);
    leader.term += 1;
    leader.empty();
    leader.clients(&[set("a", "b")]);
    let entries: Vec<LogEntry> = leader.log[4..].iter().map(|committed| committed.entry.clone()).collect();
    let (machine, result) = run(&entries, cutover, Some(&leader.node_keys.current().entry_keys().unwrap()));
    assert_eq!(class_at(result), (HaltClass::UnknownKey, 7));
    assert!(machine.seen.is_empty());
}

#[test]
fn place_bound_an_entry_that_was_moved_repeated_or_renamed_does_not_open() {
    let (_leader, entries, cutover, keys) = sealed_entries(4);
    let mut swapped = entries.clone();
    let (one, two) = (swapped[1].data.clone(), swapped[2].data.clone());
    (swapped[1].data, swapped[2].data) = (two, one);
    assert_eq!(class_at(run(&swapped, cutover, Some(&keys)).1), (HaltClass::Unauthentic, 6));
    let mut repeated = entries.clone();
    repeated[3].data = repeated[2].data.clone();
    assert_eq!(class_at(run(&repeated, cutover, Some(&keys)).1), (HaltClass::Unauthentic, 8));
    let mut renamed = entries;
    flip(&mut renamed[0], 8);
    assert_eq!(class_at(run(&renamed, cutover, Some(&keys)).1), (HaltClass::Unauthentic, 5));
}

#[test]
fn layers_apart_a_value_or_control_entry_never_opens_as_an_entry_nor_the_reverse() {
    let (mut leader, entries, cutover, keys) = sealed_entries(2);
    let active = leader.node_keys.current().active_value().unwrap();
    let header = [2, 0, 0, 0, 0, 0, 0, 0, 0];
    let binding = ValueBinding { store_key: b"k", header, entry_tag: [0; 16], delta: 1, op: 0 };
    let row = seal_values(&active.dek, &[(binding, b"b")]).unwrap().remove(0);
    let opener = leader.opener();
    let control = leader.entry(opener.index.0).data[9..].to_vec();
    let entry = entries[1].data[9..].to_vec();
    let as_version = |envelope: &[u8], version: u8| [&[version], &envelope[1..]].concat();
    let forged = [
        (row[9..].to_vec(), HaltClass::Malformed),
        // Key 2 is the value DEK: no entry key has that id.
        (as_version(&row[9..], 2), HaltClass::UnknownKey),
        (as_version(&row[9..], 3), HaltClass::UnknownKey),
        (as_version(&control, 2), HaltClass::Unauthentic),
        (as_version(&entry, 3), HaltClass::Unauthentic),
    ];
    for (envelope, class) in forged {
        let mut entries = entries.clone();
        entries[1].data = EntryFrame { proposal_id: ProposalId(1), payload: &envelope }.encode();
        let (machine, result) = run(&entries, cutover, Some(&keys));
        assert_eq!(class_at(result), (class, 6));
        assert_eq!(machine.indexes(), [5]);
    }
}

#[test]
fn in_order_for_any_run_length_and_thread_count() {
    let (_leader, entries, cutover, keys) = sealed_entries(300);
    for threads in 1..=4 {
        let mut hook = hook(cutover, Openings::eager(pool(threads)));
        for length in [1, 2, 3, 7, 64, 300] {
            let mut machine = Notebook::default();
            for run in entries.chunks(length) {
                assert_eq!(hook.open_and_deliver(run, Some(&keys), &mut machine).unwrap(), run.len());
            }
            assert_eq!(machine.indexes(), (5..305).collect::<Vec<u64>>());
        }
    }
}

#[test]
fn in_order_and_each_once_where_a_run_is_opened_in_parts() {
    let (_leader, mut entries, cutover, keys) = sealed_entries(900);
    let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
    let run_in = |entries: &[LogEntry], openings| {
        let mut machine = Notebook::default();
        (hook(cutover, openings).open_and_deliver(entries, Some(&keys), &mut machine), machine)
    };
    for (openings, parts) in [(Openings::new(None), bytes.div_ceil(64 << 10)), (Openings::eager(None), 900)] {
        let (result, machine) = run_in(&entries, openings);
        assert_eq!(result.unwrap(), 900);
        assert_eq!(machine.indexes(), (5..905).collect::<Vec<u64>>());
        assert_eq!((machine.parts.len(), machine.parts.iter().sum::<u64>()), (parts, 900));
        assert!(machine.seen.iter().map(|(.., payload)| payload).eq(&machine.looked_at));
    }
    // Of a part with an entry that does not open, those before it are delivered, and no part behind it is opened.
    flip(&mut entries[600], 50);
    let (result, machine) = run_in(&entries, Openings::new(None));
    assert_eq!(class_at(result), (HaltClass::Unauthentic, 605));
    assert_eq!(machine.indexes(), (5..605).collect::<Vec<u64>>());
    assert!(machine.parts.iter().sum::<u64>() < 900, "{:?}", machine.parts);
}

#[test]
fn results_of_an_earlier_run_are_never_taken_for_this_one() {
    let (_leader, entries, cutover, keys) = sealed_entries(4);
    let mut hook = hook(cutover, Openings::eager(pool(3)));
    let mut machine = Notebook::default();
    hook.open_and_deliver(&entries, Some(&keys), &mut machine).unwrap();
    let result = hook.open_and_deliver(&entries[..1], None, &mut machine);
    assert_eq!(class_at(result), (HaltClass::NoCipher, 5));
    hook.open_and_deliver(&entries[..0], Some(&keys), &mut machine).unwrap();
    assert_eq!(machine.seen.len(), 4);
}

#[test]
#[should_panic(expected = "membership changes are cut out of runs")]
fn a_membership_change_is_never_handed_to_a_state_machine() {
    let (_leader, mut entries, cutover, keys) = sealed_entries(1);
    entries[0].kind = EntryKind::ConfChange;
    let _ = run(&entries, cutover, Some(&keys));
}

fn flip(entry: &mut LogEntry, byte: usize) {
    let mut data = entry.data.to_vec();
    data[byte] ^= 0x10;
    entry.data = Bytes::from(data);
}
