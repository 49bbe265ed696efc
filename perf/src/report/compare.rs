//! `scripts/bench compare A B`: what changed between two records beyond their noise.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::read_record;

/// One number of a record with the range in which its samples lie.
struct Reading {
    value: f64,
    lower: f64,
    upper: f64,
}

/// `A B [--across]`.
pub fn run(words: &[&str]) -> Result<(), String> {
    let (files, flags): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| !word.starts_with("--"));
    let [a, b] = files[..] else {
        return Err("usage: scripts/bench compare RECORD RECORD [--across]".to_owned());
    };
    if let Some(flag) = flags.iter().find(|flag| **flag != "--across") {
        return Err(format!("unknown option {flag}: expected --across"));
    }
    let (a, b) = (read_record(Path::new(a))?, read_record(Path::new(b))?);
    for line in compare(&a, &b, !flags.is_empty())? {
        println!("{line}");
    }
    Ok(())
}

/// The lines that a person reads; an error if the records are not of one kind and one class of CPU.
fn compare(a: &Value, b: &Value, is_across: bool) -> Result<Vec<String>, String> {
    if a["bench"] != b["bench"] {
        return Err(format!("one record is of {}, the other of {}", a["bench"], b["bench"]));
    }
    let (class_a, class_b) = (class(a), class(b));
    if class_a != class_b && !is_across {
        return Err(format!(
            "the records are of different classes of CPU ({class_a}; {class_b}): --across compares them all the same"
        ));
    }
    let mut lines = Vec::new();
    for (name, record) in [("first", a), ("second", b)] {
        if record["busy"] == true {
            lines.push(format!(
                "the {name} record was made on a busy machine: {} CPUs of others",
                record["foreign_cpus"]
            ));
        }
    }
    let (before, after) = (readings(a), readings(b));
    let mut changes = 0;
    for (name, new) in &after {
        let Some(old) = before.get(name) else {
            lines.push(format!("new      {name}"));
            continue;
        };
        let is_apart = new.lower > old.upper || new.upper < old.lower;
        let change = new.value / old.value - 1.0;
        if is_apart && change.abs() > NOISE {
            changes += 1;
            lines.push(format!("{:+7.1} %  {name}: {:.1} -> {:.1}", change * 100.0, old.value, new.value));
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    lines.extend(gone.map(|name| format!("gone     {name}")));
    lines.push(format!("{changes} of {} numbers changed beyond the noise", after.len()));
    Ok(lines)
}

fn class(record: &Value) -> String {
    let machine = &record["machine"];
    // Older records name the CPU only.
    match machine["class"].as_str() {
        Some(class) => format!("{class}, {}", machine["tier"].as_str().unwrap_or("?")),
        None => machine.as_str().or(record["cpu"].as_str()).unwrap_or("unknown").to_owned(),
    }
}

fn readings(record: &Value) -> BTreeMap<String, Reading> {
    let mut readings = BTreeMap::new();
    let list = |name: &str| record[name].as_array().cloned().unwrap_or_default();
    for stage in list("stages") {
        let text = |key: &str| stage[key].as_str().unwrap_or("?").to_owned();
        let name = format!(
            "{} {} {} size={} batch={}",
            text("direction"),
            text("stage"),
            text("cipher"),
            stage["size"],
            stage["batch"]
        );
        let number = |key: &str| stage[key].as_f64().unwrap_or(f64::NAN);
        let time = Reading { value: number("nanoseconds"), lower: number("lower"), upper: number("upper") };
        readings.insert(format!("{name}, ns"), time);
        if let Some(count) = stage["instructions"].as_f64() {
            readings.insert(format!("{name}, instructions"), Reading { value: count, lower: count, upper: count });
        }
    }
    for row in list("scenarios") {
        let name = format!("{} {} {}", row["scenario"], row["op"], row["load"]).replace('"', "");
        let rate = &row["requests_per_second"];
        let number = |key: &str| rate[key].as_f64().unwrap_or(f64::NAN);
        let reading = Reading { value: number("median"), lower: number("lower"), upper: number("upper") };
        readings.insert(format!("{name}, requests/s"), reading);
    }
    for point in list("curves") {
        for cipher in ["nil", "sealed"] {
            let name =
                format!("{} {} {} {cipher}, requests/s", point["axis"], point["value"], point["op"]).replace('"', "");
            let value = point[cipher].as_f64().unwrap_or(f64::NAN);
            // A median of three: a tenth around it is what a shared machine moves.
            readings.insert(name, Reading { value, lower: value * 0.9, upper: value * 1.1 });
        }
    }
    readings
}

/// Below this share nothing is called a change.
const NOISE: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(class: &str, ns: f64) -> Value {
        json!({"bench": "overhead", "machine": {"class": class, "tier": "vaes256"}, "stages": [{
            "direction": "write", "stage": "seal", "cipher": "sealed", "size": 64, "batch": 16,
            "nanoseconds": ns, "lower": ns * 0.95, "upper": ns * 1.05, "instructions": 100,
        }]})
    }

    #[test]
    fn different_classes_of_cpu_are_refused_unless_told() {
        let (a, b) = (record("AMD 25/1", 100.0), record("Intel 6/207", 100.0));
        let refused = compare(&a, &b, false).unwrap_err();
        assert!(refused.contains("AMD 25/1") && refused.contains("--across"), "{refused}");
        assert!(compare(&a, &b, true).is_ok());
    }

    #[test]
    fn a_change_counts_only_beyond_the_noise() {
        let of = |ns| compare(&record("x", 100.0), &record("x", ns), false).unwrap();
        assert_eq!(of(104.0), ["0 of 2 numbers changed beyond the noise"]);
        let changed = of(150.0);
        assert!(changed[0].contains("+50.0 %") && changed[0].contains("write seal sealed size=64"), "{changed:?}");
        assert_eq!(changed[1], "1 of 2 numbers changed beyond the noise");
    }
}
