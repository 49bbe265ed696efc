//! Whatever fails, in any order: nothing acknowledged is lost, nothing refused is done, and replicas hold the same bytes.

use sealkv::testing::cluster::SimCluster;
use sealkv::testing::net::Weather;
use sealkv::testing::seed::Seeded;

use crate::clients::Clients;
use crate::lives::mend;
use crate::lives::of_each_seed;
use crate::lives::restart;
use crate::lives::settle;

/// What a run has gone through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub acknowledged: u64,
    pub crashes: u64,
    pub partitions: u64,
    pub compared: u64,
}

/// A cluster under load while nodes crash and the network breaks, all from the seed; then everything is mended and checked.
pub fn live(seed: u64, nodes: u64, steps: u64) -> (SimCluster, Work) {
    let mut cluster = SimCluster::new(seed, nodes);
    let (chance, mut clients, mut work) = (Seeded::new(seed ^ 0xc11e), Clients::default(), Work::default());
    cluster.elect();
    for _ in 0..steps {
        cluster.step();
        if chance.one_in(3) {
            let somebody = 1 + chance.below(nodes);
            let node = cluster.leader().filter(|_| !chance.one_in(8)).unwrap_or(somebody);
            clients.send(&mut cluster, node, &chance);
        }
        fail(&mut cluster, nodes, &chance, &mut work);
    }
    mend(&mut cluster);
    cluster.steps(200);
    let leader = cluster.elect();
    cluster.steps(100);
    work.acknowledged = clients.check(&mut cluster, leader) as u64;
    work.compared = cluster.looked_at().1;
    settle(&mut cluster, &(1..=nodes).collect::<Vec<u64>>());
    (cluster, work)
}

/// Once in a while something breaks, or is mended.
fn fail(cluster: &mut SimCluster, nodes: u64, chance: &Seeded, work: &mut Work) {
    let node = 1 + chance.below(nodes);
    match chance.below(400) {
        0..4 => {
            work.crashes += u64::from(cluster.node(node).is_running());
            cluster.crash(node);
        }
        4 if cluster.node(node).is_running() => cluster.stop(node),
        5..30 if !cluster.node(node).is_running() => restart(cluster, node),
        30 | 31 if nodes > 1 => {
            work.partitions += 1;
            cluster.partition(&[&[node]]);
        }
        32..38 => cluster.heal(),
        38 | 39 => {
            let weather = Weather { loss_percent: chance.below(30), delay_ms_max: chance.below(60) };
            cluster.set_weather(weather);
        }
        _ => {}
    }
}

/// Runs of one node and of three, one after another. A seed in which next to nothing happened fails, and so do all together
/// if they did little on average: such runs prove nothing.
#[test]
fn random_faults_lose_nothing_acknowledged_and_replicas_hold_the_same_bytes() {
    let lived = of_each_seed(CI_RUNS, |seed| {
        let nodes = if seed.is_multiple_of(4) { 1 } else { 3 };
        let work = live(seed, nodes, STEPS).1;
        let is_vacuous = work.acknowledged < 10 || work.crashes < 2 || (nodes > 1 && work.compared < 5);
        assert!(!is_vacuous, "seed {seed} did next to nothing: {work:?}");
        work
    });
    let all = |of: fn(&Work) -> u64| lived.iter().map(of).sum::<u64>();
    let (acknowledged, crashes, compared) =
        (all(|work| work.acknowledged), all(|work| work.crashes), all(|work| work.compared));
    let runs = lived.len() as u64;
    assert!(acknowledged >= 50 * runs, "acknowledged writes: {acknowledged} in {runs} runs");
    assert!(
        crashes >= 5 * runs && compared >= 20 * runs,
        "work: {crashes} crashes, {compared} compared in {runs} runs"
    );
}

/// `scripts/slow sim` makes many more.
const CI_RUNS: u64 = 8;
const STEPS: u64 = 2_000;
