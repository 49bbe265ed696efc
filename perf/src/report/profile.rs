//! `scripts/bench profile`: CPU profiles of two nodes under the same load, nil and sealed, and where the difference is. Stacks come from
//! the nodes themselves. They lack the innermost function of a sample, so own shares come from Linux' perf where it is there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Options;
use crate::flame::differences;
use crate::flame::svg;
use crate::nodes::RunningNode;
use crate::nodes::SCENARIOS;
use crate::nodes::Tools;
use crate::nodes::get;
use crate::pprof::Stacks;
use crate::pprof::stacks;
use crate::sampled;
use crate::sampled::Shares;
use crate::sampled::sample;

/// A function, and its own share before and now.
type Row = (String, f64, f64);

/// `--sealkv PATH --load PATH --out DIR [--op set|get] [--seconds N]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&["--sealkv", "--load", "--out", "--op", "--seconds"])?;
    let seconds = options.number("--seconds", 10)?;
    if !(1..=60).contains(&seconds) {
        return Err(format!("--seconds {seconds}: expected 1 to 60"));
    }
    let (op, out) = (options.text("--op").unwrap_or("set"), options.path("--out")?);
    fs::create_dir_all(&out).map_err(|problem| format!("{}: {problem}", out.display()))?;
    let tools = Tools::of(options)?;
    let taken = [("nil", 0), ("sealed", 2)].map(|(name, scenario)| -> Result<(Stacks, Option<Shares>), String> {
        let node = tools.start_with(&SCENARIOS[scenario], scenario, &["--profiling"])?;
        tools.load(&node, &["--op", "set", "--clients", "50", "--pipeline", "64", "--seconds", "3"])?;
        let bytes = take(&tools, &node, op, seconds)?;
        write(&out.join(format!("{op}-{name}.pb.gz")), &bytes)?;
        let stacks = stacks(&bytes)?;
        let title = format!("{op}, {name}: {} samples", stacks.values().sum::<u64>());
        write(&out.join(format!("{op}-{name}.svg")), svg(&title, &stacks, None).as_bytes())?;
        let shares =
            sample(&tools, &node, op, seconds).inspect_err(|problem| eprintln!("own shares by stacks: {problem}")).ok();
        Ok((stacks, shares))
    });
    let [nil, sealed] = taken;
    let ((nil, nil_shares), (sealed, sealed_shares)) = (nil?, sealed?);
    let rows = match nil_shares.zip(sealed_shares) {
        Some((nil, sealed)) => sampled::differences(&nil, &sealed),
        None => differences(&sealed, &nil),
    };
    difference(&out, op, (&nil, &sealed), rows)
}

fn difference(out: &Path, op: &str, (nil, sealed): (&Stacks, &Stacks), rows: Vec<Row>) -> Result<(), String> {
    let title = format!("{op}, sealed against nil: red takes a larger share");
    write(&out.join(format!("{op}-difference.svg")), svg(&title, sealed, Some(nil)).as_bytes())?;
    let mut text = format!(
        "{op}: the ten functions whose own share of the CPU differs most, in percent\n{:>8} {:>8} {:>8}\n",
        "nil", "sealed", "change"
    );
    for (name, before, now) in rows {
        text += &format!("{before:>8.2} {now:>8.2} {:>+8.2}  {name}\n", now - before);
    }
    print!("{text}");
    write(&out.join(format!("{op}-difference.txt")), text.as_bytes())?;
    eprintln!("profiles: {}", out.display());
    Ok(())
}

/// A profile of the node while the load generator asks it.
pub fn take(tools: &Tools, node: &RunningNode, op: &str, seconds: u64) -> Result<Vec<u8>, String> {
    let mut load = tools.ask(&node.address, op, seconds + 1)?;
    let answer =
        get(&node.admin, &format!("/debug/pprof/profile?seconds={seconds}"), Duration::from_secs(seconds + 60));
    let ended = load.wait().map_err(|problem| problem.to_string())?;
    if !ended.success() {
        return Err(format!("the load generator ended with {ended}"));
    }
    answer.map_err(|problem| format!("the profile of the node: {problem}"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|problem| format!("{}: {problem}", path.display()))
}
