//! What the threads of a node share with each other.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use crossbeam_channel::Sender;

use crate::apply::metrics::Metrics;
use crate::fsm::state::Applied;
use crate::ids::NodeId;
use crate::keys::kek_facts::KekFacts;
use crate::keys::node_keys::NodeKeys;
use crate::node::end::Ends;
use crate::node::kek_meetings::KekMeetings;
use crate::node::members_watch::MembersWatch;
use crate::node::membership::NodeMembership;
use crate::node::ports::StatusCell;
use crate::node::retention::TrimHold;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::propose::AppliedFacts;
use crate::propose::ReadPoints;
use crate::propose::Waiters;
use crate::raft::Input;
use crate::world::World;

/// What threads share with each other.
pub(super) struct Links {
    pub(super) raft: Sender<Input>,
    pub(super) facts: Arc<AppliedFacts>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) read_points: Arc<ReadPoints>,
    pub(super) status: Arc<StatusCell>,
    pub(super) voters: Arc<AtomicUsize>,
    pub(super) members: Arc<MembersWatch>,
    pub(super) keks: Arc<KekMeetings>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) hold: Arc<TrimHold>,
    pub(super) snapshots: Arc<SnapshotNumbers>,
}

impl Links {
    /// As of the state at the start.
    pub(super) fn new(
        node: NodeId,
        applied: &Applied,
        raft: Sender<Input>,
        node_keys: &NodeKeys,
        world: &World,
        ends: &Ends,
        client_port: u16,
    ) -> Links {
        let clock = Arc::clone(&world.clock);
        let members = Arc::new(MembersWatch::new(node, applied));
        let shown = KekFacts::of(node_keys.keks(), node_keys.cluster());
        Links {
            raft,
            facts: Arc::new(AppliedFacts::new(clock, applied.last_stamp_ms, applied.client_command_applied)),
            waiters: Arc::new(Waiters::new()),
            read_points: Arc::new(ReadPoints::new(applied.position.index)),
            status: Arc::new(StatusCell::default()),
            voters: Arc::new(AtomicUsize::new(applied.members.voters.len())),
            keks: Arc::new(KekMeetings::new(node, shown, client_port, Arc::clone(&members), ends.clone())),
            members,
            metrics: Arc::new(Metrics::default()),
            hold: Arc::default(),
            snapshots: Arc::default(),
        }
    }

    /// The members, for clients and operators.
    pub(super) fn membership(&self, node: NodeId) -> Arc<NodeMembership> {
        Arc::new(NodeMembership {
            node,
            raft: self.raft.clone(),
            status: Arc::clone(&self.status),
            members: Arc::clone(&self.members),
            meetings: Arc::clone(&self.keks),
            peers: OnceLock::new(),
        })
    }
}
