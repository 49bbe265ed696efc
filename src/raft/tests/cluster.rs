//! Three voters in one thread over the network in memory: elections, loss, partitions, restarts; all from one seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;

use super::double::Disk;
use super::double::Fate;
use super::double::Node;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::limits::PROMOTE_LAG_MAX;
use crate::raft::*;
use crate::testing::clock::SimClock;
use crate::testing::net::Network;
use crate::testing::seed::Seeded;
use crate::testing::seed::runs;
use crate::testing::seed::seed;
use crate::wal::HardState;

const IDS: [u64; 3] = [1, 2, 3];

struct Cluster {
    nodes: BTreeMap<u64, Node>,
    clock: Arc<SimClock>,
    network: Network,
    chance: Seeded,
    cut_off: Option<u64>,
    drop_percent: u64,
    /// Disks and states that take their time: a crash then loses what they had not done.
    is_slow: bool,
    trace: Vec<String>,
    /// What was ever applied anywhere, across all crashes.
    history: Vec<LogEntry>,
    seed: u64,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        Cluster::with(seed, |_| {})
    }

    fn with(seed: u64, set: impl Fn(&mut RaftConfig)) -> Cluster {
        let (clock, network) = (Arc::<SimClock>::default(), Network::default());
        let node = |id| (id, Node::start_with(id, Disk::founded(&IDS), &clock, seed, &network, &set));
        let nodes = IDS.map(node).into_iter().collect();
        let (chance, trace) = (Seeded::new(seed), Vec::new());
        Cluster {
            nodes,
            clock,
            network,
            chance,
            cut_off: None,
            drop_percent: 0,
            is_slow: false,
            history: Vec::new(),
            trace,
            seed,
        }
    }

    /// One round: messages travel (or not), every node does what follows.
    fn round(&mut self, ms: u64) {
        self.clock.advance_ms(ms);
        for id in IDS {
            let mut inputs = Vec::new();
            for message in self.network.take(id) {
                let is_cut = self.cut_off.is_some_and(|cut| cut == message.from() || cut == message.to());
                let is_lost = self.chance.bits() % 100 < self.drop_percent;
                self.trace.push(format!("{} {}>{} {}", message.kind(), message.from(), message.to(), is_cut | is_lost));
                if !is_cut && !is_lost {
                    inputs.push(Input::Message(message));
                }
            }
            let node = self.nodes.get_mut(&id).unwrap();
            node.step(inputs);
            if self.is_slow {
                node.persist(usize::try_from(self.chance.bits() % 3).unwrap());
                if self.chance.bits().is_multiple_of(2) {
                    node.apply();
                }
            } else {
                node.settle();
            }
        }
    }

    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round(20);
        }
    }

    fn leader(&self) -> Option<u64> {
        let leads = |id: &u64| self.nodes[id].raft.status().is_leader && self.cut_off != Some(*id);
        IDS.into_iter().filter(leads).max_by_key(|id| self.nodes[id].raft.status().term)
    }

    fn elect(&mut self) -> u64 {
        for _ in 0..1000 {
            self.round(20);
            if let Some(leader) = self.leader() {
                self.rounds(20);
                return self.leader().unwrap_or(leader);
            }
        }
        panic!("no leader, seed {}", self.seed);
    }

    /// Elects a leader, cuts off another node, and lets the rest take 50 entries: the leader, and who lacks them.
    fn leave_one_behind(&mut self) -> (u64, u64) {
        let leader = self.elect();
        let follower = IDS.into_iter().find(|id| *id != leader).unwrap();
        self.cut_off = Some(follower);
        for round in 0..50 {
            self.nodes[&leader].propose(&[format!("{round}").as_str()]);
            self.rounds(2);
        }
        (leader, follower)
    }

    fn restart(&mut self, id: u64) {
        let disk = self.nodes[&id].disk.clone();
        let seed = self.chance.bits();
        let node = Node::start(id, disk, &self.clock, seed, &self.network);
        self.nodes.insert(id, node);
    }

    /// Whoever applies an index applies what was applied there the first time, by anybody, before any crash.
    fn assert_agreed(&mut self) {
        for node in self.nodes.values() {
            for (entry, first) in node.applied.iter().zip(&self.history) {
                assert_eq!(entry, first, "seed {}", self.seed);
            }
            let new = node.applied.iter().skip(self.history.len());
            self.history.extend(new.cloned());
        }
    }
}

#[test]
fn three_voters_elect_one_leader_and_replicate() {
    let mut cluster = Cluster::new(seed(20));
    let leader = cluster.elect();
    cluster.nodes[&leader].propose(&["a", "b"]);
    cluster.rounds(20);
    for node in cluster.nodes.values() {
        assert_eq!(node.texts(), ["a", "b"]);
    }
    assert_eq!(cluster.nodes.values().filter(|node| node.raft.status().is_leader).count(), 1);
}

#[test]
fn a_cut_off_leader_steps_down_and_its_entries_are_overwritten() {
    let mut cluster = Cluster::new(seed(20));
    let old = cluster.elect();
    cluster.cut_off = Some(old);
    cluster.nodes[&old].propose(&["lost"]);
    cluster.rounds(2);
    assert!(matches!(cluster.nodes[&old].fates()[..], [Fate::Sealed(..), Fate::Placed(..)]));
    let new = cluster.elect();
    assert_ne!(new, old);
    cluster.nodes[&new].propose(&["kept"]);
    cluster.rounds(150);
    assert!(!cluster.nodes[&old].raft.status().is_leader, "check-quorum");
    cluster.cut_off = None;
    cluster.rounds(150);
    for node in cluster.nodes.values() {
        assert_eq!(node.texts(), ["kept"]);
    }
    cluster.assert_agreed();
}

// Its control entry was overwritten, and the log ends below it.
#[test]
fn n3_a_leader_that_comes_back_is_not_held_up_by_a_control_entry_of_an_earlier_term() {
    let mut cluster = Cluster::new(seed(20));
    let old = cluster.elect();
    cluster.cut_off = Some(old);
    for _ in 0..5 {
        cluster.nodes[&old].propose(&["lost"]);
    }
    cluster.nodes.get_mut(&old).unwrap().step([Input::Wake]);
    cluster.nodes[&old].propose_control("lost");
    cluster.rounds(2);
    let barrier = cluster.nodes[&old].raft.status().last;
    let new = cluster.elect();
    cluster.cut_off = None;
    cluster.rounds(150);
    cluster.nodes[&old].fates();
    for id in IDS.into_iter().filter(|id| *id != old) {
        cluster.nodes.get_mut(&id).unwrap().step([Input::HasKeys(false)]);
    }
    cluster.cut_off = Some(new);
    assert_eq!(cluster.elect(), old);
    assert!(cluster.nodes[&old].raft.status().last < barrier);
    cluster.nodes[&old].propose(&["kept"]);
    cluster.rounds(20);
    assert_eq!(cluster.nodes[&old].texts(), ["kept"]);
}

#[test]
fn a_read_of_a_leader_that_lost_its_quorum_is_answered_as_lost() {
    let mut cluster = Cluster::new(seed(20));
    let old = cluster.elect();
    cluster.cut_off = Some(old);
    cluster.nodes.get_mut(&old).unwrap().read(5);
    cluster.rounds(300);
    let wires = cluster.nodes[&old].wires.lock().unwrap();
    assert_eq!((wires.ready.as_slice(), wires.lost.as_slice()), ([].as_slice(), [5].as_slice()));
}

#[test]
fn a_follower_gets_a_read_point_from_the_leader() {
    let mut cluster = Cluster::new(seed(20));
    let leader = cluster.elect();
    cluster.nodes[&leader].propose(&["a"]);
    cluster.rounds(20);
    let follower = IDS.into_iter().find(|id| *id != leader).unwrap();
    cluster.nodes.get_mut(&follower).unwrap().read(5);
    cluster.rounds(20);
    assert_eq!(cluster.nodes[&follower].wires.lock().unwrap().ready, [(5, Index(3))]);
}

#[test]
fn a_follower_that_lags_behind_memory_gets_what_is_read_back() {
    let mut cluster = Cluster::with(seed(20), |config| config.can_fetch = true);
    let (leader, follower) = cluster.leave_one_behind();
    let node = cluster.nodes.get_mut(&leader).unwrap();
    node.raft.forget_applied();
    // A log that is busy takes no question: that is not the end of it.
    node.wires.lock().unwrap().refusals = 3;
    cluster.cut_off = None;
    for _ in 0..200 {
        cluster.rounds(2);
        let node = cluster.nodes.get_mut(&leader).unwrap();
        let fetches = std::mem::take(&mut node.wires.lock().unwrap().fetches);
        for (first, last) in fetches {
            let wanted = node.disk.entries.iter().filter(|entry| first <= entry.index && entry.index <= last);
            let entries = wanted.cloned().collect();
            node.step([Input::Fetched(entries)]);
        }
    }
    assert_eq!(cluster.nodes[&follower].texts().len(), 50);
    assert_eq!(cluster.nodes[&leader].wires.lock().unwrap().refusals, 0);
    cluster.assert_agreed();
}

/// Goal: an offer is made again until it is taken, whatever becomes of the transfer; then entries follow.
#[test]
fn a_follower_that_lacks_dropped_entries_is_offered_a_snapshot_until_it_has_it() {
    let mut cluster = Cluster::new(seed(20));
    let (leader, follower) = cluster.leave_one_behind();
    let node = cluster.nodes.get_mut(&leader).unwrap();
    let position = node.applied.last().unwrap().position();
    node.space.set_compacted(position.index);
    cluster.cut_off = None;
    cluster.rounds(100);
    let offers = |cluster: &Cluster| cluster.nodes[&follower].wires.lock().unwrap().offers.clone();
    assert!(cluster.nodes[&leader].wires.lock().unwrap().wanted > 0);
    assert_eq!(offers(&cluster), [], "there is none yet");
    let members = cluster.nodes[&leader].disk.members.clone();
    let point = SnapshotPoint { position, members: members.clone() };
    cluster.nodes.get_mut(&leader).unwrap().step([Input::Snapshot(Some(point))]);
    cluster.rounds(500);
    let made = offers(&cluster);
    // Every 2 s, in 10 s.
    assert!((4..=7).contains(&made.len()), "{made:?}");
    let expected = SnapshotOffer { leader: NodeId::new(leader).unwrap(), position };
    assert!(made.iter().all(|offer| *offer == expected), "{made:?}");
    assert_eq!(cluster.nodes[&follower].texts(), Vec::<String>::new(), "the library restores nothing");
    // It is installed at a start.
    let hard_state = HardState { commit: position.index, ..cluster.nodes[&follower].disk.hard_state };
    let disk = Disk { hard_state, entries: Vec::new(), members, applied: position, compacted: position };
    let (seed, clock) = (cluster.chance.bits(), Arc::clone(&cluster.clock));
    cluster.nodes.insert(follower, Node::start(follower, disk, &clock, seed, &cluster.network));
    cluster.nodes[&leader].propose(&["after"]);
    cluster.rounds(200);
    assert_eq!(cluster.nodes[&follower].texts(), ["after"]);
    assert_eq!(offers(&cluster), []);
}

#[test]
fn leadership_goes_to_no_voter_that_is_far_behind() {
    let mut cluster = Cluster::new(seed(20));
    let leader = cluster.elect();
    let [near, far] = IDS.into_iter().filter(|id| *id != leader).collect::<Vec<_>>().try_into().unwrap();
    cluster.cut_off = Some(far);
    let texts: Vec<String> = (0..=PROMOTE_LAG_MAX).map(|number| number.to_string()).collect();
    cluster.nodes[&leader].propose(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.rounds(3);
    let transfer = |cluster: &mut Cluster, to: Option<u64>| {
        let (done, answer) = channel();
        let to = to.map(|id| NodeId::new(id).unwrap());
        let done = Box::new(move |result| done.send(result).unwrap());
        cluster.nodes.get_mut(&leader).unwrap().step([Input::Transfer { to, done }]);
        answer.recv().unwrap()
    };
    let refused = transfer(&mut cluster, Some(far)).unwrap_err();
    assert!(matches!(refused, TransferRefused::FarBehind { behind, .. } if behind > PROMOTE_LAG_MAX), "{refused}");
    assert_eq!(transfer(&mut cluster, None), Ok(NodeId::new(near).unwrap()));
    cluster.rounds(20);
    assert_eq!(cluster.leader(), Some(near));
}

fn storm(seed: u64, rounds: usize) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.is_slow = true;
    let mut proposed = 0;
    for round in 0..rounds {
        match cluster.chance.bits() % 40 {
            0 => cluster.cut_off = None,
            1 => cluster.cut_off = Some(IDS[usize::try_from(cluster.chance.bits() % 3).unwrap()]),
            2 => cluster.drop_percent = cluster.chance.bits() % 40,
            3 if round % 4 == 0 => {
                let id = IDS[usize::try_from(cluster.chance.bits() % 3).unwrap()];
                cluster.restart(id);
            }
            _ => {}
        }
        if let Some(leader) = cluster.leader() {
            proposed += 1;
            cluster.nodes[&leader].propose(&[format!("{proposed}").as_str()]);
        }
        cluster.round(20 + cluster.chance.bits() % 80);
        cluster.assert_agreed();
    }
    (cluster.cut_off, cluster.drop_percent, cluster.is_slow) = (None, 0, false);
    cluster.elect();
    cluster.rounds(100);
    cluster
}

#[test]
fn loss_partitions_and_restarts_never_split_the_replicas() {
    let first = seed(20);
    let runs = runs(4);
    for seed in first..first + runs {
        let mut cluster = storm(seed, 300);
        cluster.assert_agreed();
        let lengths: Vec<usize> = cluster.nodes.values().map(|node| node.applied.len()).collect();
        assert!(
            lengths.iter().all(|length| *length == cluster.history.len() && *length > 20),
            "seed {seed}: {lengths:?}"
        );
    }
    eprintln!("{runs} tried, 0 failed");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let seed = seed(20);
    let (one, other) = (storm(seed, 150), storm(seed, 150));
    assert!(one.trace.len() > 300);
    assert_eq!(one.trace, other.trace);
    assert_ne!(one.trace, storm(seed + 1, 150).trace);
}
