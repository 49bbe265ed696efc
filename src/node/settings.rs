//! What a user writes: TOML file < environment `SEALKV_*` < flags, gathered in one [`Settings`].
//!
//! One struct names every setting once, for the file, the environment and the command line; an unknown name in the file
//! or in the environment is an error that names it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Deserialize;

use crate::crypto::aead::TierChoice;
use crate::crypto::aead::TierError;
use crate::node::words::ByteSize;
use crate::node::words::LogFilter;
use crate::node::words::TlsAuthClients;
use crate::node::words::address;
use crate::node::words::address_in_file;
use crate::node::words::count;
use crate::node::words::is_of_a_service;

/// What the node seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// No KEK, no log key, nil cipher.
    Off,
    /// The log's frames are sealed, entries only from an operator's cutover on.
    Ready,
    /// Every entry is sealed from the first one.
    On,
}

/// How the log reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogEngine {
    /// io_uring where a trial write through it works, plain system calls otherwise.
    Auto,
    /// io_uring, or the node does not start.
    Uring,
    /// Plain system calls.
    Plain,
}

/// How the node's own log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Every setting as a user may give it; the same names in the file, as `SEALKV_NAME`, and as `--name`.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Directory of this node's data; made if missing
    #[arg(long, env = "SEALKV_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for clients (Redis protocol); port 0 takes a free one and logs it [default: 127.0.0.1:6379]
    #[arg(long, env = "SEALKV_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    #[serde(default, deserialize_with = "address_in_file")]
    pub listen: Option<SocketAddr>,
    /// Address for metrics and health (HTTP); port 0 takes a free one and logs it [default: 127.0.0.1:9379]
    #[arg(long, env = "SEALKV_ADMIN_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    #[serde(default, deserialize_with = "address_in_file")]
    pub admin_listen: Option<SocketAddr>,
    /// Allow --listen and --admin-listen on addresses that are not loopback, without TLS, and --tls-listen without a password
    #[arg(long, env = "SEALKV_INSECURE_LISTEN", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_listen: Option<bool>,
    /// File of the key-encryption key: 32 raw bytes, mode 0600 or 0400; of root, its group may read it
    #[arg(long, env = "SEALKV_KEK_FILE", value_name = "FILE")]
    pub kek_file: Option<PathBuf>,
    /// Inherited descriptor to read the key-encryption key from, instead of a file
    #[arg(long, env = "SEALKV_KEK_FD", value_name = "N", value_parser = count::<i32>)]
    pub kek_fd: Option<i32>,
    /// What is sealed: `ready` seals the log's frames and waits for SEALKV ENCRYPTION ENABLE [default: on; off must be said]
    #[arg(long, env = "SEALKV_ENCRYPTION", value_enum, value_name = "MODE")]
    pub encryption: Option<Encryption>,
    /// How the log is written [default: auto]
    #[arg(long, env = "SEALKV_LOG_ENGINE", value_enum, value_name = "ENGINE")]
    pub log_engine: Option<LogEngine>,
    /// Frames of the log that are written or synced at one time [default: 2]
    #[arg(long, env = "SEALKV_LOG_FRAMES_IN_FLIGHT", value_name = "N")]
    pub log_frames_in_flight: Option<usize>,
    /// Slots of the log, used at the first start [default: 8]
    #[arg(long, env = "SEALKV_LOG_SLOTS", value_name = "N", value_parser = count::<u32>)]
    pub log_slots: Option<u32>,
    /// Bytes of one slot, as 64M, used at the first start [default: 64M]
    #[arg(long, env = "SEALKV_LOG_SLOT_BYTES", value_name = "SIZE")]
    pub log_slot_bytes: Option<ByteSize>,
    /// File whose first line clients must give with AUTH
    #[arg(long, env = "SEALKV_REQUIREPASS_FILE", value_name = "FILE")]
    pub requirepass_file: Option<PathBuf>,
    /// File whose first line operators must give with AUTH admin, for SEALKV and CONFIG SET
    #[arg(long, env = "SEALKV_ADMINPASS_FILE", value_name = "FILE")]
    pub adminpass_file: Option<PathBuf>,
    /// Whether FLUSHALL and FLUSHDB need the admin's password too [default: false]
    #[arg(long, env = "SEALKV_ADMIN_FLUSH", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub admin_flush: Option<bool>,
    /// Memory that the node may take, from which the bounds of its parts follow [default: a quarter of the machine's, at least 512M]
    #[arg(long, env = "SEALKV_MEMORY_BYTES", value_name = "SIZE")]
    pub memory_bytes: Option<ByteSize>,
    /// Memory that all clients together may hold, of all [default: by --memory-bytes]
    #[arg(long, env = "SEALKV_CLIENT_MEMORY_BYTES", value_name = "SIZE")]
    pub client_memory_bytes: Option<ByteSize>,
    /// Seconds that clients with commands under way have when the node stops [default: 5]
    #[arg(long, env = "SEALKV_DRAIN_SECONDS", value_name = "SECONDS", value_parser = count::<u64>)]
    pub drain_seconds: Option<u64>,
    /// Clients connected at one time [default: 10000]
    #[arg(long, env = "SEALKV_MAXCLIENTS", value_name = "N", value_parser = count::<u32>)]
    pub maxclients: Option<u32>,
    /// Seconds after which a silent client is closed, 0 = never [default: 0]
    #[arg(long, env = "SEALKV_TIMEOUT", value_name = "SECONDS", value_parser = count::<u64>)]
    pub timeout: Option<u64>,
    /// Threads that open large runs beside the apply thread [default: half the cores, at most 8]
    #[arg(long, env = "SEALKV_OPEN_THREADS", value_name = "N", value_parser = count::<usize>)]
    pub open_threads: Option<usize>,
    /// Memory for RocksDB's cache of blocks, of all [default: by --memory-bytes]
    #[arg(long, env = "SEALKV_BLOCK_CACHE_BYTES", value_name = "SIZE")]
    pub block_cache_bytes: Option<ByteSize>,
    /// Code that runs AES-256-GCM: fastest, vaes512, vaes256, aesni, library, or some to deny, each with a minus [default: fastest]
    #[arg(long, env = "SEALKV_AEAD_TIER", value_name = "TIER", value_parser = tier_choice, allow_hyphen_values = true)]
    #[serde(default, deserialize_with = "tier_choice_in_file")]
    pub aead_tier: Option<TierChoice>,
    /// Address for clients with TLS; port 0 takes a free one and logs it
    #[arg(long, env = "SEALKV_TLS_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    #[serde(default, deserialize_with = "address_in_file")]
    pub tls_listen: Option<SocketAddr>,
    /// Certificate of this node for clients, PEM
    #[arg(long, env = "SEALKV_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, env = "SEALKV_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Certificate of who signed the certificates of clients, PEM
    #[arg(long, env = "SEALKV_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Whether clients with TLS show a certificate [default: yes with --tls-ca, no without]
    #[arg(long, env = "SEALKV_TLS_AUTH_CLIENTS", value_enum, value_name = "WHETHER")]
    pub tls_auth_clients: Option<TlsAuthClients>,
    /// Number of this node in its cluster, from 1 on
    #[arg(long, env = "SEALKV_NODE_ID", value_name = "N", value_parser = count::<u64>)]
    pub node_id: Option<u64>,
    /// Address for the other nodes of the cluster
    #[arg(long, env = "SEALKV_PEER_LISTEN", value_name = "HOST:PORT", value_parser = address)]
    #[serde(default, deserialize_with = "address_in_file")]
    pub peer_listen: Option<SocketAddr>,
    /// The founders of the cluster, the same on every node and for ever: 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT
    #[arg(long, env = "SEALKV_INITIAL_CLUSTER", value_name = "LIST")]
    pub initial_cluster: Option<String>,
    /// Where nodes are now that are not where they were when they were taken in: 1=HOST:PORT,2=HOST:PORT
    #[arg(long, env = "SEALKV_PEER_ADDRESSES", value_name = "LIST")]
    pub peer_addresses: Option<String>,
    /// A name that tells clusters with the same founders' addresses apart
    #[arg(long, env = "SEALKV_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Join a cluster whose founders are in --initial-cluster; see `sealkv admin member add`
    #[arg(long, env = "SEALKV_JOIN", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub join: Option<bool>,
    /// Certificate of this node for the others, PEM
    #[arg(long, env = "SEALKV_PEER_CERT", value_name = "FILE")]
    pub peer_cert: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, env = "SEALKV_PEER_KEY", value_name = "FILE")]
    pub peer_key: Option<PathBuf>,
    /// Certificate of who signed the certificates of all nodes, PEM
    #[arg(long, env = "SEALKV_PEER_CA", value_name = "FILE")]
    pub peer_ca: Option<PathBuf>,
    /// Allow nodes on addresses that are not loopback to talk to each other without TLS
    #[arg(long, env = "SEALKV_INSECURE_PEERS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_peers: Option<bool>,
    /// Read by the leader's lease, which is safe while no node's clock drifts by more than so many parts in a million, 0 = never [default: 0]
    #[arg(long, env = "SEALKV_READ_LEASE_DRIFT_PPM", value_name = "N", value_parser = count::<u32>)]
    pub read_lease_drift_ppm: Option<u32>,
    /// Serve CPU profiles at /debug/pprof/profile?seconds=N and /debug/heap at the admin address [default: false]
    #[arg(long, env = "SEALKV_PROFILING", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub profiling: Option<bool>,
    /// Log lines as text or JSON [default: text]
    #[arg(long, env = "SEALKV_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which log lines: error, warn, info, debug, trace, or a filter such as `info,sealkv::wal=debug` [default: info]
    #[arg(long, env = "SEALKV_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<LogFilter>,
}

/// What was wrong with the settings; the node does not start (78).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML of ours; the parser's text names the key.
    #[error("configuration file {path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// The parser's words, with line and key.
        message: String,
    },
    /// A variable that looks like ours and is not.
    #[error("environment variable {name} is not a setting of sealkv (see `sealkv serve --help`)")]
    Environment {
        /// Its name.
        name: String,
    },
    /// There is no place for the data.
    #[error(
        "data-dir is missing: give --data-dir DIR, the variable SEALKV_DATA_DIR, or data_dir in the configuration file"
    )]
    NoDataDir,
    /// Encryption is asked for, and no KEK is given.
    #[error(
        "encryption {mode} needs a KEK: give --kek-file FILE (SEALKV_KEK_FILE) or --kek-fd N; `sealkv keygen FILE` makes one"
    )]
    NoKek {
        /// The mode that was asked for.
        mode: &'static str,
    },
    /// Neither a KEK nor `--encryption off`: nothing is written in the clear because somebody forgot a flag.
    #[error("no KEK is given, so nothing would be encrypted: {}", advice_without_kek(data_dir))]
    SilentlyClear {
        /// Where the data would go.
        data_dir: PathBuf,
    },
    /// A command is for operators only, and no operator can show that it is one.
    #[error(
        "admin-flush needs a password of operators: give --adminpass-file FILE (SEALKV_ADMINPASS_FILE), of mode 0600"
    )]
    FlushForNobody,
    /// One setting means nothing without another.
    #[error("{name} is missing, which {of} needs: give {expected}")]
    Needed {
        /// What is missing.
        name: &'static str,
        /// What needs it.
        of: &'static str,
        /// What it is.
        expected: &'static str,
    },
    /// A setting outside its range.
    #[error("{name} is {found}, expected {expected}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What was given.
        found: String,
        /// What is possible.
        expected: String,
    },
    /// Two settings that exclude each other.
    #[error("{first} and {second} cannot be given together: {why}")]
    Conflict {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// The reason.
        why: &'static str,
    },
}

impl ConfigError {
    /// For settings that mean nothing without `name`: an error for the first of them that was given.
    pub(crate) fn without(
        name: &'static str,
        expected: &'static str,
        given: &[(&'static str, bool)],
    ) -> Result<(), ConfigError> {
        let needs = |(of, _): &(&'static str, bool)| Err(ConfigError::Needed { name, of, expected });
        given.iter().find(|(_, is_given)| *is_given).map_or(Ok(()), needs)
    }
}

impl Encryption {
    /// As a user writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Encryption::Off => "off",
            Encryption::Ready => "ready",
            Encryption::On => "on",
        }
    }
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError::Read`] or [`ConfigError::Parse`], naming file and key.
    pub fn from_file(path: &Path) -> Result<Settings, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(read)?.is_file() {
            return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let text = fs::read_to_string(path).map_err(read)?;
        toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: toml_message(&text, &error) })
    }

    /// These settings, with those of `lower` where these say nothing.
    #[must_use]
    pub fn or(self, lower: Settings) -> Settings {
        // One place of the KEK replaces the other, so that a flag can override a file's line.
        let (is_file, is_fd) = (self.kek_file.is_some(), self.kek_fd.is_some());
        let kek_file = self.kek_file;
        Settings {
            data_dir: self.data_dir.or(lower.data_dir),
            listen: self.listen.or(lower.listen),
            admin_listen: self.admin_listen.or(lower.admin_listen),
            insecure_listen: self.insecure_listen.or(lower.insecure_listen),
            kek_file: kek_file.or(if is_fd { None } else { lower.kek_file }),
            kek_fd: self.kek_fd.or(if is_file { None } else { lower.kek_fd }),
            encryption: self.encryption.or(lower.encryption),
            log_engine: self.log_engine.or(lower.log_engine),
            log_frames_in_flight: self.log_frames_in_flight.or(lower.log_frames_in_flight),
            log_slots: self.log_slots.or(lower.log_slots),
            log_slot_bytes: self.log_slot_bytes.or(lower.log_slot_bytes),
            requirepass_file: self.requirepass_file.or(lower.requirepass_file),
            adminpass_file: self.adminpass_file.or(lower.adminpass_file),
            admin_flush: self.admin_flush.or(lower.admin_flush),
            memory_bytes: self.memory_bytes.or(lower.memory_bytes),
            client_memory_bytes: self.client_memory_bytes.or(lower.client_memory_bytes),
            drain_seconds: self.drain_seconds.or(lower.drain_seconds),
            maxclients: self.maxclients.or(lower.maxclients),
            timeout: self.timeout.or(lower.timeout),
            open_threads: self.open_threads.or(lower.open_threads),
            block_cache_bytes: self.block_cache_bytes.or(lower.block_cache_bytes),
            aead_tier: self.aead_tier.or(lower.aead_tier),
            tls_listen: self.tls_listen.or(lower.tls_listen),
            tls_cert: self.tls_cert.or(lower.tls_cert),
            tls_key: self.tls_key.or(lower.tls_key),
            tls_ca: self.tls_ca.or(lower.tls_ca),
            tls_auth_clients: self.tls_auth_clients.or(lower.tls_auth_clients),
            node_id: self.node_id.or(lower.node_id),
            peer_listen: self.peer_listen.or(lower.peer_listen),
            initial_cluster: self.initial_cluster.or(lower.initial_cluster),
            peer_addresses: self.peer_addresses.or(lower.peer_addresses),
            cluster_name: self.cluster_name.or(lower.cluster_name),
            join: self.join.or(lower.join),
            peer_cert: self.peer_cert.or(lower.peer_cert),
            peer_key: self.peer_key.or(lower.peer_key),
            peer_ca: self.peer_ca.or(lower.peer_ca),
            insecure_peers: self.insecure_peers.or(lower.insecure_peers),
            read_lease_drift_ppm: self.read_lease_drift_ppm.or(lower.read_lease_drift_ppm),
            profiling: self.profiling.or(lower.profiling),
            log_format: self.log_format.or(lower.log_format),
            log_level: self.log_level.or(lower.log_level),
        }
    }
}

/// Fails if the environment holds a `SEALKV_` variable that no setting has, and returns those that an orchestrator gives to
/// every container beside a service of our name: they are nobody's mistake.
///
/// # Errors
/// [`ConfigError::Environment`] naming the first variable that is neither.
pub fn check_environment(variables: impl Iterator<Item = (String, String)>) -> Result<Vec<String>, ConfigError> {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("serve"));
    let known: Vec<String> =
        command.get_arguments().filter_map(|a| a.get_env().map(|e| e.to_string_lossy().into_owned())).collect();
    let mut ignored = Vec::new();
    for (name, value) in variables.filter(|(name, _)| name.starts_with("SEALKV_")) {
        if known.contains(&name) || OTHER_ENVIRONMENT.contains(&name.as_str()) {
            continue;
        }
        if !is_of_a_service(&name, &value) {
            return Err(ConfigError::Environment { name });
        }
        ignored.push(name);
    }
    ignored.sort_unstable();
    Ok(ignored)
}

/// What to do where no KEK is given; the words for a new directory would be wrong for one that holds data.
fn advice_without_kek(data_dir: &Path) -> String {
    let shown = data_dir.display();
    if data_dir.join("IDENTITY").exists() {
        return format!(
            "{shown} holds a node, give --kek-file with the KEK that it was made with, or --encryption off if it was made without"
        );
    }
    format!(
        "run `sealkv keygen KEKFILE` and then `sealkv serve --data-dir {shown} --kek-file KEKFILE`, \
         or say --encryption off if you mean it"
    )
}

fn tier_choice(text: &str) -> Result<TierChoice, TierError> {
    text.parse()
}

fn tier_choice_in_file<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<TierChoice>, D::Error> {
    let text = String::deserialize(from)?;
    tier_choice(&text).map(Some).map_err(serde::de::Error::custom)
}

/// The line and the parser's words; its drawing of the place needs several lines.
fn toml_message(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', " ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

/// Environment names beside those of [`Settings`] that are ours.
const OTHER_ENVIRONMENT: &[&str] = &["SEALKV_CONFIG"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_errors_that_name_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        fs::write(&path, "data_dir = \"/tmp/x\"\nmax_clients = 3\n").unwrap();
        let error = Settings::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("max_clients"), "{error}");
        let names = ["SEALKV_LISTEN", "PATH", "SEALKV_LISTENN"].map(|name| (name.to_owned(), "x".to_owned()));
        let error = check_environment(names.into_iter()).unwrap_err().to_string();
        assert!(error.contains("SEALKV_LISTENN"), "{error}");
    }

    #[test]
    fn an_error_in_the_file_is_one_line_that_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        for (text, words) in [
            ("data_dir = \"/x\"\nlog_slots = \"a\"\n", ["line 2: ", "expected u32"]),
            ("data_dir =\n", ["line 1: ", ""]),
            ("\n\nlisten = \"nowhere\"\n", ["line 3: ", "nowhere"]),
            ("aead_tier = \"zmm\"\n", ["line 1: ", "\"zmm\""]),
        ] {
            fs::write(&path, text).unwrap();
            let error = Settings::from_file(&path).unwrap_err().to_string();
            assert!(!error.contains('\n') && words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
