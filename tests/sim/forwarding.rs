//! Clients at any of three or five nodes, while nodes crash and the network breaks: what a node does not lead goes to who does.

use sealkv::testing::cluster::SimCluster;
use sealkv::testing::net::Weather;
use sealkv::testing::seed::Seeded;

use crate::clients::Clients;
use crate::lives::mend;
use crate::lives::of_each_seed;
use crate::lives::restart;
use crate::lives::settle;
use crate::model::conformance::follow;

/// What a run has gone through.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    acknowledged: u64,
    forwarded: u64,
    crashes: u64,
    compared: u64,
}

/// All from the seed. In the end everything is mended, and each client's answers are held against what the leader has.
fn live(seed: u64) -> (SimCluster, Work) {
    let nodes = if seed.is_multiple_of(2) { 5 } else { 3 };
    let mut cluster = SimCluster::new(seed, nodes);
    cluster.forward();
    let record = cluster.record();
    let (chance, mut clients, mut work) = (Seeded::new(seed ^ 0xf0d), Clients::default(), Work::default());
    cluster.elect();
    for _ in 0..STEPS {
        cluster.step();
        if chance.one_in(3) {
            clients.send(&mut cluster, 1 + chance.below(nodes), &chance);
        }
        let node = 1 + chance.below(nodes);
        match chance.below(400) {
            0..4 => {
                work.crashes += u64::from(cluster.node(node).is_running());
                cluster.crash(node);
            }
            4 if cluster.node(node).is_running() => cluster.stop(node),
            5..40 if !cluster.node(node).is_running() => restart(&mut cluster, node),
            40 => cluster.partition(&[&[node]]),
            // Two of five, or of three, are on a side of their own.
            41 => cluster.partition(&[&[node, 1 + node % nodes]]),
            42..50 => cluster.heal(),
            50 | 51 => {
                let weather = Weather { loss_percent: chance.below(20), delay_ms_max: chance.below(60) };
                cluster.set_weather(weather);
            }
            52 => cluster.transfer(node),
            _ => {}
        }
    }
    mend(&mut cluster);
    cluster.steps(400);
    let leader = cluster.elect();
    cluster.steps(200);
    work.acknowledged = clients.check(&mut cluster, leader) as u64;
    (work.forwarded, work.compared) = (cluster.forwarded(), cluster.looked_at().1);
    settle(&mut cluster, &(1..=nodes).collect::<Vec<u64>>());
    follow(nodes, usize::try_from(nodes / 2 + 1).expect("few"), &record.take());
    (cluster, work)
}

#[test]
fn requests_at_any_node_are_executed_once_at_most_and_what_is_acknowledged_stays() {
    let lived = of_each_seed(CI_RUNS, |seed| live(seed).1);
    let all = |of: fn(&Work) -> u64| lived.iter().map(of).sum::<u64>();
    let (acknowledged, forwarded) = (all(|work| work.acknowledged), all(|work| work.forwarded));
    let (crashes, compared) = (all(|work| work.crashes), all(|work| work.compared));
    println!("{acknowledged} acknowledged, {forwarded} forwarded, {crashes} crashes, {compared} compared");
    let runs = lived.len() as u64;
    assert!(acknowledged >= 50 * runs && forwarded >= 50 * runs, "vacuous: in {runs} runs");
    assert!(crashes >= 4 * runs && compared >= 20 * runs, "vacuous: in {runs} runs");
}

#[test]
fn the_same_seed_forwards_the_same() {
    assert_eq!(live(7).0.digest(), live(7).0.digest());
}

/// `scripts/slow forwarding` makes many more.
const CI_RUNS: u64 = 6;
const STEPS: u64 = 2_000;
