//! The apply loop as a step function: committed entries in, steps of the store and answers out.
//!
//! ```text
//! take a run -> open (parallel) -> run in order -> one step of the store -> keyring -> answers -> applied
//! ```
//!
//! It reads no clock but to count time, and no randomness; nothing it decides depends on either (SAME-DECISION). At the
//! first entry that cannot be applied it halts for ever: all entries before it are written, flushed and answered, nothing from
//! there on is, and the waiters from there on get no answer.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::apply::commands::CommandRuns;
use crate::apply::commit::Committer;
use crate::apply::control::ControlRuns;
use crate::apply::flush::Flusher;
use crate::apply::flush::Published;
use crate::apply::halt::Halt;
use crate::apply::hook::Hook;
use crate::apply::hook::halt_at;
use crate::apply::membership::apply_members;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::ApplyLog;
use crate::apply::run::Run;
use crate::apply::run::RunBounds;
use crate::apply::run::RunKind;
use crate::apply::run::take_run;
use crate::entry::LogEntry;
use crate::fsm::reader::RowReader;
use crate::fsm::state::Applied;
use crate::fsm::store::Store;
use crate::ids::Position;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::KeysAt;
use crate::keys::node_keys::NodeKeys;
use crate::propose::Waiter;
use crate::propose::Waiters;
use crate::raft::Committed;
use crate::world::Clock;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyProgress {
    /// There was nothing to do.
    Idle,
    /// Everything up to here is applied, written and answered.
    Applied(Position),
}

/// Everything injected into a [`ApplyLoop`].
pub struct ApplyParts {
    /// The state.
    pub store: Arc<dyn Store>,
    /// Opens rows of `store`.
    pub reader: RowReader,
    /// The node's keys, with the state's keyring installed.
    pub node_keys: Arc<NodeKeys>,
    /// Who waits for which entry.
    pub waiters: Arc<Waiters>,
    /// Opens entries.
    pub openings: Openings,
    /// Takes the cutover; trimmed by `flusher`.
    pub log: Arc<dyn ApplyLog>,
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
pub struct ApplyLoop {
    queue: VecDeque<Committed>,
    bounds: RunBounds,
    node_keys: Arc<NodeKeys>,
    hook: Hook,
    commands: CommandRuns,
    controls: ControlRuns,
    committer: Committer,
    flusher: Arc<Flusher>,
    flush_wake: Option<Box<dyn Fn() + Send>>,
    metrics: Arc<Metrics>,
    halt: Option<Arc<Halt>>,
    /// Answers that are owed for entries which are committed and not applied: never given by this process.
    owed: Vec<Waiter>,
}

impl ApplyLoop {
    /// A loop that goes on from `applied`, the record that is in the store.
    ///
    /// # Panics
    /// If the node's keys have a keyring and the record does not, or the reverse: see [`load`](crate::apply::load::load).
    #[must_use]
    pub fn new(parts: ApplyParts, applied: Applied) -> ApplyLoop {
        let ApplyParts { store, reader, node_keys, waiters, openings, log, port, published, .. } = parts;
        let ApplyParts { flusher, flush_wake, metrics, clock, bounds, .. } = parts;
        let (in_keys, in_record) = (node_keys.current().keyring().is_some(), applied.keyring_digest.is_some());
        assert_eq!(in_keys, in_record, "the keys have the keyring of the record");
        let hook = Hook::new(node_keys.shared_cutover(), openings);
        let committer = Committer::new(store, applied, Arc::clone(&waiters), published, port, Arc::clone(&metrics));
        let commands = CommandRuns::new(reader, waiters, Arc::clone(&metrics), clock, bounds.overlay_bytes_max);
        let controls = ControlRuns::new(Arc::clone(&node_keys), log, Arc::clone(&metrics));
        ApplyLoop {
            queue: VecDeque::new(),
            bounds,
            node_keys,
            hook,
            commands,
            controls,
            committer,
            flusher,
            flush_wake,
            metrics,
            halt: None,
            owed: Vec::new(),
        }
    }

    /// Takes committed entries in.
    ///
    /// # Panics
    /// If they do not follow on what was offered before (IN-ORDER): raft hands out each entry once, in order.
    pub fn offer(&mut self, committed: Vec<Committed>) {
        let mut newest = self.queue.back().map_or(self.applied().position, |last| last.entry.position());
        for Committed { entry, .. } in &committed {
            assert_eq!(entry.index, newest.index.next(), "entries are consecutive");
            assert!(entry.term >= newest.term, "terms never decrease along the log");
            newest = entry.position();
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
        self.committer.applied()
    }

    /// Applies the next run.
    ///
    /// # Errors
    /// The [`Halt`]: now and at every call from then on.
    pub fn step(&mut self) -> Result<ApplyProgress, Arc<Halt>> {
        if let Some(halt) = &self.halt {
            return Err(Arc::clone(halt));
        }
        let keys = self.node_keys.current();
        let Some(run) = take_run(&mut self.queue, keys.cutover(), self.bounds) else {
            return Ok(ApplyProgress::Idle);
        };
        match self.apply(run, &keys).and_then(|()| self.flush_if_due()) {
            Ok(()) => Ok(ApplyProgress::Applied(self.applied().position)),
            Err(halt) => Err(self.halted(halt)),
        }
    }

    /// Flushes what is applied: at a stop, and before the log of the last process is trimmed.
    ///
    /// # Errors
    /// [`Halt`] if the store does not take it.
    pub fn flush(&mut self) -> Result<(), Arc<Halt>> {
        self.flush_here().map_err(|halt| self.halted(halt))
    }

    /// Halts at an entry that cannot even be offered.
    pub(super) fn halt_at(&mut self, halt: Halt) -> Arc<Halt> {
        self.halted(halt)
    }

    pub(super) fn flusher(&self) -> Arc<Flusher> {
        Arc::clone(&self.flusher)
    }

    pub(super) fn set_flush_wake(&mut self, wake: Box<dyn Fn() + Send>) {
        self.flush_wake = Some(wake);
    }

    fn apply(&mut self, mut run: Run, keys: &KeysAt) -> Result<(), Halt> {
        let first = &run.entries[0];
        assert_eq!(first.entry.index, self.applied().position.index.next(), "entry n+1 runs after entry n");
        let mac = mac_of(keys, &first.entry)?;
        match run.kind {
            RunKind::Control => self.controls.apply(first, keys, mac, &mut self.hook, &mut self.committer),
            RunKind::Membership => apply_members(first, mac, &mut self.committer),
            RunKind::Commands => {
                let end = self.commands.apply(&run.entries, keys, mac, &mut self.hook, &mut self.committer);
                self.owed.extend(end.owed);
                for committed in run.entries.drain(end.count..).rev() {
                    self.queue.push_front(committed);
                }
                end.halt.map_or(Ok(()), Err)
            }
        }
    }

    fn flush_if_due(&mut self) -> Result<(), Halt> {
        match &self.flush_wake {
            _ if !self.flusher.is_due() => Ok(()),
            Some(wake) => {
                wake();
                Ok(())
            }
            None => self.flush_here(),
        }
    }

    fn flush_here(&self) -> Result<(), Halt> {
        let flushed = self.flusher.flush();
        flushed.map(|_| ()).map_err(|error| Halt::at(self.applied().position, error))
    }

    /// The end: what is applied is made durable, nothing is tried again.
    fn halted(&mut self, halt: Halt) -> Arc<Halt> {
        self.metrics.halted(halt.class());
        // Should this fail, nothing is lost: the log still has every entry that the state has not.
        let _ = self.flusher.flush();
        self.queue.clear();
        let halt = Arc::new(halt);
        self.halt = Some(Arc::clone(&halt));
        halt
    }
}

debug_fields!(self: ApplyLoop { applied: self.applied().position, queued: self.queue.len(), halt: self.halt });

debug_fields!(self: ApplyParts { bounds: self.bounds });

/// What authenticates the state record; a node that lacks it can write nothing, so it halts at the first entry.
fn mac_of(keys: &KeysAt, first: &LogEntry) -> Result<Option<Arc<MacKey>>, Halt> {
    keys.mac_key().map_err(|lack| halt_at(first, keys.cutover(), lack.into()))
}
