//! `tests/data/invariants.toml` says which test holds which rule; here it is held against the tree. The bugs that
//! `scripts/mutants` plants are held against it too, so that they do not rot between its runs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Design section 5.
const DESIGN: &[&str] = &[
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

/// Sections 2.1, 2.2 and 2.4 of the reference.
const REFERENCE: &[&str] = &[
    "INV-CUTOVER-STRICT",
    "INV-DECODE-FIRST",
    "INV-INERT-DEFAULT",
    "INV-CUTOVER-LOCKFREE",
    "INV-NO-CIPHER-HALT",
    "INV-UNWRAP-HALT",
    "INV-ERR-MARK",
    "INV-HALTAPPLY",
    "INV-FSM-NEVER-SEES-ENVELOPE",
    "INV-ALIAS",
    "INV-CLASSIFY-AFTER-DECRYPT",
    "INV-DUP-NO-SIDE-EFFECT",
    "INV-APPLIED-ADVANCE-ONLY",
    "INV-APPLY-INDEX-SEAM",
    "INV-AAD-PURPOSE",
    "INV-AAD-RECORD",
    "INV-KEYID0",
    "INV-KEYSTORE-SETONCE",
    "INV-KEYSTORE-COW",
    "INV-NONCE-UNIQUE",
    "INV-EPOCH-BUMP-BEFORE-WRITE",
    "INV-EPOCH-SAT",
    "INV-DISTINCT-DEK-IDS",
    "INV-NO-SECRET-LOGS",
    "INV-GATE-ORDER",
    "INV-APPLY-PATH-NOT-GATED",
    "INV-WRITE-REG-GATE",
    "INV-DECRYPT-BEFORE-VISIBILITY",
    "INV-REBADGE-GUARD",
    "INV-EMPTY-VALUE",
    "INV-STATE-RESERVED",
    "INV-NO-SILENT-NOTFOUND",
    "INV-RESERVED-OPCODES-HALT",
    "INV-DECODER-BOUNDS",
    "INV-SIDECAR-DURABLE",
];

const WEAKNESSES: usize = 21;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rule: Vec<Rule>,
    reference: BTreeMap<String, Vec<String>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: String,
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
    let ids: BTreeSet<&str> = table.rule.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids.len(), table.rule.len(), "no rule twice");
    let weaknesses: Vec<String> = (1..=WEAKNESSES).map(|number| format!("W{number}")).collect();
    let wanted = DESIGN.iter().chain(REFERENCE).copied().chain(weaknesses.iter().map(String::as_str));
    let missing: Vec<&str> = wanted.filter(|id| !ids.contains(id)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    for rule in &table.rule {
        assert!(rule.says.len() > 10, "{} says nothing", rule.id);
        let is_held = !rule.tests.is_empty();
        assert!(is_held || !DESIGN.contains(&rule.id.as_str()), "{} has no test", rule.id);
        let is_answered = is_held || !rule.owed.is_empty() || rule.gone.is_some() || rule.remains.is_some();
        assert!(is_answered, "{} has neither a test nor a reason", rule.id);
    }
    assert!(table.reference.values().all(|answers| !answers.is_empty()));
}

#[test]
fn every_test_that_the_table_names_is_in_the_tree() {
    let (table, tests) = (table(), tests());
    let named = table.rule.iter().flat_map(|rule| rule.tests.iter().map(|test| (&rule.id, test)));
    let is_reason = |answer: &str| answer.starts_with("gone: ") || answer.starts_with("owed: ");
    let reference = table.reference.iter().flat_map(|(id, answers)| answers.iter().map(move |answer| (id, answer)));
    let named = named.chain(reference.filter(|(_, answer)| !is_reason(answer)));
    let missing: Vec<String> =
        named.filter(|(_, test)| !tests.contains(test.as_str())).map(|(id, test)| format!("{id}: {test}")).collect();
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}

#[test]
fn what_is_owed_is_not_there_yet() {
    let bare: BTreeSet<String> =
        tests().iter().filter_map(|test| test.split_once("::").map(|(_, name)| name.to_owned())).collect();
    for rule in table().rule {
        for owed in &rule.owed {
            let (name, waits_for) = owed.split_once(": ").unwrap_or_else(|| panic!("{}: {owed}", rule.id));
            assert!(!waits_for.is_empty());
            assert!(!bare.contains(name), "{}: {name} is there: it belongs to the tests now", rule.id);
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
