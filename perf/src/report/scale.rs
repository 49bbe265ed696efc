//! `scripts/bench scale`: one node, sealed beside nil, as values, keys, clients, pipelines and CPUs grow, and runs of entries as they
//! get longer; each a curve, where it bends, and what was busy there.

use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::Options;
use crate::chart::short;
use crate::facts::machine;
use crate::facts::record;
use crate::keep;
use crate::nodes::RunningNode;
use crate::nodes::SCENARIOS;
use crate::nodes::Tools;
use crate::overhead::is_there;
use crate::run::output_of;
use crate::statistics::median;
use crate::watch::FOREIGN_MAX;
use crate::watch::Watch;

/// What grows: the option of the load generator, its values, and what stays. Few keys where values grow, so that what is read
/// has just been written.
const AXES: [(&str, &str, &[u64], &[&str]); 4] = [
    (
        "value bytes",
        "--value-bytes",
        &[16, 64, 256, 1024, 4096, 16384, 65536, 262_144, 1 << 20],
        &["--clients", "16", "--keys", "500"],
    ),
    ("keys", "--keys", &[10_000, 100_000, 1_000_000, 10_000_000], &["--clients", "50", "--pipeline", "16"]),
    ("clients", "--clients", &[1, 2, 10, 50, 200, 1000, 2000], &["--value-bytes", "256"]),
    ("pipeline", "--pipeline", &[1, 4, 16, 64, 256, 1024, 4096], &["--clients", "4"]),
];

/// `--rooms PATH --sealkv PATH --load PATH --out PATH [--rounds N] [--seconds N]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&["--rooms", "--sealkv", "--load", "--out", "--rounds", "--seconds"])?;
    let (rounds, seconds) = (options.number("--rounds", 3)?.max(1), options.number("--seconds", 2)?);
    let out = options.place("--out")?.ok_or("--out is missing")?;
    let tools = Tools::of(options)?;
    is_there(&tools.sealkv)?;
    let rooms = options.path("--rooms")?;
    let measured = Nodes::start(&tools, rounds, &seconds.to_string())
        .and_then(|nodes| Ok((Vec::from_iter(nodes.pair[1].without_uring()), nodes.curves()?)));
    let facts = machine(&tools.work);
    let (missing, (mut curves, foreign)) = measured?;
    curves.extend(of_entries(&rooms)?);
    let notes = bends(&curves, cores() as f64);
    let measured = json!({
        "foreign_cpus": foreign,
        "busy": foreign > FOREIGN_MAX, "complete": missing.is_empty(), "missing": missing, "rounds": rounds, "seconds": seconds,
        "curves": curves, "bends": notes,
    });
    keep(&record("scale", facts, &[measured]), &out)
}

/// The two nodes, and how they are asked.
struct Nodes<'t> {
    tools: &'t Tools,
    /// Nil, sealed.
    pair: [RunningNode; 2],
    rounds: u64,
    seconds: &'t str,
}

impl<'t> Nodes<'t> {
    fn start(tools: &'t Tools, rounds: u64, seconds: &'t str) -> Result<Nodes<'t>, String> {
        let pair = [tools.start(&SCENARIOS[0], 0)?, tools.start(&SCENARIOS[2], 1)?];
        Ok(Nodes { tools, pair, rounds, seconds })
    }

    fn curves(&self) -> Result<(Vec<Value>, f64), String> {
        let watch = Watch::new(&self.pair.each_ref().map(RunningNode::pid));
        let mut curves = Vec::new();
        for (axis, option, values, fixed) in AXES {
            for value in values {
                // Random keys do not fill ten million places in the time of a run, so only writes are asked about their number.
                let ops: &[&str] = if axis == "keys" { &["set"] } else { &["set", "get"] };
                for op in ops.iter().copied() {
                    let text = value.to_string();
                    curves.push(self.point((axis, *value), op, &[&[option, &text], fixed].concat())?);
                }
            }
            eprintln!("scale: {axis} done");
        }
        for count in 1..=cores() {
            self.confine(count)?;
            for op in ["set", "get"] {
                curves.push(self.point(
                    ("CPUs of the node", count as u64),
                    op,
                    &["--clients", "50", "--pipeline", "16"],
                )?);
            }
        }
        Ok((curves, watch.foreign_cpus()))
    }

    /// Medians of both nodes, in turn.
    fn point(&self, (axis, value): (&str, u64), op: &str, shape: &[&str]) -> Result<Value, String> {
        let mut lines = [Vec::new(), Vec::new()];
        for round in 0..self.rounds as usize {
            for turn in 0..2 {
                let at = (turn + round) % 2;
                let arguments = [&["--op", op, "--seconds", self.seconds], shape].concat();
                lines[at].push(self.tools.load(&self.pair[at], &arguments)?);
            }
        }
        let of = |lines: &[Value], field: &str| {
            median(&lines.iter().filter_map(|line| line[field].as_f64()).collect::<Vec<f64>>())
        };
        let [nil, sealed] = [0, 1].map(|at| of(&lines[at], "requests_per_second"));
        Ok(json!({
            "axis": axis, "op": op, "value": value, "unit": "requests/s", "nil": nil, "sealed": sealed, "ratio": sealed / nil,
            "server_cpus": of(&lines[1], "server_cpus"), "load_cpus": of(&lines[1], "load_cpus"),
        }))
    }

    /// All threads of both nodes on so many CPUs.
    fn confine(&self, count: usize) -> Result<(), String> {
        let list = format!("0-{}", count - 1);
        for node in &self.pair {
            output_of(Command::new("taskset").args(["-a", "-c", "-p", &list, &node.pid().to_string()]))?;
        }
        Ok(())
    }
}

/// Entries of a run, and threads that open one: nanoseconds for an entry, from the benches of the crate.
fn of_entries(rooms: &std::path::Path) -> Result<Vec<Value>, String> {
    let mut names = Vec::new();
    let mut points = Vec::new();
    for count in [1, 4, 16, 64, 256, 1024, 4096] {
        for cipher in ["nil", "sealed"] {
            names.push(format!("apply::run/cipher={cipher} size=256 count={count}"));
        }
        points.push(("entries in a run", "apply", count as u64, 2));
    }
    for threads in 1..=cores() {
        names.push(format!("apply::open/threads={threads} size=256 count=4096"));
        points.push(("threads", "open", threads as u64, 1));
    }
    let text = output_of(Command::new(rooms).arg("times").args(&names))?;
    let mut times = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).map_err(|problem| format!("{line}: {problem}"))?;
        Ok(line["nanoseconds"].as_f64().unwrap_or(f64::NAN) / line["count"].as_f64().unwrap_or(1.0))
    });
    let mut next = || times.next().unwrap_or_else(|| Err("the benches gave too few lines".to_owned()));
    let mut curves = Vec::new();
    for (axis, op, value, ciphers) in points {
        let nil = if ciphers == 2 { Some(next()?) } else { None };
        let sealed = next()?;
        let ratio = nil.map(|nil| sealed / nil);
        curves.push(json!({
            "axis": axis, "op": op, "value": value, "unit": "ns for an entry", "nil": nil, "sealed": sealed, "ratio": ratio,
        }));
    }
    Ok(curves)
}

/// For each curve of requests of the sealed node: from where to where it is near its best, and what is busy at the end.
fn bends(curves: &[Value], cores: f64) -> Vec<Value> {
    let mut notes = Vec::new();
    let of_nodes = curves.iter().filter(|point| point["unit"] == "requests/s").collect::<Vec<_>>();
    for of_one in of_nodes.chunk_by(|a, b| a["axis"] == b["axis"]) {
        for op in ["set", "get"] {
            let points: Vec<&Value> = of_one.iter().filter(|point| point["op"] == op).copied().collect();
            if let Some(words) = bend(&points, cores) {
                notes.push(json!({"axis": points[0]["axis"], "op": op, "words": words}));
            }
        }
    }
    notes
}

fn bend(points: &[&Value], cores: f64) -> Option<String> {
    let rate = |point: &Value| point["sealed"].as_f64().unwrap_or(0.0);
    let best = points.iter().map(|point| rate(point)).fold(0.0, f64::max);
    let is_near = |point: &&&Value| rate(point) >= best * NEAR;
    let (first, last) = (points.iter().find(is_near)?, points.iter().rfind(is_near)?);
    let value = |point: &Value| short(point["value"].as_f64().unwrap_or(f64::NAN));
    let busy = |point: &Value| {
        let of = |key: &str| point[key].as_f64().unwrap_or(0.0);
        let (server, load) = (of("server_cpus"), of("load_cpus"));
        let what = match (server + load >= cores * FULL, point["op"] == "set") {
            (true, _) => "the CPUs are full",
            (false, true) => "CPUs are idle, requests wait for the disk",
            (false, false) => "CPUs are idle, requests wait for their round trip",
        };
        format!("{what} (node {server:.1}, generator {load:.1} of {cores:.0})")
    };
    let mut words = Vec::new();
    if value(first) != value(points.first()?) {
        words.push(format!("rises up to {}; at {} {}", value(first), value(points[0]), busy(points[0])));
    }
    words.push(format!(
        "from {} to {} at least {:.0} % of its best; there {}",
        value(first),
        value(last),
        NEAR * 100.0,
        busy(first)
    ));
    if value(last) != value(points.last()?) {
        words.push(format!("falls behind {}; at {} {}", value(last), value(points.last()?), busy(points.last()?)));
    }
    Some(words.join(". "))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Of the best rate: nearer than that counts as the same.
const NEAR: f64 = 0.8;
/// Of all CPUs: what is left then is too little for anybody.
const FULL: f64 = 0.85;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bend_is_found_on_both_sides_with_what_was_busy() {
        let point = |value: u64, sealed: f64, cpus: f64| {
            json!({"axis": "clients", "op": "set", "unit": "requests/s", "value": value,
            "sealed": sealed, "server_cpus": cpus, "load_cpus": 0.4})
        };
        let curves = [point(1, 10.0, 0.3), point(10, 90.0, 1.5), point(100, 100.0, 1.6), point(1000, 50.0, 0.5)];
        let notes = bends(&curves, 2.0);
        let words = notes[0]["words"].as_str().unwrap();
        assert!(
            words.starts_with("rises up to 10; at 1 CPUs are idle, requests wait for the disk (node 0.3"),
            "{words}"
        );
        assert!(
            words.contains("from 10 to 100 at least 80 % of its best; there the CPUs are full (node 1.5"),
            "{words}"
        );
        assert!(
            words.ends_with(
                "falls behind 100; at 1 k CPUs are idle, requests wait for the disk (node 0.5, generator 0.4 of 2)"
            ),
            "{words}"
        );
    }
}
