//! What an operator may ask of the leader, and how it ends: the cutover and rotations, one at a time, each answered once.

pub use crate::crypto::keystore::Purpose;
use crate::exit::chain;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::NodeId;
use crate::keys::make::MakeError;
use crate::keys::rules::RuleError;
use crate::limits::KEYRING_KEYS_KEPT_BACK;
use crate::limits::KEYRING_KEYS_MAX;
use crate::limits::ROTATION_AGE_MIN;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// The cutover, and the opener behind it: everything from then on is sealed.
    Enable,
    /// A new DEK in place of the active one.
    Rotate(Purpose),
}

/// It is applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlDone {
    /// Everything above is sealed, and the opener is applied.
    Enabled {
        /// The entry that turned sealing on, itself in the clear.
        cutover: Index,
    },
    /// The new DEK is active.
    Rotated {
        /// Its id.
        key_id: KeyId,
    },
}

/// Why it was not done. Only after [`ControlError::Unknown`] it may yet happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Operator: this node has no KEK.
    #[error(
        "this node was started without a KEK: start it with kek-file; a directory that was made without one must be replaced by a new node that has one"
    )]
    NoKek,
    /// Nothing to do.
    #[error("encryption is on since index {cutover}")]
    IsOn {
        /// Since this index.
        cutover: Index,
    },
    /// The rules say no.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The new key could not be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// Operator: another member could not unwrap the key.
    #[error(transparent)]
    Member(#[from] MemberLack),
    /// The control entry could not be sealed here.
    #[error("the control entry cannot be sealed: this node lacks a key, see its log")]
    NotSealed,
    /// Operator: the active key was rotated a moment ago.
    #[error("the active key is {seconds} s old, it must be {least} s old to be rotated", least = ROTATION_AGE_MIN.as_secs())]
    Young {
        /// Its age.
        seconds: u64,
    },
    /// Operator: the last keys are not for operators.
    #[error(
        "the keyring holds {keys} keys, the last {KEYRING_KEYS_KEPT_BACK} of {KEYRING_KEYS_MAX} are kept for renewals by the node itself"
    )]
    KeptBack {
        /// Keys that it holds.
        keys: usize,
    },
    /// Too many such requests wait.
    #[error("too many requests of operators wait")]
    Busy,
    /// Certainly not done: it waited too long for its turn, or the node stops.
    #[error("not done: no entry could be proposed in time")]
    TryAgain,
    /// Certainly not done: another node leads.
    #[error("not done: this node does not lead")]
    NotLeader(Option<u64>),
    /// The entry stands in this node's log; whether it will be committed is not known here.
    #[error("it is not known whether it was done: ask for the status")]
    Unknown,
}

impl ControlError {
    /// The error and its causes in one line, for the operator.
    #[must_use]
    pub fn reason(&self) -> String {
        chain(self)
    }
}

/// Why a key must not be put into the keyring yet: other members must be able to unwrap it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberLack {
    /// That member has shown that it lacks the KEK.
    #[error("member {node} lacks the KEK of this node: give it the KEK first")]
    Lacks {
        /// Which.
        node: NodeId,
    },
    /// Too few members have shown that they have it.
    #[error("only {shown} of {voters} voters have shown that they have the KEK of this node")]
    NoMajority {
        /// Voters that have, this one included.
        shown: usize,
        /// All.
        voters: usize,
    },
}

/// What the other members have shown of their KEKs. Asked on the raft thread before bootstrap, cutover and rotation.
pub trait KekWitness: Send + Sync {
    /// Whether enough members have shown that they have this node's KEK.
    ///
    /// # Errors
    /// [`MemberLack`]: nothing is proposed.
    fn check(&self) -> Result<(), MemberLack>;
}

/// A sole voter: it has unwrapped its keys itself, and there is no other member.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoleVoter;

impl KekWitness for SoleVoter {
    fn check(&self) -> Result<(), MemberLack> {
        Ok(())
    }
}

/// How a request of an operator ended.
pub type ControlResult = Result<ControlDone, ControlError>;

/// Called exactly once, from the raft thread or the caller's own: must not block.
pub type ControlCallback = Box<dyn FnOnce(ControlResult) + Send>;
