//! From a directory to everything a node stands on: identity, keys, log, state, checked against each other.
//!
//! Nothing is written but LOCK until every check has passed. A first start makes the directory, its log and
//! its state, and becomes a node by one rename at the very end.

use std::fmt;
use std::sync::Arc;

use crate::apply::load::load;
use crate::apply::rows::SealedRows;
use crate::disk::EngineChoice;
use crate::fsm::reader::RowReader;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::RocksStore;
use crate::fsm::state::Applied;
use crate::fsm::state::MemberAddress;
use crate::fsm::store::Commit;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::keys::identity::Identity;
use crate::keys::identity::LogKey;
use crate::keys::kek;
use crate::keys::kek::KekSet;
use crate::keys::node_keys::NodeKeys;
use crate::members::Members;
use crate::node::agree;
use crate::node::agree::LogFacts;
use crate::node::config::Config;
use crate::node::config::KekSource;
use crate::node::datadir::DataDir;
use crate::node::datadir::DirectoryKind;
use crate::node::progress::ProgressLine;
use crate::node::refusal::Refusal;
use crate::node::settings::LogEngine;
use crate::wal;
use crate::wal::LogLoop;
use crate::wal::Recovered;
use crate::world::Entropy;
use crate::world::World;
use crate::world::random_array;

/// A directory that passed every check, opened.
pub struct Opened {
    /// Held as long as the node lives.
    pub directory: DataDir,
    /// Who this node is.
    pub identity: Identity,
    /// Its log, recovered and not yet written to.
    pub log: LogLoop,
    /// What the log held.
    pub recovered: Recovered,
    /// The state.
    pub store: Arc<dyn Store>,
    /// Its reader, with the keys of `node_keys`.
    pub reader: RowReader,
    /// The keys, with the state's keyring installed.
    pub node_keys: Arc<NodeKeys>,
    /// The state record as it is in the store.
    pub applied: Applied,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Reads the KEK, then opens the directory of `config`, or makes it.
///
/// # Errors
/// [`Refusal`]: this node must not start; nothing but LOCK was changed, unless it was its first start.
pub fn open(config: &Config, world: &World) -> Result<Opened, Refusal> {
    open_with(config, world, keks(config, world)?)
}

/// The same with KEKs that were read before.
///
/// # Errors
/// As [`open`].
pub fn open_with(config: &Config, world: &World, keks: KekSet) -> Result<Opened, Refusal> {
    let directory = DataDir::lock(&config.data_dir)?;
    let (identity, log_key) = match directory.classify(&keks)? {
        DirectoryKind::Existing { identity, log_key } => (identity, log_key),
        DirectoryKind::Fresh | DirectoryKind::Unfinished => first_start(config, world, &directory, &keks)?,
    };
    let options = log_options(config, &directory, &identity, log_key.as_ref());
    let (log, recovered) = wal::open(&options, Arc::clone(&world.clock), Arc::clone(&world.entropy))?;
    tracing::info!(engine = log.engine().word(), frames = recovered.frames, "log opened");
    let rocks = rocks_options(config);
    let node_keys = Arc::new(NodeKeys::new(identity.cluster, keks));
    let applied = check_state(&directory, &rocks, &identity, &recovered, &node_keys)?;
    let store: Arc<dyn Store> = Arc::new(RocksStore::open(&directory.state(), &rocks)?);
    let reader = RowReader::new(Arc::clone(&store), Arc::new(SealedRows::new(Arc::clone(&node_keys))));
    Ok(Opened { directory, identity, log, recovered, store, reader, node_keys, applied })
}

/// The KEKs that the settings name; none where encryption is off. To be read before the process opens anything itself:
/// a descriptor that was not inherited would else be one of its own.
///
/// # Errors
/// [`Refusal::Kek`].
pub fn keks(config: &Config, world: &World) -> Result<KekSet, Refusal> {
    let kek = match &config.kek {
        None => return Ok(KekSet::new(Vec::new())?),
        Some(KekSource::File(path)) => kek::from_file(path)?,
        Some(KekSource::Descriptor(descriptor)) => kek::from_descriptor(*descriptor, &*world.clock)?,
    };
    Ok(KekSet::new(vec![kek])?)
}

/// Makes a cluster of one: who it is, its log, its state at (term 1, index 1).
fn first_start(
    config: &Config,
    world: &World,
    directory: &DataDir,
    keks: &KekSet,
) -> Result<(Identity, Option<LogKey>), Refusal> {
    let cluster = ClusterId(random_array(&*world.entropy));
    let node = random_node_id(&*world.entropy);
    let identity = Identity { node, cluster, log_slots: config.log_slots };
    let log_key = LogKey::make(keks, node, cluster, &*world.entropy);
    directory.begin(&identity, log_key.as_ref())?;
    make_log(config, world, directory, &identity, log_key.as_ref())?;
    make_state(config, directory, &identity)?;
    directory.finish()?;
    tracing::info!(%node, %cluster, sealed = log_key.is_some(), "made a new cluster of one node");
    Ok((identity, log_key))
}

fn make_log(
    config: &Config,
    world: &World,
    directory: &DataDir,
    identity: &Identity,
    log_key: Option<&LogKey>,
) -> Result<(), Refusal> {
    let options = log_options(config, directory, identity, log_key);
    std::fs::create_dir(&options.dir).map_err(|source| Refusal::Make { path: options.dir.clone(), source })?;
    let disk = options.open_disk().map_err(wal::WalError::from)?;
    let mut progress = ProgressLine::begin("making the log", "bytes");
    let begins_behind = Applied::founding(identity.cluster, Members::default(), Vec::new()).position;
    let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
    let made = wal::create(&options, disk, clock, entropy, begins_behind, &mut |done, all| progress.at(done, all));
    progress.end();
    let need_bytes = u64::from(options.slots) * options.slot_bytes;
    made.map_err(|source| Refusal::MakeLog { path: options.dir.clone(), need_bytes, source })?;
    Ok(())
}

fn make_state(config: &Config, directory: &DataDir, identity: &Identity) -> Result<(), Refusal> {
    let founder = MemberAddress { node: identity.node, address: String::new() };
    let applied = Applied::founding(identity.cluster, Members::founders(&[identity.node]), vec![founder]);
    let store = RocksStore::create(&directory.state(), &rocks_options(config))?;
    store.write(Commit { state: vec![(StateRow::Applied, applied.encode(None))], ..Commit::default() })?;
    store.flush()?;
    Ok(())
}

/// Looks at the state without writing to it, and compares it with identity and log.
fn check_state(
    directory: &DataDir,
    rocks: &RocksOptions,
    identity: &Identity,
    recovered: &Recovered,
    node_keys: &NodeKeys,
) -> Result<Applied, Refusal> {
    directory.check_state_files()?;
    let store = RocksStore::open_read_only(&directory.state(), rocks)?;
    let applied = load(&store, node_keys)?;
    agree::check(identity, &applied, node_keys.current().keyring(), &log_facts(recovered))?;
    let index = applied.position.index;
    let entry = recovered.entries.iter().find(|entry| entry.index == index);
    agree::check_history(applied.position, entry.map_or(recovered.compacted.term, |entry| entry.term))?;
    Ok(applied)
}

/// What the recovered log says of itself.
#[must_use]
pub fn log_facts(recovered: &Recovered) -> LogFacts {
    LogFacts {
        compacted: recovered.compacted.index,
        last: recovered.entries.last().map_or(recovered.compacted.index, |entry| entry.index),
        commit: recovered.hard_state.commit,
        cutover: recovered.cutover.unwrap_or(Index::NEVER),
    }
}

fn log_options(config: &Config, directory: &DataDir, identity: &Identity, log_key: Option<&LogKey>) -> wal::LogConfig {
    let mut options = wal::LogConfig::new(directory.log(), identity.node, identity.cluster);
    options.engine = match config.log_engine {
        LogEngine::Auto => EngineChoice::Auto,
        LogEngine::Uring => EngineChoice::Uring,
        LogEngine::Plain => EngineChoice::Plain,
    };
    options.slots = identity.log_slots;
    options.slots_max = options.slots_max.max(identity.log_slots);
    options.slot_bytes = config.log_slot_bytes;
    options.log_key = log_key.map(|key| zeroize::Zeroizing::new(*key.expose()));
    options
}

fn rocks_options(config: &Config) -> RocksOptions {
    RocksOptions {
        values_are_sealed: config.kek.is_some(),
        block_cache_bytes: config.block_cache_bytes,
        ..RocksOptions::default()
    }
}

fn random_node_id(entropy: &dyn Entropy) -> NodeId {
    loop {
        // 63 bits: tools that show ids as signed numbers stay right.
        if let Some(node) = NodeId::new(u64::from_be_bytes(random_array(entropy)) >> 1) {
            return node;
        }
    }
}
