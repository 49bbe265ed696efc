//! The leader's lease: when it holds, and what a voter owes to it. One node is real, the others are what the tests say.

use std::sync::Arc;

use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use super::double::Disk;
use super::double::Node;
use crate::ids::NodeId;
use crate::raft::*;
use crate::testing::net::Network;

const PPM: u32 = 100;

fn message(kind: MessageType, from: u64, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, 1, term);
    message
}

fn tell(node: &mut Node, message: Message) {
    node.step([Input::Message(PeerMessage::forged(message))]);
    node.settle();
}

/// Node 1 of three, not yet elected.
fn voter(ppm: u32) -> (Node, Network) {
    let network = Network::default();
    let set = |config: &mut RaftConfig| config.lease = ClockDrift::new(ppm);
    let node = Node::start_with(1, Disk::founded(&[1, 2, 3]), &Arc::default(), 1, &network, set);
    (node, network)
}

/// Node 2 says yes to everything: votes, entries, and rounds if it is to.
fn agree(node: &mut Node, network: &Network, to_rounds: bool) {
    for asked in network.take(2) {
        let kind = asked.kind();
        let asked = asked.into_message().unwrap();
        let answer = match kind {
            "prevote" => MessageType::MsgRequestPreVoteResponse,
            "vote" => MessageType::MsgRequestVoteResponse,
            "append" => MessageType::MsgAppendResponse,
            "heartbeat" if to_rounds || asked.context.is_empty() => MessageType::MsgHeartbeatResponse,
            _ => continue,
        };
        let mut answer = message(answer, 2, asked.term);
        answer.index = asked.index + asked.entries.len() as u64;
        answer.context = asked.context;
        tell(node, answer);
    }
}

/// Node 1 leads, and no round of it has been answered.
fn leader(ppm: u32) -> (Node, Network) {
    let (mut node, network) = voter(ppm);
    while !node.raft.status().is_leader {
        node.tick();
        agree(&mut node, &network, false);
    }
    agree(&mut node, &network, false);
    (node, network)
}

/// The rounds that were sent to node 2.
fn rounds(network: &Network) -> impl Iterator<Item = Message> {
    let sent = network.take(2).into_iter().filter_map(PeerMessage::into_message);
    sent.filter(|sent| sent.get_msg_type() == MessageType::MsgHeartbeat && !sent.context.is_empty())
}

/// The newest of them.
fn round(node: &mut Node, network: &Network) -> Message {
    node.tick();
    rounds(network).last().expect("a leader with a lease sends rounds")
}

fn answer(node: &mut Node, round: &Message) {
    let mut answer = message(MessageType::MsgHeartbeatResponse, 2, round.term);
    answer.context = round.context.clone();
    tell(node, answer);
}

/// Whether a read of now gets its read point at once.
fn reads(node: &mut Node, context: u64) -> bool {
    node.read(context);
    let committed = node.raft.status().committed;
    node.wires.lock().unwrap().ready.drain(..).any(|ready| ready == (context, committed))
}

#[test]
fn a_lease_counts_from_the_sending_of_the_round_and_not_from_its_answer() {
    let (mut node, network) = leader(PPM);
    let sent = round(&mut node, &network);
    assert!(!reads(&mut node, 1), "no round is answered");
    node.clock.advance_ms(450);
    answer(&mut node, &sent);
    assert!(reads(&mut node, 2), "450 ms of 500");
    node.clock.advance_ms(48);
    assert!(reads(&mut node, 3));
    node.clock.advance_ms(2);
    assert!(!reads(&mut node, 4), "500 ms after the sending");
    // An answer that is as old as the lease begins none.
    let sent = round(&mut node, &network);
    node.clock.advance_ms(500);
    answer(&mut node, &sent);
    assert!(!reads(&mut node, 5));
}

#[test]
fn clocks_that_may_drift_more_have_a_shorter_lease() {
    // 500 ms * 0.9 / 1.1 = 409 ms.
    let (mut node, network) = leader(ClockDrift::PPM_MAX);
    let sent = round(&mut node, &network);
    answer(&mut node, &sent);
    node.clock.advance_ms(408);
    assert!(reads(&mut node, 1));
    node.clock.advance_ms(2);
    assert!(!reads(&mut node, 2));
    assert_eq!(ClockDrift::new(0), None);
    assert_eq!(ClockDrift::new(ClockDrift::PPM_MAX + 1), None);
}

#[test]
fn a_leader_without_the_setting_sends_no_rounds_by_itself_and_has_no_lease() {
    let (mut node, network) = leader(0);
    for context in 1..5 {
        node.tick();
        assert!(!reads(&mut node, context));
    }
    let rounds: Vec<Vec<u8>> = rounds(&network).map(|sent| sent.context[16..24].to_vec()).collect();
    assert!(!rounds.is_empty() && rounds.iter().all(|round| round[7] < 5), "the rounds of the reads: {rounds:?}");
}

#[test]
fn a_suspended_machine_has_no_lease_when_it_wakes() {
    let (mut node, network) = leader(PPM);
    let sent = round(&mut node, &network);
    answer(&mut node, &sent);
    assert!(reads(&mut node, 1));
    node.clock.suspend(std::time::Duration::from_millis(600));
    assert!(!reads(&mut node, 2));
}

#[test]
fn there_is_no_lease_before_the_empty_entry_of_the_term_is_applied() {
    let (mut node, network) = leader(PPM);
    // A new leader whose empty entry is committed and not applied: the state may lack what others have read.
    let (term, last) = (node.raft.status().term.0 + 1, node.raft.status().last.0);
    tell(&mut node, message(MessageType::MsgHeartbeat, 3, term));
    while !node.raft.status().is_leader {
        node.tick();
        agree(&mut node, &network, false);
    }
    node.persist(usize::MAX);
    let mut held = message(MessageType::MsgAppendResponse, 2, node.raft.status().term.0);
    held.index = last + 1;
    node.step([Input::Message(PeerMessage::forged(held))]);
    assert_eq!(node.raft.status().committed.0, last + 1);
    node.clock.advance_ms(100);
    node.step([Input::Wake]);
    for round in rounds(&network) {
        let mut answer = message(MessageType::MsgHeartbeatResponse, 2, round.term);
        answer.context = round.context;
        node.step([Input::Message(PeerMessage::forged(answer))]);
    }
    assert!(!reads(&mut node, 1));
    assert!(node.apply());
    assert!(reads(&mut node, 2));
}

#[test]
fn a_leader_that_hands_over_has_no_lease_any_more_in_its_term() {
    let (mut node, network) = leader(PPM);
    let sent = round(&mut node, &network);
    answer(&mut node, &sent);
    assert!(reads(&mut node, 1));
    node.step([Input::Transfer { to: NodeId::new(2), done: Box::new(|done| assert!(done.is_ok())) }]);
    assert!(network.take(2).iter().any(|sent| sent.kind() == "timeout_now"));
    assert!(!reads(&mut node, 2));
    // It is given up after an election timeout. Whoever was told to campaign may hear that later still.
    for _ in 0..15 {
        node.tick();
        agree(&mut node, &network, true);
    }
    node.propose(&["on"]);
    node.settle();
    agree(&mut node, &network, true);
    assert!(node.texts().contains(&"on".to_owned()), "it goes on leading");
    node.wires.lock().unwrap().ready.clear();
    assert!(!reads(&mut node, 3));
}

#[test]
fn a_change_of_the_members_ends_the_lease_until_a_later_round_is_answered() {
    let (mut node, network) = leader(PPM);
    let sent = round(&mut node, &network);
    answer(&mut node, &sent);
    assert!(reads(&mut node, 1));
    let before = round(&mut node, &network);
    let change = MemberChange::AddLearner { node: NodeId::new(4).unwrap(), address: "four:1".to_owned() };
    node.step([Input::Change { change, done: Box::new(|done| assert!(done.is_ok())) }]);
    assert!(!reads(&mut node, 2), "proposed");
    node.persist(usize::MAX);
    agree(&mut node, &network, false);
    assert!(node.raft.members().learners.contains(&4), "applied");
    answer(&mut node, &before);
    assert!(!reads(&mut node, 3), "a round from before the change");
    let behind = round(&mut node, &network);
    answer(&mut node, &behind);
    assert!(reads(&mut node, 4));
}

/// Whether node 1 answers to a request for a vote.
fn votes(node: &mut Node, network: &Network, kind: MessageType, term: u64, is_told: bool) -> bool {
    drop(network.take(3));
    let mut asked = message(kind, 3, term);
    (asked.index, asked.log_term) = (100, term - 1);
    if is_told {
        asked.context = ::raft::CAMPAIGN_TRANSFER.to_vec().into();
    }
    tell(node, asked);
    network.take(3).iter().any(|sent| sent.kind().ends_with("vote_answer"))
}

#[test]
fn a_voter_that_begins_or_has_heard_a_leader_votes_for_nobody_else_for_as_long_as_a_lease() {
    let (mut node, network) = voter(0);
    assert!(!votes(&mut node, &network, MessageType::MsgRequestPreVote, 3, false), "it may have heard a leader before");
    assert!(!votes(&mut node, &network, MessageType::MsgRequestVote, 3, false));
    node.clock.advance_ms(499);
    assert!(!votes(&mut node, &network, MessageType::MsgRequestVote, 3, false));
    node.clock.advance_ms(1);
    assert!(votes(&mut node, &network, MessageType::MsgRequestVote, 3, false));
    tell(&mut node, message(MessageType::MsgHeartbeat, 2, 4));
    // A late answer to a pre-vote brings a higher term. The library forgets the leader then.
    let mut late = message(MessageType::MsgRequestPreVoteResponse, 3, 6);
    late.reject = true;
    tell(&mut node, late);
    assert_eq!((node.raft.status().term.0, node.raft.status().leader), (6, 0));
    node.clock.advance_ms(499);
    assert!(!votes(&mut node, &network, MessageType::MsgRequestVote, 7, false));
    assert!(votes(&mut node, &network, MessageType::MsgRequestVote, 7, true), "its leader told it to campaign");
    node.clock.advance_ms(1);
    assert!(votes(&mut node, &network, MessageType::MsgRequestVote, 8, false));
}
