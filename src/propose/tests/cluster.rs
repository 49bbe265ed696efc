//! Three nodes in one thread with the real queue, real keys and raft's own messages: N2 where leaders change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rig::Rig;
use super::rig::Setup;
use super::rig::set;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Purpose;
use crate::entry::LogEntry;
use crate::fsm::codec::Payload;
use crate::ids::Index;
use crate::keys::change::Change;
use crate::propose::*;
use crate::raft::Input;
use crate::testing::clock::SimClock;
use crate::testing::net::Network;

pub(super) const IDS: [u64; 3] = [1, 2, 3];

pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<u64, Rig>,
    network: Network,
    clock: Arc<SimClock>,
    /// Nothing goes to or from it.
    pub(super) cut_off: Option<u64>,
    /// It applies nothing.
    is_slow: Option<u64>,
    /// How every request ended, by name.
    ends: Vec<(u32, String)>,
    /// What was applied at each index, by whoever was first.
    pub(super) words: Vec<String>,
}

impl Cluster {
    pub(super) fn new(mode: Mode, seed: u64) -> Cluster {
        let network = Network::default();
        let clock = Arc::<SimClock>::default();
        let node = |node| {
            let setup = Setup {
                voters: IDS.to_vec(),
                node,
                seed: seed * 1000 + node,
                network: Some(network.clone()),
                clock: Arc::clone(&clock),
                ..Setup::sole(mode)
            };
            (node, Rig::set_up(setup))
        };
        let nodes = IDS.map(node).into_iter().collect();
        Cluster { nodes, network, clock, cut_off: None, is_slow: None, ends: Vec::new(), words: Vec::new() }
    }

    /// 20 ms: messages travel, every node does what follows from them once.
    pub(super) fn round(&mut self) {
        self.clock.advance_ms(20);
        for id in IDS {
            let messages = self.network.take(id);
            let is_cut = |end| self.cut_off == Some(end);
            let inputs: Vec<Input> =
                messages.into_iter().filter(|m| !is_cut(m.from()) && !is_cut(m.to())).map(Input::Message).collect();
            let node = self.nodes.get_mut(&id).unwrap();
            node.raft.step(inputs.into_iter().chain([Input::Wake])).unwrap();
            node.persist();
            if self.is_slow != Some(id) {
                node.apply();
            }
            self.ends.extend(node.ends());
            // Everybody applies the same in the same order.
            for (at, word) in node.words.iter().enumerate() {
                match self.words.get(at) {
                    Some(first) => assert_eq!(first, word, "node {id} at {}", at + 2),
                    None => self.words.push(word.clone()),
                }
            }
        }
    }

    pub(super) fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    pub(super) fn leader(&self) -> Option<u64> {
        let leads = |id: &u64| self.nodes[id].raft.status().is_leader && self.cut_off != Some(*id);
        IDS.into_iter().find(leads)
    }

    pub(super) fn elect(&mut self) -> u64 {
        for _ in 0..500 {
            self.round();
            if let Some(leader) = self.leader() {
                return leader;
            }
        }
        panic!("no leader");
    }

    pub(super) fn set(&self, node: u64, name: u32) {
        let value = format!("canary-{name}");
        self.nodes[&node].handle.propose(self.nodes[&node].request(name, vec![set("k", value.as_bytes())])).unwrap();
    }

    pub(super) fn end_of(&self, name: u32) -> Option<&str> {
        self.ends.iter().find(|(ended, _)| *ended == name).map(|(_, end)| end.as_str())
    }

    /// Logs agree where both have applied; up to the cutover everything is in the clear, above it nothing is.
    fn check_logs(&self, context: &str) {
        let cutovers: Vec<Index> = self.nodes.values().map(|node| node.node_keys.cutover()).collect();
        assert!(cutovers.iter().all(|cutover| *cutover == cutovers[0]), "{context}: {cutovers:?}");
        for (id, node) in &self.nodes {
            for entry in node.entries.iter().filter(|entry| !entry.data.is_empty()) {
                let is_clear = is_clear(entry);
                assert_eq!(is_clear, entry.index <= cutovers[0], "{context}: node {id}, index {}", entry.index);
            }
        }
    }
}

/// An envelope begins with the byte of a control payload: only what is inside tells them apart.
fn is_clear(entry: &LogEntry) -> bool {
    match Payload::decode(EntryFrame::decode(&entry.data).unwrap().payload) {
        Ok(Payload::Batch(_)) => true,
        Ok(Payload::Control(bytes)) => Change::decode(bytes).is_ok(),
        Err(_) => false,
    }
}

// elastickv's new leader can seal, or not seal, by what it remembers; here it looks at what it has applied.
#[test]
fn n2_a_new_leader_with_an_unapplied_cutover_proposes_nothing_before_it_has_applied_it() {
    let mut cluster = Cluster::new(Mode::Ready, 1);
    let old = cluster.elect();
    cluster.set(old, 1);
    cluster.rounds(20);
    let heir = if old == 1 { 2 } else { 1 };
    // The heir has every entry and knows what is committed, but its state lags behind.
    cluster.is_slow = Some(heir);
    cluster.nodes[&old].control(100, ControlRequest::Enable);
    cluster.rounds(20);
    let enabled = cluster.end_of(100).unwrap().to_owned();
    assert!(enabled.starts_with("Ok(Enabled"), "{enabled}");
    let cutover = cluster.nodes[&old].node_keys.cutover();
    assert_eq!(cluster.nodes[&heir].node_keys.cutover(), Index::NEVER);
    // Only the heir may win: the third node is silent until it has asked for votes.
    cluster.cut_off = Some(old);
    let third = IDS.into_iter().find(|id| *id != old && *id != heir).unwrap();
    cluster.nodes.get_mut(&third).unwrap().raft.step([Input::HasKeys(false)].into_iter()).unwrap();
    assert_eq!(cluster.elect(), heir);
    cluster.set(heir, 2);
    cluster.rounds(50);
    let status = cluster.nodes[&heir].raft.status();
    assert!(status.is_leader);
    assert_eq!(cluster.nodes[&heir].entries.last().unwrap().data.len(), 0, "its own empty entry and nothing behind");
    assert_eq!(cluster.end_of(2), None);
    cluster.is_slow = None;
    cluster.rounds(20);
    assert_eq!(cluster.end_of(2), Some("Replies([Ok])"));
    assert_eq!(cluster.nodes[&heir].node_keys.cutover(), cutover);
    let tail = &cluster.words[cluster.words.len() - 3..];
    assert_eq!(tail, ["empty", "sealed opener", "sealed batch of 1"]);
    cluster.cut_off = None;
    cluster.rounds(100);
    cluster.check_logs("at the end");
}

// Its entry was replicated, and its commit is learned from the next leader.
#[test]
fn who_asked_a_leader_that_lost_its_office_is_told_once_the_entry_is_applied_there() {
    let mut cluster = Cluster::new(Mode::Ready, 3);
    let old = cluster.elect();
    cluster.rounds(10);
    cluster.nodes[&old].control(100, ControlRequest::Enable);
    // Two rounds: the others have the cutover, the leader has not heard of it.
    cluster.rounds(2);
    cluster.cut_off = Some(old);
    let new = cluster.elect();
    cluster.rounds(20);
    assert_ne!(cluster.nodes[&new].node_keys.cutover(), Index::NEVER);
    assert_eq!(cluster.end_of(100), None);
    cluster.cut_off = None;
    cluster.rounds(100);
    assert!(cluster.end_of(100).unwrap().starts_with("Ok(Enabled"));
    cluster.check_logs("at the end");
}

// The leader vanishes k rounds after it was asked, for every k until it has answered and some more, and comes back later.
#[test]
fn a_leadership_lost_at_any_step_of_enable_leaves_one_or_the_other_everywhere() {
    let (mut was_on, mut was_off) = (0, 0);
    for seed in 0..60 {
        let lost_after = seed % 12;
        let context = format!("seed {seed}, lost after {lost_after} rounds");
        let mut cluster = Cluster::new(Mode::Ready, 7 + seed);
        let old = cluster.elect();
        cluster.rounds(10);
        for name in 0..5 {
            cluster.set(old, name);
        }
        cluster.nodes[&old].control(100, ControlRequest::Enable);
        for name in 5..10 {
            cluster.set(old, name);
        }
        for _ in 0..lost_after {
            cluster.round();
        }
        cluster.cut_off = Some(old);
        let new = cluster.elect();
        cluster.rounds(30);
        cluster.set(new, 20);
        cluster.rounds(30);
        assert_eq!(cluster.end_of(20), Some("Replies([Ok])"), "{context}");
        let is_on = cluster.nodes[&new].node_keys.cutover() != Index::NEVER;
        if is_on {
            was_on += 1
        } else {
            was_off += 1
        };
        // It comes back with whatever nobody else has, and gives way.
        cluster.cut_off = None;
        cluster.rounds(700);
        cluster.check_logs(&context);
        let told = cluster.end_of(100).unwrap_or_else(|| panic!("{context}: nobody was told"));
        assert!(!told.starts_with("Ok") || is_on, "{context}: {told}");
        // Whoever leads now can do it, or says that it is done.
        let leader = cluster.leader().unwrap();
        cluster.nodes[&leader].control(101, ControlRequest::Enable);
        cluster.nodes[&leader].control(102, ControlRequest::Rotate(Purpose::Entry));
        cluster.set(leader, 21);
        cluster.rounds(50);
        let told = cluster.end_of(101).unwrap();
        assert_eq!(told.starts_with("Err(IsOn"), is_on, "{context}: {told}");
        assert!(cluster.end_of(102).unwrap().starts_with("Ok(Rotated"), "{context}");
        assert_eq!(cluster.end_of(21), Some("Replies([Ok])"), "{context}");
        cluster.check_logs(&context);
        // Acknowledged is applied: one batch for each.
        let yes = cluster.ends.iter().filter(|(_, end)| end.starts_with("Replies")).count();
        let batches = cluster.words.iter().filter(|word| word.contains("batch")).count();
        assert!(yes <= batches, "{context}: {yes} acknowledged, {batches} applied");
    }
    println!("the cutover was on after the loss {was_on} times, off {was_off} times");
    assert!(was_on > 0 && was_off > 0, "both ends were seen: {was_on}, {was_off}");
}
