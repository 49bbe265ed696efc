//! Whatever fails, in any order: nothing acknowledged is lost, nothing refused is done, and replicas hold the same bytes.

use sealkv::testing::cluster::SimCluster;
use sealkv::testing::net::Weather;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::seeds;

use crate::clients::Clients;

/// What a run has gone through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub acknowledged: usize,
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
    cluster.heal();
    cluster.set_weather(Weather::default());
    start_all(&mut cluster);
    cluster.steps(200);
    let leader = cluster.elect();
    cluster.steps(100);
    work.acknowledged = clients.check(&mut cluster, leader);
    work.compared = cluster.looked_at().1;
    cluster.until("every node applies what the leader has", |cluster| {
        let leader = cluster.leader().map(|leader| cluster.node(leader).applied());
        cluster.nodes().iter().all(|node| Some(node.applied()) == leader)
    });
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

fn start_all(cluster: &mut SimCluster) {
    let stopped = cluster.nodes().iter().filter(|node| !node.is_running()).map(|node| node.id());
    stopped.collect::<Vec<u64>>().into_iter().for_each(|node| restart(cluster, node));
}

fn restart(cluster: &mut SimCluster, node: u64) {
    cluster.restart(node).unwrap_or_else(|why| panic!("node {node} does not start: {why}"));
}

/// Runs of one node and of three, one after another. A seed in which next to nothing happened fails, and so do all together
/// if they did little on average: such runs prove nothing.
#[test]
fn random_faults_lose_nothing_acknowledged_and_replicas_hold_the_same_bytes() {
    let (seeds, mut failed, mut all) = (seeds(CI_RUNS), 0, Work::default());
    for seed in &seeds {
        let nodes = if seed.is_multiple_of(4) { 1 } else { 3 };
        let lived = std::panic::catch_unwind(|| live(*seed, nodes, STEPS).1);
        let is_vacuous = |work: &Work| work.acknowledged < 10 || work.crashes < 2 || (nodes > 1 && work.compared < 5);
        match lived {
            Ok(work) if !is_vacuous(&work) => {
                all.acknowledged += work.acknowledged;
                all.crashes += work.crashes;
                all.compared += work.compared;
            }
            Ok(work) => {
                failed += 1;
                eprintln!("failed: SEALKV_SEED={seed} did next to nothing: {work:?}");
            }
            Err(_) => {
                failed += 1;
                eprintln!("failed: SEALKV_SEED={seed}");
            }
        }
    }
    println!("{} tried, {failed} failed", seeds.len());
    assert_eq!(failed, 0);
    let runs = seeds.len();
    assert!(all.acknowledged >= 50 * runs, "acknowledged writes: {all:?} in {runs} runs");
    assert!(all.crashes >= 5 * runs as u64 && all.compared >= 20 * runs as u64, "work: {all:?} in {runs} runs");
}

/// `scripts/slow sim` makes many more.
const CI_RUNS: u64 = 8;
const STEPS: u64 = 2_000;
