//! Reads by the leader's lease while clocks drift, nodes stand still and the network breaks: none is stale.

use std::time::Duration;

use sealkv::raft::ClockDrift;
use sealkv::testing::cluster::SimCluster;
use sealkv::testing::cluster::SimEnd;
use sealkv::testing::net::Weather;
use sealkv::testing::seed::Seeded;
use sealkv::world::Clock;

use crate::clients::Clients;
use crate::lives::mend;
use crate::lives::of_each_seed;
use crate::lives::restart;
use crate::lives::settle;

/// What a run has gone through.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    acknowledged: u64,
    pauses: u64,
    /// Reads at a leader that could reach nobody, and that were answered.
    alone: u64,
}

/// Clocks that go wrong by what they are allowed to: each node's goes on by so many millionths more than the slowest one's.
struct Drift {
    ppm: Vec<u64>,
    seen: Vec<Duration>,
}

impl Drift {
    fn pass(&mut self, cluster: &SimCluster) {
        for ((node, ppm), seen) in cluster.nodes().iter().zip(&self.ppm).zip(&mut self.seen) {
            let passed = node.clock().monotonic().saturating_sub(*seen);
            let more = u64::try_from(passed.as_nanos()).expect("a step") * ppm / 1_000_000;
            node.clock().advance(Duration::from_nanos(more));
            *seen = node.clock().monotonic();
        }
    }
}

/// A cluster with leases, from its second start on.
fn leased(seed: u64, chance: &Seeded) -> (SimCluster, Drift) {
    let mut cluster = SimCluster::new(seed, NODES);
    for node in 1..=NODES {
        cluster.node_mut(node).lease(ClockDrift::new(PPM).expect("within bounds"));
        cluster.crash(node);
    }
    (1..=NODES).for_each(|node| restart(&mut cluster, node));
    // By a tenth fast against by a tenth slow: 11 to 9.
    let ppm = (0..NODES).map(|_| chance.pick(&[0, 100_000, 222_222])).collect();
    let seen = cluster.nodes().iter().map(|node| node.clock().monotonic()).collect();
    (cluster, Drift { ppm, seen })
}

fn live(seed: u64) -> Work {
    let (chance, mut clients, mut work) = (Seeded::new(seed ^ 0x1ea5e), Clients::default(), Work::default());
    let (mut cluster, mut drift) = leased(seed, &chance);
    let mut old = cluster.elect();
    let (mut is_cut, mut alone) = (false, Vec::new());
    for _ in 0..STEPS {
        cluster.step();
        drift.pass(&cluster);
        if chance.one_in(3) {
            let newest = cluster.leader().unwrap_or(old);
            clients.send(&mut cluster, newest, &chance);
        }
        // Who led may believe that it still does: its reads are the ones that could be stale.
        let is_read = |read: &&u64| matches!(cluster.end_of(**read), Some(SimEnd::Replies(_)));
        work.alone += alone.iter().filter(is_read).count() as u64;
        alone.retain(|read| is_cut && cluster.end_of(*read).is_none());
        if chance.one_in(if is_cut { 2 } else { 10 }) {
            let read = clients.read(&mut cluster, old);
            alone.extend(is_cut.then_some(read));
        }
        let node = 1 + chance.below(NODES);
        match chance.below(300) {
            0..2 => cluster.crash(node),
            2..30 if !cluster.node(node).is_running() => restart(&mut cluster, node),
            30..34 => {
                old = cluster.leader().unwrap_or(old);
                cluster.partition(&[&[old]]);
                (is_cut, alone) = (true, Vec::new());
            }
            34..42 => {
                cluster.heal();
                (is_cut, alone) = (false, Vec::new());
            }
            42..45 => {
                old = cluster.leader().unwrap_or(old);
                cluster.node_mut(old).pause(true);
                work.pauses += 1;
            }
            45..70 => (1..=NODES).for_each(|node| cluster.node_mut(node).pause(false)),
            70 => cluster.node(node).clock().suspend(Duration::from_millis(chance.below(3_000))),
            71 => cluster.set_weather(Weather { loss_percent: chance.below(20), delay_ms_max: chance.below(400) }),
            72 | 73 => {
                old = cluster.leader().unwrap_or(old);
                cluster.transfer(old);
            }
            _ => {}
        }
    }
    (1..=NODES).for_each(|node| cluster.node_mut(node).pause(false));
    mend(&mut cluster);
    cluster.steps(400);
    let leader = cluster.elect();
    cluster.steps(200);
    work.acknowledged = clients.check(&mut cluster, leader) as u64;
    settle(&mut cluster, &(1..=NODES).collect::<Vec<u64>>());
    work
}

#[test]
fn reads_by_a_lease_are_never_stale_whatever_clocks_and_network_do_within_the_bound() {
    let lived = of_each_seed(CI_RUNS, live);
    let all = |of: fn(&Work) -> u64| lived.iter().map(of).sum::<u64>();
    let (acknowledged, pauses, alone) =
        (all(|work| work.acknowledged), all(|work| work.pauses), all(|work| work.alone));
    println!("{acknowledged} acknowledged, {pauses} pauses, {alone} reads by a lease of a leader that was cut off");
    let runs = lived.len() as u64;
    assert!(acknowledged >= 50 * runs && pauses >= runs && alone >= 5 * runs, "vacuous: in {runs} runs");
}

/// `scripts/slow lease` makes many more.
const CI_RUNS: u64 = 4;
const NODES: u64 = 3;
const PPM: u32 = 100_000;
const STEPS: u64 = 2_000;
