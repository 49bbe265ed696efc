//! Halts in the loop: what is written, who is told, and what the next process finds.

use std::error::Error;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::HaltClass;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::append;
use crate::apply::tests::kit::delete;
use crate::apply::tests::kit::incr;
use crate::apply::tests::kit::kek;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::no_keks;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::apply::tests::node::TestBase;
use crate::apply::tests::node::name_of;
use crate::crypto::keystore::Purpose;
use crate::entry::EntryKind;
use crate::fsm::codec::encode_control;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::name::Database;
use crate::fsm::row::FoundRow;
use crate::ids::KeyId;
use crate::ids::Term;
use crate::keys::change::Change;
use crate::keys::change::Retire;
use crate::keys::kek::KekSet;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::propose::RequestSlot;
use crate::propose::Waiter;

/// Entries 5 to 14 sealed, each with a waiter, 10 with a changed byte of its ciphertext.
fn poisoned() -> (Leader, Bytes) {
    let mut leader = Leader::sealed(3);
    for number in 0..10 {
        leader.clients(&[set(&format!("k{number}"), "v"), incr("count")]);
    }
    let good = leader.entry(10).data.clone();
    let mut data = good.to_vec();
    data[30] ^= 1;
    leader.entry_mut(10).data = Bytes::from(data);
    (leader, good)
}

fn wait_for_all(node: &Node, leader: &Leader, first: u64) {
    for committed in &leader.log {
        let entry = &committed.entry;
        if entry.index.0 >= first {
            let slots =
                vec![RequestSlot::Write(Database::FIRST, set("", "")), RequestSlot::Write(Database::FIRST, incr(""))];
            node.wait_for(entry.position(), slots);
        }
    }
}

fn is_halt(halt: &Halt, index: u64, class: HaltClass, exit_status: u8) {
    assert_eq!((halt.position.index.0, halt.class(), halt.blame().status()), (index, class, exit_status));
}

#[test]
fn open_halt_applied_stays_below_and_waiters_from_there_on_are_not_told() {
    let (leader, _) = poisoned();
    let mut node = Node::new(&Setup::default());
    wait_for_all(&node, &leader, 5);
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 10, HaltClass::Unauthentic, 74);
    assert_eq!((halt.key_id, halt.position.term.0), (Some(1), 1));
    assert_eq!(node.apply.applied().position.index.0, 9);
    assert_eq!(node.published().index.0, 9);
    assert_eq!(*node.notes.applied.lock().unwrap().last().unwrap(), 9);
    assert_eq!(node.told_indexes(), [5, 6, 7, 8, 9]);
    assert!(node.told.lock().unwrap().iter().all(|(_, told)| told.is_ok()));
    assert_eq!(node.metrics.halts(HaltClass::Unauthentic), 1);
    // It stays halted, and what waits ends as unknown with the process: never as failed.
    assert_eq!(node.apply.step().unwrap_err().position, halt.position);
    let told = Arc::clone(&node.told);
    drop(node);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 10);
    assert!(told[5..].iter().all(|(_, told)| *told == Err("unknown")));
}

#[test]
fn prefix_applied_everything_before_a_halt_survives_and_nothing_after_it_is_there() {
    let (mut leader, good) = poisoned();
    for run_entries in [1, 3, 100] {
        let setup = Setup { run_entries, ..Setup::default() };
        let mut node = Node::new(&setup);
        node.run(&leader.log).unwrap_err();
        let picture = node.picture();
        assert!(node.has_just(&["count", "k0", "k1", "k2", "k3", "k4"]));
        let mut node = node.crash_and_restart(keks(7), &setup);
        assert_eq!(node.picture(), picture, "flushed before the end");
        let halt = node.run(&leader.log).unwrap_err();
        is_halt(&halt, 10, HaltClass::Unauthentic, 74);
        assert_eq!(node.picture(), picture);
        // The cause is gone: it goes on, without loss.
        let bad = std::mem::replace(&mut leader.entry_mut(10).data, good.clone());
        let mut node = node.crash_and_restart(keks(7), &setup);
        node.run(&leader.log).unwrap();
        let mut never_halted = Node::new(&Setup::default());
        never_halted.run(&leader.log).unwrap();
        assert_eq!(node.picture(), never_halted.picture());
        leader.entry_mut(10).data = bad;
    }
}

/// Spoils entry 10 of entries 5 to 14 (or its surroundings), one way for each class; then runs, restarts, and mends.
#[test]
fn halt_of_every_class_is_exactly_there_tells_nobody_a_failure_and_goes_on_without_loss() {
    for class in HaltClass::ALL {
        for run_entries in [1, 4, 100] {
            let setup = Setup { run_entries, ..Setup::default() };
            let mut leader = Leader::sealed(40);
            for number in 0..10 {
                leader
                    .clients(&[set(&format!("k{number}"), "v"), append(if number == 5 { "sick" } else { "log" }, "x")]);
            }
            let mut log = leader.log.clone();
            let mut data = log[8].entry.data.to_vec();
            let (mut given, mut at) = (keks(7), 10);
            match class {
                HaltClass::NoCipher => (given, at) = (no_keks(), 3),
                HaltClass::UnknownKey => data[14] = 9,
                HaltClass::Unauthentic => data[40] ^= 1,
                HaltClass::Malformed => data[9] = 1,
                HaltClass::StateMachine => {}
            }
            log[8].entry.data = Bytes::from(data);
            let base = TestBase::founded();
            if class == HaltClass::StateMachine {
                *base.fail_get_of.lock().unwrap() = Some(b"sick".to_vec());
            }
            let mut node = Node::start(base, given, &setup);
            wait_for_all(&node, &leader, 5);
            let halt = node.run(&log).unwrap_err();
            is_halt(&halt, at, class, if at == 3 || class == HaltClass::UnknownKey { 78 } else { 74 });
            let expected: Vec<u64> = (5..at).collect();
            assert_eq!(node.told_indexes(), expected);
            let (picture, told) = (node.picture(), Arc::clone(&node.told));
            let given = if class == HaltClass::NoCipher { no_keks() } else { keks(7) };
            let mut node = node.crash_and_restart(given, &setup);
            let told = told.lock().unwrap();
            assert_eq!(told.len(), 10);
            let mut unknown = told.iter().filter(|(index, _)| *index >= at);
            assert!(unknown.all(|(_, told)| *told == Err("unknown")), "never that it failed");
            is_halt(&node.run(&log).unwrap_err(), at, class, halt.blame().status());
            assert_eq!(node.picture(), picture);
            *node.base.fail_get_of.lock().unwrap() = None;
            let mut node = node.crash_and_restart(keks(7), &setup);
            node.run(&leader.log).unwrap();
            let mut never_halted = Node::new(&Setup::default());
            never_halted.run(&leader.log).unwrap();
            assert_eq!(node.picture(), never_halted.picture());
        }
    }
}

#[test]
fn malformed_halt_an_envelope_version_that_no_entry_has() {
    for version in [0, 1, 4, 0xff] {
        let (mut leader, good) = poisoned();
        let mut data = good.to_vec();
        data[9] = version;
        leader.entry_mut(10).data = Bytes::from(data);
        let mut node = Node::new(&Setup::default());
        let halt = node.run(&leader.log).unwrap_err();
        is_halt(&halt, 10, HaltClass::Malformed, 74);
        assert!(halt.source().unwrap().source().unwrap().source().unwrap().to_string().contains("version"));
    }
}

#[test]
fn malformed_halt_a_control_command_in_a_clients_envelope_and_the_reverse() {
    for is_control_in_entry in [true, false] {
        let mut leader = Leader::sealed(5);
        leader.clients(&[set("a", "b")]);
        let change = make_opener(Term(1), &leader.chance);
        let mut control = Vec::new();
        encode_control(&change.encode(), &mut control).unwrap();
        let data = if is_control_in_entry {
            leader.seal(&control)
        } else {
            leader.seal_control(&leader.payload(&[set("a", "c")]))
        };
        leader.push(EntryKind::Normal, data, None);
        let mut node = Node::new(&Setup::default());
        let halt = node.run(&leader.log).unwrap_err();
        is_halt(&halt, 6, HaltClass::Malformed, 74);
        assert_eq!(node.apply.applied().position.index.0, 5);
    }
}

#[test]
fn malformed_halt_also_what_opens_and_is_no_command() {
    let mut leader = Leader::sealed(5);
    for payload in [&b""[..], b"\x00", b"\x01", b"\x07abc", b"\x01\0\0\0\0\0\0\0\0\0\0\0\0"] {
        leader.log.truncate(3);
        let data = leader.seal(payload);
        leader.push(EntryKind::Normal, data, None);
        let mut node = Node::new(&Setup::default());
        is_halt(&node.run(&leader.log).unwrap_err(), 5, HaltClass::Malformed, 74);
    }
    leader.log.truncate(3);
    let data = leader.seal_control(b"\x02\x01\x09");
    leader.push(EntryKind::Normal, data, None);
    let mut node = Node::new(&Setup::default());
    is_halt(&node.run(&leader.log).unwrap_err(), 5, HaltClass::Malformed, 74);
}

#[test]
fn no_cipher_halt_a_node_without_a_kek_stops_at_the_bootstrap() {
    let leader = Leader::sealed(6);
    let mut node = Node::start(TestBase::founded(), no_keks(), &Setup::default());
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 3, HaltClass::NoCipher, 78);
    assert_eq!(node.apply.applied().position.index.0, 2);
    assert!(halt.to_string().contains("index 3 term 1"), "{halt}");
    assert!(halt.to_string().contains("--kek-file"), "{halt}");
    // The KEK is there again: it goes on.
    let mut node = node.crash_and_restart(keks(7), &Setup::default());
    node.run(&leader.log).unwrap();
    assert_eq!(node.apply.applied().position.index.0, 4);
}

#[test]
fn unknown_key_halt_a_node_with_another_kek_stops_at_the_first_use() {
    let leader = Leader::sealed(6);
    let mut node = Node::start(TestBase::founded(), keks(8), &Setup::default());
    is_halt(&node.run(&leader.log).unwrap_err(), 3, HaltClass::UnknownKey, 78);
    let mut node = node.crash_and_restart(keks(7), &Setup::default());
    node.run(&leader.log).unwrap();
}

#[test]
fn unknown_key_halt_names_the_entry_without_an_opener() {
    let mut leader = Leader::sealed(6);
    leader.clients(&[set("a", "b")]);
    leader.term += 1;
    leader.empty();
    leader.clients(&[set("a", "b")]);
    let mut node = Node::new(&Setup::default());
    let halt = node.run(&leader.log).unwrap_err();
    // The entry was sealed under the last term's leadership key: nothing but its own term's opener would open it.
    is_halt(&halt, 7, HaltClass::UnknownKey, 78);
    assert!(halt.source().unwrap().source().is_some(), "the chain says which key and why");
}

#[test]
fn unknown_key_halt_a_value_key_that_is_not_here_stops_the_first_entry_that_seals_under_it() {
    let mut leader = Leader::sealed(13);
    leader.clients(&[set("a", "1"), set("b", "1")]);
    let view = leader.node_keys.current();
    let change = make_rotate(&keks(8), view.keyring().unwrap(), Purpose::Value, &leader.chance).unwrap();
    leader.control(&change);
    leader.clients(&[delete("a")]);
    leader.clients(&[delete("b"), set("c", "1")]);
    let mut node = Node::new(&Setup::default());
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 8, HaltClass::UnknownKey, 78);
    assert_eq!(halt.key_id, Some(3), "the value's key is the one that is missing, not the entry's");
    assert!(node.has_just(&["b"]));
    let both = KekSet::new(vec![kek(7), kek(8)]).unwrap();
    let mut node = node.crash_and_restart(both, &Setup::default());
    node.run(&leader.log).unwrap();
    assert!(node.has_just(&["c"]));
}

#[test]
fn state_machine_halt_leaves_no_half_of_an_entry() {
    let mut leader = Leader::sealed(7);
    leader.clients(&[set("a", "1")]);
    leader.clients(&[set("b", "half"), append("sick", "x"), set("c", "half")]);
    leader.clients(&[set("d", "late")]);
    let mut node = Node::new(&Setup::default());
    *node.base.fail_get_of.lock().unwrap() = Some(b"sick".to_vec());
    for index in [5, 6, 7] {
        node.wait_for(leader.entry(index).position(), write_slots(if index == 6 { 3 } else { 1 }));
    }
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 6, HaltClass::StateMachine, 74);
    assert!(node.has_just(&["a"]));
    assert_eq!(node.told_indexes(), [5]);
    *node.base.fail_get_of.lock().unwrap() = None;
    let mut node = node.crash_and_restart(keks(7), &Setup::default());
    node.run(&leader.log).unwrap();
    assert_eq!(node.picture().rows.len(), 5);
}

#[test]
fn an_entry_that_went_through_and_then_cannot_be_run_again_is_not_answered() {
    let mut leader = Leader::sealed(14);
    leader.clients(&[set("a", "1")]);
    leader.clients(&[append("sick", "x")]);
    leader.clients(&[set("b", "1")]);
    let mut data = leader.entry(7).data.to_vec();
    data[40] ^= 1;
    leader.entry_mut(7).data = Bytes::from(data);
    let mut node = Node::new(&Setup::default());
    *node.base.fail_get_of.lock().unwrap() = Some(b"sick".to_vec());
    node.base.good_gets.store(1, SeqCst);
    for index in [5, 6, 7] {
        node.wait_for(leader.entry(index).position(), write_slots(1));
    }
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 6, HaltClass::StateMachine, 74);
    assert_eq!(node.told_indexes(), [5]);
    assert_eq!(node.published().index.0, 5);
}

/// Goal: what a client was told, any reader sees: index, rows and stamp are published in one step before the first answer.
#[test]
fn nobody_is_answered_before_every_reader_can_see_it() {
    let mut leader = Leader::sealed(8);
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for number in 0..3 {
        let position = leader.clients(&[set("k", &number.to_string())]);
        let (views, seen, name) = (Arc::clone(node.reader.views()), Arc::clone(&seen), name_of(&node.node_keys, b"k"));
        let done = move |_| {
            let view = views.load();
            seen.lock().unwrap().push((view.position.index.0, view.stamp_ms, view.find(&name)));
        };
        node.waiters.register(position, [Waiter::new(write_slots(1), Box::new(done))], Duration::MAX);
    }
    node.run(&leader.log).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3, "one run");
    for (index, stamp_ms, row) in &*seen {
        assert_eq!((*index, *stamp_ms), (7, leader.stamp_ms));
        assert!(matches!(row, FoundRow::Row(row) if row.value().bytes == b"2"), "{row:?}");
    }
}

#[test]
fn a_value_that_does_not_open_halts_the_write_that_needs_it_and_only_fails_a_read() {
    let mut leader = Leader::sealed(9);
    leader.clients(&[set("a", "1")]);
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log).unwrap();
    node.apply.flush().unwrap();
    let mut node = node.crash_and_restart(keks(7), &Setup::default());
    let mut row = node.row_of("a").unwrap();
    *row.last_mut().unwrap() ^= 1;
    node.base.put(&name_of(&node.node_keys, b"a"), &row);
    let position = leader.clients(&[set("b", "2")]);
    let read = ReadCommand::Get { key: Bytes::from_static(b"a") };
    node.wait_for(
        position,
        vec![RequestSlot::Write(Database::FIRST, set("b", "2")), RequestSlot::Read(Database::FIRST, read)],
    );
    node.run(&leader.log).unwrap();
    let told = node.told.lock().unwrap().pop().unwrap().1.unwrap();
    assert_eq!(told[0], Reply::Ok);
    assert!(matches!(told[1], Reply::Error(_)));
    assert_eq!(node.metrics.failed_reads.load(SeqCst), 1);
    leader.clients(&[append("a", "x")]);
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 7, HaltClass::StateMachine, 74);
    assert!(matches!(halt.cause, HaltCause::StateMachine(_)));
}

#[test]
fn a_cutover_that_the_log_does_not_take_never_becomes_true() {
    let mut leader = Leader::new(10);
    leader.empty();
    leader.bootstrap(true);
    let mut node = Node::new(&Setup::default());
    node.notes.refuse_cutover.store(true, SeqCst);
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 3, HaltClass::StateMachine, 74);
    assert_eq!(node.apply.applied().position.index.0, 2);
    assert!(node.node_keys.current().keyring().is_none());
}

#[test]
fn no_halt_shows_a_key_or_plaintext() {
    let mut leader = Leader::sealed(11);
    leader.clients(&[set("secret-key-name", "secret-plain-value"), append("sick", "secret-more")]);
    let mut node = Node::new(&Setup::default());
    *node.base.fail_get_of.lock().unwrap() = Some(b"sick".to_vec());
    let halt = node.run(&leader.log).unwrap_err();
    let mut text = format!("{halt} {halt:?} {node:?}");
    let mut source = halt.source();
    while let Some(error) = source {
        text += &error.to_string();
        source = error.source();
    }
    assert!(!text.contains("secret") && !text.contains("0707"), "{text}");
}

#[test]
fn a_retired_entry_key_opens_nothing_any_more() {
    let mut leader = Leader::sealed(12);
    let old = leader.clients(&[set("a", "1")]);
    let sealed_under_one = leader.entry(old.index.0).data.clone();
    leader.rotate(Purpose::Entry);
    let retire = Retire { key_id: KeyId::new(1).unwrap() };
    leader.control(&Change::Retire(retire));
    leader.clients(&[set("a", "2")]);
    leader.push(EntryKind::Normal, sealed_under_one, None);
    let mut node = Node::new(&Setup::default());
    let halt = node.run(&leader.log).unwrap_err();
    is_halt(&halt, 9, HaltClass::UnknownKey, 78);
    assert_eq!(halt.key_id, Some(1));
    assert!(halt.source().unwrap().source().unwrap().to_string().contains("retired"));
}

pub(super) fn write_slots(count: usize) -> Vec<RequestSlot> {
    (0..count).map(|_| RequestSlot::Write(Database::FIRST, set("", ""))).collect()
}
