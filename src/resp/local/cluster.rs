//! CLUSTER, READONLY and READWRITE: the cluster as clients of Redis Cluster ask for it. Every node takes every command, and all
//! slots are the leader's.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::commands::ErrorLine;
use crate::resp::local::subcommand::subcommand;
use crate::resp::membership::ClusterMembers;
use crate::resp::membership::MemberKnown;
use crate::resp::registry::Client;
use crate::resp::shared::ServerShared;

/// Runs one of them.
pub(super) fn cluster_command(
    shared: &ServerShared,
    client: &Client,
    arguments: Arguments<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), ErrorLine> {
    let is = |name: &str| arguments.slice(0).eq_ignore_ascii_case(name.as_bytes());
    if is("readonly") || is("readwrite") {
        client.reads_stale.store(is("readonly"), Ordering::Relaxed);
        encoder.simple("OK");
        return Ok(());
    }
    let membership = shared.operator.membership().filter(|_| is("cluster")).ok_or(DISABLED)?;
    let sub = subcommand("cluster", arguments);
    if !["info", "myid", "nodes", "slots", "shards"].iter().any(|name| sub.is(name)) {
        return Err(DISABLED);
    }
    sub.exactly(0)?;
    let shown = Shown { shared, membership, known: membership.known() };
    if sub.is("info") {
        encoder.text(&shown.info());
    } else if sub.is("myid") {
        encoder.bulk(id(membership.node()).as_bytes());
    } else if sub.is("nodes") {
        encoder.text(&shown.nodes());
    } else if sub.is("slots") {
        shown.slots(encoder);
    } else {
        shown.shards(encoder);
    }
    Ok(())
}

/// The cluster as one node sees it.
struct Shown<'a> {
    shared: &'a ServerShared,
    membership: &'a dyn ClusterMembers,
    known: Vec<MemberKnown>,
}

impl Shown<'_> {
    fn info(&self) -> String {
        let (count, term) = (self.known.len(), self.membership.term());
        let state = if self.membership.leader().is_some() { "ok" } else { "fail" };
        format!(
            "cluster_enabled:0\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\n\
             cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:{count}\r\ncluster_size:1\r\n\
             cluster_current_epoch:{term}\r\ncluster_my_epoch:{term}\r\n"
        )
    }

    fn nodes(&self) -> String {
        let (leader, term) = (self.leader(), self.membership.term());
        let mut text = String::new();
        for member in &self.known {
            let myself = if member.node == self.membership.node() { "myself," } else { "" };
            let (host, port) = self.place(member);
            let (role, of, slots) = match leader {
                Some(leader) if leader == member.node => ("master", "-".to_owned(), format!(" 0-{}", SLOTS - 1)),
                Some(leader) => ("slave", id(leader), String::new()),
                None => ("slave", "-".to_owned(), String::new()),
            };
            let (node, peer_port) = (id(member.node), member.peer_port);
            // Writing to a string does not fail.
            let _ = writeln!(text, "{node} {host}:{port}@{peer_port} {myself}{role} {of} 0 0 {term} connected{slots}");
        }
        text
    }

    fn slots(&self, encoder: &mut Encoder<'_>) {
        let ordered = self.leader_first();
        if self.leader().is_none() {
            return encoder.array(0);
        }
        encoder.array(1);
        encoder.array(2 + ordered.len());
        encoder.integer(0);
        encoder.integer(i64::from(SLOTS) - 1);
        for member in ordered {
            let (host, port) = self.place(member);
            encoder.array(4);
            encoder.bulk(host.as_bytes());
            encoder.integer(port.into());
            encoder.bulk(id(member.node).as_bytes());
            encoder.array(0);
        }
    }

    fn shards(&self, encoder: &mut Encoder<'_>) {
        let ordered = self.leader_first();
        encoder.array(1);
        encoder.map(2);
        encoder.bulk(b"slots");
        encoder.array(2);
        encoder.integer(0);
        encoder.integer(i64::from(SLOTS) - 1);
        encoder.bulk(b"nodes");
        encoder.array(ordered.len());
        for member in ordered {
            let (host, port) = self.place(member);
            let role = if Some(member.node) == self.leader() { "master" } else { "replica" };
            encoder.map(7);
            encoder.bulk(b"id");
            encoder.bulk(id(member.node).as_bytes());
            encoder.bulk(b"port");
            encoder.integer(port.into());
            for (name, word) in [("ip", host.as_str()), ("endpoint", host.as_str()), ("role", role)] {
                encoder.bulk(name.as_bytes());
                encoder.bulk(word.as_bytes());
            }
            encoder.bulk(b"replication-offset");
            encoder.integer(i64::try_from(self.shared.facts.applied_index()).unwrap_or(i64::MAX));
            encoder.bulk(b"health");
            encoder.bulk(b"online");
        }
    }

    fn leader(&self) -> Option<u64> {
        self.membership.leader()
    }

    fn leader_first(&self) -> Vec<&MemberKnown> {
        let leader = self.leader();
        let (mut first, rest): (Vec<&MemberKnown>, Vec<&MemberKnown>) =
            self.known.iter().partition(|member| Some(member.node) == leader);
        first.extend(rest);
        first
    }

    /// Where clients reach a member; this node knows its own place best.
    fn place(&self, member: &MemberKnown) -> (String, u16) {
        if member.node == self.membership.node() {
            let address = self.shared.address;
            let host = if address.ip().is_unspecified() { member.host.clone() } else { address.ip().to_string() };
            return (host, address.port());
        }
        (member.host.clone(), member.client_port)
    }
}

/// 40 digits, as clients expect.
pub(super) fn id(node: u64) -> String {
    format!("{node:040x}")
}

const SLOTS: u16 = 16_384;
const DISABLED: ErrorLine = ErrorLine::fixed("ERR This instance has cluster support disabled");
