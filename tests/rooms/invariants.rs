//! `tests/data/invariants.toml` says which test holds which rule; here it is held against the tree. The bugs that
//! `scripts/mutants` plants are held against it too, so that they do not rot between its runs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The invariants of the design, in its order.
const INVARIANTS: &[&str] = &[
    "CUTOVER-STRICT",
    "DECODE-FIRST",
    "NO-CIPHER-HALT",
    "MALFORMED-HALT",
    "OPEN-HALT",
    "PREFIX-APPLIED",
    "IN-ORDER",
    "ATOMIC-APPLY",
    "SAME-DECISION",
    "NONCE-UNIQUE",
    "PLACE-BOUND",
    "LAYERS-APART",
    "NO-WAY-DOWN",
    "ACK-DURABLE",
    "SYNC-FATAL",
    "TORN-TAIL-ONLY",
    "BOUNDED",
    "SAME-BYTES",
    "NO-SECRETS-OUT",
];

/// Rules of nonces: N1 to N6.
const NONCE_RULES: usize = 6;

/// Weaknesses of the Go store that this one follows: W1 to W21.
const WEAKNESSES: usize = 21;

/// Rules by their names: no name stands twice.
type Table = BTreeMap<String, Rule>;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    says: String,
    #[serde(default)]
    tests: Vec<String>,
    #[serde(default)]
    owed: Vec<String>,
    gone: Option<String>,
    remains: Option<String>,
}

#[test]
fn every_rule_is_in_the_table() {
    let table = table();
    let nonces = (1..=NONCE_RULES).map(|number| format!("N{number}"));
    let weaknesses = (1..=WEAKNESSES).map(|number| format!("W{number}"));
    let wanted = INVARIANTS.iter().map(|id| (*id).to_owned()).chain(nonces).chain(weaknesses);
    let missing: Vec<String> = wanted.filter(|id| !table.contains_key(id)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    for (id, rule) in &table {
        assert!(rule.says.len() > 10, "{id} says nothing");
        let is_held = !rule.tests.is_empty();
        assert!(is_held || !INVARIANTS.contains(&id.as_str()), "{id} has no test");
        let is_answered = is_held || !rule.owed.is_empty() || rule.gone.is_some() || rule.remains.is_some();
        assert!(is_answered, "{id} has neither a test nor a reason");
    }
}

#[test]
fn every_test_that_the_table_names_is_in_the_tree() {
    let (table, tests) = (table(), tests());
    let named = table.iter().flat_map(|(id, rule)| rule.tests.iter().map(move |test| (id, test)));
    let missing: Vec<String> =
        named.filter(|(_, test)| !tests.contains(test.as_str())).map(|(id, test)| format!("{id}: {test}")).collect();
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}

#[test]
fn what_is_owed_is_not_there_yet() {
    let bare: BTreeSet<String> =
        tests().iter().filter_map(|test| test.split_once("::").map(|(_, name)| name.to_owned())).collect();
    for (id, rule) in table() {
        for owed in &rule.owed {
            let (name, waits_for) = owed.split_once(": ").unwrap_or_else(|| panic!("{id}: {owed}"));
            assert!(!waits_for.is_empty());
            assert!(!bare.contains(name), "{id}: {name} is there: it belongs to the tests now");
        }
    }
}

#[test]
fn every_planted_bug_applies_and_names_a_test() {
    let names: BTreeSet<String> =
        tests().iter().filter_map(|test| Some(test.rsplit_once("::")?.1.to_owned())).collect();
    let mut count = 0;
    for path in files(&root().join("tests/data/mutants"), "txt") {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.display();
        let test = text.lines().find_map(|line| line.strip_prefix("test: ")).unwrap_or_else(|| panic!("{shown}"));
        let name = test.rsplit("::").next().unwrap_or_default();
        assert!(names.contains(name), "{shown}: there is no test {test}");
        let mut is_switched = false;
        for part in text.split("file: ").skip(1) {
            let (file, rest) = part.split_once("\n<<<<<<<\n").unwrap_or_else(|| panic!("{shown}"));
            let (sound, rest) = rest.split_once("=======\n").unwrap_or_else(|| panic!("{shown}"));
            let source = fs::read_to_string(root().join(file)).unwrap();
            let found = source.matches(sound).count();
            assert_eq!(found, 1, "{shown} no longer applies to {file}: bring it up to date\n{sound}");
            is_switched |= rest.contains("PLANTED");
        }
        assert!(is_switched, "{shown}: nothing turns it on");
        count += 1;
    }
    assert!(count >= 12, "{count} planted bugs");
}

#[test]
fn every_guarantee_of_the_readme_names_suites_and_tests_that_are_there() {
    let bare: BTreeSet<String> = tests().iter().filter_map(|test| Some(test.rsplit_once("::")?.1.to_owned())).collect();
    let suites = suites();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, behind) = readme.split_once("| what happens | acknowledged writes | held by |\n").expect("the guarantees");
    let rows: Vec<&str> = behind.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 6, "{} guarantees", rows.len());
    for row in rows {
        let held_by = row.trim_end_matches(" |").rsplit_once('|').expect("three columns").1;
        let quoted: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        let named: Vec<&str> = quoted.iter().filter_map(|quoted| quoted.strip_prefix("scripts/slow ")).collect();
        assert!(!named.is_empty(), "no suite holds this: {row}");
        for suite in named {
            let held = suites.get(suite).unwrap_or_else(|| panic!("scripts/slow has no {suite}"));
            assert!(!held.is_empty(), "{suite} runs no test");
            held.iter().for_each(|test| assert!(bare.contains(test), "{suite} runs {test}, which is not in the tree"));
        }
        let tests = quoted.iter().filter(|quoted| quoted.contains('_') && !quoted.contains(['/', ' ']));
        tests.for_each(|test| assert!(bare.contains(*test), "there is no test {test}: {row}"));
    }
}

/// The suites of `scripts/slow`, and the names of the tests that each runs.
fn suites() -> BTreeMap<String, Vec<String>> {
    let script = fs::read_to_string(root().join("scripts/slow")).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut suite = String::new();
    for line in script.lines() {
        match line.strip_suffix(')').filter(|name| !name.starts_with(' ') && !name.contains(['(', '"'])) {
            Some(name) => suite = name.to_owned(),
            None if line.contains("random_suite ") => {
                let paths = line.split([' ', ')']).filter_map(|word| word.rsplit_once("::"));
                found.entry(suite.clone()).or_default().extend(paths.map(|(_, name)| name.to_owned()));
            }
            None => {}
        }
    }
    found
}

fn table() -> Table {
    let text = fs::read_to_string(root().join("tests/data/invariants.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// `room::name` of every function under `#[test]`, where the room is the first name below `src` or `tests`.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for top in ["src", "tests"] {
        let top = root().join(top);
        for path in files(&top, "rs") {
            let relative = path.strip_prefix(&top).unwrap();
            let room = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
            let room = room.trim_end_matches(".rs");
            let mut is_test = false;
            for line in fs::read_to_string(&path).unwrap().lines().map(str::trim_start) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let Some(name) = name.filter(|_| is_test).and_then(|rest| rest.split('(').next()) {
                    found.insert(format!("{room}::{name}"));
                    is_test = false;
                }
            }
        }
    }
    assert!(found.len() > 500, "the tests were found");
    found
}

/// Files below `dir` with that extension, sorted.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
