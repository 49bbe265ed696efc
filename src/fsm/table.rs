//! What was applied since the last flush, in plaintext: rows by name in shards, each under a lock of its own.
//!
//! One thread merges runs into a table, shard by shard, and never holds two locks; any number of threads look rows up.
//! Nothing is merged that was not published before. A frozen table is one that nobody merges into any more.
//!
//! A shard holds a stretch of the order of names, in each database. A database that was cleared is marked in every
//! shard under that shard's lock: whoever misses a row sees the mark under the same lock, so nobody looks below for a
//! row that a clear took away.

// The models of threads read this file from another place.
#[path = "table/stretch.rs"]
mod stretch;

use std::sync::atomic::Ordering::Relaxed;

use super::sync::AtomicU64;
use super::sync::Mutex;
use super::sync::PoisonError;
use super::sync::RwLock;
use super::sync::RwLockReadGuard;
use crate::fsm::name::DATABASES;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::row::Databases;
use crate::fsm::row::Effects;
use crate::fsm::row::FoundRow;
use crate::fsm::row::RowFate;
use crate::fsm::row::RowMap;
use crate::fsm::sized_rows::Bury;
use crate::fsm::sized_rows::ByteChange;
use crate::fsm::sized_rows::Rubble;
use crate::fsm::sized_rows::SizedRows;
use crate::fsm::table_row::TableRow;
use crate::fsm::table_row::warm;
use crate::fsm::table_row::warm_heads;
use crate::keys::node_keys::ActiveValue;

pub use self::stretch::Stretch;

/// See the head of this file.
pub struct RowTable {
    shards: Box<[RwLock<Shard>]>,
    /// Written by the thread that merges. Of kept rows: counted under the lock of a shard, and taken off behind it.
    bytes: AtomicU64,
    /// What its values are sealed with: one key, and another one for each rotation since it was empty. Pushed by the thread that
    /// merges.
    value_keys: Mutex<Vec<ActiveValue>>,
    bury: Bury,
}

/// A stretch of the order of names, of every database.
#[derive(Default)]
struct Shard {
    cleared: Databases,
    maps: [SizedRows; DATABASES],
}

impl RowTable {
    /// An empty table. What it has to drop goes to `bury`.
    #[must_use]
    pub fn new(bury: Bury) -> RowTable {
        let shards: Box<[RwLock<Shard>]> = (0..SHARDS).map(|_| RwLock::default()).collect();
        let bytes = AtomicU64::new(SHARDS as u64 * size_of::<RwLock<Shard>>() as u64);
        RowTable { shards, bytes, value_keys: Mutex::new(Vec::new()), bury }
    }

    /// Bytes of memory that it takes: maps as they are allocated, keys, values.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Rows and deletions in it. Walks over the shards.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| read(shard, |shard| shard.maps.iter().map(|map| map.rows().len()).sum::<usize>() as u64))
            .sum()
    }

    /// What it knows of a row.
    #[must_use]
    pub fn find(&self, name: &RowName) -> FoundRow {
        read(&self.shards[shard_of(name)], |shard| shard.found(name, shard.fate(name)))
    }

    /// [`RowTable::find`] for those of `names` of which `found` says [`FoundRow::Below`]; both are as long, and not longer than
    /// 16 names. Memory that the rows lie in is waited for once and not name by name.
    ///
    /// Locks are held together, which the thread that merges never does; they are taken in the order of shards, each once.
    ///
    /// # Panics
    /// If there are more names, or not as many in `found`.
    pub fn find_each(&self, names: &[RowName], found: &mut [FoundRow]) {
        assert!(names.len() == found.len() && names.len() <= FOUND_AT_ONCE, "a few names, each with its place");
        let open = || names.iter().zip(&*found).map(|(name, found)| (*found == FoundRow::Below).then_some(name));
        let wanted = open().flatten().fold(0u64, |wanted, name| wanted | 1 << shard_of(name));
        if wanted == 0 {
            return;
        }
        let mut guards: [Option<RwLockReadGuard<'_, Shard>>; FOUND_AT_ONCE] = [const { None }; FOUND_AT_ONCE];
        let places = (0..SHARDS).filter(|place| wanted >> place & 1 == 1);
        for (guard, place) in guards.iter_mut().zip(places) {
            *guard = Some(self.shards[place].read().unwrap_or_else(PoisonError::into_inner));
        }
        let shard = |name: &RowName| {
            let before = wanted & ((1 << shard_of(name)) - 1);
            guards[before.count_ones() as usize].as_deref().expect("its lock is held")
        };
        let mut fates: [Option<&RowFate>; FOUND_AT_ONCE] = [None; FOUND_AT_ONCE];
        for (fate, name) in fates.iter_mut().zip(open()) {
            *fate = name.and_then(|name| shard(name).fate(name));
        }
        warm(fates.iter().flatten().filter_map(|fate| fate.as_ref()));
        for ((fate, name), found) in fates.iter().zip(names).zip(&mut *found) {
            if *found == FoundRow::Below {
                *found = shard(name).found(name, *fate);
            }
        }
    }

    /// Databases that were cleared. Asked of a table that nobody merges into: in another one a clear may be half done.
    #[must_use]
    pub fn cleared(&self) -> Databases {
        read(&self.shards[0], |shard| shard.cleared)
    }

    /// Databases that it says anything of: rows, deletions, clears. Of a table that nobody merges into.
    #[must_use]
    pub fn databases(&self) -> Databases {
        let mut found = self.cleared();
        for shard in &self.shards {
            let has_rows = |database: &Database| read(shard, |shard| !shard.map(*database).is_empty());
            Database::all().filter(has_rows).for_each(|database| found.insert(database));
        }
        found
    }

    /// The keys that its values are sealed with. Of a table that nobody merges into.
    #[must_use]
    pub fn value_keys(&self) -> Vec<ActiveValue> {
        self.value_keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what a run did, which must be published. One thread merges; `sorter` is its own.
    pub fn merge(&self, effects: &Effects, sorter: &mut MergeSorter) {
        if let Some(key) = effects.value_key() {
            self.hold(key);
        }
        let MergeSorter { places, filled, replaced } = sorter;
        for (name, fate) in effects.rows() {
            let place = shard_of(name);
            if places[place].is_empty() {
                filled.push(place);
            }
            places[place].push((*name, fate.clone()));
        }
        if !effects.cleared().is_empty() {
            // Every shard gets the mark.
            filled.clear();
            filled.extend(0..SHARDS);
        }
        filled.sort_unstable();
        let mut rubble = Rubble::default();
        for place in filled.drain(..) {
            self.merge_shard(&self.shards[place], effects.cleared(), &mut places[place], replaced, &mut rubble);
            replaced.drain(..).flatten().for_each(TableRow::give_back);
        }
        rubble.bury(&self.bury);
    }

    fn hold(&self, key: &ActiveValue) {
        let mut keys = self.value_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.iter().any(|known| known.dek.key_id() == key.dek.key_id()) {
            keys.push(key.clone());
        }
    }

    fn merge_shard(
        &self,
        shard: &RwLock<Shard>,
        cleared: Databases,
        rows: &mut Vec<(RowName, RowFate)>,
        replaced: &mut Vec<RowFate>,
        rubble: &mut Rubble,
    ) {
        let mut change = ByteChange::default();
        let rubble_before = rubble.bytes();
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        for database in cleared.iter() {
            shard.cleared.insert(database);
            rubble.add(std::mem::take(shard.map_mut(database)));
        }
        let cleared_bytes = rubble.bytes() - rubble_before;
        while !rows.is_empty() {
            let few = rows.len().saturating_sub(FOUND_AT_ONCE)..;
            let mut fates: [Option<&RowFate>; FOUND_AT_ONCE] = [None; FOUND_AT_ONCE];
            for (fate, (name, _)) in fates.iter_mut().zip(&rows[few.clone()]) {
                *fate = shard.fate(name);
            }
            warm_heads(fates.iter().flatten().filter_map(|fate| fate.as_ref()));
            for (name, fate) in rows.drain(few) {
                replaced.extend(shard.map_mut(name.database()).insert(name, fate, &mut change));
            }
        }
        drop(shard);
        self.bytes.store(self.memory_bytes() + change.added - change.freed - cleared_bytes, Relaxed);
    }

    /// Takes over the rows of one stretch of another table, that nobody merges into. What that one deleted or cleared leaves nothing
    /// behind. Not for a table that runs are merged into.
    pub(super) fn keep(&self, number: usize, other: &RowTable) {
        let cleared = other.cleared();
        read(&other.shards[number], |other| {
            for database in Database::all() {
                if cleared.has(database) {
                    drop(self.take_stretch(number, std::iter::once(database)));
                }
                let mut rows = other.map(database).iter();
                while rows.len() > 0 {
                    self.keep_some(number, database, rows.by_ref().take(KEPT_AT_ONCE));
                }
            }
        });
    }

    /// Readers of the stretch wait meanwhile.
    fn keep_some<'a>(&self, number: usize, database: Database, rows: impl Iterator<Item = (&'a RowName, &'a RowFate)>) {
        let mut replaced = Vec::with_capacity(KEPT_AT_ONCE);
        let mut shard = self.shards[number].write().unwrap_or_else(PoisonError::into_inner);
        let (map, mut change) = (shard.map_mut(database), ByteChange::default());
        for (name, fate) in rows {
            replaced.extend(match fate {
                Some(_) => map.insert(*name, fate.clone(), &mut change),
                None => map.remove(name, &mut change),
            });
        }
        self.count(change);
        drop(shard);
        // Dropped behind the lock.
        drop(replaced);
    }

    /// Takes in a row that was read from below, if `is_current` says so under the lock, and there is none. Not for a table that runs are
    /// merged into.
    pub(super) fn keep_read(&self, name: RowName, row: TableRow, is_current: impl FnOnce() -> bool) {
        let mut shard = self.shards[shard_of(&name)].write().unwrap_or_else(PoisonError::into_inner);
        let (map, mut change) = (shard.map_mut(name.database()), ByteChange::default());
        if is_current() && !map.rows().contains_key(&name) {
            map.insert(name, Some(row), &mut change);
            self.count(change);
        }
    }

    /// Under the lock: who empties the stretch takes off what was counted here.
    fn count(&self, change: ByteChange) {
        self.bytes.fetch_add(change.added, Relaxed);
        self.bytes.fetch_sub(change.freed, Relaxed);
    }

    /// Drops all rows of one stretch. Not for a table that runs are merged into.
    pub(super) fn empty(&self, number: usize) {
        drop(self.take_stretch(number, Database::all()));
    }

    /// Buries all rows of some databases. Not for a table that runs are merged into. Hardly ever there are any, and then no lock is taken:
    /// who asks with each run waited up to 40 ms for who keeps rows.
    pub(super) fn give_up(&self, databases: Databases) {
        if databases.is_empty() {
            return;
        }
        let mut rubble = Rubble::default();
        (0..SHARDS).for_each(|number| self.take_out(number, databases.iter(), &mut rubble));
        rubble.bury(&self.bury);
    }

    fn take_stretch(&self, number: usize, databases: impl Iterator<Item = Database>) -> Rubble {
        let mut rubble = Rubble::default();
        self.take_out(number, databases, &mut rubble);
        rubble
    }

    /// Takes rows out. They are counted as gone behind the lock, so for a moment there seems to be more.
    fn take_out(&self, number: usize, databases: impl Iterator<Item = Database>, rubble: &mut Rubble) {
        let before = rubble.bytes();
        let mut shard = self.shards[number].write().unwrap_or_else(PoisonError::into_inner);
        databases.for_each(|database| rubble.add(std::mem::take(shard.map_mut(database))));
        drop(shard);
        self.bytes.fetch_sub(rubble.bytes() - before, Relaxed);
    }
}

debug_fields!(self: RowTable { memory_bytes: self.memory_bytes(), row_count: self.row_count() });

/// Whoever holds a table last only has to hand its rows over.
impl Drop for RowTable {
    fn drop(&mut self) {
        let mut rubble = Rubble::default();
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut shard.maps).into_iter().for_each(|map| rubble.add(map));
        }
        rubble.bury(&self.bury);
    }
}

impl Shard {
    fn map(&self, database: Database) -> &RowMap {
        self.maps[usize::from(database.number())].rows()
    }

    fn fate(&self, name: &RowName) -> Option<&RowFate> {
        self.map(name.database()).get(name)
    }

    /// What is known of a row that has this fate here.
    fn found(&self, name: &RowName, fate: Option<&RowFate>) -> FoundRow {
        FoundRow::of(fate, self.cleared.has(name.database()))
    }

    fn map_mut(&mut self, database: Database) -> &mut SizedRows {
        &mut self.maps[usize::from(database.number())]
    }
}

/// Where the rows of a run are sorted by shard; kept by the thread that merges, so that a run allocates nothing.
#[derive(Debug)]
pub struct MergeSorter {
    places: Vec<Vec<(RowName, RowFate)>>,
    /// Shards that have rows, so that a short run looks at no others.
    filled: Vec<usize>,
    replaced: Vec<RowFate>,
}

impl Default for MergeSorter {
    fn default() -> MergeSorter {
        MergeSorter { places: vec![Vec::new(); SHARDS], filled: Vec::with_capacity(SHARDS), replaced: Vec::new() }
    }
}

/// How many stretches a database has.
#[must_use]
pub fn stretches() -> usize {
    SHARDS
}

/// The stretch of a database that a name lies in.
#[must_use]
pub fn shard_of(name: &RowName) -> usize {
    usize::from(name.name()[0]) * SHARDS / 256
}

fn read<T>(shard: &RwLock<Shard>, look: impl FnOnce(&Shard) -> T) -> T {
    look(&shard.read().unwrap_or_else(PoisonError::into_inner))
}

/// Enough that readers seldom meet the thread that merges, few enough that a run takes few locks. A power of two.
const SHARDS: usize = 64;
const _: () = assert!(SHARDS.is_power_of_two() && SHARDS <= 64, "a set of shards is 64 bits");

/// Rows that are taken over under one lock.
const KEPT_AT_ONCE: usize = 128;

/// Names that are looked up together: what the CPU can wait for at once, about.
pub(crate) const FOUND_AT_ONCE: usize = 16;
