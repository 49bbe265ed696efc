//! `scripts/bench scale`: one node, sealed beside nil, as values, keys, clients and pipelines grow; each a curve.

use serde_json::Value;
use serde_json::json;

use crate::Options;
use crate::facts::commit_and_date;
use crate::facts::machine;
use crate::keep;
use crate::nodes::SCENARIOS;
use crate::nodes::Tools;
use crate::nodes::clean;
use crate::nodes::work_directory;
use crate::overhead::is_there;
use crate::run::FOREIGN_MAX;
use crate::run::Watch;
use crate::statistics::median;

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

/// `--sealkv PATH --load PATH --out PATH [--rounds N] [--seconds N]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&["--sealkv", "--load", "--out", "--rounds", "--seconds"])?;
    let (rounds, seconds) = (options.number("--rounds", 3)?, options.number("--seconds", 2)?);
    let work = work_directory()?;
    let tools = Tools { sealkv: options.path("--sealkv")?, load: options.path("--load")?, work: work.clone() };
    is_there(&tools.sealkv)?;
    let curves = curves(&tools, rounds, seconds);
    let facts = machine(&work);
    clean(&work);
    let (curves, foreign) = curves?;
    let (commit, date) = commit_and_date();
    let record = json!({
        "bench": "scale", "machine": facts, "commit": commit, "date": date, "foreign_cpus": foreign,
        "busy": foreign > FOREIGN_MAX, "missing": [], "complete": true, "rounds": rounds, "seconds": seconds,
        "curves": curves,
    });
    keep(&record, &options.path("--out")?)
}

fn curves(tools: &Tools, rounds: u64, seconds: u64) -> Result<(Vec<Value>, f64), String> {
    let seconds = seconds.to_string();
    let off = tools.start(&SCENARIOS[0], 0)?;
    let on = tools.start(&SCENARIOS[2], 1)?;
    let watch = Watch::new();
    let mut curves = Vec::new();
    for (axis, option, values, fixed) in AXES {
        for value in values {
            // Random keys do not fill ten million places in the time of a run, so only writes are asked about their number.
            let ops: &[&str] = if axis == "keys" { &["set"] } else { &["set", "get"] };
            for op in ops.iter().copied() {
                let text = value.to_string();
                let mut rates = [Vec::new(), Vec::new()];
                for round in 0..rounds as usize {
                    for turn in 0..2 {
                        let at = (turn + round) % 2;
                        let node = if at == 0 { &off } else { &on };
                        let mut arguments = vec!["--op", op, option, &text, "--seconds", &seconds];
                        arguments.extend_from_slice(fixed);
                        let line = tools.load(node, &arguments)?;
                        rates[at].push(line["requests_per_second"].as_f64().unwrap_or(f64::NAN));
                    }
                }
                let [nil, sealed] = rates.map(|rates| median(&rates));
                curves.push(json!({"axis": axis, "op": op, "value": value, "nil": nil, "sealed": sealed, "ratio": sealed / nil}));
            }
        }
        eprintln!("scale: {axis} done");
    }
    Ok((curves, watch.foreign_cpus(&[off.pid(), on.pid()])))
}
