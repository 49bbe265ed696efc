//! `scripts/bench gates`: instructions of the hot paths against the limits of `perf/gates.toml`.
//!
//! A limit is for one entry (command, read) and holds for this compiler's code under valgrind, which is the same on every
//! machine, busy or not. A gate may count only what a bench takes `over` another one. A gate that has a `planted` bench
//! must refuse it: a gate that cannot fail guards nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use serde_json::Value;
use serde_json::json;

use crate::all;
use crate::callgrind::Counted;
use crate::callgrind::count;
use crate::stages::Grid;
use sealkv::testing::workload::Scale;

/// One of the file.
struct Gate {
    name: String,
    bench: String,
    over: Option<String>,
    planted: Option<String>,
    /// Instructions for one entry.
    limit: f64,
}

/// What all benches of the gates took.
struct Counts {
    counted: BTreeMap<String, Counted>,
    entries: BTreeMap<String, usize>,
}

/// `[--functions NAME] [--record FILE]`.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    let value_of = |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
    let only = value_of("--functions");
    let (tier, gates) = match read().map_err(|problem| format!("{FILE}: {problem}")) {
        Ok(read) => read,
        Err(problem) => return refuse(&problem),
    };
    let gates: Vec<Gate> = gates.into_iter().filter(|gate| only.is_none_or(|name| gate.name == *name)).collect();
    if gates.is_empty() {
        return refuse("there is no gate of that name");
    }
    let counts = match Counts::of(&tier, &gates) {
        Ok(counts) => counts,
        Err(problem) => return refuse(&problem),
    };
    if only.is_some() {
        print_functions(&gates[0], &counts);
        return ExitCode::SUCCESS;
    }
    let failed = gates.iter().map(|gate| check(gate, &counts)).filter(|passes| !passes).count();
    if let Some(path) = value_of("--record") {
        let records: Vec<Value> = gates.iter().map(|gate| record(gate, &counts)).collect();
        let text = format!("{:#}\n", json!({"bench": "gates", "tier": tier, "gates": records}));
        if let Err(problem) = fs::write(path, text) {
            return refuse(&format!("{path}: {problem}"));
        }
    }
    println!("{} gates, {failed} exceeded", gates.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(problem: &str) -> ExitCode {
    println!("gates were NOT checked: {problem}");
    ExitCode::FAILURE
}

fn read() -> Result<(String, Vec<Gate>), String> {
    let text = fs::read_to_string(FILE).map_err(|problem| problem.to_string())?;
    let file: toml::Table = text.parse().map_err(|problem: toml::de::Error| problem.to_string())?;
    let tier = file.get("tier").and_then(toml::Value::as_str).ok_or("tier: expected a name")?;
    let gates = file.get("gate").and_then(toml::Value::as_array).ok_or("expected [[gate]]")?;
    let gate = |gate: &toml::Value| {
        let text = |key: &str| gate.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let limit = gate.get("limit").and_then(toml::Value::as_float).ok_or("limit: expected a number as 4.0")?;
        let (name, bench) =
            (text("name").ok_or("name: expected words")?, text("bench").ok_or("bench: expected a name")?);
        Ok(Gate { name, bench, over: text("over"), planted: text("planted"), limit })
    };
    Ok((tier.to_owned(), gates.iter().map(gate).collect::<Result<_, String>>()?))
}

impl Counts {
    fn of(tier: &str, gates: &[Gate]) -> Result<Counts, String> {
        let benches = |gate: &Gate| [Some(gate.bench.clone()), gate.over.clone(), gate.planted.clone()];
        let names: BTreeSet<String> = gates.iter().flat_map(benches).flatten().collect();
        let known: BTreeMap<String, usize> =
            all(Scale::Large).into_iter().map(|bench| (bench.name, bench.count)).collect();
        if let Some(name) = names.iter().find(|name| !known.contains_key(*name)) {
            return Err(format!("there is no bench {name:?}"));
        }
        let list: Vec<&str> = names.iter().map(String::as_str).collect();
        let counted = count(tier, &Grid::default(), &list).map_err(|problem| problem.to_string())?;
        Ok(Counts { counted: names.into_iter().zip(counted).collect(), entries: known })
    }

    /// Instructions of a bench for one entry.
    fn per_entry(&self, bench: &str) -> f64 {
        self.counted[bench].instructions as f64 / self.entries[bench] as f64
    }

    fn of_gate(&self, gate: &Gate, bench: &str) -> f64 {
        self.per_entry(bench) - gate.over.as_ref().map_or(0.0, |over| self.per_entry(over))
    }

    /// The same by function.
    fn functions(&self, gate: &Gate) -> BTreeMap<String, f64> {
        let mut functions = BTreeMap::new();
        let mut add = |bench: &str, sign: f64| {
            for (name, instructions) in &self.counted[bench].functions {
                *functions.entry(name.clone()).or_insert(0.0) +=
                    sign * *instructions as f64 / self.entries[bench] as f64;
            }
        };
        add(&gate.bench, 1.0);
        if let Some(over) = &gate.over {
            add(over, -1.0);
        }
        functions
    }
}

fn check(gate: &Gate, counts: &Counts) -> bool {
    let found = counts.of_gate(gate, &gate.bench);
    let passes = found <= gate.limit;
    let word = if passes { "ok" } else { "EXCEEDED" };
    println!("{word:8} {}: {found:.2} instructions, at most {:.2}", gate.name, gate.limit);
    if !passes {
        println!("         by function: scripts/bench gates --functions {:?}", gate.name);
    }
    let Some(planted) = &gate.planted else { return passes };
    let with_bug = counts.of_gate(gate, planted);
    let is_caught = with_bug > gate.limit && with_bug >= found + PLANTED - 0.01;
    match is_caught {
        true => println!("         five planted instructions make it {with_bug:.2}, which is refused"),
        false => println!("NO GATE  {}: with five planted instructions {with_bug:.2}, which passes", gate.name),
    }
    passes && is_caught
}

/// Functions now, and by how much they differ from the record of the time when the limit was set.
fn print_functions(gate: &Gate, counts: &Counts) {
    let recorded: Option<Value> = fs::read_to_string(RECORD).ok().and_then(|text| serde_json::from_str(&text).ok());
    let before = recorded.as_ref().and_then(|record| record["gates"].as_array()).and_then(|gates| {
        gates.iter().find(|recorded| recorded["name"] == gate.name.as_str()).map(|recorded| &recorded["functions"])
    });
    let now = counts.functions(gate);
    let was = |name: &str| before.and_then(|functions| functions[name].as_f64()).unwrap_or(0.0);
    let names: BTreeSet<&str> = now.keys().map(String::as_str).chain(before_names(before)).collect();
    let mut rows: Vec<(f64, f64, &str)> =
        names.into_iter().map(|name| (now.get(name).copied().unwrap_or(0.0), was(name), name)).collect();
    rows.sort_by(|a, b| (b.0 - b.1).abs().total_cmp(&(a.0 - a.1).abs()).then(b.0.total_cmp(&a.0)));
    println!("{}: instructions for one entry, by function, beside {RECORD}", gate.name);
    println!("{:>10} {:>10} {:>10}", "now", "recorded", "difference");
    for (now, was, name) in rows.into_iter().take(ROWS) {
        println!("{now:>10.2} {was:>10.2} {:>+10.2}  {name}", now - was);
    }
}

fn before_names(before: Option<&Value>) -> impl Iterator<Item = &str> {
    before.and_then(Value::as_object).into_iter().flat_map(|functions| functions.keys().map(String::as_str))
}

fn record(gate: &Gate, counts: &Counts) -> Value {
    // Functions below a hundredth of an instruction are left out.
    let functions: BTreeMap<String, f64> =
        counts.functions(gate).into_iter().filter(|(_, n)| n.abs() >= 0.01).collect();
    let found = counts.of_gate(gate, &gate.bench);
    json!({"name": gate.name, "bench": gate.bench, "instructions": found, "limit": gate.limit, "functions": functions})
}

/// From the root of the repository, where cargo runs benches.
const FILE: &str = "perf/gates.toml";
const RECORD: &str = "perf/record/gates.json";
const PLANTED: f64 = 5.0;
const ROWS: usize = 25;
