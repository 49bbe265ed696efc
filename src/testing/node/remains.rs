//! What a crash of a simulated node leaves, and what every life of it begins with.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use zeroize::Zeroizing;

use crate::crypto::names::ClearNameKey;
use crate::fsm::base::StateRows;
use crate::fsm::state::Applied;
use crate::fsm::state::MemberAddress;
use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::keys::identity::Identity;
use crate::keys::identity::LogKey;
use crate::keys::kek::KekSet;
use crate::members::Members;
use crate::node::snapshot::install::COMPLETE;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::node::snapshot::places::SnapshotPlaces;
use crate::propose::Mode;
use crate::raft::ClockDrift;
use crate::testing::base::MemoryBase;
use crate::testing::clock::SimClock;
use crate::testing::disk::Platters;
use crate::testing::files::SimFiles;
use crate::testing::leader::keks;
use crate::testing::seed::Seeded;
use crate::wal::LogConfig;
use crate::wal::create;

/// What a crash leaves.
pub(super) struct Remains {
    pub(super) identity: Identity,
    pub(super) mode: Mode,
    pub(super) config: LogConfig,
    pub(super) platters: Platters,
    /// The state, and snapshots beside it.
    pub(super) files: SimFiles,
    pub(super) places: SnapshotPlaces,
    /// Of all lives.
    pub(super) numbers: Arc<SnapshotNumbers>,
    pub(super) clock: Arc<SimClock>,
    /// Whether its cluster has several nodes.
    pub(super) is_of_several: bool,
    /// Reads by the leader's lease, from the next start on.
    pub(super) lease: Option<ClockDrift>,
    /// Behind which index its log began when it was opened last.
    pub(super) log_begins: AtomicU64,
}

impl Remains {
    /// Of a node of a new cluster: all founders write the same members as state at index 1, and their logs begin compacted there.
    ///
    /// # Panics
    /// If the log cannot be made.
    pub(super) fn found(node: NodeId, founders: &[NodeId], mode: Mode, chance: &Seeded) -> Remains {
        let keks = keks_of(mode);
        let entropy = Arc::new(Seeded::new(chance.bits()));
        let log_key = LogKey::make(&keks, node, CLUSTER, &*entropy);
        let mut config = LogConfig::new(PathBuf::new(), node, CLUSTER);
        config.log_key = log_key.map(|key| Zeroizing::new(*key.expose()));
        (config.slots, config.slots_max) = (LOG_SLOTS, 2 * LOG_SLOTS);
        config.slot_bytes = if founders.len() == 1 { SLOT_BYTES_OF_ONE } else { SLOT_BYTES_OF_MANY };
        config.entry_bytes_max = ENTRY_BYTES_MAX;
        let (platters, clock) = (Platters::default(), Arc::<SimClock>::default());
        let founding = founding(founders);
        let disk = Box::new(platters.open(None));
        let made = create(&config, disk, clock.clone(), entropy, founding.position, &mut |_, _| ());
        made.map(drop).expect("an empty disk takes a log");
        let base = MemoryBase::new(StateRows { applied: founding.encode(None), keyring: None });
        let (places, is_of_several) = (places(), founders.len() > 1);
        let files = SimFiles::with_state(&places.state, base);
        let identity = Identity { node, cluster: CLUSTER, log_slots: LOG_SLOTS };
        Remains {
            identity,
            mode,
            config,
            platters,
            files,
            places,
            numbers: Arc::default(),
            clock,
            is_of_several,
            lease: None,
            log_begins: AtomicU64::new(0),
        }
    }

    /// The state that a start would find; none between the two renames of an install.
    pub(super) fn base(&self) -> Option<Arc<MemoryBase>> {
        self.files.state(&self.places.state)
    }

    /// Whether a start would install something, or clear away what it installed.
    pub(super) fn has_complete_snapshot(&self) -> bool {
        self.files.is_there(&self.places.incoming.join(COMPLETE))
    }
}

/// The folders of a simulated node.
fn places() -> SnapshotPlaces {
    let [state, incoming, outgoing, old] = ["state", "incoming", "outgoing", "old"].map(|name| Path::new(name).into());
    SnapshotPlaces { state, incoming, outgoing, old }
}

/// Every node has the same KEK.
pub(super) fn keks_of(mode: Mode) -> KekSet {
    if mode == Mode::Off { KekSet::default() } else { keks(7) }
}

fn founding(founders: &[NodeId]) -> Applied {
    let address = |node: &NodeId| MemberAddress { node: *node, address: String::new() };
    Applied::founding(
        CLUSTER,
        if founders.len() > 1 { ClearNameKey::UNDRAWN } else { ClearNameKey([0x52; 32]) },
        Members::founders(founders),
        founders.iter().map(address).collect(),
    )
}

/// The cluster of every simulation.
const CLUSTER: ClusterId = ClusterId([0x51; 16]);
const LOG_SLOTS: u32 = 4;
/// Small enough for the log of a sole node to go through all slots in a run, again and again.
const SLOT_BYTES_OF_ONE: u64 = 64 << 10;
/// Larger, so that a node that was away for a short while needs no snapshot.
const SLOT_BYTES_OF_MANY: u64 = 128 << 10;
const ENTRY_BYTES_MAX: usize = 16 << 10;
