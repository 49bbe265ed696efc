//! Three nodes as their clients and operators see them: a client's library with three addresses, encryption turned on later, the
//! links between the nodes.

use std::process::Command;
use std::process::Stdio;

use crate::client::Reply;
use crate::operator::metrics;
use crate::trio::IDS;
use crate::trio::Trio;

/// Writes numbers until its input ends, at whichever address answers; what it was told is what it finds in the end.
const SCRIPT: &str = "\
import redis, select, sys
from redis.exceptions import RedisError
ports = [int(port) for port in sys.argv[1:]]
nodes = [redis.Redis(host='127.0.0.1', port=port, socket_timeout=15, retry_on_timeout=False) for port in ports]
at, number, told = 0, 0, []
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    try:
        if nodes[at % 3].set('py%d' % number, number):
            told.append(number)
        with nodes[(at + 1) % 3].pipeline(transaction=True) as p:
            p.incr('count'); p.get('py%d' % told[-1])
            assert int(p.execute()[1]) == told[-1]
    except RedisError:
        at += 1
for node in nodes:
    found = node.mget(['py%d' % number for number in told])
    assert found == [b'%d' % number for number in told], 'lost'
print('told', len(told), 'tried', number, 'errors', at)
";

/// Goal: redis-py with three addresses writes and reads at any node, and goes on when the leader is killed.
#[test]
fn redis_py_with_three_addresses_goes_on_when_the_leader_is_killed() {
    let mut trio = Trio::new().running();
    let ports = trio.ports().map(|port| port.to_string());
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT]).args(ports).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("SKIPPED: there is no Python");
        return;
    };
    let written = || trio.client(trio.running_ids()[0]).words("DBSIZE");
    let reaches = |trio: &Trio, least: i64| {
        trio.until("redis-py writes", |trio| {
            let id = trio.running_ids()[0];
            matches!(trio.client(id).words("DBSIZE"), Reply::Integer(count) if count >= least).then_some(())
        });
    };
    let without = "No module named 'redis'";
    if matches!(written(), Reply::Integer(0)) {
        // Either it is about to begin, or it has ended already.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(errors.contains(without), "{errors}");
            assert!(std::env::var_os("CI").is_none(), "scripts/test installs redis-py");
            println!("SKIPPED: there is no redis-py");
            return;
        }
    }
    reaches(&trio, 60);
    let leader = trio.leader();
    trio.kill(leader);
    trio.leader();
    let Reply::Integer(now) = trio.client(trio.running_ids()[0]).words("DBSIZE") else { panic!() };
    reaches(&trio, now + 60);
    trio.start(leader);
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("told"), "{said} {errors}");
    println!("{}", said.lines().last().unwrap());
    trio.digest();
}

/// Goal: a follower says who takes an operator's request, and every node shows what came of it.
#[test]
fn encryption_is_turned_on_at_the_leader_and_seen_at_every_node() {
    let trio = Trio::ready().running();
    let leader = trio.leader();
    let follower = IDS.into_iter().find(|id| *id != leader).unwrap();
    assert_eq!(trio.client(follower).words("SET before x"), Reply::ok());
    let expected = format!(
        "READONLY This node does not lead, ask the leader: node {leader} at 127.0.0.1:{}",
        trio.client_port(leader)
    );
    trio.until("the follower says who leads", |trio| {
        let said = trio.operator(follower).words("SEALKV ENCRYPTION ENABLE");
        (said == Reply::Error(expected.clone())).then_some(())
    });
    assert_eq!(trio.operator(leader).words("SEALKV ENCRYPTION ENABLE"), Reply::ok());
    for id in IDS {
        trio.until("it seals", |trio| {
            let Reply::Array(facts) = trio.operator(id).words("SEALKV ENCRYPTION STATUS") else { return None };
            (facts[2..4] == [Reply::bulk("sealing"), Reply::bulk("yes")]).then_some(())
        });
    }
    assert_eq!(trio.client(follower).words("SET after y"), Reply::ok());
    assert_eq!(trio.operator(leader).words("SEALKV ENCRYPTION ROTATE entry"), Reply::ok());
    assert_eq!(trio.client(follower).words("GET before"), Reply::bulk("x"));
    trio.digest();
}

#[test]
fn the_links_between_nodes_are_in_info_and_metrics() {
    let mut trio = Trio::new().running();
    let leader = trio.leader();
    let links = |trio: &Trio| trio.info(leader, "replication", "peer_links");
    trio.until("both links are up and measured", |trio| {
        let line = links(trio);
        (line.matches("state=up").count() == 2 && !line.contains("round_trip_micros=0")).then_some(())
    });
    let gone = IDS.into_iter().find(|id| *id != leader).unwrap();
    trio.kill(gone);
    trio.until("one is down", |trio| links(trio).contains(&format!("node={gone},state=down")).then_some(()));
    let metrics = metrics(trio.node(leader).admin_port);
    let other = IDS.into_iter().find(|id| *id != leader && *id != gone).unwrap();
    for line in [
        format!("sealkv_peer_connected{{peer=\"{gone}\"}} 0"),
        format!("sealkv_peer_connected{{peer=\"{other}\"}} 1"),
        format!("sealkv_peer_sent_messages_total{{peer=\"{other}\"}} "),
        format!("sealkv_peer_round_trip_microseconds{{peer=\"{other}\"}} "),
        format!("sealkv_peer_dropped_total{{peer=\"{other}\"}} "),
    ] {
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}
