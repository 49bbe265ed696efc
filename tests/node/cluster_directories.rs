//! A node of three with the wrong key, or with a directory that is not the one that it had.

use std::fs;
use std::time::Duration;

use crate::client::Reply;
use crate::cluster::copy_all;
use crate::harness::Node;
use crate::harness::text;
use crate::netns::Nets;
use crate::trio::IDS;
use crate::trio::Trio;

/// Goal: a founder with another KEK than the other two ends with 78, and the cluster begins once it has the right one.
#[test]
fn a_node_that_has_no_kek_in_common_with_most_others_ends_with_78() {
    let mut trio = Trio::new();
    trio.start(1);
    trio.start(2);
    let right = text(&trio.site.kek());
    let wrong = text(&trio.site.make_kek("other-kek", 0x77));
    let mut command = crate::harness::sealkv();
    command.args(trio.args(3).into_iter().map(|arg| if arg == right { wrong.clone() } else { arg }));
    let (status, log) = match Node::try_start_with(command) {
        Ok(mut odd) => (odd.wait(Duration::from_secs(20)), odd.log()),
        Err(ended) => ended,
    };
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("KEK in common"), "{log}");
    fs::remove_dir_all(trio.data(3)).unwrap();
    trio.start(3);
    trio.leader();
    assert_eq!(trio.client(3).words("SET a 1"), Reply::ok());
    trio.digest();
}

#[test]
fn all_nodes_move_at_once_and_are_the_same_cluster() {
    let mut trio = Trio::new().running();
    assert_eq!(trio.client(1).words("SET a 1"), Reply::ok());
    IDS.iter().for_each(|id| trio.stop(*id));
    trio.move_all();
    IDS.iter().for_each(|id| trio.start(*id));
    trio.leader();
    assert_eq!(trio.client(2).words("GET a"), Reply::bulk("1"));
    assert_eq!(trio.client(3).words("SET a 2"), Reply::ok());
    trio.digest();
    let (status, list) = trio.admin(1, &["member", "list"]);
    assert_eq!(status, 0, "{list}");
    assert!(IDS.iter().all(|id| list.contains(&trio.peer_address(*id))), "{list}");
}

/// Goal: an older copy, or nothing, stands in the place of a node's directory, and the other two do not hear each other: its vote
/// would decide. It ends with 78 and gives none; what was acknowledged is there once the network is mended.
#[test]
fn a_directory_that_was_put_back_gives_no_vote_that_would_decide() {
    let nets = match Nets::make() {
        Ok(nets) => nets,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    let rounds = std::env::var("SEALKV_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(2);
    let mut trio = Trio::apart(nets).running();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let leader = trio.leader();
        let others: Vec<u64> = IDS.into_iter().filter(|id| *id != leader).collect();
        let (node, other) = (others[round % 2], others[1 - round % 2]);
        let (data, older, newest) = (trio.data(node), trio.site.path().join("older"), trio.site.path().join("newest"));
        trio.digest();
        trio.stop(node);
        copy_all(&data, &older);
        trio.start(node);
        trio.digest();
        for _ in 0..40 {
            acknowledged += 1;
            assert_eq!(executed(&trio, other, "INCR n"), Reply::Integer(acknowledged));
        }
        trio.digest();
        trio.kill(node);
        fs::rename(&data, &newest).unwrap();
        let is_older = round % 4 < 2;
        if is_older {
            fs::rename(&older, &data).unwrap();
        }
        trio.nets.as_ref().unwrap().part(leader, other);
        let follows = |trio: &Trio, id: u64| trio.info(id, "replication", "role") == "slave";
        trio.until("nobody leads", |trio| (follows(trio, leader) && follows(trio, other)).then_some(()));
        let (status, log) = match Node::try_start_with(trio.command(node)) {
            Ok(mut lost) => (lost.wait(Duration::from_secs(20)), lost.log()),
            Err(ended) => ended,
        };
        assert_eq!(status.code(), Some(78), "{log}");
        let words = if is_older { "this is an older copy" } else { "with another directory" };
        assert!(log.contains(words), "{log}");
        std::thread::sleep(Duration::from_secs(1));
        for id in [leader, other] {
            assert!(follows(&trio, id), "round {round}: it was given a vote");
        }
        trio.nets.as_ref().unwrap().heal();
        trio.leader();
        assert_eq!(executed(&trio, other, "GET n"), Reply::bulk(acknowledged.to_string()));
        let _ = fs::remove_dir_all(&data);
        let _ = fs::remove_dir_all(&older);
        fs::rename(&newest, &data).unwrap();
        trio.start(node);
        trio.digest();
    }
    println!("{rounds} tried, 0 failed");
}

/// The reply to a command, sent again for as long as it was certainly not executed: leaders change on a busy machine.
fn executed(trio: &Trio, id: u64, line: &str) -> Reply {
    trio.until("a leader takes it", |trio| match trio.client(id).words(line) {
        Reply::Error(words) if words.starts_with("TRYAGAIN") || words.starts_with("CLUSTERDOWN") => None,
        reply => Some(reply),
    })
}
