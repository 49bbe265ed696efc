//! Members change while nodes crash and the network breaks: a node joins and gets a vote, another one goes, by two changes or one.

use sealkv::ids::NodeId;
use sealkv::members::Members;
use sealkv::propose::Mode;
use sealkv::raft::MemberChange;
use sealkv::testing::cluster::SimCluster;
use sealkv::testing::net::Weather;
use sealkv::testing::seed::Seeded;

use crate::clients::Clients;
use crate::lives::mend;
use crate::lives::of_each_seed;
use crate::lives::settle;
use crate::model::conformance::follow;

const JOINER: u64 = 4;

fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

/// The change that is due, seen from the members as they are: node 4 becomes a voter and `out` goes.
fn due(members: &Members, out: u64, is_joint: bool, may_vote: bool) -> Option<MemberChange> {
    if !members.voters_outgoing.is_empty() {
        return None;
    }
    let (is_voter, is_learner) = (members.voters.contains(&JOINER), members.learners.contains(&JOINER));
    match (is_voter, is_learner) {
        (false, false) => Some(MemberChange::AddLearner { node: id(JOINER), address: "four:1".to_owned() }),
        (false, true) if !may_vote => None,
        (false, true) if is_joint => Some(MemberChange::Replace { old: id(out), new: id(JOINER) }),
        (false, true) => Some(MemberChange::Promote(id(JOINER))),
        (true, _) => members.voters.contains(&out).then(|| MemberChange::Remove(id(out))),
    }
}

/// What a run has gone through: acknowledged writes and crashes.
fn live(seed: u64) -> (usize, u64) {
    let mut cluster = SimCluster::with_joiner(seed, Mode::On);
    let record = cluster.record();
    let (chance, mut clients, mut crashes) = (Seeded::new(seed ^ 0x3e3b), Clients::default(), 0);
    let (out, is_joint) = (1 + chance.below(3), chance.one_in(2));
    cluster.elect();
    for step in 0..STEPS {
        cluster.step();
        if chance.one_in(3) {
            let node = cluster.leader().unwrap_or(1 + chance.below(3));
            clients.send(&mut cluster, node, &chance);
        }
        if let Some(leader) = cluster.leader().filter(|_| step % 20 == 0) {
            let members = cluster.node(leader).members().unwrap();
            match due(&members, out, is_joint, step > STEPS / 3) {
                Some(change) if leader != out => cluster.change(leader, change),
                Some(_) => cluster.transfer(leader),
                None if chance.one_in(10) => cluster.transfer(leader),
                None => {}
            }
        }
        let node = 1 + chance.below(4);
        match chance.below(300) {
            0..3 => {
                crashes += u64::from(cluster.node(node).is_running());
                cluster.crash(node);
            }
            3..25 if !cluster.node(node).is_running() => cluster.restart(node).unwrap(),
            25 => cluster.partition(&[&[node]]),
            26..32 => cluster.heal(),
            32 | 33 => cluster.set_weather(Weather { loss_percent: chance.below(20), delay_ms_max: chance.below(60) }),
            _ => {}
        }
    }
    mend(&mut cluster);
    for _ in 0..400 {
        cluster.steps(20);
        let Some(leader) = cluster.leader() else { continue };
        match due(&cluster.node(leader).members().unwrap(), out, is_joint, true) {
            None => break,
            Some(change) if leader != out => cluster.change(leader, change),
            Some(_) => cluster.transfer(leader),
        }
    }
    let in_the_end: Vec<u64> = (1..=JOINER).filter(|node| *node != out).collect();
    cluster.until("the members are those that were asked for", |cluster| {
        cluster.members().is_some_and(|members| members.voters == in_the_end && members.voters_outgoing.is_empty())
    });
    let leader = cluster.elect();
    cluster.steps(100);
    let acknowledged = clients.check(&mut cluster, leader);
    settle(&mut cluster, &in_the_end);
    // Two of them are the smallest majority there ever is.
    follow(JOINER, 2, &record.take());
    (acknowledged, crashes)
}

/// Every state is compared with that of another node at the same index, and what a node applies is held by two at least.
#[test]
fn members_change_under_faults_and_nothing_acknowledged_is_lost() {
    let lived = of_each_seed(CI_RUNS, live);
    let (acknowledged, crashes): (Vec<usize>, Vec<u64>) = lived.into_iter().unzip();
    let runs = acknowledged.len();
    let (acknowledged, crashes): (usize, u64) = (acknowledged.iter().sum(), crashes.iter().sum());
    assert!(
        acknowledged >= 40 * runs && crashes >= 2 * runs as u64,
        "{acknowledged} acknowledged, {crashes} crashes in {runs} runs"
    );
}

/// `scripts/slow cluster` makes many more.
const CI_RUNS: u64 = 6;
const STEPS: u64 = 1_500;
