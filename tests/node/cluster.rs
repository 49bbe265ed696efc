//! Three nodes as a user has them: any of them takes reads and writes, one may die, nothing acknowledged is lost.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::refused_start;
use crate::harness::sealkv;
use crate::trio::IDS;
use crate::trio::Trio;
use crate::trio::Writers;
use crate::trio::verify;

#[test]
fn three_nodes_elect_a_leader_and_each_takes_writes_and_reads() {
    for trio in [Trio::new(), Trio::clear()] {
        let trio = trio.running();
        let leader = trio.leader();
        for writer in IDS {
            let (key, value) = (format!("key{writer}"), format!("of {writer}"));
            assert_eq!(trio.client(writer).call(&[b"SET", key.as_bytes(), value.as_bytes()]), Reply::ok());
            for reader in IDS {
                assert_eq!(
                    trio.client(reader).call(&[b"GET", key.as_bytes()]),
                    Reply::bulk(&value),
                    "{writer} {reader}"
                );
            }
            let mut client = trio.client(writer);
            // A pipeline of writes and reads between them, and two databases.
            let commands = ["SET p 1", "INCR p", "GET p", "SELECT 3", "GET p", "APPEND p xy", "STRLEN p", "DEL p"];
            for line in commands {
                let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
                client.send(&encode(&words)).unwrap();
            }
            let replies: Vec<Reply> = commands.iter().map(|_| client.reply().unwrap()).collect();
            let (one, two) = (Reply::Integer(1), Reply::Integer(2));
            let expected =
                [Reply::ok(), two.clone(), Reply::bulk("2"), Reply::ok(), Reply::Null, two.clone(), two, one];
            assert_eq!(replies, expected, "at node {writer}, node {leader} leads");
        }
        let roles: Vec<String> = IDS.iter().map(|id| trio.info(*id, "replication", "role")).collect();
        assert_eq!(roles.iter().filter(|role| *role == "master").count(), 1, "{roles:?}");
        trio.digest();
    }
}

#[test]
fn transactions_at_a_follower_are_as_at_the_leader() {
    let trio = Trio::new().running();
    let leader = trio.leader();
    let follower = IDS.into_iter().find(|id| *id != leader).unwrap();
    let mut client = trio.client(follower);
    assert_eq!(client.words("SET a 1"), Reply::ok());
    assert_eq!(client.words("WATCH a"), Reply::ok());
    assert_eq!(client.words("MULTI"), Reply::ok());
    for line in ["INCR a", "GET a", "SET b x GET", "MGET a b", "DBSIZE", "GET nothing"] {
        assert_eq!(client.words(line), Reply::Simple("QUEUED".to_owned()));
    }
    let values = Reply::Array(vec![Reply::bulk("2"), Reply::bulk("x")]);
    let replies = vec![Reply::Integer(2), Reply::bulk("2"), Reply::Null, values, Reply::Integer(2), Reply::Null];
    assert_eq!(client.words("EXEC"), Reply::Array(replies));
    assert_eq!(client.words("WATCH a"), Reply::ok());
    assert_eq!(trio.client(leader).words("SET a other"), Reply::ok());
    assert_eq!(client.words("MULTI"), Reply::ok());
    assert_eq!(client.words("SET a mine"), Reply::Simple("QUEUED".to_owned()));
    assert_eq!(client.words("EXEC"), Reply::Array(Vec::new()), "null: it was changed at the leader");
    assert_eq!(client.words("GET a"), Reply::bulk("other"));
    assert_eq!(client.words("SET brief x PX 30"), Reply::ok());
    std::thread::sleep(Duration::from_millis(60));
    for node in IDS {
        assert_eq!(trio.client(node).words("GET brief"), Reply::Null, "at node {node}");
    }
}

/// Goal: kill -9 the leader under load, again and again. Writes go on within 3 s, the killed node comes back, and in the end
/// all three hold the same at one index, with everything that was acknowledged in it.
#[test]
fn the_leader_is_killed_under_load_and_nothing_acknowledged_is_lost() {
    let rounds = std::env::var("SEALKV_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(2);
    let mut trio = Trio::new().running();
    let (mut outages, mut all) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let writers = Writers::start(trio.addresses(), 6);
        std::thread::sleep(Duration::from_millis(300));
        let leader = trio.leader();
        trio.kill(leader);
        outages.push(writers.outage(Duration::from_secs(10)));
        trio.start(leader);
        std::thread::sleep(Duration::from_millis(200));
        let acknowledged = writers.acknowledged();
        trio.digest();
        let count = verify(&mut trio.client(leader), &acknowledged);
        assert!(count > 50, "vacuous: {count} acknowledged");
        all.push(count);
        let mut client = trio.client(leader);
        assert_eq!(client.words("FLUSHALL"), Reply::ok());
    }
    outages.sort_unstable();
    let longest = outages.last().unwrap();
    println!("{rounds} tried, 0 failed");
    println!("without a leader: median {:?}, longest {longest:?}; acknowledged {all:?}", outages[outages.len() / 2]);
    assert!(*longest < Duration::from_secs(3) + SLOW_MACHINE, "{outages:?}");
}

/// Goal: a node that ends in order hands its leadership over first, so nobody waits for an election.
#[test]
fn a_leader_that_is_stopped_hands_over_first() {
    let mut trio = Trio::new().running();
    let leader = trio.leader();
    let writers = Writers::start(trio.addresses(), 4);
    std::thread::sleep(Duration::from_millis(300));
    trio.stop(leader);
    let outage = writers.outage(Duration::from_secs(10));
    trio.start(leader);
    let acknowledged = writers.acknowledged();
    trio.digest();
    verify(&mut trio.client(leader), &acknowledged);
    assert!(outage < Duration::from_secs(3), "{outage:?}");
}

/// An election is at most 2 s after the last heartbeat; a machine that builds beside the tests takes longer.
const SLOW_MACHINE: Duration = Duration::from_secs(3);

#[test]
fn one_node_of_three_says_clusterdown_and_serves_again_when_another_comes_back() {
    let mut trio = Trio::new().running();
    assert_eq!(trio.client(1).words("SET a 1"), Reply::ok());
    trio.digest();
    trio.kill(2);
    trio.kill(3);
    let mut client = trio.client(1);
    let down = |reply: Reply| matches!(&reply, Reply::Error(words) if words.starts_with("CLUSTERDOWN") || words.starts_with("TRYAGAIN"));
    trio.until("a leader without followers gives up", |trio| {
        (trio.info(1, "replication", "raft_leader") == "0").then_some(())
    });
    assert!(down(client.words("SET a 2")), "nobody else has it");
    assert!(down(client.words("GET a")), "nobody confirms it");
    trio.start(3);
    trio.leader();
    assert_eq!(trio.client(1).words("GET a"), Reply::bulk("1"));
    assert_eq!(trio.client(3).words("SET a 3"), Reply::ok());
    trio.start(2);
    trio.digest();
    assert_eq!(trio.client(2).words("GET a"), Reply::bulk("3"));
}

#[test]
fn settings_of_another_cluster_or_node_are_refused_with_78() {
    let mut trio = Trio::new();
    trio.start(1);
    trio.kill(1);
    let args = trio.args(1);
    let with = |name: &str, value: &str| {
        let mut args = args.clone();
        let at = args.iter().position(|arg| arg == name).unwrap();
        args[at + 1] = value.to_owned();
        args
    };
    let other_port = trio.list.replace("3=127.0.0.1:", "3=127.0.0.2:");
    let alone: Vec<String> = {
        let at = args.iter().position(|arg| arg == "--node-id").unwrap();
        let mut args = args.clone();
        args.drain(at..at + 6);
        args
    };
    for (args, words) in [
        (with("--node-id", "2"), "this directory is of node 1, node-id says 2"),
        (with("--node-id", "4"), "--join"),
        (with("--initial-cluster", &other_port), "initial-cluster"),
        (with("--initial-cluster", "1=127.0.0.1:1,1=127.0.0.1:2"), "1 is there twice"),
        (alone, "--initial-cluster"),
    ] {
        let refused = refused_start(&args);
        assert_eq!(refused.status, 78, "{}", refused.output);
        assert!(refused.output.contains(words), "{words}: {}", refused.output);
    }
}

/// Goal: nothing, or an older copy, is put in the place of one node's directory. It neither votes nor acknowledges: it ends
/// with 78 and says what to do, and the others go on.
#[test]
fn a_directory_that_was_lost_or_is_an_older_copy_is_noticed_and_ends_with_78() {
    let mut trio = Trio::new().running();
    assert_eq!(trio.client(1).words("SET a 1"), Reply::ok());
    trio.digest();
    let leader = trio.leader();
    let node = IDS.into_iter().find(|id| *id != leader).unwrap();
    trio.stop(node);
    let (data, aside) = (trio.data(node), trio.site.path().join("aside"));
    fs::rename(&data, &aside).unwrap();
    let said = |trio: &Trio, words: &str| {
        let mut command = sealkv();
        command.args(trio.args(node));
        // It may notice before it serves clients, or after.
        let (status, log) = match Node::try_start_with(command) {
            Ok(mut lost) => (lost.wait(Duration::from_secs(20)), lost.log()),
            Err(ended) => ended,
        };
        assert_eq!(status.code(), Some(78), "{log}");
        assert!(log.contains(words) && log.contains("sealkv admin member remove"), "{log}");
    };
    said(&trio, "knows this node with another directory");
    fs::remove_dir_all(&data).unwrap();
    copy_all(&aside, &data);
    trio.start(node);
    for count in 1..=40 {
        assert_eq!(trio.client(node).words("INCR n"), Reply::Integer(count));
    }
    trio.digest();
    // What was acknowledged is written once a second.
    std::thread::sleep(Duration::from_millis(2500));
    trio.kill(node);
    fs::remove_dir_all(&data).unwrap();
    copy_all(&aside, &data);
    said(&trio, "this is an older copy");
    assert_eq!(trio.client(leader).words("GET n"), Reply::bulk("40"));
}

pub fn copy_all(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--sparse=always"]).args([from, to]).status().unwrap();
    assert!(status.success());
}

#[test]
fn redis_cli_reads_and_writes_at_each_node() {
    if Command::new("redis-cli").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "scripts/test installs redis-cli");
        println!("SKIPPED: there is no redis-cli");
        return;
    }
    let trio = Trio::new().running();
    let cli = |id: u64, words: &[&str]| {
        let port = trio.ports()[usize::try_from(id).unwrap() - 1].to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for id in IDS {
        assert_eq!(cli(id, &["SET", "from", &id.to_string()]), "OK");
        for other in IDS {
            assert_eq!(cli(other, &["GET", "from"]), id.to_string());
        }
    }
}

/// Goal: the life of a membership by the operator's commands: two nodes join, one is promoted, one takes a founder's place, the
/// leader is taken out. Nothing that was written is lost, and what makes no sense is refused with its reason.
#[test]
fn nodes_join_are_promoted_take_a_place_and_leave() {
    let mut trio = Trio::new().running();
    assert_eq!(trio.client(2).words("SET before x"), Reply::ok());
    let done = |(status, said): (i32, String)| assert_eq!((status, said.trim()), (0, "done"));
    let refused = |(status, said): (i32, String), words: &str| {
        assert!(status != 0 && said.contains(words), "{words}: {status} {said}");
    };
    let (four, five) = (trio.peer_address(4), trio.peer_address(5));
    trio.start(4);
    done(trio.admin(1, &["member", "add", "4", &four]));
    refused(trio.admin(2, &["member", "add", "4", &four]), "node 4 is a member already");
    refused(trio.admin(2, &["member", "add", "2", &five]), "node 2 is a member already");
    refused(trio.admin(3, &["member", "add", "6", "nowhere"]), "HOST:PORT");
    refused(trio.admin(3, &["member", "promote", "5"]), "node 5 is no learner");
    trio.digest();
    done(trio.admin(3, &["member", "promote", "4"]));
    assert_eq!(trio.client(4).words("SET at four"), Reply::ok());
    assert_eq!(trio.client(4).words("GET before"), Reply::bulk("x"));
    // One that does not run is far from caught up once there is something to catch up.
    done(trio.admin(1, &["member", "add", "5", &five]));
    // A transaction is an entry: one pipeline has as many entries as transactions.
    let mut client = trio.operator(trio.leader());
    let one = [encode(&[b"MULTI"]), encode(&[b"INCR", b"n"]), encode(&[b"EXEC"])].concat();
    for _ in 0..43 {
        client.send(&one.repeat(100)).unwrap();
        (0..300).for_each(|_| drop(client.reply().unwrap()));
    }
    let leader = trio.leader();
    let out = IDS.into_iter().find(|id| *id != leader).unwrap().to_string();
    refused(trio.admin(1, &["member", "promote", "5"]), "entries behind");
    refused(trio.admin(1, &["member", "replace", &out, "5"]), "entries behind");
    trio.start(5);
    trio.digest();
    done(trio.admin(4, &["member", "replace", &out, "5"]));
    // Each node shows what it has applied, so the end of the change comes a little later at another one.
    let limit = Instant::now() + Duration::from_secs(10);
    let list = loop {
        let (_, list) = trio.admin(5, &["member", "list", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let nodes: Vec<u64> = list.as_array().unwrap().iter().map(|member| member["node"].as_u64().unwrap()).collect();
        if nodes.contains(&5) && !nodes.contains(&out.parse().unwrap()) {
            break list;
        }
        assert!(Instant::now() < limit, "{list}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(list.as_array().unwrap().iter().all(|member| member["vote"] == "yes"), "{list}");
    trio.kill(out.parse().unwrap());
    // The leader is taken out: it hands over first.
    let leader = trio.leader();
    let other = trio.running_ids().into_iter().find(|id| *id != leader).unwrap();
    done(trio.admin(other, &["member", "remove", &leader.to_string()]));
    // Its certificate or its address is as good as before: it is not heard all the same, nor after a restart.
    assert!(trio.node(leader).says("was taken out of this cluster"));
    trio.kill(leader);
    let next = trio.leader();
    trio.stop(other);
    trio.start(other);
    trio.start(leader);
    assert!(trio.node(other).says(&format!("node {leader} was taken out of this cluster")));
    refused(trio.admin(next, &["member", "add", &leader.to_string(), &trio.peer_address(leader)]), "another one");
    trio.kill(leader);
    let next = trio.leader();
    assert_ne!(next, leader);
    done(trio.admin(other, &["transfer-leader"]));
    assert_eq!(trio.client(5).words("GET at"), Reply::bulk("four"));
    trio.digest();
    let left: Vec<u64> = trio.running_ids();
    let to: Vec<String> = left.iter().map(|id| format!("127.0.0.1:{}", trio.client_port(*id))).collect();
    let (status, said) = trio.admin(5, &["compare", "--to", &to.join(",")]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("the same"), "{said}");
}

// A node that joins knows the founders, and its leader is none of them: only the leader's hello says where that one is. The log
// is whole, so no snapshot brings the members.
#[test]
fn a_node_that_joins_answers_a_leader_that_joined_before_it() {
    for certified in [false, true] {
        let trio = if certified { Trio::certified() } else { Trio::new() };
        if certified {
            [4, 5].iter().for_each(|id| trio.cert(&["node", &id.to_string(), "--host", "127.0.0.1"]));
        }
        let mut trio = trio.running();
        let done = |(status, said): (i32, String)| assert_eq!(status, 0, "{said}");
        assert_eq!(trio.client(1).words("SET before x"), Reply::ok());
        trio.start(4);
        done(trio.admin(1, &["member", "add", "4", &trio.peer_address(4)]));
        trio.digest();
        done(trio.admin(1, &["member", "promote", "4"]));
        trio.until("node 4 leads", |trio| {
            trio.admin(1, &["transfer-leader", "4"]);
            (trio.info(4, "replication", "role") == "master").then_some(())
        });
        trio.start(5);
        done(trio.admin(1, &["member", "add", "5", &trio.peer_address(5)]));
        trio.digest();
        assert_eq!(trio.info(5, "replication", "raft_leader"), "4");
        assert_eq!(trio.client(5).words("GET before"), Reply::bulk("x"));
        done(trio.admin(5, &["member", "promote", "5"]));
        assert_eq!(trio.client(5).words("SET at five"), Reply::ok());
    }
}

#[test]
fn clients_of_redis_see_the_cluster() {
    let trio = Trio::new().running();
    let leader = trio.leader();
    let follower = IDS.into_iter().find(|id| *id != leader).unwrap();
    let text = |id: u64, line: &str| match trio.client(id).words(line) {
        Reply::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{line}: {other:?}"),
    };
    assert!(text(follower, "CLUSTER INFO").contains("cluster_state:ok\r\n"));
    assert_eq!(text(follower, "CLUSTER MYID"), format!("{follower:040x}"));
    trio.until("the ports of all", |trio| {
        let nodes = text(follower, "CLUSTER NODES");
        trio.ports().iter().all(|port| nodes.contains(&format!("127.0.0.1:{port}@"))).then_some(())
    });
    let Reply::Array(slots) = trio.client(follower).words("CLUSTER SLOTS") else { panic!() };
    let [Reply::Array(range)] = slots.as_slice() else { panic!("{slots:?}") };
    let Reply::Array(first) = &range[2] else { panic!("{range:?}") };
    assert_eq!(first[1], Reply::Integer(trio.client_port(leader).into()), "the leader has all slots");
    let Reply::Array(role) = trio.client(follower).words("ROLE") else { panic!() };
    assert_eq!((&role[0], &role[2]), (&Reply::bulk("slave"), &Reply::Integer(trio.client_port(leader).into())));
    let Reply::Array(role) = trio.client(leader).words("ROLE") else { panic!() };
    let Reply::Array(others) = &role[2] else { panic!("{role:?}") };
    assert_eq!((&role[0], others.len()), (&Reply::bulk("master"), 2));
    assert_eq!(trio.client(follower).words("WAIT 1 0"), Reply::Integer(1));
}

// A node that is cut off answers stale reads to who asks for them, and nothing else.
#[test]
fn stale_reads_are_for_who_asks_for_them() {
    let mut trio = Trio::new().running();
    assert_eq!(trio.client(1).words("SET a 1"), Reply::ok());
    trio.digest();
    trio.kill(2);
    trio.kill(3);
    let mut client = trio.client(1);
    assert_eq!(client.words("READONLY"), Reply::ok());
    assert_eq!(client.words("GET a"), Reply::bulk("1"));
    trio.until("nobody leads", |trio| (trio.info(1, "replication", "raft_leader") == "0").then_some(()));
    assert_eq!(client.words("GET a"), Reply::bulk("1"));
    assert_eq!(client.words("READWRITE"), Reply::ok());
    assert!(matches!(client.words("GET a"), Reply::Error(_)));
}

#[test]
fn nodes_with_certificates_are_one_cluster_and_read_new_ones_at_a_hangup() {
    let mut trio = Trio::certified().running();
    let leader = trio.leader();
    assert_eq!(trio.client(leader).call(&[b"SET", b"k", b"v"]), Reply::ok());
    let other = IDS.into_iter().find(|id| *id != leader).unwrap();
    let path = |name: String| trio.site.path().join(name);
    let (certificate, key) = (path(format!("node-{other}.crt")), path(format!("node-{other}.key")));
    let before = fs::read(&certificate).unwrap();
    fs::write(&certificate, "no certificate").unwrap();
    trio.node(other).signal("-HUP");
    assert!(trio.node(other).says("the certificates for peers stay as they were"));
    fs::remove_file(&certificate).unwrap();
    fs::remove_file(&key).unwrap();
    trio.cert(&["node", &other.to_string()]);
    assert_ne!(fs::read(&certificate).unwrap(), before);
    trio.node(other).signal("-HUP");
    assert!(trio.node(other).says("certificates for peers are read again"));
    trio.kill(leader);
    trio.start(leader);
    trio.leader();
    trio.digest();
    assert_eq!(trio.client(other).call(&[b"GET", b"k"]), Reply::bulk("v"));
}
