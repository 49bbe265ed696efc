//! What a crash of a simulated node leaves, and what every life of it begins with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::keys::identity::Identity;
use crate::keys::kek::KekSet;
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
use crate::wal::LogConfig;

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
pub(super) fn places() -> SnapshotPlaces {
    let [state, incoming, outgoing, old] = ["state", "incoming", "outgoing", "old"].map(|name| Path::new(name).into());
    SnapshotPlaces { state, incoming, outgoing, old }
}

/// Every node has the same KEK.
pub(super) fn keks_of(mode: Mode) -> KekSet {
    if mode == Mode::Off { KekSet::default() } else { keks(7) }
}
