//! `scripts/bench steady`: a node that is written to at full speed for so long that merging its files decides: keys that are new,
//! then the same keys again until level 0 has been steady for some minutes. What it takes, how long its slowest answers are, what it
//! writes for each byte, what disk it needs, and how long syncs of its log take while the state is flushed.

use std::fs;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::Options;
use crate::chart::Bar;
use crate::chart::bars;
use crate::chart::short;
use crate::facts::machine;
use crate::facts::record;
use crate::keep;
use crate::nodes::RunningNode;
use crate::nodes::SCENARIOS;
use crate::nodes::Tools;
use crate::nodes::metric;
use crate::samples::Sample;
use crate::samples::Sampler;
use crate::samples::log_micros;
use crate::table::Table;
use crate::table::number;
use crate::table::word;
use crate::watch::FOREIGN_MAX;
use crate::watch::Watch;

/// `--sealkv PATH --load PATH --out PATH [--keys N] [--minutes N] [--memory-bytes SIZE]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&["--sealkv", "--load", "--out", "--keys", "--minutes", "--memory-bytes"])?;
    let (keys, minutes) =
        (options.number("--keys", 20_000_000)?.max(1000), options.number("--minutes", 10)?.clamp(1, 600));
    let out = options.place("--out")?.ok_or("--out is missing")?;
    let memory = options.text("--memory-bytes");
    let tools = Tools::of(options)?;
    let more: Vec<&str> = memory.into_iter().flat_map(|size| ["--memory-bytes", size]).collect();
    let measured = tools.start_with(&SCENARIOS[2], 0, &more).and_then(|node| measure(&tools, &node, keys, minutes));
    let facts = machine(&tools.work);
    let asked = json!({"keys": keys, "minutes": minutes, "memory_bytes": memory, "value_bytes": VALUE_BYTES});
    let record = record("steady", facts, &[measured?, asked]);
    tables(&record).iter().for_each(|table| println!("{}", table.markdown()));
    keep(&record, &out)
}

fn measure(tools: &Tools, node: &RunningNode, keys: u64, minutes: u64) -> Result<Value, String> {
    let data = tools.work.join("node-0/data");
    let free = free_bytes(node)?;
    let needed = keys as f64 * (KEY_BYTES + VALUE_BYTES) as f64 * DISK_FOR_EACH_BYTE;
    if free < needed {
        return Err(format!(
            "--keys {keys}: merging needs about {} of disk, and {} are free in {} (TMPDIR says where)",
            gigabytes(needed),
            gigabytes(free),
            tools.work.display()
        ));
    }
    let mut missing = Vec::from_iter(node.without_uring());
    let watch = Watch::new(&[node.pid()]);
    let count = keys.to_string();
    let phase = |name: &str, words: &[&str]| {
        let begun = Phase::begin(node);
        let fixed = ["--op", "set", "--clients", "256", "--pipeline", "16"];
        let line = tools.load(node, &[&fixed[..], words].concat())?;
        let row = begun.end(name, &line, &data);
        eprintln!("{}", servers_line(&row));
        Ok::<Value, String>(row)
    };
    let mut rows = vec![phase("new keys", &["--in-order", "0", "--requests", &count])?];
    let seconds = (minutes * 60).to_string();
    let mut is_steady = false;
    for _ in 0..WINDOWS_MAX {
        rows.push(phase("the same again", &["--keys", &count, "--seconds", &seconds])?);
        is_steady = rows.last().is_some_and(|row| row["is_steady"] == true);
        if is_steady {
            break;
        }
    }
    if rows.iter().all(|row| row["log_p99_micros_in_flushes"].is_null()) {
        let words =
            "the log's p99 in flushes: nothing was flushed, more --keys are needed to fill the tables".to_owned();
        eprintln!("MISSING: {words}");
        missing.push(words);
    }
    if !is_steady {
        let words = format!(
            "level 0 is not steady: it, or what merging owes, still grew after {WINDOWS_MAX} x {minutes} minutes"
        );
        eprintln!("MISSING: {words}");
        missing.push(words);
    }
    let foreign = watch.foreign_cpus();
    Ok(json!({
        "rows": rows, "foreign_cpus": foreign, "busy": foreign > FOREIGN_MAX, "complete": missing.is_empty(), "missing": missing,
    }))
}

/// Of the disk that has the state. A node knows once it has looked.
fn free_bytes(node: &RunningNode) -> Result<f64, String> {
    for _ in 0..20 {
        if let Some(free) = metric(&node.admin, "sealkv_disk_free_bytes{part=\"state\"}") {
            return Ok(free);
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    Err("the node does not say how much of its disk is free".to_owned())
}

/// A phase under way.
struct Phase {
    sampler: Sampler,
}

impl Phase {
    fn begin(node: &RunningNode) -> Phase {
        Phase { sampler: Sampler::start(&node.admin, node.pid()) }
    }

    fn end(self, name: &str, line: &Value, data: &Path) -> Value {
        let samples = self.sampler.end();
        let (taken_in, written, opened) = match (samples.first(), samples.last()) {
            (Some(first), Some(last)) => {
                let taken_in = line["replies"].as_f64().unwrap_or(0.0) * (KEY_BYTES + VALUE_BYTES) as f64;
                (taken_in, last.written_bytes - first.written_bytes, last.opened_bytes - first.opened_bytes)
            }
            _ => (f64::NAN, f64::NAN, f64::NAN),
        };
        let most = |of: fn(&Sample) -> f64| samples.iter().map(of).fold(f64::NAN, f64::max);
        let [in_flushes, else_where] = log_micros(&samples, 0.99);
        json!({
            "phase": name, "is_steady": is_steady(&samples), "requests": line["replies"],
            "requests_per_second": line["requests_per_second"], "second_half_per_second": second_half(&samples),
            "tenths": tenths(&samples), "stalled_seconds": stalled_seconds(&samples),
            "p50_micros": line["p50_micros"], "p99_micros": line["p99_micros"], "p999_micros": line["p999_micros"],
            "max_micros": line["max_micros"], "cpu_micros_per_request": line["cpu_micros_per_request"],
            "level0_mean": mean(samples.iter().map(|sample| sample.level0_files)), "level0_most": most(|sample| sample.level0_files),
            "pending_bytes_most": most(|sample| sample.pending_bytes), "flushes": most(|sample| sample.flushes),
            "written_by_taken_in": written / taken_in, "written_without_log_by_taken_in": (written - opened) / taken_in,
            "state_bytes": disk_bytes(&data.join("state")), "state_bytes_most": most(|sample| sample.table_bytes),
            "log_bytes": disk_bytes(&data.join("log")), "undisturbed": line["undisturbed"],
            "undisturbed_percent": line["undisturbed"]["seconds"].as_f64().zip(line["seconds"].as_f64())
                .map(|(part, all)| 100.0 * part / all),
            "log_p99_micros_in_flushes": in_flushes, "log_p99_micros_elsewhere": else_where,
        })
    }
}

/// Whether neither level 0 nor what merging owes was higher in the second half than in the first, by more than a quarter and what one
/// file makes.
fn is_steady(samples: &[Sample]) -> bool {
    let (first, second) = samples.split_at(samples.len() / 2);
    let grew = |of: fn(&Sample) -> f64, slack: f64| {
        mean(second.iter().map(of)) > mean(first.iter().map(of)) * GROWTH_MAX + slack
    };
    !first.is_empty() && !grew(|sample| sample.level0_files, 1.0) && !grew(|sample| sample.pending_bytes, FILE_BYTES)
}

/// SETs a second between each of eleven moments.
fn tenths(samples: &[Sample]) -> Vec<f64> {
    let at = |tenth: usize| samples.get(tenth * samples.len().saturating_sub(1) / 10);
    let between = |tenth: usize| rate(at(tenth)?, at(tenth + 1)?);
    (0..10).filter_map(between).collect()
}

fn second_half(samples: &[Sample]) -> Option<f64> {
    rate(samples.get(samples.len() / 2)?, samples.last()?)
}

fn rate(first: &Sample, last: &Sample) -> Option<f64> {
    let seconds = last.seconds - first.seconds;
    (seconds > 0.0).then(|| (last.sets - first.sets) / seconds)
}

/// Seconds in which fewer were answered than a tenth of the mean.
fn stalled_seconds(samples: &[Sample]) -> usize {
    let rates: Vec<f64> = samples.windows(2).filter_map(|two| rate(&two[0], &two[1])).collect();
    let mean = mean(rates.iter().copied());
    rates.iter().filter(|rate| **rate < mean / 10.0).count()
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = numbers.fold((0.0, 0.0), |(count, sum), number| (count + 1.0, sum + number));
    sum / count
}

fn disk_bytes(folder: &Path) -> u64 {
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(bytes).sum()
}

fn gigabytes(bytes: f64) -> String {
    format!("{:.1} GB", bytes / 1e9)
}

fn servers_line(row: &Value) -> String {
    format!(
        "steady: {}: {} a second, level 0 has {} files on average, {} at most",
        word(row, "phase"),
        row["requests_per_second"].as_f64().map_or("-".to_owned(), short),
        number(row, "level0_mean", 1),
        number(row, "level0_most", 0)
    )
}

/// The tables of a record.
pub fn tables(record: &Value) -> Vec<Table> {
    let rows = record["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |title: &str, head: &[&str], cells: &dyn Fn(&Value) -> Vec<String>| {
        let row = |row: &Value| std::iter::once(word(row, "phase")).chain(cells(row)).collect();
        Table::new(title, head, rows.iter().map(row).collect())
    };
    let rate = |row: &Value, key: &str| row[key].as_f64().map_or("-".to_owned(), short);
    let size = |row: &Value, key: &str| row[key].as_f64().map_or("-".to_owned(), gigabytes);
    vec![
        of(
            "SETs of 256 bytes, 256 clients, pipeline 16",
            &["phase", "SETs", "a second", "second half", "CPU us each", "level 0", "most", "steady"],
            &|row| {
                let is_steady = if row["is_steady"] == true { "yes" } else { "no" };
                vec![
                    rate(row, "requests"),
                    rate(row, "requests_per_second"),
                    rate(row, "second_half_per_second"),
                    number(row, "cpu_micros_per_request", 2),
                    number(row, "level0_mean", 1),
                    number(row, "level0_most", 0),
                    is_steady.to_owned(),
                ]
            },
        ),
        of(
            "How long clients waited, and the log's syncs while the state was flushed and else, in microseconds",
            &["phase", "p50", "p99", "p99.9", "longest", "stalled seconds", "log p99 in flushes", "log p99 else"],
            &|row| {
                let numbers = [
                    "p50_micros",
                    "p99_micros",
                    "p999_micros",
                    "max_micros",
                    "stalled_seconds",
                    "log_p99_micros_in_flushes",
                    "log_p99_micros_elsewhere",
                ];
                numbers.iter().map(|key| number(row, key, 0)).collect()
            },
        ),
        of(
            "The same without the time in which the host of this machine took CPU away, and the quarter of a second behind it",
            &["phase", "of the time %", "p50", "p99", "p99.9", "longest"],
            &|row| {
                let numbers = ["p50_micros", "p99_micros", "p999_micros", "max_micros"];
                let micros = numbers.iter().map(|key| number(&row["undisturbed"], key, 0));
                std::iter::once(number(row, "undisturbed_percent", 0)).chain(micros).collect()
            },
        ),
        of(
            "Bytes written for each byte of key and value, and disk",
            &["phase", "written", "without the log", "merging owes at most", "state", "state at most", "log"],
            &|row| {
                vec![
                    number(row, "written_by_taken_in", 2),
                    number(row, "written_without_log_by_taken_in", 2),
                    size(row, "pending_bytes_most"),
                    size(row, "state_bytes"),
                    size(row, "state_bytes_most"),
                    size(row, "log_bytes"),
                ]
            },
        ),
    ]
}

/// SETs a second by tenth of each phase.
pub fn chart(record: &Value) -> String {
    let mut all = Vec::new();
    for row in record["rows"].as_array().into_iter().flatten() {
        let tenths = row["tenths"].as_array().into_iter().flatten().filter_map(Value::as_f64);
        let bar = |(at, rate): (usize, f64)| {
            let label = format!("{} {}", word(row, "phase"), at + 1);
            Bar { label, parts: vec![rate], note: short(rate) }
        };
        all.extend(tenths.enumerate().map(bar));
    }
    bars("SETs a second, by tenth of each phase", &["SETs a second".to_owned()], &all)
}

const KEY_BYTES: u64 = 16;
const VALUE_BYTES: u64 = 256;
/// A row has 74 bytes more than its key and value, and merging needs as much again.
const DISK_FOR_EACH_BYTE: f64 = 2.6;
/// How often the keys are written again for so long.
const WINDOWS_MAX: usize = 3;
const GROWTH_MAX: f64 = 1.25;
/// About what one flush makes.
const FILE_BYTES: f64 = 512e6;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(level0: impl Fn(usize) -> f64) -> Vec<Sample> {
        let one = |at: usize| Sample {
            seconds: at as f64,
            sets: at as f64 * 100.0,
            level0_files: level0(at),
            ..Sample::default()
        };
        (0..=100).map(one).collect()
    }

    #[test]
    fn what_goes_up_and_down_is_steady_and_what_grows_is_not() {
        assert!(is_steady(&samples(|at| (at % 8) as f64)));
        assert!(!is_steady(&samples(|at| (at / 10) as f64)));
        assert!(!is_steady(&[]), "nothing was seen");
    }

    #[test]
    fn rates_are_counted_between_moments_and_a_standstill_is_seen() {
        let mut samples = samples(|_| 1.0);
        assert_eq!(tenths(&samples), [100.0; 10]);
        assert_eq!((second_half(&samples), stalled_seconds(&samples)), (Some(100.0), 0));
        samples.iter_mut().skip(51).for_each(|sample| sample.sets -= 100.0);
        assert_eq!(stalled_seconds(&samples), 1);
    }
}
