//! Stretches of the order of names, read as a whole: for a flush where the rows lie, for a walk as copies.

use super::RowTable;
use super::RwLock;
use super::Shard;
use super::read;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;
use crate::fsm::row::RowFate;

/// The rows that a level has of one stretch of a database.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// Levels below have no rows of the database.
    pub cleared: bool,
    /// In the order of names.
    pub rows: Vec<(RowName, RowFate)>,
    /// There may be more behind this name.
    pub cut_at: Option<RowName>,
}

impl RowTable {
    /// Shows the rows of one stretch of a database where they lie, in the order of names, until `show` fails; the stretches are
    /// [`stretches`](super::stretches). Of a table that nobody merges into: who did would wait for as long as this takes.
    ///
    /// # Errors
    /// Those of `show`.
    pub fn show_stretch<E>(
        &self,
        database: Database,
        number: usize,
        mut show: impl FnMut(&RowName, &RowFate) -> Result<(), E>,
    ) -> Result<(), E> {
        read(&self.shards[number], |shard| {
            let mut rows: Vec<(RowName, &RowFate)> =
                shard.map(database).iter().map(|(name, fate)| (*name, fate)).collect();
            rows.sort_unstable_by_key(|(name, _)| *name);
            rows.into_iter().try_for_each(|(name, fate)| show(&name, fate))
        })
    }

    /// The first rows of one stretch of a database behind a name, at most `most`, in the order of names. They are of no single moment.
    ///
    /// Who merges waits for a lock that is held here, and on a busy machine for a thread that was put aside while it held it: up to
    /// 100 ms where all rows were copied under one lock, into memory that was new (2 cores, Zen 5, 2026-11-30). So memory is there
    /// before, for the names, and few rows are copied at once.
    #[must_use]
    pub fn stretch_behind(&self, database: Database, number: usize, behind: Option<RowName>, most: usize) -> Stretch {
        let shard = &self.shards[number];
        loop {
            let (cleared, mut names) = names_behind(shard, database, behind);
            let is_cut = names.len() > most;
            if is_cut {
                names.select_nth_unstable(most);
                names.truncate(most);
            }
            names.sort_unstable();
            let mut rows = Vec::with_capacity(names.len());
            let is_as_before = names.chunks(COPIED_AT_ONCE).all(|few| {
                let mut fates = [const { None }; COPIED_AT_ONCE];
                let is_cleared = read(shard, |shard| {
                    fates.iter_mut().zip(few).for_each(|(fate, name)| *fate = shard.fate(name).cloned());
                    shard.cleared.has(database)
                });
                rows.extend(few.iter().zip(fates).filter_map(|(name, fate)| Some((*name, fate?))));
                is_cleared == cleared
            });
            // Rows that a clear took away meanwhile must not be looked for below.
            if is_as_before {
                return Stretch { cleared, rows, cut_at: names.last().copied().filter(|_| is_cut) };
            }
        }
    }
}

/// The names of one stretch of a database behind a name, in no order, and whether it is marked as cleared.
fn names_behind(shard: &RwLock<Shard>, database: Database, behind: Option<RowName>) -> (bool, Vec<RowName>) {
    let mut names = Vec::new();
    loop {
        let len = read(shard, |shard| shard.map(database).len());
        // Written to, so that no page of it is new under the lock. Some more may come before that is taken.
        let places = len + len / 8 + COPIED_AT_ONCE;
        names.resize(places, RowName::new(database, [0; NAME_LEN]));
        let copied = read(shard, |shard| {
            let map = shard.map(database);
            if map.len() > places {
                return None;
            }
            let found = map.keys().filter(|name| behind.is_none_or(|behind| **name > behind));
            let count = found.zip(&mut names).map(|(found, name)| *name = *found).count();
            Some((shard.cleared.has(database), count))
        });
        if let Some((cleared, count)) = copied {
            names.truncate(count);
            return (cleared, names);
        }
    }
}

/// Rows that a walk copies under one lock.
const COPIED_AT_ONCE: usize = 64;
