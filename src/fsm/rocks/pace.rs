//! Spreads the merging of ingested files over the time until it must be done, so that clients have their cores meanwhile.
//!
//! A merge of level 0 that takes what it can get has most of a core for ten seconds, and then nothing is merged for as long. On two
//! cores, with 5 million keys of 256 B, clients without a pipeline made 26 to 40 k SETs a second in the one time and 61 to 71 k
//! in the other. At a fifth of a core all the time they make 46 to 60 k, with 480 k in place of 400 k SETs a second through pipelines,
//! and 850 k in place of 700 k GETs (Zen 5, 2026-11-30).
//!
//! It is spread over what comes in, not over the hours: each entry pays for its own merging, and clients that read or write little have
//! the cores. With all loads in turns for 3 s, medians of six rounds beside a node that spread it over time (2 cores, Zen 3, 2026-12-01):
//! without a pipeline 36 in place of 34 k SETs a second (at least 33, 26) and 96 in place of 74 k GETs (at least 73, 58), through
//! pipelines of 256 clients 236 in place of 265 k SETs. At full speed for 50 s there was no difference.
//!
//! ```text
//! merge of level 0    what is left of it over the entries that may come until level 0 is full
//! deeper merges       the mean of all merging for each file that comes; all they can get once level 0 waits for them
//! whole core          while costs and rates are not known, if merging takes half of one anyway, if the time may not do, if a core has
//!                     nothing else to do, and while somebody waits for the space that a merge gives back
//! ```
//!
//! What is left of a merge of level 0 is known by the row that it has come to. By the cost of the merges before it is known too, but a
//! first one has none, and one that costs more than they did had to be taken for endless: both had a whole core for some 20 s, with a
//! third of the SETs of clients without a pipeline (Zen 3).

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use crate::fsm::rocks::arrivals::Arrivals;
use crate::fsm::rocks::idle::IdleCores;
use crate::fsm::rocks::idle::Ticks;
use crate::fsm::rocks::level0::Level0Merge;
use crate::limits::LEVEL0_FILES_MAX;
use crate::limits::LEVEL0_FILES_MERGED;

/// The pace of all merges of one base.
#[derive(Debug)]
pub(crate) struct MergePace {
    start: Instant,
    /// Bytes of all entries that were applied, in a file or not yet. Outside of the lock: it is told again and again.
    entry_bytes: AtomicU64,
    work: Mutex<(MergeWork, IdleCores)>,
}

impl MergePace {
    pub(crate) fn new() -> Arc<MergePace> {
        Arc::new(MergePace { start: Instant::now(), entry_bytes: AtomicU64::new(0), work: Mutex::default() })
    }

    /// So many bytes of entries were applied in all.
    pub(crate) fn hears(&self, entry_bytes: u64) {
        self.entry_bytes.store(entry_bytes, Relaxed);
    }

    /// A file came.
    pub(crate) fn takes(&self) {
        let (now, entry_bytes) = self.now();
        self.work().0.takes(now, entry_bytes);
    }

    /// So many files are in level 0 just now.
    pub(crate) fn sees(&self, files: u64) {
        self.work().0.files = files;
    }

    /// Somebody waits for merges, or for the space that they give back: those that are under way go on as fast as they can.
    pub(crate) fn hurry(&self) {
        let work = &mut self.work().0;
        work.hurries = work.runs > 0;
    }

    pub(super) fn begins(&self) {
        self.work().0.runs += 1;
    }

    /// What a merge may take of a core from here on. It began in `level`, took `cpu` since the last look, and has come to the row of
    /// such a key.
    pub(super) fn share(&self, level: u32, key: &[u8], cpu: Duration) -> f64 {
        let (now, entry_bytes) = self.now();
        let (work, idle) = &mut *self.work();
        work.arrivals.hears(now, entry_bytes);
        work.works(level, cpu);
        work.comes_to(level, key);
        if idle.has_core_to_spare(now, work.all_spent, Ticks::now) { 1.0 } else { work.share(level, now) }
    }

    pub(super) fn ends(&self, level: Option<u32>, cpu: Duration) {
        self.work().0.ends(level, cpu);
    }

    fn now(&self) -> (Duration, u64) {
        (self.start.elapsed(), self.entry_bytes.load(Relaxed))
    }

    fn work(&self) -> MutexGuard<'_, (MergeWork, IdleCores)> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CPU of all merging so far, and whether it is known what a file of level 0 costs.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> (Duration, bool) {
        let work = &self.work().0;
        (work.all_spent, work.level0_cost.is_some())
    }

    /// How far the merge of level 0 has come in its database.
    #[cfg(test)]
    pub(crate) fn part(&self) -> f64 {
        self.work().0.level0.map_or(0.0, |merge| merge.part)
    }
}

/// What is to be merged, what it costs, and how fast files come.
#[derive(Debug, Default)]
struct MergeWork {
    /// In level 0, as far as is known.
    files: u64,
    arrivals: Arrivals,
    /// Merges that are under way.
    runs: u32,
    /// The merge of level 0 that is under way.
    level0: Option<Level0Merge>,
    /// CPU of deeper merges since the last one of level 0.
    deeper: Duration,
    /// Seconds of CPU for each file of level 0, none before its first merge, and of the deeper merges behind it.
    level0_cost: Option<f64>,
    deeper_cost: f64,
    all_spent: Duration,
    hurries: bool,
}

impl MergeWork {
    fn takes(&mut self, now: Duration, entry_bytes: u64) {
        self.files += 1;
        self.arrivals.hears(now, entry_bytes);
        self.arrivals.takes(now);
    }

    fn works(&mut self, level: u32, cpu: Duration) {
        self.all_spent += cpu;
        if level > 0 {
            self.deeper += cpu;
            return;
        }
        let files = self.files.max(1);
        self.level0.get_or_insert(Level0Merge::of(files)).spent += cpu;
    }

    fn comes_to(&mut self, level: u32, key: &[u8]) {
        if let Some(merge) = self.level0.as_mut().filter(|_| level == 0) {
            merge.comes_to(key);
        }
    }

    /// Seconds of CPU for each file of level 0, by the merges before and by the one that is under way.
    fn cost(&self) -> Option<f64> {
        let told = self.level0.and_then(|merge| Some(merge.told()? / merge.files as f64));
        self.level0_cost.into_iter().chain(told).reduce(f64::max)
    }

    /// Without a level: it saw no row.
    fn ends(&mut self, level: Option<u32>, cpu: Duration) {
        if let Some(level) = level {
            self.works(level, cpu);
        }
        if let Some(merge) = self.level0.take_if(|_| level == Some(0)) {
            let each = |cpu: Duration| cpu.as_secs_f64() / merge.files as f64;
            self.level0_cost = Some(learned(self.level0_cost.unwrap_or(0.0), each(merge.spent)));
            self.deeper_cost = learned(self.deeper_cost, each(std::mem::take(&mut self.deeper)));
            // The next look at RocksDB may be far away: only a flush has one.
            self.files = self.files.saturating_sub(merge.files);
        }
        self.runs -= 1;
        self.hurries &= self.runs > 0;
    }

    /// What each of the merges may take of a core.
    fn share(&self, level: u32, now: Duration) -> f64 {
        let is_known = self.arrivals.are_known() && !self.hurries;
        let Some(cost) = self.cost().filter(|_| is_known) else { return 1.0 };
        let all = cost + self.deeper_cost;
        if all * self.arrivals.mean_rate(now) >= MEAN_MOST {
            return 1.0;
        }
        let rate = self.arrivals.newest_rate(now);
        let needed = match (level, self.level0) {
            (0, Some(merge)) => {
                let left = cost * merge.files as f64 - merge.spent.as_secs_f64();
                let room = LEVEL0_FILES_MAX.saturating_sub(self.files + ROOM_KEPT) as f64 - self.arrivals.begun();
                // Nothing, and it has not ended: it takes more than the ones before, and has not come far enough to say how much.
                if left <= 0.0 || room <= 0.0 || left * self.arrivals.highest_rate(now) >= IN_TIME * room {
                    return 1.0;
                }
                left * rate / room
            }
            // Level 0 is merged when the deeper ones have ended.
            (_, None) if self.files >= LEVEL0_FILES_MERGED => return 1.0,
            _ => MARGIN * all * rate / f64::from(self.runs.max(1)),
        };
        needed.clamp(SHARE_LEAST, 1.0)
    }
}

/// What is expected next: a higher cost counts at once, because what is put off for too long is felt.
fn learned(before: f64, newest: f64) -> f64 {
    newest.max((3.0 * before + newest) / 4.0)
}

/// Room for files that is kept back: merging may get less than it asks for, and files may have more rows for their entries than the ones
/// before. With no more room than that it asks for all.
const ROOM_KEPT: u64 = 2;
/// Part of the time until there is no more room in which a merge must be able to end if it takes a whole core.
const IN_TIME: f64 = 0.9;
/// What merging takes of a core at the rate of the last files, from which on nothing is put off: it would only be missing later. Put off
/// all the same, level 0 was full now and then and merging owed 23 GB in place of 16 (20 million keys at full speed).
const MEAN_MOST: f64 = 0.5;
/// Deeper merges have to be done before level 0 is due.
const MARGIN: f64 = 1.2;
/// So that a merge ends also if nothing more is written.
const SHARE_LEAST: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::seed::Seeded;

    /// The key of a user's row in the first database, so far in the order of names.
    fn key(part: f64) -> Vec<u8> {
        let top = (part * f64::from(u32::MAX)) as u32;
        [&[1], &top.to_be_bytes()[..], &[0; 12]].concat()
    }

    /// Level 0 in steps of 10 ms. A merge of all files takes `cost` of CPU for each of them, and at most three quarters of a core.
    #[derive(Default)]
    struct Level0 {
        work: MergeWork,
        now: Duration,
        /// In files, and in bytes of entries.
        came: f64,
        bytes: f64,
        /// How many times fewer bytes of entries there are for each file, less one.
        fewer: f64,
        files: u64,
        merge: Option<(u64, f64)>,
        /// CPU of merging in each step.
        used: Vec<f64>,
        most: u64,
    }

    impl Level0 {
        fn run(&mut self, seconds: f64, per_second: f64, cost: f64) {
            for _ in 0..(seconds / STEP) as usize {
                self.now += Duration::from_secs_f64(STEP);
                let before = self.came;
                self.came += per_second * STEP;
                self.bytes += per_second * STEP * FILE_BYTES / (1.0 + self.fewer);
                let bytes = self.bytes as u64;
                if self.came.floor() > before.floor() {
                    self.files += 1;
                    self.work.takes(self.now, bytes);
                }
                self.most = self.most.max(self.files);
                if self.merge.is_none() && self.files >= LEVEL0_FILES_MERGED {
                    (self.merge, self.work.runs) = (Some((self.files, 0.0)), 1);
                    self.work.works(0, Duration::ZERO);
                }
                let Some((files, done)) = &mut self.merge else {
                    self.used.push(0.0);
                    continue;
                };
                self.work.arrivals.hears(self.now, bytes);
                self.work.comes_to(0, &key(*done / (cost * *files as f64)));
                let share = self.work.share(0, self.now).min(0.75);
                let cpu = Duration::from_secs_f64(STEP * share);
                self.work.works(0, cpu);
                self.used.push(share);
                *done += STEP * share;
                if *done >= cost * *files as f64 {
                    self.files -= *files;
                    self.work.ends(Some(0), Duration::ZERO);
                    (self.merge, self.work.files) = (None, self.files);
                }
            }
        }
    }

    const STEP: f64 = 0.01;
    const FILE_BYTES: f64 = 1e8;

    #[test]
    fn merging_is_spread_over_its_time_and_level_0_is_never_full() {
        for per_second in [0.02, 0.1, 0.2, 0.3, 0.5] {
            let mut level0 = Level0::default();
            level0.run(8.0 / per_second, per_second, 1.2);
            level0.used.clear();
            level0.run(8.0 / per_second, per_second, 1.2);
            let whole = level0.used.iter().filter(|used| **used > 0.7).count();
            let is_spread = whole * 10 < level0.used.len();
            assert!(
                is_spread || per_second * 1.2 >= MEAN_MOST,
                "{per_second}: the first merge has a core in {whole} steps"
            );
            level0.run(24.0 / per_second, per_second, 1.2);
            level0.used.clear();
            level0.run(400.0, per_second, 1.2);
            let mean = level0.used.iter().sum::<f64>() / level0.used.len() as f64;
            let many = level0.used.iter().filter(|used| **used > (2.5 * per_second * 1.2).max(SHARE_LEAST)).count();
            assert!(level0.most < LEVEL0_FILES_MAX, "{per_second}: {}", level0.most);
            assert!((mean - per_second * 1.2).abs() < 0.1, "{per_second}: {mean} of a core is merged");
            assert!(many * 20 < level0.used.len(), "{per_second}: in {many} steps far more than the mean");
        }
    }

    #[test]
    fn a_burst_behind_a_long_rest_and_merges_that_cost_more_and_more_are_done_in_time() {
        let chance = Seeded::replayable(0);
        for _ in 0..200 {
            let mut level0 = Level0::default();
            level0.run(60.0, 0.5, 0.7);
            let (rest, slow) = (chance.index(300) as f64, chance.index(10) as f64 / 50.0);
            level0.run(rest, slow, 1.0);
            let fast = 0.3 + chance.index(20) as f64 / 100.0;
            level0.run(60.0, fast, 1.0);
            level0.run(120.0, fast, 1.05);
            assert!(level0.most < LEVEL0_FILES_MAX, "{fast} files a second behind {rest} s: {}", level0.most);
        }
    }

    #[test]
    fn rows_that_grow_by_ever_fewer_bytes_of_entries_do_not_fill_level_0() {
        for (fewer, per_second) in [(3.0, 0.2), (7.0, 0.3), (1000.0, 0.3)] {
            let mut level0 = Level0::default();
            level0.run(2000.0, 1.0 / 64.0, 1.0);
            level0.fewer = fewer;
            level0.run(240.0, per_second, 1.0);
            assert!(level0.most < LEVEL0_FILES_MAX, "{fewer} times fewer: {}", level0.most);
        }
    }

    /// Eight files that came at one pace, behind a merge of as many that took 8 s.
    fn known(gap: u64) -> (MergeWork, Duration) {
        let mut work = MergeWork { files: 8, runs: 1, ..MergeWork::default() };
        work.works(0, Duration::from_secs(8));
        work.ends(Some(0), Duration::ZERO);
        work.files = 0;
        (1..=8).for_each(|file| work.takes(Duration::from_secs(gap * file), 1000 * file));
        work.runs = 1;
        (work, Duration::from_secs(gap * 8))
    }

    #[test]
    fn nothing_is_put_off_before_it_is_known_what_merging_costs_or_when_it_costs_more() {
        let unknown = MergeWork { files: 8, runs: 1, ..MergeWork::default() };
        assert!(unknown.share(0, Duration::ZERO) >= 1.0, "no merge was seen yet");
        let (mut busy, now) = known(2);
        busy.works(0, Duration::ZERO);
        assert!(busy.share(0, now) >= 1.0, "half a core is needed all the time");
        let (mut work, now) = known(20);
        work.works(0, Duration::ZERO);
        let put_off = work.share(0, now);
        assert!((SHARE_LEAST..0.2).contains(&put_off), "8 s of work have 100 s: {put_off}");
        work.works(0, Duration::from_secs(8));
        assert!(work.share(0, now) >= 1.0, "it takes more than before");
        work.level0 = Some(Level0Merge::of(8));
        work.files = LEVEL0_FILES_MAX - ROOM_KEPT;
        assert!(work.share(0, 1000 * now) >= 1.0, "level 0 is nearly full");
        work.files = 8;
        let arrivals = std::mem::take(&mut work.arrivals);
        assert!(work.share(0, now) >= 1.0, "behind a start nobody knows how fast files come");
        (work.arrivals, work.hurries) = (arrivals, true);
        assert!(work.share(0, now) >= 1.0, "somebody waits for space");
        work.ends(Some(0), Duration::ZERO);
        assert!(!work.hurries, "only what was under way hurries");
    }

    #[test]
    fn the_rows_of_a_merge_tell_what_is_left_of_it() {
        let (mut work, now) = known(20);
        (work.level0_cost, work.deeper_cost) = (None, 0.0);
        work.works(0, Duration::ZERO);
        work.comes_to(0, &key(0.0));
        work.works(0, Duration::from_secs(10));
        assert!(work.share(0, now) >= 1.0, "a first merge has just begun");
        work.comes_to(0, &key(0.25));
        let put_off = work.share(0, now);
        assert!((put_off - 0.25).abs() < 0.01, "30 s of work in 120 s: {put_off}");
        work.comes_to(1, &key(1.0));
        assert!(work.share(0, now) < 0.5, "it is another merge that has come that far");
        work.works(0, Duration::from_secs(10));
        work.ends(Some(0), Duration::ZERO);
        assert_eq!(work.level0_cost, Some(20.0 / 8.0), "what it took in the end");
        assert_eq!(work.files, 0, "they are not in level 0 any more");
    }

    #[test]
    fn a_burst_pays_for_its_own_merging_and_who_writes_next_to_nothing_pays_the_least() {
        let (mut work, now) = known(20);
        work.works(0, Duration::ZERO);
        let second = Duration::from_secs(1);
        work.arrivals.hears(now + second, 8_300);
        let burst = work.share(0, now + second);
        assert!((burst - 8.0 * 0.3 / 5.7).abs() < 0.01, "0.3 files a second, and room for 5.7: {burst}");
        assert!(work.share(1, now + second) > 0.3, "deeper merges too");
        work.arrivals.hears(now + 2 * second, 8_301);
        for level in [0, 1] {
            assert!((work.share(level, now + 2 * second) - SHARE_LEAST).abs() < 1e-9, "level {level}");
        }
    }

    #[test]
    fn a_deeper_merge_that_level_0_waits_for_takes_all_it_can_get() {
        let (mut work, now) = known(5);
        assert!(work.share(1, now) >= 1.0);
        work.files = 2;
        let alone = work.share(1, now);
        assert!((SHARE_LEAST..0.5).contains(&alone), "{alone}");
        work.runs = 2;
        assert!((2.0 * work.share(1, now) - alone).abs() < 1e-9, "two share what one may take");
        work.files = 9;
        work.works(0, Duration::ZERO);
        assert!(work.share(1, now) < 0.5, "level 0 is being merged");
    }

    #[test]
    fn a_higher_cost_counts_at_once_and_a_lower_one_little_by_little() {
        let (mut work, _) = known(5);
        for (seconds, cost) in [(16, 2.0), (8, 1.75), (0, 1.3125), (80, 10.0)] {
            work.works(3, Duration::from_secs(seconds));
            work.files = 8;
            work.works(0, Duration::from_secs(seconds));
            work.ends(Some(0), Duration::ZERO);
            work.runs += 1;
            assert_eq!(work.level0_cost, Some(cost));
        }
        assert_eq!(work.deeper_cost, 10.0);
        work.ends(None, Duration::MAX);
        assert!(work.all_spent < Duration::MAX, "a merge without a row took nothing that is known");
    }
}
