//! Why a node cannot use a key: it lacks the KEK, the wrap is damaged, or the keyring has no such key.

use crate::crypto::wrap::KekId;
use crate::exit::Blame;

/// Why this node cannot use a key. Says what the operator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyLack {
    /// No KEK at all: encryption is off on this node.
    #[error("no cipher: this node was started without a KEK, give it the KEK {wrapped_by}")]
    NoCipher {
        /// The KEK that is needed.
        wrapped_by: KekId,
    },
    /// Other KEKs than the one that is needed.
    #[error("key {key_id} cannot be unwrapped: give this node the KEK {wrapped_by} too")]
    OtherKek {
        /// Which; 0 is the MAC key or the name key.
        key_id: u32,
        /// The KEK that is needed.
        wrapped_by: KekId,
    },
    /// The KEK is there and the wrap does not open.
    #[error("key {key_id} cannot be unwrapped: its wrap is not authentic under the KEK {wrapped_by}")]
    Unauthentic {
        /// Which; 0 is the MAC key or the name key.
        key_id: u32,
        /// The KEK that it names.
        wrapped_by: KekId,
    },
    /// It unwraps to another key than its record says.
    #[error("key {key_id} unwraps to another key than its check value says")]
    OtherKey {
        /// Which; 0 is the MAC key or the name key.
        key_id: u32,
    },
    /// The cluster has no keyring here yet.
    #[error("the cluster has no keys yet")]
    NotBootstrapped,
    /// No opener since the cutover: nothing can be sealed or opened but control entries.
    #[error("no leader has published the salt of its leadership key yet")]
    NoOpener,
    /// The keyring never had that id.
    #[error("the keyring has no key {key_id}")]
    Unknown {
        /// Which.
        key_id: u32,
    },
    /// Given up.
    #[error("key {key_id} is retired")]
    Retired {
        /// Which.
        key_id: u32,
    },
    /// A value DEK named by an entry, or the reverse.
    #[error("key {key_id} is for another purpose")]
    OtherPurpose {
        /// Which.
        key_id: u32,
    },
    /// The key is here; the entry is of another term than the newest opener's.
    #[error("key {key_id} is here, but not for an entry of this term")]
    OtherTerm {
        /// Which.
        key_id: u32,
    },
}

impl KeyLack {
    /// The key that is missing; MAC key and name key have no id.
    #[must_use]
    pub fn key_id(&self) -> Option<u32> {
        match *self {
            KeyLack::NoCipher { .. } | KeyLack::NotBootstrapped | KeyLack::NoOpener => None,
            KeyLack::OtherKek { key_id, .. } | KeyLack::Unauthentic { key_id, .. } | KeyLack::OtherKey { key_id } => {
                Some(key_id).filter(|id| *id != 0)
            }
            KeyLack::Unknown { key_id }
            | KeyLack::Retired { key_id }
            | KeyLack::OtherPurpose { key_id }
            | KeyLack::OtherTerm { key_id } => Some(key_id),
        }
    }

    /// Who must act: the bytes are wrong and no KEK mends that, or another KEK is needed.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            KeyLack::Unauthentic { .. } | KeyLack::OtherKey { .. } => Blame::Damage,
            KeyLack::NoCipher { .. }
            | KeyLack::OtherKek { .. }
            | KeyLack::NotBootstrapped
            | KeyLack::NoOpener
            | KeyLack::Unknown { .. }
            | KeyLack::Retired { .. }
            | KeyLack::OtherPurpose { .. }
            | KeyLack::OtherTerm { .. } => Blame::Config,
        }
    }
}
