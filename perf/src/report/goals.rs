//! The goals of the project as a table, each with what a record of `overhead` says about it.

use std::fmt::Write as _;

use serde_json::Value;

use crate::chart::escape;

/// One goal beside what was found.
#[derive(Debug)]
pub struct Goal {
    pub name: String,
    pub wanted: String,
    /// With its interval where it has one.
    pub found: String,
    /// `None`: it was not measured.
    pub is_reached: Option<bool>,
    /// Where the CPU time goes, if it is not reached.
    pub why: String,
}

impl Goal {
    fn word(&self) -> &'static str {
        match self.is_reached {
            Some(true) => "reached",
            Some(false) => "not reached",
            None => "not measured",
        }
    }
}

/// All of them; none for records of another kind.
pub fn goals(record: &Value) -> Vec<Goal> {
    if record["bench"] != "overhead" {
        return Vec::new();
    }
    let mut goals = Vec::new();
    for (op, words) in OPS {
        goals.push(ratio(record, (op, words), "pipeline 16", ("throughput_by_off", "throughput", RATIO_MIN)));
    }
    for (op, words) in OPS {
        goals.push(ratio(record, (op, words), "fixed rate", ("p99_by_off", "p99", P99_MAX)));
    }
    for (op, words) in OPS {
        goals.push(crypto(record, op, words));
    }
    goals.push(hook(record));
    goals
}

/// Sealed beside nil at 256 bytes: throughput at least so much, or a latency at most so much.
fn ratio(record: &Value, (op, words): (&str, &str), load: &str, (field, what, bound): (&str, &str, f64)) -> Goal {
    let rows = record["scenarios"].as_array().map_or(&[][..], Vec::as_slice);
    let row = rows.iter().find(|row| row["scenario"] == "on" && row["op"] == op && row["load"] == load);
    let number = |key: &str| row.and_then(|row| row[field][key].as_f64());
    let is_least = field == "throughput_by_off";
    let is_reached = number("median").map(|median| if is_least { median >= bound } else { median <= bound });
    let found = match (number("median"), number("lower"), number("upper")) {
        (Some(median), Some(lower), Some(upper)) => format!("{median:.3} ({lower:.3} to {upper:.3})"),
        _ => "-".to_owned(),
    };
    Goal {
        name: format!("{words} of 256 B, {what}: sealed / nil"),
        wanted: format!("{} {bound}", if is_least { "at least" } else { "at most" }),
        found,
        is_reached,
        why: why(record, op, is_reached),
    }
}

fn crypto(record: &Value, op: &str, words: &str) -> Goal {
    let profile = &record["profiles"][op];
    let percent = profile["crypto_percent"].as_f64();
    let is_reached = percent.map(|percent| percent < CRYPTO_PERCENT);
    Goal {
        name: format!("{words} of 256 B: sealing and opening of the node's CPU"),
        wanted: format!("below {CRYPTO_PERCENT} %"),
        found: percent.map_or("-".to_owned(), |percent| format!("{percent:.1} %")),
        is_reached,
        why: why(record, op, is_reached),
    }
}

fn hook(record: &Value) -> Goal {
    let found = record["hook"]["instructions"].as_f64();
    let is_reached = found.map(|found| found <= HOOK_INSTRUCTIONS);
    Goal {
        name: "nil-cipher hook, instructions for one entry".to_owned(),
        wanted: format!("at most {HOOK_INSTRUCTIONS}"),
        found: found.map_or("-".to_owned(), |found| format!("{found:.2}")),
        is_reached,
        why: if is_reached == Some(false) {
            "perf/gates.toml says which instructions".to_owned()
        } else {
            String::new()
        },
    }
}

/// The functions whose share of the CPU grew most.
fn why(record: &Value, op: &str, is_reached: Option<bool>) -> String {
    if is_reached != Some(false) {
        return String::new();
    }
    let all = record["profiles"][op]["differences"].as_array().map_or(&[][..], Vec::as_slice);
    let grown = all.iter().filter_map(|row| {
        let change = row["sealed"].as_f64()? - row["nil"].as_f64()?;
        (change > 0.0).then(|| format!("{} {change:+.1} %", row["function"].as_str().unwrap_or("?")))
    });
    let grown: Vec<String> = grown.take(3).collect();
    match grown.is_empty() {
        true => "there is no profile".to_owned(),
        false => format!("own share of the CPU, sealed against nil: {}", grown.join(", ")),
    }
}

/// As rows of HTML; nothing without goals.
pub fn html(record: &Value) -> String {
    let goals = goals(record);
    if goals.is_empty() {
        return String::new();
    }
    let mut table =
        "<h2>The goals</h2><table class=\"goals\"><tr><th>goal</th><th>wanted</th><th>found</th><th></th></tr>"
            .to_owned();
    for goal in goals {
        let class = if goal.is_reached == Some(true) { "yes" } else { "no" };
        let _ = write!(
            table,
            "<tr><td>{}<br><small>{}</small></td><td>{}</td><td>{}</td><td class=\"{class}\">{}</td></tr>",
            escape(&goal.name),
            escape(&goal.why),
            goal.wanted,
            goal.found,
            goal.word(),
        );
    }
    table + "</table>"
}

/// As a table of Markdown; nothing without goals.
pub fn markdown(record: &Value) -> String {
    let goals = goals(record);
    if goals.is_empty() {
        return String::new();
    }
    let mut table = "\n| goal | wanted | found | | |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for goal in goals {
        let why = goal.why.replace('|', "\\|");
        let _ = writeln!(table, "| {} | {} | {} | {} | {why} |", goal.name, goal.wanted, goal.found, goal.word());
    }
    table
}

const OPS: [(&str, &str); 2] = [("set", "writes"), ("get", "reads")];
/// The best published figure is 0.995 (CYBERTEC PGEE, 2025-09).
const RATIO_MIN: f64 = 0.99;
const P99_MAX: f64 = 1.02;
const CRYPTO_PERCENT: f64 = 3.0;
const HOOK_INSTRUCTIONS: f64 = 4.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(op: &str, load: &str, field: &str, median: f64) -> Value {
        json!({"scenario": "on", "op": op, "load": load, field: {"median": median, "lower": median - 0.01, "upper": median + 0.01}})
    }

    #[test]
    fn each_goal_says_what_was_found_and_where_the_time_goes_if_it_is_missed() {
        let record = json!({"bench": "overhead", "hook": {"instructions": 5.03},
            "scenarios": [row("set", "pipeline 16", "throughput_by_off", 0.96), row("get", "pipeline 16", "throughput_by_off", 0.99),
                          row("set", "fixed rate", "p99_by_off", 1.02), row("get", "fixed rate", "p99_by_off", 1.3)],
            "profiles": {"set": {"crypto_percent": 2.9,
                                 "differences": [{"function": "a|b", "nil": 5.0, "sealed": 1.0}, {"function": "seal", "nil": 0.0, "sealed": 2.5}]}}});
        let outcomes: Vec<Option<bool>> = goals(&record).iter().map(|goal| goal.is_reached).collect();
        assert_eq!(outcomes, [Some(false), Some(true), Some(true), Some(false), Some(true), None, Some(false)]);
        let text = markdown(&record);
        assert!(
            text.contains(
                "0.960 (0.950 to 0.970) | not reached | own share of the CPU, sealed against nil: seal +2.5 %"
            ),
            "{text}"
        );
        assert!(
            text.contains("| reads of 256 B: sealing and opening of the node's CPU | below 3 % | - | not measured |"),
            "{text}"
        );
        assert_eq!(goals(&json!({"bench": "scale"})).len(), 0);
    }
}
