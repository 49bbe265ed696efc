//! What both sides of snapshots need of the node.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::fsm::base::RowBase;
use crate::keys::node_keys::NodeKeys;
use crate::node::end::Ends;
use crate::node::retention::TrimHold;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::node::snapshot::places::SnapshotPlaces;
use crate::raft::Input;
use crate::world::Clock;

/// See the head of this file.
pub(crate) struct SnapshotParts<'a> {
    /// The state.
    pub(crate) base: &'a Arc<dyn RowBase>,
    /// The disk under it.
    pub(crate) disk: &'a Arc<dyn SnapshotDisk>,
    /// Where snapshots lie.
    pub(crate) places: &'a SnapshotPlaces,
    /// The keys.
    pub(crate) node_keys: &'a Arc<NodeKeys>,
    /// What the log keeps.
    pub(crate) hold: &'a Arc<TrimHold>,
    /// For the metrics.
    pub(crate) numbers: &'a Arc<SnapshotNumbers>,
    /// The raft thread.
    pub(crate) raft: &'a Sender<Input>,
    /// Where an install is asked for.
    pub(crate) ends: &'a Ends,
    /// How long a transfer takes, and since when nobody has asked for one.
    pub(crate) clock: &'a Arc<dyn Clock>,
}

debug_fields!(self: SnapshotParts<'_> { places: self.places });
