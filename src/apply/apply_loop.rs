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
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::apply::flush::Flusher;
use crate::apply::flush::Published;
use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::hook::Hook;
use crate::apply::hook::halt_at;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::ApplyLog;
use crate::apply::run::RunBounds;
use crate::apply::run::RunKind;
use crate::apply::run::take_run;
use crate::crypto::keystore::Purpose;
use crate::entry::LogEntry;
use crate::fsm::reader::RowReader;
use crate::fsm::state::Applied;
use crate::fsm::store::Commit;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::KeyLack;
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
    pub(super) parts: ApplyParts,
    pub(super) hook: Hook,
    pub(super) queue: VecDeque<Committed>,
    pub(super) applied: Applied,
    pub(super) halt: Option<Arc<Halt>>,
    /// Answers that are owed for entries which are committed and not applied: never given by this process.
    pub(super) owed: Vec<Waiter>,
}

/// What one run changes in the state record, beside position and effects.
pub(super) struct Record {
    pub(super) applied: Applied,
    pub(super) keyring_row: Option<Vec<u8>>,
    pub(super) mac: Option<Arc<MacKey>>,
}

impl ApplyLoop {
    /// A loop that goes on from `applied`, the record that is in the store.
    ///
    /// # Panics
    /// If the node's keys have a keyring and the record does not, or the reverse: see [`load`](crate::apply::load::load).
    #[must_use]
    pub fn new(mut parts: ApplyParts, applied: Applied) -> ApplyLoop {
        let (in_keys, in_record) = (parts.node_keys.current().keyring().is_some(), applied.keyring_digest.is_some());
        assert_eq!(in_keys, in_record, "the keys have the keyring of the record");
        parts.metrics.applied_index.store(applied.position.index.0, Relaxed);
        let hook = Hook::new(parts.node_keys.shared_cutover(), std::mem::take(&mut parts.openings));
        ApplyLoop { parts, hook, queue: VecDeque::new(), applied, halt: None, owed: Vec::new() }
    }

    /// Takes committed entries in.
    ///
    /// # Panics
    /// If they do not follow on what was offered before (IN-ORDER): raft hands out each entry once, in order.
    pub fn offer(&mut self, committed: Vec<Committed>) {
        let mut newest = self.queue.back().map_or(self.applied.position, |last| last.entry.position());
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
        &self.applied
    }

    /// Applies the next run.
    ///
    /// # Errors
    /// The [`Halt`]: now and at every call from then on.
    pub fn step(&mut self) -> Result<ApplyProgress, Arc<Halt>> {
        if let Some(halt) = &self.halt {
            return Err(Arc::clone(halt));
        }
        let keys = self.parts.node_keys.current();
        let Some(run) = take_run(&mut self.queue, keys.cutover(), self.parts.bounds) else {
            return Ok(ApplyProgress::Idle);
        };
        let outcome = match run.kind {
            RunKind::Commands => self.commands(run, &keys),
            RunKind::Control => self.control(&run.entries[0], &keys),
            RunKind::Membership => self.membership(&run.entries[0], &keys),
        };
        match outcome.and_then(|()| self.flush_if_due()) {
            Ok(()) => Ok(ApplyProgress::Applied(self.applied.position)),
            Err(halt) => Err(self.halted(halt)),
        }
    }

    /// Flushes what is applied: at a stop, and before the log of the last process is trimmed.
    ///
    /// # Errors
    /// [`Halt`] if the store does not take it.
    pub fn flush(&mut self) -> Result<(), Arc<Halt>> {
        let flushed = self.parts.flusher.flush();
        flushed.map(|_| ()).map_err(|error| self.halted(Halt::at(self.applied.position, error)))
    }

    /// Halts at an entry that cannot even be offered.
    pub(super) fn halt_at(&mut self, halt: Halt) -> Arc<Halt> {
        self.halted(halt)
    }

    pub(super) fn flusher(&self) -> Arc<Flusher> {
        Arc::clone(&self.parts.flusher)
    }

    pub(super) fn set_flush_wake(&mut self, wake: Box<dyn Fn() + Send>) {
        self.parts.flush_wake = Some(wake);
    }

    /// One step of the store: effects and state record become visible together (ATOMIC-APPLY).
    pub(super) fn write(&mut self, mut commit: Commit, record: Record, first: Position) -> Result<(), Halt> {
        let Record { applied, keyring_row, mac } = record;
        assert!(applied.position.index > self.applied.position.index, "every step moves applied on");
        commit.state.push((StateRow::Applied, applied.encode(mac.as_deref())));
        commit.state.extend(keyring_row.map(|row| (StateRow::Keyring, row)));
        self.parts.store.write(commit).map_err(|error| Halt::at(first, MachineError::Store(error)))?;
        self.applied = applied;
        Ok(())
    }

    /// Tells everybody how far the state is. Waiters at places up to there that have not been taken belong to other terms.
    pub(super) fn publish(&mut self) {
        let position = self.applied.position;
        self.parts.waiters.passed(position.index);
        self.parts.published.publish(position);
        self.parts.port.applied(&self.applied);
    }

    pub(super) fn count_applied(&self, entries: &[Committed]) {
        let metrics = &self.parts.metrics;
        Metrics::add(&metrics.runs, 1);
        Metrics::add(&metrics.entries, entries.len() as u64);
        let bytes = entries.iter().map(|committed| committed.entry.data.len() as u64).sum();
        Metrics::add(&metrics.applied_bytes, bytes);
        metrics.applied_index.store(self.applied.position.index.0, Relaxed);
    }

    fn membership(&mut self, committed: &Committed, keys: &KeysAt) -> Result<(), Halt> {
        let entry = &committed.entry;
        let mac = mac_of(keys, entry)?;
        let position = entry.position();
        let mut applied = self.applied.clone();
        applied.position = position;
        let malformed = || Halt::at(position, Malformation::Membership);
        let members = committed.members.as_ref().ok_or_else(malformed)?;
        applied.set_members(members).ok_or_else(malformed)?;
        self.write(Commit::default(), Record { applied, keyring_row: None, mac }, position)?;
        self.count_applied(std::slice::from_ref(committed));
        self.publish();
        Ok(())
    }

    fn flush_if_due(&mut self) -> Result<(), Halt> {
        if !self.parts.flusher.is_due() {
            return Ok(());
        }
        match &self.parts.flush_wake {
            Some(wake) => {
                wake();
                Ok(())
            }
            None => {
                let flushed = self.parts.flusher.flush();
                flushed.map(|_| ()).map_err(|error| Halt::at(self.applied.position, error))
            }
        }
    }

    /// The end: what is applied is made durable, nothing is tried again.
    fn halted(&mut self, halt: Halt) -> Arc<Halt> {
        self.parts.metrics.halted(halt.class());
        // Should this fail, nothing is lost: the log still has every entry that the state has not.
        let _ = self.parts.flusher.flush();
        self.queue.clear();
        let halt = Arc::new(halt);
        self.halt = Some(Arc::clone(&halt));
        halt
    }
}

impl fmt::Debug for ApplyLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyLoop")
            .field("applied", &self.applied.position)
            .field("queued", &self.queue.len())
            .field("halt", &self.halt)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ApplyParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyParts").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// What authenticates the state record; a node that lacks it can write nothing, so it halts at the first entry.
pub(super) fn mac_of(keys: &KeysAt, first: &LogEntry) -> Result<Option<Arc<MacKey>>, Halt> {
    keys.mac_key().map_err(|lack| halt_at(first, keys.cutover(), lack.into()))
}

/// Finds out why this node does not have the key that stopped it.
pub(super) fn why_unknown(mut halt: Halt, keys: &KeysAt) -> Halt {
    if let HaltCause::UnknownKey(KeyLack::Unknown { key_id }) = halt.cause
        && let Some(key_id) = KeyId::new(key_id)
    {
        let purpose = match keys.keyring().and_then(|keyring| keyring.dek(key_id)) {
            Some(dek) => dek.purpose,
            None => Purpose::Entry,
        };
        halt.cause = HaltCause::UnknownKey(keys.lack(key_id, purpose));
    }
    halt
}
