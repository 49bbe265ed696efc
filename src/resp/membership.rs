//! What clients and operators see of the members, and how an operator changes them. This room knows no raft.

/// What an operator asks about the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberRequest {
    /// Who they are and how far each is.
    List,
    /// A node becomes a learner.
    Add {
        /// Its id.
        node: u64,
        /// `HOST:PORT` for the other nodes.
        address: String,
    },
    /// A learner becomes a voter.
    Promote(u64),
    /// A member is none any more.
    Remove(u64),
    /// A learner takes the place of a voter, in one step.
    Replace {
        /// The voter that goes.
        old: u64,
        /// The learner.
        new: u64,
    },
    /// Another voter leads; the one that has most of the log if none is named.
    Transfer(Option<u64>),
}

/// A member, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberShown {
    /// Its id.
    pub node: u64,
    /// `HOST:PORT` for the other nodes; empty for a node that is alone.
    pub address: String,
    /// It has a vote.
    pub is_voter: bool,
    /// It leads.
    pub is_leader: bool,
    /// It has answered within an election timeout, or leads.
    pub is_active: bool,
    /// It needs a snapshot first.
    pub needs_snapshot: bool,
    /// Entries of the log that it is not known to have.
    pub behind: u64,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberAnswer {
    /// Ascending by node.
    List(Vec<MemberShown>),
    /// The change stands in the log at this index, and holds once that is applied.
    Proposed(u64),
    /// The leadership is on its way to this node.
    MovingTo(u64),
}

/// Why nothing became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberRefused {
    /// Nobody leads, or the leader could not be asked. Nothing was done.
    NoLeader,
    /// Another change is under way, or the leader has just begun. Nothing was done.
    NotNow,
    /// The leader cannot remove itself. Nothing was done.
    LeaderItself,
    /// The reason in words. Nothing was done.
    Words(String),
    /// Nobody knows.
    Unknown,
}

/// Called once; must not block.
pub type MemberDone = Box<dyn FnOnce(Result<MemberAnswer, MemberRefused>) + Send>;

/// A member and where it is, as known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberKnown {
    /// Its id.
    pub node: u64,
    /// Its host; empty where it is not known.
    pub host: String,
    /// Port for the other nodes, 0 where it is not known.
    pub peer_port: u16,
    /// Port for clients, 0 where it is not known.
    pub client_port: u16,
    /// It has a vote.
    pub is_voter: bool,
}

/// The members of the node's cluster.
pub trait ClusterMembers: Send + Sync {
    /// Has the leader do it, wherever that is. Must not block.
    fn ask(&self, request: MemberRequest, done: MemberDone);

    /// Who they are, as applied here, ascending by node.
    fn known(&self) -> Vec<MemberKnown>;

    /// This node.
    fn node(&self) -> u64;

    /// Who leads, as far as this node knows.
    fn leader(&self) -> Option<u64>;

    /// The term.
    fn term(&self) -> u64;
}
