//! Expired keys that nobody touches: a walk over all rows finds them, and counts the others on its way.
//!
//! A step looks at the headers of a bounded number of rows, in the order of their names, and opens nothing. The base reads a row
//! whole for its header, so their bytes are bounded too: a few large values would keep a core busy for ever. What is past due by
//! the clock of the node is for one entry of removals. Apply judges by the stamp of that entry again, so every replica removes
//! the same rows, and a key that got a new deadline meanwhile stays.
//!
//! [`ExpiryWalk::step`] is all that a thread has to drive. The next step is due soon while much is past due, so that a million keys
//! that expire together are gone within a minute. Otherwise there is a longer pause behind each step, and behind each walk.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::fsm::base::BaseError;
use crate::fsm::name::DATABASES;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::value::ValueError;
use crate::fsm::walk::RowDeadline;
use crate::fsm::walk::WalkError;
use crate::limits::EXPIRY_BYTES;
use crate::limits::EXPIRY_NAMES_MAX;
use crate::limits::EXPIRY_PAUSE;
use crate::limits::EXPIRY_PAUSE_IDLE;
use crate::limits::EXPIRY_STEP_BYTES;
use crate::limits::EXPIRY_STEP_ROWS;

/// The rows of the state, as far as a walk needs them.
pub trait RowDeadlines: Send + Sync {
    /// Calls `visit` with the name, the deadline and the bytes of every row above `above`, upward, until it answers false, and with
    /// nothing but the name of a row that was deleted lately. The deadline is in ms since 1970, 0 where there is none. The rows
    /// need not be of one moment.
    ///
    /// # Errors
    /// [`WalkError`] if a row cannot be read or has a damaged header.
    fn each_above(
        &self,
        above: Option<RowName>,
        visit: &mut dyn FnMut(&RowName, Option<RowDeadline>) -> bool,
    ) -> Result<(), WalkError>;
}

/// What a database holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCount {
    /// Keys that are not past due.
    pub keys: u64,
    /// Those of them that have a deadline.
    pub expires: u64,
    /// Sum of the time that these had left, in ms.
    pub left_ms: u64,
}

/// The counts of all databases, as of the last walk that came to its end; of what the first one has seen so far before that.
#[derive(Debug, Default)]
pub struct KeyCounts(Mutex<[KeyCount; DATABASES]>);

impl KeyCounts {
    /// The count of one database.
    #[must_use]
    pub fn of(&self, database: Database) -> KeyCount {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(database.number())]
    }

    fn set(&self, counts: [KeyCount; DATABASES]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

/// See the head of this file.
pub struct ExpiryWalk {
    rows: Box<dyn RowDeadlines>,
    counts: Arc<KeyCounts>,
    /// The last row that was looked at; `None` at the beginning.
    above: Option<RowName>,
    under_way: [KeyCount; DATABASES],
    /// No walk has come to its end yet.
    is_first: bool,
    /// The last walk, or this one, has met a deadline. True before the first, which nobody need wait for then.
    has_deadlines: bool,
}

/// What a step found.
#[derive(Debug, PartialEq, Eq)]
pub struct ExpiryStep {
    /// Rows that are past due, in their order; for one entry.
    pub past_due: Vec<RowName>,
    /// The next step is due after this.
    pub pause: Duration,
    /// What is wrong with the row at which the step ended. The next one begins behind it.
    pub damage: Option<ValueError>,
}

impl ExpiryWalk {
    /// A walk that begins at the first row.
    #[must_use]
    pub fn new(rows: Box<dyn RowDeadlines>, counts: Arc<KeyCounts>) -> ExpiryWalk {
        let under_way = Default::default();
        ExpiryWalk { rows, counts, above: None, under_way, is_first: true, has_deadlines: true }
    }

    /// Looks at the next rows, up to [`EXPIRY_STEP_ROWS`], deleted ones included, or to [`EXPIRY_STEP_BYTES`] of those that stay,
    /// and at no more once [`EXPIRY_NAMES_MAX`] or [`EXPIRY_BYTES`] are past due.
    ///
    /// # Errors
    /// [`BaseError`]; the walk begins anew with the next step.
    pub fn step(&mut self, now_ms: u64) -> Result<ExpiryStep, BaseError> {
        let begun_at = self.above.take();
        let (mut past_due, mut past_due_bytes, mut last) = (Vec::new(), 0, begun_at);
        let (mut looked_at, mut kept_bytes, mut is_cut) = (0, 0, false);
        let under_way = &mut self.under_way;
        let walked = self.rows.each_above(begun_at, &mut |name, met| {
            assert!(last.is_none_or(|last| last < *name), "a walk goes upward");
            last = Some(*name);
            looked_at += 1;
            let Some(RowDeadline { expire_at_ms, bytes }) = met else {
                is_cut = looked_at == EXPIRY_STEP_ROWS;
                return !is_cut;
            };
            if expire_at_ms != 0 && expire_at_ms <= now_ms {
                past_due.push(*name);
                past_due_bytes += bytes;
            } else {
                kept_bytes += bytes;
                let count = &mut under_way[usize::from(name.database().number())];
                count.keys += 1;
                count.expires += u64::from(expire_at_ms != 0);
                count.left_ms = count.left_ms.saturating_add(expire_at_ms.saturating_sub(now_ms));
            }
            let is_full = past_due.len() == EXPIRY_NAMES_MAX || past_due_bytes >= EXPIRY_BYTES;
            is_cut = is_full || looked_at == EXPIRY_STEP_ROWS || kept_bytes >= EXPIRY_STEP_BYTES;
            !is_cut
        });
        let damage = match walked {
            Ok(()) => None,
            // One row must not keep all those behind it.
            Err(WalkError::Row { name, source }) => {
                (last, is_cut) = (Some(name), true);
                Some(source)
            }
            Err(WalkError::Base(error)) => {
                self.under_way = Default::default();
                return Err(error);
            }
        };
        self.has_deadlines |= !past_due.is_empty() || self.under_way.iter().any(|count| count.expires > 0);
        // Nothing is lost by a pause here: a removal waits for an entry, and what comes behind it for its turn.
        let is_dense = past_due.len() >= looked_at.max(1).div_ceil(4);
        let pause = match (is_dense, is_cut) {
            (true, true) => EXPIRY_PAUSE / DENSE_SPEED,
            (true, false) => EXPIRY_PAUSE,
            (false, true) if self.has_deadlines => EXPIRY_PAUSE,
            (false, _) => EXPIRY_PAUSE_IDLE,
        };
        if is_cut {
            self.above = last;
            // A node that has just started would be taken for an empty one.
            if self.is_first {
                self.counts.set(self.under_way);
            }
        } else {
            self.end_walk(!past_due.is_empty());
        }
        assert!(past_due.len() <= EXPIRY_NAMES_MAX, "BOUNDED");
        Ok(ExpiryStep { past_due, pause, damage })
    }

    fn end_walk(&mut self, met_deadlines: bool) {
        let counts = std::mem::take(&mut self.under_way);
        self.has_deadlines = met_deadlines || counts.iter().any(|count| count.expires > 0);
        self.counts.set(counts);
        self.is_first = false;
        assert!(self.above.is_none(), "the next walk begins at the first row");
    }
}

debug_fields!(self: ExpiryWalk { above: self.above });

/// How much sooner the next step is due where a quarter of all rows is past due.
const DENSE_SPEED: u32 = 5;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use super::*;

    const NOW: u64 = 1_000_000;
    /// In place of a deadline: there is no row any more.
    const DELETED: u64 = u64::MAX;

    type Rows = Arc<Mutex<BTreeMap<RowName, u64>>>;

    /// Rows in memory; one of them may be damaged.
    struct Memory {
        rows: Rows,
        damaged: Arc<Mutex<Option<RowName>>>,
        row_bytes: usize,
    }

    impl RowDeadlines for Memory {
        fn each_above(
            &self,
            above: Option<RowName>,
            visit: &mut dyn FnMut(&RowName, Option<RowDeadline>) -> bool,
        ) -> Result<(), WalkError> {
            let damaged = *self.damaged.lock().unwrap();
            let from = above.map_or(Bound::Unbounded, Bound::Excluded);
            for (name, deadline) in self.rows.lock().unwrap().range((from, Bound::Unbounded)) {
                if damaged == Some(*name) {
                    return Err(WalkError::Row { name: *name, source: ValueError::RowShort { found: 0 } });
                }
                let met = RowDeadline { expire_at_ms: *deadline, bytes: self.row_bytes };
                if !visit(name, (*deadline != DELETED).then_some(met)) {
                    break;
                }
            }
            Ok(())
        }
    }

    fn name(database: u8, number: u64) -> RowName {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        RowName::new(Database::new(database).unwrap(), bytes)
    }

    struct House {
        rows: Rows,
        damaged: Arc<Mutex<Option<RowName>>>,
        counts: Arc<KeyCounts>,
        walk: ExpiryWalk,
    }

    fn house(rows: impl IntoIterator<Item = (RowName, u64)>) -> House {
        house_of(rows, 100)
    }

    fn house_of(rows: impl IntoIterator<Item = (RowName, u64)>, row_bytes: usize) -> House {
        let rows: Rows = Arc::new(Mutex::new(rows.into_iter().collect()));
        let (damaged, counts) = (Arc::default(), Arc::<KeyCounts>::default());
        let memory = Memory { rows: Arc::clone(&rows), damaged: Arc::clone(&damaged), row_bytes };
        let walk = ExpiryWalk::new(Box::new(memory), Arc::clone(&counts));
        House { rows, damaged, counts, walk }
    }

    impl House {
        /// One step; what it found is removed.
        fn step(&mut self) -> ExpiryStep {
            let step = self.walk.step(NOW).unwrap();
            let mut rows = self.rows.lock().unwrap();
            for name in &step.past_due {
                assert!(rows.remove(name).is_some_and(|at| at != 0 && at <= NOW), "only what is past due");
            }
            step
        }

        fn walk(&mut self) -> Duration {
            let mut time = Duration::ZERO;
            loop {
                let step = self.step();
                time += step.pause;
                if self.walk.above.is_none() {
                    return time;
                }
            }
        }
    }

    #[test]
    fn everything_past_due_is_found_and_nothing_else() {
        let deadline = |number: u64| [0, NOW - 1, NOW, NOW + 1, u64::MAX - 1][number as usize % 5];
        let mut house = house((0..50_000).map(|number| (name((number % 16) as u8, number), deadline(number))));
        house.walk();
        let left = house.rows.lock().unwrap().clone();
        assert_eq!(left.len(), 30_000);
        assert!(left.values().all(|at| *at == 0 || *at > NOW));
        let step = house.step();
        assert!(step.past_due.is_empty());
    }

    #[test]
    fn a_million_keys_that_expire_together_are_found_within_a_minute() {
        let mut house = house((0..1_000_000).map(|number| (name(0, number), NOW)));
        let time = house.walk();
        assert!(house.rows.lock().unwrap().is_empty());
        assert!(time < Duration::from_secs(30), "{time:?}: as much again is for the entries");
    }

    #[test]
    fn steps_are_bounded_and_slow_where_nothing_expires() {
        let mut house = house((0..100_000).map(|number| (name(0, number), 0)));
        assert_eq!(house.step().pause, EXPIRY_PAUSE, "what there is must be known first");
        house.walk();
        assert_eq!(house.step().pause, EXPIRY_PAUSE_IDLE);
        assert!(house.walk() >= EXPIRY_PAUSE_IDLE * (100_000 / EXPIRY_STEP_ROWS as u32 - 1));
        house.rows.lock().unwrap().insert(name(0, 7), NOW + 5);
        house.walk();
        assert_eq!(house.step().pause, EXPIRY_PAUSE, "there is a deadline now");
    }

    #[test]
    fn bounded_rows_that_were_deleted_lately_are_looked_at_as_any_other() {
        let mut house = house((0..20_000).map(|number| (name(0, number), DELETED)));
        house.rows.lock().unwrap().insert(name(0, 20_001), 0);
        let mut steps = 0;
        loop {
            let step = house.step();
            assert!(step.past_due.is_empty());
            steps += 1;
            if house.walk.above.is_none() {
                break;
            }
        }
        assert_eq!(steps, 20_001 / EXPIRY_STEP_ROWS + 1);
        assert_eq!(house.counts.of(Database::FIRST).keys, 1, "and are no keys");
    }

    #[test]
    fn large_rows_are_removed_few_at_a_time() {
        let mut house = house_of((0..10).map(|number| (name(0, number), NOW)), EXPIRY_BYTES / 2);
        assert_eq!(house.step().past_due.len(), 2);
        house.walk();
        assert!(house.rows.lock().unwrap().is_empty());
    }

    #[test]
    fn bounded_large_rows_are_looked_at_few_at_a_time() {
        let mut house = house_of((0..100).map(|number| (name(0, number), 0)), EXPIRY_STEP_BYTES / 2);
        house.walk();
        assert_eq!(house.walk(), EXPIRY_PAUSE_IDLE * 51, "two in a step, and one step to see the end");
        assert_eq!(house.counts.of(Database::FIRST).keys, 100);
    }

    #[test]
    fn few_keys_are_looked_at_once_a_second() {
        let mut house = house([(name(0, 1), 0), (name(0, 2), NOW + 5), (name(0, 3), NOW)]);
        assert_eq!(house.step().pause, EXPIRY_PAUSE, "one of them was past due");
        assert_eq!(house.step().pause, EXPIRY_PAUSE_IDLE);
    }

    #[test]
    fn each_database_is_counted_as_of_the_last_whole_walk() {
        let rows = (0..10_000).map(|number| (name(if number < 9_000 { 0 } else { 3 }, number), 0));
        let mut house = house(rows);
        house.rows.lock().unwrap().extend([(name(3, 1), NOW + 100), (name(3, 2), NOW + 300), (name(3, 4), NOW - 1)]);
        let of = |house: &House, number| house.counts.of(Database::new(number).unwrap());
        assert_eq!(of(&house, 0), KeyCount::default(), "nobody knows yet");
        house.step();
        let seen = of(&house, 0).keys;
        assert!(0 < seen && seen < 9_000, "{seen} were seen so far");
        house.walk();
        assert_eq!(of(&house, 0), KeyCount { keys: 9_000, expires: 0, left_ms: 0 });
        assert_eq!(of(&house, 3), KeyCount { keys: 1_002, expires: 2, left_ms: 400 });
        house.step();
        assert_eq!(of(&house, 0).keys, 9_000, "a whole walk counts until the next one has ended");
        house.rows.lock().unwrap().clear();
        // The end of the walk under way, then one of nothing.
        house.walk();
        house.walk();
        assert_eq!(of(&house, 0), KeyCount::default());
    }

    #[test]
    fn a_damaged_row_ends_a_step_and_the_walk_goes_on_behind_it() {
        let mut house = house((0..10_000).map(|number| (name(0, number), if number % 2 == 0 { NOW } else { 0 })));
        house.step();
        let above = house.walk.above;
        let damaged = house.rows.lock().unwrap().keys().copied().find(|name| Some(*name) > above);
        *house.damaged.lock().unwrap() = damaged;
        let step = house.step();
        assert_eq!((step.past_due.len(), step.damage), (0, Some(ValueError::RowShort { found: 0 })));
        house.walk();
        let left = house.rows.lock().unwrap().clone();
        assert!(left.iter().filter(|(_, at)| **at == NOW).all(|(name, _)| Some(*name) == damaged));
        assert!(left.len() <= 5_001, "what is behind it goes");
    }
}
