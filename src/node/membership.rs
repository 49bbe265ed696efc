//! The members, for clients and operators: requests go to the leader, wherever that is, and its raft thread does them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::Weak;

use bytes::Bytes;
use crossbeam_channel::Sender;

use crate::fsm::state::MemberAddress;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::limits::MEMBER_CHANGE_DEADLINE;
use crate::node::cluster_config::check_address;
use crate::node::kek_meetings::KekMeetings;
use crate::node::member_wire::put_request;
use crate::node::member_wire::take_answer;
use crate::node::members_watch::MembersWatch;
use crate::node::ports::StatusCell;
use crate::peers::CallFailed;
use crate::peers::Peers;
use crate::raft::ChangeRefused;
use crate::raft::Input;
use crate::raft::MemberChange;
use crate::raft::MemberProgress;
use crate::raft::TransferRefused;
use crate::resp::ClusterMembers;
use crate::resp::MemberAnswer;
use crate::resp::MemberDone;
use crate::resp::MemberKnown;
use crate::resp::MemberRefused;
use crate::resp::MemberRequest;
use crate::resp::MemberShown;

/// See the head of this file.
pub(crate) struct NodeMembership {
    /// This node.
    pub(crate) node: NodeId,
    /// The raft thread.
    pub(crate) raft: Sender<Input>,
    /// Who leads.
    pub(crate) status: Arc<StatusCell>,
    /// Who the members are.
    pub(crate) members: Arc<MembersWatch>,
    /// What they have shown.
    pub(crate) meetings: Arc<KekMeetings>,
    /// The way to them; empty on a node that is alone.
    pub(crate) peers: OnceLock<Weak<Peers>>,
}

impl NodeMembership {
    /// Does it here, if this node leads.
    pub(crate) fn do_here(&self, request: MemberRequest, done: MemberDone) {
        if !self.status.load().is_leader {
            return done(Err(MemberRefused::NoLeader));
        }
        if let Err(refused) = self.check_new(&request) {
            return done(Err(refused));
        }
        let input = match request {
            MemberRequest::List => self.list(done),
            MemberRequest::Transfer(to) => transfer(to, done),
            other => match change_of(other) {
                Ok(change) => Input::Change { change, done: Box::new(move |result| done(proposed(result))) },
                Err(words) => return done(Err(MemberRefused::Words(words))),
            },
        };
        // Nothing happened: whoever asked may ask again.
        if let Err(not_taken) = self.raft.try_send(input) {
            not_now(not_taken.into_inner());
        }
    }

    fn list(&self, done: MemberDone) -> Input {
        let (known, leader) = (self.members.known(), self.node);
        Input::Progress(Box::new(move |progress: Vec<MemberProgress>| {
            let newest = progress.iter().map(|member| member.matched.0).max().unwrap_or(0);
            let of = |node: NodeId| progress.iter().find(|member| member.node == node);
            let shown = |member: &MemberAddress| MemberShown {
                node: member.node.value(),
                address: member.address.clone(),
                is_voter: known.members.voters.contains(&member.node.value()),
                is_leader: member.node == leader,
                is_active: of(member.node).is_some_and(|member| member.is_active),
                needs_snapshot: of(member.node).is_some_and(|member| member.needs_snapshot),
                behind: newest - of(member.node).map_or(0, |member| member.matched.0),
            };
            done(if progress.is_empty() {
                Err(MemberRefused::NoLeader)
            } else {
                Ok(MemberAnswer::List(known.addresses.iter().map(shown).collect()))
            });
        }))
    }

    /// Whether a node can be added: one that was taken out is not heard by those who know that.
    fn check_new(&self, request: &MemberRequest) -> Result<(), MemberRefused> {
        let MemberRequest::Add { node, .. } = request else { return Ok(()) };
        match NodeId::new(*node) {
            Some(node) if self.meetings.was_taken_out(node) => Err(MemberRefused::Words(format!(
                "node {node} was taken out of this cluster, and its number goes with it: give the new node another one"
            ))),
            _ => Ok(()),
        }
    }

    fn other_leader(&self) -> Option<NodeId> {
        NodeId::new(self.status.load().leader).filter(|leader| *leader != self.node)
    }
}

impl ClusterMembers for NodeMembership {
    fn ask(&self, request: MemberRequest, done: MemberDone) {
        if self.status.load().is_leader {
            return self.do_here(request, done);
        }
        let peers = self.peers.get().and_then(Weak::upgrade);
        let (Some(leader), Some(peers)) = (self.other_leader(), peers) else {
            return done(Err(MemberRefused::NoLeader));
        };
        let mut bytes = vec![MEMBERS];
        put_request(&request, &mut bytes);
        let answered = move |result: Result<Bytes, CallFailed>| {
            done(match result {
                Ok(answer) => take_answer(&answer),
                Err(CallFailed::NotSent(_)) => Err(MemberRefused::NoLeader),
                Err(CallFailed::Unknown) => Err(MemberRefused::Unknown),
            });
        };
        peers.call_then(leader, bytes.into(), MEMBER_CHANGE_DEADLINE, Box::new(answered));
    }

    fn known(&self) -> Vec<MemberKnown> {
        let (known, ports) = (self.members.known(), self.meetings.client_ports());
        known.addresses.iter().map(|member| shown(member, &known.members.voters, &ports)).collect()
    }

    fn node(&self) -> u64 {
        self.node.value()
    }

    fn leader(&self) -> Option<u64> {
        Some(self.status.load().leader).filter(|leader| *leader != 0)
    }

    fn term(&self) -> u64 {
        self.status.load().term.0
    }
}

fn shown(member: &MemberAddress, voters: &[u64], ports: &BTreeMap<NodeId, u16>) -> MemberKnown {
    let (host, port) = member.address.rsplit_once(':').unwrap_or((&member.address, "0"));
    MemberKnown {
        node: member.node.value(),
        host: host.trim_matches(['[', ']']).to_owned(),
        peer_port: port.parse().unwrap_or(0),
        client_port: ports.get(&member.node).copied().unwrap_or(0),
        is_voter: voters.contains(&member.node.value()),
    }
}

fn change_of(request: MemberRequest) -> Result<MemberChange, String> {
    let id = |node: u64| NodeId::new(node).ok_or_else(|| "a node is a number from 1 on".to_owned());
    Ok(match request {
        MemberRequest::Add { node, address } => {
            check_address(&address).map_err(|expected| format!("an address is {expected}, found {address:?}"))?;
            MemberChange::AddLearner { node: id(node)?, address }
        }
        MemberRequest::Promote(node) => MemberChange::Promote(id(node)?),
        MemberRequest::Remove(node) => MemberChange::Remove(id(node)?),
        MemberRequest::Replace { old, new } => MemberChange::Replace { old: id(old)?, new: id(new)? },
        MemberRequest::List | MemberRequest::Transfer(_) => return Err("this is no change".to_owned()),
    })
}

fn proposed(result: Result<Position, ChangeRefused>) -> Result<MemberAnswer, MemberRefused> {
    match result {
        Ok(position) => Ok(MemberAnswer::Proposed(position.index.0)),
        Err(ChangeRefused::NotLeader(_)) => Err(MemberRefused::NoLeader),
        Err(ChangeRefused::NotNow) => Err(MemberRefused::NotNow),
        Err(ChangeRefused::LeaderItself(_)) => Err(MemberRefused::LeaderItself),
        Err(refused) => Err(MemberRefused::Words(refused.to_string())),
    }
}

/// Answers what found raft's queue full, or raft gone.
fn not_now(input: Input) {
    match input {
        Input::Change { done, .. } => done(Err(ChangeRefused::NotNow)),
        Input::Transfer { done, .. } => done(Err(TransferRefused::NotNow)),
        Input::Progress(done) => done(Vec::new()),
        other => unreachable!("{other:?} is no request about members"),
    }
}

fn transfer(to: Option<u64>, done: MemberDone) -> Input {
    let to = to.and_then(NodeId::new);
    let done = move |result: Result<NodeId, TransferRefused>| {
        done(match result {
            Ok(node) | Err(TransferRefused::LeadsAlready(node)) => Ok(MemberAnswer::MovingTo(node.value())),
            Err(TransferRefused::NotLeader(_)) => Err(MemberRefused::NoLeader),
            Err(TransferRefused::NotNow) => Err(MemberRefused::NotNow),
            Err(refused) => Err(MemberRefused::Words(refused.to_string())),
        });
    };
    Input::Transfer { to, done: Box::new(done) }
}

/// The kind of a request between nodes.
pub(super) const MEMBERS: u8 = 2;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::fsm::state::Applied;
    use crate::ids::Term;
    use crate::keys::kek::KekSet;
    use crate::keys::kek_facts::KekFacts;
    use crate::keys::tests::kit::CLEAR_NAMES;
    use crate::keys::tests::kit::CLUSTER;
    use crate::members::Members;
    use crate::node::end::Ends;
    use crate::raft::Status;

    #[test]
    fn what_finds_the_queue_of_raft_full_is_answered_that_nothing_happened() {
        let node = |id: u64| NodeId::new(id).unwrap();
        let founding = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[1, 2, 3].map(node)), Vec::new());
        let members = Arc::new(MembersWatch::new(node(1), &founding));
        let ours = KekFacts::of(&KekSet::default(), CLUSTER);
        let meetings = Arc::new(KekMeetings::new(node(1), ours, 1, Arc::clone(&members), Ends::new().0));
        let (raft, inputs) = bounded(1);
        raft.send(Input::Wake).unwrap();
        let status = Arc::<StatusCell>::default();
        status.store(Status { is_leader: true, term: Term(2), ..Status::default() });
        let membership = NodeMembership { node: node(1), raft, status, members, meetings, peers: OnceLock::new() };
        for (request, refused) in [
            (MemberRequest::Promote(2), MemberRefused::NotNow),
            (MemberRequest::Transfer(None), MemberRefused::NotNow),
            (MemberRequest::List, MemberRefused::NoLeader),
        ] {
            let (done, answer) = channel();
            membership.do_here(request, Box::new(move |result| done.send(result).unwrap()));
            assert_eq!(answer.try_recv().unwrap(), Err(refused));
        }
        assert_eq!(inputs.len(), 1, "nothing was queued");
    }
}
