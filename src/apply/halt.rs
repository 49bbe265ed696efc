//! Why a node stops applying, exactly there: entry, key, cause, and what the operator can do.
//!
//! A halt is not a refusal: the entry is committed and will be applied once the cause is gone. Nothing in here ever
//! holds plaintext or key bytes (NO-SECRETS-OUT).

use std::fmt;

use crate::fsm::store::StoreError;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::ProposalId;

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
    /// The entry is sealed and this node runs without keys.
    #[error("the entry is above the cutover {cutover} and no keys are configured")]
    NoCipher {
        /// The cutover that the keyring holds.
        cutover: Index,
    },
    /// The keyring has no such key for this entry, or this node cannot unwrap it.
    #[error("there is no key for it")]
    UnknownKey(#[source] KeyLack),
    /// The tag is wrong: these are not the bytes that the leader sealed for this place.
    #[error("the envelope does not verify")]
    Unauthentic,
    /// The bytes are none that a leader of this version makes.
    #[error("its bytes are none that a leader makes")]
    Malformed(#[source] Malformation),
    /// The state could not be read or written, or holds something that no apply wrote.
    #[error("the state machine cannot go on")]
    StateMachine(#[source] MachineError),
}

/// Why there is no key for an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyLack {
    /// Key id 0 is nobody's.
    #[error("key id 0 is reserved")]
    Reserved,
    /// No such DEK here: not in the keyring, of another purpose, or this node's KEK does not unwrap it.
    #[error("this node does not hold the key")]
    NotHeld,
    /// No opener was applied for the entry's term.
    #[error("the newest opener is of another term")]
    NoOpener,
}

/// What is wrong with an entry's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// Not `0x01 | proposal id | payload`.
    #[error("not an entry frame")]
    Frame,
    /// Shorter than an envelope's 34 bytes.
    #[error("envelope shorter than its overhead")]
    EnvelopeShort,
    /// Another version than the place asks for, or another flag.
    #[error("envelope version or flag {found:#04x} is not accepted")]
    EnvelopeVersion {
        /// The byte.
        found: u8,
    },
    /// The envelope opened (or there is none) and what is inside is no batch of commands.
    #[error("not a batch of commands")]
    Command,
    /// What is inside a control envelope, or a run of its own, is no control entry.
    #[error("not a control entry")]
    Control,
    /// A control command among a client's, or the reverse.
    #[error("the command and its envelope are of different kinds")]
    Kind,
    /// Raft handed a membership change without the ConfState that follows from it.
    #[error("membership change without its members")]
    Membership,
}

/// What a state machine, its store, or the log under it can get wrong.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The store.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// A stored value that does not verify.
    #[error("a stored value does not verify")]
    ValueUnauthentic,
    /// A stored row or state row that no apply wrote.
    #[error("{what} is malformed")]
    Row {
        /// Which.
        what: &'static str,
    },
    /// The cutover could not be made durable in the log before the state that relies on it.
    #[error("the cutover record is not durable in the log")]
    CutoverNotDurable,
    /// A number of the state record left its range (N4).
    #[error("{what} is out of range")]
    Range {
        /// Which.
        what: &'static str,
    },
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

    /// What the operator can do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            HaltClass::NoCipher => "start the node with the KEK of this cluster (--kek-file, --encryption on)",
            HaltClass::UnknownKey => "give the node the KEK that wraps this key, then start it again",
            HaltClass::Unauthentic | HaltClass::Malformed => {
                "the log of this node is damaged or was edited: keep a copy of the directory, \
                 then replace the node from its peers or a backup"
            }
            HaltClass::StateMachine => {
                "check the disk and the state directory, keep a copy of both, \
                 then start again or replace the node"
            }
        }
    }

    /// Exit status of a process that halted: 78 where keys or configuration are at fault, 74 where damage is.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            HaltClass::NoCipher | HaltClass::UnknownKey => EXIT_CONFIGURATION,
            HaltClass::Unauthentic | HaltClass::Malformed | HaltClass::StateMachine => EXIT_DAMAGE,
        }
    }
}

impl HaltCause {
    /// Which kind of cause it is.
    #[must_use]
    pub fn class(&self) -> HaltClass {
        match self {
            HaltCause::NoCipher { .. } => HaltClass::NoCipher,
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
    pub fn at(position: Position, cause: HaltCause) -> Halt {
        Halt { position, proposal_id: None, key_id: None, cause }
    }

    /// The same, with the key in question.
    #[must_use]
    pub fn with_key(mut self, key_id: Option<KeyId>) -> Halt {
        self.key_id = key_id.map(KeyId::value);
        self
    }

    /// Which kind of cause it has.
    #[must_use]
    pub fn class(&self) -> HaltClass {
        self.cause.class()
    }

    /// See [`HaltClass::exit_status`].
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        self.class().exit_status()
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
        write!(f, ": {}; {}", self.class().word(), self.class().advice())
    }
}

impl std::error::Error for Halt {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// EX_CONFIG of sysexits.h.
const EXIT_CONFIGURATION: u8 = 78;
/// EX_IOERR of sysexits.h.
const EXIT_DAMAGE: u8 = 74;
