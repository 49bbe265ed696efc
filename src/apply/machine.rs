//! The state machine of clients' commands behind the hook: an overlay over the store, and the answers to be given.
//!
//! Nothing here is visible to anybody before the step of the store is written. What an entry does to the overlay depends
//! on replicated bytes only (SAME-DECISION); the reads of a local waiter run at their place among its writes, see the
//! overlay, and change nothing.

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::hook::Delivery;
use crate::apply::hook::Halted;
use crate::apply::hook::StateMachine;
use crate::apply::hook::Stop;
use crate::crypto::nonce::NonceError;
use crate::crypto::nonce::VALUE_DELTA_MAX;
use crate::crypto::seal::SealError;
use crate::fsm::codec::CommandBatch;
use crate::fsm::codec::Payload;
use crate::fsm::command::Reply;
use crate::fsm::kv;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::WriteContext;
use crate::fsm::reader::ReadError;
use crate::fsm::reader::RowReader;
use crate::ids::Index;
use crate::keys::node_keys::ActiveValue;
use crate::keys::node_keys::KeyLack;
use crate::limits::REPLY_BYTES_MAX;
use crate::propose::RequestSlot;
use crate::propose::Waiter;
use crate::propose::Waiters;

/// A waiter and what it will be told once the run is written.
pub(crate) struct Answer {
    pub(crate) index: Index,
    pub(crate) waiter: Waiter,
    pub(crate) replies: Vec<Reply>,
}

/// Runs one run of commands.
pub(crate) struct Machine<'a> {
    base: &'a RowReader,
    values: &'a Result<ActiveValue, KeyLack>,
    waiters: Option<&'a Waiters>,
    overlay: Overlay,
    /// Stamp of the newest entry that ran; no later one counts as earlier.
    stamp_ms: u64,
    /// Whether an entry of client commands ran, now or ever before.
    has_run_commands: bool,
    answers: Vec<Answer>,
    /// The waiter of an entry that did not go through: not answered, since the entry will be applied later.
    unanswered: Option<Waiter>,
    /// Riding reads that could not be answered.
    failed_reads: u64,
    /// Bytes of values in the answers, which are held until the run is written.
    reply_bytes: u64,
    overlay_bytes_max: u64,
}

/// Replicated facts that a run of commands moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progressed {
    pub(crate) stamp_ms: u64,
    pub(crate) has_run_commands: bool,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(
        base: &'a RowReader,
        values: &'a Result<ActiveValue, KeyLack>,
        waiters: Option<&'a Waiters>,
        from: Progressed,
        overlay_bytes_max: u64,
    ) -> Machine<'a> {
        Machine {
            base,
            values,
            waiters,
            overlay: Overlay::new(),
            stamp_ms: from.stamp_ms,
            has_run_commands: from.has_run_commands,
            answers: Vec::new(),
            unanswered: None,
            failed_reads: 0,
            reply_bytes: 0,
            overlay_bytes_max,
        }
    }

    /// A machine without effects that will run entries again, telling nobody: after an entry was left half done.
    pub(crate) fn again(&self, from: Progressed) -> Machine<'a> {
        Machine::new(self.base, self.values, None, from, u64::MAX)
    }

    fn settled(self, count: usize, halt: Option<Halt>) -> Settled {
        let halted_at = halt.as_ref().map_or(Index::NEVER, |halt| halt.position.index);
        let (answers, late): (Vec<Answer>, Vec<Answer>) =
            self.answers.into_iter().partition(|answer| answer.index < halted_at);
        let unanswered = self.unanswered.into_iter().chain(late.into_iter().map(|answer| answer.waiter)).collect();
        Settled {
            count,
            halt,
            progressed: Progressed { stamp_ms: self.stamp_ms, has_run_commands: self.has_run_commands },
            overlay: self.overlay,
            answers,
            unanswered,
            failed_reads: self.failed_reads,
        }
    }

    fn batch(&mut self, delivery: &Delivery<'_>, batch: &CommandBatch<'_>) -> Result<(), Stop> {
        let index = delivery.position.index;
        let stamp_ms = batch.stamp_ms.max(self.stamp_ms);
        let mut context = WriteContext::new(index, stamp_ms, delivery.entry_tag, batch);
        let waiter = self.waiters.and_then(|waiters| waiters.take(delivery.position));
        let outcome = match &waiter {
            Some(waiter) => self.commands_with_reads(batch, &mut context, &waiter.slots, stamp_ms),
            None => self.commands(batch, &mut context),
        };
        match outcome.and_then(|replies| self.can_seal(index, &context, delivery).map(|()| replies)) {
            Ok(replies) => {
                self.answers.extend(waiter.map(|waiter| Answer { index, waiter, replies }));
                self.stamp_ms = stamp_ms;
                self.has_run_commands = true;
                Ok(())
            }
            Err(stop) => {
                self.unanswered = waiter;
                Err(stop)
            }
        }
    }

    fn commands(&mut self, batch: &CommandBatch<'_>, context: &mut WriteContext) -> Result<Vec<Reply>, Stop> {
        for write in batch.commands() {
            self.overlay.execute(self.base, write, context)?;
        }
        Ok(Vec::new())
    }

    fn commands_with_reads(
        &mut self,
        batch: &CommandBatch<'_>,
        context: &mut WriteContext,
        slots: &[RequestSlot],
        stamp_ms: u64,
    ) -> Result<Vec<Reply>, Stop> {
        let mut commands = batch.commands();
        let mut replies = Vec::with_capacity(slots.len());
        let mut bytes_left = REPLY_BYTES_MAX;
        for slot in slots {
            let reply = match slot {
                RequestSlot::Write(_) => {
                    let write = commands.next().expect("the entry has the writes of its waiter");
                    self.overlay.execute(self.base, write, context)?
                }
                RequestSlot::Read(read) => {
                    // A read is this node's alone: where it fails, no other node would halt, so this one does not.
                    let view = self.overlay.view(self.base);
                    kv::read_within(&view, read, stamp_ms, bytes_left).unwrap_or_else(|_| {
                        self.failed_reads += 1;
                        Reply::Error(READ_FAILED)
                    })
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

    /// Whether what the entry wrote can be sealed at the end of the run. The delta depends on replicated bytes only;
    /// a key that is not here is this node's own trouble, so it halts at its first use, not later.
    fn can_seal(&self, index: Index, context: &WriteContext, delivery: &Delivery<'_>) -> Result<(), Stop> {
        if delivery.entry_tag.is_none() || context.sealed_writes() == 0 {
            return Ok(());
        }
        let active = self.values.as_ref().map_err(|lack| lack_stop(*lack))?;
        let delta = index.0.saturating_sub(active.active_from.0);
        if delta > VALUE_DELTA_MAX {
            let error = SealError::Nonce(NonceError::ValueDelta { delta });
            return Err(HaltCause::StateMachine(MachineError::Seal(error)).into());
        }
        Ok(())
    }
}

impl StateMachine for Machine<'_> {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), Stop> {
        let payload = Payload::decode(delivery.payload);
        match payload.map_err(|error| HaltCause::Malformed(Malformation::Payload(error)))? {
            Payload::Batch(batch) => self.batch(&delivery, &batch),
            Payload::Control(_) => Err(HaltCause::Malformed(Malformation::Kind).into()),
        }
    }

    fn is_full(&self) -> bool {
        self.overlay.bytes() + self.reply_bytes > self.overlay_bytes_max
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Stop {
        match error {
            ReadError::NoCipher => HaltCause::NoCipher.into(),
            ReadError::UnknownKey { key_id } => {
                Stop { cause: HaltCause::UnknownKey(KeyLack::Unknown { key_id }), key_id: Some(key_id) }
            }
            ReadError::Store(_)
            | ReadError::Malformed(_)
            | ReadError::Envelope
            | ReadError::Unauthentic
            | ReadError::Ahead { .. } => HaltCause::StateMachine(MachineError::Read(error)).into(),
        }
    }
}

/// A halt for want of a key, which it names: for a value that cannot be sealed it is not the key of the entry.
pub(crate) fn lack_stop(lack: KeyLack) -> Stop {
    let key_id = match lack {
        KeyLack::NoCipher { .. } => return HaltCause::NoCipher.into(),
        KeyLack::NotBootstrapped | KeyLack::NoOpener => None,
        KeyLack::OtherKek { key_id, .. }
        | KeyLack::Unauthentic { key_id, .. }
        | KeyLack::OtherKey { key_id }
        | KeyLack::Unknown { key_id }
        | KeyLack::Retired { key_id }
        | KeyLack::OtherPurpose { key_id }
        | KeyLack::OtherTerm { key_id } => Some(key_id).filter(|id| *id != MAC_KEY),
    };
    Stop { cause: HaltCause::UnknownKey(lack), key_id }
}

/// In place of an id where the MAC key is lacking, which has none.
const MAC_KEY: u32 = 0;

/// The answer to a riding read whose value does not open; redis has no word for it.
const READ_FAILED: &str = "ERR stored value cannot be read";

/// What a run came to: the effects of `count` whole entries, and why there are not more.
pub(crate) struct Settled {
    pub(crate) count: usize,
    pub(crate) halt: Option<Halt>,
    pub(crate) progressed: Progressed,
    pub(crate) overlay: Overlay,
    pub(crate) answers: Vec<Answer>,
    /// Waiters of entries that did not go through: owed an answer that this process will not give.
    pub(crate) unanswered: Vec<Waiter>,
    pub(crate) failed_reads: u64,
}

/// Makes the effects of a run that may have ended early those of whole entries only (PREFIX-APPLIED).
///
/// The entry that stopped it may have left half of its commands in the overlay, so the entries before it are run again on
/// a new one by `rerun`, which is given how many. A halt ends the process, so its cost does not matter. Should an entry
/// fail that went through before, because the store fails by and by, the run ends there.
pub(crate) fn settle(
    outcome: Result<usize, Halted>,
    mut machine: Machine<'_>,
    from: Progressed,
    mut rerun: impl FnMut(&mut Machine<'_>, usize) -> Result<usize, Halted>,
) -> Settled {
    let mut stopped = match outcome {
        Ok(count) => return machine.settled(count, None),
        Err(stopped) => stopped,
    };
    loop {
        let mut again = machine.again(from);
        match rerun(&mut again, stopped.at) {
            Ok(count) => {
                machine.overlay = again.overlay;
                (machine.stamp_ms, machine.has_run_commands) = (again.stamp_ms, again.has_run_commands);
                return machine.settled(count, Some(stopped.halt));
            }
            Err(earlier) => stopped = earlier,
        }
    }
}
