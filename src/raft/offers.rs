//! Snapshots, as far as agreement has to do with them: a leader offers a point of its state to who lacks entries that it has
//! dropped, a follower asks for it. The bytes go another way.
//!
//! The library pauses a member that it has offered a snapshot until somebody says how that ended. Nobody says so here: the
//! offer is taken back after a while and made again. Once the member holds the point, it steps the offer like any message,
//! answers with its commit, and gets entries again. So a transfer that takes long, fails or dies with its process needs no
//! report, and a snapshot never comes out of the library: a node that lacks one installs it at a start, before raft begins.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use ::raft::ProgressState;
use ::raft::Raft;
use ::raft::RawNode;
use ::raft::SnapshotStatus;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::SNAPSHOT_OFFER_EVERY;
use crate::raft::log::Log;

/// When the offers that are under way are taken back.
#[derive(Debug, Default)]
pub(super) struct Offers {
    due: BTreeMap<u64, Duration>,
}

impl Offers {
    /// Takes back the offers whose time has come; the library makes them again at the next heartbeat.
    pub(super) fn pass_time(&mut self, node: &mut RawNode<Log>, now: Duration) {
        let offered = node.raft.prs().iter().filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let offered: BTreeSet<u64> = offered.map(|(id, _)| *id).collect();
        self.due.retain(|id, _| offered.contains(id));
        for id in offered {
            if *self.due.entry(id).or_insert(now + SNAPSHOT_OFFER_EVERY) <= now {
                self.due.remove(&id);
                node.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }
}

/// A snapshot that a leader offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// Who.
    pub leader: NodeId,
    /// Where it ends.
    pub position: Position,
}

/// What a leader offers that this node does not hold.
pub(super) fn lacking(message: &Message, raft: &Raft<Log>) -> Option<SnapshotOffer> {
    if message.get_msg_type() != MessageType::MsgSnapshot || message.term < raft.term || message.to != raft.id {
        return None;
    }
    let metadata = message.get_snapshot().get_metadata();
    let position = Position { term: Term(metadata.term), index: Index(metadata.index) };
    let is_held =
        position.index.0 <= raft.raft_log.committed || raft.raft_log.match_term(position.index.0, position.term.0);
    let offer = |leader| SnapshotOffer { leader, position };
    if is_held { None } else { NodeId::new(message.from).map(offer) }
}
