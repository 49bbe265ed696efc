//! How rows of the base are opened, many together, and why a value cannot be read.
//!
//! A row is copied once, out of the base's memory into a [`RowBatch`], and decrypted there beside the others. Which key
//! opens it is behind [`RowCipher`]: this file knows none.

use std::ops::Range;
use std::sync::Arc;

use crate::crypto::envelope::OpenError;
use crate::crypto::names::NameKey;
use crate::crypto::open::OpenArena;
use crate::fsm::base::BaseError;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::value::BodyState;
use crate::fsm::value::Header;
use crate::fsm::value::ValueError;
use crate::fsm::value::ValueRef;
use crate::ids::Index;
use crate::limits::FETCH_BATCH_ROWS_MAX;

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

impl ReadError {
    /// Whether the row holds another key than the one that is asked for.
    #[must_use]
    pub fn is_other_key(&self) -> bool {
        matches!(self, ReadError::Malformed(ValueError::OtherKey))
    }
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

    /// Adds a sealed row, which is header and envelope, to those that `arena` opens together.
    ///
    /// # Errors
    /// [`ReadError::NoCipher`]; then nothing was added. Every other reason is the arena's to tell.
    fn add(&self, name: &RowName, row: &[u8], arena: &mut OpenArena) -> Result<(), ReadError>;
}

/// Rows of the base that are opened together. Reused from batch to batch.
#[derive(Default)]
pub struct RowBatch {
    arena: OpenArena,
    /// Bodies that were in the clear, one behind the other.
    clear: Vec<u8>,
    rows: Vec<BatchRow>,
}

/// What became of a row of the batch.
enum BatchRow {
    /// The base has none.
    Absent,
    /// The body was in the clear.
    Clear {
        header: Header,
        body: Range<usize>,
    },
    /// The arena has the body.
    Sealed {
        header: Header,
        number: usize,
    },
    Failed(ReadError),
}

impl RowBatch {
    /// Forgets the rows before. Keeps the space for others, unless it is large.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.clear.clear();
        self.arena.clear();
        if self.arena.held_bytes() + self.clear.capacity() > KEPT_BYTES {
            (self.arena, self.clear) = (OpenArena::default(), Vec::new());
        }
    }

    /// How many rows were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether it is large enough to be opened before more rows are added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.len() >= OPENED_TOGETHER_MAX || self.arena.text_bytes() + self.clear.len() >= KEPT_BYTES
    }

    /// Takes a copy of a row, or notes that there is none.
    pub fn add(&mut self, cipher: &dyn RowCipher, name: &RowName, row: Option<&[u8]>) {
        let added = row.map_or(Ok(BatchRow::Absent), |row| self.copy(cipher, name, row));
        self.rows.push(added.unwrap_or_else(BatchRow::Failed));
    }

    fn copy(&mut self, cipher: &dyn RowCipher, name: &RowName, row: &[u8]) -> Result<BatchRow, ReadError> {
        let (header, body) = Header::split(row)?;
        match header.state {
            BodyState::Clear if cipher.accepts_clear_rows() => {
                let start = self.clear.len();
                self.clear.extend_from_slice(body);
                Ok(BatchRow::Clear { header, body: start..self.clear.len() })
            }
            BodyState::Clear => Err(ReadError::Unauthentic),
            BodyState::Sealed => {
                cipher.add(name, row, &mut self.arena)?;
                Ok(BatchRow::Sealed { header, number: self.arena.count() - 1 })
            }
        }
    }

    /// Opens what was added.
    pub fn open(&mut self) {
        self.arena.open_all();
    }

    /// Header and body of a row of an opened batch, whatever key it is of. To be asked once: an error is given away.
    ///
    /// # Errors
    /// [`ReadError`] of that row alone.
    pub fn body(&mut self, at: usize) -> Result<Option<(Header, &[u8])>, ReadError> {
        Ok(Some(match std::mem::replace(&mut self.rows[at], BatchRow::Absent) {
            BatchRow::Absent => return Ok(None),
            BatchRow::Failed(error) => return Err(error),
            BatchRow::Clear { header, body } => (header, &self.clear[body]),
            BatchRow::Sealed { header, number } => (header, self.arena.get(number).map_err(read_error)?),
        }))
    }

    /// The value of a row of an opened batch, for who asks for this key. To be asked once: an error is given away.
    ///
    /// # Errors
    /// [`ReadError`] of that row alone.
    pub fn value(&mut self, at: usize, asked: RowKey<'_>) -> Result<Option<ValueRef<'_>>, ReadError> {
        match self.keyed(at)? {
            Some((key, value)) if asked.is_of(key) => Ok(Some(value)),
            Some(_) => Err(ValueError::OtherKey.into()),
            None => Ok(None),
        }
    }

    /// The user's key in a row of an opened batch. To be asked once.
    ///
    /// # Errors
    /// [`ReadError`] of that row alone.
    pub fn key(&mut self, at: usize) -> Result<Option<&[u8]>, ReadError> {
        Ok(self.keyed(at)?.map(|(key, _)| key))
    }

    fn keyed(&mut self, at: usize) -> Result<Option<(&[u8], ValueRef<'_>)>, ReadError> {
        let Some((header, body)) = self.body(at)? else { return Ok(None) };
        Ok(Some(ValueRef::decode_body(header, body)?))
    }
}

debug_fields!(self: RowBatch { rows: self.rows.len() });

fn read_error(error: OpenError) -> ReadError {
    match error {
        OpenError::UnknownKey { key_id } => ReadError::UnknownKey { key_id: key_id.value() },
        OpenError::ReservedKey => ReadError::UnknownKey { key_id: 0 },
        OpenError::Unauthentic { .. } => ReadError::Unauthentic,
        OpenError::EntryFrame { .. }
        | OpenError::EnvelopeShort { .. }
        | OpenError::EnvelopeVersion { .. }
        | OpenError::EnvelopeFlag { .. } => ReadError::Envelope,
    }
}

/// Enough to fill every lane, and as many as the base fetches at once.
const OPENED_TOGETHER_MAX: usize = FETCH_BATCH_ROWS_MAX;
/// Bytes of rows that are opened together, and that are kept for the next batch: the lanes gain nothing by more.
const KEPT_BYTES: usize = 256 << 10;
