//! The apply loop as a step function: committed entries in, steps of the store and answers out.
//!
//! ```text
//! take a run -> open (parallel) -> run in order -> one step of the store -> keyring -> answers -> applied
//! ```
//!
//! It reads no clock but to count time, and no randomness; nothing it decides depends on either (SAME-DECISION). At the
//! first entry that cannot be applied it halts for ever: what came before is written, flushed and answered, nothing from
//! there on is, and the waiters from there on are told nothing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::apply::flush::Flusher;
use crate::apply::flush::Published;
use crate::apply::gate::Halted;
use crate::apply::gate::Stop;
use crate::apply::gate::deliver;
use crate::apply::gate::describe;
use crate::apply::gate::open_sealed;
use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::machine::Answer;
use crate::apply::machine::Machine;
use crate::apply::machine::Progressed;
use crate::apply::machine::lack_stop;
use crate::apply::membership::set_members;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::CutoverLog;
use crate::apply::run::Run;
use crate::apply::run::RunBounds;
use crate::apply::run::RunKind;
use crate::apply::run::take_run;
use crate::apply::seal;
use crate::crypto::keystore::Purpose;
use crate::fsm::reader::Reader;
use crate::fsm::state::Applied;
use crate::fsm::store::StateRow;
use crate::fsm::store::Step;
use crate::fsm::store::Store;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::keys::mac::MacKey;
use crate::keys::ring::ActiveValue;
use crate::keys::ring::KeyLack;
use crate::keys::ring::Ring;
use crate::keys::ring::View;
use crate::propose::Outcome;
use crate::raft::Committed;
use crate::wal::LogEntry;
use crate::world::Clock;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There was nothing to do.
    Idle,
    /// Everything up to here is applied, written and answered.
    Applied(Position),
}

/// Everything injected into a [`Loop`].
pub struct Parts {
    /// The state.
    pub store: Arc<dyn Store>,
    /// Opens rows of `store`.
    pub reader: Reader,
    /// The node's keys, with the state's keyring installed.
    pub ring: Arc<Ring>,
    /// Who waits for which entry.
    pub waiters: Arc<Waiters>,
    /// Opens entries.
    pub openings: Openings,
    /// The log's own record of the cutover.
    pub cutover_log: Box<dyn CutoverLog>,
    /// Told after each run.
    pub port: Box<dyn AppliedPort>,
    /// The applied position for any thread.
    pub published: Arc<Published>,
    /// Flushes the state.
    pub flusher: Arc<Flusher>,
    /// Asks another thread to flush; `None` = flush here.
    pub flush_wake: Option<Box<dyn Fn() + Send>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// For counting time only.
    pub clock: Arc<dyn Clock>,
    /// How long a run may become.
    pub bounds: RunBounds,
}

/// Applies committed entries, run by run. See the head of this file.
pub struct Loop {
    pub(super) parts: Parts,
    queue: VecDeque<Committed>,
    pub(super) applied: Applied,
    halt: Option<Arc<Halt>>,
    /// Answers that are owed for entries which are committed and not applied: never given by this process.
    owed: Vec<Waiter>,
}

/// What one run changes in the state record, beside position and effects.
pub(super) struct Record {
    pub(super) applied: Applied,
    pub(super) keyring_row: Option<Vec<u8>>,
    pub(super) mac: Option<Arc<MacKey>>,
}

impl Loop {
    /// A loop that goes on from `applied`, the record that is in the store.
    #[must_use]
    pub fn new(parts: Parts, applied: Applied) -> Loop {
        parts.metrics.applied_index.store(applied.position.index.0, Relaxed);
        Loop { parts, queue: VecDeque::new(), applied, halt: None, owed: Vec::new() }
    }

    /// Takes committed entries in.
    ///
    /// # Panics
    /// If they do not follow on what was offered before (IN-ORDER): raft hands out each entry once, in order.
    pub fn offer(&mut self, committed: Vec<Committed>) {
        let mut newest = self.queue.back().map_or(self.applied.position, |last| position_of(&last.entry));
        for Committed { entry, .. } in &committed {
            assert_eq!(entry.index, newest.index.next(), "entries are consecutive");
            assert!(entry.term >= newest.term, "terms never decrease along the log");
            newest = position_of(entry);
        }
        self.queue.extend(committed);
    }

    /// Entries that were offered and not yet applied.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The state record as it is in the store.
    #[must_use]
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Applies the next run.
    ///
    /// # Errors
    /// The [`Halt`]: now and at every call from then on.
    pub fn step(&mut self) -> Result<Progress, Arc<Halt>> {
        if let Some(halt) = &self.halt {
            return Err(Arc::clone(halt));
        }
        let view = self.parts.ring.view();
        let Some(run) = take_run(&mut self.queue, cutover_of(&view), self.parts.bounds) else {
            return Ok(Progress::Idle);
        };
        let outcome = match run.kind {
            RunKind::Commands => self.commands(run, &view),
            RunKind::Control => self.control(&run.entries[0].entry, &view),
            RunKind::Membership => self.membership(&run.entries[0], &view),
        };
        match outcome.and_then(|()| self.flush_if_due()) {
            Ok(()) => Ok(Progress::Applied(self.applied.position)),
            Err(halt) => Err(self.halted(halt)),
        }
    }

    /// Flushes what is applied: at a stop, and before the log of the last process is trimmed.
    ///
    /// # Errors
    /// [`Halt`] if the store does not take it.
    pub fn flush(&mut self) -> Result<(), Arc<Halt>> {
        let flushed = self.parts.flusher.flush();
        flushed.map(|_| ()).map_err(|error| self.halted(machine_halt(self.applied.position, error)))
    }

    fn commands(&mut self, run: Run, view: &View) -> Result<(), Halt> {
        let began = self.parts.clock.monotonic();
        let first = &run.entries[0].entry;
        let mac = mac_of(view, first)?;
        let cutover = cutover_of(view);
        let keys = (!self.parts.ring.keks().is_empty()).then(|| view.entry_keys());
        let entries = || run.entries.iter().map(|committed| &committed.entry);
        let opened = open_sealed(entries(), cutover, keys.as_ref(), &mut self.parts.openings);
        let opened_at = self.parts.clock.monotonic();
        let values = view.active_value();
        let from = Progressed {
            stamp_ms: self.applied.last_stamp_ms,
            has_run_commands: self.applied.client_command_applied,
        };
        let mut machine = Machine::new(&self.parts.reader, &values, Some(&*self.parts.waiters), from);
        let openings = &self.parts.openings;
        let outcome = deliver(entries(), cutover, keys.is_some(), openings, &mut machine);
        let (count, halt, machine) = settle(outcome, machine, |again, at| {
            deliver(entries().take(at), cutover, keys.is_some(), openings, again)
        });
        let halt = halt.map(|halt| explain(halt, view));
        let ran_at = self.parts.clock.monotonic();
        let Metrics { opened_entries, opened_bytes, open_nanos, run_nanos, .. } = &*self.parts.metrics;
        Metrics::add(opened_entries, opened.entries);
        Metrics::add(opened_bytes, opened.bytes);
        Metrics::add(open_nanos, nanos(opened_at, began));
        Metrics::add(run_nanos, nanos(ran_at, opened_at));
        self.finish_commands(run, count, machine, &values, mac)?;
        halt.map_or(Ok(()), Err)
    }
}
