//! Stored values: rows of the state store whose body is sealed, bound to their key and their clear header.
//!
//! ```text
//! row = value header (9, clear) | envelope version 1 around the body
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroize;

use crate::crypto::aead::Message;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::TagMessage;
use crate::crypto::envelope::ENVELOPE_HEADER_LEN;
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
use crate::crypto::seal::SealError;
use crate::ids::Term;

/// Bytes that a row has beside its body.
pub const STORED_OVERHEAD: usize = VALUE_HEADER_LEN + ENVELOPE_OVERHEAD;
/// Bytes of a row before its ciphertext.
const CLEAR_LEN: usize = VALUE_HEADER_LEN + ENVELOPE_HEADER_LEN;
/// Bytes of a value's AAD before its header: version, flag, key id.
const AAD_START_LEN: usize = 6;

/// What a value is bound to: its row, its header, and the write that made it.
#[derive(Clone, Copy)]
pub struct ValueBinding<'a> {
    /// The row's key in the store.
    pub store_key: &'a [u8],
    /// Flags and expiry, as they will stand before the envelope.
    pub header: [u8; VALUE_HEADER_LEN],
    /// The GCM tag of the entry that writes it (`envelope::Envelope::tag`).
    pub entry_tag: [u8; TAG_LEN],
    /// Index of that entry minus the index where the DEK became active.
    pub delta: u64,
    /// Number of this sealed write within that entry, from 0, in execution order.
    pub op: u32,
}

impl fmt::Debug for ValueBinding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueBinding").field("delta", &self.delta).field("op", &self.op).finish_non_exhaustive()
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

/// Seals bodies in one batch; returns the rows in the order of `items`, all in one allocation.
///
/// The same items under the same key always make the same bytes (SAME-BYTES).
///
/// # Errors
/// [`SealError`]: delta or op does not fit its field (N4).
pub fn seal_values(dek: &ValueDek, items: &[(ValueBinding<'_>, &[u8])]) -> Result<Vec<Bytes>, SealError> {
    let mut arena = ValueArena::new(dek, items.iter().map(|(_, body)| STORED_OVERHEAD + body.len()).sum());
    for (binding, body) in items {
        arena.add(binding, body.len(), |out| out.extend_from_slice(body))?;
    }
    arena.seal();
    let rows = Bytes::from(std::mem::take(&mut arena.rows));
    Ok(arena.ranges().map(|(row, _)| rows.slice(row)).collect())
}

/// Rows that are built where they will stand and are sealed there, all under one key; reused from batch to batch. What was not
/// sealed is wiped on drop.
pub struct ValueArena<'k> {
    dek: &'k ValueDek,
    /// `header | envelope` of each row, one behind the other. Until they are sealed, the bodies are in the clear.
    rows: Vec<u8>,
    /// The AAD of each row, one behind the other.
    aads: Vec<u8>,
    values: Vec<ArenaValue>,
    is_sealed: bool,
}

/// Where a row and its AAD end, and what its nonce is made of.
struct ArenaValue {
    row_end: usize,
    aad_end: usize,
    entry_tag: [u8; TAG_LEN],
    place: [u8; NONCE_LEN],
}

impl<'k> ValueArena<'k> {
    /// For values under this key, with space for so many bytes of rows: more space costs a wipe of what is moved.
    #[must_use]
    pub fn new(dek: &'k ValueDek, bytes: usize) -> ValueArena<'k> {
        ValueArena { dek, rows: Vec::with_capacity(bytes), aads: Vec::new(), values: Vec::new(), is_sealed: false }
    }

    /// Adds a value; `push_body` appends its `body_len` bytes.
    ///
    /// # Errors
    /// [`NonceError`]: delta or op does not fit its field. Nothing was added.
    ///
    /// # Panics
    /// If the batch is sealed, or the body has another length.
    pub fn add(
        &mut self,
        binding: &ValueBinding<'_>,
        body_len: usize,
        push_body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NonceError> {
        assert!(!self.is_sealed, "a sealed batch is cleared first");
        let place = value_place(binding.delta, binding.op)?;
        self.reserve(STORED_OVERHEAD + body_len);
        self.rows.extend_from_slice(&binding.header);
        // The envelope's header has the nonce, which follows from the body.
        self.rows.extend_from_slice(&[0; ENVELOPE_HEADER_LEN]);
        let body_end = self.rows.len() + body_len;
        push_body(&mut self.rows);
        assert_eq!(self.rows.len(), body_end, "a body is as long as was said");
        self.rows.extend_from_slice(&[0; TAG_LEN]);
        push_value_aad(&mut self.aads, self.dek.key_id(), &binding.header, binding.store_key);
        let (row_end, aad_end) = (self.rows.len(), self.aads.len());
        self.values.push(ArenaValue { row_end, aad_end, entry_tag: binding.entry_tag, place });
        Ok(())
    }

    /// Bytes of the rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// Seals all values that were added, as one batch.
    ///
    /// # Panics
    /// If they are sealed.
    pub fn seal(&mut self) {
        assert!(!self.is_sealed, "a batch is sealed once");
        let nonces = self.nonces();
        let mut messages = Vec::with_capacity(self.values.len());
        let (mut rest, mut row_start, mut aad_start) = (&mut self.rows[..], 0, 0);
        for (value, nonce) in self.values.iter().zip(nonces) {
            let (row, behind) = rest.split_at_mut(value.row_end - row_start);
            let (clear, text_inout) = row.split_at_mut(CLEAR_LEN);
            clear[VALUE_HEADER_LEN..].copy_from_slice(&envelope_header(Version::One, self.dek.key_id(), &nonce));
            messages.push(Message { nonce, aad: &self.aads[aad_start..value.aad_end], text_inout });
            (rest, row_start, aad_start) = (behind, value.row_end, value.aad_end);
        }
        self.dek.aead.seal_batch(&mut messages);
        self.is_sealed = true;
    }

    /// The sealed rows, in the order in which they were added.
    ///
    /// # Panics
    /// If they are not sealed.
    pub fn sealed_rows(&self) -> impl Iterator<Item = &[u8]> {
        assert!(self.is_sealed, "plaintext stays here");
        self.ranges().map(|(row, _)| &self.rows[row])
    }

    /// Forgets the batch, keeps the space.
    pub fn clear(&mut self) {
        if !self.is_sealed {
            self.rows.zeroize();
        }
        self.rows.clear();
        self.aads.clear();
        self.values.clear();
        self.is_sealed = false;
    }

    /// What the values are, where they are written and by which entry decide their nonces.
    fn nonces(&self) -> Vec<[u8; NONCE_LEN]> {
        let parts = self.values.iter().zip(self.ranges());
        let aads: Vec<[&[u8]; 2]> = parts
            .map(|(value, (_, aad))| [&value.entry_tag[..], &self.aads[aad.start + AAD_START_LEN..aad.end]])
            .collect();
        let items: Vec<TagMessage<'_>> = self
            .values
            .iter()
            .zip(self.ranges())
            .zip(&aads)
            .map(|((value, (row, _)), aad)| TagMessage {
                aad,
                plaintext: &self.rows[row.start + CLEAR_LEN..row.end - TAG_LEN],
                place: value.place,
            })
            .collect();
        let tags = self.dek.nonces.tags(&items);
        items.iter().zip(&tags).map(|(item, tag)| value_nonce(item.place, tag)).collect()
    }

    /// Where each row and its AAD lie.
    fn ranges(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        self.values.iter().scan((0, 0), |(row_start, aad_start), value| {
            let row = std::mem::replace(row_start, value.row_end)..value.row_end;
            Some((row, std::mem::replace(aad_start, value.aad_end)..value.aad_end))
        })
    }

    /// Space for more bytes of rows. What is moved leaves nothing behind.
    fn reserve(&mut self, bytes: usize) {
        let needed = self.rows.len() + bytes;
        if needed > self.rows.capacity() {
            let mut larger = Vec::with_capacity(needed.max(2 * self.rows.capacity()));
            larger.extend_from_slice(&self.rows);
            self.rows.zeroize();
            self.rows = larger;
        }
    }
}

impl Drop for ValueArena<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

debug_fields!(self: ValueArena<'_> { values: self.values.len(), is_sealed: self.is_sealed });

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
