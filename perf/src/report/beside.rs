//! Records of `peers node` and `peers cluster` as tables: what each server did, and how much of what the peer did in the same round.

use std::fmt::Write as _;

use serde_json::Value;

use crate::chart::short;
use crate::statistics::interval;
use crate::statistics::median;
use crate::table::Table;
use crate::table::number;
use crate::table::word;

/// All tables of a record; none of a record of another kind.
pub fn tables(record: &Value) -> Vec<Table> {
    let is_peers = record["bench"].as_str().is_some_and(|bench| bench.starts_with("peers"));
    let Some(rows) = record["rows"].as_array().filter(|_| is_peers) else { return Vec::new() };
    let all = [servers(rows), pairs(record), at_rate(&record["at_rate"]), syncs(record)];
    all.into_iter().filter(|table| !table.is_empty()).collect()
}

fn servers(rows: &[Value]) -> Table {
    let peer = PEERS.iter().find(|(name, _)| rows.iter().any(|row| row["impl"] == *name && is_measured(row)));
    let (name, shown) = peer.copied().unwrap_or(("", "nobody"));
    let line = |row: &Value| match row["missing"].as_str() {
        Some(install) => vec![format!("{} is missing: {install}", word(row, "impl"))],
        None => vec![
            word(row, "impl"),
            word(row, "op"),
            row["clients"].to_string(),
            row["pipeline"].to_string(),
            row["requests_per_second"].as_f64().map_or("-".to_owned(), short),
            number(row, "p99_micros", 0),
            number(row, "cpu_micros_per_request", 2),
            beside(row, rows, name),
        ],
    };
    let of_peer = format!("of {shown}");
    let head = ["server", "op", "clients", "pipeline", "requests/s", "p99 us", "CPU us each", &of_peer];
    let whole = |mut cells: Vec<String>| {
        cells.resize(head.len(), String::new());
        cells
    };
    Table::new("Medians", &head, rows.iter().map(line).map(whole).collect())
}

/// Its requests a second by those of the peer in the same round: of the same load, or else of what the peer was asked.
fn beside(row: &Value, rows: &[Value], peer: &str) -> String {
    let is_of = |other: &&Value| other["impl"] == peer && other["op"] == row["op"];
    let is_alike = |other: &&Value| other["clients"] == row["clients"] && other["pipeline"] == row["pipeline"];
    let of_peer = || rows.iter().filter(is_of);
    let Some(other) = of_peer().find(is_alike).or_else(|| of_peer().next()) else { return "-".to_owned() };
    let ratios: Vec<f64> = samples(row).iter().zip(samples(other)).map(|(own, theirs)| own / theirs).collect();
    if ratios.is_empty() {
        return "-".to_owned();
    }
    let (lower, upper) = interval(&ratios);
    format!("{:.2} ({lower:.2} to {upper:.2})", median(&ratios))
}

fn pairs(record: &Value) -> Table {
    let line = |pair: &Value| {
        let ratio =
            format!("{} ({} to {})", number(pair, "median", 3), number(pair, "lower", 3), number(pair, "upper", 3));
        vec![
            word(pair, "op"),
            pair["clients"].to_string(),
            pair["pipeline"].to_string(),
            pair["pairs"].to_string(),
            ratio,
        ]
    };
    let rows = record["sealed_by_nil"].as_array().into_iter().flatten().map(line).collect();
    let length =
        record["pair_seconds"].as_u64().map_or(String::new(), |seconds| format!(" (SETs for {seconds} s each)"));
    let starts = match record["sealed_by_nil"][0]["pairs_of_a_start"].as_u64() {
        None => String::new(),
        Some(1) => ", of new processes each".to_owned(),
        Some(pairs) => format!(", of new processes every {pairs} pairs: their pairs share the luck of a process"),
    };
    let title = format!("Sealed beside nil, in pairs{length}, one right after the other{starts}");
    Table::new(title, &["op", "clients", "pipeline", "pairs", "sealed / nil"], rows)
}

/// How long writes took at one rate, an open loop.
fn at_rate(found: &Value) -> Table {
    let rate = short(found["rate"].as_f64().unwrap_or(f64::NAN));
    let title = format!("{} at {rate} a second, an open loop of {} clients", word(found, "op"), found["clients"]);
    let numbers = ["p50_micros", "p99_micros", "p999_micros"];
    let line = |row: &Value| {
        let cells = numbers.iter().map(|name| number(row, name, 0));
        std::iter::once(word(row, "impl")).chain(cells).collect()
    };
    let rows = found["rows"].as_array().into_iter().flatten().map(line).collect();
    Table::new(title, &["server", "p50 us", "p99 us", "p99.9 us"], rows)
}

/// That each of them syncs while it is written to.
fn syncs(record: &Value) -> Table {
    let line = |(name, found): (&String, &Value)| {
        let rate = found["per_second"].as_f64().map_or("not counted".to_owned(), |rate| format!("{rate:.0}"));
        vec![name.clone(), rate, word(found, "shown_by")]
    };
    let rows = record["syncs"].as_object().into_iter().flatten().map(line).collect();
    Table::new("Syncs under SETs", &["server", "a second", "shown by"], rows)
}

/// What else its reader has to know.
pub fn notes(record: &Value) -> impl Iterator<Item = &str> {
    record["notes"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The same as Markdown, with what else its reader has to know.
pub fn markdown(record: &Value) -> String {
    let mut text: String = tables(record).iter().map(Table::markdown).collect();
    for note in notes(record) {
        let _ = writeln!(text, "\n{note}");
    }
    text
}

fn is_measured(row: &Value) -> bool {
    row["missing"].is_null()
}

fn samples(row: &Value) -> Vec<f64> {
    row["samples"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Whom the others are measured against, the first of them that is there, and how it is written.
const PEERS: [(&str, &str); 3] = [("redis", "Redis"), ("valkey", "Valkey"), ("etcd", "etcd")];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(name: &str, pipeline: u64, samples: &[f64]) -> Value {
        json!({"impl": name, "op": "set", "clients": 50, "pipeline": pipeline, "requests_per_second": median(samples),
               "p99_micros": 12.0, "samples": samples})
    }

    /// The lines of the first table, as cells.
    fn cells(record: &Value) -> Vec<Vec<String>> {
        let text = markdown(record);
        let lines = text.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
    }

    #[test]
    fn each_server_stands_beside_the_peer_in_the_same_round_and_under_its_name() {
        let record = json!({"bench": "peers node", "rows": [
            row("sealed", 16, &[300.0, 200.0, 100.0]), row("redis", 1, &[1.0, 1.0, 1.0]), row("redis", 16, &[100.0, 100.0, 100.0]),
            {"impl": "valkey", "missing": "apt-get install valkey-server"},
        ]});
        let cells = cells(&record);
        assert_eq!(cells[0].last().unwrap(), "of Redis");
        assert_eq!(cells[2].last().unwrap(), "2.00 (1.00 to 3.00)");
        assert_eq!(cells[4].last().unwrap(), "1.00 (1.00 to 1.00)");
        assert_eq!(cells[5][0], "valkey is missing: apt-get install valkey-server");
        assert!(cells[0].iter().all(|name| name != "CPU us each"), "nobody counted it: {cells:?}");
        let page: String = tables(&record).iter().map(Table::html).collect();
        assert!(page.contains("<th>of Redis</th>") && page.contains("<td>2.00 (1.00 to 3.00)</td>"), "{page}");
    }

    #[test]
    fn a_peer_with_one_load_stands_beside_all_and_without_a_peer_there_is_no_such_column() {
        let mut record = json!({"bench": "peers cluster", "notes": ["by JSON"], "rows": [
            row("sealkv, pipeline 16", 16, &[90.0]), row("etcd", 1, &[30.0]),
        ]});
        assert_eq!(cells(&record)[0].last().unwrap(), "of etcd");
        assert_eq!(cells(&record)[2].last().unwrap(), "3.00 (3.00 to 3.00)");
        assert!(markdown(&record).ends_with("\nby JSON\n"));
        record["rows"][1] = json!({"impl": "etcd", "missing": "apt-get install etcd-server"});
        assert_eq!(cells(&record)[0].last().unwrap(), "p99 us");
    }
}
