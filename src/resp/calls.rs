//! What commands cost their clients: calls and time of each command, and how long batches took.
//!
//! A batch is what one client had ready and got answered together: one clock for all of it, since its commands wait for the
//! same entry, read point and disk. The time of a command is that of its batch: what its client waited.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::resp::commands::COMMANDS;

/// Counters of every command of the table.
#[derive(Debug)]
pub(crate) struct CallStats {
    commands: Vec<CommandCalls>,
    /// Batches by the power of two above their microseconds.
    batches: [AtomicU64; BUCKETS],
    batch_micros: AtomicU64,
}

#[derive(Debug, Default)]
struct CommandCalls {
    calls: AtomicU64,
    micros: AtomicU64,
    refused: AtomicU64,
}

/// What one command was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandCall {
    /// Its name.
    pub name: &'static str,
    /// How often.
    pub calls: u64,
    /// How long its clients waited, all together.
    pub micros: u64,
    /// How often it was refused before it ran.
    pub refused: u64,
}

/// The commands of a batch under way; kept from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct BatchCalls(Vec<(usize, u64)>);

impl Default for CallStats {
    fn default() -> CallStats {
        CallStats {
            commands: COMMANDS.iter().map(|_| CommandCalls::default()).collect(),
            batches: [const { AtomicU64::new(0) }; BUCKETS],
            batch_micros: AtomicU64::new(0),
        }
    }
}

impl BatchCalls {
    /// One more call of a command of the table. Batches are mostly of one command: neighbours that are alike take one place.
    pub(crate) fn add(&mut self, command: usize) {
        match self.0.last_mut() {
            Some((last, count)) if *last == command => *count += 1,
            _ => self.0.push((command, 1)),
        }
    }
}

impl CallStats {
    /// Counts a batch that took so long, and forgets its commands.
    pub(crate) fn count(&self, batch: &mut BatchCalls, took: Duration) {
        if batch.0.is_empty() {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (command, count) in batch.0.drain(..) {
            let command = &self.commands[command];
            command.calls.fetch_add(count, Relaxed);
            command.micros.fetch_add(count.saturating_mul(micros), Relaxed);
        }
        batch.0.shrink_to(PLACES_KEPT);
        self.batches[bucket(micros)].fetch_add(1, Relaxed);
        self.batch_micros.fetch_add(micros, Relaxed);
    }

    /// A command was refused before it ran.
    pub(crate) fn refuse(&self, command: usize) {
        self.commands[command].refused.fetch_add(1, Relaxed);
    }

    /// Every command of the table.
    pub(crate) fn commands(&self) -> impl Iterator<Item = CommandCall> + '_ {
        COMMANDS.iter().zip(&self.commands).map(|(command, counts)| CommandCall {
            name: command.name,
            calls: counts.calls.load(Relaxed),
            micros: counts.micros.load(Relaxed),
            refused: counts.refused.load(Relaxed),
        })
    }

    /// Upper bound in microseconds of each bucket, with the number of batches up to it; the sum of all times.
    pub(crate) fn batches(&self) -> (Vec<(u64, u64)>, u64) {
        let mut sum = 0;
        let buckets = self.batches.iter().enumerate().map(|(at, count)| {
            sum += count.load(Relaxed);
            (1 << at, sum)
        });
        (buckets.collect(), self.batch_micros.load(Relaxed))
    }

    /// All begin again.
    pub(crate) fn reset(&self) {
        let commands = self.commands.iter().flat_map(|command| [&command.calls, &command.micros, &command.refused]);
        let all = commands.chain(&self.batches).chain([&self.batch_micros]);
        all.for_each(|counter| counter.store(0, Relaxed));
    }
}

/// The first bucket whose bound is not below.
fn bucket(micros: u64) -> usize {
    (u64::BITS - micros.saturating_sub(1).leading_zeros()).min(BUCKETS as u32 - 1) as usize
}

/// Up to 2^26 microseconds, which is more than the longest wait of a client.
const BUCKETS: usize = 27;
const PLACES_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_each_command_with_the_time_of_the_batch() {
        let stats = CallStats::default();
        let mut batch = BatchCalls::default();
        [0, 0, 1, 0].into_iter().for_each(|command| batch.add(command));
        stats.count(&mut batch, Duration::from_micros(100));
        stats.count(&mut batch, Duration::from_secs(9));
        let found: Vec<CommandCall> = stats.commands().take(2).collect();
        assert_eq!((found[0].calls, found[0].micros), (3, 300));
        assert_eq!((found[1].calls, found[1].micros), (1, 100));
        let (buckets, sum) = stats.batches();
        assert_eq!((buckets[6], buckets[7], sum), ((64, 0), (128, 1), 100), "an empty batch is none");
        stats.reset();
        assert_eq!(stats.batches().1, 0);
        assert_eq!([bucket(0), bucket(1), bucket(2), bucket(3), bucket(u64::MAX)], [0, 0, 1, 2, BUCKETS - 1]);
    }
}
