//! What is left of a run: tables for people, a record for machines.

use std::time::SystemTime;

use crate::run::Cell;
use crate::run::Measured;
use crate::watch::FOREIGN_MAX;

/// A contestant at one cell: medians of its turns.
pub struct Row {
    name: String,
    cell: Cell,
    median: Measured,
    /// Entries per second of each turn.
    samples: Vec<f64>,
}

impl Row {
    pub fn new(name: String, cell: Cell, turns: &[Measured]) -> Row {
        let of = |value: fn(&Measured) -> f64| median(turns.iter().map(value));
        let median = Measured {
            entries_per_second: of(|it| it.entries_per_second),
            p50_micros: of(|it| it.p50_micros),
            p99_micros: of(|it| it.p99_micros),
            cpu_micros_per_entry: of(|it| it.cpu_micros_per_entry),
            syncs_per_group: of(|it| it.syncs_per_group),
        };
        Row { name, cell, median, samples: turns.iter().map(|it| it.entries_per_second.round()).collect() }
    }

    /// Whether each group had a sync of its own, where none could be shared.
    fn is_synced(&self) -> bool {
        self.cell.in_flight > 1 || self.median.syncs_per_group > 0.99
    }
}

/// One cell; the last column is how much faster the sealed log is.
pub fn print_cell(cell: Cell, rows: &[Row]) {
    let sealed = rows.iter().find(|row| row.name.starts_with(SEALED));
    println!("\n{} x {} B, {} in flight", cell.group, cell.entry_bytes, cell.in_flight);
    println!(
        "{:<24} {:>12} {:>9} {:>9} {:>9} {:>11} {:>12} {:>9}",
        "", "entries/s", "MB/s", "p50 us", "p99 us", "CPU us/entry", "syncs/group", "sealed/it"
    );
    for row in rows {
        let it = &row.median;
        let ratio = sealed.map_or(f64::NAN, |sealed| sealed.median.entries_per_second / it.entries_per_second);
        println!(
            "{:<24} {:>12.0} {:>9.1} {:>9.0} {:>9.0} {:>12.3} {:>12.2} {ratio:>9.2}{}",
            row.name,
            it.entries_per_second,
            it.entries_per_second * cell.entry_bytes as f64 / 1e6,
            it.p50_micros,
            it.p99_micros,
            it.cpu_micros_per_entry,
            it.syncs_per_group,
            if row.is_synced() { "" } else { "  DOES NOT SYNC EACH GROUP" },
        );
    }
}

/// For README: thousands of entries per second, and how long the slowest of a hundred groups took.
pub fn print_summary(rows: &[Row]) {
    let mut cells: Vec<Cell> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !cells.contains(&row.cell) {
            cells.push(row.cell);
        }
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    for in_flight in [1, 4] {
        let cells: Vec<Cell> = cells.iter().copied().filter(|cell| cell.in_flight == in_flight).collect();
        if cells.is_empty() {
            continue;
        }
        let heads: Vec<String> = cells.iter().map(|cell| format!("{} x {} B", cell.group, cell.entry_bytes)).collect();
        println!(
            "\n| {in_flight} in flight | {} |\n| {}",
            heads.join(" | "),
            "--- | ".repeat(cells.len() + 1).trim_end()
        );
        for name in &names {
            let one = |cell: &Cell| {
                let row = rows.iter().find(|row| row.name == *name && row.cell == *cell).expect("all are measured");
                format!("{} ({:.0} us)", thousands(row.median.entries_per_second), row.median.p99_micros)
            };
            let values: Vec<String> = cells.iter().map(one).collect();
            println!("| {name} | {} |", values.join(" | "));
        }
    }
}

/// How a run was.
pub struct How {
    pub rounds: usize,
    /// An endless loop had the same core.
    pub busy_core: bool,
    /// CPUs that others took.
    pub foreign_cpus: f64,
    /// What could not be had here.
    pub missing: Vec<&'static str>,
    /// Nothing is missing, and nothing was left out.
    pub is_whole: bool,
}

/// The record of a run.
pub fn as_json(rows: &[Row], how: &How) -> String {
    let row = |row: &Row| {
        let it = &row.median;
        serde_json::json!({
            "name": row.name, "entry_bytes": row.cell.entry_bytes, "group": row.cell.group,
            "in_flight": row.cell.in_flight, "entries_per_second": it.entries_per_second.round(),
            "p50_micros": round(it.p50_micros), "p99_micros": round(it.p99_micros),
            "cpu_micros_per_entry": round(it.cpu_micros_per_entry), "syncs_per_group": round(it.syncs_per_group),
            "samples": row.samples,
        })
    };
    let rows: Vec<String> = rows.iter().map(|it| row(it).to_string()).collect();
    let head = serde_json::json!({
        "bench": "peers log", "commit": std::env::var("SEALKV_COMMIT").unwrap_or_default(), "cpu": cpu(),
        "unix_seconds": SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        "rounds": how.rounds, "busy_core": how.busy_core, "foreign_cpus": round(how.foreign_cpus),
        "busy": how.foreign_cpus > FOREIGN_MAX, "missing": how.missing, "complete": how.is_whole,
    });
    let head = head.to_string();
    format!("{},\"rows\":[\n{}\n]}}\n", head.trim_end_matches('}'), rows.join(",\n"))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).unwrap_or_default().trim().to_owned()
    };
    format!("{} (family {} model {})", field("model name"), field("cpu family"), field("model"))
}

/// 12,345,678.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

const SEALED: &str = "sealkv sealed";
