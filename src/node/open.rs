//! From a directory to everything a node stands on: identity, keys, log, state, checked against each other.
//!
//! Nothing is written but LOCK until every check has passed. Only a first start makes anything: see `first_start.rs`.

use std::path::Path;
use std::sync::Arc;

use crate::apply::load::load;
use crate::disk::close_inherited;
use crate::fsm::base::RowBase;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::start::LookedAt;
use crate::fsm::state::Applied;
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
use crate::node::modes;
use crate::node::place::base_place;
use crate::node::place::random_start;
use crate::node::progress::ProgressLine;
use crate::node::progress::StartProgress;
use crate::node::refusal::Refusal;
use crate::node::snapshot::files::SnapshotFiles;
use crate::node::snapshot::install;
use crate::node::snapshot::install::InstallParts;
use crate::node::snapshot::places::SnapshotPlaces;
use crate::node::trial;
use crate::node::unfinished;
use crate::node::words::ByteSize;
use crate::raft::StartingPoint;
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
    open_with(config, world, keks(config, world)?, &StartProgress::default())
}

/// The same with KEKs that were read before.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    config: &Config,
    world: &World,
    keks: KekSet,
    progress: &StartProgress,
) -> Result<OpenedNode, Refusal> {
    let directory = DataDir::lock(&config.data_dir)?;
    let (identity, log_key) = match directory.classify(&keks)? {
        DirectoryKind::Existing { identity, log_key } => {
            let given = config.cluster.as_ref().map(|several| (several.node, several.cluster));
            agree::check_settings(&identity, given)?;
            if log_key.is_some() {
                tracing::info!(target: "audit", node = %identity.node, "the key of the log is unwrapped");
            }
            (identity, log_key)
        }
        DirectoryKind::Fresh => first_start(config, world, &directory, &keks, progress)?,
        DirectoryKind::Unfinished { of } => {
            unfinished::check(config, world, &directory, of.as_ref())?;
            first_start(config, world, &directory, &keks, progress)?
        }
    };
    modes::warn_if_open_to_others(&config.data_dir);
    say_what_is_not_used(config, &identity, &directory.log());
    let log = config.log(directory.log(), &identity, log_key.as_ref());
    let open_log = || wal::open(&log, Arc::clone(&world.clock), Arc::clone(&world.entropy));
    let mut line = ProgressLine::begin(progress, "reading the log", "bytes");
    let mut watch = |done, all| line.at(done, all);
    let opened = wal::open_watched(&log, Arc::clone(&world.clock), Arc::clone(&world.entropy), &mut watch)?;
    line.end();
    tracing::info!(engine = opened.0.engine().word(), frames = opened.1.frames, "log opened");
    let rocks = config.rocks();
    let node_keys = Arc::new(NodeKeys::new(identity.cluster, keks));
    let (places, disk) = (SnapshotPlaces::of(&directory), SnapshotFiles::new(config.rocks_beside()));
    let parts = InstallParts { places: &places, disk: &disk, node_keys: &node_keys, open_log: &open_log };
    let (log, recovered) = install::finish(&parts, opened)?;
    let looked_at = look_at_state(&directory, &rocks)?;
    let record = load_and_compare(looked_at.base(), &identity, &recovered, &node_keys)?;
    agree::check_members(&identity, &record.applied, config.cluster.is_some())?;
    trial::write(&directory.state())?;
    let base: Arc<dyn RowBase> = Arc::new(looked_at.open(&rocks, random_start(world))?);
    install::remove_leftovers(&disk, &places)?;
    Ok(OpenedNode { directory, identity, log, recovered, base, record, node_keys })
}

/// Number and size of the log's slots hold for a new log; a user who names others should know that nothing changes.
fn say_what_is_not_used(config: &Config, identity: &Identity, log: &Path) {
    let slot_bytes = log.join("slot-0000.wal").metadata().map_or(config.log_slot_bytes, |slot| slot.len());
    let has = (identity.log_slots, slot_bytes);
    if config.is_log_size_given && (config.log_slots, config.log_slot_bytes) != has {
        let (slots, size) = (has.0, ByteSize(has.1));
        tracing::warn!("--log-slots and --log-slot-bytes are not used: this directory has {slots} slots of {size}");
    }
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
        Some(KekSource::Descriptor(descriptor)) => {
            let kek = kek::from_descriptor(*descriptor, &*world.clock)?;
            // The KEK of a file or a memfd would stay readable there for as long as the node lives.
            if let Err(error) = close_inherited(*descriptor) {
                tracing::warn!(descriptor, %error, "the descriptor of the KEK could not be closed");
            }
            kek
        }
    };
    tracing::info!(target: "audit", kek = %kek.id(), "the KEK is read");
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
    agree::check_clients(applied, node_keys.current().has_kek())?;
    let index = applied.position.index;
    agree::check_history(applied.position, recovered.term_at(index).unwrap_or(recovered.compacted.term))?;
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

/// What raft begins with, once the entries up to the commit of the log are applied.
#[must_use]
pub fn starting_point(recovered: Recovered, applied: &Applied) -> StartingPoint {
    StartingPoint {
        hard_state: recovered.hard_state,
        compacted: recovered.compacted,
        entries: recovered.entries,
        older_terms: recovered.older_terms,
        members: applied.members.clone(),
        applied: applied.position,
    }
}
