//! What lives of whole clusters share: a run for each seed, and how a cluster comes to rest behind its faults.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use sealkv::testing::cluster::SimCluster;
use sealkv::testing::net::Weather;
use sealkv::testing::seed::seeds;

/// Runs `live` for each of `count` seeds, or as many as the environment says. Names the seeds in which it panics, fails if there
/// are any, and gives back what the runs went through.
pub fn of_each_seed<T>(count: u64, live: impl Fn(u64) -> T) -> Vec<T> {
    let seeds = seeds(count);
    let lived = seeds.iter().filter_map(|seed| {
        let lived = catch_unwind(AssertUnwindSafe(|| live(*seed)));
        lived.inspect_err(|_| eprintln!("failed: SEALKV_SEED={seed}")).ok()
    });
    let lived: Vec<T> = lived.collect();
    let failed = seeds.len() - lived.len();
    println!("{} tried, {failed} failed", seeds.len());
    assert_eq!(failed, 0);
    lived
}

pub fn restart(cluster: &mut SimCluster, node: u64) {
    cluster.restart(node).unwrap_or_else(|why| panic!("node {node} does not start: {why}"));
}

/// Nothing fails any more, and every node runs.
pub fn mend(cluster: &mut SimCluster) {
    cluster.heal();
    cluster.set_weather(Weather::default());
    let stopped = cluster.nodes().iter().filter(|node| !node.is_running()).map(|node| node.id());
    stopped.collect::<Vec<u64>>().into_iter().for_each(|node| restart(cluster, node));
}

/// Waits until `members` have applied what their leader has.
pub fn settle(cluster: &mut SimCluster, members: &[u64]) {
    cluster.until("every member applies what the leader has", |cluster| {
        let leader = cluster.leader().map(|leader| cluster.node(leader).applied());
        members.iter().all(|node| Some(cluster.node(*node).applied()) == leader)
    });
}
