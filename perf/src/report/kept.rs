//! What is kept under `perf/record/` and what README says of it are the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::markdown;
use crate::page;
use crate::read_record;
use crate::statistics::median;
use crate::summary::StageCost;
use crate::summary::shown_batch;
use crate::summary::stages;

/// Goal: only quiet and whole runs are kept, and their pages are what this commit draws of them. Method: each is drawn again.
#[test]
fn records_that_are_kept_are_quiet_and_their_pages_are_drawn_of_them() {
    let mut with_pages = 0;
    for path in records() {
        let record = read_record(&path).unwrap();
        assert!(record["busy"] != true, "{}: made on a busy machine", path.display());
        if !path.with_extension("html").exists() {
            continue;
        }
        with_pages += 1;
        let is_drawn = |extension: &str, text: &str| {
            let kept = fs::read_to_string(path.with_extension(extension)).unwrap_or_default();
            assert!(kept == text, "{}: its {extension} is another: scripts/bench report draws it", path.display());
        };
        is_drawn("html", &page::html(&record).unwrap());
        is_drawn("md", &markdown::text(&record));
        if let Some(picture) = page::picture(&record) {
            is_drawn("svg", &picture);
            assert_eq!(record["complete"], true, "{}: {}", path.display(), record["missing"]);
        }
    }
    assert!(with_pages >= 3, "{with_pages} records have pages");
}

/// Goal: what README shows was measured. Method: the numbers of its chapter on cost are made of the records that it names.
#[test]
fn the_numbers_of_readme_are_those_of_the_records_that_it_names() {
    let readme = Readme::read();
    let node_lines = [node_lines(&readme, "node-peers-"), node_lines(&readme, "node-peers-5m-")].concat();
    for line in [node_lines, cluster_lines(&readme), crypto_lines(&readme), log_lines(&readme)].concat() {
        assert!(readme.text.contains(&format!("\n{line}\n")), "README does not have the line {line}");
    }
    for words in [node_words(&readme), overhead_words(&readme)].concat() {
        assert!(readme.text.contains(&words), "README does not say: {words}");
    }
    let picture = readme.path("overhead-").with_extension("svg");
    let name = picture.file_name().unwrap().to_string_lossy().into_owned();
    assert!(readme.text.contains(&format!("](perf/record/{name})")), "README does not show {name}");
    assert!(fs::read_to_string(&picture).unwrap().contains("prefers-color-scheme:dark"), "{name} has no dark form");
}

struct Readme {
    text: String,
}

impl Readme {
    fn read() -> Readme {
        Readme { text: fs::read_to_string(root().join("README.md")).unwrap() }
    }

    /// The record whose name begins so and that README names.
    fn path(&self, begin: &str) -> PathBuf {
        let (_, rest) = self.text.split_once(&format!("perf/record/{begin}")).expect("README names the record");
        let rest = rest.split_once('.').expect("with what it is").0;
        root().join("perf/record").join(format!("{begin}{rest}.json"))
    }

    fn record(&self, begin: &str) -> Value {
        read_record(&self.path(begin)).unwrap()
    }
}

fn node_lines(readme: &Readme, record: &str) -> Vec<String> {
    let record = readme.record(record);
    let cell = |name: &str, op: &str, clients: u64, pipeline: u64| {
        let is_it = |row: &&Value| {
            row["impl"] == name && row["op"] == op && row["clients"] == clients && row["pipeline"] == pipeline
        };
        thousands(rows(&record).iter().find(is_it).unwrap()["requests_per_second"].as_f64().unwrap())
    };
    let line = |op: &str, (clients, pipeline): (u64, u64)| {
        let [sealed, nil, redis] = ["sealed", "nil", "redis"].map(|name| cell(name, op, clients, pipeline));
        let words = if pipeline == 1 { "no pipeline".to_owned() } else { format!("pipeline {pipeline}") };
        format!("| {}, {clients} clients, {words} | {sealed} | {nil} | {redis} |", op.to_uppercase())
    };
    let loads = [(50, 16), (256, 16), (50, 1)];
    ["set", "get"].into_iter().flat_map(|op| loads.map(|load| line(op, load))).collect()
}

fn node_words(readme: &Readme) -> Vec<String> {
    let record = readme.record("node-peers-");
    let pairs = record["sealed_by_nil"].as_array().unwrap();
    let one = |pair: &Value| {
        let number = |key: &str| pair[key].as_f64().unwrap();
        let op = pair["op"].as_str().unwrap().to_uppercase();
        format!("{op} {:.2} ({:.2} to {:.2})", number("median"), number("lower"), number("upper"))
    };
    let pair = format!("in {} pairs, one right after the other: {}", record["pairs"], one(&pairs[0]));
    vec![format!("Median of {} rounds", record["rounds"]), format!("{pair}, {},", one(&pairs[1]))]
}

fn cluster_lines(readme: &Readme) -> Vec<String> {
    let record = readme.record("cluster-");
    let line = |(words, name): (&str, &str)| {
        let row = rows(&record).iter().find(|row| row["impl"] == name).unwrap();
        let number = |key: &str| row[key].as_f64().unwrap();
        format!("| {words} | {} | {:.0} ms |", thousands(number("requests_per_second")), number("p99_micros") / 1e3)
    };
    [("sealkv, sealed", "sealkv"), ("sealkv, sealed, pipeline 16", "sealkv, pipeline 16"), ("etcd", "etcd")]
        .map(line)
        .to_vec()
}

fn crypto_lines(readme: &Readme) -> Vec<String> {
    let record = readme.record("crypto-peers-");
    let tier = &record["tier"];
    let line = |(words, begin, batch): (&str, &str, u64)| {
        let cell = |size: u64| {
            let is_it = |row: &&Value| {
                let is_tier = row["tier"] == *tier || row["tier"] == "default";
                let is_shape = row["op"] == "seal" && row["size"] == size && row["batch"] == batch;
                is_tier && is_shape && row["impl"].as_str().unwrap().starts_with(begin)
            };
            rows(&record).iter().find(is_it).unwrap()["ns"].as_f64().unwrap()
        };
        format!("| {words} | {:.0} | {:.0} |", cell(256), cell(4096))
    };
    let lines = [
        ("sealkv, 64 messages together", "sealkv", 64),
        ("sealkv, one message", "sealkv", 1),
        ("ring 0.17", "ring 0.17", 1),
        ("aws-lc-rs 1.19", "aws-lc-rs 1.19", 1),
        ("intel-ipsec-mb 1.3", "intel-ipsec-mb 1.3", 1),
        ("limit of the CPU, 64 together", "limit", 64),
    ];
    lines.map(line).to_vec()
}

fn log_lines(readme: &Readme) -> Vec<String> {
    let record = readme.record("log-peers-");
    let names = ["sealkv sealed uring", "bare loop uring", "raft-engine 0.4", "okaywal 0.3", "rocksdb"];
    let line = |group: u64| {
        let cell = |begin: &str| {
            let is_it = |row: &&Value| {
                let is_shape = row["entry_bytes"] == 256 && row["in_flight"] == 4 && row["group"] == group;
                is_shape && row["name"].as_str().unwrap().starts_with(begin)
            };
            thousands(rows(&record).iter().find(is_it).unwrap()["entries_per_second"].as_f64().unwrap())
        };
        format!("| {group} | {} |", names.map(cell).join(" | "))
    };
    [1, 8, 64, 256].map(line).to_vec()
}

fn overhead_words(readme: &Readme) -> Vec<String> {
    let record = readme.record("overhead-");
    let stages = stages(&record);
    let batch = shown_batch(&stages, 256);
    let added = |name: &str| {
        let is_it = |stage: &&StageCost| {
            stage.direction == "write" && stage.stage == name && stage.size == 256 && stage.batch == batch
        };
        format!("{:.0} ns", stages.iter().find(is_it).unwrap().added())
    };
    vec![
        format!("in {} rounds", record["rounds"]),
        format!("{batch} entries together"),
        format!("{} more where it is sealed and {} where it is opened", added("seal"), added("open")),
    ]
}

/// Three digits and zeros, as `54,700`.
fn thousands(value: f64) -> String {
    let unit = 10_f64.powf(value.log10().floor() - 2.0).max(1.0);
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

fn rows(record: &Value) -> &[Value] {
    record["rows"].as_array().map_or(&[][..], Vec::as_slice)
}

fn records() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("perf/record")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect()
}

/// The checkout whose tests run: a target folder may hold this test as it was built in another one.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..")
}

/// A median that somebody wrote by hand would be found by nothing else.
#[test]
fn medians_of_records_are_those_of_their_samples() {
    let mut medians = BTreeMap::new();
    for path in records() {
        let record = read_record(&path).unwrap();
        for row in rows(&record).iter().filter(|row| row["samples"].is_array()) {
            let samples: Vec<f64> = row["samples"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
            let Some(told) = row["requests_per_second"].as_f64().or(row["entries_per_second"].as_f64()) else {
                continue;
            };
            assert_eq!(told, median(&samples), "{}: {row}", path.display());
            *medians.entry(path.clone()).or_insert(0) += 1;
        }
    }
    assert!(medians.len() >= 3, "{medians:?}");
}
