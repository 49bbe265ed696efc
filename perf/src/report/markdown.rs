//! The same record as Markdown.

use std::fmt::Write as _;

use serde_json::Value;

use crate::beside;
use crate::chart::short;
use crate::facts::host_takes_memory;
use crate::goals;
use crate::steady;
use crate::summary::count_words;
use crate::summary::interval_words;
use crate::summary::shown_batch;
use crate::summary::size_words;
use crate::summary::sizes;
use crate::summary::stages;
use crate::table::Table;

/// Tables of a record.
pub fn text(record: &Value) -> String {
    let machine = &record["machine"];
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut text = format!(
        "# {}\n\n{}, AEAD tier {}, {} cores{}; {}; Linux {}; commit {}, {}.\n",
        word(&record["bench"]),
        word(&machine["cpu"]),
        word(&machine["tier"]),
        machine["cores"],
        host_takes_memory(machine),
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
    text += &beside::markdown(record);
    if record["bench"] == "steady" {
        text.extend(steady::tables(record).iter().map(Table::markdown));
    }
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
    let mut text = "\n| scenario | op | load | requests/s | of off | p50 us | p99 us | p99 of off | p99.9 us |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} | {:.0} | {} | {:.0} |",
            row["scenario"].as_str().unwrap_or("?"),
            row["op"].as_str().unwrap_or("?"),
            row["load"].as_str().unwrap_or("?"),
            short(number(&row["requests_per_second"]["median"])),
            interval_words(&row["throughput_by_off"]),
            number(&row["p50_micros"]),
            number(&row["p99_micros"]),
            interval_words(&row["p99_by_off"]),
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
