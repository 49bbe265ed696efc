//! A seed decides everything: the same one gives the same cluster to the last byte, another one another cluster.

use std::collections::BTreeSet;

use sealkv::testing::seed::seed;

use crate::faults::live;

#[test]
fn each_seed_replays_to_the_same_digest() {
    let first = seed(11);
    for nodes in [1, 3] {
        for seed in [first, first + 1] {
            let (cluster, work) = live(seed, nodes, 700);
            assert!(work.crashes > 0 && work.acknowledged > 10, "seed {seed}: {work:?}");
            assert_eq!(cluster.digest(), live(seed, nodes, 700).0.digest(), "seed {seed}, {nodes} nodes");
        }
    }
}

#[test]
fn different_seeds_give_different_digests() {
    let digests: BTreeSet<u64> = (21..25).map(|seed| live(seed, 3, 100).0.digest()).collect();
    assert_eq!(digests.len(), 4);
}
