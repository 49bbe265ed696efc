//! The state as readers see it: one pointer, swapped once per run, to everything that is true at one applied index.
//!
//! ```text
//! View   index, stamp, generation
//!   hot     the newest run's effects; nobody changes them
//!   table   everything since the last freeze but hot
//!   frozen  the table of the flush under way, or of the last one; nobody changes it
//!   kept    rows of earlier ones, as far as there is space for them; they say what the base says
//!   base    what was flushed
//! ```
//!
//! A read looks from the top down and ends where a row is found, or a mark that its database was cleared. Rows move down
//! only: a run is published as hot, then merged into the table; the table becomes frozen, then its rows are in the base.
//! So a reader that holds any view misses nothing, however long it takes; what it sees of one row may be newer than the
//! view, never older. For one row this needs no check. Several rows of one moment: see [`Views::several`].

use std::fmt;
use std::sync::Arc;

use super::kept::KeptRows;
use super::sync::Mutex;
use super::sync::MutexGuard;
use super::sync::PoisonError;
use super::sync::Swap;
use super::table::FOUND_AT_ONCE;
use super::table::MergeSorter;
use super::table::RowTable;
use crate::fsm::name::RowName;
use crate::fsm::row::Effects;
use crate::fsm::row::FoundRow;
use crate::fsm::sized_rows::Bury;
use crate::ids::Position;

/// What is true at one applied index. `B` is the base: what was flushed.
pub struct View<B: ?Sized> {
    /// The newest entry in it.
    pub position: Position,
    /// The stamp of the newest entry of commands: what reads judge expiry by.
    pub stamp_ms: u64,
    /// Counts views.
    pub generation: u64,
    /// Counts frozen tables.
    pub freezes: u64,
    /// The newest run.
    pub hot: Arc<Effects>,
    /// What was merged since the last freeze.
    pub table: Arc<RowTable>,
    /// What was merged before.
    pub frozen: Arc<RowTable>,
    /// What was flushed, and stays in memory. All views share it.
    pub kept: Arc<KeptRows>,
    /// What was flushed. The handle can be another one in the next view.
    pub base: Arc<B>,
}

impl<B: ?Sized> View<B> {
    /// What is known of a row above the base.
    #[must_use]
    pub fn find(&self, name: &RowName) -> FoundRow {
        self.hot.find(name).or_below(|| self.find_below_hot(name))
    }

    /// Puts into `seen` what is known of several rows above the base. The places of those of which nothing is.
    fn find_several(&self, names: &[RowName], seen: &mut Vec<SeenRow>) -> Vec<usize> {
        let mut missing = Vec::new();
        seen.clear();
        if let [name] = names {
            // Without a pipeline: space for more would be set up in vain.
            match self.find(name) {
                FoundRow::Below => {
                    missing.push(0);
                    seen.push(SeenRow::Base(0));
                }
                found => seen.push(SeenRow::Above(found)),
            }
            return missing;
        }
        for few in names.chunks(FOUND_AT_ONCE) {
            let mut found = [const { FoundRow::Below }; FOUND_AT_ONCE];
            self.find_each(few, &mut found[..few.len()]);
            for found in found.into_iter().take(few.len()) {
                if found == FoundRow::Below {
                    if missing.is_empty() {
                        missing.reserve(names.len());
                    }
                    missing.push(seen.len());
                    seen.push(SeenRow::Base(missing.len() - 1));
                } else {
                    seen.push(SeenRow::Above(found));
                }
            }
        }
        missing
    }

    /// [`View::find`] for each of a few names.
    fn find_each(&self, names: &[RowName], found: &mut [FoundRow]) {
        if let ([name], [found]) = (names, &mut *found) {
            *found = self.find(name);
            return;
        }
        if !self.hot.is_empty() {
            names.iter().zip(&mut *found).for_each(|(name, found)| *found = self.hot.find(name));
        }
        self.table.find_each(names, found);
        self.frozen.find_each(names, found);
        self.kept.find_each(names, found);
    }

    fn find_below_hot(&self, name: &RowName) -> FoundRow {
        self.table.find(name).or_below(|| self.frozen.find(name)).or_below(|| self.kept.find(name))
    }
}

impl<B: ?Sized> fmt::Debug for View<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("View");
        shown.field("position", &self.position).field("generation", &self.generation).field("freezes", &self.freezes);
        shown.finish_non_exhaustive()
    }
}

/// A base whose rows can be held as they are at one moment.
pub trait Pinning {
    /// Those rows.
    type Pinned<'b>
    where
        Self: 'b;

    /// Holds them. Reads nothing from a disk.
    fn pin(&self) -> Self::Pinned<'_>;
}

/// A row of several that belong to one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenRow {
    /// What a table holds, or a kept row, as [`FoundRow::Row`] or [`FoundRow::Gone`].
    Above(FoundRow),
    /// It is not in memory: the base has it, at this place among what was read from there.
    Base(usize),
}

/// The newest view, for any number of threads.
pub struct Views<B: ?Sized> {
    newest: Swap<View<B>>,
    /// Held by the thread that applies, for swap and merge only. Who holds it looks at tables and never at a disk.
    changing: Mutex<()>,
}

impl<B: ?Sized> Views<B> {
    /// The newest view: everything that was acknowledged before the call is in it.
    #[must_use]
    pub fn load(&self) -> Arc<View<B>> {
        self.newest.load()
    }

    /// Puts into `seen` the rows of several names as of one moment, which is that of the view that is returned.
    ///
    /// `read_base` is called with the view and the places of the names that no table has; it may take its time and keeps what
    /// it reads.
    /// What it has read is hidden by the tables that were above the base then, so they are looked through once more,
    /// below those of the newest view, until that stays the newest one meanwhile. After some rounds in vain the thread
    /// that applies has to wait for this one, for as long as it takes to look through the tables. `None`: the base was read for
    /// so long that a table came and went in the meantime. See [`Views::several_pinned`].
    ///
    /// # Errors
    /// Those of `read_base`.
    pub fn several<E>(
        &self,
        names: &[RowName],
        seen: &mut Vec<SeenRow>,
        read_base: impl FnOnce(&View<B>, &[usize]) -> Result<(), E>,
    ) -> Result<Option<Arc<View<B>>>, E> {
        let first = self.load();
        let missing = first.find_several(names, seen);
        if missing.is_empty() && self.is_newest(&first) {
            return Ok(Some(first));
        }
        if !missing.is_empty() {
            read_base(&first, &missing)?;
        }
        Ok(self.look_again(names, &first, seen))
    }

    /// The same, by which nothing has to be read twice, however slow the base is: its rows are held as they are at the moment.
    /// The thread that applies has to wait until the tables are looked through.
    ///
    /// # Errors
    /// Those of `read_base`.
    pub fn several_pinned<E>(
        &self,
        names: &[RowName],
        seen: &mut Vec<SeenRow>,
        read_base: impl FnOnce(&B::Pinned<'_>, &[usize]) -> Result<(), E>,
    ) -> Result<Arc<View<B>>, E>
    where
        B: Pinning,
    {
        // Until this is let go no table changes, and what the base takes in meanwhile is what the frozen table hides.
        let still = self.change();
        let view = self.load();
        let pinned = view.base.pin();
        let missing = view.find_several(names, seen);
        drop(still);
        if !missing.is_empty() {
            read_base(&pinned, &missing)?;
        }
        drop(pinned);
        Ok(view)
    }

    /// The rows in a view that follows on `first`, of which `seen` has those that only the base has; `None` if it does
    /// not follow closely enough.
    fn look_again(&self, names: &[RowName], first: &View<B>, seen: &mut [SeenRow]) -> Option<Arc<View<B>>> {
        for _ in 0..ROUNDS_MAX {
            let view = self.load();
            look_through(names, &view, first, seen)?;
            if self.is_newest(&view) {
                return Some(view);
            }
        }
        let _still = self.change();
        let view = self.load();
        look_through(names, &view, first, seen)?;
        Some(view)
    }

    fn is_newest(&self, view: &View<B>) -> bool {
        self.load().generation == view.generation
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: ?Sized> fmt::Debug for Views<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").field("newest", &self.load()).finish_non_exhaustive()
    }
}

/// The only one who makes new views: the thread that applies.
pub struct ViewWriter<B: ?Sized> {
    views: Arc<Views<B>>,
    newest: Arc<View<B>>,
    sorter: MergeSorter,
    is_merged: bool,
}

impl<B: ?Sized> ViewWriter<B> {
    /// Begins with nothing above `base`, which holds what was applied up to `position`.
    #[must_use]
    pub fn new(base: Arc<B>, position: Position, stamp_ms: u64, bury: &Bury) -> ViewWriter<B> {
        let table = || Arc::new(RowTable::new(Arc::clone(bury)));
        let kept = Arc::new(KeptRows::new(Arc::clone(bury)));
        let (hot, table, frozen) = (Arc::default(), table(), table());
        let newest = Arc::new(View { position, stamp_ms, generation: 0, freezes: 0, hot, table, frozen, kept, base });
        let views = Views { newest: Swap::new(Arc::clone(&newest)), changing: Mutex::new(()) };
        ViewWriter { views: Arc::new(views), newest, sorter: MergeSorter::default(), is_merged: true }
    }

    /// What readers share.
    #[must_use]
    pub fn views(&self) -> &Arc<Views<B>> {
        &self.views
    }

    /// The newest view.
    #[must_use]
    pub fn newest(&self) -> &Arc<View<B>> {
        &self.newest
    }

    /// Makes the effects of a run, their index and their stamp visible in one step. Before this, nobody may be told that
    /// the run is applied; after it everybody may. [`ViewWriter::merge`] follows.
    ///
    /// # Panics
    /// If applied or the stamp moved back, or the run before was not merged.
    pub fn publish(&mut self, effects: Effects, position: Position, stamp_ms: u64) {
        assert!(self.is_merged, "a run is merged before the next is published");
        assert!(position.index > self.newest.position.index, "every run moves applied on");
        assert!(stamp_ms >= self.newest.stamp_ms, "the stamp never decreases");
        self.is_merged = effects.is_empty();
        let generation = self.newest.generation + 1;
        let before = &*self.newest;
        let View { freezes, .. } = *before;
        let [table, frozen] = [&before.table, &before.frozen].map(Arc::clone);
        let (hot, kept, base) = (Arc::new(effects), Arc::clone(&before.kept), Arc::clone(&before.base));
        self.swap(View { position, stamp_ms, generation, freezes, hot, table, frozen, kept, base });
    }

    /// Takes the newest run over into the table.
    pub fn merge(&mut self) {
        if !std::mem::replace(&mut self.is_merged, true) {
            let _changing = self.views.change();
            self.newest.table.merge(&self.newest.hot, &mut self.sorter);
            self.newest.kept.give_up(self.newest.hot.cleared());
        }
    }

    /// Begins a new table. The one before, which holds whole runs up to the newest, is for the flush; the one that was
    /// frozen until now must be in the base.
    pub fn freeze(&mut self, table: RowTable) -> Arc<RowTable> {
        assert!(self.is_merged, "a freeze is between runs");
        let before = &*self.newest;
        let (generation, freezes) = (before.generation + 1, before.freezes + 1);
        let View { position, stamp_ms, .. } = *before;
        let (frozen, base) = (Arc::clone(&before.table), Arc::clone(&before.base));
        let (hot, table, kept) = (Arc::default(), Arc::new(table), Arc::clone(&before.kept));
        self.swap(View { position, stamp_ms, generation, freezes, hot, table, frozen, kept, base });
        Arc::clone(&self.newest.frozen)
    }

    fn swap(&mut self, view: View<B>) {
        self.newest = Arc::new(view);
        let _changing = self.views.change();
        self.views.newest.store(Arc::clone(&self.newest));
    }
}

impl<B: ?Sized> fmt::Debug for ViewWriter<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewWriter").field("newest", &self.newest).finish_non_exhaustive()
    }
}

/// Looks `names` up in the tables of `view`, then in those that `first` had: what lies in none of them cannot have come
/// into the base since `first` was the newest, but by way of these tables.
fn look_through<B: ?Sized>(names: &[RowName], view: &View<B>, first: &View<B>, seen: &mut [SeenRow]) -> Option<()> {
    if view.freezes > first.freezes + FREEZES_BRIDGED {
        return None;
    }
    for (name, seen) in names.iter().zip(seen) {
        let found = match view.find(name) {
            FoundRow::Below => first.find_below_hot(name),
            found => found,
        };
        match found {
            // A kept row may have been dropped meanwhile. Nobody has written it since.
            FoundRow::Below => {}
            found => *seen = SeenRow::Above(found),
        }
    }
    Some(())
}

/// Rounds before the thread that applies has to wait.
const ROUNDS_MAX: usize = 3;
/// Tables of `first` and of a view so many freezes later are all that there were: frozen and table of the one, then frozen and
/// table of the other.
const FREEZES_BRIDGED: u64 = 2;
