//! INFO: the node's numbers under Redis' field names, so that exporters and `redis-cli --stat` work.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::resp::CommandCall;
use crate::resp::DatabaseKeys;
use crate::resp::FactSection;
use crate::resp::Role;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::shared::ServerShared;
use crate::resp::stats::load;

/// INFO [section ...].
pub(super) fn write_info(shared: &ServerShared, arguments: Arguments<'_>, encoder: &mut Encoder<'_>) {
    let is_named = |section: &str, others: &[&[u8]]| {
        arguments.slices_from(1).any(|word| {
            word.eq_ignore_ascii_case(section.as_bytes()) || others.iter().any(|other| word.eq_ignore_ascii_case(other))
        })
    };
    let mut text = String::new();
    for (section, write) in SECTIONS {
        // As in Redis, what is long is shown where it is asked for only.
        let is_asked = match section {
            "Commandstats" => is_named(section, &[b"all", b"everything"]),
            _ => arguments.len() == 1 || is_named(section, &[b"default", b"all", b"everything"]),
        };
        if is_asked {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let mut lines = Lines { text: &mut text };
            lines.title(section);
            write(shared, &mut lines);
        }
    }
    encoder.text(&text);
}

fn info_server(shared: &ServerShared, lines: &mut Lines<'_>) {
    let uptime = shared.since.elapsed().as_secs();
    lines.add("redis_version", REDIS_VERSION);
    lines.add("sealkv_version", env!("CARGO_PKG_VERSION"));
    lines.add("redis_mode", "standalone");
    lines.add("os", std::env::consts::OS);
    lines.add("arch_bits", usize::BITS);
    lines.add("process_id", std::process::id());
    lines.add("tcp_port", shared.address.port());
    lines.add("server_time_usec", shared.gateway.wall_ms().saturating_mul(1000));
    lines.add("uptime_in_seconds", uptime);
    lines.add("uptime_in_days", uptime / 86_400);
    add_facts(shared, FactSection::Server, lines);
}

fn info_clients(shared: &ServerShared, lines: &mut Lines<'_>) {
    let stats = &shared.stats;
    lines.add("connected_clients", stats.connected_clients.load(Ordering::Relaxed));
    lines.add("cluster_connections", 0);
    lines.add("maxclients", shared.clients_max.load(Ordering::Relaxed));
    lines.add("blocked_clients", 0);
    lines.add("unauthenticated_clients", stats.unauthenticated_clients.load(Ordering::Relaxed));
}

fn info_memory(shared: &ServerShared, lines: &mut Lines<'_>) {
    lines.add("maxmemory", 0);
    lines.add("maxmemory_policy", "noeviction");
    lines.add("mem_clients_normal", shared.stats.buffer_bytes.load(Ordering::Relaxed));
    add_facts(shared, FactSection::Memory, lines);
}

fn info_persistence(shared: &ServerShared, lines: &mut Lines<'_>) {
    lines.add("loading", u8::from(shared.facts.is_loading()));
    lines.add("async_loading", 0);
    lines.add("aof_enabled", 1);
    add_facts(shared, FactSection::Persistence, lines);
}

fn info_stats(shared: &ServerShared, lines: &mut Lines<'_>) {
    let stats = &shared.stats;
    lines.add("total_connections_received", load(&stats.connections_total));
    lines.add("total_commands_processed", load(&stats.commands_total));
    lines.add("total_net_input_bytes", load(&stats.input_bytes_total));
    lines.add("total_net_output_bytes", load(&stats.output_bytes_total));
    lines.add("rejected_connections", load(&stats.connections_rejected_total));
    lines.add("total_error_replies", load(&stats.error_replies_total));
    lines.add("acl_access_denied_auth", load(&stats.auth_failures_total));
    lines.add("connections_closed_for_bounds", load(&stats.connections_closed_total));
    lines.add("outcomes_unknown", load(&stats.outcomes_unknown_total));
    lines.add("requests_proposed", load(&stats.requests_total));
    lines.add("requests_try_again", load(&stats.try_again_total));
    let [commands, input, output] = stats.rates.of_a_second();
    lines.add("instantaneous_ops_per_sec", commands);
    lines.add("instantaneous_input_kbps", format_args!("{:.2}", input as f64 / 1024.0));
    lines.add("instantaneous_output_kbps", format_args!("{:.2}", output as f64 / 1024.0));
    lines.add("keyspace_hits", load(&stats.hits_total));
    lines.add("keyspace_misses", load(&stats.misses_total));
    lines.add("evicted_keys", 0);
    add_facts(shared, FactSection::Stats, lines);
    lines.add("read_index_rounds", load(&stats.read_rounds_total));
    lines.add("reads_at_once", load(&stats.reads_at_once_total));
}

fn info_replication(shared: &ServerShared, lines: &mut Lines<'_>) {
    let facts = &shared.facts;
    let role = facts.role();
    lines.add("role", role.word());
    // Redis' field counts replicas attached to a master; the members are named by the node's own lines.
    let others = if role == Role::Leader { facts.voters().saturating_sub(1) } else { 0 };
    lines.add("connected_slaves", others);
    lines.add("master_repl_offset", facts.applied_index());
    add_facts(shared, FactSection::Replication, lines);
}

fn info_cpu(shared: &ServerShared, lines: &mut Lines<'_>) {
    add_facts(shared, FactSection::Cpu, lines);
}

/// Each call counts with the time of its batch.
fn info_commandstats(shared: &ServerShared, lines: &mut Lines<'_>) {
    for call in shared.stats.commands().filter(|call| call.calls + call.refused > 0) {
        let CommandCall { name, calls, micros, refused } = call;
        let each = micros as f64 / calls.max(1) as f64;
        lines.add(
            &format!("cmdstat_{name}"),
            format_args!("calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={refused},failed_calls=0"),
        );
    }
}

fn info_cluster(_: &ServerShared, lines: &mut Lines<'_>) {
    lines.add("cluster_enabled", 0);
}

fn info_keyspace(shared: &ServerShared, lines: &mut Lines<'_>) {
    for DatabaseKeys { number, keys, expires, ttl_ms } in shared.facts.keyspace() {
        lines.add(&format!("db{number}"), format_args!("keys={keys},expires={expires},avg_ttl={ttl_ms}"));
    }
}

fn info_sealkv(shared: &ServerShared, lines: &mut Lines<'_>) {
    add_facts(shared, FactSection::Sealkv, lines);
}

fn add_facts(shared: &ServerShared, section: FactSection, lines: &mut Lines<'_>) {
    for (name, value) in shared.facts.lines(section) {
        lines.add(name, value);
    }
}

type WriteSection = fn(&ServerShared, &mut Lines<'_>);

const SECTIONS: [(&str, WriteSection); 11] = [
    ("Server", info_server),
    ("Clients", info_clients),
    ("Memory", info_memory),
    ("Persistence", info_persistence),
    ("Stats", info_stats),
    ("Replication", info_replication),
    ("CPU", info_cpu),
    ("Commandstats", info_commandstats),
    ("Cluster", info_cluster),
    ("Keyspace", info_keyspace),
    ("Sealkv", info_sealkv),
];

struct Lines<'a> {
    text: &'a mut String,
}

impl Lines<'_> {
    fn title(&mut self, section: &str) {
        self.text.push_str("# ");
        self.text.push_str(section);
        self.text.push_str("\r\n");
    }

    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self.text, "{name}:{value}\r\n").expect("writing to a String does not fail");
    }
}

/// The version whose commands and words these are; clients decide by it what they may use.
pub(crate) const REDIS_VERSION: &str = "7.0.15";
