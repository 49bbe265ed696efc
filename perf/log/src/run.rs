//! One turn: groups of entries made durable for a while, with their times, the CPU they took, and the syncs.

use std::time::Duration;
use std::time::Instant;

use rustix::time::ClockId;

/// What is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Bytes of an entry.
    pub entry_bytes: usize,
    /// Entries that become durable together.
    pub group: usize,
    /// Groups under way at one time: threads of a log whose calls block.
    pub in_flight: usize,
}

/// A log under test.
pub trait Contestant {
    /// As the table shows it.
    fn name(&self) -> String;
    /// Makes groups durable until `limit` is over; the time of each, from its hand-over to its acknowledgement.
    fn run(&mut self, cell: Cell, limit: Duration) -> Vec<Duration>;
    /// Syncs so far that the C library's door does not see.
    fn own_syncs(&self) -> u64 {
        0
    }
}

/// A turn in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Durable ones.
    pub entries_per_second: f64,
    /// Of a group, from its hand-over to its acknowledgement.
    pub p50_micros: f64,
    /// The same.
    pub p99_micros: f64,
    /// Of the whole process, its kernel workers included.
    pub cpu_micros_per_entry: f64,
    /// At most 1 of them is shared where one group is in flight.
    pub syncs_per_group: f64,
}

/// One turn of a contestant.
pub fn measure(contestant: &mut dyn Contestant, cell: Cell, limit: Duration) -> Measured {
    let syncs = |contestant: &dyn Contestant| crate::syncs::seen() + contestant.own_syncs();
    let (syncs_before, cpu_before, begin) = (syncs(contestant), cpu(), Instant::now());
    let mut times = contestant.run(cell, limit);
    let (took, cpu_took) = (begin.elapsed(), cpu() - cpu_before);
    let groups = times.len().max(1) as f64;
    times.sort_unstable();
    let at = |part: f64| times.get(((groups - 1.0) * part) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    Measured {
        entries_per_second: groups * cell.group as f64 / took.as_secs_f64(),
        p50_micros: at(0.5),
        p99_micros: at(0.99),
        cpu_micros_per_entry: cpu_took.as_secs_f64() * 1e6 / (groups * cell.group as f64),
        syncs_per_group: (syncs(contestant) - syncs_before) as f64 / groups,
    }
}

/// Bytes that do not compress.
pub fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(next).collect()
}

/// Runs `work` on as many threads as groups are in flight, until `limit` is over; `work` gets the thread and the group.
pub fn threads(cell: Cell, limit: Duration, work: impl Fn(usize, u64) + Sync) -> Vec<Duration> {
    let (begin, work) = (Instant::now(), &work);
    let one = |thread: usize| {
        let mut times = Vec::new();
        while begin.elapsed() < limit {
            let group = Instant::now();
            work(thread, times.len() as u64);
            times.push(group.elapsed());
        }
        times
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..cell.in_flight).map(|thread| scope.spawn(move || one(thread))).collect();
        all.into_iter().flat_map(|thread| thread.join().expect("a thread of a contestant")).collect()
    })
}

/// CPU time of the process, its kernel workers included.
pub fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
