//! How a row of the base is opened, and why a value cannot be read. Which key opens a row is behind [`RowCipher`]: this room
//! knows none.

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::names::NameKey;
use crate::fsm::base::BaseError;
use crate::fsm::name::RowName;
use crate::fsm::value::ValueError;
use crate::ids::Index;

/// Why a value could not be read. During apply a halt; on a client's read an error and a metric.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The base.
    #[error("state on disk")]
    Base(#[from] BaseError),
    /// Damage: the row is none of ours, or its envelope is malformed.
    #[error("stored value is malformed")]
    Malformed(#[from] ValueError),
    /// Damage: no envelope of a version and flag that this program accepts.
    #[error("stored value has a malformed envelope")]
    Envelope,
    /// Operator: the row is sealed and this node runs without keys.
    #[error("stored value is sealed and there is no cipher")]
    NoCipher,
    /// Operator or damage: no such key, or this node cannot unwrap it.
    #[error("stored value is sealed under unknown key {key_id}")]
    UnknownKey {
        /// As it stands in the envelope; may be 0.
        key_id: u32,
    },
    /// Damage: the tag is wrong, or the row is in the clear where none may be any more (`clear_rows` none).
    #[error("stored value is not authentic")]
    Unauthentic,
    /// Damage: a value that this entry, or a later one, has written already: the state was put together from several
    /// copies, and the entry would count twice.
    #[error("stored value was written by entry {last_change}, which is not applied yet by the state's own record")]
    Ahead {
        /// In the value's body.
        last_change: Index,
    },
}

/// Opens sealed rows with the keys that the applied keyring names. Shared by readers: must not block for long.
pub trait RowCipher: Send + Sync {
    /// Whether a row in the clear is accepted now: true until `clear_rows` of the keyring is none.
    fn accepts_clear_rows(&self) -> bool;

    /// What keys are named with now. To be asked behind the moment that is read, never before it: until the bootstrap there
    /// is no row, and from then on it stays.
    ///
    /// # Errors
    /// [`ReadError::NoCipher`] if this node cannot unwrap it.
    fn name_key(&self) -> Result<Arc<NameKey>, ReadError>;

    /// The body in a sealed row: `row` is header and envelope. It is given away: it is decrypted in place, and the body
    /// can be a slice of it.
    ///
    /// # Errors
    /// [`ReadError::NoCipher`], [`ReadError::UnknownKey`], [`ReadError::Envelope`], [`ReadError::Unauthentic`].
    fn open(&self, name: &RowName, row: Vec<u8>) -> Result<Bytes, ReadError>;
}
