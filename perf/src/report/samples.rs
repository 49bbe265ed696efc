//! A node's own numbers, once a second, while something is measured.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::nodes::metrics;
use crate::nodes::value_of;
use crate::watch::stat;

/// What was so at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Since the first one.
    pub seconds: f64,
    pub sets: f64,
    pub level0_files: f64,
    pub pending_bytes: f64,
    pub table_bytes: f64,
    pub flushes: f64,
    /// Of entries as they are in the log.
    pub opened_bytes: f64,
    /// What the process had written to devices.
    pub written_bytes: f64,
    /// CPU time of the thread that flushes.
    pub flush_seconds: f64,
    /// Syncs of the log that took at most so many seconds.
    pub syncs: Vec<(f64, f64)>,
}

/// Takes samples until it is ended.
pub struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    pub fn start(admin: &str, pid: u32) -> Sampler {
        let is_over = Arc::<AtomicBool>::default();
        let (admin, ends) = (admin.to_owned(), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            let mut samples = Vec::new();
            loop {
                // The last one is taken when it is over.
                let is_last = ends.load(Ordering::Relaxed);
                if let Some(page) = metrics(&admin) {
                    samples.push(sample(&page, pid, begin.elapsed()));
                }
                if is_last {
                    return samples;
                }
                std::thread::park_timeout(Duration::from_secs(1));
            }
        });
        Sampler { is_over, thread }
    }

    pub fn end(self) -> Vec<Sample> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().expect("the sampler does not panic")
    }
}

fn sample(page: &str, pid: u32, at: Duration) -> Sample {
    let number = |name: &str| value_of(page, name).unwrap_or(0.0);
    Sample {
        seconds: at.as_secs_f64(),
        sets: number("sealkv_commands_total{command=\"set\"}"),
        level0_files: number("sealkv_state_level0_files"),
        pending_bytes: number("sealkv_state_pending_bytes"),
        table_bytes: number("sealkv_state_table_bytes"),
        flushes: number("sealkv_apply_flushes_total"),
        opened_bytes: number("sealkv_opened_bytes_total"),
        written_bytes: written_bytes(pid),
        flush_seconds: thread_seconds(pid, "flush"),
        syncs: buckets(page, "sealkv_wal_sync_seconds"),
    }
}

/// Bounds in seconds with the number up to each, without the last one, which has none.
fn buckets(page: &str, name: &str) -> Vec<(f64, f64)> {
    let begin = format!("{name}_bucket{{le=\"");
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix(&begin)?.split_once("\"} ")?;
        Some((bound.parse::<f64>().ok()?, count.trim().parse().ok()?))
    };
    page.lines().filter_map(bucket).filter(|(bound, _)| bound.is_finite()).collect()
}

fn written_bytes(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}

/// CPU time of the threads of that name, in seconds.
fn thread_seconds(pid: u32, name: &str) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|task| task.path());
    let is_named = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|found| found.trim_end() == name);
    tasks.filter(is_named).map(|task| stat(&task.join("stat").to_string_lossy(), &[13, 14])).sum()
}

/// The time within which that part of the log's syncs ended, in microseconds: while the state was flushed, and else. Nothing where
/// there were none.
pub fn log_micros(samples: &[Sample], part: f64) -> [Option<f64>; 2] {
    let mut sums: [Vec<(f64, f64)>; 2] = Default::default();
    for two in samples.windows(2) {
        let is_flushing =
            two[1].flush_seconds - two[0].flush_seconds > FLUSHES_FROM * (two[1].seconds - two[0].seconds);
        let sum = &mut sums[usize::from(!is_flushing)];
        for (at, (bound, count)) in two[1].syncs.iter().enumerate() {
            let before = two[0].syncs.get(at).map_or(0.0, |(_, count)| *count);
            match sum.get_mut(at) {
                Some((_, sum)) => *sum += count - before,
                None => sum.push((*bound, count - before)),
            }
        }
    }
    sums.map(|buckets| quantile(&buckets, part).map(|seconds| seconds * 1e6))
}

/// As Prometheus' `histogram_quantile`: evenly within a bucket.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let wanted = buckets.last()?.1 * part;
    if wanted <= 0.0 {
        return None;
    }
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted {
            return Some(below + (bound - below) * (wanted - counted) / (count - counted));
        }
        (below, counted) = (*bound, *count);
    }
    None
}

/// Share of a CPU from which on the thread is at work.
const FLUSHES_FROM: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP x y\nsealkv_commands_total{command=\"get\"} 7\nsealkv_commands_total{command=\"set\"} 12\n\
        sealkv_state_level0_files 3\nsealkv_wal_sync_seconds_bucket{le=\"0.001\"} 90\nsealkv_wal_sync_seconds_bucket{le=\"0.002\"} 100\n\
        sealkv_wal_sync_seconds_bucket{le=\"+Inf\"} 100\nsealkv_wal_sync_seconds_sum 1\n";

    #[test]
    fn a_sample_is_read_from_the_page_and_from_the_process() {
        let sample = sample(PAGE, std::process::id(), Duration::from_secs(2));
        assert_eq!((sample.sets, sample.level0_files, sample.seconds), (12.0, 3.0, 2.0));
        assert_eq!(sample.syncs, [(0.001, 90.0), (0.002, 100.0)]);
        assert!(sample.written_bytes >= 0.0, "this process may read its own");
    }

    #[test]
    fn syncs_count_where_the_state_was_flushed_or_where_it_was_not() {
        let at = |seconds: f64, flush_seconds: f64, syncs: &[(f64, f64)]| Sample {
            seconds,
            flush_seconds,
            syncs: syncs.to_vec(),
            ..Sample::default()
        };
        let samples = [
            at(0.0, 0.0, &[(0.001, 0.0), (0.002, 0.0)]),
            at(1.0, 0.5, &[(0.001, 0.0), (0.002, 100.0)]),
            at(2.0, 0.5, &[(0.001, 50.0), (0.002, 150.0)]),
        ];
        let [in_flushes, elsewhere] = log_micros(&samples, 0.5);
        assert_eq!((in_flushes.unwrap().round(), elsewhere.unwrap().round()), (1500.0, 500.0));
        assert_eq!(log_micros(&samples[..1], 0.5), [None, None]);
    }
}
