//! What a run of entries has done so far, in plaintext, on top of a [`Base`]; the next command sees it, the store not yet.
//!
//! A row remembers which entry and which of its sealed writes (`op`) made it, so that sealing at the end of
//! the run, or at a later flush, gives the same bytes however the entries were cut into runs (SAME-BYTES). Nothing here
//! reads a clock; the order of the hash map never shows: changes leave sorted.

use crate::crypto::names::NameKey;
use crate::fsm::command::WriteRef;
use crate::fsm::fetched::Detail;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::reader::Base;
use crate::fsm::reader::KeyWalk;
use crate::fsm::reader::MetKey;
use crate::fsm::reader::each_alone;
use crate::fsm::row::Effects;
use crate::fsm::row::FoundRow;
use crate::fsm::row::RowFate;
use crate::fsm::table_row::RowBytes;
use crate::fsm::table_row::SealedBy;
use crate::fsm::table_row::TableRow;
use crate::fsm::table_row::WrittenAt;
use crate::fsm::value::Value;
use crate::ids::Index;
use crate::keys::node_keys::ActiveValue;
use crate::limits::ENTRY_VALUE_BYTES_MAX;
use crate::limits::ENTRY_WRITES_MAX;

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
    sealed: Option<SealedBy>,
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
        WriteContext { index, stamp_ms, sealed, op: 0, value_bytes: 0, refusal, names }
    }

    /// The names of the keys of the next command, all at once: where it ends early, the next one must not get what is left.
    ///
    /// # Panics
    /// If there are not as many: names are made of the same commands.
    pub(super) fn names_of(&mut self, write: &WriteRef<'_>) -> &'n [RowName] {
        let mut count = 0;
        write.each_key(&mut |_| count += 1);
        let (names, rest) = self.names.split_at(count);
        self.names = rest;
        names
    }

    /// Every command of the entry was executed.
    ///
    /// # Panics
    /// If there are names left: then a command ran with the names of another one.
    pub fn assert_all_named(&self) {
        assert!(self.names.is_empty(), "each name of the entry belongs to one of its commands");
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
        WrittenAt::new(self.index, op, self.sealed)
    }
}

/// The effects of a run so far.
///
/// If a command ends with a [`ReadError`], its entry is half done in here: throw the overlay away and run the entries
/// before it again on a new one (PREFIX-APPLIED). That is a halt, so its cost does not matter.
#[derive(Clone, Debug)]
pub struct Overlay {
    effects: Effects,
    /// Two keys of one name are damage.
    has_secret_names: bool,
}

impl Default for Overlay {
    fn default() -> Overlay {
        Overlay { effects: Effects::default(), has_secret_names: true }
    }
}

impl Overlay {
    /// Nothing done yet. Two keys of one name are damage.
    #[must_use]
    pub fn new() -> Overlay {
        Overlay::default()
    }

    /// Nothing done yet, with rows that are named with `names`.
    #[must_use]
    pub fn named_with(names: &NameKey) -> Overlay {
        Overlay { has_secret_names: names.is_secret(), ..Overlay::default() }
    }

    /// Makes space for so many more rows at once.
    pub fn reserve(&mut self, rows: usize) {
        self.effects.reserve(rows);
    }

    /// Whether a row that holds another key than the one that is asked for is damage. Where somebody can have made two keys of
    /// one name, it is a command's error: a client must not be able to halt the cluster. Every replica decides the same.
    pub(crate) fn has_secret_names(&self) -> bool {
        self.has_secret_names
    }

    /// Whether nothing was done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// Bytes of memory that the rows take. A run may be cut between two entries where this gets large: the cut never
    /// shows in what is written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.effects.memory_bytes()
    }

    /// `base` with these effects: what the next command, or a read at its place among the writes, sees.
    #[must_use]
    pub fn view<'a, B: Base + ?Sized>(&'a self, base: &'a B) -> OverlayView<'a, B> {
        OverlayView { overlay: self, base }
    }

    /// All effects, to be published. Values are handed over, not copied.
    #[must_use]
    pub fn into_effects(self) -> Effects {
        self.effects
    }

    /// All effects, sorted by name.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let cleared = self.effects.cleared();
        let mut rows: Vec<(RowName, RowChange)> = Vec::with_capacity(self.effects.rows().len());
        for (name, fate) in self.effects.rows() {
            match fate {
                Some(row) => {
                    let (key, value, at) = (row.key().into(), row.to_value(), *row.at());
                    rows.push((*name, RowChange::Put { key, value, at }));
                }
                None if cleared.has(name.database()) => {}
                None => rows.push((*name, RowChange::Delete)),
            }
        }
        rows.sort_unstable_by_key(|(name, _)| *name);
        Changes { cleared: cleared.iter().collect(), rows }
    }

    /// The value of a row here or below, past due or not.
    pub(crate) fn value<B: Base + ?Sized>(&self, base: &B, row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        match self.effects.find(&row.name) {
            FoundRow::Row(found) => Ok(Some(found.asked_for(row)?.to_value())),
            FoundRow::Gone => Ok(None),
            FoundRow::Below => base.value(row),
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
                if value.last_change > index
                    || (value.last_change == index && self.effects.find(&row.name) == FoundRow::Below) =>
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
        bytes: RowBytes<'_>,
        expire_at_ms: u64,
        context: &mut WriteContext<'_>,
    ) {
        debug_assert!((context.op as usize) < ENTRY_WRITES_MAX, "counted before the entry was executed");
        let row = TableRow::new(key, bytes, expire_at_ms, context.next_write());
        self.effects.set(name, Some(row));
    }

    /// Holds the key that the run's values will be sealed with, see [`Effects::seal_with`].
    pub fn seal_with(&mut self, key: &ActiveValue) {
        self.effects.seal_with(key);
    }

    /// The row goes, whether there is one or not.
    pub(crate) fn remove(&mut self, name: RowName) {
        self.effects.set(name, None);
    }

    /// All rows of a database go.
    pub(crate) fn clear(&mut self, database: Database) {
        self.effects.clear(database);
    }

    /// Gives up the row's hold on its bytes, so that who else holds them may be alone and change them in place. A `put`
    /// of the same key must follow at once.
    pub(crate) fn detach(&mut self, name: &RowName) {
        self.effects.detach(name);
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

    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        _detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        // Only the thread that owns the overlay writes the base, so one by one is one moment.
        each_alone(self, rows, visit)
    }

    fn walk_keys(&self, from: KeyWalk, visit: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
        let effects = &self.overlay.effects;
        let is_asked =
            |name: &RowName| name.database() == from.database && from.behind.is_none_or(|behind| *name > behind);
        let mut above: Vec<_> = effects.rows().filter(|(name, _)| is_asked(name)).collect();
        above.sort_unstable_by_key(|(name, _)| **name);
        let mut above = above.into_iter().peekable();
        let mut goes_on = true;
        if !effects.cleared().has(from.database) {
            self.base.walk_keys(from, &mut |met| {
                while let Some((name, fate)) = above.next_if(|(name, _)| **name < met.name) {
                    goes_on = goes_on && meet(name, fate, from.now_ms, visit);
                }
                goes_on = goes_on
                    && match above.next_if(|(name, _)| **name == met.name) {
                        Some((name, fate)) => meet(name, fate, from.now_ms, visit),
                        None => visit(met),
                    };
                goes_on
            })?;
        }
        for (name, fate) in above {
            goes_on = goes_on && meet(name, fate, from.now_ms, visit);
        }
        Ok(())
    }

    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError> {
        let is_live = |row: &RowFate| row.as_ref().is_some_and(|row| !row.is_past_due(now_ms));
        let rows = || self.overlay.effects.rows().filter(|(name, _)| name.database() == database);
        let above = rows().filter(|(_, row)| is_live(row)).count() as u64;
        if self.overlay.effects.cleared().has(database) {
            return Ok(above);
        }
        let mut hidden = 0;
        for (name, _) in rows() {
            hidden += u64::from(self.base.is_live(name, now_ms)?);
        }
        // Of many rows the base gives an estimate.
        Ok(self.base.count(database, now_ms)?.saturating_sub(hidden) + above)
    }
}

/// Shows a row of the overlay to `visit`, or that it was deleted.
fn meet(name: &RowName, fate: &RowFate, now_ms: u64, visit: &mut dyn FnMut(MetKey<'_>) -> bool) -> bool {
    let live = fate.as_ref().filter(|row| !row.is_past_due(now_ms));
    visit(MetKey { name: *name, key: live.map(TableRow::key), bytes: 0 })
}
