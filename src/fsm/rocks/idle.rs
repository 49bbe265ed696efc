//! Whether a core has nothing to do but to merge, by what the kernel says of all cores.

use std::fs;
use std::thread::available_parallelism;
use std::time::Duration;

/// Whether a core has nothing to do but to merge. Then nobody waits for it.
#[derive(Debug, Default)]
pub(crate) struct IdleCores {
    looked: Duration,
    /// As of that look.
    spent: Duration,
    ticks: Option<Ticks>,
    is_to_spare: bool,
}

impl IdleCores {
    /// `spent` is the CPU of all merging so far; no ticks if nobody tells them.
    pub(crate) fn has_core_to_spare(
        &mut self,
        now: Duration,
        spent: Duration,
        ticks: impl FnOnce() -> Option<Ticks>,
    ) -> bool {
        let passed = now.saturating_sub(self.looked);
        if passed < IDLE_LOOK {
            return self.is_to_spare;
        }
        let newest = ticks();
        let own = spent.saturating_sub(self.spent).as_secs_f64() / passed.as_secs_f64();
        let idle = newest.zip(self.ticks).map(|(ticks, before)| ticks.idle_cores_since(&before));
        self.is_to_spare = idle.is_some_and(|(idle, cores)| idle + own >= IDLE_CORES.min(0.9 * cores));
        (self.looked, self.spent, self.ticks) = (now, spent, newest);
        self.is_to_spare
    }
}

/// What the kernel says of the time of all cores since the machine's start, `proc_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    cores: usize,
    /// Without anything to run, waiting for a device included.
    idle: u64,
    all: u64,
}

impl Ticks {
    pub(crate) fn now() -> Option<Ticks> {
        Ticks::of(&fs::read_to_string("/proc/stat").ok()?, available_parallelism().ok()?.get())
    }

    /// How many cores had nothing to run, of how many.
    fn idle_cores_since(&self, before: &Ticks) -> (f64, f64) {
        let all = self.all.saturating_sub(before.all).max(1);
        let cores = self.cores as f64;
        (cores * self.idle.saturating_sub(before.idle) as f64 / all as f64, cores)
    }

    /// None if this process may use fewer cores than the machine has: the idle ones may be the others.
    fn of(text: &str, own_cores: usize) -> Option<Ticks> {
        let is_core = |line: &&str| {
            line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
        };
        let cores = text.lines().filter(is_core).count();
        // user, nice, system, idle, iowait, irq, softirq, steal; the rest is in user already.
        let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
        let numbers: Vec<u64> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = numbers.get(3..5)?.iter().sum();
        (cores <= own_cores).then(|| Ticks { cores, idle, all: numbers.iter().sum() })
    }
}

/// Cores without any work but merging, from which on merging takes all it can get. A merge has one of them. With less of another
/// one left clients without a pipeline would feel it: each of their writes waits for five threads in turn and for the device, and
/// where that was slow they left a third of a core idle with 9 k SETs a second in place of 25 k (2 cores, Zen 3, 2026-11-30).
const IDLE_CORES: f64 = 1.75;
/// Idle time is counted in ticks of 10 ms.
const IDLE_LOOK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_to_spare_only_if_the_kernel_says_so() {
        let text = "cpu  1 20 300 4000 50000 600000 0 0 7 7\ncpu0 1 1 1 1 1 1\ncpu1 1 1 1 1 1 1\nintr 7 8\n";
        assert_eq!(Ticks::of(text, 2), Some(Ticks { cores: 2, idle: 54_000, all: 654_321 }));
        assert_eq!(Ticks::of(text, 1), None, "other cores of the machine say nothing");
        assert_eq!(Ticks::of("", 1), None);
        assert_eq!(Ticks::of("cpu  1 2 3\n", 1), None);
        let (mut idle, none) = (IdleCores::default(), Duration::ZERO);
        let ticks = |idle, all| move || Some(Ticks { cores: 4, idle, all });
        assert!(!idle.has_core_to_spare(IDLE_LOOK, none, ticks(900, 1000)), "the first look says nothing");
        assert!(idle.has_core_to_spare(2 * IDLE_LOOK, none, ticks(950, 1100)), "2 idle cores");
        assert!(
            !idle.has_core_to_spare(3 * IDLE_LOOK, none, ticks(990, 1200)),
            "1.6 idle cores: merging and something else"
        );
        assert!(!idle.has_core_to_spare(4 * IDLE_LOOK, none, || None), "nobody says");
        assert!(!idle.has_core_to_spare(5 * IDLE_LOOK, none, ticks(9000, 9000)), "nor did anybody before");
        assert!(idle.has_core_to_spare(6 * IDLE_LOOK, IDLE_LOOK / 10, ticks(9042, 9100)), "merging has a tenth of one");
        assert!(idle.has_core_to_spare(6 * IDLE_LOOK, IDLE_LOOK, || unreachable!("it was just looked")));
    }
}
