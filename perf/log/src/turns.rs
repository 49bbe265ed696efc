//! A contestant in a process of its own: it says its name, then answers each line that it reads with a turn.
//!
//! ```text
//! to the process    entry bytes, entries of a group, groups in flight, seconds
//! from it           entries per second, p50 and p99 in microseconds, CPU microseconds per entry, syncs per group
//! ```

use std::io::BufRead;
use std::io::Write;
use std::time::Duration;

use crate::run;
use crate::run::Cell;
use crate::run::Contestant;

/// Answers until the input ends.
///
/// # Panics
/// If a line is no turn.
pub fn serve(contestant: &mut dyn Contestant) {
    say(&contestant.name());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let numbers: Vec<f64> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
        let [entry_bytes, group, in_flight, seconds] = numbers[..] else { panic!("four numbers, not {line}") };
        let cell = Cell { entry_bytes: entry_bytes as usize, group: group as usize, in_flight: in_flight as usize };
        let it = run::measure(contestant, cell, Duration::from_secs_f64(seconds));
        say(&format!(
            "{} {} {} {} {}",
            it.entries_per_second, it.p50_micros, it.p99_micros, it.cpu_micros_per_entry, it.syncs_per_group
        ));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody listens");
}
