//! The second half of `overhead`: a running node in five scenarios, in turn, and where two of them spend their CPU time.

use serde_json::Value;
use serde_json::json;

use crate::nodes::RunningNode;
use crate::nodes::SCENARIOS;
use crate::nodes::Tools;
use crate::sampled::profiles;
use crate::statistics::interval;
use crate::statistics::median;
use crate::watch::Watch;

/// What came of all scenarios.
pub struct Outcome {
    /// One for each scenario and load.
    pub rows: Vec<Value>,
    /// By what is asked: the share of sealing and opening, and the functions that differ most; or why there are none.
    pub profiles: Result<Value, String>,
    /// What the nodes went without.
    pub missing: Option<String>,
    pub foreign_cpus: f64,
}

/// How often, for how long, how fast.
pub struct Plan {
    pub rounds: u64,
    pub seconds: u64,
    pub rate: u64,
    /// Of each profile; 0: none is taken.
    pub profile_seconds: u64,
}

/// One scenario's node and what was measured at it.
struct Measured {
    node: RunningNode,
    lines: Vec<Vec<Value>>,
}

/// Every scenario at the same loads, one after another in each round, so that a slow moment meets all.
pub fn run(tools: &Tools, plan: &Plan) -> Result<Outcome, String> {
    let (seconds, rate) = (plan.seconds.to_string(), plan.rate.to_string());
    let shapes: Vec<Vec<&str>> = vec![
        vec!["--op", "set", "--clients", "50", "--pipeline", "16", "--seconds", &seconds],
        vec!["--op", "get", "--clients", "50", "--pipeline", "16", "--seconds", &seconds],
        vec!["--op", "set", "--clients", "50", "--rate", &rate, "--seconds", &seconds],
        vec!["--op", "get", "--clients", "50", "--rate", &rate, "--seconds", &seconds],
    ];
    let mut all = Vec::new();
    let mut missing = None;
    for (number, scenario) in SCENARIOS.iter().enumerate() {
        let node = tools.start(scenario, number)?;
        if number == SEALED {
            missing = node.without_uring();
        }
        // Every key is there before anything is measured.
        tools.load(&node, &["--op", "set", "--clients", "50", "--pipeline", "64", "--seconds", "4"])?;
        all.push(Measured { node, lines: vec![Vec::new(); shapes.len()] });
    }
    let watch = Watch::new(&all.iter().map(|measured| measured.node.pid()).collect::<Vec<_>>());
    for round in 0..plan.rounds as usize {
        for (shape, arguments) in shapes.iter().enumerate() {
            for turn in 0..all.len() {
                let at = (turn + round) % all.len();
                let line = tools.load(&all[at].node, arguments)?;
                all[at].lines[shape].push(line);
            }
        }
        eprintln!("scenarios: round {} of {}", round + 1, plan.rounds);
    }
    let foreign_cpus = watch.foreign_cpus();
    let rows = SCENARIOS.iter().zip(&all).flat_map(|(scenario, measured)| {
        measured.lines.iter().zip(&all[0].lines).map(|(lines, off)| row(scenario.name, scenario.words, lines, off))
    });
    let rows = rows.collect();
    let profiles = match plan.profile_seconds {
        0 => Err("not asked for".to_owned()),
        seconds => profiles(tools, &all[0].node, &all[SEALED].node, seconds),
    };
    Ok(Outcome { rows, profiles, missing, foreign_cpus })
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

/// Where the scenario `on` stands in the list.
const SEALED: usize = 2;
const _: () = assert!(SCENARIOS[SEALED].name.len() == "on".len());
