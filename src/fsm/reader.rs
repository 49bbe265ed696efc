//! Values as commands see them: the rows of the newest view, opened.
//!
//! [`Base`] is what commands run on: the newest view through a [`RowReader`], or a run's overlay above it. How a sealed row is
//! opened is behind [`RowCipher`], so this room knows no key. Expiry is not judged here: a value that is past due is
//! handed out, and the command decides by the stamp that counts for it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::crypto::names::NameKey;
use crate::fsm::base::RowBase;
use crate::fsm::fetched::Detail;
use crate::fsm::fetched::Fetched;
use crate::fsm::fetched::ReadBack;
use crate::fsm::fetched::ReadRows;
use crate::fsm::kept::KeptRows;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowBatch;
use crate::fsm::opening::RowCipher;
use crate::fsm::row::FoundRow;
use crate::fsm::value::Value;
use crate::fsm::value::ValueRef;
use crate::fsm::view::SeenRow;
use crate::fsm::view::View;
use crate::fsm::view::Views;
use crate::fsm::walk::MetRow;
use crate::fsm::walk::RowDeadline;
use crate::fsm::walk::WalkError;
use crate::limits::EXPIRY_STEP_ROWS;

/// Where a walk over keys begins.
#[derive(Clone, Copy, Debug)]
pub struct KeyWalk {
    /// Whose keys.
    pub database: Database,
    /// Those behind this name; `None` = all.
    pub behind: Option<RowName>,
    /// About how many are wanted: so many of a table are copied at once.
    pub most: usize,
    /// A row whose deadline is at or before this is not opened.
    pub now_ms: u64,
}

/// What a walk over keys meets.
#[derive(Clone, Copy, Debug)]
pub struct MetKey<'a> {
    /// The row.
    pub name: RowName,
    /// The user's key; `None` if it is past due.
    pub key: Option<&'a [u8]>,
    /// About how many bytes were opened to know it.
    pub bytes: usize,
}

/// A map of values at one moment, past-due ones included.
pub trait Base {
    /// The value of a row.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read or opened, or the row holds another key.
    fn value(&self, row: RowKey<'_>) -> Result<Option<Value>, ReadError>;

    /// Calls `visit` with the value of each of several rows, in the order of `rows`, as they stood at one moment, until it
    /// answers false, which it does when it can keep no more bytes. Of a moment that is applied, what is past due by its own stamp
    /// is left out: it may be newer than the stamp that the caller knows.
    ///
    /// # Errors
    /// [`ReadError`] if one that is reached cannot be read or opened, or holds another key.
    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError>;

    /// Calls `visit` with each row of a stretch of a database in the order of names, until it answers false. The rows are of
    /// no single moment; one that is there all the time is met. Names whose rows were deleted lately are met without a key.
    ///
    /// # Errors
    /// [`ReadError`] if a row that is reached cannot be read or opened.
    fn walk_keys(&self, from: KeyWalk, visit: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError>;

    /// Whether there is a value that is not past due at `now_ms`. It is not opened where its header is at hand.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read.
    fn is_live(&self, name: &RowName, now_ms: u64) -> Result<bool, ReadError> {
        Ok(self.value(RowKey::named(*name))?.is_some_and(|value| !value.is_past_due(now_ms)))
    }

    /// How many keys of a database are not past due at `now_ms`, an estimate if there are many ([`Views::count`]). Headers are trusted
    /// unopened.
    ///
    /// # Errors
    /// [`ReadError`] if the rows cannot be read.
    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError>;
}

/// A value that lies in a table or in an opened body, that there is none, or why it cannot be read.
pub type ShownValue<'a> = Result<Option<ValueRef<'a>>, ReadError>;

/// [`Base::each_value`] one by one, for a base that nobody changes meanwhile: there that is one moment.
pub(crate) fn each_alone<B: Base + ?Sized>(
    base: &B,
    rows: &[RowKey<'_>],
    visit: &mut dyn FnMut(Option<Value>) -> bool,
) -> Result<(), ReadError> {
    for row in rows {
        if !visit(base.value(*row)?) {
            break;
        }
    }
    Ok(())
}

/// The newest view's rows as values. Cheap to clone; any number of threads may read while apply goes on.
#[derive(Clone)]
pub struct RowReader {
    views: Arc<Views<dyn RowBase>>,
    cipher: Arc<dyn RowCipher>,
}

impl RowReader {
    /// A reader of the newest view that opens sealed rows with `cipher`.
    #[must_use]
    pub fn new(views: Arc<Views<dyn RowBase>>, cipher: Arc<dyn RowCipher>) -> RowReader {
        RowReader { views, cipher }
    }

    /// What it reads.
    #[must_use]
    pub fn views(&self) -> &Arc<Views<dyn RowBase>> {
        &self.views
    }

    /// What the keys of reads and writes are named with; see [`RowCipher::name_key`].
    ///
    /// # Errors
    /// [`ReadError::NoCipher`].
    pub fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        self.cipher.name_key()
    }

    /// Calls `visit` with the name, the deadline and the bytes of every row behind `behind`, upward, until it answers false, and
    /// with nothing but the name of a row that was deleted lately. The deadline is in ms since 1970, 0 where there is none.
    /// Nothing is opened, and the rows are of no single moment.
    ///
    /// # Errors
    /// [`WalkError`] if a row cannot be read or has a damaged header.
    pub fn deadlines(
        &self,
        behind: Option<RowName>,
        visit: &mut dyn FnMut(&RowName, Option<RowDeadline>) -> bool,
    ) -> Result<(), WalkError> {
        self.views.walk_behind(behind, EXPIRY_STEP_ROWS, &mut |name, met| visit(&name, met))
    }

    /// Opens the rows of the base.
    pub(crate) fn cipher(&self) -> &dyn RowCipher {
        &*self.cipher
    }

    /// Calls `visit` with the value of each of several rows, in the order of `rows`, as they stood at one moment, whose stamp
    /// comes with each, until it answers false. Values are shown where they lie, nothing is allocated for one in a table,
    /// and rows that only the base has are fetched and opened together. Where large ones are among these it ends early, behind
    /// one row at least. Nothing is shown before all is fetched.
    ///
    /// # Errors
    /// [`ReadError`] if the base cannot be read; then nothing was shown. A row that is damaged is told to `visit`.
    pub fn show_each(
        &self,
        rows: &[RowKey<'_>],
        visit: &mut dyn FnMut(u64, ShownValue<'_>) -> bool,
    ) -> Result<(), ReadError> {
        READ_SPACE.with(|kept| {
            // Who looks at rows while rows are shown to it has a space of its own.
            let (mut kept, mut own) = (kept.try_borrow_mut(), None);
            let space = kept.as_deref_mut().unwrap_or_else(|_| own.get_or_insert_default());
            let shown = self.show_each_in(rows, space, visit);
            space.clear();
            shown
        })
    }

    fn show_each_in(
        &self,
        rows: &[RowKey<'_>],
        space: &mut ReadSpace,
        visit: &mut dyn FnMut(u64, ShownValue<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let ReadSpace { names, seen, batch, read_back } = space;
        names.extend(rows.iter().map(|row| row.name));
        let view = self.several(names, seen, |read, places, kept| {
            let missing: Vec<RowName> = places.iter().map(|place| rows[*place].name).collect();
            batch.clear();
            read_back.begin(kept);
            read(&missing, &mut |at, row| {
                batch.add(&*self.cipher, &missing[at], row);
                !batch.is_full()
            })
        })?;
        batch.open();
        for (asked, seen) in rows.iter().zip(&*seen) {
            let value = match seen {
                SeenRow::Above(FoundRow::Row(row)) => {
                    row.asked_for(*asked).map(|row| Some(row.value())).map_err(ReadError::from)
                }
                SeenRow::Above(_) => Ok(None),
                SeenRow::Base(at) if *at < batch.len() => {
                    let value = batch.value(*at, *asked);
                    value.iter().flatten().for_each(|value| read_back.add(*asked, *value));
                    value
                }
                SeenRow::Base(_) => break,
            };
            if !visit(view.stamp_ms, value) {
                break;
            }
        }
        read_back.hand_over();
        Ok(())
    }

    /// Shows a row of a walk to `visit`; opened in `batch` if it must be.
    fn meet(
        &self,
        name: RowName,
        row: MetRow<'_>,
        now_ms: u64,
        batch: &mut RowBatch,
        visit: &mut dyn FnMut(MetKey<'_>) -> bool,
    ) -> Result<bool, ReadError> {
        let bytes = row.bytes();
        if row.header()?.is_past_due(now_ms) {
            return Ok(visit(MetKey { name, key: None, bytes: 0 }));
        }
        match row {
            MetRow::Table(row) => Ok(visit(MetKey { name, key: Some(row.key()), bytes })),
            MetRow::Base(row) => {
                batch.clear();
                batch.add(&*self.cipher, &name, Some(row));
                batch.open();
                Ok(visit(MetKey { name, key: batch.key(0)?, bytes }))
            }
        }
    }

    /// Several rows of one moment, see [`Views::several`]. `fetch` reads what is missing above the base. Where tables come and go
    /// faster than the base answers, the base is held as it is.
    fn several<E>(
        &self,
        names: &[RowName],
        seen: &mut Vec<SeenRow>,
        mut fetch: impl FnMut(ReadRows<'_>, &[usize], Option<&Arc<KeptRows>>) -> Result<(), E>,
    ) -> Result<Arc<View<dyn RowBase>>, E> {
        for _ in 0..TRIES_MAX {
            let read = |view: &View<dyn RowBase>, places: &[usize]| {
                fetch(&|names, visit| view.base.rows(names, visit), places, Some(&view.kept))
            };
            if let Some(view) = self.views.several(names, seen, read)? {
                return Ok(view);
            }
        }
        self.views.several_pinned(names, seen, |pinned, places| {
            fetch(&|names, visit| pinned.rows(names, visit), places, None)
        })
    }
}

/// What a look at several rows needs beside their values.
#[derive(Default)]
struct ReadSpace {
    names: Vec<RowName>,
    seen: Vec<SeenRow>,
    batch: RowBatch,
    read_back: ReadBack,
}

impl ReadSpace {
    /// Lets go of the rows.
    fn clear(&mut self) {
        self.names.clear();
        self.seen.clear();
        self.batch.clear();
        self.read_back.begin(None);
    }
}

thread_local! {
    /// What one look has allocated, the next one of the thread uses.
    static READ_SPACE: RefCell<ReadSpace> = RefCell::default();
}

impl Base for RowReader {
    fn value(&self, asked: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        let view = self.views.load();
        match view.find(&asked.name) {
            FoundRow::Row(row) => Ok(Some(row.asked_for(asked)?.to_value())),
            FoundRow::Gone => Ok(None),
            FoundRow::Below => {
                let mut batch = RowBatch::default();
                if !view.base.row(&asked.name, &mut |row| batch.add(&*self.cipher, &asked.name, Some(row)))? {
                    return Ok(None);
                }
                batch.open();
                Ok(batch.value(0, asked)?.map(ValueRef::to_value))
            }
        }
    }

    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        let names: Vec<RowName> = rows.iter().map(|row| row.name).collect();
        let (mut seen, mut fetched) = (Vec::new(), Fetched::default());
        let fetch = |read: ReadRows<'_>, places: &[usize], kept: Option<&Arc<KeptRows>>, fetched: &mut Fetched| {
            let missing: Vec<RowKey<'_>> = places.iter().map(|place| rows[*place]).collect();
            fetched.fetch(read, kept, (&missing, detail), &*self.cipher)
        };
        let mut view = None;
        for _ in 0..TRIES_MAX {
            view = self.views.several(&names, &mut seen, |view, places| {
                fetch(&|names, visit| view.base.rows(names, visit), places, Some(&view.kept), &mut fetched)
            })?;
            if view.is_some() && fetched.is_enough(&seen) {
                break;
            }
            view = None;
        }
        let view = match view {
            Some(view) => view,
            None => self.views.several_pinned(&names, &mut seen, |pinned, places| {
                fetch(&|names, visit| pinned.rows(names, visit), places, None, &mut fetched)
            })?,
        };
        for (asked, seen) in rows.iter().zip(seen) {
            let value = match seen {
                SeenRow::Above(FoundRow::Row(row)) => Some(row.asked_for(*asked)?.to_value()),
                SeenRow::Above(_) => None,
                SeenRow::Base(at) => match fetched.values.get_mut(at) {
                    Some(value) => value.take(),
                    // What was visited is more than a reply can hold already.
                    None => break,
                },
            };
            if !visit(value.filter(|value| !value.is_past_due(view.stamp_ms))) {
                break;
            }
        }
        Ok(())
    }

    fn walk_keys(&self, from: KeyWalk, visit: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
        let KeyWalk { database, behind, most, now_ms } = from;
        let (mut failed, mut batch) = (None, RowBatch::default());
        self.views.walk_database(database, behind, most, &mut |name, row| {
            let Some(row) = row else {
                return visit(MetKey { name, key: None, bytes: 0 });
            };
            self.meet(name, row, now_ms, &mut batch, visit).unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn is_live(&self, name: &RowName, now_ms: u64) -> Result<bool, ReadError> {
        Ok(self.views.is_live(name, now_ms)?)
    }

    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError> {
        Ok(self.views.count(database, now_ms)?)
    }
}

debug_fields!(self: RowReader {});

/// Reads of several rows that may be in vain, because tables come and go faster than the base answers.
const TRIES_MAX: usize = 2;
