//! The way to the peers, as a trait.
//!
//! A transport may lose, repeat and reorder messages; raft sends again. Proposals never travel: an entry that another node
//! appends stands at another position than the one it was sealed for, so both ends drop them.

use bytes::Bytes;

use ::raft::Raft;
use ::raft::eraftpb::Entry;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use crate::codec::CodecError;
use crate::ids::Index;
use crate::ids::Term;
use crate::limits::FRAME_BYTES_MAX;
use crate::raft::fatal::RaftFatal;
use crate::raft::log::Log;
use crate::raft::log::cost;
use crate::raft::offers::SnapshotOffer;
use crate::raft::offers::lacking;
use crate::raft::wire;

/// A message between members. Only this room looks inside.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage(Message);

impl PeerMessage {
    /// `None` for a message that must never travel: a proposal, or one that the library sends to itself.
    pub(super) fn new(message: Message) -> Option<PeerMessage> {
        may_travel(message.get_msg_type()).then_some(PeerMessage(message))
    }

    /// The same as messages that each fit a frame. The library gathers entries for one member without a bound when it sends
    /// several appends in one step, as it does to a member that comes back.
    pub(super) fn split(self) -> Vec<PeerMessage> {
        let mut rest = self.0;
        let mut parts = Vec::new();
        while rest.get_msg_type() == MessageType::MsgAppend
            && let Some(count) = fitting(&rest.entries)
        {
            let mut entries = rest.take_entries().into_vec();
            let behind = entries.split_off(count);
            let last = entries.last().expect("at least one fits");
            let (index, term) = (last.index, last.term);
            let mut part = rest.clone();
            part.set_entries(entries.into());
            (rest.index, rest.log_term) = (index, term);
            rest.set_entries(behind.into());
            parts.push(PeerMessage(part));
        }
        parts.push(PeerMessage(rest));
        parts
    }

    /// `None` as for `new`, on the receiving side.
    pub(super) fn into_message(self) -> Option<Message> {
        may_travel(self.0.get_msg_type()).then_some(self.0)
    }

    /// The message if raft may step it; one that no member sends is dropped. `may_lead`: a leader may hand over to this node.
    ///
    /// # Errors
    /// [`RaftFatal::LogLost`]: the leader counts on entries that are not here.
    pub(super) fn admit(self, raft: &Raft<Log>, may_lead: bool) -> Result<Option<Message>, RaftFatal> {
        let Some(mut message) = self.into_message() else { return Ok(None) };
        let is_between_members = message.to == raft.id && message.from != raft.id && message.from != ::raft::INVALID_ID;
        let last = raft.raft_log.last_index();
        let may_step = match message.get_msg_type() {
            _ if !is_between_members => false,
            // The library must never restore one: it steps what this node holds already, and answers with its commit.
            MessageType::MsgSnapshot => lacking(&message, raft).is_none(),
            MessageType::MsgTimeoutNow => may_lead,
            MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => message.entries.len() == 1,
            MessageType::MsgHeartbeat if message.term >= raft.term && message.commit > last => {
                return Err(RaftFatal::LogLost { matched: Index(message.commit), last: Index(last) });
            }
            MessageType::MsgAppend => is_well_formed(&message),
            MessageType::MsgAppendResponse => {
                let matched = raft.prs().get(message.from).map_or(0, |progress| progress.matched);
                message.term != raft.term || is_of_now(&mut message, matched)
            }
            _ => true,
        };
        Ok(may_step.then_some(message))
    }

    /// The snapshot that it offers and that this node does not hold.
    pub(super) fn offers(&self, raft: &Raft<Log>) -> Option<SnapshotOffer> {
        lacking(&self.0, raft)
    }

    /// Whether it asks for a vote, or for the promise of one.
    pub(super) fn asks_for_votes(&self) -> bool {
        matches!(self.0.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
    }

    /// Appends its bytes to `head`, but those of [`PeerMessage::payloads`], which belong right behind. Drawn in `wire.rs`.
    pub fn put_head(&self, head: &mut Vec<u8>) {
        wire::put_head(&self.0, head);
    }

    /// The bytes behind the head, in their order, as they lie in memory.
    pub fn payloads(&self) -> impl Iterator<Item = &Bytes> {
        wire::payloads(&self.0)
    }

    /// Bytes on the wire, head and payloads.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        wire::head_bytes(&self.0) + self.payloads().map(Bytes::len).sum::<usize>()
    }

    /// The message of such bytes, which its entries share. Nothing that raft counts with can overflow.
    ///
    /// # Errors
    /// [`CodecError`]: a bound is exceeded, or no member sends that.
    pub fn read(bytes: &Bytes) -> Result<PeerMessage, CodecError> {
        wire::read(bytes).map(PeerMessage)
    }

    /// Whether it carries entries or a snapshot: a long one must not delay heartbeats and votes.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        matches!(self.0.get_msg_type(), MessageType::MsgAppend | MessageType::MsgSnapshot)
    }

    /// What its sender acknowledges with it: a vote, or that its log reaches an index, in a term.
    #[must_use]
    pub fn acknowledges(&self) -> Option<(Term, Index)> {
        let index = match self.0.get_msg_type() {
            MessageType::MsgAppendResponse => self.0.index,
            MessageType::MsgRequestVoteResponse => 0,
            _ => return None,
        };
        (!self.0.reject).then_some((Term(self.0.term), Index(index)))
    }

    /// The node that it is for.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.0.to
    }

    /// The node that sent it.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.0.from
    }

    /// Bytes of the entries in it.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.0.entries.iter().map(|entry| entry.data.len()).sum()
    }

    /// The kind, as in metric labels.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.0.get_msg_type() {
            MessageType::MsgAppend => "append",
            MessageType::MsgAppendResponse => "append_answer",
            MessageType::MsgRequestVote => "vote",
            MessageType::MsgRequestVoteResponse => "vote_answer",
            MessageType::MsgRequestPreVote => "prevote",
            MessageType::MsgRequestPreVoteResponse => "prevote_answer",
            MessageType::MsgHeartbeat => "heartbeat",
            MessageType::MsgHeartbeatResponse => "heartbeat_answer",
            MessageType::MsgReadIndex => "read",
            MessageType::MsgReadIndexResp => "read_answer",
            MessageType::MsgTimeoutNow => "timeout_now",
            MessageType::MsgTransferLeader => "transfer",
            MessageType::MsgSnapshot => "snapshot",
            _ => "other",
        }
    }

    #[cfg(test)]
    pub(super) fn forged(message: Message) -> PeerMessage {
        PeerMessage(message)
    }
}

fn may_travel(kind: MessageType) -> bool {
    !matches!(
        kind,
        MessageType::MsgPropose
            | MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum
    )
}

/// How many of the first entries go together, at least one; `None` if all do.
fn fitting(entries: &[Entry]) -> Option<usize> {
    let mut bytes: u64 = 0;
    let is_beyond = |entry: &Entry| {
        let is_first = bytes == 0;
        bytes += cost(entry);
        !is_first && bytes > FRAME_BYTES_MAX as u64
    };
    entries.iter().position(is_beyond)
}

/// Consecutive behind the matched position, terms ascending up to the sender's: the library trusts that blindly.
fn is_well_formed(message: &Message) -> bool {
    let mut index = message.index;
    let mut term = message.log_term;
    message.entries.iter().all(|entry| {
        let follows = index.checked_add(1) == Some(entry.index) && entry.term >= term && entry.term <= message.term;
        (index, term) = (entry.index, entry.term);
        follows
    })
}

/// Whether an answer to an append says anything new to a leader that knows its sender to hold the log up to `matched`. A refusal at
/// or below that is a late one. The library takes it for new where it probes, goes back to entries that it may have dropped, and
/// then sends nothing any more. For the same reason no refusal leads back below `matched`.
fn is_of_now(answer: &mut Message, matched: u64) -> bool {
    if !answer.reject || matched == 0 {
        return true;
    }
    if answer.reject_hint < matched {
        // Without a term the library looks for no earlier place by itself.
        (answer.reject_hint, answer.log_term) = (matched, 0);
    }
    answer.index > matched
}

/// Sends messages to members; never blocks.
pub trait Transport: Send {
    /// Sends `message` to the node it is for, or drops it (and counts that).
    fn send(&mut self, message: PeerMessage);
}

/// No peers: a cluster of one.
#[derive(Debug, Default)]
pub struct Nowhere;

impl Transport for Nowhere {
    fn send(&mut self, _message: PeerMessage) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PEER_FRAME_BYTES_MAX;
    use crate::limits::PEER_QUEUE_MAX;
    use crate::testing::net::Network;

    fn message(kind: MessageType, to: u64) -> Message {
        let mut message = Message::default();
        message.set_msg_type(kind);
        message.to = to;
        message
    }

    #[test]
    fn proposals_are_dropped_at_both_ends() {
        assert!(PeerMessage::new(message(MessageType::MsgPropose, 2)).is_none());
        assert!(PeerMessage::forged(message(MessageType::MsgPropose, 2)).into_message().is_none());
        assert!(PeerMessage::forged(message(MessageType::MsgHup, 2)).into_message().is_none());
        assert!(PeerMessage::new(message(MessageType::MsgAppend, 2)).is_some());
    }

    #[test]
    fn no_refusal_leads_a_leader_back_below_what_a_follower_holds() {
        let refused = |index: u64, hint: u64| {
            let mut answer = message(MessageType::MsgAppendResponse, 1);
            (answer.index, answer.reject, answer.reject_hint, answer.log_term) = (index, true, hint, 3);
            answer
        };
        for (index, hint, matched, is_new, hint_after) in
            [(9, 4, 0, true, 4), (9, 4, 6, true, 6), (9, 7, 6, true, 7), (6, 4, 6, false, 6), (5, 4, 6, false, 6)]
        {
            let mut answer = refused(index, hint);
            assert_eq!(
                (is_of_now(&mut answer, matched), answer.reject_hint),
                (is_new, hint_after),
                "{index} {hint} {matched}"
            );
            assert_eq!(answer.log_term, if hint_after == hint { 3 } else { 0 });
        }
        let mut good = Message { reject: false, ..refused(5, 0) };
        assert!(is_of_now(&mut good, 6), "what is no refusal is for the library to judge");
    }

    #[test]
    fn an_append_that_fits_no_frame_is_several_that_follow_each_other() {
        let mut long = message(MessageType::MsgAppend, 2);
        (long.from, long.term, long.index, long.log_term, long.commit) = (1, 7, 10, 3, 9);
        for (index, bytes) in (11..).zip([3 << 20, 400 << 10, 400 << 10, 400 << 10, 1, 8 << 20, 1]) {
            let term = if index < 14 { 4 } else { 7 };
            long.mut_entries().push(Entry { term, index, data: vec![1; bytes].into(), ..Entry::default() });
        }
        let entries = long.entries.clone();
        let parts = PeerMessage::forged(long).split();
        let counts: Vec<usize> = parts.iter().map(|part| part.0.entries.len()).collect();
        assert_eq!(counts, [1, 2, 2, 1, 1]);
        let (mut index, mut term) = (10, 3);
        for part in &parts {
            assert_eq!((part.0.index, part.0.log_term, part.0.term, part.0.commit), (index, term, 7, 9));
            assert!(is_well_formed(&part.0) && part.wire_bytes() < PEER_FRAME_BYTES_MAX);
            (index, term) = part.0.entries.last().map(|last| (last.index, last.term)).unwrap();
        }
        let joined: Vec<Entry> = parts.into_iter().flat_map(|part| part.0.entries.into_vec()).collect();
        assert_eq!(joined, entries.into_vec());
        let short = PeerMessage::forged(message(MessageType::MsgHeartbeat, 2));
        assert_eq!(short.clone().split(), [short]);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let network = Network::default();
        let mut endpoint = network.endpoint();
        for _ in 0..PEER_QUEUE_MAX + 3 {
            endpoint.send(PeerMessage::forged(message(MessageType::MsgHeartbeat, 2)));
        }
        assert_eq!(network.dropped(), 3);
        assert_eq!(network.take(2).len(), PEER_QUEUE_MAX);
        assert!(network.take(2).is_empty());
        assert!(network.take(3).is_empty());
    }
}
