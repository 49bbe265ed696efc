//! CPU time of processes, and how much of it everybody else took while something was measured. Shared by all that keep records.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

/// From its making on: the share of CPUs that others than this process and its children took.
pub struct Watch {
    begin: Instant,
    busy: f64,
    own: f64,
    /// Children that run on, and the CPU time that they had before.
    running: Vec<(u32, f64)>,
}

impl Watch {
    /// `running` are children that were there before and do not end meanwhile; all others count when they end.
    pub fn new(running: &[u32]) -> Watch {
        let running = running.iter().map(|pid| (*pid, process_seconds(*pid))).collect();
        Watch { begin: Instant::now(), busy: busy_seconds(), own: own_seconds(), running }
    }

    /// CPUs that others kept busy on average, as 0.3.
    pub fn foreign_cpus(&self) -> f64 {
        let running: f64 = self.running.iter().map(|(pid, before)| process_seconds(*pid) - before).sum();
        let others = busy_seconds() - self.busy - (own_seconds() - self.own) - running;
        (others / self.begin.elapsed().as_secs_f64().max(0.01)).max(0.0)
    }
}

/// Where a record goes. One of a busy machine says so in its name: its times are worth little, and nothing that was measured in quiet
/// is overwritten.
pub fn place_of(path: &Path, is_busy: bool) -> PathBuf {
    if !is_busy {
        return path.to_owned();
    }
    let text =
        |part: Option<&std::ffi::OsStr>| part.map_or_else(String::new, |part| part.to_string_lossy().into_owned());
    let (stem, extension) = (text(path.file_stem()), text(path.extension()));
    let end = if extension.is_empty() { String::new() } else { format!(".{extension}") };
    path.with_file_name(format!("{stem}-busy{end}"))
}

/// CPU time of all processes, in seconds since the machine started.
fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> =
        text.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: idle and iowait are not busy, and steal is somebody else's.
    let busy: u64 = fields.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4) && *at < 8).map(|(_, n)| n).sum();
    busy as f64 / TICKS
}

/// CPU time of this process and of its children that have ended.
pub fn own_seconds() -> f64 {
    stat("/proc/self/stat", &[13, 14, 15, 16])
}

/// CPU time of a process, in seconds.
pub fn process_seconds(pid: u32) -> f64 {
    stat(&format!("/proc/{pid}/stat"), &[13, 14])
}

/// Sums fields of a `stat` file that are times, in seconds. They are counted from 0; the name in parentheses may have blanks.
pub fn stat(path: &str, fields: &[usize]) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let behind_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let all: Vec<f64> = behind_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    fields.iter().map(|at| all.get(at - 2).copied().unwrap_or(0.0)).sum::<f64>() / TICKS
}

/// Ticks of a second in /proc, on every Linux of today.
const TICKS: f64 = 100.0;
/// Others above this many CPUs spoil a measurement.
pub const FOREIGN_MAX: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_busy_machine_says_so_in_its_name() {
        let of = |path: &str, is_busy| place_of(Path::new(path), is_busy).to_string_lossy().into_owned();
        assert_eq!(of("a/log.json", false), "a/log.json");
        assert_eq!(of("a/log.json", true), "a/log-busy.json");
        assert_eq!(of("overhead-zen3", true), "overhead-zen3-busy");
    }

    #[test]
    fn own_work_is_not_foreign_and_time_passes() {
        let watch = Watch::new(&[]);
        let begin = Instant::now();
        let mut sum = 0_u64;
        // On a busy machine this process may wait long for its turn.
        while own_seconds() - watch.own < 0.05 && begin.elapsed().as_secs() < 20 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(own_seconds() - watch.own >= 0.05, "this process worked");
        assert!(watch.foreign_cpus() < 1024.0);
    }
}
