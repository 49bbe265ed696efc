//! Where and when a record was made.

use std::time::Instant;
use std::time::SystemTime;

/// The machine, the commit, the date.
pub struct Machine {
    /// As the system names it, with family and model, because names are vague in guests.
    pub cpu: String,
    /// Cycles of the core in a nanosecond, measured now.
    pub ghz: f64,
    /// From `SEALKV_COMMIT`.
    pub commit: String,
    /// Today, UTC.
    pub date: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
            line.and_then(|line| line.split(':').nth(1)).unwrap_or("unknown").trim().to_owned()
        };
        let cpu = format!("{} (family {} model {})", field("model name"), field("cpu family"), field("model"));
        let commit = std::env::var("SEALKV_COMMIT").unwrap_or_else(|_| "unknown".to_owned());
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { cpu, ghz: clock(), commit, date: date(seconds / 86_400) }
    }

    /// For people.
    pub fn line(&self) -> String {
        format!("{}, {:.2} GHz now, commit {}, {}", self.cpu, self.ghz, self.commit, self.date)
    }
}

/// Clock of the core, the best of many tries: others may run beside us.
pub fn clock() -> f64 {
    (0..60).map(|_| clock_once()).fold(0.0, f64::max)
}

/// Clock of the core, in cycles of a nanosecond: a chain of additions takes a cycle each. What is added stands in a
/// register: some CPUs add constants while they rename registers, several in a cycle (Intel family 6 model 207: four).
pub fn clock_once() -> f64 {
    /// In eights.
    const STEPS: u64 = 20_000;
    let begin = Instant::now();
    chain(STEPS);
    (STEPS * 8) as f64 / begin.elapsed().as_nanos() as f64
}

#[cfg(target_arch = "x86_64")]
fn chain(eights: u64) {
    // SAFETY: adds in one register, and counts another one down in a loop.
    unsafe {
        std::arch::asm!(
            "2:", "add {0}, {1}", "add {0}, {1}", "add {0}, {1}", "add {0}, {1}", "add {0}, {1}", "add {0}, {1}",
            "add {0}, {1}", "add {0}, {1}", "sub {2}, 1", "jnz 2b", inout(reg) 0u64 => _, in(reg) eights,
            inout(reg) eights => _, options(nomem, nostack)
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chain(eights: u64) {
    let mut value = 0u64;
    for _ in 0..eights * 8 {
        value = std::hint::black_box(value.wrapping_add(1));
    }
}

/// A day since 1970 as year, month, day (the civil calendar of Hinnant's `civil_from_days`).
fn date(days: u64) -> String {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
