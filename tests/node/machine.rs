//! `sealkv doctor` and `sealkv bench`: what an operator asks before a node runs.

use std::process::Output;

use crate::harness::Site;
use crate::harness::sealkv;
use crate::harness::text;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = sealkv().args(arguments).output().unwrap();
    let words = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), words(stdout), words(stderr))
}

#[test]
fn doctor_judges_each_thing_in_a_line_and_writes_settings_that_a_node_takes() {
    let site = Site::new();
    let (data, config) = (text(&site.data()), text(&site.path().join("sealkv.toml")));
    let arguments = ["doctor", "--data-dir", &data, "--kek-file", &text(&site.kek()), "--write-config", &config];
    let (status, out, err) = run(&arguments);
    let lines: Vec<&str> = out.lines().take_while(|line| !line.is_empty()).collect();
    let (counts, findings) = lines.split_last().unwrap();
    assert!(findings.len() > 15, "{out}");
    for finding in findings {
        let level = ["ok    ", "warn  ", "fail  "].into_iter().find(|level| finding.starts_with(level));
        assert!(level.is_some() && finding.contains(": "), "{finding}");
    }
    let fails = findings.iter().filter(|finding| finding.starts_with("fail")).count();
    assert!(counts.ends_with(&format!("{fails} fail")), "{counts}");
    assert_eq!(status, Some(i32::from(fails > 0)), "{out}{err}");
    assert!(!site.data().exists(), "it makes no directory");

    let (status, _, err) = run(&["serve", "--check-config", "--config", &config]);
    assert_eq!(status, Some(0), "{err}");
    let (status, _, err) = run(&arguments);
    assert_eq!(status, Some(78), "a file that is there is not touched");
    assert!(err.contains("sealkv.toml"), "{err}");
}

#[test]
fn doctor_says_that_nothing_can_be_in_a_directory_that_takes_nothing() {
    let (status, out, _) = run(&["doctor", "--data-dir", "/proc/none/here"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(out.lines().any(|line| line.starts_with("fail  data directory: /proc/none/here")), "{out}");
}

#[test]
fn bench_measures_whole_nodes_and_leaves_nothing() {
    let site = Site::new();
    let directory = text(site.path());
    let before = std::fs::read_dir(site.path()).unwrap().count();
    let (status, out, err) = run(&["bench", "node", "--seconds", "1", "--json", "--directory", &directory]);
    assert_eq!(status, Some(0), "{err}");
    let rows: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for word in ["SET nil", "SET sealed", "GET nil", "GET sealed"] {
        let row = rows.iter().find(|row| row["row"].as_str().unwrap().starts_with(word)).unwrap();
        assert!(row["per_second"].as_f64().unwrap() > 1.0 && row["p99_micros"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert_eq!(std::fs::read_dir(site.path()).unwrap().count(), before, "its directories are gone");
    let (status, _, err) = run(&["bench", "log", "--seconds", "1", "--directory", "/nowhere"]);
    assert_eq!(status, Some(78), "{err}");
    assert!(err.contains("/nowhere"), "{err}");
}
