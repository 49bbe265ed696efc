//! Where a node spends its CPU time, by Linux' perf: the innermost function of each sample, so that the usual build will do.
//! (`profile` takes whole stacks from the node itself, for which everything has to have frame pointers.)

use std::process::Command;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::nodes::RunningNode;
use crate::nodes::Tools;
use crate::run::output_of;

/// Functions and their own share in percent.
pub type Shares = Vec<(String, f64)>;

/// Of writes and reads: functions that differ most between the two nodes, and what sealing and opening take of the sealed one.
pub fn profiles(tools: &Tools, nil: &RunningNode, sealed: &RunningNode, seconds: u64) -> Result<Value, String> {
    let mut profiles = Map::new();
    for op in ["set", "get"] {
        let nil = sample(tools, nil, op, seconds)?;
        let sealed = sample(tools, sealed, op, seconds)?;
        profiles.insert(op.to_owned(), profile(&nil, &sealed));
    }
    Ok(profiles.into())
}

fn profile(nil: &Shares, sealed: &Shares) -> Value {
    let rows: Vec<Value> = differences(nil, sealed)
        .into_iter()
        .map(|(function, nil, sealed)| json!({"function": function, "nil": nil, "sealed": sealed}))
        .collect();
    // Both nodes compute names of rows with the same kernels, so what the nil one takes is none of the cost.
    let more = (crypto(sealed) - crypto(nil)).max(0.0);
    json!({"crypto_percent": more, "crypto_percent_nil": crypto(nil), "differences": rows})
}

/// Own shares of a node's functions while the load generator asks it.
pub fn sample(tools: &Tools, node: &RunningNode, op: &str, seconds: u64) -> Result<Shares, String> {
    let data = tools.work.join("perf.data");
    let mut load = tools.ask(&node.address, op, seconds + 2)?;
    let recorded = Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-p", &node.pid().to_string(), "-o"])
        .arg(&data)
        .args(["--", "sleep", &seconds.to_string()])
        .output();
    let ended = load.wait().map_err(|problem| problem.to_string())?;
    let recorded = recorded.map_err(|problem| format!("perf: {problem} (apt-get install linux-perf)"))?;
    if !recorded.status.success() || !ended.success() {
        return Err(format!("perf record: {}", String::from_utf8_lossy(&recorded.stderr).trim()));
    }
    let mut report = Command::new("perf");
    let report = report.args(["report", "--stdio", "--no-children", "-F", "overhead,sym", "-i"]).arg(&data);
    let shares = parse(&output_of(report)?);
    if shares.is_empty() { Err("perf took no samples".to_owned()) } else { Ok(shares) }
}

/// Lines such as `    11.49%  [.] sealkv::fsm::table::RowTable::merge`; one function may have several.
fn parse(text: &str) -> Shares {
    let line = |line: &str| {
        let (percent, rest) = line.trim().split_once('%')?;
        let name = rest.trim().trim_start_matches("[.] ").trim();
        Some((name.to_owned(), percent.parse::<f64>().ok()?))
    };
    let mut shares = Shares::new();
    for (name, percent) in text.lines().filter(|line| !line.starts_with('#')).filter_map(line) {
        match shares.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += percent,
            None => shares.push((name, percent)),
        }
    }
    shares
}

/// What is in the room that seals and opens, or in the crates below its library tier.
fn crypto(shares: &Shares) -> f64 {
    let is_crypto = |name: &str| CRYPTO.iter().any(|part| name.contains(part));
    shares.iter().filter(|(name, _)| is_crypto(name)).map(|(_, percent)| percent).sum()
}

/// The ten functions whose own share differs most: name, nil, sealed.
pub fn differences(nil: &Shares, sealed: &Shares) -> Vec<(String, f64, f64)> {
    let of =
        |shares: &Shares, name: &str| shares.iter().find(|(known, _)| known == name).map_or(0.0, |(_, share)| *share);
    let only_nil = nil.iter().filter(|(name, _)| of(sealed, name) == 0.0);
    let names = sealed.iter().chain(only_nil).map(|(name, _)| name);
    let mut rows: Vec<(String, f64, f64)> = names.map(|name| (name.clone(), of(nil, name), of(sealed, name))).collect();
    rows.sort_by(|a, b| (b.2 - b.1).abs().total_cmp(&(a.2 - a.1).abs()));
    rows.truncate(10);
    rows
}

const CRYPTO: [&str; 5] = ["sealkv::crypto::", "aes_gcm::", "ghash::", "polyval::", "aes::"];
/// Samples a second and CPU; not a divisor of anything that beats in the node.
const FREQUENCY: &str = "997";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_and_opening_is_what_the_sealed_node_has_more_of_it() {
        let nil = parse(
            "# head\n    10.00%  [.] run\n     1.00%  [.] sealkv::crypto::aead::lanes::tag\n\n     2.00%  [k] copy\n",
        );
        let sealed = parse(
            "     8.00%  [.] run\n     2.50%  [.] sealkv::crypto::aead::lanes::tag\n     0.50%  [.] sealkv::crypto::aead::lanes::tag\n",
        );
        let profile = profile(&nil, &sealed);
        assert_eq!(
            (profile["crypto_percent"].as_f64(), profile["crypto_percent_nil"].as_f64()),
            (Some(2.0), Some(1.0))
        );
        let names: Vec<&str> =
            profile["differences"].as_array().unwrap().iter().filter_map(|row| row["function"].as_str()).collect();
        assert_eq!(names, ["run", "sealkv::crypto::aead::lanes::tag", "[k] copy"]);
    }
}
