//! Which arguments are keys and what happens to them, beside Redis itself: proxies and cluster clients route by it.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::redis::Redis;

/// Method: every command of both servers. Arity, key positions and key specs of COMMAND INFO are compared, then the keys, and the
/// keys with their flags, of calls with too few, enough and more arguments, some of which are words of SET and BITFIELD.
#[test]
fn keys_of_every_command_and_their_flags_are_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let (mut ours, mut theirs) = (node.client(), Client::connect(redis.port));
    let shared: Vec<String> = names(&mut ours).intersection(&names(&mut theirs)).cloned().collect();
    assert!(shared.len() > 80, "vacuous: {} commands of both", shared.len());
    let mut compared = 0;
    let mut same = |line: &str| {
        let (our, their) = (ours.words(line), theirs.words(line));
        assert_eq!(our, their, "{line}: ours, theirs");
        compared += 1;
        our
    };
    for name in shared.iter().filter(|name| !CONTAINERS.contains(&&name[..])) {
        for count in 1..7 {
            for draw in 0..8 {
                let words: Vec<&str> =
                    (0..count).map(|at| WORDS[(at * 7 + draw * 5 + at * draw) % WORDS.len()]).collect();
                for sub in ["GETKEYS", "GETKEYSANDFLAGS"] {
                    same(&format!("COMMAND {sub} {name} {}", words.join(" ")));
                }
            }
        }
    }
    let told = LINES.iter().filter(|line| matches!(same(&format!("COMMAND GETKEYSANDFLAGS {line}")), Reply::Array(_)));
    assert_eq!(told.count(), LINES.len() - REFUSED, "lines that have keys");
    assert!(compared > 5000, "vacuous: {compared} compared");
    for name in &shared {
        let info = |client: &mut Client| facts(&client.words(&format!("COMMAND INFO {name}")));
        let (our, their) = (info(&mut ours), info(&mut theirs));
        // Redis has these keys in subcommands, which are not shown here.
        let is_split = matches!(&name[..], "memory" | "object");
        assert!(our == their || is_split && our[0] == their[0], "{name}: {our:?}, {their:?}");
    }
}

fn names(client: &mut Client) -> BTreeSet<String> {
    let Reply::Array(names) = client.words("COMMAND LIST") else { panic!("names") };
    let name = |reply| match reply {
        Reply::Bulk(name) => String::from_utf8(name).unwrap(),
        other => panic!("{other:?}"),
    };
    names.into_iter().map(name).filter(|name| !name.contains('|')).collect()
}

/// Arity, first and last key, step, key specs.
fn facts(info: &Reply) -> Vec<Reply> {
    let Reply::Array(all) = info else { panic!("{info:?}") };
    let Reply::Array(members) = &all[0] else { panic!("{info:?}") };
    [1, 3, 4, 5, 8].map(|at| members[at].clone()).to_vec()
}

/// Their subcommands have no key; one that is not there is another error in Redis.
const CONTAINERS: &[&str] =
    &["acl", "client", "cluster", "command", "config", "function", "latency", "memory", "module", "object", "slowlog"];
const WORDS: &[&str] = &["a", "GET", "u8", "0", "overflow", "b", "SET", "incrby", "wrap", "c", "get", "1"];
const LINES: &[&str] = &[
    "SET a b",
    "set a b EX 10 get",
    "SET a get",
    "BITFIELD a GET u8 0 OVERFLOW WRAP",
    "BITFIELD a GET u8 0 SET u8 0 1",
    "BITFIELD a OVERFLOW SAT INCRBY u8 0 1",
    "BITFIELD a nonsense",
    "OBJECT ENCODING a",
    "object freq a",
    "MEMORY USAGE a SAMPLES 5",
    "OBJECT HELP",
    "OBJECT nosuch a",
    "OBJECT ENCODING",
    "OBJECT ENCODING a b",
    "MEMORY USAGE",
    "MEMORY HELP",
    "CONFIG GET a",
    "nosuch a",
    "GET",
];
/// The last lines are errors.
const REFUSED: usize = 9;
