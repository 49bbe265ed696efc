//! A merge that keeps to its share of a core. RocksDB asks a compaction filter about each row that it merges: ours keeps every row,
//! and sleeps now and then.
//!
//! Tried beside it, with merges at a fifth of a core, 5 million keys, clients without a pipeline (2 cores, Zen 5, 2026-11-30): threads
//! at nice 19 give 3 % more SETs and 10 % more GETs, as idle ones 8 and 20, but who cannot raise a priority again would starve merging on
//! a busy machine, and a thread without a turn may hold a lock. As batch ones, and with shorter pieces (32 rows): nothing. On
//! another core after each pause: 3 and 8 %, but then nobody else may choose the cores.

use std::ffi::CStr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::CompactionFilterContext;
use rocksdb::compaction_filter_factory::CompactionFilterFactory;
use rustix::time::ClockId;
use rustix::time::clock_gettime;

use crate::fsm::rocks::pace::MergePace;

/// Makes the filter of each merge. Two merges may ask for one at once, so nothing of it changes.
pub(crate) struct PacedMerges(pub(crate) Arc<MergePace>);

impl CompactionFilterFactory for PacedMerges {
    type Filter = PacedMerge;

    fn create(&mut self, _context: CompactionFilterContext) -> PacedMerge {
        self.0.begins();
        PacedMerge {
            pace: Arc::clone(&self.0),
            level: None,
            since_look: (0, 0),
            looked: (thread_cpu(), Instant::now()),
            untold: Duration::ZERO,
            debt: Debt { share: 1.0, seconds: 0.0 },
        }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

/// One merge, on its thread.
pub(crate) struct PacedMerge {
    pace: Arc<MergePace>,
    /// The upper one of its levels, once it has seen a row.
    level: Option<u32>,
    /// Rows since the last look, and their bytes.
    since_look: (usize, usize),
    /// CPU of the thread at the last look, and when that was, pauses behind it included.
    looked: (Duration, Instant),
    /// CPU that the pace does not know of yet.
    untold: Duration,
    debt: Debt,
}

/// Time that a merge has still to sleep. Below zero: it waited for longer than it had to.
#[derive(Debug)]
struct Debt {
    share: f64,
    seconds: f64,
}

impl Debt {
    /// The pause that is due behind so much CPU within such a time, if it is worth one.
    fn pause(&mut self, cpu: Duration, time: Duration) -> Option<Duration> {
        if self.share >= 1.0 {
            self.seconds = 0.0;
            return None;
        }
        self.add(cpu.as_secs_f64() / self.share - time.as_secs_f64());
        (self.seconds >= PAUSE_LEAST.as_secs_f64()).then(|| Duration::from_secs_f64(self.seconds).min(PAUSE_MOST))
    }

    fn add(&mut self, seconds: f64) {
        self.seconds = (self.seconds + seconds).clamp(-PAUSE_MOST.as_secs_f64(), DEBT_MOST.as_secs_f64());
    }
}

impl PacedMerge {
    fn look(&mut self, level: u32, key: &[u8]) {
        let (cpu, now) = (thread_cpu(), Instant::now());
        let took = cpu.saturating_sub(self.looked.0);
        let time = now.saturating_duration_since(self.looked.1);
        self.untold += took;
        if self.untold >= CPU_BETWEEN_WORDS {
            let untold = std::mem::take(&mut self.untold);
            self.debt.share = self.pace.share(level, key, untold);
        }
        let mut end = now;
        if let Some(pause) = self.debt.pause(took, time) {
            thread::sleep(pause);
            end = Instant::now();
            self.debt.add(-end.saturating_duration_since(now).as_secs_f64());
        }
        self.looked = (cpu, end);
    }
}

impl CompactionFilter for PacedMerge {
    fn filter(&mut self, level: u32, key: &[u8], row: &[u8]) -> CompactionDecision {
        self.level = Some(level);
        self.since_look.0 += 1;
        self.since_look.1 += row.len();
        if self.since_look.0 >= ROWS_BETWEEN_LOOKS || self.since_look.1 >= BYTES_BETWEEN_LOOKS {
            self.since_look = (0, 0);
            self.look(level, key);
        }
        CompactionDecision::Keep
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

impl Drop for PacedMerge {
    fn drop(&mut self) {
        let untold = self.untold + thread_cpu().saturating_sub(self.looked.0);
        self.pace.ends(self.level, untold);
    }
}

/// CPU that this thread has taken since it began.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

const NAME: &CStr = c"sealkv.pace";
/// About 0.1 ms of merging: shorter than a wait that clients would feel.
const ROWS_BETWEEN_LOOKS: usize = 128;
const BYTES_BETWEEN_LOOKS: usize = 64 << 10;
const CPU_BETWEEN_WORDS: Duration = Duration::from_millis(5);
/// Below this a sleep costs more than it gives.
const PAUSE_LEAST: Duration = Duration::from_micros(250);
/// A base that is closed waits for a merge to notice.
const PAUSE_MOST: Duration = Duration::from_millis(20);
/// What a few large rows may owe.
const DEBT_MOST: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::name::Database;
    use crate::fsm::name::NAME_LEN;
    use crate::fsm::name::RowName;

    #[test]
    fn a_merge_sleeps_for_what_its_share_leaves_to_others() {
        let milli = Duration::from_millis;
        let mut debt = Debt { share: 0.25, seconds: 0.0 };
        assert_eq!(debt.pause(milli(1), milli(1)), Some(milli(3)));
        debt.add(-0.003);
        assert_eq!(debt.pause(milli(1), milli(4)), None, "it had to wait for others already");
        assert_eq!(debt.pause(milli(0), milli(3_600_000)), None);
        assert_eq!(debt.pause(milli(10), milli(10)), Some(milli(10)), "an hour's stop is no hour's credit");
        assert_eq!(debt.pause(milli(500), milli(500)), Some(PAUSE_MOST));
        debt.share = 1.0;
        assert_eq!(debt.pause(milli(1), milli(1)), None);
        debt.share = 0.25;
        assert_eq!(debt.pause(milli(0), milli(0)), None, "what was owed before is forgiven");
    }

    #[test]
    fn every_row_is_kept_and_the_pace_learns_of_the_cpu_and_of_how_far_it_has_come() {
        let pace = MergePace::new();
        let context = CompactionFilterContext { is_full_compaction: false, is_manual_compaction: false };
        let mut merge = PacedMerges(Arc::clone(&pace)).create(context);
        let cpu = thread_cpu();
        let mut name = [0; NAME_LEN];
        name[0] = 128;
        let half_of_the_names = *RowName::new(Database::FIRST, name).as_bytes();
        while thread_cpu() - cpu < 2 * CPU_BETWEEN_WORDS {
            assert!(matches!(merge.filter(0, &half_of_the_names, b"row"), CompactionDecision::Keep));
        }
        assert!(!pace.spent().1, "it has not ended");
        assert!((pace.part() - 0.5).abs() < 1e-6, "how far it has come");
        drop(merge);
        let (spent, is_known) = pace.spent();
        assert!(spent >= 2 * CPU_BETWEEN_WORDS && is_known, "{spent:?}");
    }
}
