//! Sealing proposals: the proposer's half of the seam, as a library. The node's own batches go through it.
//!
//! ```text
//! Proposal      entry frame header | payload             one buffer, made where the command is encoded
//! seal_batch    no sealer: that buffer, as it is         the nil cipher: the same bytes, nothing copied
//!               a sealer:  what it makes of all of them  one call for a batch, each proposal in it once
//! ```
//!
//! It happens when the position of the batch is known and before raft has seen any of it: an error goes back to the
//! proposer, and raft is not touched. [`crate::seam`] has an example, and `apply::hook` is the other half.

use bytes::Bytes;

use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::crypto::envelope::frame_header;
use crate::crypto::keystore::LeadershipKey;
use crate::crypto::seal::SealError;
use crate::crypto::seal::seal_entries;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::lack::KeyLack;
use crate::world::Entropy;
use crate::world::random_array;

/// A command on its way into an entry: its id and, in one buffer, the entry's data as it is without a cipher.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal {
    id: ProposalId,
    /// Entry frame header and payload.
    data: Vec<u8>,
}

impl Proposal {
    /// A proposal of these bytes, which are copied once.
    #[must_use]
    pub fn new(id: ProposalId, payload: &[u8]) -> Proposal {
        let mut data = Vec::with_capacity(FRAME_HEADER_LEN + payload.len());
        data.resize(FRAME_HEADER_LEN, 0);
        data.extend_from_slice(payload);
        Proposal::in_place(id, data)
    }

    /// Without a copy, for a command that is encoded in place: `data` is space for the entry frame's header, then the payload.
    ///
    /// # Panics
    /// If `data` is shorter than that header.
    #[must_use]
    pub fn in_place(id: ProposalId, mut data: Vec<u8>) -> Proposal {
        data[..FRAME_HEADER_LEN].copy_from_slice(&frame_header(id));
        Proposal { id, data }
    }

    /// Chosen by the proposing node.
    #[must_use]
    pub fn id(&self) -> ProposalId {
        self.id
    }

    /// The state machine's bytes. Plaintext.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.data[FRAME_HEADER_LEN..]
    }
}

debug_fields!(self: Proposal { id: self.id, payload_bytes: self.payload().len() });

/// Makes sealed entries of a batch of proposals. A node has [`LeaderSealer`]; an embedder may bring another.
pub trait Sealer {
    /// The data of the entries for consecutive positions from `first` on, one for each proposal, in their order. Called once
    /// for a batch; nothing in it is ever sealed again, for any place.
    ///
    /// # Errors
    /// [`SealerError`]: nothing of the batch may be proposed.
    fn seal(&self, first: Position, proposals: &[Proposal]) -> Result<Vec<Bytes>, SealerError>;
}

/// Why a batch was not sealed. Nothing of it has reached raft.
#[derive(Debug, thiserror::Error)]
pub enum SealerError {
    /// Operator: this node has no key to seal with.
    #[error("there is no key to seal with")]
    Key(#[from] KeyLack),
    /// The newest opener is of another term than the batch, or not before it: a key of another leadership must not seal.
    #[error("a batch at index {} of term {}, the newest opener is at index {index} of term {term}", first.index, first.term)]
    OtherTerm {
        /// Place of the batch.
        first: Position,
        /// Term of the opener.
        term: Term,
        /// Index of the opener.
        index: Index,
    },
    /// A proposal is too large, or its key is overdue for renewal (N4).
    #[error("the batch cannot be sealed")]
    Seal(#[from] SealError),
    /// A bug of the sealer: entries would get lost or stand at places that they were not sealed for.
    #[error("the sealer made {sealed} entries of {proposals} proposals")]
    Count {
        /// Given to it.
        proposals: usize,
        /// Got from it.
        sealed: usize,
    },
    /// A sealer that is not of this crate.
    #[error("the sealer refuses the batch")]
    Own(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The entries' data for consecutive positions from `first` on: sealed in one call of `sealer`; without one the proposals'
/// own buffers, not copied.
///
/// # Errors
/// [`SealerError`]: the sealer's, or about the entries that it made.
pub fn seal_batch(
    sealer: Option<&dyn Sealer>,
    first: Position,
    proposals: Vec<Proposal>,
) -> Result<Vec<Bytes>, SealerError> {
    let Some(sealer) = sealer else {
        return Ok(proposals.into_iter().map(|proposal| Bytes::from(proposal.data)).collect());
    };
    let sealed = sealer.seal(first, &proposals)?;
    if sealed.len() != proposals.len() {
        return Err(SealerError::Count { proposals: proposals.len(), sealed: sealed.len() });
    }
    Ok(sealed)
}

/// Seals for a leader: under the key of its term, with random bytes that are drawn for each batch.
pub struct LeaderSealer<'a> {
    key: &'a LeadershipKey,
    entropy: &'a dyn Entropy,
}

impl<'a> LeaderSealer<'a> {
    /// A sealer under `key`.
    #[must_use]
    pub fn new(key: &'a LeadershipKey, entropy: &'a dyn Entropy) -> LeaderSealer<'a> {
        LeaderSealer { key, entropy }
    }
}

impl Sealer for LeaderSealer<'_> {
    fn seal(&self, first: Position, proposals: &[Proposal]) -> Result<Vec<Bytes>, SealerError> {
        let term_salt = self.key.term_salt();
        if term_salt.term != first.term || term_salt.index >= first.index {
            return Err(SealerError::OtherTerm { first, term: term_salt.term, index: term_salt.index });
        }
        let items: Vec<(ProposalId, &[u8])> =
            proposals.iter().map(|proposal| (proposal.id, proposal.payload())).collect();
        Ok(seal_entries(self.key, random_array(self.entropy), first.index, &items)?)
    }
}

debug_fields!(self: LeaderSealer<'_> { key_id: self.key.key_id() });
