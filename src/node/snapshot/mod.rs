//! Snapshots: the state of a leader, as files, for a member that lacks entries that are dropped.
//!
//! ```text
//! leader    raft wants a snapshot -> checkpoint of the state in outgoing/, its manifest -> raft offers its position
//! follower  is offered one beyond its log -> fetches manifest and files, piece by piece, into incoming/ -> verifies and syncs
//!           all of it, writes COMPLETE -> the node stops in order and starts anew
//! start     finds COMPLETE -> the log begins anew behind the snapshot -> incoming/state becomes state/
//! leader    offers it again -> the follower has it, and answers -> entries follow
//! ```
//!
//! Every step can be cut off: see `install.rs` for those of a start. Rows are sealed as they lie, and the state record is
//! verified as at every start. Pieces come on the connection that the follower made, where nothing but answers to its own
//! requests flows.

pub(crate) mod disk;
pub(crate) mod fetch;
pub(crate) mod files;
pub(crate) mod giver;
pub(crate) mod install;
mod manifest;
pub(crate) mod numbers;
mod pace;
pub(crate) mod parts;
pub(crate) mod places;
pub(crate) mod taker;
mod verify;

use std::sync::Arc;

use crate::node::snapshot::giver::SnapshotGiver;
use crate::node::snapshot::parts::SnapshotParts;
use crate::node::snapshot::taker::SnapshotTaker;
pub use verify::SnapshotRefused;

/// Both sides, of which one node needs one at a time.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pub(crate) giver: Arc<SnapshotGiver>,
    pub(crate) taker: Arc<SnapshotTaker>,
}

impl Snapshots {
    /// Of a node of several; a node that is alone has nobody to give one to.
    pub(crate) fn new(parts: &SnapshotParts<'_>) -> Snapshots {
        Snapshots { giver: Arc::new(SnapshotGiver::new(parts)), taker: Arc::new(SnapshotTaker::new(parts, SNAPSHOT)) }
    }
}

/// The kind of requests for snapshots, among those of peers.
pub(super) const SNAPSHOT: u8 = 3;
