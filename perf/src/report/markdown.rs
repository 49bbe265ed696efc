//! The same record as Markdown.

use std::fmt::Write as _;

use serde_json::Value;

use crate::chart::short;
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
    text += &stage_table(record);
    text += &scenario_table(record);
    text += &curve_table(record);
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
            let count = |count: Option<f64>| count.map_or("-".to_owned(), |count| format!("{count:.0}"));
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
                count(stage.nil.instructions),
                count(stage.sealed.instructions),
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
        "\n| what grows | to | op | nil, requests/s | sealed | ratio |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for point in points {
        let number = |key: &str| point[key].as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.3} |",
            point["axis"].as_str().unwrap_or("?"),
            point["value"],
            point["op"].as_str().unwrap_or("?"),
            short(number("nil")),
            short(number("sealed")),
            number("ratio"),
        );
    }
    text
}
