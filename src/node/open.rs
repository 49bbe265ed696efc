//! From a directory to everything a node stands on: identity, keys, log, state, checked against each other.
//!
//! Nothing is written but LOCK until every check has passed. Only a first start makes anything: see `first_start.rs`.

use std::sync::Arc;

use crate::apply::load::load;
use crate::fsm::base::RowBase;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::start::LookedAt;
use crate::fsm::state::StateRecord;
use crate::ids::Index;
use crate::keys::identity::Identity;
use crate::keys::kek;
use crate::keys::kek::KekSet;
use crate::keys::node_keys::NodeKeys;
use crate::node::agree;
use crate::node::agree::LogFacts;
use crate::node::config::Config;
use crate::node::config::KekSource;
use crate::node::datadir::DataDir;
use crate::node::datadir::DirectoryKind;
use crate::node::first_start::first_start;
use crate::node::place::base_place;
use crate::node::place::random_start;
use crate::node::refusal::Refusal;
use crate::wal;
use crate::wal::LogLoop;
use crate::wal::Recovered;
use crate::world::World;

/// A directory that passed every check, opened.
pub struct OpenedNode {
    /// Held as long as the node lives.
    pub directory: DataDir,
    /// Who this node is.
    pub identity: Identity,
    /// Its log, recovered and not yet written to.
    pub log: LogLoop,
    /// What the log held.
    pub recovered: Recovered,
    /// The state on disk.
    pub base: Arc<dyn RowBase>,
    /// Its record.
    pub record: StateRecord,
    /// The keys, with the state's keyring installed.
    pub node_keys: Arc<NodeKeys>,
}

debug_fields!(self: OpenedNode { identity: self.identity });

/// Reads the KEK, then opens the directory of `config`, or makes it.
///
/// # Errors
/// [`Refusal`]: this node must not start; nothing but LOCK was changed, unless it was its first start.
pub fn open(config: &Config, world: &World) -> Result<OpenedNode, Refusal> {
    open_with(config, world, keks(config, world)?)
}

/// The same with KEKs that were read before.
///
/// # Errors
/// As [`open`].
pub fn open_with(config: &Config, world: &World, keks: KekSet) -> Result<OpenedNode, Refusal> {
    let directory = DataDir::lock(&config.data_dir)?;
    let (identity, log_key) = match directory.classify(&keks)? {
        DirectoryKind::Existing { identity, log_key } => (identity, log_key),
        DirectoryKind::Fresh | DirectoryKind::Unfinished => first_start(config, world, &directory, &keks)?,
    };
    let log = config.log(directory.log(), &identity, log_key.as_ref());
    let (log, recovered) = wal::open(&log, Arc::clone(&world.clock), Arc::clone(&world.entropy))?;
    tracing::info!(engine = log.engine().word(), frames = recovered.frames, "log opened");
    let rocks = config.rocks();
    let node_keys = Arc::new(NodeKeys::new(identity.cluster, keks));
    let looked_at = look_at_state(&directory, &rocks)?;
    let record = load_and_compare(looked_at.base(), &identity, &recovered, &node_keys)?;
    let base: Arc<dyn RowBase> = Arc::new(looked_at.open(&rocks, random_start(world))?);
    Ok(OpenedNode { directory, identity, log, recovered, base, record, node_keys })
}

/// The KEKs that the settings name; none where encryption is off. To be read before the process opens anything itself:
/// a descriptor that was not inherited would otherwise be one that the process opened.
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

/// Looks at the state; what is missing for a crash in the middle of a flush is put back.
fn look_at_state(directory: &DataDir, rocks: &RocksOptions) -> Result<LookedAt, Refusal> {
    directory.check_state_files()?;
    Ok(LookedAt::look(&base_place(directory), rocks)?)
}

/// Loads the state record and compares it with identity and log.
///
/// # Errors
/// [`Refusal`]: these do not belong together.
pub fn load_and_compare(
    base: &dyn RowBase,
    identity: &Identity,
    recovered: &Recovered,
    node_keys: &NodeKeys,
) -> Result<StateRecord, Refusal> {
    let record = load(base, node_keys)?;
    let applied = &record.applied;
    agree::check(identity, applied, node_keys.current().keyring(), &log_facts(recovered))?;
    let index = applied.position.index;
    let entry = recovered.entries.iter().find(|entry| entry.index == index);
    agree::check_history(applied.position, entry.map_or(recovered.compacted.term, |entry| entry.term))?;
    Ok(record)
}

/// How far the recovered log reaches.
#[must_use]
pub fn log_facts(recovered: &Recovered) -> LogFacts {
    LogFacts {
        compacted: recovered.compacted.index,
        last: recovered.entries.last().map_or(recovered.compacted.index, |entry| entry.index),
        commit: recovered.hard_state.commit,
        cutover: recovered.cutover.unwrap_or(Index::NEVER),
    }
}
