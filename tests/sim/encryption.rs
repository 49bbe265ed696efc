//! Keys in a running cluster: sealed from the first command, or from an operator's word on.

use sealkv::crypto::keystore::Purpose;
use sealkv::fsm::name::Database;
use sealkv::ids::Index;
use sealkv::propose::ControlDone;
use sealkv::propose::ControlRequest;
use sealkv::propose::Mode;
use sealkv::propose::RequestSlot;
use sealkv::testing::cluster::SimCluster;
use sealkv::testing::cluster::SimEnd;
use sealkv::testing::leader::set;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::seed;

use crate::clients::Clients;

fn ask(cluster: &mut SimCluster, node: u64, request: ControlRequest) -> ControlDone {
    let number = cluster.control(node, request);
    cluster.until("an operator is answered", |cluster| cluster.end_of(number).is_some());
    match cluster.end_of(number) {
        Some(SimEnd::Control(Ok(done))) => done,
        other => panic!("{request:?}: {other:?}"),
    }
}

fn write(cluster: &mut SimCluster, node: u64, value: &str) {
    let number = cluster.propose(node, vec![RequestSlot::Write(Database::FIRST, set("canary", value))]);
    cluster.until("a client is answered", |cluster| cluster.end_of(number).is_some());
    assert!(matches!(cluster.end_of(number), Some(SimEnd::Replies(_))));
}

/// Whether the text stands anywhere in a row of a node's state.
fn shows(cluster: &SimCluster, node: u64, text: &str) -> bool {
    let is_there = |row: &[u8]| row.windows(text.len()).any(|part| part == text.as_bytes());
    cluster.node(node).picture().unwrap().rows.values().any(|row| is_there(row))
}

#[test]
fn a_cluster_is_sealed_from_its_first_client_command_on() {
    for nodes in [1, 3] {
        let mut cluster = SimCluster::new(seed(31), nodes);
        let leader = cluster.elect();
        write(&mut cluster, leader, "canary-value");
        cluster.steps(50);
        for node in cluster.nodes() {
            assert_ne!(node.cutover(), Index::NEVER);
            assert!(!shows(&cluster, node.id(), "canary-value"));
            assert!(node.has_durably(node.applied()));
        }
    }
}

#[test]
fn an_operator_turns_sealing_on_in_a_running_cluster_and_rotates_its_keys() {
    for nodes in [1, 3] {
        let seed = seed(41);
        let mut cluster = SimCluster::with_mode(seed, nodes, Mode::Ready);
        let (mut clients, chance) = (Clients::default(), Seeded::new(seed));
        let leader = cluster.elect();
        write(&mut cluster, leader, "in-the-clear");
        cluster.steps(50);
        assert!(cluster.nodes().iter().all(|node| shows(&cluster, node.id(), "in-the-clear")));
        for round in 0..20 {
            clients.send(&mut cluster, leader, &chance);
            if round == 5 {
                let done = ask(&mut cluster, leader, ControlRequest::Enable);
                assert!(matches!(done, ControlDone::Enabled { .. }), "{done:?}");
            }
            if round > 5 && round % 5 == 0 {
                ask(&mut cluster, leader, ControlRequest::Rotate(Purpose::Entry));
                ask(&mut cluster, leader, ControlRequest::Rotate(Purpose::Value));
            }
            cluster.step();
        }
        write(&mut cluster, leader, "sealed-for-good");
        cluster.steps(50);
        let cutovers: Vec<Index> = cluster.nodes().iter().map(|node| node.cutover()).collect();
        assert!(cutovers.iter().all(|cutover| *cutover == cutovers[0] && *cutover != Index::NEVER), "{cutovers:?}");
        assert!(!cluster.nodes().iter().any(|node| shows(&cluster, node.id(), "sealed-for-good")));
        assert!(clients.check(&mut cluster, leader) > 5);
        // Every node goes on from what it has, by its own KEK.
        (1..=nodes).for_each(|node| cluster.crash(node));
        (1..=nodes).for_each(|node| cluster.restart(node).unwrap());
        let leader = cluster.elect();
        write(&mut cluster, leader, "after-a-power-cut");
        assert!(clients.check(&mut cluster, leader) > 5);
    }
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_is_replaced() {
    let mut cluster = SimCluster::new(seed(51), 3);
    let old = cluster.elect();
    write(&mut cluster, old, "before");
    cluster.partition(&[&[old]]);
    let lost = cluster.propose(old, vec![RequestSlot::Write(Database::FIRST, set("canary", "lost"))]);
    let rest: Vec<u64> = (1..=3).filter(|node| *node != old).collect();
    cluster.until("the others elect a leader", |cluster| {
        rest.iter().any(|node| cluster.node(*node).status().is_some_and(|status| status.is_leader))
    });
    assert!(!matches!(cluster.end_of(lost), Some(SimEnd::Replies(_))), "a minority acknowledges nothing");
    let new = cluster.leader().unwrap();
    assert_ne!(new, old);
    write(&mut cluster, new, "after");
    cluster.heal();
    cluster.until("the request has ended", |cluster| cluster.end_of(lost).is_some());
    assert!(!matches!(cluster.end_of(lost), Some(SimEnd::Replies(_))));
}
