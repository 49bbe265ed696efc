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

pub(super) mod giver;
pub(super) mod install;
mod manifest;
pub(super) mod numbers;
mod pace;
pub(super) mod taker;
mod verify;

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::fsm::base::RowBase;
use crate::fsm::rocks::base::BasePlace;
use crate::keys::node_keys::NodeKeys;
use crate::node::config::Config;
use crate::node::datadir::DataDir;
use crate::node::end::Ends;
use crate::node::retention::TrimHold;
use crate::node::snapshot::giver::SnapshotGiver;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::node::snapshot::taker::SnapshotTaker;
use crate::raft::Input;
pub use verify::SnapshotRefused;

/// Both sides, of which one node needs one at a time.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pub(crate) giver: Arc<SnapshotGiver>,
    pub(crate) taker: Arc<SnapshotTaker>,
}

/// What both sides need of the node.
pub(crate) struct SnapshotParts<'a> {
    /// The state.
    pub(crate) base: &'a Arc<dyn RowBase>,
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
}

impl Snapshots {
    /// Of a node of several; a node that is alone has nobody to give one to.
    pub(crate) fn of(config: &Config, directory: &DataDir, parts: &SnapshotParts<'_>) -> Option<Snapshots> {
        config.cluster.as_ref()?;
        let place = BasePlace { state: directory.outgoing(), flush: directory.outgoing() };
        let (base, raft, ends) = (Arc::downgrade(parts.base), parts.raft.clone(), parts.ends.clone());
        let (keys, numbers) = (|| Arc::clone(parts.node_keys), || Arc::clone(parts.numbers));
        let (incoming, rocks) = (directory.incoming(), config.rocks());
        let taker = SnapshotTaker::new(incoming, rocks, keys(), numbers(), SNAPSHOT, ends);
        let held = (Arc::clone(parts.hold), numbers());
        let giver = SnapshotGiver::new(base, config.rocks(), place, keys(), held, raft);
        Some(Snapshots { giver, taker: Arc::new(taker) })
    }
}

debug_fields!(self: SnapshotParts<'_> {});

/// The kind of requests for snapshots, among those of peers.
pub(super) const SNAPSHOT: u8 = 3;
