//! `scripts/bench overhead`: the stages of an entry, sealed minus nil, then five scenarios of a running node in turn.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::Options;
use crate::facts::commit_and_date;
use crate::facts::machine;
use crate::keep;
use crate::nodes::RunningNode;
use crate::nodes::SCENARIOS;
use crate::nodes::Tools;
use crate::nodes::clean;
use crate::nodes::work_directory;
use crate::run::FOREIGN_MAX;
use crate::run::Watch;
use crate::run::output_of;
use crate::statistics::interval;
use crate::statistics::median;

/// `--rooms PATH --sealkv PATH --load PATH --out PATH [--rounds N] [--seconds N] [--sizes ..] [--batches ..]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&[
        "--rooms",
        "--sealkv",
        "--load",
        "--out",
        "--rounds",
        "--seconds",
        "--sizes",
        "--batches",
        "--rate",
    ])?;
    let (rounds, seconds) = (options.number("--rounds", 5)?, options.number("--seconds", 3)?);
    let rate = options.number("--rate", 10_000)?;
    let out = options.path("--out")?;
    let work = work_directory()?;
    let mut missing: Vec<String> = Vec::new();
    let begun = Watch::new();
    let stages = stages(&options.path("--rooms")?, options, &mut missing);
    let stages_foreign = begun.foreign_cpus(&[]);
    let tools = Tools { sealkv: options.path("--sealkv")?, load: options.path("--load")?, work: work.clone() };
    let whole = scenarios(&tools, (rounds, seconds, rate));
    let facts = machine(&work);
    clean(&work);
    let stages = stages?;
    let (scenarios, nodes_foreign) = whole?;
    let foreign = stages_foreign.max(nodes_foreign);
    if foreign > FOREIGN_MAX {
        eprintln!(
            "BUSY: other processes took {foreign:.2} CPUs meanwhile; the record says so, and its times are worth little"
        );
    }
    let (commit, date) = commit_and_date();
    let record = json!({
        "bench": "overhead", "machine": facts, "commit": commit, "date": date,
        "foreign_cpus": foreign, "busy": foreign > FOREIGN_MAX, "missing": missing, "complete": missing.is_empty(),
        "rounds": rounds, "seconds": seconds, "rate": rate, "stages": stages, "scenarios": scenarios,
    });
    keep(&record, &out)
}

/// The cells that `rooms stages` prints, one line each.
fn stages(rooms: &Path, options: &Options<'_>, missing: &mut Vec<String>) -> Result<Vec<Value>, String> {
    let mut command = Command::new(rooms);
    command.arg("stages");
    for name in ["--sizes", "--batches"] {
        if let Some(value) = options.text(name) {
            command.args([name, value]);
        }
    }
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if has_valgrind {
        command.args(["--instructions", "aesni"]);
    } else {
        eprintln!("valgrind is missing (apt-get install valgrind libc6-dbg): instructions are not counted");
        missing.push("instructions: valgrind is not installed".to_owned());
    }
    let text = output_of(&mut command)?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|problem| format!("{line}: {problem}"))).collect()
}

/// One scenario's node and what was measured at it.
struct Measured {
    node: RunningNode,
    lines: Vec<Vec<Value>>,
}

/// Every scenario at the same loads, one after another in each round, so that a slow moment meets all.
fn scenarios(tools: &Tools, (rounds, seconds, rate): (u64, u64, u64)) -> Result<(Vec<Value>, f64), String> {
    let (seconds, rate) = (seconds.to_string(), rate.to_string());
    let shapes: Vec<Vec<&str>> = vec![
        vec!["--op", "set", "--clients", "50", "--pipeline", "16", "--seconds", &seconds],
        vec!["--op", "get", "--clients", "50", "--pipeline", "16", "--seconds", &seconds],
        vec!["--op", "set", "--clients", "50", "--rate", &rate, "--seconds", &seconds],
        vec!["--op", "get", "--clients", "50", "--rate", &rate, "--seconds", &seconds],
    ];
    let mut all = Vec::new();
    for (number, scenario) in SCENARIOS.iter().enumerate() {
        let node = tools.start(scenario, number)?;
        // Every key is there before anything is measured.
        tools.load(&node, &["--op", "set", "--clients", "50", "--pipeline", "64", "--seconds", "4"])?;
        all.push(Measured { node, lines: vec![Vec::new(); shapes.len()] });
    }
    let watch = Watch::new();
    for round in 0..rounds as usize {
        for (shape, arguments) in shapes.iter().enumerate() {
            for turn in 0..all.len() {
                let at = (turn + round) % all.len();
                let line = tools.load(&all[at].node, arguments)?;
                all[at].lines[shape].push(line);
            }
        }
        eprintln!("scenarios: round {} of {rounds}", round + 1);
    }
    let pids: Vec<u32> = all.iter().map(|measured| measured.node.pid()).collect();
    let foreign = watch.foreign_cpus(&pids);
    let rows = SCENARIOS.iter().zip(&all).flat_map(|(scenario, measured)| {
        measured.lines.iter().zip(&all[0].lines).map(|(lines, off)| row(scenario.name, scenario.words, lines, off))
    });
    Ok((rows.collect(), foreign))
}

/// One scenario at one load; ratios are to `off` in the same round.
fn row(name: &str, words: &str, lines: &[Value], off: &[Value]) -> Value {
    let of =
        |lines: &[Value], field: &str| -> Vec<f64> { lines.iter().filter_map(|line| line[field].as_f64()).collect() };
    let ratios =
        |field: &str| -> Vec<f64> { of(lines, field).iter().zip(of(off, field)).map(|(a, b)| a / b).collect() };
    let summary = |samples: &[f64]| {
        let (lower, upper) = interval(samples);
        json!({"median": median(samples), "lower": lower, "upper": upper, "samples": samples})
    };
    let is_rate = lines[0]["rate"].is_f64();
    json!({
        "scenario": name, "words": words, "op": lines[0]["op"], "load": if is_rate { "fixed rate" } else { "pipeline 16" },
        "requests_per_second": summary(&of(lines, "requests_per_second")),
        "throughput_by_off": summary(&ratios("requests_per_second")),
        "p99_by_off": summary(&ratios("p99_micros")),
        "p50_micros": median(&of(lines, "p50_micros")), "p99_micros": median(&of(lines, "p99_micros")),
        "p999_micros": median(&of(lines, "p999_micros")),
        "cpu_micros_per_request": median(&of(lines, "cpu_micros_per_request")),
    })
}

/// Whether a file is there, for messages before anything is measured.
pub fn is_there(path: &Path) -> Result<(), String> {
    fs::metadata(path).map(drop).map_err(|problem| format!("{}: {problem}", path.display()))
}
