//! A first start: a cluster of one in an empty directory, or a node of several, which becomes a node by one rename at the very end.
//!
//! All founders of a cluster write the same state at (term 1, index 1), without asking each other. So does a node that
//! joins: it is no member of that state, and the leader sends it what follows.

use std::fs;
use std::sync::Arc;

use crate::crypto::names::ClearNameKey;
use crate::fsm::base::StateRows;
use crate::fsm::rocks::base::RocksBase;
use crate::fsm::state::Applied;
use crate::fsm::state::MemberAddress;
use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::keys::identity::Identity;
use crate::keys::identity::LogKey;
use crate::keys::kek::KekSet;
use crate::members::Members;
use crate::node::cluster_config::ClusterConfig;
use crate::node::config::Config;
use crate::node::datadir::DataDir;
use crate::node::place::base_place;
use crate::node::place::random_start;
use crate::node::progress::ProgressLine;
use crate::node::progress::StartProgress;
use crate::node::refusal::Refusal;
use crate::wal;
use crate::wal::LogConfig;
use crate::wal::WalError;
use crate::world::Entropy;
use crate::world::World;
use crate::world::random_array;

/// Makes a cluster of one: who it is, its log, its state at (term 1, index 1).
///
/// # Errors
/// [`Refusal`]; nothing of what was made is left. Of a start that was cut short the next one finds what there is, and makes it
/// again.
pub(crate) fn first_start(
    config: &Config,
    world: &World,
    directory: &DataDir,
    keks: &KekSet,
    progress: &StartProgress,
) -> Result<(Identity, Option<LogKey>), Refusal> {
    make(config, world, directory, keks, progress).inspect_err(|_| directory.take_back())
}

fn make(
    config: &Config,
    world: &World,
    directory: &DataDir,
    keks: &KekSet,
    progress: &StartProgress,
) -> Result<(Identity, Option<LogKey>), Refusal> {
    let (node, cluster) = match &config.cluster {
        None => (random_node_id(&*world.entropy), ClusterId(random_array(&*world.entropy))),
        Some(several) => (several.node, several.cluster),
    };
    let identity = Identity { node, cluster, log_slots: config.log_slots };
    let log_key = LogKey::make(keks, node, cluster, &*world.entropy);
    if log_key.is_some() {
        tracing::info!(target: "audit", %node, "the key of the log is made");
    }
    directory.begin(&identity, log_key.as_ref())?;
    let founded = match &config.cluster {
        None => founded(&identity, ClearNameKey(random_array(&*world.entropy))),
        Some(several) => founded_by(several),
    };
    make_log(&config.log(directory.log(), &identity, log_key.as_ref()), world, &founded, progress)?;
    directory.make_flush()?;
    make_state(config, world, directory, &founded)?;
    directory.finish()?;
    let sealed = log_key.is_some();
    match &config.cluster {
        None => tracing::info!(%node, %cluster, sealed, "made a new cluster of one node"),
        Some(several) if several.is_joining => {
            tracing::info!(%node, %cluster, sealed, "made a node that joins a cluster")
        }
        Some(several) => {
            tracing::info!(%node, %cluster, sealed, founders = several.founders.len(), "made a founder of a new cluster");
        }
    }
    Ok((identity, log_key))
}

/// The state of a cluster whose only member is this node.
fn founded(identity: &Identity, clear_names: ClearNameKey) -> Applied {
    let founder = MemberAddress { node: identity.node, address: String::new() };
    Applied::founding(identity.cluster, clear_names, Members::founders(&[identity.node]), vec![founder])
}

/// The state of a new cluster of several, the same on each of its nodes. What has to be random is drawn by the first leader.
fn founded_by(several: &ClusterConfig) -> Applied {
    let nodes: Vec<NodeId> = several.founders.iter().map(|founder| founder.node).collect();
    let members = Members::founders(&nodes);
    Applied::founding(several.cluster, ClearNameKey::UNDRAWN, members, several.founders.clone())
}

fn make_log(log: &LogConfig, world: &World, founded: &Applied, progress: &StartProgress) -> Result<(), Refusal> {
    let cannot_be_made = |source| Refusal::Make { what: format!("{} cannot be made", log.dir.display()), source };
    fs::create_dir(&log.dir).map_err(cannot_be_made)?;
    let disk = log.open_disk().map_err(WalError::from)?;
    let mut line = ProgressLine::begin(progress, "making the log", "bytes");
    let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
    let made = wal::create(log, disk, clock, entropy, founded.position, &mut |done, all| line.at(done, all));
    line.end();
    let need_bytes = u64::from(log.slots) * log.slot_bytes;
    made.map_err(|source| Refusal::MakeLog { path: log.dir.clone(), need_bytes, source })?;
    Ok(())
}

fn make_state(config: &Config, world: &World, directory: &DataDir, founded: &Applied) -> Result<(), Refusal> {
    let place = base_place(directory);
    let record = StateRows { applied: founded.encode(None), keyring: None };
    RocksBase::create(&place, &config.rocks(), random_start(world), &record)?;
    Ok(())
}

fn random_node_id(entropy: &dyn Entropy) -> NodeId {
    loop {
        // 63 bits: tools that show ids as signed numbers stay right.
        if let Some(node) = NodeId::new(u64::from_be_bytes(random_array(entropy)) >> 1) {
            return node;
        }
    }
}
