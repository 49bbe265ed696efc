//! Settings: TOML file < environment `SEALKV_*` < flags, into one checked [`Config`].
//!
//! One struct names every setting once, for the file, the environment and the command line; an unknown name in the file
//! or in the environment is an error that names it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use crate::crypto::aead::TierChoice;
use crate::crypto::aead::TierError;
use crate::limits::BLOCK_CACHE_BYTES;
use crate::limits::BLOCK_CACHE_BYTES_MAX;
use crate::limits::BLOCK_CACHE_BYTES_MIN;
use crate::limits::CLIENTS_MAX;
use crate::limits::CLIENTS_SETTING_MAX;
use crate::limits::DESCRIPTOR_MAX;
use crate::limits::LOG_SLOT_BYTES;
use crate::limits::LOG_SLOT_BYTES_SETTING_MAX;
use crate::limits::LOG_SLOT_BYTES_SETTING_MIN;
use crate::limits::LOG_SLOTS;
use crate::limits::LOG_SLOTS_SETTING_MAX;
use crate::limits::LOG_SLOTS_SETTING_MIN;
use crate::limits::OPEN_THREADS_MAX;
use crate::limits::OPEN_THREADS_SETTING_MAX;

/// What the node seals (design 3.6).
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
    /// Allow --listen and --admin-listen on addresses that are not loopback, without TLS
    #[arg(long, env = "SEALKV_INSECURE_LISTEN", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_listen: Option<bool>,
    /// File of the key-encryption key: 32 raw bytes, no access for group or others
    #[arg(long, env = "SEALKV_KEK_FILE", value_name = "FILE")]
    pub kek_file: Option<PathBuf>,
    /// Inherited descriptor to read the key-encryption key from, instead of a file
    #[arg(long, env = "SEALKV_KEK_FD", value_name = "N")]
    pub kek_fd: Option<i32>,
    /// What is sealed: `ready` seals the log's frames and waits for SEALKV ENCRYPTION ENABLE [default: on with a KEK, off without]
    #[arg(long, env = "SEALKV_ENCRYPTION", value_enum, value_name = "MODE")]
    pub encryption: Option<Encryption>,
    /// How the log is written [default: auto]
    #[arg(long, env = "SEALKV_LOG_ENGINE", value_enum, value_name = "ENGINE")]
    pub log_engine: Option<LogEngine>,
    /// Slots of the log, used at the first start [default: 8]
    #[arg(long, env = "SEALKV_LOG_SLOTS", value_name = "N")]
    pub log_slots: Option<u32>,
    /// Bytes of one slot, used at the first start [default: 67108864]
    #[arg(long, env = "SEALKV_LOG_SLOT_BYTES", value_name = "BYTES")]
    pub log_slot_bytes: Option<u64>,
    /// File whose first line clients must give with AUTH
    #[arg(long, env = "SEALKV_REQUIREPASS_FILE", value_name = "FILE")]
    pub requirepass_file: Option<PathBuf>,
    /// Clients connected at one time [default: 10000]
    #[arg(long, env = "SEALKV_MAXCLIENTS", value_name = "N")]
    pub maxclients: Option<u32>,
    /// Seconds after which a silent client is closed, 0 = never [default: 0]
    #[arg(long, env = "SEALKV_TIMEOUT", value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Threads that open large runs beside the apply thread [default: half the cores, at most 8]
    #[arg(long, env = "SEALKV_OPEN_THREADS", value_name = "N")]
    pub open_threads: Option<usize>,
    /// Memory for RocksDB's cache of blocks [default: 268435456]
    #[arg(long, env = "SEALKV_BLOCK_CACHE_BYTES", value_name = "BYTES")]
    pub block_cache_bytes: Option<usize>,
    /// Code that runs AES-256-GCM: fastest, vaes512, vaes256, aesni, library, or some to deny, each with a minus [default: fastest]
    #[arg(long, env = "SEALKV_AEAD_TIER", value_name = "TIER", value_parser = tier_choice, allow_hyphen_values = true)]
    #[serde(default, deserialize_with = "tier_choice_in_file")]
    pub aead_tier: Option<TierChoice>,
    /// Serve CPU profiles at /debug/pprof/profile?seconds=N of the admin address [default: false]
    #[arg(long, env = "SEALKV_PROFILING", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub profiling: Option<bool>,
    /// Log lines as text or JSON [default: text]
    #[arg(long, env = "SEALKV_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which log lines: error, warn, info, debug, trace, or a filter such as `info,sealkv::wal=debug` [default: info]
    #[arg(long, env = "SEALKV_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,
}

/// Environment names beside those of [`Settings`] that are ours.
const OTHER_ENVIRONMENT: &[&str] = &["SEALKV_CONFIG"];

/// What was wrong with the settings; the node does not start (78).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {source}")]
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
    /// A setting that must be there is not.
    #[error("{name} is missing: give --{name}, its environment variable, or a line in the configuration file")]
    Missing {
        /// The setting.
        name: &'static str,
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

/// Where the KEK comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KekSource {
    /// A file of 32 raw bytes.
    File(PathBuf),
    /// An inherited descriptor.
    Descriptor(i32),
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where metrics and health are served.
    pub admin_listen: SocketAddr,
    /// What is sealed.
    pub encryption: Encryption,
    /// The KEK's place; present exactly when encryption is not off.
    pub kek: Option<KekSource>,
    /// How the log is written.
    pub log_engine: LogEngine,
    /// Slots made at the first start.
    pub log_slots: u32,
    /// Bytes of each.
    pub log_slot_bytes: u64,
    /// File with the password.
    pub requirepass_file: Option<PathBuf>,
    /// Clients at one time.
    pub maxclients: u32,
    /// Silent clients are closed after this; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Threads of the opening pool.
    pub open_threads: usize,
    /// RocksDB's block cache.
    pub block_cache_bytes: usize,
    /// Which code may run AES-256-GCM.
    pub aead_tier: TierChoice,
    /// Whether the admin listener gives CPU profiles.
    pub profiling: bool,
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
            log_slots: self.log_slots.or(lower.log_slots),
            log_slot_bytes: self.log_slot_bytes.or(lower.log_slot_bytes),
            requirepass_file: self.requirepass_file.or(lower.requirepass_file),
            maxclients: self.maxclients.or(lower.maxclients),
            timeout: self.timeout.or(lower.timeout),
            open_threads: self.open_threads.or(lower.open_threads),
            block_cache_bytes: self.block_cache_bytes.or(lower.block_cache_bytes),
            aead_tier: self.aead_tier.or(lower.aead_tier),
            profiling: self.profiling.or(lower.profiling),
            log_format: self.log_format.or(lower.log_format),
            log_level: self.log_level.or(lower.log_level),
        }
    }

    /// Checks everything that can be checked without touching the disk.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting and what was expected.
    pub fn check(self) -> Result<Config, ConfigError> {
        let data_dir = self.data_dir.clone().ok_or(ConfigError::Missing { name: "data-dir" })?;
        let kek = self.kek_source()?;
        let encryption = self.encryption_mode(kek.is_some())?;
        let insecure = self.insecure_listen.unwrap_or(false);
        let listen = self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)));
        let admin_listen = self.admin_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], DEFAULT_ADMIN_PORT)));
        check_loopback("listen", listen, insecure)?;
        check_loopback("admin-listen", admin_listen, insecure)?;
        if listen == admin_listen && listen.port() != 0 {
            return Err(ConfigError::Conflict {
                first: "listen",
                second: "admin-listen",
                why: "clients and metrics need a port each",
            });
        }
        let log_slot_bytes = self.log_slot_bytes.unwrap_or(LOG_SLOT_BYTES);
        check_range("log-slot-bytes", log_slot_bytes, LOG_SLOT_BYTES_SETTING_MIN, LOG_SLOT_BYTES_SETTING_MAX)?;
        if !log_slot_bytes.is_multiple_of(1 << 20) {
            return Err(ConfigError::Range {
                name: "log-slot-bytes",
                found: log_slot_bytes.to_string(),
                expected: "a multiple of 1048576".to_owned(),
            });
        }
        let log_slots = self.log_slots.unwrap_or(LOG_SLOTS);
        check_range("log-slots", u64::from(log_slots), LOG_SLOTS_SETTING_MIN.into(), LOG_SLOTS_SETTING_MAX.into())?;
        let maxclients = self.maxclients.unwrap_or(CLIENTS_MAX as u32);
        check_range("maxclients", u64::from(maxclients), 1, CLIENTS_SETTING_MAX.into())?;
        let open_threads = self.open_threads.unwrap_or_else(default_open_threads);
        check_range("open-threads", open_threads as u64, 1, OPEN_THREADS_SETTING_MAX as u64)?;
        let block_cache_bytes = self.block_cache_bytes.unwrap_or(BLOCK_CACHE_BYTES);
        check_range(
            "block-cache-bytes",
            block_cache_bytes as u64,
            BLOCK_CACHE_BYTES_MIN as u64,
            BLOCK_CACHE_BYTES_MAX as u64,
        )?;
        Ok(Config {
            data_dir,
            listen,
            admin_listen,
            encryption,
            kek,
            log_engine: self.log_engine.unwrap_or(LogEngine::Auto),
            log_slots,
            log_slot_bytes,
            requirepass_file: self.requirepass_file,
            maxclients,
            idle_timeout: self.timeout.filter(|&seconds| seconds > 0).map(Duration::from_secs),
            open_threads,
            block_cache_bytes,
            aead_tier: self.aead_tier.unwrap_or_default(),
            profiling: self.profiling.unwrap_or(false),
        })
    }

    fn kek_source(&self) -> Result<Option<KekSource>, ConfigError> {
        match (&self.kek_file, self.kek_fd) {
            (Some(_), Some(_)) => {
                Err(ConfigError::Conflict { first: "kek-file", second: "kek-fd", why: "one place for the KEK" })
            }
            (Some(path), None) => Ok(Some(KekSource::File(path.clone()))),
            (None, Some(descriptor)) => {
                check_range("kek-fd", u64::try_from(descriptor).unwrap_or(u64::MAX), 3, DESCRIPTOR_MAX)?;
                Ok(Some(KekSource::Descriptor(descriptor)))
            }
            (None, None) => Ok(None),
        }
    }

    fn encryption_mode(&self, has_kek: bool) -> Result<Encryption, ConfigError> {
        match (self.encryption, has_kek) {
            (None, true) | (Some(Encryption::On), true) => Ok(Encryption::On),
            (Some(Encryption::Ready), true) => Ok(Encryption::Ready),
            (None, false) | (Some(Encryption::Off), false) => Ok(Encryption::Off),
            // The log is sealed from the first start, and the cutover needs keys that are wrapped.
            (Some(Encryption::On | Encryption::Ready), false) => Err(ConfigError::Missing { name: "kek-file" }),
            (Some(Encryption::Off), true) => Err(ConfigError::Conflict {
                first: "encryption off",
                second: "kek-file or kek-fd",
                why: "a node without encryption has no use for a KEK",
            }),
        }
    }
}

/// Fails if the environment holds a `SEALKV_` variable that no setting has.
///
/// # Errors
/// [`ConfigError::Environment`] naming the first such variable.
pub fn check_environment(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("serve"));
    let known: Vec<String> =
        command.get_arguments().filter_map(|a| a.get_env().map(|e| e.to_string_lossy().into_owned())).collect();
    for name in names.filter(|name| name.starts_with("SEALKV_")) {
        if !known.contains(&name) && !OTHER_ENVIRONMENT.contains(&name.as_str()) {
            return Err(ConfigError::Environment { name });
        }
    }
    Ok(())
}

/// `ADDRESS:PORT`. Of names only `localhost`: a node must not depend on somebody's answer to find its own address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        format!("expected an address and a port, as 127.0.0.1:6379, [::1]:6379 or localhost:6379, found {text:?}")
    })
}

fn address_in_file<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    address(&text).map(Some).map_err(serde::de::Error::custom)
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

fn check_loopback(name: &'static str, address: SocketAddr, insecure: bool) -> Result<(), ConfigError> {
    if address.ip().is_loopback() || insecure {
        return Ok(());
    }
    Err(ConfigError::Range {
        name,
        found: address.to_string(),
        expected: "a loopback address, or --insecure-listen: there is no TLS yet, anybody on the path reads everything"
            .to_owned(),
    })
}

fn check_range(name: &'static str, found: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::Range { name, found: found.to_string(), expected: format!("{min} to {max}") })
}

fn default_open_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, OPEN_THREADS_MAX))
}

/// Redis' own port, so that redis-cli needs no flag.
const DEFAULT_PORT: u16 = 6379;
const DEFAULT_ADMIN_PORT: u16 = 9379;

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Settings {
        Settings { data_dir: Some("/tmp/x".into()), ..Settings::default() }
    }

    #[test]
    fn data_dir_and_kek_file_are_enough_and_turn_encryption_on() {
        let config = Settings { kek_file: Some("/k".into()), ..minimal() }.check().unwrap();
        assert_eq!(config.encryption, Encryption::On);
        assert_eq!(config.kek, Some(KekSource::File("/k".into())));
        assert!(config.listen.ip().is_loopback());
        assert_eq!(minimal().check().unwrap().encryption, Encryption::Off);
        let ready = Settings { encryption: Some(Encryption::Ready), kek_file: Some("/k".into()), ..minimal() };
        assert_eq!(ready.check().unwrap().encryption, Encryption::Ready);
    }

    #[test]
    fn flags_win_over_the_file_and_a_kek_flag_replaces_the_files_kek() {
        let file = Settings { maxclients: Some(5), kek_file: Some("/a".into()), ..minimal() };
        let flags = Settings { maxclients: Some(7), kek_fd: Some(3), ..Settings::default() };
        let config = flags.or(file).check().unwrap();
        assert_eq!(config.maxclients, 7);
        assert_eq!(config.kek, Some(KekSource::Descriptor(3)));
    }

    #[test]
    fn unknown_names_are_errors_that_name_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        fs::write(&path, "data_dir = \"/tmp/x\"\nmax_clients = 3\n").unwrap();
        let error = Settings::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("max_clients"), "{error}");
        let names = ["SEALKV_LISTEN", "PATH", "SEALKV_LISTENN"].map(str::to_owned);
        let error = check_environment(names.into_iter()).unwrap_err().to_string();
        assert!(error.contains("SEALKV_LISTENN"), "{error}");
    }

    #[test]
    fn nothing_but_loopback_without_the_insecure_flag() {
        let open: SocketAddr = "0.0.0.0:6379".parse().unwrap();
        let refused = Settings { listen: Some(open), ..minimal() }.check().unwrap_err().to_string();
        assert!(refused.contains("--insecure-listen"), "{refused}");
        assert!(Settings { listen: Some(open), insecure_listen: Some(true), ..minimal() }.check().is_ok());
    }

    #[test]
    fn an_address_is_numeric_or_localhost() {
        assert_eq!(address("localhost:1").unwrap(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(address("[::1]:0").unwrap(), "[::1]:0".parse().unwrap());
        for wrong in ["", "6379", "localhost", "example.org:1", "127.0.0.1:65536"] {
            assert!(address(wrong).unwrap_err().contains("expected an address"), "{wrong}");
        }
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

    #[test]
    fn contradictions_are_refused() {
        let one: SocketAddr = "127.0.0.1:7000".parse().unwrap();
        assert!(Settings { listen: Some(one), admin_listen: Some(one), ..minimal() }.check().is_err());
        let kek = Some(PathBuf::from("/k"));
        assert!(Settings { encryption: Some(Encryption::On), ..minimal() }.check().is_err());
        assert!(Settings { encryption: Some(Encryption::Off), kek_file: kek.clone(), ..minimal() }.check().is_err());
        assert!(Settings { encryption: Some(Encryption::Ready), ..minimal() }.check().is_err());
        assert!(Settings { kek_file: kek, kek_fd: Some(3), ..minimal() }.check().is_err());
        assert!(Settings { log_slots: Some(3), ..minimal() }.check().is_err());
        assert!(Settings { log_slot_bytes: Some((64 << 20) + 1), ..minimal() }.check().is_err());
    }
}
