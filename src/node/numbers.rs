//! The node's numbers: lines for INFO, metrics for Prometheus, and whether it is ready.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use prometheus::proto::MetricFamily;

use crate::apply::halt::HaltClass;
use crate::apply::metrics::Metrics;
use crate::crypto::aead;
use crate::fsm::name::Database;
use crate::ids::Index;
use crate::keys::identity::Identity;
use crate::keys::node_keys::KeysAt;
use crate::keys::node_keys::NodeKeys;
use crate::limits::KEYRING_KEYS_MAX;
use crate::node::families::Families;
use crate::node::link_numbers::link_line;
use crate::node::link_numbers::link_metrics;
use crate::node::log_lines;
use crate::node::memory_numbers::MemoryNumbers;
use crate::node::ports::LogReports;
use crate::node::ports::StatusCell;
use crate::node::process;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::node::watch_facts::WatchFacts;
use crate::peers::PeerStatus;
use crate::peers::Peers;
use crate::propose::AppliedFacts;
use crate::propose::KeyCount;
use crate::propose::KeyCounts;
use crate::resp::DatabaseKeys;
use crate::resp::FactSection;
use crate::resp::NodeFacts;
use crate::resp::Role;
use crate::resp::Stats;
use crate::wal::LogSpace;

/// Everything that INFO and the metrics read.
pub struct NodeNumbers {
    /// Who this node is.
    pub identity: Identity,
    /// Which engine the log runs on.
    pub log_engine: &'static str,
    /// Whether its frames are sealed.
    pub is_log_sealed: bool,
    /// The raft thread's view.
    pub status: Arc<StatusCell>,
    /// Apply's counters.
    pub apply: Arc<Metrics>,
    /// The clients' counters.
    pub clients: Arc<Stats>,
    /// The keys.
    pub node_keys: Arc<NodeKeys>,
    /// The log's free space.
    pub space: Arc<LogSpace>,
    /// The log's times.
    pub log: Arc<LogReports>,
    /// How many members have a vote.
    pub voters: Arc<AtomicUsize>,
    /// The clock of the stamps.
    pub facts: Arc<AppliedFacts>,
    /// Whether the node still moves.
    pub(crate) watch: WatchFacts,
    /// What the databases hold.
    pub keys: Arc<KeyCounts>,
    /// Expired keys that the walk had removed.
    pub expired: Arc<AtomicU64>,
    /// Bytes of files of the state that merging has replaced, which are still on the disk.
    pub dropped_bytes: Arc<AtomicU64>,
    /// Of snapshots given and fetched.
    pub(crate) snapshots: Arc<SnapshotNumbers>,
    /// Turns true when the replay is done.
    pub is_serving: AtomicBool,
    /// What each part holds in memory, and may.
    pub(crate) memory: MemoryNumbers,
    /// The tier that a key gets on this machine.
    pub aead_tier: &'static str,
    /// The way to the other members; nothing on a node that is alone.
    pub(crate) peers: Option<Weak<Peers>>,
}

impl NodeNumbers {
    /// The tier of the AEAD on this machine.
    #[must_use]
    pub fn tier() -> &'static str {
        aead::key(&[0; aead::KEY_LEN]).tier()
    }

    /// Why clients are not served now; empty means ready.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.is_serving.load(Relaxed) {
            reasons.push("the log is being replayed".to_owned());
        }
        if self.status.load().leader == 0 {
            reasons.push("no leader is known".to_owned());
        }
        if HaltClass::ALL.iter().any(|class| self.apply.halts(*class) > 0) {
            reasons.push("halted".to_owned());
        }
        if self.log.is_stalled() {
            reasons.push("the log is full".to_owned());
        }
        reasons.extend(self.watch.not_ready());
        reasons
    }

    /// Every metric as of now.
    #[must_use]
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let mut out = Families::default();
        out.labeled("sealkv_build_info", "Version of this binary", ("version", env!("CARGO_PKG_VERSION")), 1);
        self.raft_metrics(&mut out);
        self.clock_metrics(&mut out);
        self.apply_metrics(&mut out);
        self.client_metrics(&mut out);
        self.memory.show(&mut out);
        link_metrics(&self.links(), &mut out);
        self.log_and_key_metrics(&mut out);
        self.snapshots.show(&mut out);
        out.counter("sealkv_log_lines_dropped_total", "Log lines that nobody took in time", log_lines::dropped());
        let mut families = out.into_vec();
        families.extend(prometheus::gather());
        families
    }

    fn links(&self) -> Vec<PeerStatus> {
        self.peers.as_ref().and_then(Weak::upgrade).map(|peers| peers.status()).unwrap_or_default()
    }

    fn encryption(&self, view: &KeysAt) -> &'static str {
        match (self.is_log_sealed, view.keyring().map(|keyring| keyring.cutover())) {
            (false, _) => "off",
            (true, Some(cutover)) if cutover != Index::NEVER => "on",
            (true, _) => "ready",
        }
    }
}

impl NodeFacts for NodeNumbers {
    fn lines(&self, section: FactSection) -> Vec<(&'static str, String)> {
        let status = self.status.load();
        match section {
            FactSection::Server => vec![("run_id", run_id(&self.identity)), ("executable", "sealkv".to_owned())],
            FactSection::Stats => {
                let expired = load(&self.expired) + load(&self.clients.past_due_total);
                vec![("expired_keys", expired.to_string())]
            }
            FactSection::Cpu => cpu_lines(),
            FactSection::Memory => self.memory.lines(),
            FactSection::Persistence => vec![("rdb_changes_since_last_save", "0".to_owned())],
            FactSection::Replication => vec![
                ("master_replid", format!("{:0>40}", self.identity.cluster.to_string())),
                ("raft_term", status.term.to_string()),
                ("raft_leader", status.leader.to_string()),
                ("raft_committed_index", status.committed.to_string()),
                ("raft_persisted_index", status.persisted.to_string()),
                ("peer_links", link_line(&self.links())),
            ],
            FactSection::Sealkv => self.sealkv_lines(),
        }
    }

    fn role(&self) -> Role {
        if self.status.load().is_leader { Role::Leader } else { Role::Follower }
    }

    fn voters(&self) -> usize {
        self.voters.load(Relaxed)
    }

    fn applied_index(&self) -> u64 {
        self.apply.applied_index.load(Relaxed)
    }

    fn keyspace(&self) -> Vec<DatabaseKeys> {
        let of = |database: Database| {
            let KeyCount { keys, expires, left_ms } = self.keys.of(database);
            let ttl_ms = left_ms.checked_div(expires).unwrap_or(0);
            DatabaseKeys { number: database.number(), keys, expires, ttl_ms }
        };
        Database::all().map(of).filter(|database| database.keys > 0).collect()
    }

    fn is_loading(&self) -> bool {
        !self.is_serving.load(Relaxed)
    }
}

impl NodeNumbers {
    fn sealkv_lines(&self) -> Vec<(&'static str, String)> {
        let view = self.node_keys.current();
        let mut lines = vec![
            ("node_id", self.identity.node.to_string()),
            ("cluster_id", self.identity.cluster.to_string()),
            ("encryption", self.encryption(&view).to_owned()),
            ("aead_tier", self.aead_tier.to_owned()),
            ("log_engine", self.log_engine.to_owned()),
            ("log_sealed", u8::from(self.is_log_sealed).to_string()),
            ("log_pool_bytes", self.space.pool_bytes().to_string()),
            ("log_free_bytes", self.space.available_bytes().to_string()),
            ("log_slowest_sync_micros", self.log.slowest_sync_micros().to_string()),
            ("applied_index", self.apply.applied_index.load(Relaxed).to_string()),
            ("flushed_index", self.apply.flushed_index.load(Relaxed).to_string()),
            ("clock_lead_ms", self.facts.stamps().lead_ms().to_string()),
        ];
        if let Some(keyring) = view.keyring() {
            if keyring.is_sealing() {
                lines.push(("cutover_index", keyring.cutover().to_string()));
            }
            lines.push(("active_entry_key", keyring.active_entry().id.to_string()));
            lines.push(("active_value_key", keyring.active_value().id.to_string()));
        }
        lines
    }

    fn raft_metrics(&self, out: &mut Families) {
        let status = self.status.load();
        out.gauge("sealkv_raft_has_leader", "1 if a leader is known", u64::from(status.leader != 0));
        out.gauge("sealkv_raft_is_leader", "1 if this node leads", u64::from(status.is_leader));
        out.gauge("sealkv_raft_term", "Current term", status.term.0);
        out.gauge("sealkv_raft_committed_index", "Newest committed index", status.committed.0);
        out.gauge("sealkv_raft_persisted_index", "Newest index durable in this node's log", status.persisted.0);
        out.gauge("sealkv_raft_applied_index", "Newest applied index", load(&self.apply.applied_index));
        out.gauge("sealkv_raft_flushed_index", "Applied index durable in the state", load(&self.apply.flushed_index));
    }

    fn clock_metrics(&self, out: &mut Families) {
        let stamps = self.facts.stamps();
        out.gauge_seconds(
            "sealkv_clock_lead_seconds",
            "By how much stamps lead the wall clock, from 1 s on",
            stamps.lead_ms(),
        );
        out.gauge_seconds(
            "sealkv_clock_jump_seconds",
            "By how much the wall clock is ahead unfollowed",
            stamps.jump_ms(),
        );
    }

    fn apply_metrics(&self, out: &mut Families) {
        let apply = &self.apply;
        out.counter("sealkv_apply_runs_total", "Runs, each published in one step", load(&apply.runs));
        out.counter("sealkv_expired_keys_total", "Expired keys that nobody touched, removed", load(&self.expired));
        out.counter("sealkv_apply_entries_total", "Entries applied", load(&apply.entries));
        out.counter("sealkv_opened_entries_total", "Entries opened", load(&apply.opened_entries));
        out.counter("sealkv_opened_bytes_total", "Bytes of envelopes opened", load(&apply.opened_bytes));
        out.counter("sealkv_sealed_values_total", "Stored values sealed", load(&apply.sealed_values));
        out.counter("sealkv_apply_flushes_total", "Flushes of the state", load(&apply.flushes));
        if let Some(pressure) = self.memory.tables.pressure() {
            out.gauge("sealkv_state_level0_files", "Files of flushes that are not merged yet", pressure.level0_files);
            out.gauge("sealkv_state_pending_bytes", "Estimate of what merging must rewrite", pressure.pending_bytes);
            out.gauge("sealkv_state_table_bytes", "Bytes of all files of rows", pressure.table_bytes);
        }
        let dropped = load(&self.dropped_bytes);
        out.gauge("sealkv_state_dropped_bytes", "Bytes of replaced files that are still on the disk", dropped);
        let failed = load(&apply.failed_flushes);
        out.counter("sealkv_apply_failed_flushes_total", "Flushes whose file could not be written", failed);
        let stages = [("open", &apply.open_nanos), ("run", &apply.run_nanos), ("commit", &apply.commit_nanos)];
        for (stage, nanos) in stages {
            out.seconds("sealkv_apply_seconds_total", STAGES_HELP, ("stage", stage), load(nanos));
        }
        for class in HaltClass::ALL {
            out.labeled(
                "sealkv_apply_halted",
                "1 if the node halted for this cause",
                ("cause", class.word()),
                apply.halts(class),
            );
        }
    }

    fn client_metrics(&self, out: &mut Families) {
        let clients = &self.clients;
        out.gauge("sealkv_connected_clients", "Connections now", clients.connected_clients.load(Relaxed) as u64);
        out.gauge("sealkv_client_memory_bytes", "Memory that clients hold", clients.buffer_bytes.load(Relaxed) as u64);
        out.gauge("sealkv_client_memory_limit_bytes", "Memory that clients may hold", self.memory.plan.client_bytes);
        out.gauge(
            "sealkv_unauthenticated_clients",
            "Connections without the password",
            clients.unauthenticated_clients.load(Relaxed) as u64,
        );
        let closed = load(&clients.connections_closed_total);
        out.counter("sealkv_connections_closed_total", "Connections closed for a bound or a protocol error", closed);
        out.counter(
            "sealkv_keys_expired_by_reads_total",
            "Expired keys that a read removed",
            load(&clients.past_due_total),
        );
        out.counter("sealkv_connections_total", "Connections accepted", load(&clients.connections_total));
        out.counter(
            "sealkv_connections_rejected_total",
            "Connections refused",
            load(&clients.connections_rejected_total),
        );
        out.counter(
            "sealkv_handshakes_failed_total",
            "Connections with TLS whose handshake failed",
            load(&clients.handshakes_failed_total),
        );
        out.counter("sealkv_client_input_bytes_total", "Bytes received", load(&clients.input_bytes_total));
        out.counter("sealkv_client_output_bytes_total", "Bytes sent", load(&clients.output_bytes_total));
        out.counter("sealkv_error_replies_total", "Error replies", load(&clients.error_replies_total));
        out.counter("sealkv_try_again_total", "Requests answered with TRYAGAIN", load(&clients.try_again_total));
        out.counter(
            "sealkv_outcomes_unknown_total",
            "Connections closed for an unknown outcome",
            load(&clients.outcomes_unknown_total),
        );
        out.counter(
            "sealkv_read_errors_total",
            "Reads of values that could not be read",
            load(&clients.read_errors_total),
        );
        out.counter("sealkv_keyspace_hits_total", "Keys looked up and there", load(&clients.hits_total));
        out.counter("sealkv_keyspace_misses_total", "Keys looked up and not there", load(&clients.misses_total));
        out.counter("sealkv_evicted_keys_total", "Keys evicted: none, ever", 0);
        out.counter("sealkv_wrong_passwords_total", "Wrong passwords", load(&clients.auth_failures_total));
        for call in clients.commands().filter(|call| call.calls + call.refused > 0) {
            let label = ("command", call.name);
            out.labeled_counter("sealkv_commands_total", "Commands run", label, call.calls);
            out.labeled_counter(
                "sealkv_commands_refused_total",
                "Commands refused before they ran",
                label,
                call.refused,
            );
            let nanos = call.micros.saturating_mul(1000);
            out.seconds("sealkv_command_seconds_total", "Time that clients waited, by command", label, nanos);
        }
        let (buckets, micros) = clients.batches();
        out.histogram_micros(
            "sealkv_batch_seconds",
            "Time of batches: what a client had ready at once",
            &buckets,
            micros,
        );
    }

    fn log_and_key_metrics(&self, out: &mut Families) {
        out.gauge("sealkv_wal_pool_bytes", "Bytes of all slots of the log", self.space.pool_bytes());
        out.gauge("sealkv_wal_free_bytes", "Bytes the log still takes", self.space.available_bytes());
        out.gauge("sealkv_wal_free_slots", "Slots of the log that hold nothing", self.space.free_slots());
        out.gauge("sealkv_wal_slowest_sync_micros", "Longest sync so far", self.log.slowest_sync_micros());
        let (buckets, micros) = self.log.sync_times();
        out.histogram_micros("sealkv_wal_sync_seconds", SYNCS_HELP, &buckets, micros);
        let counts = self.log.counts();
        out.counter("sealkv_wal_appends_total", "Groups of raft and trims that were put into frames", counts.appends);
        out.counter("sealkv_wal_frames_total", "Frames written to the log", counts.frames);
        out.counter("sealkv_wal_syncs_total", "Syncs of the log's frames", counts.syncs);
        for (part, bytes) in self.watch.free_bytes() {
            out.labeled(
                "sealkv_disk_free_bytes",
                "Free bytes of the disk, by part of the directory",
                ("part", part),
                bytes,
            );
        }
        let view = self.node_keys.current();
        out.labeled("sealkv_backend_info", "AEAD tier in use", ("backend", self.aead_tier), 1);
        out.labeled("sealkv_encryption_info", "Mode of encryption", ("mode", self.encryption(&view)), 1);
        if let Some(keyring) = view.keyring() {
            let cutover = keyring.cutover();
            if cutover != Index::NEVER {
                out.gauge("sealkv_encryption_cutover_index", "Index above which entries are sealed", cutover.0);
            }
            let applied = load(&self.apply.applied_index);
            for (purpose, dek) in [("entry", keyring.active_entry()), ("value", keyring.active_value())] {
                let label = ("purpose", purpose);
                out.labeled("sealkv_active_key_id", "Active data key", label, u64::from(dek.id.value()));
                let age = applied.saturating_sub(dek.active_from.0);
                out.labeled("sealkv_active_key_age_entries", "Log entries since the key is active", label, age);
            }
            out.gauge("sealkv_keys_made", "Data keys made so far", keyring.deks().count() as u64);
            out.gauge("sealkv_keys_max", "Data keys that the keyring holds over its life", KEYRING_KEYS_MAX as u64);
        }
    }
}

/// Forty hexadecimal digits, as Redis has them; of the node, not of the process.
fn run_id(identity: &Identity) -> String {
    format!("{:0>40}", identity.node.to_string())
}

/// Of syncs that end together the longest is counted.
const SYNCS_HELP: &str = "Time of syncs of the log, of each turn of its thread the longest";
/// Another thread opens what is to be run next.
const STAGES_HELP: &str =
    "Time spent applying, by stage; open goes on beside run, so they do not add up to a thread's time";

fn cpu_lines() -> Vec<(&'static str, String)> {
    process::cpu_seconds().map_or_else(Vec::new, |(user, system)| {
        vec![("used_cpu_sys", format!("{system:.6}")), ("used_cpu_user", format!("{user:.6}"))]
    })
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}
