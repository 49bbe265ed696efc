//! A cluster of one: its start, its entries, the gate, the door, reads.

use std::sync::Arc;

use bytes::Bytes;

use super::double::Disk;
use super::double::FOUNDED;
use super::double::Fate;
use super::double::Node;
use super::double::sole;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::APPLY_QUEUE_MAX;
use crate::limits::UNAPPLIED_BYTES_MAX;
use crate::raft::*;
use crate::testing::net::Network;
use crate::wal::HardState;

fn placed(term: u64, index: u64) -> [Fate; 2] {
    [Fate::Sealed(Term(term), Index(index)), Fate::Placed(Term(term), Index(index))]
}

#[test]
fn a_sole_voter_leads_at_once_and_its_first_entry_is_the_empty_one_at_index_2() {
    let node = sole();
    assert_eq!(node.applied.len(), 1);
    assert!(node.applied[0].data.is_empty());
    assert_eq!(node.applied[0].index, Index(2));
    assert_eq!(node.disk.hard_state.term, Term(2));
    assert_eq!(node.disk.hard_state.vote, 1);
}

// Design 3.5: a sole voter does not wait for anybody, but for the key that it lacks.
#[test]
fn a_sole_voter_that_may_not_campaign_does_not_lead_from_its_first_step_on() {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.step([Input::HasKeys(false)]);
    (0..100).for_each(|_| node.tick());
    assert!(!node.raft.status().is_leader);
    node.step([Input::HasKeys(true)]);
    (0..30).for_each(|_| node.tick());
    assert!(node.raft.status().is_leader);
}

// One side says that the keys are there, the other one that the directory has lost something.
#[test]
fn a_word_about_keys_does_not_undo_one_about_the_directory() {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.step([Input::TakesPart(false), Input::HasKeys(true)]);
    (0..100).for_each(|_| node.tick());
    assert!(!node.raft.status().is_leader);
    node.step([Input::HasKeys(false), Input::TakesPart(true)]);
    (0..100).for_each(|_| node.tick());
    assert!(!node.raft.status().is_leader);
    node.step([Input::HasKeys(true)]);
    (0..30).for_each(|_| node.tick());
    assert!(node.raft.status().is_leader);
}

#[test]
fn batches_stand_where_they_were_sealed_and_are_applied_in_order() {
    let mut node = sole();
    node.propose(&["a", "b", "c"]);
    node.propose(&["d"]);
    node.settle();
    assert_eq!(node.fates(), [placed(2, 3), placed(2, 6)].concat());
    assert_eq!(node.texts(), ["a", "b", "c", "d"]);
}

// N1, trap B: the library makes a sole voter leader before its term is on disk.
#[test]
fn n1_nothing_is_sealed_before_the_term_is_durable() {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.desk.lock().unwrap().is_pushy = true;
    node.propose(&["early"]);
    node.step([Input::Wake]);
    assert!(node.raft.status().is_leader);
    assert_eq!(node.disk.hard_state.term, Term(1));
    assert_eq!(node.fates(), [Fate::Refused(BatchRefusal::NotNow)]);
}

// N2: the gate opens when the empty entry of this term is applied, not when it is committed.
#[test]
fn n2_nothing_is_taken_before_the_own_empty_entry_is_applied() {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.propose(&["a"]);
    node.step([Input::Wake]);
    node.persist(usize::MAX);
    assert_eq!(node.raft.status().committed, Index(2));
    assert_eq!(node.fates(), []);
    node.settle();
    assert_eq!(node.fates(), placed(2, 3));
}

#[test]
fn n3_nothing_is_proposed_behind_a_control_entry_until_it_is_applied() {
    let mut node = sole();
    node.propose_control("control");
    node.propose(&["client"]);
    node.step([Input::Wake]);
    node.persist(usize::MAX);
    assert_eq!(node.fates(), placed(2, 3));
    node.desk.lock().unwrap().is_pushy = true;
    node.step([Input::Wake]);
    assert_eq!(node.fates(), [Fate::Refused(BatchRefusal::NotNow)], "raft holds it too, whatever the proposer does");
    node.desk.lock().unwrap().is_pushy = false;
    node.propose(&["client"]);
    node.settle();
    assert_eq!(node.fates(), placed(2, 4));
}

// ACK-DURABLE on a cluster of one: what is not persisted is not committed.
#[test]
fn nothing_is_committed_before_it_is_durable() {
    let mut node = sole();
    node.propose(&["a"]);
    node.step([Input::Wake]);
    assert_eq!(node.raft.status().last, Index(3));
    assert_eq!(node.raft.status().committed, Index(2));
    assert!(!node.apply());
    node.persist(1);
    assert_eq!(node.raft.status().committed, Index(3));
}

#[test]
fn a_ready_in_several_groups_has_its_hard_state_in_the_first_and_is_persisted_with_the_last() {
    let mut node = sole();
    let data: Vec<Bytes> = (0..4).map(|_| Bytes::from(vec![7; 400 << 10])).collect();
    node.desk.lock().unwrap().batches.push_back((data, false));
    node.step([Input::Wake]);
    let shapes: Vec<(bool, usize)> = {
        let wires = node.wires.lock().unwrap();
        wires.appends.iter().map(|append| (append.hard_state.is_some(), append.entries.len())).collect()
    };
    assert_eq!(shapes, [(true, 2), (false, 2)]);
    node.persist(1);
    assert_eq!(node.raft.status().committed, Index(2), "half of it is not enough");
    node.persist(1);
    assert_eq!(node.raft.status().committed, Index(6));
}

#[test]
fn a_sole_voter_comes_back_with_all_it_had_in_a_new_term() {
    let mut node = sole();
    node.propose(&["a", "b"]);
    node.settle();
    let disk = node.disk.clone();
    let mut node = Node::start(1, disk, &Arc::default(), 2, &Network::default());
    node.settle();
    assert_eq!(node.texts(), ["a", "b"]);
    assert_eq!(node.raft.status().term, Term(3));
    node.propose(&["c"]);
    node.settle();
    assert_eq!(node.fates(), placed(3, 6));
}

#[test]
fn entries_that_were_not_durable_at_a_crash_are_gone() {
    let mut node = sole();
    node.propose(&["kept"]);
    node.settle();
    node.propose(&["lost"]);
    node.step([Input::Wake]);
    let mut node = Node::start(1, node.disk.clone(), &Arc::default(), 2, &Network::default());
    node.settle();
    assert_eq!(node.texts(), ["kept"]);
}

#[test]
fn the_door_closes_for_clients_when_the_log_is_full_and_not_for_control_entries() {
    let mut node = sole();
    node.free(1 << 20);
    node.propose(&["client"]);
    node.settle();
    assert_eq!(node.fates(), placed(2, 3), "there is still space");
    node.free(100);
    node.propose(&["client"]);
    node.settle();
    assert_eq!(node.fates(), []);
    node.desk.lock().unwrap().batches.clear();
    node.propose_control("control");
    node.settle();
    assert_eq!(node.fates(), placed(2, 4));
}

#[test]
fn own_proposals_stop_while_half_of_the_pool_is_uncommitted() {
    let mut node = sole();
    node.space.set(1 << 40, 8, 40_000);
    node.propose(&["x".repeat(20_000).as_str()]);
    node.propose(&["y"]);
    node.step([Input::Wake]);
    assert_eq!(node.fates(), placed(2, 3));
    node.persist(1);
    assert_eq!(node.fates(), placed(2, 4), "committed: the pool is ours again");
}

#[test]
fn what_is_not_applied_bounds_what_is_accepted() {
    let mut node = sole();
    let chunk = Bytes::from(vec![7; 8 << 20]);
    let fits = UNAPPLIED_BYTES_MAX / (8 << 20);
    for _ in 0..fits + 3 {
        node.desk.lock().unwrap().batches.push_back((vec![chunk.clone()], false));
    }
    node.step([Input::Wake]);
    while node.persist(usize::MAX) {}
    assert!((node.raft.status().last.0 - 2) * chunk.len() as u64 <= UNAPPLIED_BYTES_MAX);
    let before = node.raft.status().last;
    node.settle();
    assert!(node.raft.status().last > before, "applied: there is space again");
}

#[test]
fn reads_are_confirmed_at_the_commit_index() {
    let mut node = sole();
    node.propose(&["a"]);
    node.settle();
    node.read(7);
    node.read(8);
    assert_eq!(node.wires.lock().unwrap().ready, [(7, Index(3)), (8, Index(3))]);
}

#[test]
fn a_read_before_the_own_term_is_committed_waits_for_it() {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.read(7);
    assert_eq!(node.wires.lock().unwrap().ready, []);
    node.settle();
    assert_eq!(node.wires.lock().unwrap().ready, [(7, Index(2))]);
    assert!(node.wires.lock().unwrap().lost.is_empty());
}

/// Whether it says that it leads alone, which is when reads need no round.
fn alone(node: &Node) -> bool {
    node.raft.status().leads_alone
}

#[test]
fn a_sole_voter_leads_alone_from_when_its_own_empty_entry_is_applied_until_there_is_a_learner() {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.step([Input::Wake]);
    assert!(node.raft.status().is_leader && !alone(&node));
    node.persist(usize::MAX);
    assert_eq!((node.raft.status().committed, alone(&node)), (Index(2), false), "committed is not applied");
    node.settle();
    assert!(alone(&node));
    let change = Input::Change { change: learner(2), done: Box::new(|_| ()) };
    node.step([change]);
    assert!(alone(&node), "nobody has decided it");
    node.persist(usize::MAX);
    assert_eq!((node.applied.len(), alone(&node)), (1, false), "from the commit on, before apply has it");
    node.settle();
    assert!(node.raft.status().is_leader && !alone(&node));
}

fn learner(id: u64) -> MemberChange {
    MemberChange::AddLearner { node: NodeId::new(id).unwrap(), address: format!("db{id}:7379") }
}

#[test]
fn members_come_with_the_change_that_made_them_and_a_second_change_is_refused() {
    let mut node = sole();
    let answers = Arc::new(std::sync::Mutex::new(Vec::new()));
    let change = |id| {
        let answers = Arc::clone(&answers);
        let done: ChangeDone = Box::new(move |answer| answers.lock().unwrap().push(answer));
        Input::Change { change: learner(id), done }
    };
    node.step([change(2), change(3)]);
    let position = Position { term: Term(2), index: Index(3) };
    assert_eq!(*answers.lock().unwrap(), [Ok(position), Err(ChangeRefused::NotNow)]);
    node.persist(1);
    let committed = node.wires.lock().unwrap().committed.pop_front().unwrap();
    assert_eq!(committed.entry.kind, EntryKind::ConfChangeV2);
    let members = committed.members.unwrap();
    assert_eq!((members.voters.as_slice(), members.learners.as_slice()), ([1].as_slice(), [2].as_slice()));
    node.step([Input::Applied(position)]);
    node.step([change(3)]);
    assert_eq!(answers.lock().unwrap()[2], Ok(Position { term: Term(2), index: Index(4) }));
}

#[test]
fn log_and_state_that_do_not_fit_are_refused() {
    let build = |applied: u64, has_hole: bool| {
        let mut node = sole();
        node.propose(&["a", "b"]);
        node.settle();
        let mut entries = node.disk.entries.clone();
        if has_hole {
            entries.remove(1);
        }
        let recovered = StartingPoint {
            older_terms: Vec::new(),
            hard_state: node.disk.hard_state,
            compacted: FOUNDED,
            entries,
            members: node.disk.members.clone(),
            applied: Position { term: Term(2), index: Index(applied) },
        };
        start::start(&RaftConfig::new(NodeId::new(1).unwrap()), &recovered).err()
    };
    assert_eq!(build(4, false), None);
    let unfit = |applied| RaftFatal::Unfit { compacted: Index(1), applied: Index(applied), last: Index(4) };
    assert_eq!(build(5, false), Some(unfit(5)));
    assert_eq!(build(0, false), Some(unfit(0)));
    assert_eq!(build(4, true), Some(RaftFatal::Gap { expected: Index(3), found: Index(4) }));
}

// A vote is for one node in one term, whatever the log holds: two leaders of a term would be chosen otherwise.
#[test]
fn a_vote_in_the_term_of_the_newest_entry_is_not_given_back_at_a_start() {
    for (newest, term, vote) in [(4, 5, 2), (5, 5, 2), (6, 6, 0)] {
        let entry =
            LogEntry { term: Term(newest), index: Index(2), kind: EntryKind::Normal, data: Bytes::from_static(b"a") };
        let recovered = StartingPoint {
            older_terms: Vec::new(),
            hard_state: HardState { term: Term(5), vote: 2, commit: Index(2) },
            compacted: FOUNDED,
            entries: vec![entry],
            members: Disk::founded(&[1, 2, 3]).members,
            applied: FOUNDED,
        };
        let started = start::start(&RaftConfig::new(NodeId::new(1).unwrap()), &recovered).ok().unwrap();
        assert_eq!(started.hard_state, HardState { term: Term(term), vote, commit: Index(2) });
    }
}

#[test]
fn whoever_asked_is_told_of_a_new_role() {
    assert_eq!(sole().wires.lock().unwrap().reigns.last(), Some(&(Term(2), true)));
}

#[test]
fn a_stop_tells_reads_that_are_under_way_that_they_are_lost() {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.read(7);
    node.step([Input::Stop]);
    assert_eq!(node.wires.lock().unwrap().lost, [7]);
}

#[test]
fn n3_nothing_is_proposed_behind_a_membership_change_until_it_is_applied() {
    let mut node = sole();
    let change = Input::Change { change: learner(2), done: Box::new(|_| ()) };
    node.step([change]);
    node.propose(&["client"]);
    node.step([Input::Wake]);
    node.persist(usize::MAX);
    assert_eq!(node.fates(), [], "committed is not applied");
    node.settle();
    assert_eq!(node.fates(), placed(2, 4));
}

#[test]
fn entries_that_wait_for_a_place_in_applys_queue_are_handed_out_when_it_has_one() {
    let mut node = sole();
    for _ in 0..APPLY_QUEUE_MAX {
        node.propose(&["a"]);
        node.step([Input::Wake]);
        node.persist(usize::MAX);
    }
    assert_eq!(node.wires.lock().unwrap().committed.len(), APPLY_QUEUE_MAX / 2, "the rest waits");
    assert!(node.apply());
    assert_eq!(node.wires.lock().unwrap().committed.len(), APPLY_QUEUE_MAX - APPLY_QUEUE_MAX / 2);
}

#[test]
fn a_stopped_loop_does_nothing_more() {
    let mut node = sole();
    node.step([Input::Stop, Input::Wake]);
    assert!(node.raft.is_stopped());
    node.propose(&["late"]);
    node.step([Input::Wake]);
    assert_eq!(node.fates(), []);
}
