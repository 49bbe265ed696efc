//! Why a node stops applying, exactly there: entry, key, cause, and what the operator can do.
//!
//! A halt is not a refusal: the entry is committed and will be applied once the cause is gone. Nothing in here ever
//! holds plaintext or key bytes (NO-SECRETS-OUT).

use std::fmt;
use std::sync::Arc;

use crate::apply::ports::CutoverNotDurable;
use crate::codec::CodecError;
use crate::crypto::envelope::OpenError;
use crate::crypto::keystore::Purpose;
use crate::crypto::seal::SealError;
use crate::exit::Blame;
use crate::fsm::base::BaseError;
use crate::fsm::base::IngestError;
use crate::fsm::command::PayloadError;
use crate::fsm::opening::ReadError;
use crate::fsm::state::StateError;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::keys::lack::KeyLack;
use crate::keys::node_keys::InstallError;
use crate::keys::node_keys::KeysAt;

/// The entry that cannot be applied, and why. Everything before it is applied, nothing from it on is.
#[derive(Debug)]
pub struct Halt {
    /// Place of the entry.
    pub position: Position,
    /// The id in its entry frame, where the frame is whole.
    pub proposal_id: Option<ProposalId>,
    /// The key that its envelope (or the value in question) names; 0 if it names the reserved id.
    pub key_id: Option<u32>,
    /// Why.
    pub cause: HaltCause,
}

/// What stood in the way of one entry. Grouped by [`HaltCause::class`].
#[derive(Debug, thiserror::Error)]
pub enum HaltCause {
    /// The entry, or a value that it needs, is sealed and this node runs without keys.
    #[error("what is above the cutover is sealed, and this node has no keys at all")]
    NoCipher,
    /// The keyring has no such key for this entry, or this node cannot unwrap it.
    #[error("this node has no key for it")]
    UnknownKey(#[source] KeyLack),
    /// The tag is wrong: these are not the bytes that the leader sealed for this place.
    #[error("the envelope does not verify")]
    Unauthentic,
    /// The bytes are none that a leader of this version makes.
    #[error("its bytes are none that a leader makes")]
    Malformed(#[from] Malformation),
    /// The state could not be read or written, or holds something that no apply wrote.
    #[error("the state machine cannot go on")]
    StateMachine(#[from] MachineError),
}

/// What is wrong with an entry's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// No entry frame, or no envelope of the version that its place asks for.
    #[error("not an entry frame or envelope")]
    Bytes(#[source] OpenError),
    /// The envelope opened (or there is none) and what is inside is no payload of this version.
    #[error("not a payload")]
    Payload(#[source] PayloadError),
    /// A control entry whose change of the keyring is none.
    #[error("not a change of the keyring")]
    Control(#[source] CodecError),
    /// A control command among a client's, or the reverse.
    #[error("the command and its envelope are of different kinds")]
    Kind,
    /// Raft handed a membership change without the members that follow from it.
    #[error("membership change without its members")]
    Membership,
}

/// What a state machine, its store, or the log under it can get wrong.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A stored value: the store does not answer, or the row is damaged or forged.
    #[error("a stored value that the entry needs cannot be read")]
    Read(#[source] ReadError),
    /// The state below the table has stopped: nothing can be flushed any more.
    #[error("the state on disk does not go on")]
    Base(#[from] BaseError),
    /// Nobody knows whether the state on disk has a flush.
    #[error("the state on disk does not take a flush")]
    Ingest(#[from] IngestError),
    /// Memory above the state, or the log, is used up at a start, and no flush goes through.
    #[error(
        "memory for what the log holds above the state, or the log itself, is used up, and no flush goes through: {why}"
    )]
    Full {
        /// Why not.
        why: Arc<str>,
    },
    /// The state record in the store is none that this program wrote.
    #[error("the state record cannot be read")]
    Record(#[source] StateError),
    /// A value cannot be sealed: its key is long overdue for rotation (N4).
    #[error("a value cannot be sealed")]
    Seal(#[from] SealError),
    /// The cutover could not be made durable in the log before the state that relies on it.
    #[error("the cutover is not durable in the log")]
    Cutover(#[from] CutoverNotDurable),
    /// The keyring that the entry made is none that this node can go on with.
    #[error("the keyring that the entry made is refused")]
    Install(#[from] InstallError),
}

/// The word for a cause in metrics, in the log line and in the table of exit statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HaltClass {
    /// Above the cutover, no keys.
    NoCipher,
    /// Keys, but not this one.
    UnknownKey,
    /// A tag is wrong.
    Unauthentic,
    /// Bytes nobody writes.
    Malformed,
    /// The state.
    StateMachine,
}

impl HaltClass {
    /// Every class, in the order of the counters.
    pub const ALL: [HaltClass; 5] = [
        HaltClass::NoCipher,
        HaltClass::UnknownKey,
        HaltClass::Unauthentic,
        HaltClass::Malformed,
        HaltClass::StateMachine,
    ];

    /// As in metric labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            HaltClass::NoCipher => "no_cipher",
            HaltClass::UnknownKey => "unknown_key",
            HaltClass::Unauthentic => "unauthentic",
            HaltClass::Malformed => "malformed",
            HaltClass::StateMachine => "state_machine",
        }
    }

    /// Who must act.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            HaltClass::NoCipher | HaltClass::UnknownKey => Blame::Config,
            HaltClass::Unauthentic | HaltClass::Malformed | HaltClass::StateMachine => Blame::Damage,
        }
    }
}

impl From<OpenError> for HaltCause {
    fn from(error: OpenError) -> HaltCause {
        match error {
            OpenError::UnknownKey { key_id } => HaltCause::UnknownKey(KeyLack::Unknown { key_id: key_id.value() }),
            OpenError::Unauthentic { .. } => HaltCause::Unauthentic,
            OpenError::EntryFrame { .. }
            | OpenError::EnvelopeShort { .. }
            | OpenError::EnvelopeVersion { .. }
            | OpenError::EnvelopeFlag { .. }
            | OpenError::ReservedKey => HaltCause::Malformed(Malformation::Bytes(error)),
        }
    }
}

impl From<KeyLack> for HaltCause {
    fn from(lack: KeyLack) -> HaltCause {
        match lack {
            KeyLack::NoCipher { .. } => HaltCause::NoCipher,
            lack => HaltCause::UnknownKey(lack),
        }
    }
}

impl From<ReadError> for HaltCause {
    fn from(error: ReadError) -> HaltCause {
        match error {
            ReadError::NoCipher => HaltCause::NoCipher,
            ReadError::UnknownKey { key_id } => HaltCause::UnknownKey(KeyLack::Unknown { key_id }),
            ReadError::Base(_)
            | ReadError::Malformed(_)
            | ReadError::Envelope
            | ReadError::Unauthentic
            | ReadError::Ahead { .. } => HaltCause::StateMachine(MachineError::Read(error)),
        }
    }
}

impl HaltCause {
    /// The key that is missing, where the cause says which: for a value it is not the key of the entry.
    #[must_use]
    pub fn key_id(&self) -> Option<u32> {
        match self {
            HaltCause::UnknownKey(lack) => lack.key_id(),
            _ => None,
        }
    }

    /// What the operator can do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            HaltCause::NoCipher => "start the node with the KEK of this cluster (--kek-file, --encryption on)",
            HaltCause::UnknownKey(KeyLack::OtherKek { .. }) => {
                "start the node with the KEK that wraps this key too (--kek-file)"
            }
            HaltCause::UnknownKey(_) => {
                "no KEK will open this: log and keyring of this node do not fit; keep a copy of the directory, \
                 then replace the node from its peers or a backup"
            }
            HaltCause::Unauthentic | HaltCause::Malformed(_) => {
                "the log of this node is damaged or was edited; keep a copy of the directory, \
                 then replace the node from its peers or a backup"
            }
            HaltCause::StateMachine(_) => {
                "the entry is safe in the log and is applied by a start that can read and write the state; \
                 keep a copy of the whole directory before anything else"
            }
        }
    }

    /// Which kind of cause it is.
    #[must_use]
    pub fn class(&self) -> HaltClass {
        match self {
            HaltCause::NoCipher => HaltClass::NoCipher,
            HaltCause::UnknownKey(_) => HaltClass::UnknownKey,
            HaltCause::Unauthentic => HaltClass::Unauthentic,
            HaltCause::Malformed(_) => HaltClass::Malformed,
            HaltCause::StateMachine(_) => HaltClass::StateMachine,
        }
    }
}

impl Halt {
    /// A halt at `position` about which no more is known than `cause`.
    #[must_use]
    pub fn at(position: Position, cause: impl Into<HaltCause>) -> Halt {
        Halt { position, proposal_id: None, key_id: None, cause: cause.into() }
    }

    /// Says of an unknown key why this node does not have it.
    #[must_use]
    pub fn explained(mut self, keys: &KeysAt) -> Halt {
        if let HaltCause::UnknownKey(KeyLack::Unknown { key_id }) = self.cause
            && let Some(key_id) = KeyId::new(key_id)
        {
            let dek = keys.keyring().and_then(|keyring| keyring.dek(key_id));
            self.cause = HaltCause::UnknownKey(keys.lack(key_id, dek.map_or(Purpose::Entry, |dek| dek.purpose)));
        }
        self
    }

    /// Which kind of cause it has.
    #[must_use]
    pub fn class(&self) -> HaltClass {
        self.cause.class()
    }

    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        self.class().blame()
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apply halted at index {} term {}", self.position.index, self.position.term)?;
        if let Some(proposal_id) = self.proposal_id {
            write!(f, " proposal {proposal_id}")?;
        }
        if let Some(key_id) = self.key_id {
            write!(f, " key {key_id}")?;
        }
        write!(f, ": {}; {}", self.class().word(), self.cause.advice())
    }
}

impl std::error::Error for Halt {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
