//! The next run of commands, opened and named on a thread of its own while the run before it is executed.
//!
//! Nothing of it has an effect before its turn, and then each result is judged in order: a run halts where it would have halted
//! unprepared. Only a run of commands is prepared behind a run of commands, so the keys are those of its turn; what was prepared by
//! others all the same is thrown away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rayon::ThreadPool;

use crate::apply::hook::OpenedEntries;
use crate::apply::names::RunNames;
use crate::apply::open::Openings;
use crate::apply::run::RunBounds;
use crate::apply::run::RunKind;
use crate::apply::run::count_commands;
use crate::apply::run::kind_of;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::keys::node_keys::KeysAt;
use crate::raft::Committed;
use crate::world::Clock;

/// The run that is executed, as it was prepared, and the next one.
pub(super) struct RunsAhead {
    /// `None`: nothing is prepared.
    pool: Option<Arc<ThreadPool>>,
    clock: Arc<dyn Clock>,
    current: PreparedRun,
    next: PreparedRun,
}

/// What was done for a run of commands before its turn.
pub(super) struct PreparedRun {
    /// What it is: so many entries from the first on, prepared by these keys. `None`: there is none.
    of: Option<(Index, usize, Arc<KeysAt>)>,
    pub(super) opened: OpenedEntries,
    pub(super) names: RunNames,
    /// How long it took.
    pub(super) took: Duration,
}

impl RunsAhead {
    /// Prepares on the threads of `openings`, if it has any, what these think worth it.
    pub(super) fn new(openings: &Openings, clock: Arc<dyn Clock>) -> RunsAhead {
        let run = || PreparedRun {
            of: None,
            opened: OpenedEntries::new(openings.beside()),
            names: RunNames::default(),
            took: Duration::ZERO,
        };
        RunsAhead { pool: openings.pool().cloned(), clock, current: run(), next: run() }
    }

    /// See [`Openings::share_cores`].
    pub(super) fn share_cores(&mut self) {
        self.current.opened.share_cores();
        self.next.opened.share_cores();
    }

    /// How many entries at the front of `queue` are prepared as one run. They must be executed next, or it is in vain.
    pub(super) fn ready(&mut self, queue: &VecDeque<Committed>, keys: &Arc<KeysAt>) -> Option<usize> {
        std::mem::swap(&mut self.current, &mut self.next);
        let (first, count, by) = self.current.of.as_ref()?;
        let is_first = queue.front().is_some_and(|committed| committed.entry.index == *first);
        let is_next = is_first && Arc::ptr_eq(by, keys);
        let ready = is_next.then_some(*count);
        if !is_next {
            self.current.of = None;
        }
        ready
    }

    /// Has `execute` execute a run of commands, given what was prepared of it, and prepares meanwhile what is at the front of
    /// `queue`.
    pub(super) fn beside<R>(
        &mut self,
        queue: &VecDeque<Committed>,
        keys: &Arc<KeysAt>,
        bounds: RunBounds,
        execute: impl FnOnce(Option<&mut PreparedRun>) -> R,
    ) -> R {
        let RunsAhead { pool, clock, current, next } = self;
        let count = if pool.is_some() { next_commands(queue, keys.cutover(), bounds) } else { 0 };
        let entries = queue.iter().take(count).map(|committed| &committed.entry);
        let prepared = current.of.is_some().then_some(&mut *current);
        match pool {
            Some(pool) if next.opened.is_worth_a_thread(entries.clone()) => {
                let end = pool.in_place_scope(|scope| {
                    scope.spawn(|_| next.prepare(entries, keys, &**clock));
                    execute(prepared)
                });
                // What was opened lies in its space until the run behind the next one is opened there.
                current.of = None;
                end
            }
            _ => {
                let end = execute(prepared);
                // The last run of several: what they held must not lie here until there are several again.
                current.release();
                next.release();
                end
            }
        }
    }
}

impl PreparedRun {
    fn prepare<'e, I>(&mut self, entries: I, keys: &Arc<KeysAt>, clock: &dyn Clock)
    where
        I: Iterator<Item = &'e LogEntry> + ExactSizeIterator + Clone,
    {
        let began = clock.monotonic();
        let Some(first) = entries.clone().next() else { return };
        self.opened.open(entries.clone(), keys.cutover(), keys.entry_keys().as_ref());
        self.took = clock.monotonic().saturating_sub(began);
        match keys.name_key() {
            Ok(key) => self.names.look_ahead(&mut self.opened.payloads(entries.clone()), key),
            // Those of a run that was thrown away are not this one's.
            Err(_) => self.names = RunNames::default(),
        }
        self.of = Some((first.index, entries.len(), Arc::clone(keys)));
    }

    /// Its time has passed, and what was opened is wiped.
    fn release(&mut self) {
        self.of = None;
        self.opened.release();
    }
}

/// Entries at the front of `queue` that make a run of commands; 0 where another one comes first, or a single entry is larger than
/// a run: two buffers of its size would be held for it.
fn next_commands(queue: &VecDeque<Committed>, cutover: Index, bounds: RunBounds) -> usize {
    match queue.front() {
        Some(first) if first.entry.data.len() > bounds.bytes_max => 0,
        Some(first) if kind_of(&first.entry, cutover) == RunKind::Commands => count_commands(queue, cutover, bounds),
        _ => 0,
    }
}
