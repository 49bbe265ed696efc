//! The loop where nothing is wrong: order, one step a run, answers, control entries, members, flushes, replay, threads.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;

use crate::apply::apply_loop::ApplyProgress;
use crate::apply::halt::HaltClass;
use crate::apply::replay::replay;
use crate::apply::tests::halts::write_slots;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::append;
use crate::apply::tests::kit::at;
use crate::apply::tests::kit::incr;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::crypto::keystore::Purpose;
use crate::entry::EntryKind;
use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::command::Expiry;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::fsm::state::Applied;
use crate::ids::KeyId;
use crate::keys::change::Change;
use crate::keys::change::Retire;
use crate::keys::rules::RuleError;
use crate::limits::ENTRY_WRITES_MAX;
use crate::propose::RequestSlot;
use crate::raft::Committed;
use crate::testing::picture::Picture;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn get(key: &str) -> RequestSlot {
    RequestSlot::Read(Database::FIRST, ReadCommand::Get { key: bytes(key) })
}

/// All kinds of entries: clear and sealed commands, bootstrap, cutover, openers, rotations, a refusal, members, two terms.
fn everything() -> Leader {
    let mut leader = Leader::new(21);
    leader.empty();
    leader.clients(&[set("old", "clear"), incr("n")]);
    leader.bootstrap(false);
    leader.clients(&[append("old", " still")]);
    leader.cutover();
    leader.opener();
    for number in 0..40 {
        leader.clients(&[set(&format!("k{}", number % 7), &format!("v{number}")), incr("n"), append("log", "x")]);
        match number {
            5 => drop(leader.membership()),
            10 => drop(leader.rotate(Purpose::Value)),
            15 => leader.elect(),
            20 => drop(leader.bootstrap(true)),
            25 => drop(leader.rotate(Purpose::Entry)),
            30 => drop(leader.clients(&[WriteCommand::FlushAll, set("after", "all")])),
            _ => {}
        }
    }
    leader
}

#[test]
fn same_bytes_however_entries_are_cut_into_runs_and_opened() {
    let leader = everything();
    let mut pictures = Vec::new();
    for threads in 1..=4 {
        for run_entries in [1, 2, 5, 300] {
            // Some flush after every run, some never: who seals a row when does not show either.
            let table_bytes = if threads % 2 == 0 { 1 } else { 64 << 20 };
            let mut node = Node::new(&Setup { threads, run_entries, table_bytes, ..Setup::default() });
            node.run(&leader.log).unwrap();
            assert_eq!(node.metrics.flushes.load(SeqCst) > 1, threads % 2 == 0);
            pictures.push(node.picture());
        }
    }
    assert!(pictures.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn same_decision_waiters_and_riding_reads_leave_no_trace() {
    let leader = everything();
    let mut alone = Node::new(&Setup::default());
    alone.run(&leader.log).unwrap();
    let mut asked = Node::new(&Setup::default());
    for committed in &leader.log[4..] {
        let count = if committed.entry.index.0 == 6 { 1 } else { 0 };
        if count > 0 {
            asked.wait_for(
                committed.entry.position(),
                vec![get("old"), RequestSlot::Write(Database::FIRST, set("", "")), get("none")],
            );
        }
    }
    asked.wait_for(
        leader.entry(5).position(),
        vec![get("old"), RequestSlot::Write(Database::FIRST, set("", "")), get("old")],
    );
    asked.run(&leader.log).unwrap();
    assert_eq!(asked.picture(), alone.picture());
    let told = asked.told.lock().unwrap();
    let replies = told.iter().find(|(index, _)| *index == 5).unwrap().1.clone().unwrap();
    assert_eq!(replies, [Reply::Bulk(bytes("clear")), Reply::Integer(11), Reply::Bulk(bytes("clear still"))]);
}

#[test]
fn atomic_apply_one_step_a_run_with_the_applied_index_in_it() {
    let mut leader = Leader::sealed(22);
    for number in 0..20 {
        leader.clients(&[set("k", &number.to_string())]);
    }
    leader.elect();
    leader.clients(&[set("k", "end")]);
    let mut node = Node::new(&Setup { run_entries: 10, ..Setup::default() });
    node.apply.offer(leader.log.clone());
    let mut ends = Vec::new();
    while let ApplyProgress::Applied(position) = node.apply.step().unwrap() {
        assert_eq!((node.published(), node.apply.applied().position), (position, position));
        assert_eq!(node.reader.views().load().generation, ends.len() as u64 + 1, "one view a run");
        ends.push(position.index.0);
    }
    assert_eq!(ends, [2, 3, 4, 14, 24, 25, 26, 27], "cut at control entries and after ten entries");
    assert_eq!(*node.notes.applied.lock().unwrap(), ends);
}

#[test]
fn atomic_apply_a_crash_finds_effects_keyring_and_index_of_one_moment() {
    let leader = everything();
    let setup = Setup { run_entries: 3, ..Setup::default() };
    let mut whole = Node::new(&setup);
    whole.run(&leader.log).unwrap();
    for flushed in (0..leader.log.len()).step_by(2) {
        let mut node = Node::new(&setup);
        node.run(&leader.log[..flushed]).unwrap();
        node.apply.flush().unwrap();
        let picture = node.picture();
        assert_eq!(Picture::of_base(&node.base.memory), picture, "all of it at once");
        node.run(&leader.log).unwrap();
        assert_eq!(Picture::of_base(&node.base.memory), picture, "nothing of what came after");
        let mut node = node.crash_and_restart(keks(7), &setup);
        assert_eq!(node.picture(), picture);
        node.run(&leader.log).unwrap();
        assert_eq!(node.picture(), whole.picture(), "after {flushed} entries");
    }
}

#[test]
fn in_order_waiters_are_answered_for_what_was_written_with_reads_at_their_place() {
    let mut leader = Leader::sealed(23);
    let mut node = Node::new(&Setup::default());
    for number in 0..3 {
        let position = leader.clients(&[incr("n"), append("s", "ab")]);
        let slots = vec![
            get("n"),
            RequestSlot::Write(Database::FIRST, incr("n")),
            get("n"),
            RequestSlot::Write(Database::FIRST, append("s", "ab")),
            get("s"),
        ];
        if number != 1 {
            node.wait_for(position, slots);
        }
    }
    node.run(&leader.log).unwrap();
    let told = node.told.lock().unwrap();
    assert_eq!(told.len(), 2);
    let (one, three) = (told[0].1.clone().unwrap(), told[1].1.clone().unwrap());
    assert_eq!(one[0], Reply::Null);
    assert_eq!(one[1..3], [Reply::Integer(1), Reply::Bulk(bytes("1"))]);
    assert_eq!(three[0], Reply::Bulk(bytes("2")));
    assert_eq!(
        three[1..],
        [Reply::Integer(3), Reply::Bulk(bytes("3")), Reply::Integer(6), Reply::Bulk(bytes("ababab"))]
    );
}

#[test]
fn time_never_goes_back_from_entry_to_entry() {
    let mut leader = Leader::sealed(31);
    let mut write = set("brief", "v");
    if let WriteCommand::Set { expiry, .. } = &mut write {
        *expiry = Expiry::In(10);
    }
    leader.stamp_ms = 1_000_000;
    leader.clients(&[write]);
    leader.stamp_ms = 1_000_100;
    leader.clients(&[set("a", "b")]);
    leader.stamp_ms = 1_000_001;
    let late = leader.clients(&[append("brief", "x")]);
    for run_entries in [1, 10] {
        let mut node = Node::new(&Setup { run_entries, ..Setup::default() });
        node.wait_for(late, vec![get("brief"), RequestSlot::Write(Database::FIRST, set("", "")), get("brief")]);
        node.run(&leader.log).unwrap();
        let replies = node.told.lock().unwrap()[0].1.clone().unwrap();
        assert_eq!(replies, [Reply::Null, Reply::Integer(1), Reply::Bulk(bytes("x"))], "it does not come back");
        assert!(node.apply.applied().last_stamp_ms >= 1_000_100);
    }
}

#[test]
fn a_waiter_of_another_term_is_told_to_try_again() {
    let mut leader = Leader::sealed(24);
    leader.term = 3;
    leader.empty();
    leader.opener();
    leader.clients(&[set("a", "b")]);
    let node = &mut Node::new(&Setup::default());
    for index in [5, 6, 7] {
        node.wait_for(at(2, index), write_slots(1));
    }
    node.wait_for(at(3, 8), write_slots(1));
    node.run(&leader.log).unwrap();
    let told = node.told.lock().unwrap().clone();
    assert_eq!(told, [(5, Err("try again")), (6, Err("try again")), (7, Err("try again"))]);
    assert_eq!(node.waiters.len(), 1, "nothing was applied at 8");
}

#[test]
fn a_cutover_is_durable_in_the_log_before_it_is_true_in_the_state() {
    let mut leader = Leader::new(25);
    leader.empty();
    leader.bootstrap(false);
    leader.cutover();
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log).unwrap();
    assert_eq!(*node.notes.cutovers.lock().unwrap(), [(4, 3)], "while the state stood at 3");
    assert_eq!(node.node_keys.cutover().0, 4);
}

#[test]
fn a_refused_control_entry_is_a_no_op_with_an_error() {
    let mut leader = Leader::sealed(26);
    leader.clients(&[set("a", "b")]);
    let second = leader.bootstrap(true);
    let retire = leader.control(&Change::Retire(Retire { key_id: KeyId::new(2).unwrap() }));
    leader.clients(&[set("c", "d")]);
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log[..3]).unwrap();
    let keyring = node.picture().keyring;
    node.run(&leader.log).unwrap();
    assert_eq!(node.picture().keyring, keyring);
    let in_use = RuleError::InUse { key_id: KeyId::new(2).unwrap() };
    let controls = node.notes.controls.lock().unwrap();
    assert_eq!(controls[2..], [(second.index.0, Err(RuleError::SecondBootstrap)), (retire.index.0, Err(in_use))]);
    assert_eq!(node.metrics.refused_controls.load(SeqCst), 2);
    assert_eq!(node.apply.applied().position.index.0, 8);
}

#[test]
fn an_entry_with_too_many_writes_answers_errors_and_writes_nothing() {
    let mut leader = Leader::sealed(27);
    // The encoder refuses it, so two halves are joined by hand.
    let half: Vec<WriteCommand> = vec![set("k", "v"); ENTRY_WRITES_MAX / 2 + 1];
    let (one, two) = (leader.payload(&half), leader.payload(&half));
    let mut payload = [&one[..], &two[BATCH_HEADER_LEN..]].concat();
    payload[BATCH_HEADER_LEN - 4..BATCH_HEADER_LEN].copy_from_slice(&(2 * half.len() as u32).to_be_bytes());
    let data = leader.seal(&payload);
    let position = leader.push(EntryKind::Normal, data, None);
    leader.clients(&[set("k2", "v")]);
    let mut node = Node::new(&Setup::default());
    node.wait_for(position, write_slots(2 * half.len()));
    node.run(&leader.log).unwrap();
    assert!(node.has_just(&["k2"]));
    let replies = node.told.lock().unwrap()[0].1.clone().unwrap();
    assert_eq!(replies.len(), 2 * half.len());
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Error(_))));
}

#[test]
fn values_are_sealed_above_the_cutover_and_clear_at_or_below_it() {
    let mut leader = Leader::new(28);
    leader.empty();
    leader.bootstrap(false);
    leader.clients(&[set("below", "canary-below")]);
    leader.cutover();
    leader.opener();
    leader.clients(&[set("above", "canary-above")]);
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log).unwrap();
    let (above, below) = (node.row_of("above").unwrap(), node.row_of("below").unwrap());
    assert_eq!((above[0], below[0]), (2, 0), "the state bits of above and below");
    assert!(!above.windows(6).any(|window| window == b"canary"));
    assert!(below.ends_with(b"canary-below"));
}

#[test]
fn members_come_from_raft_and_stand_in_the_record() {
    let mut leader = Leader::sealed(29);
    leader.membership();
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log).unwrap();
    let applied = node.apply.applied().clone();
    assert_eq!((&applied.members.voters[..], &applied.members.learners[..]), (&[1][..], &[2][..]));
    assert_eq!(applied.addresses.iter().map(|member| member.node.value()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn replay_is_the_same_steps_with_members_of_its_own() {
    let leader = everything();
    let mut live = Node::new(&Setup::default());
    live.run(&leader.log).unwrap();
    let mut node = Node::new(&Setup::default());
    let mut progress = Vec::new();
    let entries = leader.log.iter().map(|committed| committed.entry.clone());
    replay(&mut node.apply, entries, |index| progress.push(index.0), |_| false).unwrap();
    assert_eq!(node.picture(), live.picture());
    assert_eq!(Picture::of_base(&node.base.memory), live.picture(), "flushed at the end");
    assert!(progress.is_sorted() && progress.last() == Some(&(leader.log.len() as u64 + 1)));
    // The last process died in the middle: what is applied already is not applied again.
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log[..20]).unwrap();
    let rest = leader.log[20..].iter().map(|committed| committed.entry.clone());
    replay(&mut node.apply, rest, |_| {}, |_| false).unwrap();
    assert_eq!(node.picture(), live.picture());
}

#[test]
fn a_replay_halts_at_a_membership_change_that_cannot_be_read() {
    let mut leader = Leader::sealed(29);
    leader.membership();
    leader.clients(&[set("a", "b")]);
    let mut entries: Vec<_> = leader.log.iter().map(|committed| committed.entry.clone()).collect();
    let change = leader.log.iter().position(|committed| committed.members.is_some()).unwrap();
    entries[change].data = Bytes::from_static(&[0xff; 8]);
    let before = entries[change - 1].index;
    let mut node = Node::new(&Setup::default());
    let halt = replay(&mut node.apply, entries, |_| {}, |_| false).unwrap_err();
    assert_eq!(halt.class(), HaltClass::Malformed);
    assert_eq!(node.apply.applied().position.index, before, "everything before it, and nothing behind it");
}

#[test]
fn the_state_is_flushed_when_a_quarter_of_the_log_lies_above_it_and_the_log_is_trimmed_up_to_there() {
    let mut leader = Leader::sealed(30);
    for _ in 0..10 {
        leader.clients(&[set("a", "b")]);
    }
    let mut node = Node::new(&Setup { run_entries: 1, pool_bytes: 4000, ..Setup::default() });
    node.run(&leader.log[..4]).unwrap();
    node.notes.log_bytes.store(1000, SeqCst);
    node.run(&leader.log[..6]).unwrap();
    assert!(node.notes.trims.lock().unwrap().is_empty(), "not more than a quarter");
    node.notes.log_bytes.store(1001, SeqCst);
    node.run(&leader.log[..8]).unwrap();
    assert_eq!(*node.notes.trims.lock().unwrap(), [8], "once, and the next quarter counts from there");
    node.notes.log_bytes.store(2002, SeqCst);
    node.run(&leader.log).unwrap();
    assert_eq!(*node.notes.trims.lock().unwrap(), [8, 10]);
    assert_eq!(node.metrics.flushed_index.load(SeqCst), 10);
}

#[test]
fn a_run_is_cut_between_entries_where_it_holds_much_plaintext() {
    let mut leader = Leader::sealed(32);
    for number in 0..6 {
        let position = leader.clients(&[set(&format!("k{number}"), &"v".repeat(100))]);
        assert_eq!(position.index.0, number + 5);
    }
    let mut node = Node::new(&Setup { overlay_bytes: 400, ..Setup::default() });
    for index in 5..=10 {
        node.wait_for(at(1, index), write_slots(1));
    }
    node.run(&leader.log).unwrap();
    assert_eq!(*node.notes.applied.lock().unwrap(), [2, 3, 4, 6, 8, 10]);
    assert_eq!(node.told_indexes(), [5, 6, 7, 8, 9, 10]);
}

#[test]
fn the_threads_apply_flush_and_end_with_their_queue() {
    let mut leader = everything();
    let node = Node::new(&Setup { pool_bytes: 0, ..Setup::default() });
    node.notes.log_bytes.store(1, SeqCst);
    let base = Arc::clone(&node.base);
    let halts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&halts);
    let (sender, handle) = node.on_threads(Arc::new(move |halt| noted.lock().unwrap().push(halt)));
    for part in leader.log.chunks(4) {
        sender.send(part.to_vec()).unwrap();
    }
    drop(sender);
    handle.join().unwrap();
    assert!(halts.lock().unwrap().is_empty());
    let applied = Applied::decode(&Picture::of_base(&base.memory).applied).unwrap();
    assert_eq!(applied.position.index.0, leader.log.len() as u64 + 1);
    // A halt is told once, and the queue is closed behind it.
    leader.entry_mut(20).data = Bytes::from_static(b"\x01nonsense");
    let node = Node::new(&Setup::default());
    let noted = Arc::clone(&halts);
    let (sender, handle) = node.on_threads(Arc::new(move |halt| noted.lock().unwrap().push(halt)));
    sender.send(leader.log.clone()).unwrap();
    handle.join().unwrap();
    assert_eq!(halts.lock().unwrap()[0].position.index.0, 20);
    assert!(sender.send(Vec::new()).is_err());
}

/// Goal: where apply rides on the thread of raft, which gives it turns, it does what its own thread would have done.
#[test]
fn a_rider_applies_in_its_turns_finishes_the_rest_and_tells_a_halt_once() {
    let mut leader = everything();
    let node = Node::new(&Setup { pool_bytes: 0, ..Setup::default() });
    let base = Arc::clone(&node.base);
    let halts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&halts);
    let (sender, handle, mut rider) = node.riding(Arc::new(move |halt| noted.lock().unwrap().push(halt)));
    assert_eq!(rider.turn(), Duration::MAX, "it has nothing to do");
    let (first, rest) = leader.log.split_at(leader.log.len() / 2);
    for part in first.chunks(4) {
        sender.send(part.to_vec()).unwrap();
        while rider.turn() < Duration::MAX {}
    }
    sender.send(rest.to_vec()).unwrap();
    drop(sender);
    rider.finish();
    handle.join().unwrap();
    assert!(halts.lock().unwrap().is_empty());
    let applied = Applied::decode(&Picture::of_base(&base.memory).applied).unwrap();
    assert_eq!(applied.position.index.0, leader.log.len() as u64 + 1, "all of it is applied and flushed");
    leader.entry_mut(20).data = Bytes::from_static(b"\x01nonsense");
    let node = Node::new(&Setup::default());
    let noted = Arc::clone(&halts);
    let (sender, _handle, mut rider) = node.riding(Arc::new(move |halt| noted.lock().unwrap().push(halt)));
    sender.send(leader.log.clone()).unwrap();
    while rider.turn() < Duration::MAX {}
    assert!(sender.send(Vec::new()).is_err(), "the queue is closed behind a halt");
    assert_eq!(rider.turn(), Duration::MAX);
    rider.finish();
    let indexes: Vec<u64> = halts.lock().unwrap().iter().map(|halt| halt.position.index.0).collect();
    assert_eq!(indexes, [20]);
}

#[test]
#[should_panic(expected = "entries are consecutive")]
fn in_order_a_gap_is_never_applied() {
    let leader = everything();
    let mut node = Node::new(&Setup::default());
    let gap: Vec<Committed> = vec![leader.log[0].clone(), leader.log[2].clone()];
    node.apply.offer(gap);
}
