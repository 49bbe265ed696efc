//! `scripts/bench peers cluster`: three nodes beside three of etcd on loopback, everyone syncing; writes of 256 random bytes.
//!
//! Then sealed beside nil, in pairs. etcd is asked through its JSON gateway, which costs it more than gRPC does: a client of that
//! protocol would be a hundred crates more. The record says so.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::Options;
use crate::facts::machine;
use crate::facts::record;
use crate::keep_or_print;
use crate::nodes::RunningNode;
use crate::nodes::Tools;
use crate::nodes::get;
use crate::nodes::metric;
use crate::rivals::Rival;
use crate::rivals::free_port;
use crate::rivals::is_installed;
use crate::statistics::Cell;
use crate::statistics::in_pairs;
use crate::statistics::median;
use crate::statistics::pairs_of;
use crate::watch::FOREIGN_MAX;
use crate::watch::Watch;

/// Three servers behind one name.
struct Trio {
    name: &'static str,
    addresses: String,
    pipeline: &'static str,
    protocol: &'static str,
    lines: Vec<Value>,
}

/// `--sealkv PATH --load PATH [--rounds N] [--pairs N] [--seconds N] [--clients N] [--record FILE]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&["--sealkv", "--load", "--rounds", "--pairs", "--seconds", "--clients", "--record"])?;
    let (rounds, seconds) = (options.number("--rounds", 9)?.max(1), options.number("--seconds", 3)?);
    let (clients, pairs) = (options.number("--clients", 256)?, pairs_of(options)?);
    let out = options.place("--record")?;
    let tools = Tools::of(options)?;
    let measured = measure(&tools, (rounds, pairs), (&seconds.to_string(), &clients.to_string()));
    let facts = machine(&tools.work);
    let asked = json!({
        "rounds": rounds, "pairs": pairs, "seconds": seconds,
        "clients": clients, "notes": ["etcd is asked through its JSON gateway over HTTP/1.1, not by gRPC"],
    });
    keep_or_print(&record("peers cluster", facts, &[measured?, asked]), out)
}

fn measure(tools: &Tools, (rounds, pairs): (u64, usize), (seconds, clients): (&str, &str)) -> Result<Value, String> {
    let nodes = tools.start_three(true)?;
    let trio =
        |name, pipeline| Trio { name, addresses: addresses(&nodes), pipeline, protocol: "redis", lines: Vec::new() };
    let mut trios = vec![trio("sealkv", "1"), trio("sealkv, pipeline 16", "16")];
    let mut missing = Vec::from_iter(nodes[0].without_uring());
    let etcd = if is_installed("etcd") {
        start_etcd(&tools.work)?
    } else {
        eprintln!("MISSING: etcd is not installed ({INSTALL}); sealkv alone is measured");
        missing.push(format!("etcd: {INSTALL}"));
        Vec::new()
    };
    if !etcd.is_empty() {
        let addresses: Vec<&str> = etcd.iter().map(|rival| &rival.address[..]).collect();
        trios.push(Trio {
            name: "etcd",
            addresses: addresses.join(","),
            pipeline: "1",
            protocol: "etcd",
            lines: Vec::new(),
        });
    }
    let pids: Vec<u32> = nodes.iter().map(RunningNode::pid).chain(etcd.iter().map(Rival::pid)).collect();
    let watch = Watch::new(&pids);
    let syncs = || {
        let own = nodes.iter().filter_map(|node| node.metric("sealkv_wal_syncs_total")).sum::<f64>();
        let theirs = etcd.iter().filter_map(|rival| metric(&rival.address, ETCD_SYNCS)).sum::<f64>();
        own + theirs
    };
    for round in 0..rounds as usize {
        for turn in 0..trios.len() {
            let at = (turn + round) % trios.len();
            let trio = &trios[at];
            let words = [
                "--op",
                "set",
                "--clients",
                clients,
                "--pipeline",
                trio.pipeline,
                "--protocol",
                trio.protocol,
                "--seconds",
                seconds,
            ];
            let before = syncs();
            let mut line = tools.load_at(&trio.addresses, 0, &words)?;
            line["syncs"] = (syncs() - before).into();
            trios[at].lines.push(line);
        }
        eprintln!("peers cluster: round {} of {rounds}", round + 1);
    }
    let foreign = watch.foreign_cpus();
    drop(etcd);
    let (ratios, foreign_to_pairs) = sealed_by_nil(tools, &nodes, pairs, (seconds, clients))?;
    let foreign = foreign.max(foreign_to_pairs);
    let mut rows: Vec<Value> = trios.iter().map(row).collect();
    if trios.iter().all(|trio| trio.name != "etcd") {
        rows.push(json!({"impl": "etcd", "missing": INSTALL}));
    }
    Ok(json!({
        "rows": rows, "sealed_by_nil": ratios,
        "foreign_cpus": foreign, "busy": foreign > FOREIGN_MAX, "complete": missing.is_empty(), "missing": missing,
        "sync_counters": ["sealkv_wal_syncs_total", ETCD_SYNCS],
    }))
}

fn addresses(nodes: &[RunningNode]) -> String {
    nodes.iter().map(|node| &node.address[..]).collect::<Vec<_>>().join(",")
}

/// Three sealed nodes and three nil ones in turn, at one request and at 16 a client; and what CPU others used meanwhile.
fn sealed_by_nil(
    tools: &Tools,
    sealed: &[RunningNode],
    pairs: usize,
    (seconds, clients): (&str, &str),
) -> Result<(Vec<Value>, f64), String> {
    if pairs == 0 {
        return Ok((Vec::new(), 0.0));
    }
    let nil = tools.start_three(false)?;
    let trios = [addresses(sealed), addresses(&nil)];
    let watch = Watch::new(&sealed.iter().chain(&nil).map(RunningNode::pid).collect::<Vec<u32>>());
    let of_pipeline = |pipeline: u64| {
        let cell = Cell { op: "set", clients: clients.parse().unwrap_or(0), pipeline };
        let pipeline = pipeline.to_string();
        let words = ["--op", "set", "--clients", clients, "--pipeline", &pipeline, "--seconds", seconds];
        let rate = |at: usize| {
            let line = tools.load_at(&trios[at], 0, &words)?;
            Ok(line["requests_per_second"].as_f64().unwrap_or(f64::NAN))
        };
        let found = in_pairs(&cell, pairs, rate)?;
        eprintln!("peers cluster: {pairs} pairs with pipelines of {pipeline}");
        Ok::<Value, String>(found)
    };
    let ratios = [1, 16].into_iter().map(of_pipeline).collect::<Result<_, _>>()?;
    Ok((ratios, watch.foreign_cpus()))
}

/// Medians of one.
fn row(trio: &Trio) -> Value {
    let of = |field: &str| -> Vec<f64> { trio.lines.iter().filter_map(|line| line[field].as_f64()).collect() };
    let rates = of("requests_per_second");
    json!({
        "impl": trio.name, "op": "set", "clients": trio.lines[0]["clients"], "pipeline": trio.lines[0]["pipeline"], "value_bytes": 256,
        "requests_per_second": median(&rates), "p99_micros": median(&of("p99_micros")),
        "syncs_per_run": median(&of("syncs")), "samples": rates,
    })
}

/// Three members, each of which says that it is healthy, which needs a leader.
fn start_etcd(work: &Path) -> Result<Vec<Rival>, String> {
    let ports: Vec<(u16, u16)> = (0..3).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<_, String>>()?;
    let list: Vec<String> = (1..).zip(&ports).map(|(id, (_, peer))| format!("n{id}=http://127.0.0.1:{peer}")).collect();
    let list = list.join(",");
    let start = |number: usize, answers: &dyn Fn(&str) -> bool| {
        let (client, peer) = ports[number];
        let (client_url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let home = work.join(format!("etcd-{number}"));
        let mut command = Command::new("etcd");
        command.args([
            "--name",
            &format!("n{}", number + 1),
            "--listen-client-urls",
            &client_url,
            "--advertise-client-urls",
            &client_url,
        ]);
        command.args([
            "--listen-peer-urls",
            &peer_url,
            "--initial-advertise-peer-urls",
            &peer_url,
            "--initial-cluster",
            &list,
        ]);
        command.args(["--initial-cluster-state", "new", "--data-dir"]).arg(home.join("data"));
        Rival::start(&mut command, &home, format!("127.0.0.1:{client}"), |address, _| answers(address))
    };
    // None of them is healthy alone, so the first two are only started.
    let is_healthy = |address: &str| {
        get(address, "/health", PATIENCE).is_ok_and(|body| String::from_utf8_lossy(&body).contains("true"))
    };
    let rivals = vec![start(0, &|_| true)?, start(1, &|_| true)?, start(2, &is_healthy)?];
    match rivals.iter().find(|rival| !is_healthy(&rival.address)) {
        Some(rival) => Err(format!("etcd at {} is not healthy", rival.address)),
        None => Ok(rivals),
    }
}

const INSTALL: &str = "apt-get install etcd-server";
const ETCD_SYNCS: &str = "etcd_disk_wal_fsync_duration_seconds_count";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
