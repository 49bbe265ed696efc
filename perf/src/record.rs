//! What is left of a run: a table for people, a record for machines.

use serde_json::Value;
use serde_json::json;

use sealkv::crypto::aead;

use crate::limit::Limit;
use crate::machine::Machine;
use crate::run::Row;
use crate::watch::FOREIGN_MAX;

/// The record of a run, in which others took so many CPUs.
pub fn record(machine: &Machine, limit: &Limit, rows: &[Row], foreign_cpus: f64) -> Value {
    let mut all: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "impl": row.implementation, "tier": row.tier, "op": row.operation, "size": row.size,
                "batch": row.batch, "ns": round(row.nanoseconds), "spread_percent": round(row.spread_percent),
            })
        })
        .collect();
    let mut sizes: Vec<usize> = rows.iter().filter(|row| row.operation != "name").map(|row| row.size).collect();
    sizes.dedup();
    for mix in &limit.mixes {
        for &size in &sizes {
            let ns = limit.nanoseconds(mix.tier, size).map(round);
            all.push(json!({"impl": "limit", "tier": mix.tier, "op": "seal", "size": size, "batch": 64, "ns": ns}));
        }
    }
    let mixes: Vec<Value> = limit
        .mixes
        .iter()
        .map(|mix| {
            json!({
                "tier": mix.tier, "vector_bytes": mix.bytes, "vector_cycles": round(mix.vector_cycles),
                "shared_cycles": round(mix.shared_cycles),
            })
        })
        .collect();
    json!({
        "bench": "peers crypto", "machine": machine.cpu, "ghz": round(machine.ghz), "commit": machine.commit,
        "date": machine.date, "tier": aead::chosen().name(), "limit": mixes, "rows": all,
        "foreign_cpus": round(foreign_cpus), "busy": foreign_cpus > FOREIGN_MAX,
    })
}

/// The table of one size: nanoseconds for a message, how often ours fits into it, and the share of the CPU's limit.
pub fn print_table(size: usize, rows: &[Row], limit: &Limit) {
    let ours = |operation: &str| {
        let best = rows.iter().find(|row| row.implementation == "sealkv" && row.operation == operation);
        best.map_or(f64::NAN, |row| row.nanoseconds)
    };
    println!("\n{size} B{:28} batch     seal ns  spread  /ours  limit     open ns  spread  /ours  limit", "");
    for pair in rows.chunks(2) {
        let [seal, open] = pair else { continue };
        let name = format!("{} {}{}", seal.implementation, seal.tier, seal.operation.trim_start_matches("seal"));
        print!("{name:<32} {:>5}", seal.batch);
        for (row, operation) in [(seal, "seal"), (open, "open")] {
            let share = limit.nanoseconds(row.tier, size).map(|ns| format!("{:.0} %", ns / row.nanoseconds * 100.0));
            print!(
                "  {:>10.1} {:>5.1} % {:>5.2}x {:>6}",
                row.nanoseconds,
                row.spread_percent,
                row.nanoseconds / ours(operation),
                share.unwrap_or_default()
            );
        }
        println!();
    }
}

/// Three digits behind the point are more than any clock here is worth.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
