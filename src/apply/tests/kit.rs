//! A leader that makes real entries, and remembers them as the log.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Purpose;
use crate::crypto::seal::seal_control;
use crate::crypto::seal::seal_entries;
use crate::crypto::wrap::Kek;
use crate::fsm::codec::encode_batch;
use crate::fsm::codec::encode_control;
use crate::fsm::command::Expiry;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::Write;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::change::Change;
use crate::keys::kek::KekSet;
use crate::keys::kek::from_bytes;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_cutover;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::ring::Ring;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::propose::Outcome;
use crate::raft::Committed;
use crate::raft::Members;
use crate::testing::seed::Seeded;
use crate::wal::EntryKind;
use crate::wal::LogEntry;
use crate::world::random_array;

pub(super) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

pub(super) fn kek(byte: u8) -> Kek {
    from_bytes(&Zeroizing::new([byte; 32]))
}

pub(super) fn keks(byte: u8) -> KekSet {
    KekSet::new(vec![kek(byte)]).unwrap()
}

pub(super) fn no_keks() -> KekSet {
    KekSet::new(Vec::new()).unwrap()
}

/// What a waiter was told: the replies, or why there are none.
pub(super) fn word(outcome: Outcome) -> Result<Vec<Reply>, &'static str> {
    match outcome {
        Outcome::Replies(replies) => Ok(replies),
        Outcome::TryAgain => Err("try again"),
        Outcome::NotLeader(_) => Err("not leader"),
        Outcome::TooLarge => Err("too large"),
        Outcome::Unknown => Err("unknown"),
    }
}

pub(super) fn at(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

pub(super) fn set(key: &str, value: &str) -> Write {
    Write::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        when: SetIf::Always,
        expiry: Expiry::Clear,
        reply: SetReply::Ok,
    }
}

pub(super) fn delete(key: &str) -> Write {
    Write::Delete { keys: vec![Bytes::copy_from_slice(key.as_bytes())] }
}

pub(super) fn incr(key: &str) -> Write {
    Write::IncrementBy { key: Bytes::copy_from_slice(key.as_bytes()), delta: 1 }
}

pub(super) fn append(key: &str, value: &str) -> Write {
    Write::Append { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// Makes the entries that a leader of this version makes, and remembers them as the log.
pub(super) struct Leader {
    pub(super) chance: Seeded,
    pub(super) ring: Ring,
    pub(super) term: u64,
    pub(super) log: Vec<Committed>,
    pub(super) stamp_ms: u64,
    has_clients: bool,
}

impl Leader {
    pub(super) fn new(seed: u64) -> Leader {
        Leader::with(seed, keks(7))
    }

    /// A leader that wraps new keys by the first of `keks` and can unwrap by all of them.
    pub(super) fn with(seed: u64, keks: KekSet) -> Leader {
        let ring = Ring::new(CLUSTER, keks);
        Leader { chance: Seeded::new(seed), ring, term: 1, log: Vec::new(), stamp_ms: 1_000_000, has_clients: false }
    }

    /// A log that begins sealed: empty entry, bootstrap that is the cutover, opener.
    pub(super) fn sealed(seed: u64) -> Leader {
        let mut leader = Leader::new(seed);
        leader.empty();
        leader.bootstrap(true);
        leader.opener();
        leader
    }

    pub(super) fn next_position(&self) -> Position {
        at(self.term, self.log.len() as u64 + 2)
    }

    pub(super) fn entry(&self, index: u64) -> &LogEntry {
        &self.log[usize::try_from(index - 2).unwrap()].entry
    }

    pub(super) fn entry_mut(&mut self, index: u64) -> &mut LogEntry {
        &mut self.log[usize::try_from(index - 2).unwrap()].entry
    }

    pub(super) fn empty(&mut self) -> Position {
        self.push(EntryKind::Normal, Bytes::new(), None)
    }

    /// A new term as a node begins it: the empty entry, then an opener if sealing is on.
    pub(super) fn elect(&mut self) {
        self.term += 1;
        self.empty();
        if self.ring.cutover() != Index::NEVER {
            self.opener();
        }
    }

    pub(super) fn bootstrap(&mut self, is_cutover: bool) -> Position {
        let change = make_bootstrap(self.ring.keks(), CLUSTER, is_cutover, &self.chance).unwrap();
        self.control(&change)
    }

    pub(super) fn cutover(&mut self) -> Position {
        let change = make_cutover(self.ring.view().keyring().unwrap());
        self.control(&change)
    }

    pub(super) fn opener(&mut self) -> Position {
        let change = make_opener(Term(self.term), &self.chance);
        self.control(&change)
    }

    pub(super) fn rotate(&mut self, purpose: Purpose) -> Position {
        let view = self.ring.view();
        let change = make_rotate(self.ring.keks(), view.keyring().unwrap(), purpose, &self.chance).unwrap();
        self.control(&change)
    }

    /// A control entry in the clear or sealed, as its place asks for; the leader's ring follows if it applies.
    pub(super) fn control(&mut self, change: &Change) -> Position {
        let mut payload = Vec::new();
        encode_control(&change.encode(), &mut payload).unwrap();
        let data = self.seal_control(&payload);
        let position = self.push(EntryKind::Normal, data, None);
        let facts = Facts { cluster: CLUSTER, client_command_applied: self.has_clients };
        let view = self.ring.view();
        if let Ok(keyring) = decide(view.keyring(), change, position, facts) {
            self.ring.install(keyring, position.index).unwrap();
        }
        position
    }

    pub(super) fn clients(&mut self, writes: &[Write]) -> Position {
        self.stamp_ms += self.chance.below(3);
        let payload = self.payload(writes);
        self.client_payload(&payload)
    }

    pub(super) fn client_payload(&mut self, payload: &[u8]) -> Position {
        let data = self.seal(payload);
        self.has_clients = true;
        self.push(EntryKind::Normal, data, None)
    }

    pub(super) fn payload(&self, writes: &[Write]) -> Vec<u8> {
        let mut payload = Vec::new();
        encode_batch(self.stamp_ms, writes, &mut payload).unwrap();
        payload
    }

    /// A membership change that adds a learner.
    pub(super) fn membership(&mut self) -> Position {
        self.membership_with(vec![2])
    }

    /// A membership change after which these are the learners; apply goes by the members that come with it.
    pub(super) fn membership_with(&mut self, learners: Vec<u64>) -> Position {
        let members = Members { learners, ..Members::founders(&[NodeId::new(1).unwrap()]) };
        // ConfChangeV2 { changes: [{ AddLearnerNode, node 2 }] }
        let data = Bytes::from_static(b"\x12\x04\x08\x02\x10\x02");
        self.push(EntryKind::ConfChangeV2, data, Some(members.encode()))
    }

    /// Entry data around a payload, as sealed or clear as the next place asks for.
    pub(super) fn seal(&self, payload: &[u8]) -> Bytes {
        let (position, proposal_id) = (self.next_position(), ProposalId(self.chance.bits()));
        if position.index <= self.ring.cutover() {
            return EntryFrame { proposal_id, payload }.encode();
        }
        let key = self.ring.view().leadership_key().unwrap();
        let random = random_array(&self.chance);
        seal_entries(&key, random, position.index, &[(proposal_id, payload)]).unwrap().remove(0)
    }

    pub(super) fn seal_control(&self, payload: &[u8]) -> Bytes {
        let (position, proposal_id) = (self.next_position(), ProposalId(self.chance.bits()));
        if position.index <= self.ring.cutover() {
            return EntryFrame { proposal_id, payload }.encode();
        }
        let key = self.ring.view().control_key().unwrap();
        seal_control(&key, position, proposal_id, random_array(&self.chance), payload).unwrap()
    }

    pub(super) fn push(&mut self, kind: EntryKind, data: Bytes, conf_state: Option<Bytes>) -> Position {
        let position = self.next_position();
        let entry = LogEntry { term: position.term, index: position.index, kind, data };
        self.log.push(Committed { entry, conf_state });
        position
    }
}
