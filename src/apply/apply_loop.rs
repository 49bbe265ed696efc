//! The apply loop as a step function: committed entries in, views of the state and answers out.
//!
//! ```text
//! space? -> take a run -> open (parallel) -> run in order -> publish -> answers -> applied -> merge -> freeze if due
//! ```
//!
//! It reads no clock but to count time, and no randomness; nothing it decides depends on either (SAME-DECISION). At the
//! first entry that cannot be applied it halts for ever: all entries before it are published, answered and flushed (one try),
//! nothing from there on is, and the waiters from there on get no answer.
//!
//! It waits for space before a run, not within one: see [`ApplyProgress::Full`].

use std::collections::VecDeque;
use std::sync::Arc;

use crate::apply::ahead::RunsAhead;
use crate::apply::commands::CommandRuns;
use crate::apply::commit::Committer;
use crate::apply::commit::State;
use crate::apply::control::ControlRuns;
use crate::apply::flush::FlushTry;
use crate::apply::flush::Flusher;
use crate::apply::halt::Halt;
use crate::apply::hook::Hook;
use crate::apply::hook::halt_at;
use crate::apply::membership::apply_members;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::pace::FillPace;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::ApplyLog;
use crate::apply::run::Run;
use crate::apply::run::RunBounds;
use crate::apply::run::RunKind;
use crate::apply::run::take_run;
use crate::entry::LogEntry;
use crate::fsm::reader::RowReader;
use crate::fsm::state::Applied;
use crate::ids::Position;
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
    /// Everything up to here is applied, published and answered.
    Applied(Position),
    /// There is something to do and no memory for it until the flush under way has ended, or until some time has passed.
    Full,
}

/// Everything injected into a [`ApplyLoop`].
pub struct ApplyParts {
    /// The state as a start has found it.
    pub state: State,
    /// Reads `state`.
    pub reader: RowReader,
    /// The node's keys, with the state's keyring installed.
    pub node_keys: Arc<NodeKeys>,
    /// Who waits for which entry.
    pub waiters: Arc<Waiters>,
    /// Opens entries.
    pub openings: Openings,
    /// Takes the cutover.
    pub log: Arc<dyn ApplyLog>,
    /// Told after each run.
    pub port: Box<dyn AppliedPort>,
    /// Flushes the state; here, unless a thread of its own does.
    pub flusher: Arc<Flusher>,
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
    ahead: RunsAhead,
    hook: Hook,
    commands: CommandRuns,
    controls: ControlRuns,
    committer: Committer,
    flusher: Arc<Flusher>,
    has_flush_thread: bool,
    /// `None`: full speed up to the bound.
    pace: Option<FillPace>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    halt: Option<Arc<Halt>>,
    /// Answers that are owed for entries which are committed and not applied: never given by this process.
    owed: Vec<Waiter>,
}

impl ApplyLoop {
    /// A loop that goes on from the state that it is given.
    ///
    /// # Panics
    /// If the node's keys have a keyring and the record does not, or the reverse: see [`load`](crate::apply::load::load).
    #[must_use]
    pub fn new(parts: ApplyParts) -> ApplyLoop {
        let ApplyParts { state, reader, node_keys, waiters, openings, log, port, .. } = parts;
        let ApplyParts { flusher, metrics, clock, bounds, .. } = parts;
        let (in_keys, in_record) = (node_keys.current().keyring().is_some(), state.applied().keyring_digest.is_some());
        assert_eq!(in_keys, in_record, "the keys have the keyring of the record");
        let ahead = RunsAhead::new(&openings, Arc::clone(&clock));
        let hook = Hook::new(node_keys.shared_cutover(), openings);
        let committer = Committer::new(state, Arc::clone(&waiters), port, Arc::clone(&metrics));
        let runs_clock = Arc::clone(&clock);
        let commands = CommandRuns::new(reader, waiters, Arc::clone(&metrics), runs_clock, bounds.overlay_bytes_max);
        let controls = ControlRuns::new(Arc::clone(&node_keys), log, Arc::clone(&metrics));
        ApplyLoop {
            queue: VecDeque::new(),
            bounds,
            node_keys,
            ahead,
            hook,
            commands,
            controls,
            committer,
            flusher,
            has_flush_thread: false,
            pace: None,
            clock,
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

    /// The state record as everybody can see it.
    #[must_use]
    pub fn applied(&self) -> &Applied {
        self.committer.applied()
    }

    /// The state as everybody can see it, with its tables.
    #[must_use]
    pub fn state(&self) -> &State {
        self.committer.state()
    }

    /// Applies the next run, if there is space for it.
    ///
    /// # Errors
    /// The [`Halt`]: now and at every call from then on.
    pub fn step(&mut self) -> Result<ApplyProgress, Arc<Halt>> {
        if let Some(halt) = &self.halt {
            return Err(Arc::clone(halt));
        }
        match self.next_run() {
            Ok(progress) => Ok(progress),
            Err(halt) => Err(self.halted(halt)),
        }
    }

    /// Flushes what is applied, with one try: at a stop, and before the log of the last process is trimmed. Where it cannot be
    /// written, the log keeps it.
    ///
    /// # Errors
    /// [`Halt`] if nobody knows whether the state on disk has it.
    pub fn flush(&mut self) -> Result<(), Arc<Halt>> {
        self.flush_rest().map_err(|halt| self.halted(halt))
    }

    /// Halts at an entry that cannot even be offered.
    pub(super) fn halt_at(&mut self, halt: Halt) -> Arc<Halt> {
        self.halted(halt)
    }

    /// Whether the log is held: then it wants to be stepped now and then, run or no run.
    pub(super) fn is_held(&self) -> bool {
        self.committer.state().is_held()
    }

    /// See [`State::let_in`].
    pub fn let_in(&mut self, beyond_bytes: u64) {
        self.committer.state_mut().let_in(beyond_bytes);
    }

    /// The flush under way.
    #[must_use]
    pub fn flusher(&self) -> Arc<Flusher> {
        Arc::clone(&self.flusher)
    }

    /// A thread of its own does the flushes from now on.
    pub(super) fn leave_flushes(&mut self) {
        self.flusher.attend();
        self.has_flush_thread = true;
    }

    pub(super) fn has_flush_thread(&self) -> bool {
        self.has_flush_thread
    }

    /// From now on tables fill slowly where a flush has to wait. Not for a replay: nobody waits for single entries there.
    pub(super) fn keep_pace(&mut self) {
        self.pace = Some(FillPace::default());
    }

    /// See [`Openings::share_cores`]. Not for a replay: then there is nobody to share them with.
    pub(crate) fn share_cores(&mut self) {
        self.hook.share_cores();
        self.ahead.share_cores();
    }

    fn is_in_pace(&mut self) -> bool {
        let Some(pace) = &mut self.pace else { return true };
        match self.committer.state().held_flush() {
            Some(held) => pace.allows(held, self.clock.monotonic()),
            None => {
                pace.goes_on();
                true
            }
        }
    }

    /// Hands what is published and not frozen yet to the flush. False: there is nothing.
    pub(super) fn freeze_rest(&mut self) -> bool {
        let has_rest = !self.committer.state().is_frozen();
        if has_rest {
            self.committer.state_mut().freeze();
        }
        has_rest
    }

    fn next_run(&mut self) -> Result<ApplyProgress, Halt> {
        if !self.has_flush_thread {
            self.try_flush()?;
        }
        if self.queue.is_empty() {
            // Nobody else lets go of the log, and while it is held hardly anything comes that would start a run. Before the next
            // freeze: between two flushes a run may come in.
            self.committer.state_mut().has_space();
            self.freeze_if_due()?;
            return Ok(ApplyProgress::Idle);
        }
        if !self.committer.state_mut().has_space() || !self.is_in_pace() {
            return Ok(ApplyProgress::Full);
        }
        let keys = self.node_keys.current();
        let run = match self.ahead.ready(&self.queue, &keys) {
            Some(count) => Run { kind: RunKind::Commands, entries: self.queue.drain(..count).collect() },
            None => take_run(&mut self.queue, keys.cutover(), self.bounds).expect("the queue is not empty"),
        };
        self.apply(run, &keys)?;
        self.freeze_if_due()?;
        Ok(ApplyProgress::Applied(self.applied().position))
    }

    fn apply(&mut self, mut run: Run, keys: &Arc<KeysAt>) -> Result<(), Halt> {
        let first = &run.entries[0];
        assert_eq!(first.entry.index, self.applied().position.index.next(), "entry n+1 runs after entry n");
        check_mac(keys, &first.entry)?;
        match run.kind {
            RunKind::Control => self.controls.apply(first, keys, &mut self.hook, &mut self.committer),
            RunKind::Membership => apply_members(first, &mut self.committer),
            RunKind::Commands => {
                let ApplyLoop { ahead, queue, bounds, commands, hook, committer, .. } = self;
                let end = ahead.beside(queue, keys, *bounds, |prepared| {
                    commands.apply(&run.entries, keys, prepared, hook, committer)
                });
                self.owed.extend(end.owed);
                for committed in run.entries.drain(end.count..).rev() {
                    self.queue.push_front(committed);
                }
                end.halt.map_or(Ok(()), Err)
            }
        }
    }

    fn freeze_if_due(&mut self) -> Result<(), Halt> {
        if self.committer.state().is_freeze_due() {
            self.committer.state_mut().freeze();
            if !self.has_flush_thread {
                self.try_flush()?;
            }
        }
        Ok(())
    }

    fn try_flush(&mut self) -> Result<FlushTry, Halt> {
        self.flusher.try_once().map_err(|error| Halt::at(self.applied().position, error))
    }

    /// What is under way, then what is published and not frozen yet: exactly whole runs.
    fn flush_rest(&mut self) -> Result<(), Halt> {
        let position = self.applied().position;
        let end = || self.flusher.end().map_err(|error| Halt::at(position, error));
        let mut is_flushed = end()?;
        if is_flushed && !self.committer.state().is_frozen() {
            self.committer.state_mut().freeze();
            is_flushed = end()?;
        }
        if !is_flushed {
            let why = self.flusher.trouble();
            tracing::warn!(?why, "the newest part of the state is not flushed: the next start replays it from the log");
        }
        Ok(())
    }

    /// The end: what is applied is made durable, nothing is tried again.
    fn halted(&mut self, halt: Halt) -> Arc<Halt> {
        self.metrics.halted(halt.class());
        // Should this fail, nothing is lost: the log still has every entry that the state has not.
        let _ = self.flush_rest();
        self.queue.clear();
        let halt = Arc::new(halt);
        self.halt = Some(Arc::clone(&halt));
        halt
    }
}

debug_fields!(self: ApplyLoop { applied: self.applied().position, queued: self.queue.len(), halt: self.halt });

debug_fields!(self: ApplyParts { bounds: self.bounds });

/// What authenticates the state record must be here: a node that lacks it can flush nothing, so it halts at the first entry.
fn check_mac(keys: &KeysAt, first: &LogEntry) -> Result<(), Halt> {
    keys.mac_key().map(|_| ()).map_err(|lack| halt_at(first, keys.cutover(), lack.into()))
}
