//! What a run of entries has done so far, in plaintext, on top of a [`Base`]; the next command sees it, the store not yet.
//!
//! A row remembers which entry and which of its sealed writes (`op`) made it, so that sealing at the end of
//! the run, or at a later flush, gives the same bytes however the entries were cut into runs (SAME-BYTES). Nothing here
//! reads a clock; the order of the hash map never shows: changes leave sorted.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::fsm::reader::Base;
use crate::fsm::reader::ReadError;
use crate::fsm::value::Value;
use crate::fsm::value::ValueKind;
use crate::ids::Index;
use crate::keys::node_keys::ActiveValue;
use crate::limits::ENTRY_VALUE_BYTES_MAX;
use crate::limits::ENTRY_WRITES_MAX;

/// What the values of a sealed entry are sealed with; shared by all of them.
#[derive(Clone, Debug)]
pub struct SealedBy {
    /// GCM tag of the entry's envelope.
    pub entry_tag: [u8; 16],
    /// The value DEK that was active at the entry; held here, since it may be rotated before the value is sealed. `None`
    /// = this node cannot unwrap it: the entry halts if it writes a value.
    pub value_key: Option<ActiveValue>,
}

/// Without a key: for tests of what is not sealed in the end.
impl From<[u8; 16]> for SealedBy {
    fn from(entry_tag: [u8; 16]) -> SealedBy {
        SealedBy { entry_tag, value_key: None }
    }
}

/// The write that made a value: all that its nonce is made of.
#[derive(Clone, Debug)]
pub struct WrittenAt {
    /// The entry.
    pub index: Index,
    /// Which sealed write of the entry, counted from 0 in execution order.
    pub op: u16,
    /// `None` = the entry was in the clear, and so is the value.
    pub sealed: Option<Arc<SealedBy>>,
}

impl WrittenAt {
    /// GCM tag of the entry's envelope, if it had one.
    #[must_use]
    pub fn entry_tag(&self) -> Option<[u8; 16]> {
        self.sealed.as_ref().map(|sealed| sealed.entry_tag)
    }
}

impl PartialEq for WrittenAt {
    fn eq(&self, other: &WrittenAt) -> bool {
        (self.index, self.op, self.entry_tag()) == (other.index, other.op, other.entry_tag())
    }
}

impl Eq for WrittenAt {}

/// How one key's row will stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// There is a row.
    Put {
        /// What is in it.
        value: Value,
        /// What wrote it.
        at: WrittenAt,
    },
    /// There is none.
    Delete,
}

/// All effects of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// All rows go first; `rows` was written after that.
    pub clear: bool,
    /// Each changed key once, in key order. With `clear` there is no `Delete`.
    pub rows: Vec<(Vec<u8>, RowChange)>,
}

/// One entry while its commands run. Made anew for each entry.
#[derive(Clone, Debug)]
pub struct WriteContext {
    /// The entry.
    pub(crate) index: Index,
    /// What expiry is judged by.
    pub(crate) stamp_ms: u64,
    sealed: Option<Arc<SealedBy>>,
    /// Sealed writes so far.
    op: u32,
    /// Bytes of values loaded or made so far (`ENTRY_VALUE_BYTES_MAX`).
    value_bytes: u64,
    /// The error that every command answers in place of running.
    refusal: Option<&'static str>,
}

impl WriteContext {
    /// The entry at `index`; with a `refusal` none of its commands runs. [`Overlay::begin`] finds out.
    pub(super) fn new(
        index: Index,
        stamp_ms: u64,
        sealed: Option<SealedBy>,
        refusal: Option<&'static str>,
    ) -> WriteContext {
        assert_ne!(index, Index(0), "no entry has index 0");
        WriteContext { index, stamp_ms, sealed: sealed.map(Arc::new), op: 0, value_bytes: 0, refusal }
    }

    /// Sealed writes that were executed so far, overwritten ones included.
    #[must_use]
    pub fn sealed_writes(&self) -> u32 {
        self.op
    }

    /// The error that every command of the entry answers, because none of them may run.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }

    /// Takes `bytes` from what the entry may load and make; false, and nothing taken, if there is not as much left.
    pub(crate) fn charge(&mut self, bytes: usize) -> bool {
        let sum = self.value_bytes + bytes as u64;
        let fits = sum <= ENTRY_VALUE_BYTES_MAX;
        if fits {
            self.value_bytes = sum;
        }
        fits
    }

    fn next_write(&mut self) -> WrittenAt {
        let op = u16::try_from(self.op).expect("an entry above ENTRY_WRITES_MAX is refused whole");
        self.op += 1;
        WrittenAt { index: self.index, op, sealed: self.sealed.clone() }
    }
}

/// The effects of a run so far.
///
/// If a command ends with a [`ReadError`], its entry is half done in here: throw the overlay away and run the entries
/// before it again on a new one (PREFIX-APPLIED). That is a halt, so its cost does not matter.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    clear: bool,
    rows: HashMap<Box<[u8]>, Row>,
    bytes: u64,
}

/// `None`: deleted.
type Row = Option<(Value, WrittenAt)>;

impl Overlay {
    /// Nothing done yet.
    #[must_use]
    pub fn new() -> Overlay {
        Overlay::default()
    }

    /// Whether nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.clear && self.rows.is_empty()
    }

    /// Bytes of keys and values that are held. A run may be cut between two entries where this gets large: the cut never
    /// shows in what is written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `base` with these effects: what the next command, or a read at its place among the writes, sees.
    #[must_use]
    pub fn view<'a, B: Base + ?Sized>(&'a self, base: &'a B) -> OverlayView<'a, B> {
        OverlayView { overlay: self, base }
    }

    /// All effects, sorted by key.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let mut rows: Vec<(Vec<u8>, RowChange)> = Vec::with_capacity(self.rows.len());
        for (key, row) in self.rows {
            match row {
                Some((value, at)) => rows.push((key.into_vec(), RowChange::Put { value, at })),
                None if self.clear => {}
                None => rows.push((key.into_vec(), RowChange::Delete)),
            }
        }
        rows.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Changes { clear: self.clear, rows }
    }

    /// The value of `key` here or below, past due or not.
    pub(crate) fn value<B: Base + ?Sized>(&self, base: &B, key: &[u8]) -> Result<Option<Value>, ReadError> {
        match self.rows.get(key) {
            Some(row) => Ok(row.as_ref().map(|(value, _)| value.clone())),
            None if self.clear => Ok(None),
            None => base.value(key),
        }
    }

    /// As [`Overlay::value`], for a command of the entry at `index`: no value below can be of that entry or a later one.
    pub(crate) fn value_for<B: Base + ?Sized>(
        &self,
        base: &B,
        key: &[u8],
        index: Index,
    ) -> Result<Option<Value>, ReadError> {
        let found = self.value(base, key)?;
        match &found {
            Some(value)
                if value.last_change > index || (value.last_change == index && !self.rows.contains_key(key)) =>
            {
                Err(ReadError::Ahead { last_change: value.last_change })
            }
            _ => Ok(found),
        }
    }

    /// One sealed write.
    pub(crate) fn put(&mut self, key: &[u8], bytes: Bytes, expire_at_ms: u64, context: &mut WriteContext) {
        debug_assert!((context.op as usize) < ENTRY_WRITES_MAX, "counted before the entry was executed");
        let value = Value { kind: ValueKind::String, last_change: context.index, expire_at_ms, bytes };
        self.replace(key, Some((value, context.next_write())));
    }

    /// The row goes, whether there is one or not.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.replace(key, None);
    }

    /// All rows go.
    pub(crate) fn clear(&mut self) {
        self.clear = true;
        self.rows.clear();
        self.bytes = 0;
    }

    /// Gives up the row's hold on its bytes, so that who else holds them may be alone and change them in place. A `put`
    /// of the same key must follow at once.
    pub(crate) fn detach(&mut self, key: &[u8]) {
        if let Some(Some((value, _))) = self.rows.get_mut(key) {
            self.bytes -= value.bytes.len() as u64;
            value.bytes = Bytes::new();
        }
    }

    fn replace(&mut self, key: &[u8], row: Row) {
        self.bytes += row_bytes(&row);
        if let Some(place) = self.rows.get_mut(key) {
            self.bytes -= row_bytes(place);
            *place = row;
        } else {
            self.bytes += key.len() as u64;
            self.rows.insert(key.into(), row);
        }
    }
}

/// A base with a run's effects on top.
#[derive(Debug)]
pub struct OverlayView<'a, B: ?Sized> {
    overlay: &'a Overlay,
    base: &'a B,
}

impl<B: Base + ?Sized> Base for OverlayView<'_, B> {
    fn value(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        self.overlay.value(self.base, key)
    }

    fn each_value(&self, keys: &[&[u8]], visit: &mut dyn FnMut(Option<Value>) -> bool) -> Result<(), ReadError> {
        // Only the thread that owns the overlay writes the base, so one by one is one moment.
        for key in keys {
            if !visit(self.value(key)?) {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, now_ms: u64) -> Result<u64, ReadError> {
        let is_live = |value: Option<&Value>| value.is_some_and(|value| !value.is_past_due(now_ms));
        let above =
            self.overlay.rows.values().filter(|row| is_live(row.as_ref().map(|(value, _)| value))).count() as u64;
        if self.overlay.clear {
            return Ok(above);
        }
        let mut hidden = 0;
        for key in self.overlay.rows.keys() {
            hidden += u64::from(is_live(self.base.value(key)?.as_ref()));
        }
        Ok(self.base.count(now_ms)? - hidden + above)
    }
}

fn row_bytes(row: &Row) -> u64 {
    row.as_ref().map_or(0, |(value, _)| value.bytes.len() as u64)
}
