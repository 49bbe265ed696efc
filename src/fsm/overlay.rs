//! What a run of entries has done so far, in plaintext, on top of a [`Base`]; the next command sees it, the store not yet.
//!
//! A row remembers which entry and which of its sealed writes (`op`) made it, so that sealing at the end of
//! the run, or at a later flush, gives the same bytes however the entries were cut into runs (SAME-BYTES). Nothing here
//! reads a clock; the order of the hash map never shows: changes leave sorted.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::fsm::name::DATABASES;
use crate::fsm::name::Database;
use crate::fsm::name::ROW_NAME_LEN;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::reader::Base;
use crate::fsm::reader::ReadError;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
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
        /// The user's key.
        key: Box<[u8]>,
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
    /// All rows of these databases go first; `rows` was written after that. Ascending.
    pub cleared: Vec<Database>,
    /// Each changed row once, in the order of names. There is no `Delete` in a cleared database.
    pub rows: Vec<(RowName, RowChange)>,
}

/// One entry while its commands run. Made anew for each entry.
#[derive(Clone, Debug)]
pub struct WriteContext<'n> {
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
    /// Of the keys of the commands that did not run yet.
    names: &'n [RowName],
}

impl<'n> WriteContext<'n> {
    /// The entry at `index`; with a `refusal` none of its commands runs. [`Overlay::begin`] finds out.
    pub(super) fn new(
        index: Index,
        stamp_ms: u64,
        sealed: Option<SealedBy>,
        refusal: Option<&'static str>,
        names: &'n [RowName],
    ) -> WriteContext<'n> {
        assert_ne!(index, Index(0), "no entry has index 0");
        WriteContext { index, stamp_ms, sealed: sealed.map(Arc::new), op: 0, value_bytes: 0, refusal, names }
    }

    /// The name of the next key.
    ///
    /// # Panics
    /// If there is none: names are made of the same commands.
    pub(super) fn next_name(&mut self) -> RowName {
        let (name, rest) = self.names.split_first().expect("each key of the entry has its name");
        self.names = rest;
        *name
    }

    /// The names of the next `count` keys.
    ///
    /// # Panics
    /// If there are not as many: names are made of the same commands.
    pub(super) fn next_names(&mut self, count: usize) -> &'n [RowName] {
        let (names, rest) = self.names.split_at(count);
        self.names = rest;
        names
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
    /// By number: whether all rows from below are gone.
    cleared: [bool; DATABASES],
    rows: HashMap<RowName, Row>,
    bytes: u64,
}

/// `None`: deleted.
type Row = Option<WrittenRow>;

/// A row that the run wrote.
#[derive(Clone, Debug)]
struct WrittenRow {
    key: Box<[u8]>,
    value: Value,
    at: WrittenAt,
}

impl Overlay {
    /// Nothing done yet.
    #[must_use]
    pub fn new() -> Overlay {
        Overlay::default()
    }

    /// Whether nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.cleared.contains(&true) && self.rows.is_empty()
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

    /// All effects, sorted by name.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let cleared = Database::all().filter(|database| self.is_cleared(*database)).collect();
        let mut rows: Vec<(RowName, RowChange)> = Vec::with_capacity(self.rows.len());
        for (name, row) in self.rows {
            match row {
                Some(WrittenRow { key, value, at }) => rows.push((name, RowChange::Put { key, value, at })),
                None if self.cleared[usize::from(name.database().number())] => {}
                None => rows.push((name, RowChange::Delete)),
            }
        }
        rows.sort_unstable_by_key(|(name, _)| *name);
        Changes { cleared, rows }
    }

    /// The value of a row here or below, past due or not.
    pub(crate) fn value<B: Base + ?Sized>(&self, base: &B, row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        match self.rows.get(&row.name) {
            Some(Some(found)) if !row.is_of(&found.key) => Err(ValueError::OtherKey.into()),
            Some(found) => Ok(found.as_ref().map(|found| found.value.clone())),
            None if self.is_cleared(row.name.database()) => Ok(None),
            None => base.value(row),
        }
    }

    /// As [`Overlay::value`], for a command of the entry at `index`: no value below can be of that entry or a later one.
    pub(crate) fn value_for<B: Base + ?Sized>(
        &self,
        base: &B,
        row: RowKey<'_>,
        index: Index,
    ) -> Result<Option<Value>, ReadError> {
        let found = self.value(base, row)?;
        match &found {
            Some(value)
                if value.last_change > index || (value.last_change == index && !self.rows.contains_key(&row.name)) =>
            {
                Err(ReadError::Ahead { last_change: value.last_change })
            }
            _ => Ok(found),
        }
    }

    /// One sealed write.
    pub(crate) fn put(
        &mut self,
        name: RowName,
        key: &[u8],
        bytes: Bytes,
        expire_at_ms: u64,
        context: &mut WriteContext<'_>,
    ) {
        debug_assert!((context.op as usize) < ENTRY_WRITES_MAX, "counted before the entry was executed");
        let value = Value { kind: ValueKind::String, last_change: context.index, expire_at_ms, bytes };
        self.replace(name, Some(WrittenRow { key: key.into(), value, at: context.next_write() }));
    }

    /// The row goes, whether there is one or not.
    pub(crate) fn remove(&mut self, name: RowName) {
        self.replace(name, None);
    }

    /// All rows of a database go.
    pub(crate) fn clear(&mut self, database: Database) {
        self.cleared[usize::from(database.number())] = true;
        self.rows.retain(|name, _| name.database() != database);
        self.bytes = self.rows.values().map(row_bytes).sum();
    }

    fn is_cleared(&self, database: Database) -> bool {
        self.cleared[usize::from(database.number())]
    }

    /// Gives up the row's hold on its bytes, so that who else holds them may be alone and change them in place. A `put`
    /// of the same key must follow at once.
    pub(crate) fn detach(&mut self, name: &RowName) {
        if let Some(Some(row)) = self.rows.get_mut(name) {
            self.bytes -= row.value.bytes.len() as u64;
            row.value.bytes = Bytes::new();
        }
    }

    fn replace(&mut self, name: RowName, row: Row) {
        self.bytes += row_bytes(&row);
        if let Some(before) = self.rows.insert(name, row) {
            self.bytes -= row_bytes(&before);
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
    fn value(&self, row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        self.overlay.value(self.base, row)
    }

    fn each_value(&self, rows: &[RowKey<'_>], visit: &mut dyn FnMut(Option<Value>) -> bool) -> Result<(), ReadError> {
        // Only the thread that owns the overlay writes the base, so one by one is one moment.
        for row in rows {
            if !visit(self.value(*row)?) {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError> {
        let is_live = |value: Option<&Value>| value.is_some_and(|value| !value.is_past_due(now_ms));
        let rows = || self.overlay.rows.iter().filter(|(name, _)| name.database() == database);
        let above = rows().filter(|(_, row)| is_live(row.as_ref().map(|row| &row.value))).count() as u64;
        if self.overlay.is_cleared(database) {
            return Ok(above);
        }
        let mut hidden = 0;
        for (name, _) in rows() {
            hidden += u64::from(is_live(self.base.value(RowKey::named(*name))?.as_ref()));
        }
        Ok(self.base.count(database, now_ms)? - hidden + above)
    }
}

/// Deleted rows take memory too: the fixed part of a place in the map is not counted for either.
fn row_bytes(row: &Row) -> u64 {
    let held = row.as_ref().map_or(0, |row| row.key.len() + row.value.bytes.len());
    (ROW_NAME_LEN + held) as u64
}
