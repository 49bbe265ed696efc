//! Followers without space beside a leader that dies: they elect one of them all the same, lose nothing acknowledged, and go on once there is space.

use sealkv::testing::cluster::SimCluster;
use sealkv::testing::cluster::SimEnd;
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
    /// Entries of the dead leader that its followers had no space for.
    cut: u64,
    /// Starts of nodes without space.
    starts: u64,
    elections: u64,
}

/// A cluster whose leader dies once no other node has space.
struct Scene {
    cluster: SimCluster,
    clients: Clients,
    chance: Seeded,
    dead: u64,
    full: Vec<u64>,
    work: Work,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let nodes = if seed.is_multiple_of(3) { 5 } else { 3 };
        let mut cluster = SimCluster::new(seed, nodes);
        drop(cluster.record());
        let dead = cluster.elect();
        let full = (1..=nodes).filter(|node| *node != dead).collect();
        let (clients, chance) = (Clients::default(), Seeded::new(seed ^ 0xf011));
        Scene { cluster, clients, chance, dead, full, work: Work::default() }
    }

    /// A step, and often a request to who leads.
    fn step(&mut self) {
        self.cluster.step();
        if let Some(leader) = self.cluster.leader().filter(|_| !self.chance.one_in(3)) {
            self.clients.send(&mut self.cluster, leader, &self.chance);
        }
    }

    fn steps(&mut self, steps: u64) {
        (0..steps).for_each(|_| self.step());
    }

    /// The newest entries of those that run, by their order.
    fn newest(&self, nodes: &[u64]) -> Vec<u64> {
        let status = |node: &u64| self.cluster.node(*node).status();
        nodes.iter().filter_map(status).map(|status| status.last.0).collect()
    }

    /// From now on no follower can write its state, or make its log longer: each takes entries until it has no space for more.
    fn fill(&mut self) {
        self.full.iter().for_each(|node| self.cluster.node(*node).fill(true));
        let (mut before, mut unchanged) = (Vec::new(), 0);
        for _ in 0..STEPS_UNTIL_FULL {
            self.step();
            assert_eq!(self.cluster.leader(), Some(self.dead), "nothing else is wrong");
            let newest = self.newest(&self.full);
            unchanged = if newest == before { unchanged + 1 } else { 0 };
            if unchanged == STEPS_WITHOUT_AN_ENTRY {
                break;
            }
            before = newest;
        }
        let most = before.into_iter().max().expect("two at least");
        self.work.cut = self.newest(&[self.dead])[0].saturating_sub(most);
        assert!(unchanged == STEPS_WITHOUT_AN_ENTRY && self.work.cut > 0, "followers are full: {:?}", self.cluster);
    }

    /// The leader dies. Those without space elect one of them, whoever of them dies as well and starts again.
    fn elect_without_space(&mut self) {
        self.cluster.crash(self.dead);
        self.leads();
        let node = self.chance.pick(&self.full);
        self.cluster.crash(node);
        self.steps(self.chance.below(200));
        restart(&mut self.cluster, node);
        self.work.starts += 1;
        self.leads();
    }

    /// One is elected, and goes on leading though nothing can be committed.
    fn leads(&mut self) {
        self.cluster.until("a leader among those without space", |cluster| cluster.leader().is_some());
        // Whoever has just started may still ask for votes.
        self.steps(200);
        let leader = |cluster: &SimCluster| cluster.leader().and_then(|node| cluster.node(node).status());
        let before = leader(&self.cluster).expect("one leads").term;
        self.steps(300);
        assert_eq!(leader(&self.cluster).map(|status| status.term), Some(before), "it goes on leading");
        self.work.elections += 1;
    }

    /// There is space again at a majority of all, then at all.
    fn give_space(&mut self) {
        let needed = self.full.len() / 2 + 1;
        let (first, others) = self.full.split_at(needed);
        let (first, others) = (first.to_vec(), others.to_vec());
        first.iter().for_each(|node| self.cluster.node(*node).fill(false));
        self.writes(&first, "with space at most of them");
        others.iter().for_each(|node| self.cluster.node(*node).fill(false));
        self.writes(&[first, others].concat(), "with space at all of them");
        restart(&mut self.cluster, self.dead);
    }

    /// Until a write is acknowledged that is sent from now on. A leader without space hands over, as a node has it do that cannot
    /// write.
    fn writes(&mut self, with_space: &[u64], when: &str) {
        for _ in 0..STEPS_UNTIL_WRITTEN {
            if let Some(leader) = self.cluster.leader().filter(|leader| !with_space.contains(leader)) {
                self.cluster.transfer(leader);
            }
            let (ended, first) = (self.cluster.replies().len(), self.cluster.next_request());
            self.steps(20);
            let replies = &self.cluster.replies()[ended..];
            if replies.iter().any(|reply| reply.request >= first && matches!(reply.end, SimEnd::Replies(_))) {
                return;
            }
        }
        panic!("no write is acknowledged {when}: {:?}", self.cluster);
    }
}

fn live(seed: u64) -> Work {
    let mut scene = Scene::new(seed);
    scene.steps(100);
    scene.fill();
    scene.elect_without_space();
    scene.give_space();
    scene.steps(200);
    let Scene { mut cluster, clients, mut work, full, .. } = scene;
    mend(&mut cluster);
    cluster.steps(200);
    let leader = cluster.elect();
    work.acknowledged = clients.check(&mut cluster, leader) as u64;
    let nodes = full.len() as u64 + 1;
    settle(&mut cluster, &(1..=nodes).collect::<Vec<u64>>());
    follow(nodes, full.len() / 2 + 1, &cluster.record().take());
    work
}

#[test]
fn followers_without_space_elect_beside_a_dead_leader_and_go_on_once_there_is_space() {
    let lived = of_each_seed(CI_RUNS, live);
    println!("{lived:?}");
    let all = |of: fn(&Work) -> u64| lived.iter().map(of).sum::<u64>();
    let runs = lived.len() as u64;
    assert!(all(|work| work.acknowledged) >= 50 * runs && all(|work| work.cut) >= 5 * runs, "vacuous: {lived:?}");
    assert!(all(|work| work.elections) == 2 * runs && all(|work| work.starts) == runs, "vacuous: {lived:?}");
}

/// `scripts/slow cluster` makes many more.
const CI_RUNS: u64 = 4;
const STEPS_UNTIL_FULL: u64 = 5_000;
/// So long no follower takes an entry: then it has no space.
const STEPS_WITHOUT_AN_ENTRY: u64 = 150;
/// In units of 20 steps.
const STEPS_UNTIL_WRITTEN: u64 = 300;
