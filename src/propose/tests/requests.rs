//! What clients are told, and when: replies, refusals, deadlines, read points.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;

use super::rig::Rig;
use super::rig::alone;
use super::rig::request;
use super::rig::set;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::PROPOSE_BATCH_ENTRIES_MAX;
use crate::limits::PROPOSE_QUEUE_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::propose::*;
use crate::raft::BatchRefusal;
use crate::raft::Input;
use crate::raft::LeaderView;
use crate::raft::Proposer;

fn named(name: u32, outcome: &str) -> (u32, String) {
    (name, outcome.to_owned())
}

#[test]
fn a_request_is_one_entry_and_its_reads_ride_with_the_waiter() {
    let mut rig = Rig::new(Mode::On);
    let read = RequestSlot::Read(Database::FIRST, ReadCommand::Get { key: Bytes::from_static(b"a") });
    rig.handle.propose(rig.request(1, vec![set("a", b"1"), read, set("b", b"2")])).unwrap();
    rig.handle.propose(rig.request(2, vec![set("c", b"3")])).unwrap();
    rig.settle();
    assert_eq!(rig.words()[3..], ["sealed batch of 2", "sealed batch of 1"]);
    assert_eq!(rig.ends(), [named(1, "Replies([Ok, Ok, Ok])"), named(2, "Replies([Ok])")]);
    assert!(rig.waiters.is_empty());
}

#[test]
fn nothing_is_answered_before_it_is_applied() {
    let mut rig = Rig::new(Mode::On);
    rig.settle();
    rig.handle.propose(rig.request(1, vec![set("a", b"1")])).unwrap();
    rig.step();
    rig.persist();
    assert_eq!(rig.ends(), []);
    rig.apply();
    assert_eq!(rig.ends().len(), 1);
}

#[test]
fn what_fits_no_entry_is_refused_before_it_is_proposed() {
    let rig = Rig::new(Mode::On);
    let value = vec![7; VALUE_BYTES_MAX];
    rig.handle.propose(rig.request(1, vec![set("a", &value), set("b", &value)])).unwrap();
    let keys: Vec<(Bytes, Bytes)> =
        (0..=1_u32 << 16).map(|n| (Bytes::from(n.to_be_bytes().to_vec()), Bytes::new())).collect();
    rig.handle
        .propose(rig.request(
            2,
            vec![RequestSlot::Write(Database::FIRST, WriteCommand::SetMany { pairs: keys, absent_only: false })],
        ))
        .unwrap();
    assert_eq!(rig.ends(), [named(1, "TooLarge"), named(2, "TooLarge")]);
    assert_eq!(rig.handle.waiting(), 0);
}

#[test]
fn a_full_queue_gives_the_request_back_unchanged() {
    let rig = Rig::new(Mode::On);
    for name in 0..PROPOSE_QUEUE_MAX {
        rig.handle.propose(rig.request(u32::try_from(name).unwrap(), vec![set("k", b"v")])).unwrap();
    }
    let back = rig.handle.propose(rig.request(9, vec![set("k", b"v")])).unwrap_err();
    assert_eq!(back.slots.len(), 1);
    assert_eq!(rig.ends(), []);
    assert_eq!(rig.wakes.load(SeqCst), 1, "one wake until the raft thread has looked");
}

#[test]
fn many_requests_leave_in_batches_with_unique_ids_and_stamps_that_never_go_back() {
    let mut rig = Rig::new(Mode::On);
    rig.settle();
    let count = u32::try_from(2 * PROPOSE_BATCH_ENTRIES_MAX + 10).unwrap();
    for name in 0..count {
        rig.handle.propose(rig.request(name, vec![set("k", b"v")])).unwrap();
    }
    rig.settle();
    assert_eq!(rig.ends().len(), count as usize);
    let mut ids = rig.ids.clone();
    ids.sort_unstable_by_key(|id| id.0);
    ids.dedup();
    assert_eq!(ids.len(), count as usize + 2);
    assert!(rig.stamps.is_sorted());
    assert!(rig.stamps[0] >= 1_000_000);
}

#[test]
fn who_waits_too_long_for_a_leader_is_told_that_there_is_none_and_nothing_was_proposed() {
    let mut rig = Rig::founded(Mode::On, &[1, 2, 3], 1);
    rig.handle.propose(rig.request(1, vec![set("k", b"v")])).unwrap();
    rig.forward(4900);
    assert_eq!(rig.ends(), [], "an election is under way");
    rig.forward(200);
    assert_eq!(rig.ends(), [named(1, "NotLeader(None)")]);
    assert_eq!(rig.raft.status().last, Index(1));
}

#[test]
fn who_waits_too_long_for_an_answer_is_told_that_nobody_knows() {
    let mut rig = Rig::new(Mode::Off);
    rig.settle();
    rig.handle.propose(rig.request(1, vec![set("k", b"v")])).unwrap();
    rig.step();
    rig.forward(9900);
    assert_eq!(rig.ends(), []);
    rig.forward(200);
    assert_eq!(rig.ends(), [named(1, "Unknown")]);
    rig.settle();
    assert_eq!(rig.words(), ["empty", "clear batch of 1"], "and it was executed");
    assert_eq!(rig.ends(), []);
}

#[test]
fn a_node_that_does_not_lead_names_the_leader_at_once() {
    let (mut queue, handle, ends) = alone();
    handle.propose(request(&ends, 1, vec![set("k", b"v")])).unwrap();
    queue.not_leading(None);
    assert!(ends.lock().unwrap().is_empty(), "an election is under way: this node may win it");
    queue.not_leading(Some(2));
    assert_eq!(*ends.lock().unwrap(), [named(1, "NotLeader(Some(2))")]);
}

/// A leader whose log ends at index 5 of term 2, all of it applied, with space.
fn leading() -> LeaderView {
    LeaderView {
        term: Term(2),
        last_index: Index(5),
        applied: Position { term: Term(2), index: Index(5) },
        own_term_applied: true,
        is_blocked: false,
        space_bytes: 1 << 20,
        clear_bytes: 1 << 20,
        is_held: false,
    }
}

// N6: what was sealed for a place and not appended there is never sealed again, for any place.
#[test]
fn a_batch_that_raft_gives_back_is_answered_and_not_proposed_again() {
    let (mut queue, handle, ends) = alone();
    let view = leading();
    handle.propose(request(&ends, 1, vec![set("k", b"v")])).unwrap();
    assert!(queue.next(&LeaderView { is_blocked: true, ..view }).is_none());
    assert!(queue.next(&LeaderView { space_bytes: 10, ..view }).is_none());
    let mut batch = queue.next(&view).unwrap();
    assert_eq!(batch.seal(Term(2), Index(6)).unwrap().len(), batch.count());
    batch.refused(BatchRefusal::NotNow);
    assert_eq!(*ends.lock().unwrap(), [named(1, "TryAgain")]);
    assert!(queue.next(&view).is_none());
}

// Only FLUSHALL makes space where memory is full, so it must not wait for space.
#[test]
fn where_memory_is_full_only_what_removes_all_keys_comes_in_and_it_overtakes() {
    let (mut queue, handle, ends) = alone();
    let view = LeaderView { is_held: true, ..leading() };
    let flush = || RequestSlot::Write(Database::FIRST, WriteCommand::FlushAll);
    handle.propose(request(&ends, 1, vec![set("k", b"v")])).unwrap();
    handle.propose(request(&ends, 2, vec![flush(), set("k", b"v")])).unwrap();
    assert!(queue.next(&view).is_none(), "what writes waits, and so does what writes and removes");
    handle.propose(request(&ends, 3, vec![flush()])).unwrap();
    assert!(queue.next(&LeaderView { clear_bytes: 10, ..view }).is_none());
    let batch = queue.next(&LeaderView { space_bytes: 0, ..view }).unwrap();
    assert!(batch.count() == 1 && batch.gives_back());
    batch.refused(BatchRefusal::NotNow);
    assert_eq!(*ends.lock().unwrap(), [named(3, "TryAgain")], "it was the third request");
    assert!(queue.next(&view).is_none());
    assert_eq!(
        queue.next(&LeaderView { is_held: false, ..view }).unwrap().count(),
        2,
        "the others are there still, in order"
    );
}

// A log that is full because the state cannot be flushed is the same.
#[test]
fn where_the_log_is_full_what_removes_all_keys_comes_in_beside_those_that_wait() {
    let (mut queue, handle, ends) = alone();
    let view = LeaderView { space_bytes: 0, ..leading() };
    let flush = || RequestSlot::Write(Database::FIRST, WriteCommand::FlushAll);
    handle.propose(request(&ends, 1, vec![set("k", b"v")])).unwrap();
    assert!(queue.next(&view).is_none());
    handle.propose(request(&ends, 2, vec![flush()])).unwrap();
    assert!(queue.next(&LeaderView { clear_bytes: 10, ..view }).is_none(), "it has to fit as well");
    let batch = queue.next(&view).unwrap();
    assert!(batch.count() == 1 && batch.gives_back());
    batch.refused(BatchRefusal::NotNow);
    assert_eq!(*ends.lock().unwrap(), [named(2, "TryAgain")]);
    let batch = queue.next(&leading()).unwrap();
    assert!(batch.count() == 1 && !batch.gives_back());
}

#[test]
fn the_end_answers_everybody() {
    let mut rig = Rig::founded(Mode::Off, &[1, 2, 3], 1);
    rig.handle.propose(rig.request(1, vec![set("k", b"v")])).unwrap();
    rig.raft.step(std::iter::once(Input::Stop)).unwrap();
    rig.handle.propose(rig.request(2, vec![set("k", b"v")])).unwrap();
    assert_eq!(rig.ends(), [named(1, "TryAgain"), named(2, "TryAgain")]);
}

#[test]
fn a_read_point_is_reached_when_what_was_committed_is_applied() {
    let mut rig = Rig::new(Mode::Off);
    rig.settle();
    rig.handle.propose(rig.request(1, vec![set("k", b"v")])).unwrap();
    rig.step();
    rig.persist();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let seen = Arc::clone(&seen);
        rig.handle.read_index(Box::new(move |outcome| seen.lock().unwrap().push(outcome)));
    }
    rig.step();
    assert!(seen.lock().unwrap().is_empty(), "committed, not applied");
    rig.settle();
    assert_eq!(*seen.lock().unwrap(), [ReadOutcome::Ready(Index(3)); 3]);
}

#[test]
fn a_read_point_without_a_leader_is_given_up() {
    let mut rig = Rig::founded(Mode::Off, &[1, 2, 3], 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    rig.handle.read_index(Box::new(move |outcome| told.lock().unwrap().push(outcome)));
    rig.step();
    rig.forward(6000);
    assert_eq!(*seen.lock().unwrap(), [ReadOutcome::TryAgain]);
}

#[test]
fn a_removal_of_expired_keys_is_an_ordinary_entry() {
    let mut rig = Rig::new(Mode::Off);
    let names = vec![RowName::new(Database::FIRST, [7; 16])];
    rig.handle
        .propose(rig.request(1, vec![RequestSlot::Write(Database::FIRST, WriteCommand::RemoveExpired { names })]))
        .unwrap();
    rig.settle();
    assert_eq!(rig.words(), ["empty", "clear batch of 1"]);
}
