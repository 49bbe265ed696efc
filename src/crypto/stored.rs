//! Stored values: rows of the state store whose body is sealed, bound to their key and their clear header.
//!
//! ```text
//! row = value header (9, clear) | envelope version 1 around the body
//! ```

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::TagMessage;
use crate::crypto::envelope::ENVELOPE_OVERHEAD;
use crate::crypto::envelope::Envelope;
use crate::crypto::envelope::OpenError;
use crate::crypto::envelope::VALUE_HEADER_LEN;
use crate::crypto::envelope::Version;
use crate::crypto::envelope::envelope_header;
use crate::crypto::envelope::push_value_aad;
use crate::crypto::keystore::DataKeys;
use crate::crypto::keystore::ValueDek;
use crate::crypto::nonce::NonceError;
use crate::crypto::nonce::value_nonce;
use crate::crypto::nonce::value_place;
use crate::crypto::open::KeyName;
use crate::crypto::open::OpenArena;
use crate::crypto::seal::SealArena;
use crate::crypto::seal::SealError;
use crate::ids::Term;

/// Bytes that a row has beside its body.
pub const STORED_OVERHEAD: usize = VALUE_HEADER_LEN + ENVELOPE_OVERHEAD;
/// Bytes of a value's AAD before its key: version, flag, key id, value header.
const AAD_CLEAR_LEN: usize = 6 + VALUE_HEADER_LEN;

/// One value to seal.
#[derive(Clone, Copy)]
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

impl fmt::Debug for ValueItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ValueItem");
        shown.field("body_bytes", &self.body.len()).field("delta", &self.delta).field("op", &self.op);
        shown.finish_non_exhaustive()
    }
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
    let nonces = value_nonces(dek, items)?;
    let sizes = items.iter().map(|item| STORED_OVERHEAD + item.body.len());
    let mut arena = SealArena::with_capacity(sizes);
    let mut aads = Vec::with_capacity(items.iter().map(|item| AAD_CLEAR_LEN + item.store_key.len()).sum());
    let mut aad_ends = Vec::with_capacity(items.len());
    for (item, nonce) in items.iter().zip(nonces) {
        arena.push(&item.header, envelope_header(Version::One, dek.key_id(), &nonce), nonce, item.body);
        push_value_aad(&mut aads, dek.key_id(), &item.header, item.store_key);
        aad_ends.push(aads.len());
    }
    let mut aad_start = 0;
    let aads = aad_ends.iter().map(|end| &aads[std::mem::replace(&mut aad_start, *end)..*end]);
    Ok(arena.seal(&*dek.aead, aads))
}

/// The nonces that [`seal_values`] gives these items: what they are, where they are written and by which entry decide.
///
/// # Errors
/// [`NonceError`]: delta or op does not fit its field.
pub fn value_nonces(dek: &ValueDek, items: &[ValueItem<'_>]) -> Result<Vec<[u8; NONCE_LEN]>, NonceError> {
    let aads: Vec<[&[u8]; 3]> =
        items.iter().map(|item| [&item.entry_tag[..], &item.header[..], item.store_key]).collect();
    let mut tag_items = Vec::with_capacity(items.len());
    for (item, aad) in items.iter().zip(&aads) {
        tag_items.push(TagMessage { aad, plaintext: item.body, place: value_place(item.delta, item.op)? });
    }
    let tags = dek.nonces.tags(&tag_items);
    Ok(tag_items.iter().zip(&tags).map(|(item, tag)| value_nonce(item.place, tag)).collect())
}

/// Opens rows; `arena` then has the body or the error of each, in the order of `rows`.
pub fn open_values(keys: &DataKeys, rows: &[StoredRow<'_>], arena: &mut OpenArena) {
    arena.clear();
    for row in rows {
        add_value(keys, row, arena);
    }
    arena.open_all();
}

/// Adds a row to those that `arena` opens together.
pub fn add_value(keys: &DataKeys, row: &StoredRow<'_>, arena: &mut OpenArena) {
    let result = push_row(keys, row, arena);
    arena.push_error(result);
}

fn push_row(keys: &DataKeys, row: &StoredRow<'_>, arena: &mut OpenArena) -> Result<(), OpenError> {
    let short = OpenError::EnvelopeShort { bytes: row.row.len() };
    let (header, envelope) = row.row.split_first_chunk::<VALUE_HEADER_LEN>().ok_or(short)?;
    let envelope = Envelope::parse_version(envelope, Version::One).map_err(|error| match error {
        OpenError::EnvelopeShort { .. } => short,
        other => other,
    })?;
    let key_id = envelope.key_id;
    let name = KeyName { version: Version::One, key_id, term: Term(0) };
    let key = arena.key(name, || {
        let dek = keys.value(key_id).ok_or(OpenError::UnknownKey { key_id })?;
        Ok(Arc::clone(&dek.aead))
    })?;
    arena.push(key, &envelope, |out| push_value_aad(out, key_id, header, row.store_key));
    Ok(())
}

/// Opens one row and returns its body.
///
/// # Errors
/// [`OpenError`].
pub fn open_value(keys: &DataKeys, store_key: &[u8], row: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut arena = OpenArena::default();
    open_values(keys, &[StoredRow { store_key, row }], &mut arena);
    arena.get(0).map(<[u8]>::to_vec)
}
