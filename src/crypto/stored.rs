//! Stored values: rows of the state store whose body is sealed, bound to their key and their clear header.
//!
//! ```text
//! row = value header (9, clear) | envelope version 1 around the body (design 3.1, 3.3)
//! ```

use bytes::Bytes;

use crate::crypto::aead::TAG_LEN;
use crate::crypto::envelope::OpenError;
use crate::crypto::envelope::VALUE_HEADER_LEN;
use crate::crypto::keystore::Keys;
use crate::crypto::keystore::ValueDek;
use crate::crypto::open::OpenArena;
use crate::crypto::seal::SealError;

/// One value to seal.
#[derive(Clone, Copy, Debug)]
pub struct ValueItem<'a> {
    /// The row's key in the store.
    pub store_key: &'a [u8],
    /// Flags and expiry, as they will stand before the envelope.
    pub header: [u8; VALUE_HEADER_LEN],
    /// What is sealed.
    pub body: &'a [u8],
    /// The GCM tag of the entry that writes it (`envelope::Envelope::tag`).
    pub entry_tag: [u8; TAG_LEN],
    /// Index of that entry minus the index where the DEK became active.
    pub delta: u64,
    /// Number of this sealed write within that entry, from 0, in execution order.
    pub op: u32,
}

/// One row to open.
#[derive(Clone, Copy, Debug)]
pub struct StoredRow<'a> {
    /// Its key in the store.
    pub store_key: &'a [u8],
    /// Header and envelope.
    pub row: &'a [u8],
}

/// Seals values in one batch; returns the rows in the order of `items`, all in one allocation.
///
/// The same items under the same key always make the same bytes (SAME-BYTES).
///
/// # Errors
/// [`SealError`]: delta or op does not fit its field (N4).
pub fn seal_values(dek: &ValueDek, items: &[ValueItem<'_>]) -> Result<Vec<Bytes>, SealError> {
    let _ = (dek, items);
    todo!()
}

/// Opens rows; `arena` then has the body or the error of each, in the order of `rows`.
pub fn open_values(keys: &Keys, rows: &[StoredRow<'_>], arena: &mut OpenArena) {
    let _ = (keys, rows, arena);
    todo!()
}

/// Opens one row and returns its body.
///
/// # Errors
/// [`OpenError`].
pub fn open_value(keys: &Keys, store_key: &[u8], row: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut arena = OpenArena::default();
    open_values(keys, &[StoredRow { store_key, row }], &mut arena);
    arena.get(0).map(<[u8]>::to_vec)
}
