//! A leader without a raft: it makes the entries that a leader of this version makes, sealed or clear as their place asks
//! for, and remembers them as the log.

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Purpose;
use crate::crypto::names::ClearNameKey;
use crate::crypto::seal::seal_control;
use crate::crypto::seal::seal_entries;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::fsm::codec::encode_batch;
use crate::fsm::codec::encode_control;
use crate::fsm::command::Expiry;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::change::BootstrapKind;
use crate::keys::change::Change;
use crate::keys::kek::KekSet;
use crate::keys::kek::from_bytes;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_cutover;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::node_keys::KeysAt;
use crate::keys::node_keys::NodeKeys;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::members::Members;
use crate::propose::Outcome;
use crate::raft::Committed;
use crate::testing::seed::Seeded;

/// The cluster that tests are in unless they say otherwise.
pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

/// What its rows are named with as long as names are not secret.
pub const CLEAR_NAMES: ClearNameKey = ClearNameKey([0xcc; 32]);

/// The KEK of 32 equal bytes, alone.
///
/// # Panics
/// Never: one KEK is a set.
#[must_use]
pub fn keks(byte: u8) -> KekSet {
    KekSet::new(vec![from_bytes(&Zeroizing::new([byte; 32]))]).expect("one KEK")
}

/// `SET key value`.
#[must_use]
pub fn set(key: &str, value: &str) -> WriteCommand {
    WriteCommand::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        when: SetIf::Always,
        expiry: Expiry::Clear,
        reply: SetReply::Ok,
    }
}

/// `APPEND key value`.
#[must_use]
pub fn append(key: &str, value: &str) -> WriteCommand {
    WriteCommand::Append {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

/// The payload of a control entry.
///
/// # Panics
/// If it is longer than any change.
#[must_use]
pub fn control_payload(change: &Change) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_control(&change.encode(), &mut payload).expect("a change fits its entry");
    payload
}

/// Entry data in the clear.
#[must_use]
pub fn in_clear(payload: &[u8]) -> Bytes {
    EntryFrame { proposal_id: ProposalId(77), payload }.encode()
}

/// How a request ended, in a word.
#[must_use]
pub fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Replies(_) => "replies",
        Outcome::TryAgain => "try again",
        Outcome::NotLeader(_) => "not leader",
        Outcome::TooLarge => "too large",
        Outcome::Malformed(_) => "malformed",
        Outcome::Unknown => "unknown",
    }
}

/// See the head of this file. Index 2 is its first entry; the tests that use it want its mistakes to end them.
#[derive(Debug)]
pub struct Leader {
    /// Chance, proposal ids, nonces, keys.
    pub chance: Seeded,
    /// Its keys, as of the newest control entry that applies.
    pub node_keys: NodeKeys,
    /// The term in which it makes entries.
    pub term: u64,
    /// What it made, from index 2 on.
    pub log: Vec<Committed>,
    /// Stamp of the newest entry of commands.
    pub stamp_ms: u64,
    has_clients: bool,
}

impl Leader {
    /// An empty log of [`CLUSTER`], under the KEK of byte 7.
    #[must_use]
    pub fn new(seed: u64) -> Leader {
        Leader::with(CLUSTER, keks(7), seed)
    }

    /// A leader that wraps new keys by the first of `keks` and can unwrap by all of them.
    #[must_use]
    pub fn with(cluster: ClusterId, keks: KekSet, seed: u64) -> Leader {
        let node_keys = NodeKeys::new(cluster, keks);
        node_keys.found(&CLEAR_NAMES).expect("the first");
        Leader {
            chance: Seeded::new(seed),
            node_keys,
            term: 1,
            log: Vec::new(),
            stamp_ms: 1_000_000,
            has_clients: false,
        }
    }

    /// A log that begins sealed: 2 empty, 3 bootstrap and cutover, 4 opener; clients' entries begin at 5.
    #[must_use]
    pub fn sealed(seed: u64) -> Leader {
        Leader::new(seed).begun_sealed()
    }

    /// The same first entries in front of everything else.
    #[must_use]
    pub fn begun_sealed(mut self) -> Leader {
        self.empty();
        self.bootstrap(true);
        self.opener();
        self
    }

    /// Where the next entry will stand.
    #[must_use]
    pub fn next_position(&self) -> Position {
        Position { term: Term(self.term), index: Index(self.log.len() as u64 + 2) }
    }

    /// An entry that it made.
    #[must_use]
    pub fn entry(&self, index: u64) -> &LogEntry {
        &self.log[place(index)].entry
    }

    /// The same, to be damaged.
    pub fn entry_mut(&mut self, index: u64) -> &mut LogEntry {
        &mut self.log[place(index)].entry
    }

    /// Raft's own entry.
    pub fn empty(&mut self) -> Position {
        self.push(EntryKind::Normal, Bytes::new(), None)
    }

    /// A new term as a node begins it: the empty entry, then an opener if sealing is on.
    pub fn elect(&mut self) {
        self.term += 1;
        self.empty();
        if self.node_keys.cutover() != Index::NEVER {
            self.opener();
        }
    }

    /// New keys; with them the cutover, or not yet.
    pub fn bootstrap(&mut self, is_cutover: bool) -> Position {
        let kind = match is_cutover {
            true => BootstrapKind::Cutover,
            false if self.has_clients => BootstrapKind::ClearNames,
            false => BootstrapKind::SecretNames,
        };
        let change = make_bootstrap(self.node_keys.keks(), self.node_keys.cluster(), kind, &self.chance);
        self.control(&change.expect("a KEK wraps new keys"))
    }

    /// The entry that turns sealing on.
    pub fn cutover(&mut self) -> Position {
        let change = make_cutover(self.view().keyring().expect("bootstrapped"));
        self.control(&change)
    }

    /// The opener of its term.
    pub fn opener(&mut self) -> Position {
        let change = make_opener(Term(self.term), &self.chance);
        self.control(&change)
    }

    /// A rotation that is not yet an entry.
    #[must_use]
    pub fn rotation(&self, purpose: Purpose) -> Change {
        let view = self.view();
        let keyring = view.keyring().expect("bootstrapped");
        make_rotate(self.node_keys.keks(), keyring, purpose, &self.chance).expect("a KEK wraps new keys")
    }

    /// A new key of that purpose.
    pub fn rotate(&mut self, purpose: Purpose) -> Position {
        let change = self.rotation(purpose);
        self.control(&change)
    }

    /// A control entry in the clear or sealed, as its place asks for; the leader's keys follow if it applies.
    pub fn control(&mut self, change: &Change) -> Position {
        let data = self.seal_control(&control_payload(change));
        let position = self.push(EntryKind::Normal, data, None);
        let facts = Facts { cluster: self.node_keys.cluster(), client_command_applied: self.has_clients };
        if let Ok(keyring) = decide(self.view().keyring(), change, position, facts) {
            self.node_keys.install(keyring).expect("it was decided here");
        }
        position
    }

    /// An entry of these commands, a moment after the last.
    pub fn clients(&mut self, writes: &[WriteCommand]) -> Position {
        self.stamp_ms += self.chance.below(3);
        let payload = self.payload(writes);
        self.client_payload(&payload)
    }

    /// An entry of clients around a payload of any kind.
    pub fn client_payload(&mut self, payload: &[u8]) -> Position {
        let data = self.seal(payload);
        self.has_clients = true;
        self.push(EntryKind::Normal, data, None)
    }

    /// The payload of these commands.
    #[must_use]
    pub fn payload(&self, writes: &[WriteCommand]) -> Vec<u8> {
        let mut payload = Vec::new();
        encode_batch(self.stamp_ms, writes, &mut payload).expect("commands of one entry");
        payload
    }

    /// A membership change that adds a learner.
    pub fn membership(&mut self) -> Position {
        self.membership_with(vec![2])
    }

    /// A membership change after which these are the learners; apply goes by the members that come with it.
    pub fn membership_with(&mut self, learners: Vec<u64>) -> Position {
        let members = Members { learners, ..Members::founders(&[NodeId::new(1).expect("not 0")]) };
        // ConfChangeV2 { changes: [{ AddLearnerNode, node 2 }] }
        let data = Bytes::from_static(b"\x12\x04\x08\x02\x10\x02");
        self.push(EntryKind::ConfChangeV2, data, Some(members))
    }

    /// Entry data around a client's payload, as sealed or clear as the next place asks for.
    #[must_use]
    pub fn seal(&self, payload: &[u8]) -> Bytes {
        let (position, proposal_id) = (self.next_position(), ProposalId(self.chance.bits()));
        if position.index <= self.node_keys.cutover() {
            return EntryFrame { proposal_id, payload }.encode();
        }
        let key = self.view().leadership_key().expect("an opener of this term");
        let sealed = seal_entries(&key, self.chance.array(), position.index, &[(proposal_id, payload)]);
        sealed.expect("its index is near the opener").remove(0)
    }

    /// The same for a control entry.
    #[must_use]
    pub fn seal_control(&self, payload: &[u8]) -> Bytes {
        let (position, proposal_id) = (self.next_position(), ProposalId(self.chance.bits()));
        if position.index <= self.node_keys.cutover() {
            return EntryFrame { proposal_id, payload }.encode();
        }
        let key = self.view().control_key().expect("a key above the cutover");
        seal_control(&key, position, proposal_id, self.chance.array(), payload).expect("a change fits its entry")
    }

    /// Any entry.
    pub fn push(&mut self, kind: EntryKind, data: Bytes, members: Option<Members>) -> Position {
        let position = self.next_position();
        let entry = LogEntry { term: position.term, index: position.index, kind, data };
        self.log.push(Committed { entry, members: members.map(Box::new) });
        position
    }

    fn view(&self) -> Arc<KeysAt> {
        self.node_keys.current()
    }
}

fn place(index: u64) -> usize {
    usize::try_from(index - 2).expect("a log that fits memory")
}
