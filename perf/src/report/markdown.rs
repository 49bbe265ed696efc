//! The same record as Markdown.

use std::fmt::Write as _;

use serde_json::Value;

use crate::chart::short;
use crate::goals;
use crate::summary::count_words;
use crate::summary::shown_batch;
use crate::summary::size_words;
use crate::summary::sizes;
use crate::summary::stages;

/// Tables of a record.
pub fn text(record: &Value) -> String {
    let machine = &record["machine"];
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut text = format!(
        "# {}\n\n{}, AEAD tier {}, {} cores; {}; Linux {}; commit {}, {}.\n",
        word(&record["bench"]),
        word(&machine["cpu"]),
        word(&machine["tier"]),
        machine["cores"],
        word(&machine["disk"]),
        word(&machine["kernel"]),
        word(&record["commit"]),
        word(&record["date"]),
    );
    if record["busy"] == true {
        let _ = writeln!(
            text,
            "\n**Busy machine**: others took {:.2} CPUs.",
            record["foreign_cpus"].as_f64().unwrap_or(0.0)
        );
    }
    for missing in record["missing"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "\n**Missing**: {}", word(missing));
    }
    text += &goals::markdown(record);
    text += &stage_table(record);
    text += &scenario_table(record);
    text += &curve_table(record);
    text += &peer_table(record);
    text
}

fn stage_table(record: &Value) -> String {
    let stages = stages(record);
    if stages.is_empty() {
        return String::new();
    }
    let mut text = "\n| stage | size | batch | ns nil | ns sealed | added | instructions nil | sealed |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for size in sizes(&stages) {
        for stage in stages.iter().filter(|stage| stage.size == size && stage.batch == shown_batch(&stages, size)) {
            let _ = writeln!(
                text,
                "| {} {} | {} | {} | {:.0} | {:.0} | {:.0} | {} | {} |",
                stage.direction,
                stage.stage,
                size_words(size),
                stage.batch,
                stage.nil.nanoseconds,
                stage.sealed.nanoseconds,
                stage.added(),
                count_words(stage.nil.instructions),
                count_words(stage.sealed.instructions),
            );
        }
    }
    text
}

fn scenario_table(record: &Value) -> String {
    let Some(rows) = record["scenarios"].as_array().filter(|rows| !rows.is_empty()) else { return String::new() };
    let mut text = "\n| scenario | op | load | requests/s | of off | p50 us | p99 us | p99.9 us |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let ratio = &row["throughput_by_off"];
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.3} ({:.3} to {:.3}) | {:.0} | {:.0} | {:.0} |",
            row["scenario"].as_str().unwrap_or("?"),
            row["op"].as_str().unwrap_or("?"),
            row["load"].as_str().unwrap_or("?"),
            short(number(&row["requests_per_second"]["median"])),
            number(&ratio["median"]),
            number(&ratio["lower"]),
            number(&ratio["upper"]),
            number(&row["p50_micros"]),
            number(&row["p99_micros"]),
            number(&row["p999_micros"]),
        );
    }
    text
}

fn curve_table(record: &Value) -> String {
    let Some(points) = record["curves"].as_array().filter(|points| !points.is_empty()) else { return String::new() };
    let mut text =
        "\n| what grows | to | op | unit | nil | sealed | sealed / nil |\n| --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for point in points {
        let number = |key: &str| point[key].as_f64().map_or("-".to_owned(), short);
        let word = |key: &str| point[key].as_str().unwrap_or("?");
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            word("axis"),
            point["value"],
            word("op"),
            word("unit"),
            number("nil"),
            number("sealed"),
            point["ratio"].as_f64().map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
        );
    }
    for bend in record["bends"].as_array().into_iter().flatten() {
        let word = |key: &str| bend[key].as_str().unwrap_or("?");
        let _ = writeln!(text, "\n{} by {}, sealed: {}.", word("op"), word("axis"), word("words"));
    }
    text
}

/// How long writes took at one rate, an open loop.
fn rate_table(found: &Value) -> String {
    let Some(rows) = found["rows"].as_array() else { return String::new() };
    let mut text = format!(
        "\n{} at {} a second, an open loop of {} clients:\n\n| server | p50 us | p99 us | p99.9 us |\n| --- | --- | --- | --- |\n",
        found["op"].as_str().unwrap_or("?"),
        short(found["rate"].as_f64().unwrap_or(f64::NAN)),
        found["clients"],
    );
    for row in rows {
        let number = |key: &str| row[key].as_f64().map_or("-".to_owned(), |number| format!("{number:.0}"));
        let name = row["impl"].as_str().unwrap_or("?");
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} |",
            number("p50_micros"),
            number("p99_micros"),
            number("p999_micros")
        );
    }
    text
}

fn peer_table(record: &Value) -> String {
    let is_peers = record["bench"].as_str().is_some_and(|bench| bench.starts_with("peers"));
    let Some(rows) = record["rows"].as_array().filter(|_| is_peers) else { return String::new() };
    let mut text = "\n| server | op | clients | pipeline | requests/s | p99 us | CPU us each | of etcd |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        let name = row["impl"].as_str().unwrap_or("?");
        if let Some(install) = row["missing"].as_str() {
            let _ = writeln!(text, "| {name} | missing: {install} | | | | | | |");
            continue;
        }
        let number =
            |value: &Value, digits: usize| value.as_f64().map_or("-".to_owned(), |number| format!("{number:.digits$}"));
        let beside = &row["by_etcd"];
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            row["op"].as_str().unwrap_or("?"),
            row["clients"],
            row["pipeline"],
            short(row["requests_per_second"].as_f64().unwrap_or(f64::NAN)),
            number(&row["p99_micros"], 0),
            number(&row["cpu_micros_per_request"], 2),
            beside["median"].as_f64().map_or("-".to_owned(), |median| format!(
                "{median:.2} ({} to {})",
                number(&beside["lower"], 2),
                number(&beside["upper"], 2)
            )),
        );
    }
    for pair in record["sealed_by_nil"].as_array().into_iter().flatten() {
        let number = |key: &str| pair[key].as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "\n{}, {} clients, pipeline {}: sealed / nil of {} pairs {:.3} ({:.3} to {:.3})",
            pair["op"].as_str().unwrap_or("?"),
            pair["clients"],
            pair["pipeline"],
            pair["pairs"],
            number("median"),
            number("lower"),
            number("upper"),
        );
    }
    text.push_str(&rate_table(&record["at_rate"]));
    for (name, syncs) in record["syncs"].as_object().into_iter().flatten() {
        let rate =
            syncs["per_second"].as_f64().map_or("not counted".to_owned(), |rate| format!("{rate:.0} syncs a second"));
        let _ = writeln!(text, "\n{name}: {rate} under SETs (by {})", syncs["shown_by"].as_str().unwrap_or("?"));
    }
    for note in record["notes"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "\n{}", note.as_str().unwrap_or("?"));
    }
    text
}
