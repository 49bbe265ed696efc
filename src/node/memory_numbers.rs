//! What each part of the node holds in memory, beside what it may: for INFO and for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::apply::table_gauge::TableGauge;
use crate::node::families::Families;
use crate::node::memory::MemoryPlan;
use crate::node::ports::StatusCell;
use crate::node::process;
use crate::resp::Stats;

/// Where the numbers come from.
pub(crate) struct MemoryNumbers {
    pub(crate) plan: MemoryPlan,
    pub(crate) tables: TableGauge,
    pub(crate) clients: Arc<Stats>,
    pub(crate) status: Arc<StatusCell>,
}

debug_fields!(self: MemoryNumbers { plan: self.plan });

/// One part: its name in INFO, its label, what it holds.
type MemoryPart = (&'static str, &'static str, u64);

impl MemoryNumbers {
    /// What is counted. The program itself and what RocksDB takes while it merges are not: they do not grow.
    fn parts(&self) -> [MemoryPart; 8] {
        let (tables, base) = self.tables.load();
        [
            ("memory_table_bytes", "table", tables.table_bytes),
            ("memory_frozen_table_bytes", "frozen", tables.frozen_bytes),
            ("memory_kept_rows_bytes", "kept", tables.kept_bytes),
            ("memory_dropping_bytes", "dropping", tables.dropping_bytes),
            ("memory_cache_bytes", "cache", base.cache_bytes),
            ("memory_rocksdb_bytes", "rocksdb", base.memtable_bytes + base.reader_bytes),
            ("memory_clients_bytes", "clients", self.clients.buffer_bytes.load(Relaxed) as u64),
            ("memory_entries_bytes", "entries", self.status.load().entry_bytes),
        ]
    }

    /// For INFO memory: under the names that `redis-cli --stat` and exporters read, then part by part. `maxmemory` is no limit of
    /// the data, which lives on disk.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = process_lines();
        let parts = self.parts();
        let tables: u64 = parts[..4].iter().map(|(.., bytes)| bytes).sum();
        lines.push(("table_bytes", tables.to_string()));
        lines.extend(parts.iter().map(|(name, _, bytes)| (*name, bytes.to_string())));
        lines.push(("memory_counted_bytes", sum(&parts).to_string()));
        lines.push(("memory_limit_bytes", self.plan.all_bytes.to_string()));
        lines
    }

    /// For Prometheus.
    pub(crate) fn show(&self, out: &mut Families) {
        let parts = self.parts();
        for (_, part, bytes) in parts {
            out.labeled("sealkv_memory_bytes", "Memory that a part of the node holds", ("part", part), bytes);
        }
        out.gauge("sealkv_memory_counted_bytes", "Memory that all these parts hold", sum(&parts));
        out.gauge("sealkv_memory_limit_bytes", "Memory that the node may take", self.plan.all_bytes);
        let limits = [
            ("fixed", self.plan.fixed_bytes),
            ("tables", self.plan.table_bytes),
            ("kept", self.plan.kept_bytes),
            ("cache", self.plan.cache_bytes),
            ("clients", self.plan.client_bytes),
            ("entries", self.plan.entry_bytes),
        ];
        for (part, bytes) in limits {
            out.labeled("sealkv_memory_part_limit_bytes", "Share of a part of the node", ("part", part), bytes);
        }
    }
}

fn sum(parts: &[MemoryPart]) -> u64 {
    parts.iter().map(|(.., bytes)| bytes).sum()
}

/// What the process holds in memory.
fn process_lines() -> Vec<(&'static str, String)> {
    let Some(bytes) = process::resident_bytes() else {
        return Vec::new();
    };
    let human = |bytes: u64| format!("{:.2}M", bytes as f64 / f64::from(1 << 20));
    let mut lines = vec![
        ("used_memory", bytes.to_string()),
        ("used_memory_human", human(bytes)),
        ("used_memory_rss", bytes.to_string()),
    ];
    if let Some(peak) = process::peak_bytes() {
        lines.extend([("used_memory_peak", peak.to_string()), ("used_memory_peak_human", human(peak))]);
    }
    if let Some(total) = process::machine_bytes() {
        lines.extend([("total_system_memory", total.to_string()), ("total_system_memory_human", human(total))]);
    }
    lines
}
