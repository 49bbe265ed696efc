//! What the library is told of a snapshot: where it ends. The bytes go another way.

use ::raft::eraftpb::Snapshot;

use crate::ids::Position;
use crate::members::Members;
use crate::raft::members_change::to_conf_state;

/// A point of the state of which there is a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// Everything up to here is in it.
    pub position: Position,
    /// The members as of there.
    pub members: Members,
}

impl SnapshotPoint {
    /// The snapshot as the library sends it: without data.
    pub(super) fn to_library(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.position.index.0, self.position.term.0);
        metadata.set_conf_state(to_conf_state(&self.members));
        snapshot
    }
}
