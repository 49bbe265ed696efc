//! The 12 bytes that must never repeat under a key (NONCE-UNIQUE), one function for each kind.
//!
//! ```text
//! entry    index - opener's index (5 bytes) | random(7)              under a leadership key
//! control  random(12)                                                under a control key; the caller draws it
//! value    delta(36 bits) | op(16 bits) | first 44 bits of T         under a value key; T is `siv`'s tag
//! ```

use crate::crypto::aead::NONCE_LEN;
use crate::ids::Index;

/// Distance from the opener at which an opener or entry DEK is renewed; far below what 5 bytes hold (N4).
pub const ENTRY_DELTA_RENEW: u64 = 1 << 39;
/// Largest distance of an entry from its opener.
pub const ENTRY_DELTA_MAX: u64 = (1 << 40) - 1;
/// Distance from the index where a value DEK became active at which it is rotated (N4).
pub const VALUE_DELTA_RENEW: u64 = 1 << 35;
/// Largest distance of a sealed value's entry from the index where its DEK became active.
pub const VALUE_DELTA_MAX: u64 = (1 << 36) - 1;
/// Largest op of a sealed write within its entry.
pub const VALUE_OP_MAX: u32 = (1 << 16) - 1;
/// Random bytes of an entry nonce, drawn once per batch.
pub const BATCH_RANDOM_LEN: usize = 7;

/// A field of a nonce cannot hold its number. Nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// A bug, or an opener that is long overdue: renew it.
    #[error("index {index} is not within 2^40 behind its opener at {opener_index}")]
    EntryDelta {
        /// The entry's index.
        index: Index,
        /// The opener's index.
        opener_index: Index,
    },
    /// The value DEK is long overdue: rotate it.
    #[error("an entry {delta} behind the start of its value key does not fit 36 bits")]
    ValueDelta {
        /// Index of the entry minus the index where the DEK became active.
        delta: u64,
    },
    /// The entry has more sealed writes than [`crate::limits::ENTRY_WRITES_MAX`]; the proposer let it through.
    #[error("sealed write {op} of an entry does not fit 16 bits")]
    ValueOp {
        /// Number of the sealed write within its entry, from 0.
        op: u32,
    },
}

/// The nonce of an entry: `index - opener's index` (5 bytes) and 7 kernel-random bytes drawn once per batch.
///
/// # Errors
/// [`NonceError::EntryDelta`] unless `0 < index - opener_index < 2^40`.
pub fn entry_nonce(
    opener_index: Index,
    index: Index,
    batch_random: [u8; BATCH_RANDOM_LEN],
) -> Result<[u8; NONCE_LEN], NonceError> {
    let delta = index.0.checked_sub(opener_index.0).filter(|delta| (1..=ENTRY_DELTA_MAX).contains(delta));
    let delta = delta.ok_or(NonceError::EntryDelta { index, opener_index })?;
    let mut nonce = [0; NONCE_LEN];
    nonce[..5].copy_from_slice(&delta.to_be_bytes()[3..]);
    nonce[5..].copy_from_slice(&batch_random);
    Ok(nonce)
}

/// `delta` and `op` at the top of 12 bytes, the lower 44 bits zero: what the tag T is computed over.
///
/// # Errors
/// [`NonceError::ValueDelta`] or [`NonceError::ValueOp`] if a field cannot hold its number.
pub fn value_place(delta: u64, op: u32) -> Result<[u8; NONCE_LEN], NonceError> {
    if delta > VALUE_DELTA_MAX {
        return Err(NonceError::ValueDelta { delta });
    }
    if op > VALUE_OP_MAX {
        return Err(NonceError::ValueOp { op });
    }
    let bits = u128::from(delta) << 60 | u128::from(op) << 44;
    Ok(low_12_bytes(bits))
}

/// The nonce of a stored value: its place with the first 44 bits of T (the tag of [`crate::crypto::siv`]) below.
#[must_use]
pub fn value_nonce(place: [u8; NONCE_LEN], tag: &[u8; 16]) -> [u8; NONCE_LEN] {
    let mut wide = [0; 16];
    wide[4..].copy_from_slice(&place);
    low_12_bytes(u128::from_be_bytes(wide) | u128::from_be_bytes(*tag) >> 84)
}

fn low_12_bytes(bits: u128) -> [u8; NONCE_LEN] {
    bits.to_be_bytes()[4..].try_into().expect("16 - 4 = 12 bytes")
}
