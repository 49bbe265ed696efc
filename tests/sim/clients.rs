//! Clients that know what they were promised: every one of them adds its number to one list, and some read the list.

use std::collections::BTreeSet;

use bytes::Bytes;
use sealkv::fsm::command::ReadCommand;
use sealkv::fsm::command::Reply;
use sealkv::fsm::name::Database;
use sealkv::propose::RequestSlot;
use sealkv::testing::cluster::SimCluster;
use sealkv::testing::cluster::SimEnd;
use sealkv::testing::cluster::SimReply;
use sealkv::testing::leader::append;
use sealkv::testing::leader::set;
use sealkv::testing::seed::Seeded;

/// What clients have asked for.
#[derive(Debug, Default)]
pub struct Clients {
    /// Requests that add their own number to the list.
    adds: Vec<u64>,
    /// Reads of the list, and how many requests had ended when they were sent.
    reads: Vec<(u64, usize)>,
}

impl Clients {
    /// One request to `node`: mostly an add, beside other writes or not.
    pub fn send(&mut self, cluster: &mut SimCluster, node: u64, chance: &Seeded) {
        if chance.one_in(4) {
            self.read(cluster, node);
            return;
        }
        let number = cluster.next_request();
        let mut slots = vec![RequestSlot::Write(Database::FIRST, append(LIST, &format!("{number},")))];
        for _ in 0..chance.below(3) {
            let key = format!("key {}", chance.below(20));
            slots.push(RequestSlot::Write(Database::FIRST, set(&key, &"v".repeat(chance.index(300)))));
        }
        self.adds.push(cluster.propose(node, slots));
    }

    /// One read of the list at `node`; its number.
    pub fn read(&mut self, cluster: &mut SimCluster, node: u64) -> u64 {
        let ended = cluster.replies().len();
        let number = cluster.read(node, list());
        self.reads.push((number, ended));
        number
    }

    /// Holds everything that clients were told against the list as `node`, which leads, reads it now; how many adds were
    /// acknowledged.
    pub fn check(&self, cluster: &mut SimCluster, node: u64) -> usize {
        // Somebody else may lead meanwhile: then it is asked again.
        let read = |_| {
            let last = cluster.read(cluster.leader().unwrap_or(node), list());
            cluster.until("the list is read", |cluster| cluster.end_of(last).is_some());
            let found = cluster.end_of(last).and_then(listed);
            if found.is_none() {
                cluster.steps(50);
            }
            found
        };
        let list = (0..20).find_map(read).expect("a leader reads");
        let mut acknowledged = 0;
        for number in &self.adds {
            let word = format!("{number},");
            let places: Vec<usize> = places(&list, &word);
            match cluster.end_of(*number) {
                Some(SimEnd::Replies(replies)) => {
                    acknowledged += 1;
                    assert_eq!(places.len(), 1, "{number} was acknowledged: {list}");
                    let length = i64::try_from(places[0] + word.len()).expect("a short list");
                    assert_eq!(replies[0], Reply::Integer(length), "the reply of {number} is that of its place");
                }
                Some(SimEnd::Without("unknown")) | None => assert!(places.len() <= 1, "{number} is there twice"),
                Some(end) => assert!(places.is_empty(), "{number} is there and was answered {end:?}"),
            }
        }
        let is_acknowledged = |reply: &SimReply| {
            matches!(reply.end, SimEnd::Replies(_)) && self.adds.binary_search(&reply.request).is_ok()
        };
        let ended = cluster.replies().into_iter().enumerate().filter(|(_, reply)| is_acknowledged(reply));
        let adds: Vec<(usize, String)> = ended.map(|(at, reply)| (at, reply.request.to_string())).collect();
        for (number, ended_before) in &self.reads {
            let Some(read) = cluster.end_of(*number).and_then(listed) else { continue };
            assert!(list.starts_with(&read), "read {number} saw what never was: {read}");
            let seen: BTreeSet<&str> = read.split(',').collect();
            for (_, add) in adds.iter().take_while(|(at, _)| at < ended_before) {
                assert!(seen.contains(add.as_str()), "read {number} is stale: {add} was acknowledged before");
            }
        }
        acknowledged
    }
}

/// The list as it was read; `None` if it was not.
fn listed(end: SimEnd) -> Option<String> {
    let SimEnd::Replies(replies) = end else { return None };
    match &replies[0] {
        Reply::Bulk(bytes) => Some(String::from_utf8(bytes.to_vec()).expect("numbers")),
        Reply::Null => Some(String::new()),
        other => panic!("{other:?}"),
    }
}

/// Where `word` stands in the list, as a whole word.
fn places(list: &str, word: &str) -> Vec<usize> {
    let found = list.match_indices(word).map(|(at, _)| at);
    found.filter(|at| *at == 0 || list.as_bytes()[at - 1] == b',').collect()
}

fn list() -> ReadCommand {
    ReadCommand::Get { key: Bytes::from_static(LIST.as_bytes()) }
}

const LIST: &str = "list";
