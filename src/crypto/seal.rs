//! Sealing entries, many at a time: every frame of a batch lies in one arena and is sealed where it lies.

use bytes::Bytes;

use crate::crypto::aead::NONCE_LEN;
use crate::crypto::keystore::EntryDek;
use crate::crypto::keystore::LeadershipKey;
use crate::crypto::nonce::BATCH_RANDOM_LEN;
use crate::crypto::nonce::NonceError;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::ProposalId;

/// Nothing of the batch was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A field of a nonce cannot hold its number.
    #[error("nonce")]
    Nonce(#[from] NonceError),
    /// The caller should have refused it: larger than [`crate::limits::ENTRY_BYTES_MAX`] once sealed.
    #[error("a sealed entry of {bytes} bytes is too large")]
    TooLarge {
        /// Frame, envelope and payload.
        bytes: usize,
    },
}

/// Seals payloads at consecutive positions of the leadership key's term, the first at `first`.
///
/// Returns each entry's data (frame, envelope), all in one allocation that lives as long as any of them. Nobody may seal
/// another batch at these positions with the same `batch_random`: 7 kernel-random bytes, drawn for this batch.
///
/// # Errors
/// [`SealError`]: a payload is too large, or its index is not within 2^40 behind the opener.
pub fn seal_entries(
    key: &LeadershipKey,
    batch_random: [u8; BATCH_RANDOM_LEN],
    first: Index,
    items: &[(ProposalId, &[u8])],
) -> Result<Vec<Bytes>, SealError> {
    let _ = (key, batch_random, first, items);
    todo!()
}

/// Seals a control entry (version 3) at its position; `nonce` is 12 kernel-random bytes, drawn for it.
///
/// # Errors
/// [`SealError::TooLarge`].
pub fn seal_control(
    dek: &EntryDek,
    position: Position,
    proposal_id: ProposalId,
    nonce: [u8; NONCE_LEN],
    payload: &[u8],
) -> Result<Bytes, SealError> {
    let _ = (dek, position, proposal_id, nonce, payload);
    todo!()
}
