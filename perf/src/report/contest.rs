//! `scripts/bench peers node`: the node, sealed and nil, beside Redis and Valkey with their files synced always; all in turn.
//!
//! While one of them is measured the others are stopped: what a server puts off (merging, rewriting its file) is done in its own turns, and
//! nobody else pays for it.
//!
//! The pairs of sealed and nil nodes come last, each of two fresh processes with the files of those before: where a process has its memory
//! makes it faster or slower for as long as it runs. Two of them differed by 6 % in all of 60 pairs of GETs, and by 0.2 % over six
//! starts; five pairs of each start had medians from 0.91 to 1.06 (2 cores, Zen 3).

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::Options;
use crate::facts::machine;
use crate::facts::record;
use crate::keep_or_print;
use crate::nodes::RunningNode;
use crate::nodes::SCENARIOS;
use crate::nodes::Scenario;
use crate::nodes::Tools;
use crate::rivals::REDIS;
use crate::rivals::Rival;
use crate::rivals::VALKEY;
use crate::rivals::syncs_by_strace;
use crate::statistics::Cell;
use crate::statistics::in_pairs;
use crate::statistics::median;
use crate::statistics::pairs_of;
use crate::stopped::Stopped;
use crate::watch::FOREIGN_MAX;
use crate::watch::Watch;

/// A server that takes part.
enum Server {
    Own(RunningNode),
    Other(Rival),
}

/// One of them, and what its runs gave, by shape and operation.
struct Entrant {
    name: &'static str,
    server: Server,
    lines: Vec<Vec<Value>>,
}

/// Who is not installed, and how that is done.
type Missing = (&'static str, &'static str);

/// `--sealkv PATH --load PATH [--rounds N] [--pairs N] [--seconds N] [--pair-seconds N] [--keys N] [--record FILE]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&[
        "--sealkv",
        "--load",
        "--rounds",
        "--pairs",
        "--seconds",
        "--pair-seconds",
        "--keys",
        "--record",
    ])?;
    let (rounds, pairs) = (options.number("--rounds", 5)?.max(1), pairs_of(options)?);
    let (seconds, keys) = (options.number("--seconds", 2)?, options.number("--keys", 100_000)?);
    let pair_seconds = options.number("--pair-seconds", seconds)?;
    let out = options.place("--record")?;
    let tools = Tools::of(options)?;
    let contest = Contest {
        tools: &tools,
        seconds: &seconds.to_string(),
        pair_seconds: &pair_seconds.to_string(),
        keys: &keys.to_string(),
    };
    let measured = contest.run(rounds as usize, pairs);
    let facts = machine(&tools.work);
    let asked = json!({
        "rounds": rounds, "pairs": pairs, "seconds": seconds, "pair_seconds": pair_seconds, "keys": keys,
    });
    keep_or_print(&record("peers node", facts, &[measured?, asked]), out)
}

struct Contest<'c> {
    tools: &'c Tools,
    seconds: &'c str,
    /// Of writes in pairs: long enough for some flushes and merges where keys do not fit the table, or chance decides who has one.
    pair_seconds: &'c str,
    keys: &'c str,
}

impl Contest<'_> {
    fn run(&self, rounds: usize, pairs: usize) -> Result<Value, String> {
        let (mut entrants, absent) = self.entrants()?;
        let mut missing: Vec<String> = absent.iter().map(|(name, install)| format!("{name}: {install}")).collect();
        if let Server::Own(node) = &entrants[0].server {
            missing.extend(node.without_uring());
        }
        for at in 0..entrants.len() {
            // All keys: a GET of one that is not there would be another kind of GET.
            self.load(&entrants, at, &CELLS[0], &["--pipeline", "64", "--requests", self.keys, "--in-order", "0"])?;
        }
        let mut others = Others::watched(&entrants);
        for round in 0..rounds {
            // What one kind of load puts off, merging above all, the next one pays for.
            for (at, cell) in in_order_of_round(&CELLS, round) {
                for turn in 0..entrants.len() {
                    let entrant = (turn + round) % entrants.len();
                    let line = self.cell(&entrants, entrant, cell, self.seconds)?;
                    entrants[entrant].lines[at].push(line);
                }
            }
            eprintln!("peers node: round {} of {rounds}", round + 1);
        }
        let at_rate = self.at_rate(&entrants, rounds)?;
        let mut ratios = Vec::new();
        if pairs > 0 {
            for op in ["set", "get"] {
                ratios.push(self.pairs(op, &mut entrants, &mut others, pairs)?);
            }
        }
        let foreign = others.mean_cpus();
        let syncs = entrants.iter().map(|entrant| Ok((entrant.name, self.syncs(&entrant.server)?)));
        let syncs: Vec<(&str, Value)> = syncs.collect::<Result<_, String>>()?;
        let mut rows: Vec<Value> = entrants.iter().flat_map(Entrant::rows).collect();
        rows.extend(absent.iter().map(|(name, install)| json!({"impl": name, "missing": install})));
        for (name, found) in &syncs {
            if found["per_second"].is_null() {
                let shown_by = found["shown_by"].as_str().unwrap_or_default();
                let words = format!("syncs of {name}: {shown_by} shows none (is it installed, and may it trace?)");
                eprintln!("MISSING: {words}");
                missing.push(words);
            }
        }
        let syncs: Value =
            syncs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into();
        Ok(json!({
            "rows": rows, "sealed_by_nil": ratios, "at_rate": at_rate, "syncs": syncs, "foreign_cpus": foreign, "busy": foreign > FOREIGN_MAX,
            "complete": missing.is_empty(), "missing": missing,
        }))
    }

    /// All that can be had here, and what cannot, with how to install it.
    fn entrants(&self) -> Result<(Vec<Entrant>, Vec<Missing>), String> {
        let entrant = |name, server| Entrant { name, server, lines: vec![Vec::new(); CELLS.len()] };
        let mut entrants = Vec::new();
        for (number, (name, scenario)) in OWN.into_iter().enumerate() {
            entrants.push(entrant(name, Server::Own(self.tools.start(scenario, number)?)));
        }
        let mut missing = Vec::new();
        for kind in [REDIS, VALKEY] {
            if kind.is_installed() {
                entrants.push(entrant(kind.name, Server::Other(kind.start(&self.tools.work)?)));
            } else {
                eprintln!("MISSING: {} is not installed ({}); the others are measured", kind.name, kind.install);
                missing.push((kind.name, kind.install));
            }
        }
        Ok((entrants, missing))
    }

    fn cell(&self, entrants: &[Entrant], at: usize, cell: &Cell, seconds: &str) -> Result<Value, String> {
        self.load(entrants, at, cell, &["--pipeline", &cell.pipeline.to_string(), "--seconds", seconds])
    }

    fn load(&self, entrants: &[Entrant], at: usize, cell: &Cell, more: &[&str]) -> Result<Value, String> {
        let server = &entrants[at].server;
        let others = entrants.iter().enumerate().filter(|(other, _)| *other != at);
        let _stopped = Stopped::begin(others.map(|(_, entrant)| entrant.server.pid()))?;
        let clients = cell.clients.to_string();
        let fixed = ["--op", cell.op, "--clients", &clients, "--keys", self.keys];
        self.tools.load_at(server.address(), server.pid(), &[&fixed[..], more].concat())
    }

    /// The first two, one right after the other; which one begins changes from pair to pair. Both are started anew for each.
    fn pairs(
        &self,
        op: &'static str,
        entrants: &mut [Entrant],
        others: &mut Others,
        pairs: usize,
    ) -> Result<Value, String> {
        let cell = Cell { op, ..CELLS[0] };
        let mut runs = 0;
        let rate = |at: usize| {
            if runs % 2 == 0 {
                others.rest();
                self.start_own_again(entrants, &cell)?;
                others.watch(entrants);
            }
            runs += 1;
            let seconds = if op == "set" { self.pair_seconds } else { self.seconds };
            let line = self.cell(entrants, at, &cell, seconds)?;
            Ok(line["requests_per_second"].as_f64().unwrap_or(f64::NAN))
        };
        let mut found = in_pairs(&cell, pairs, rate)?;
        found["pairs_of_a_start"] = 1.into();
        Ok(found)
    }

    /// New processes of our own nodes with the files that they have, each warmed up with what it will be asked.
    fn start_own_again(&self, entrants: &mut [Entrant], cell: &Cell) -> Result<(), String> {
        for (number, (_, scenario)) in OWN.into_iter().enumerate() {
            let Server::Own(node) = &mut entrants[number].server else { unreachable!("our own come first") };
            self.tools.start_again(node, scenario, number)?;
        }
        for number in 0..OWN.len() {
            self.cell(entrants, number, cell, WARM_SECONDS)?;
        }
        Ok(())
    }

    /// SETs in an open loop at a part of what the slowest of them took: how long each of all had to wait, in turns.
    fn at_rate(&self, entrants: &[Entrant], rounds: usize) -> Result<Value, String> {
        let peaks = entrants.iter().map(|entrant| median(&numbers(&entrant.lines[0], "requests_per_second")));
        let rate = (peaks.fold(f64::INFINITY, f64::min) * RATE_OF_PEAK).floor();
        let mut lines = vec![Vec::new(); entrants.len()];
        for round in 0..rounds {
            for turn in 0..entrants.len() {
                let at = (turn + round) % entrants.len();
                let words = ["--rate", &rate.to_string(), "--seconds", self.seconds];
                lines[at].push(self.load(entrants, at, &CELLS[0], &words)?);
            }
        }
        let row = |(entrant, lines): (&Entrant, &Vec<Value>)| {
            let of = |field| median(&numbers(lines, field));
            json!({
                "impl": entrant.name, "p50_micros": of("p50_micros"), "p99_micros": of("p99_micros"),
                "p999_micros": of("p999_micros"), "samples": numbers(lines, "p99_micros"),
            })
        };
        let rows: Vec<Value> = entrants.iter().zip(&lines).map(row).collect();
        Ok(json!({"op": CELLS[0].op, "clients": CELLS[0].clients, "rate": rate, "rows": rows}))
    }

    /// That it syncs while it is written to: our own counter, and the calls of others.
    fn syncs(&self, server: &Server) -> Result<Value, String> {
        let mut load = self.tools.ask(server.address(), "set", 4)?;
        std::thread::sleep(Duration::from_millis(500));
        let (rate, shown_by) = match server {
            Server::Own(node) => {
                let count = || node.metric("sealkv_wal_syncs_total");
                let before = count();
                std::thread::sleep(Duration::from_secs(2));
                (before.zip(count()).map(|(before, after)| (after - before) / 2.0), "sealkv_wal_syncs_total")
            }
            Server::Other(rival) => (syncs_by_strace(rival.pid()), "strace"),
        };
        load.wait().map_err(|problem| problem.to_string())?;
        Ok(json!({"per_second": rate, "shown_by": shown_by}))
    }
}

impl Server {
    fn address(&self) -> &str {
        match self {
            Server::Own(node) => &node.address,
            Server::Other(rival) => &rival.address,
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Server::Own(node) => node.pid(),
            Server::Other(rival) => rival.pid(),
        }
    }
}

impl Entrant {
    fn rows(&self) -> Vec<Value> {
        CELLS.iter().zip(&self.lines).map(|(cell, lines)| row(self.name, cell, lines)).collect()
    }
}

/// What everybody else takes of the machine while something is measured.
struct Others {
    watched: Option<(Watch, Instant)>,
    cpu_seconds: f64,
    seconds: f64,
}

impl Others {
    fn watched(entrants: &[Entrant]) -> Others {
        let mut others = Others { watched: None, cpu_seconds: 0.0, seconds: 0.0 };
        others.watch(entrants);
        others
    }

    /// From now on until one of these is started anew.
    fn watch(&mut self, entrants: &[Entrant]) {
        let pids: Vec<u32> = entrants.iter().map(|entrant| entrant.server.pid()).collect();
        self.watched = Some((Watch::new(&pids), Instant::now()));
    }

    fn rest(&mut self) {
        if let Some((watch, begin)) = self.watched.take() {
            let seconds = begin.elapsed().as_secs_f64();
            self.cpu_seconds += seconds * watch.foreign_cpus();
            self.seconds += seconds;
        }
    }

    /// Over all the time that was watched.
    fn mean_cpus(&mut self) -> f64 {
        self.rest();
        self.cpu_seconds / self.seconds
    }
}

/// Each with its place: another one is the first in each of so many rounds, and every second round goes backward, so that no two
/// always follow each other.
fn in_order_of_round<T>(cells: &[T], round: usize) -> impl Iterator<Item = (usize, &T)> {
    let count = cells.len();
    (0..count).map(move |step| {
        let at = (step + round / 2) % count;
        let at = if round.is_multiple_of(2) { at } else { count - 1 - at };
        (at, &cells[at])
    })
}

fn numbers(lines: &[Value], field: &str) -> Vec<f64> {
    lines.iter().filter_map(|line| line[field].as_f64()).collect()
}

fn row(name: &str, cell: &Cell, lines: &[Value]) -> Value {
    let of = |field| numbers(lines, field);
    json!({
        "impl": name, "op": cell.op, "clients": cell.clients, "pipeline": cell.pipeline, "value_bytes": 256,
        "requests_per_second": median(&of("requests_per_second")), "p99_micros": median(&of("p99_micros")),
        "cpu_micros_per_request": median(&of("cpu_micros_per_request")), "samples": of("requests_per_second"),
    })
}

/// Of the throughput that the slowest one reaches: far enough below it that a queue does not grow for ever.
const RATE_OF_PEAK: f64 = 0.6;
/// Our own nodes, with the same number in `Tools`.
const OWN: [(&str, &Scenario); 2] = [("sealed", &SCENARIOS[2]), ("nil", &SCENARIOS[0])];
const WARM_SECONDS: &str = "2";
const CELLS: [Cell; 6] = [
    Cell { op: "set", clients: 50, pipeline: 16 },
    Cell { op: "get", clients: 50, pipeline: 16 },
    Cell { op: "set", clients: 256, pipeline: 16 },
    Cell { op: "get", clients: 256, pipeline: 16 },
    Cell { op: "set", clients: 50, pipeline: 1 },
    Cell { op: "get", clients: 50, pipeline: 1 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_load_comes_once_in_a_round_and_first_in_one_of_as_many() {
        let rounds: Vec<Vec<usize>> =
            (0..CELLS.len()).map(|round| in_order_of_round(&CELLS, round).map(|(at, _)| at).collect()).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5], "{round:?}");
        }
        let mut first: Vec<usize> = rounds.iter().map(|round| round[0]).collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3, 4, 5]);
        assert_eq!((&rounds[0][..2], &rounds[1][4..]), (&[0, 1][..], &[1, 0][..]), "forward, then backward");
    }
}
