//! The state machine of clients' commands behind the hook: an overlay over the store, and the answers to be given.
//!
//! Nothing here is visible to anybody before the step of the store is written. What an entry does to the overlay depends
//! on replicated bytes only (SAME-DECISION); the reads of a local waiter run at their place among its writes, see the
//! overlay, and change nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::hook::Delivery;
use crate::apply::hook::OpenedCount;
use crate::apply::hook::StateMachine;
use crate::apply::names::RunNames;
use crate::apply::riding::RidingReads;
use crate::crypto::names::NameKey;
use crate::crypto::nonce::NonceError;
use crate::crypto::nonce::VALUE_DELTA_MAX;
use crate::crypto::seal::SealError;
use crate::fsm::codec::CommandBatch;
use crate::fsm::codec::Payload;
use crate::fsm::command::Reply;
use crate::fsm::kv::words;
use crate::fsm::name::RowName;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::WriteContext;
use crate::fsm::reader::RowReader;
use crate::fsm::table_row::SealedBy;
use crate::ids::Index;
use crate::keys::lack::KeyLack;
use crate::keys::node_keys::ActiveValue;
use crate::limits::REPLY_BYTES_MAX;
use crate::limits::RUN_ENTRIES_MAX;
use crate::propose::Waiter;
use crate::propose::Waiters;
use crate::world::Clock;

/// A waiter and what it will be told once the run is written.
pub(crate) struct Answer {
    pub(crate) index: Index,
    pub(crate) waiter: Waiter,
    pub(crate) replies: Vec<Reply>,
}

/// What a run of commands goes by.
#[derive(Clone, Copy)]
pub(crate) struct RunContext<'a> {
    /// The state below the run.
    pub(crate) base: &'a RowReader,
    /// Seals the run's values at its end.
    pub(crate) values: &'a Result<ActiveValue, KeyLack>,
    /// Names the keys of commands and reads.
    pub(crate) names: Result<&'a Arc<NameKey>, KeyLack>,
    /// Whose answers are made on the way; `None`: nobody's.
    pub(crate) waiters: Option<&'a Waiters>,
    /// For counting time only.
    pub(crate) clock: &'a dyn Clock,
    /// The replicated facts before the run.
    pub(crate) from: Progressed,
    /// See [`RunBounds`](crate::apply::run::RunBounds).
    pub(crate) overlay_bytes_max: u64,
}

/// Runs one run of commands.
pub(crate) struct Machine<'a> {
    context: RunContext<'a>,
    overlay: Overlay,
    names: RunNames,
    /// Of the newest entry that ran: the stamp never decreases.
    progressed: Progressed,
    answers: Vec<Answer>,
    /// The waiter of an entry that did not go through: not answered, since the entry will be applied later.
    unanswered: Option<Waiter>,
    /// Riding reads that could not be answered.
    failed_reads: u64,
    /// Bytes of values in the answers, which are held until the run is written.
    reply_bytes: u64,
    opened: OpenedCount,
    /// Since when a part is being opened, and how long that took for all parts.
    open_began: Option<Duration>,
    open_took: Duration,
    /// Entries of the run that nobody has looked at.
    entries_ahead: usize,
}

/// Replicated facts that a run of commands moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progressed {
    pub(crate) stamp_ms: u64,
    /// Whether an entry of client commands ran, now or ever before.
    pub(crate) has_run_commands: bool,
}

/// The outcome of a run: the effects of `count` whole entries, and the halt behind them if there is one.
pub(crate) struct RunResult {
    pub(crate) count: usize,
    pub(crate) halt: Option<Halt>,
    pub(crate) progressed: Progressed,
    pub(crate) overlay: Overlay,
    pub(crate) answers: Vec<Answer>,
    /// Waiters of entries that did not go through: owed an answer that this process will not give.
    pub(crate) unanswered: Vec<Waiter>,
    pub(crate) failed_reads: u64,
    pub(crate) opened: OpenedCount,
    pub(crate) open_took: Duration,
}

impl<'a> Machine<'a> {
    /// One for a run of so many entries that names keys itself, unless it is given their names.
    pub(crate) fn new(context: RunContext<'a>, names: RunNames, entries: usize) -> Machine<'a> {
        let mut machine = Machine {
            context,
            overlay: context.names.map_or_else(|_| Overlay::new(), |names| Overlay::named_with(names)),
            names,
            progressed: context.from,
            answers: Vec::new(),
            unanswered: None,
            failed_reads: 0,
            reply_bytes: 0,
            opened: OpenedCount::default(),
            open_began: None,
            open_took: Duration::ZERO,
            entries_ahead: entries,
        };
        machine.reserve_rows();
        machine
    }

    /// Makes space for the rows of the run at once, by what those entries have that were looked at.
    fn reserve_rows(&mut self) {
        let looked_at = self.names.entries();
        let rows = self.names.len().saturating_mul(self.entries_ahead.max(looked_at)).checked_div(looked_at);
        self.entries_ahead = self.entries_ahead.saturating_sub(looked_at);
        self.overlay.reserve(rows.unwrap_or(0).min(ROWS_RESERVED_MAX));
    }

    /// Makes the effects of a run that may have ended early those of whole entries only (PREFIX-APPLIED).
    ///
    /// The entry that stopped it may have left half of its commands in the overlay, so the entries before it are run again
    /// on a new one by `rerun`, which gets their number. A halt ends the process, so its cost does not matter. Should an
    /// entry fail that went through before, because the store starts failing, the run ends there.
    pub(crate) fn finish(
        mut self,
        first: Index,
        outcome: Result<usize, Halt>,
        mut rerun: impl FnMut(&mut Machine<'_>, usize) -> Result<usize, Halt>,
    ) -> RunResult {
        let mut halt = match outcome {
            Ok(count) => return self.result(count, None),
            Err(halt) => halt,
        };
        loop {
            let context = RunContext { waiters: None, overlay_bytes_max: u64::MAX, ..self.context };
            let before = usize::try_from(halt.position.index.0 - first.0).expect("a run is short");
            let mut again = Machine::new(context, RunNames::default(), before);
            match rerun(&mut again, before) {
                Ok(count) => {
                    assert_eq!(count, before, "entries before a halt go through");
                    self.overlay = again.overlay;
                    self.progressed = again.progressed;
                    return self.result(count, Some(halt));
                }
                Err(earlier) => {
                    assert!(earlier.position.index < halt.position.index, "each try ends earlier");
                    halt = earlier;
                }
            }
        }
    }

    fn result(self, count: usize, halt: Option<Halt>) -> RunResult {
        let halted_at = halt.as_ref().map_or(Index::NEVER, |halt| halt.position.index);
        let (answers, late): (Vec<Answer>, Vec<Answer>) =
            self.answers.into_iter().partition(|answer| answer.index < halted_at);
        let unanswered = self.unanswered.into_iter().chain(late.into_iter().map(|answer| answer.waiter)).collect();
        RunResult {
            count,
            halt,
            progressed: self.progressed,
            overlay: self.overlay,
            answers,
            unanswered,
            failed_reads: self.failed_reads,
            opened: self.opened,
            open_took: self.open_took,
        }
    }

    fn batch(&mut self, delivery: &Delivery<'_>, batch: &CommandBatch<'_>, names: &[RowName]) -> Result<(), HaltCause> {
        let index = delivery.position.index;
        let stamp_ms = batch.stamp_ms.max(self.progressed.stamp_ms);
        let waiter = self.waiter_of(delivery);
        match self.run(delivery, batch, names, waiter.as_ref(), stamp_ms) {
            Ok(replies) => {
                self.answers.extend(waiter.map(|waiter| Answer { index, waiter, replies }));
                self.progressed = Progressed { stamp_ms, has_run_commands: true };
                Ok(())
            }
            Err(cause) => {
                self.unanswered = waiter;
                Err(cause)
            }
        }
    }

    /// An entry that has no names: it is no batch of commands, or this node cannot name its keys.
    fn unnamed(&mut self, delivery: &Delivery<'_>) -> Result<(), HaltCause> {
        let payload = Payload::decode(delivery.payload);
        match payload.map_err(Malformation::Payload)? {
            Payload::Batch(_) => {
                self.unanswered = self.waiter_of(delivery);
                let lack = self.context.names.err();
                Err(lack.expect("every batch is looked at where names can be made").into())
            }
            Payload::Control(_) => Err(Malformation::Kind.into()),
        }
    }

    fn waiter_of(&self, delivery: &Delivery<'_>) -> Option<Waiter> {
        self.context.waiters.and_then(|waiters| waiters.take(delivery.position))
    }

    /// Runs the commands of one entry, and the reads that ride with them.
    fn run(
        &mut self,
        delivery: &Delivery<'_>,
        batch: &CommandBatch<'_>,
        names: &[RowName],
        waiter: Option<&Waiter>,
        stamp_ms: u64,
    ) -> Result<Vec<Reply>, HaltCause> {
        let index = delivery.position.index;
        let key_id = self.context.values.as_ref().ok().map(|active| active.dek.key_id());
        let sealed = delivery.entry_tag.map(|entry_tag| SealedBy { entry_tag, key_id });
        let mut context = self.overlay.begin(self.context.base, index, stamp_ms, sealed, batch, names)?;
        let replies = match waiter {
            Some(waiter) => self.commands_with_reads(batch, &mut context, waiter, stamp_ms)?,
            None => self.commands(batch, &mut context)?,
        };
        context.assert_all_named();
        self.hold_key(index, &context, delivery)?;
        Ok(replies)
    }

    fn commands(&mut self, batch: &CommandBatch<'_>, context: &mut WriteContext<'_>) -> Result<Vec<Reply>, HaltCause> {
        for write in batch.commands() {
            self.overlay.execute(self.context.base, write, context)?;
        }
        Ok(Vec::new())
    }

    fn commands_with_reads(
        &mut self,
        batch: &CommandBatch<'_>,
        context: &mut WriteContext<'_>,
        waiter: &Waiter,
        stamp_ms: u64,
    ) -> Result<Vec<Reply>, HaltCause> {
        let slots = &waiter.slots;
        let mut commands = batch.commands();
        let mut replies = Vec::with_capacity(slots.len());
        // Answers of this run are not counted yet among what clients hold.
        let memory = waiter.reply_bytes_max().saturating_sub(usize::try_from(self.reply_bytes).unwrap_or(usize::MAX));
        let mut bytes_left = REPLY_BYTES_MAX.min(memory);
        let mut riding = RidingReads::new(slots, self.context.names?);
        for slot in slots.iter() {
            let reply = match slot {
                None => {
                    let write = commands.next().expect("the entry has the writes of its waiter");
                    self.overlay.execute(self.context.base, write, context)?
                }
                // The whole entry was refused: a read alone would be half of it.
                Some(_) if let Some(line) = context.refusal() => Reply::Error(line),
                Some(named) => {
                    // A read is this node's alone: where it fails, no other node would halt, so this one does not.
                    let view = self.overlay.view(self.context.base);
                    match riding.answer(&view, named, stamp_ms, bytes_left) {
                        Ok(Reply::Error(words::REPLY_LARGE)) if memory < REPLY_BYTES_MAX => Reply::Error(NO_MEMORY),
                        Ok(reply) => reply,
                        Err(_) => {
                            self.failed_reads += 1;
                            Reply::Error(READ_FAILED)
                        }
                    }
                }
            };
            // Old values that writes answer with count too, and are always given: the entry's own bound holds for them.
            bytes_left = bytes_left.saturating_sub(reply.value_bytes());
            self.reply_bytes += reply.value_bytes() as u64;
            replies.push(reply);
        }
        assert_eq!(commands.len(), 0, "the waiter has the writes of its entry");
        Ok(replies)
    }

    /// Holds the key for what the entry wrote, if it can be sealed with it later. The delta depends on replicated bytes only;
    /// a key that is not here is this node's own trouble, so it halts at its first use, not later.
    fn hold_key(&mut self, index: Index, context: &WriteContext<'_>, delivery: &Delivery<'_>) -> Result<(), HaltCause> {
        if delivery.entry_tag.is_none() || context.sealed_writes() == 0 {
            return Ok(());
        }
        let active = self.context.values.as_ref().map_err(|lack| *lack)?;
        let delta = index.0.saturating_sub(active.active_from.0);
        if delta > VALUE_DELTA_MAX {
            let error = SealError::Nonce(NonceError::ValueDelta { delta });
            return Err(MachineError::Seal(error).into());
        }
        self.overlay.seal_with(active);
        Ok(())
    }
}

impl StateMachine for Machine<'_> {
    fn open(&mut self) {
        self.open_began = Some(self.context.clock.monotonic());
    }

    fn begin(&mut self, opened: OpenedCount) {
        self.opened.entries += opened.entries;
        self.opened.bytes += opened.bytes;
        // What was opened beside another run took none of this one's time.
        if let Some(began) = self.open_began.take() {
            self.open_took += self.context.clock.monotonic().saturating_sub(began);
        }
    }

    fn look_ahead(&mut self, payloads: &mut dyn Iterator<Item = &[u8]>) {
        if let Ok(key) = self.context.names {
            self.names.look_ahead(payloads, key);
            self.reserve_rows();
        }
    }

    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        let mut names = std::mem::take(&mut self.names);
        let applied = match names.take(delivery.payload) {
            Some((batch, names)) => self.batch(&delivery, &batch, names),
            None => self.unnamed(&delivery),
        };
        self.names = names;
        applied
    }

    fn is_full(&self) -> bool {
        self.overlay.bytes() + self.reply_bytes > self.context.overlay_bytes_max
    }
}

/// Space for so many rows is made before a run: names of watched keys and of keys that are not there become no rows, and nobody
/// counts what was made in vain.
const ROWS_RESERVED_MAX: usize = 4 * RUN_ENTRIES_MAX;
/// The answer to a riding read whose value does not open; redis has no word for it.
const READ_FAILED: &str = "ERR stored value cannot be read";
const NO_MEMORY: &str = "TRYAGAIN the memory of all clients is used up, nothing was read";
