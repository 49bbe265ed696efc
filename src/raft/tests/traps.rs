//! The traps of the library: where its defaults would lose entries or panic, and inputs that no peer may send.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::raft::eraftpb::Entry;
use ::raft::eraftpb::EntryType;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use super::double::Disk;
use super::double::Fate;
use super::double::Node;
use super::double::sole;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::raft::members_change::encode_change;
use crate::raft::*;
use crate::testing::net::Network;

fn message(kind: MessageType, from: u64, to: u64, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, to, term);
    message
}

fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    let mut entry = Entry::default();
    (entry.index, entry.term) = (index, term);
    entry.data = data.to_vec().into();
    entry
}

fn append(term: u64, behind: (u64, u64), entries: Vec<Entry>) -> Message {
    let mut append = message(MessageType::MsgAppend, 2, 1, term);
    (append.log_term, append.index) = behind;
    append.set_entries(entries.into());
    append
}

fn told(message: Message) -> Input {
    Input::Message(PeerMessage::forged(message))
}

/// Has node 1 elected by node 2.
fn elected(node: &mut Node, network: &Network) {
    while !node.raft.status().is_leader {
        node.tick();
        for asked in network.take(2) {
            let kind = match asked.kind() {
                "prevote" => MessageType::MsgRequestPreVoteResponse,
                "vote" => MessageType::MsgRequestVoteResponse,
                _ => continue,
            };
            let term = asked.into_message().unwrap().term;
            node.step([told(message(kind, 2, 1, term))]);
            node.settle();
        }
    }
}

/// What `from` answers to an append up to `index`.
fn answer(node: &mut Node, from: u64, index: u64, refused_at: Option<u64>) {
    let mut answer = message(MessageType::MsgAppendResponse, from, 1, node.raft.status().term.0);
    answer.index = index;
    if let Some(hint) = refused_at {
        (answer.reject, answer.reject_hint) = (true, hint);
    }
    node.step([told(answer)]);
    node.settle();
}

fn follower() -> (Node, Network) {
    let network = Network::default();
    let mut node = Node::start(1, Disk::founded(&[1, 2, 3]), &Arc::default(), 1, &network);
    node.settle();
    (node, network)
}

// Trap C: a follower's `propose` says Ok and ships the bytes to be appended elsewhere.
#[test]
fn a_follower_accepts_no_proposal_and_ships_none() {
    let (mut node, network) = follower();
    node.step([told(append(5, (1, 1), vec![entry(2, 5, b"")]))]);
    node.settle();
    let _ = network.take(2);
    node.propose(&["a"]);
    node.settle();
    assert_eq!(node.fates(), [Fate::Refused(BatchRefusal::NotLeader(Some(2)))]);
    assert!(network.take(2).iter().all(|message| message.entry_bytes() == 0));
}

#[test]
fn a_proposal_from_a_peer_is_dropped() {
    let mut node = sole();
    let mut forged = message(MessageType::MsgPropose, 2, 1, 0);
    forged.set_entries(vec![entry(0, 0, b"elsewhere")].into());
    node.step([told(forged)]);
    node.settle();
    assert_eq!(node.raft.status().last, Index(2));
}

// An answer that leaves before the disk promises what a crash takes back.
#[test]
fn votes_and_answers_leave_only_when_their_ready_is_durable() {
    let (mut node, network) = follower();
    // A node that has just begun votes for nobody.
    node.clock.advance_ms(500);
    node.step([told(message(MessageType::MsgRequestVote, 2, 1, 7))]);
    assert!(network.take(2).is_empty());
    let mut vote = message(MessageType::MsgRequestVote, 2, 1, 7);
    (vote.index, vote.log_term) = (1, 1);
    node.step([told(vote)]);
    assert!(network.take(2).is_empty(), "the vote is not durable");
    node.persist(usize::MAX);
    assert_eq!(node.disk.hard_state.vote, 2);
    assert_eq!(network.take(2).last().unwrap().kind(), "vote_answer");
}

// A sole voter needs nobody's vote, so it leads before its own term is durable; a learner must not hear of that term yet, since
// the node could lead it once more after a crash.
#[test]
fn a_leaders_messages_wait_until_its_own_term_is_durable() {
    let network = Network::default();
    let mut disk = Disk::founded(&[1]);
    disk.members.learners = vec![2];
    let mut node = Node::start(1, disk, &Arc::default(), 1, &network);
    for _ in 0..100 {
        node.step([Input::Wake]);
        node.clock.advance_ms(100);
    }
    assert!(node.raft.status().is_leader && node.disk.hard_state.term == Term(1));
    assert!(network.take(2).is_empty(), "its term is not durable");
    node.persist(usize::MAX);
    assert_eq!(node.disk.hard_state.term, node.raft.status().term);
    assert!(!network.take(2).is_empty());
}

#[test]
fn a_ready_with_nothing_to_write_waits_for_the_newest_unpersisted_one() {
    let (mut node, network) = follower();
    node.step([told(append(5, (1, 1), vec![entry(2, 5, b"x")]))]);
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1, 5);
    heartbeat.commit = 2;
    node.step([told(heartbeat)]);
    assert!(network.take(2).is_empty());
    node.persist(usize::MAX);
    let kinds: Vec<&str> = network.take(2).iter().map(PeerMessage::kind).collect();
    assert_eq!(kinds, ["append_answer", "heartbeat_answer"]);
}

#[test]
fn a_sole_voter_does_not_campaign_while_a_ready_is_unpersisted() {
    let mut node = sole();
    // A stray vote request of a higher term makes it a follower whose new term is not on disk.
    let mut stray = message(MessageType::MsgRequestVote, 2, 1, 9);
    stray.context = b"CampaignTransfer".to_vec().into();
    node.step([told(stray)]);
    assert!(!node.raft.status().is_leader);
    for _ in 0..50 {
        node.clock.advance_ms(100);
        node.step([Input::Wake]);
    }
    assert!(!node.raft.status().is_leader, "the library would panic in become_leader");
    for _ in 0..50 {
        node.tick();
    }
    assert!(node.raft.status().is_leader);
}

#[test]
fn a_sole_voter_never_steps_down_for_a_slow_disk() {
    let mut node = sole();
    node.propose(&["slow"]);
    for _ in 0..100 {
        node.clock.advance_ms(100);
        node.step([Input::Wake]);
    }
    assert!(node.raft.status().is_leader);
    assert_eq!(node.raft.status().committed, Index(2));
}

#[test]
fn entries_of_a_peer_without_room_are_cut_from_the_end_and_the_rest_is_stepped() {
    let (mut node, network) = follower();
    // Space for two entries, and for the groups that they are written in.
    node.free(2 * 4608 + 700);
    let entries = (2..=6).map(|index| entry(index, 5, &[7; 200])).collect();
    node.step([told(append(5, (1, 1), entries))]);
    assert_eq!(node.raft.status().last, Index(3));
    node.settle();
    assert!(network.take(2).iter().any(|message| message.kind() == "append_answer"));
    node.free(0);
    let mut full = append(5, (5, 3), vec![entry(4, 5, &[7; 200])]);
    full.commit = 3;
    node.step([told(full)]);
    assert_eq!(node.raft.status().last, Index(3));
    assert_eq!(node.raft.status().committed, Index(3), "commit is learned all the same");
}

// Trap: where the library probes, a refusal from before the follower caught up sends it back to entries that may be gone.
#[test]
fn a_late_refusal_does_not_lead_back_below_what_a_follower_holds() {
    let (mut node, network) = follower();
    elected(&mut node, &network);
    answer(&mut node, 2, 2, None);
    node.propose(&["a", "b"]);
    node.settle();
    answer(&mut node, 2, 4, None);
    assert_eq!(node.raft.status().committed, Index(4));
    let _ = network.take(2);
    // From here on it probes, one append at a time, the next one behind 4.
    node.step([Input::Unreachable(2)]);
    answer(&mut node, 2, 4, Some(1));
    node.propose(&["c"]);
    node.settle();
    let sent: Vec<Message> = network.take(2).into_iter().filter_map(PeerMessage::into_message).collect();
    let appends = sent.iter().filter(|message| message.get_msg_type() == MessageType::MsgAppend);
    let places: Vec<u64> = appends.map(|append| append.index).collect();
    assert!(!places.is_empty() && places.iter().all(|behind| *behind >= 4), "behind {places:?}");
}

// Trap: the library lets a leader go on that is no member any more, and panics at the next commit.
#[test]
fn a_leader_whose_own_removal_is_applied_leads_no_longer() {
    let network = Network::default();
    let mut disk = Disk::founded(&[1, 2, 3]);
    disk.members.learners = vec![4];
    let mut node = Node::start(1, disk, &Arc::default(), 1, &network);
    let id = |id| NodeId::new(id).unwrap();
    let mut replace = entry(2, 5, &encode_change(&MemberChange::Replace { old: id(1), new: id(4) }));
    replace.set_entry_type(EntryType::EntryConfChangeV2);
    node.step([told(append(5, (1, 1), vec![replace]))]);
    node.settle();
    elected(&mut node, &network);
    // Both majorities hold the change and the entry of the term, then the library's own leave and one more.
    (2..=4).for_each(|from| answer(&mut node, from, 3, None));
    assert_eq!(node.raft.members().voters_outgoing, [1, 2, 3]);
    node.propose(&["x"]);
    node.settle();
    let last = node.raft.status().last.0;
    (2..=4).for_each(|from| answer(&mut node, from, 4, None));
    assert_eq!(node.raft.members().voters, [2, 3, 4]);
    (2..=4).for_each(|from| answer(&mut node, from, last, None));
    assert!(!node.raft.status().is_leader, "{:?}", node.raft.status());
    (2..=4).for_each(|to| drop(network.take(to)));
    for _ in 0..100 {
        node.tick();
    }
    assert!(!node.raft.status().is_leader);
    assert!(
        (2..=4).all(|to| network.take(to).iter().all(|message| message.kind() != "prevote")),
        "it asks for no votes"
    );
}

#[test]
fn malformed_messages_are_dropped() {
    let (mut node, _) = follower();
    let gap = append(5, (1, 1), vec![entry(2, 5, b"a"), entry(4, 5, b"b")]);
    let future = append(5, (1, 1), vec![entry(2, 6, b"a")]);
    let backwards = append(5, (5, 1), vec![entry(2, 4, b"a")]);
    let read = message(MessageType::MsgReadIndex, 2, 1, 0);
    let stray = message(MessageType::MsgHeartbeat, 2, 9, 5);
    let own = message(MessageType::MsgHeartbeat, 1, 1, 5);
    node.step([gap, future, backwards, read, stray, own].map(told));
    node.settle();
    assert_eq!(node.raft.status().last, Index(1));
}

#[test]
fn a_node_that_lost_its_log_ends_with_a_word_instead_of_a_panic() {
    let (mut node, _) = follower();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1, 5);
    heartbeat.commit = 90;
    let lost = RaftFatal::LogLost { matched: Index(90), last: Index(1) };
    assert_eq!(node.raft.step([told(heartbeat)].into_iter()), Err(lost.clone()));
    assert_eq!(node.raft.step(std::iter::once(Input::Wake)), Err(lost), "and stays ended");
}

#[test]
fn what_apply_never_got_cannot_be_applied() {
    let mut node = sole();
    let ahead = Input::Applied(Position { term: Term(2), index: Index(3) });
    let fatal = RaftFatal::AppliedAhead { applied: Index(3), handed: Index(2) };
    assert_eq!(node.raft.step(std::iter::once(ahead)), Err(fatal));
}

// N6: had raft put anything between the reading of the index and the step, this is what would stop the node.
#[test]
fn n6_a_batch_that_does_not_stand_where_it_was_sealed_ends_the_loop_before_a_byte_leaves() {
    let mut node = sole();
    let term = Term(2);
    let wrong = node.raft.append_at(term, Index(9), &[b"x".to_vec().into()]);
    assert_eq!(wrong, Err(RaftFatal::Misplaced { term, first: Index(9), offset: 1 }));
    assert!(node.wires.lock().unwrap().appends.is_empty());
    let wrong = sole().raft.append_at(Term(7), Index(3), &[b"x".to_vec().into()]);
    assert_eq!(wrong, Err(RaftFatal::Misplaced { term: Term(7), first: Index(3), offset: 0 }));
}

#[test]
fn a_node_that_may_not_campaign_asks_for_no_votes() {
    let (mut node, network) = follower();
    node.step([Input::HasKeys(false)]);
    for _ in 0..60 {
        node.tick();
    }
    assert!(network.take(2).is_empty());
    node.step([Input::HasKeys(true)]);
    for _ in 0..60 {
        node.tick();
    }
    assert_eq!(network.take(2)[0].kind(), "prevote");
}

#[test]
fn what_the_log_has_taken_of_a_peers_entries_no_longer_waits_before_it() {
    let (mut node, _) = follower();
    // Space for two entries, and for the groups that they are written in; the log has as much again each time.
    node.free(2 * 4608 + 700);
    for index in 2..20 {
        let behind = if index == 2 { (1, 1) } else { (5, index - 1) };
        node.step([told(append(5, behind, vec![entry(index, 5, &[7; 200])]))]);
        assert_eq!(node.raft.status().last, Index(index));
        node.settle();
    }
}

// Two nodes whose times are equal would split the votes for ever: each waits for a time of its own, drawn anew each time.
#[test]
fn a_node_that_hears_nobody_asks_for_votes_at_times_that_are_drawn() {
    let least = RaftConfig::new(NodeId::new(1).unwrap()).election_ticks;
    let (mut firsts, mut is_drawn_again) = (BTreeSet::new(), false);
    for seed in 1..=8 {
        let network = Network::default();
        let mut node = Node::start(1, Disk::founded(&[1, 2, 3]), &Arc::default(), seed, &network);
        let (mut gaps, mut ticks) = (Vec::new(), 0);
        while gaps.len() < 4 {
            node.tick();
            ticks += 1;
            assert!(ticks <= 2 * least, "seed {seed}: it asks in time");
            if network.take(2).iter().any(|message| message.kind() == "prevote") {
                gaps.push(std::mem::take(&mut ticks));
            }
        }
        assert!(gaps[1..].iter().all(|gap| *gap >= least), "seed {seed}: {gaps:?}");
        firsts.insert(gaps[0]);
        is_drawn_again |= gaps[1..].iter().any(|gap| *gap != gaps[1]);
    }
    assert!(firsts.len() > 2, "nodes wait for different times: {firsts:?}");
    assert!(is_drawn_again, "one node waits for another time after each");
}
