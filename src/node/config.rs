//! What a node runs with: settings that were checked against each other, with the defaults in place.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::crypto::aead::TierChoice;
use crate::disk::EngineChoice;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::level1_bytes;
use crate::keys::identity::Identity;
use crate::keys::identity::LogKey;
use crate::limits::BLOCK_CACHE_BYTES_MAX;
use crate::limits::BLOCK_CACHE_BYTES_MIN;
use crate::limits::CLIENT_MEMORY_BYTES_MIN;
use crate::limits::CLIENT_MEMORY_BYTES_SETTING_MAX;
use crate::limits::CLIENTS_MAX;
use crate::limits::CLIENTS_SETTING_MAX;
use crate::limits::DESCRIPTOR_MAX;
use crate::limits::DRAIN_DEADLINE;
use crate::limits::LOG_FRAMES_IN_FLIGHT;
use crate::limits::LOG_FRAMES_IN_FLIGHT_MAX;
use crate::limits::LOG_SLOT_BYTES;
use crate::limits::LOG_SLOT_BYTES_SETTING_MAX;
use crate::limits::LOG_SLOT_BYTES_SETTING_MIN;
use crate::limits::LOG_SLOTS;
use crate::limits::LOG_SLOTS_SETTING_MAX;
use crate::limits::LOG_SLOTS_SETTING_MIN;
use crate::limits::OPEN_THREADS_MAX;
use crate::limits::OPEN_THREADS_SETTING_MAX;
use crate::limits::SECOND_CACHE_BYTES;
use crate::node::client_tls::ClientTlsConfig;
use crate::node::cluster_config::ClusterConfig;
use crate::node::machine;
use crate::node::memory::MemoryPlan;
use crate::node::memory::MemoryWishes;
use crate::node::settings::ConfigError;
use crate::node::settings::Encryption;
use crate::node::settings::LogEngine;
use crate::node::settings::Settings;
use crate::node::words::ByteSize;
use crate::wal::LogConfig;

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
    /// Of a node whose clients may come over TLS.
    pub tls: Option<ClientTlsConfig>,
    /// What is sealed.
    pub encryption: Encryption,
    /// The KEK's place; present exactly when encryption is not off.
    pub kek: Option<KekSource>,
    /// How the log is written.
    pub log_engine: LogEngine,
    /// Frames of the log written or synced at one time.
    pub log_frames_in_flight: usize,
    /// Slots made at the first start.
    pub log_slots: u32,
    /// Bytes of each.
    pub log_slot_bytes: u64,
    /// Whether the user named number or size of the slots.
    pub is_log_size_given: bool,
    /// File with the password.
    pub requirepass_file: Option<PathBuf>,
    /// File with the password of operators.
    pub adminpass_file: Option<PathBuf>,
    /// Whether FLUSHALL and FLUSHDB are for operators only.
    pub admin_flush: bool,
    /// What each part of the node may take of the memory.
    pub memory: MemoryPlan,
    /// How long clients with commands under way have when the node stops.
    pub drain_deadline: Duration,
    /// Clients at one time.
    pub maxclients: u32,
    /// Silent clients are closed after this; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Threads of the opening pool.
    pub open_threads: usize,
    /// Which code may run AES-256-GCM.
    pub aead_tier: TierChoice,
    /// Whether the admin listener gives CPU profiles.
    pub profiling: bool,
    /// Of a node of several; `None` for one that is alone.
    pub cluster: Option<ClusterConfig>,
}

impl Config {
    /// Checks everything that can be checked without touching the disk.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting and what was expected.
    pub fn check(settings: Settings) -> Result<Config, ConfigError> {
        let data_dir = settings.data_dir.clone().ok_or(ConfigError::NoDataDir)?;
        let kek = kek_source(&settings)?;
        let cluster = ClusterConfig::check(&settings)?;
        let encryption = encryption(&settings, &data_dir, kek.is_some())?;
        let (listen, admin_listen) = addresses(&settings)?;
        let tls = ClientTlsConfig::check(&settings)?;
        let frames = 1..=LOG_FRAMES_IN_FLIGHT_MAX;
        let log_frames_in_flight =
            within("log-frames-in-flight", settings.log_frames_in_flight, LOG_FRAMES_IN_FLIGHT, frames)?;
        let slot_bytes = LOG_SLOT_BYTES_SETTING_MIN..=LOG_SLOT_BYTES_SETTING_MAX;
        let log_slot_bytes = size("log-slot-bytes", settings.log_slot_bytes, LOG_SLOT_BYTES, slot_bytes)?;
        check_slot_bytes(log_slot_bytes)?;
        let slots = LOG_SLOTS_SETTING_MIN..=LOG_SLOTS_SETTING_MAX;
        let log_slots = within("log-slots", settings.log_slots, LOG_SLOTS, slots)?;
        let maxclients = within("maxclients", settings.maxclients, CLIENTS_MAX as u32, 1..=CLIENTS_SETTING_MAX)?;
        let open_threads =
            within("open-threads", settings.open_threads, default_open_threads(), 1..=OPEN_THREADS_SETTING_MAX)?;
        let memory = memory(&settings, cluster.is_some())?;
        let drain_seconds = within("drain-seconds", settings.drain_seconds, DRAIN_DEADLINE.as_secs(), 0..=3600)?;
        let admin_flush = settings.admin_flush.unwrap_or(false);
        if admin_flush && settings.adminpass_file.is_none() {
            return Err(ConfigError::FlushForNobody);
        }
        Ok(Config {
            data_dir,
            listen,
            admin_listen,
            tls,
            encryption,
            kek,
            log_engine: settings.log_engine.unwrap_or(LogEngine::Auto),
            log_frames_in_flight,
            log_slots,
            log_slot_bytes,
            is_log_size_given: settings.log_slots.is_some() || settings.log_slot_bytes.is_some(),
            requirepass_file: settings.requirepass_file,
            adminpass_file: settings.adminpass_file,
            admin_flush,
            memory,
            drain_deadline: Duration::from_secs(drain_seconds),
            maxclients,
            idle_timeout: settings.timeout.filter(|&seconds| seconds > 0).map(Duration::from_secs),
            open_threads,
            aead_tier: settings.aead_tier.unwrap_or_default(),
            profiling: settings.profiling.unwrap_or(false),
            cluster,
        })
    }

    /// The port that the others of its cluster name to their clients: one that can be reached from elsewhere, if there is one.
    pub(crate) fn client_port(&self) -> u16 {
        let tls = self.tls.as_ref().map(|tls| tls.listen).filter(|tls| !tls.ip().is_loopback());
        tls.filter(|_| self.listen.ip().is_loopback()).unwrap_or(self.listen).port()
    }

    /// The log's configuration in `dir`. Number and size of its slots hold for a new log; an old one keeps its own.
    pub(crate) fn log(&self, dir: PathBuf, identity: &Identity, log_key: Option<&LogKey>) -> LogConfig {
        let mut log = LogConfig::new(dir, identity.node, identity.cluster);
        log.engine = match self.log_engine {
            LogEngine::Auto => EngineChoice::Auto,
            LogEngine::Uring => EngineChoice::Uring,
            LogEngine::Plain => EngineChoice::Plain,
        };
        log.frames_in_flight = self.log_frames_in_flight;
        log.slots = identity.log_slots;
        log.slots_max = log.slots_max.max(identity.log_slots);
        log.slot_bytes = self.log_slot_bytes;
        log.kept_bytes_max = usize::try_from(self.memory.start_entry_bytes()).unwrap_or(usize::MAX);
        log.log_key = log_key.map(|key| Zeroizing::new(*key.expose()));
        log
    }

    /// The store's configuration.
    pub(crate) fn rocks(&self) -> RocksOptions {
        RocksOptions {
            values_are_sealed: self.kek.is_some(),
            block_cache_bytes: usize::try_from(self.memory.cache_bytes).unwrap_or(usize::MAX),
            level1_bytes: level1_bytes(self.memory.table_bytes),
            ..RocksOptions::default()
        }
    }

    /// That of a second store beside it, which is read once from end to end: there is nothing to cache.
    pub(crate) fn rocks_beside(&self) -> RocksOptions {
        RocksOptions { block_cache_bytes: SECOND_CACHE_BYTES, ..self.rocks() }
    }
}

/// Who takes how much of the memory.
fn memory(settings: &Settings, has_peers: bool) -> Result<MemoryPlan, ConfigError> {
    let cache_bytes = BLOCK_CACHE_BYTES_MIN as u64..=BLOCK_CACHE_BYTES_MAX as u64;
    let client_bytes = CLIENT_MEMORY_BYTES_MIN as u64..=CLIENT_MEMORY_BYTES_SETTING_MAX;
    let named = |name, given: Option<ByteSize>, range| given.map(|it| size(name, given, it.0, range)).transpose();
    let wishes = MemoryWishes {
        all_bytes: settings.memory_bytes.map(|ByteSize(bytes)| bytes),
        cache_bytes: named("block-cache-bytes", settings.block_cache_bytes, cache_bytes)?,
        client_bytes: named("client-memory-bytes", settings.client_memory_bytes, client_bytes)?,
        has_peers,
    };
    MemoryPlan::derive(wishes, machine::memory_bytes())
}

/// For clients and for admin.
fn addresses(settings: &Settings) -> Result<(SocketAddr, SocketAddr), ConfigError> {
    let insecure = settings.insecure_listen.unwrap_or(false);
    let listen = settings.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)));
    let admin_listen = settings.admin_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], DEFAULT_ADMIN_PORT)));
    check_loopback("listen", listen, insecure, "--tls-listen for clients elsewhere")?;
    check_loopback("admin-listen", admin_listen, insecure, "a proxy on this machine")?;
    let all = [("listen", Some(listen)), ("tls-listen", settings.tls_listen), ("admin-listen", Some(admin_listen))];
    for (at, (first, one)) in all.iter().enumerate() {
        let second = all[at + 1..].iter().find(|(_, other)| other == one && one.is_some_and(|one| one.port() != 0));
        if let Some((second, _)) = second {
            let why = "clients, clients with TLS and metrics need a port each";
            return Err(ConfigError::Conflict { first, second, why });
        }
    }
    Ok((listen, admin_listen))
}

fn kek_source(settings: &Settings) -> Result<Option<KekSource>, ConfigError> {
    match (&settings.kek_file, settings.kek_fd) {
        (Some(_), Some(_)) => {
            Err(ConfigError::Conflict { first: "kek-file", second: "kek-fd", why: "one place for the KEK" })
        }
        (Some(path), None) => Ok(Some(KekSource::File(path.clone()))),
        (None, Some(descriptor)) => {
            // 0 to 2 are the standard streams.
            within("kek-fd", Some(u64::try_from(descriptor).unwrap_or(u64::MAX)), 0, 3..=DESCRIPTOR_MAX)?;
            Ok(Some(KekSource::Descriptor(descriptor)))
        }
        (None, None) => Ok(None),
    }
}

fn encryption(settings: &Settings, data_dir: &Path, has_kek: bool) -> Result<Encryption, ConfigError> {
    match (settings.encryption, has_kek) {
        (None, true) | (Some(Encryption::On), true) => Ok(Encryption::On),
        (Some(Encryption::Ready), true) => Ok(Encryption::Ready),
        (Some(Encryption::Off), false) => Ok(Encryption::Off),
        (None, false) => Err(ConfigError::SilentlyClear { data_dir: data_dir.to_owned() }),
        // The log is sealed from the first start, and the cutover needs keys that are wrapped.
        (Some(mode @ (Encryption::On | Encryption::Ready)), false) => Err(ConfigError::NoKek { mode: mode.word() }),
        (Some(Encryption::Off), true) => Err(ConfigError::Conflict {
            first: "encryption off",
            second: "kek-file or kek-fd",
            why: "a node without encryption has no use for a KEK",
        }),
    }
}

fn check_slot_bytes(log_slot_bytes: u64) -> Result<(), ConfigError> {
    if log_slot_bytes.is_multiple_of(1 << 20) {
        return Ok(());
    }
    Err(ConfigError::Range {
        name: "log-slot-bytes",
        found: log_slot_bytes.to_string(),
        expected: "a multiple of 1M".to_owned(),
    })
}

fn check_loopback(
    name: &'static str,
    address: SocketAddr,
    insecure: bool,
    instead: &'static str,
) -> Result<(), ConfigError> {
    if address.ip().is_loopback() || insecure {
        return Ok(());
    }
    Err(ConfigError::Range {
        name,
        found: address.to_string(),
        expected: format!(
            "a loopback address and {instead}, or --insecure-listen: without TLS anybody on the path reads everything"
        ),
    })
}

/// What was given, or the default, if it lies in the range.
fn within<T: PartialOrd + Display>(
    name: &'static str,
    given: Option<T>,
    default: T,
    range: RangeInclusive<T>,
) -> Result<T, ConfigError> {
    let found = given.unwrap_or(default);
    if range.contains(&found) {
        return Ok(found);
    }
    let expected = format!("{} to {}", range.start(), range.end());
    Err(ConfigError::Range { name, found: found.to_string(), expected })
}

/// The same for a size.
fn size(
    name: &'static str,
    given: Option<ByteSize>,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let ByteSize(found) = given.unwrap_or(ByteSize(default));
    if range.contains(&found) {
        return Ok(found);
    }
    let expected = format!("{} to {}", ByteSize(*range.start()), ByteSize(*range.end()));
    Err(ConfigError::Range { name, found: ByteSize(found).to_string(), expected })
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
    fn nothing_is_in_the_clear_unless_that_was_said() {
        let refused = Config::check(minimal()).unwrap_err().to_string();
        for words in ["sealkv keygen", "serve --data-dir /tmp/x --kek-file", "--encryption off"] {
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn data_dir_and_kek_file_are_enough_and_turn_encryption_on() {
        let config = Config::check(Settings { kek_file: Some("/k".into()), ..minimal() }).unwrap();
        assert_eq!(config.encryption, Encryption::On);
        assert_eq!(config.kek, Some(KekSource::File("/k".into())));
        assert!(config.listen.ip().is_loopback());
        let off = Settings { encryption: Some(Encryption::Off), ..minimal() };
        assert_eq!(Config::check(off).unwrap().encryption, Encryption::Off);
        let ready = Settings { encryption: Some(Encryption::Ready), kek_file: Some("/k".into()), ..minimal() };
        assert_eq!(Config::check(ready).unwrap().encryption, Encryption::Ready);
    }

    #[test]
    fn flags_win_over_the_file_and_a_kek_flag_replaces_the_files_kek() {
        let file = Settings { maxclients: Some(5), kek_file: Some("/a".into()), ..minimal() };
        let flags = Settings { maxclients: Some(7), kek_fd: Some(3), ..Settings::default() };
        let config = Config::check(flags.or(file)).unwrap();
        assert_eq!(config.maxclients, 7);
        assert_eq!(config.kek, Some(KekSource::Descriptor(3)));
    }

    #[test]
    fn nothing_but_loopback_without_the_insecure_flag() {
        let open: SocketAddr = "0.0.0.0:6379".parse().unwrap();
        let refused =
            Config::check(Settings { listen: Some(open), kek_fd: Some(3), ..minimal() }).unwrap_err().to_string();
        assert!(refused.contains("--insecure-listen"), "{refused}");
        assert!(
            Config::check(Settings { listen: Some(open), insecure_listen: Some(true), kek_fd: Some(3), ..minimal() })
                .is_ok()
        );
    }

    #[test]
    fn sizes_of_memory_contradict_each_other_only_where_all_were_said() {
        let size = |mib: u64| Some(ByteSize(mib << 20));
        let named =
            Settings { kek_fd: Some(3), block_cache_bytes: size(256), client_memory_bytes: size(512), ..minimal() };
        let config = Config::check(named.clone()).unwrap();
        assert_eq!((config.memory.cache_bytes, config.memory.client_bytes), (256 << 20, 512 << 20));
        assert_eq!(config.rocks().block_cache_bytes, 256 << 20);
        assert_eq!(config.rocks().level1_bytes, 2 * config.memory.table_bytes);
        let refused = Config::check(Settings { memory_bytes: size(512), ..named }).unwrap_err().to_string();
        assert!(refused.contains("memory-bytes is 512M, expected at least 976M"), "{refused}");
    }

    #[test]
    fn contradictions_are_refused() {
        let one: SocketAddr = "127.0.0.1:7000".parse().unwrap();
        assert!(Config::check(Settings { listen: Some(one), admin_listen: Some(one), ..minimal() }).is_err());
        let kek = Some(PathBuf::from("/k"));
        assert!(Config::check(Settings { encryption: Some(Encryption::On), ..minimal() }).is_err());
        assert!(
            Config::check(Settings { encryption: Some(Encryption::Off), kek_file: kek.clone(), ..minimal() }).is_err()
        );
        assert!(Config::check(Settings { encryption: Some(Encryption::Ready), ..minimal() }).is_err());
        assert!(Config::check(Settings { kek_file: kek, kek_fd: Some(3), ..minimal() }).is_err());
        assert!(Config::check(Settings { log_slots: Some(3), ..minimal() }).is_err());
        assert!(Config::check(Settings { log_slot_bytes: Some(ByteSize((64 << 20) + 1)), ..minimal() }).is_err());
    }
}
