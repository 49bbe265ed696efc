//! Bytes to commands, at apply. The drawing is in the parent.
//!
//! Everything is checked in [`Payload::decode`]; after that, walking a batch, its commands and their lists cannot fail.

use crate::codec::Reader;
use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::codec::KIND_BATCH;
use crate::fsm::codec::KIND_CONTROL;
use crate::fsm::codec::condition::ConditionRef;
use crate::fsm::codec::condition::Conditions;
use crate::fsm::command::PayloadError;
use crate::fsm::command::WriteRef;
use crate::fsm::command::write::HEADER_LEN;
use crate::fsm::name::Database;
use crate::limits::ENTRY_CONDITIONS_MAX;
use crate::limits::ENTRY_WRITES_MAX;

/// What an entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Commands of clients.
    Batch(CommandBatch<'a>),
    /// A change of the keyring, as `keys` encoded it; not looked into here.
    Control(&'a [u8]),
}

/// The commands of one entry, checked, still in the entry's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandBatch<'a> {
    /// The proposer's time, ms since 1970.
    pub stamp_ms: u64,
    condition_count: u32,
    /// They begin here; the commands follow.
    conditions: &'a [u8],
    count: u32,
    sealed_writes_max: usize,
    commands: &'a [u8],
}

/// What [`Payload::decode`] has found out of a batch, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    stamp_ms: u64,
    condition_count: u32,
    count: u32,
    sealed_writes_max: usize,
    /// Bytes from the first condition to the end.
    conditions_len: usize,
    commands_len: usize,
}

/// A part of a batch, in the order in which they stand there.
pub(in crate::fsm) enum BatchPart<'a> {
    Condition(ConditionRef<'a>),
    Command(EntryCommand<'a>),
}

/// A command of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryCommand<'a> {
    /// The database that it works on.
    pub database: Database,
    /// The command.
    pub write: WriteRef<'a>,
}

/// Walks the commands of a [`CommandBatch`] in order.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    left: u32,
    reader: Reader<'a>,
}

impl<'a> Payload<'a> {
    /// Checks `bytes` whole; allocates nothing.
    ///
    /// # Errors
    /// [`PayloadError`]: it is not a payload of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<Payload<'a>, PayloadError> {
        Payload::decode_showing(bytes, |_| ())
    }

    /// The same, which shows each part to `visit` once it is checked; a later one may be wrong all the same.
    pub(in crate::fsm) fn decode_showing(
        bytes: &'a [u8],
        visit: impl FnMut(BatchPart<'a>),
    ) -> Result<Payload<'a>, PayloadError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("kind")? {
            KIND_BATCH => decode_batch(reader, visit).map(Payload::Batch),
            KIND_CONTROL => Ok(Payload::Control(reader.rest())),
            kind => Err(PayloadError::Kind { kind }),
        }
    }
}

impl<'a> CommandBatch<'a> {
    /// The batch in `payload`, which was decoded before: these are its facts.
    ///
    /// # Panics
    /// If it was a payload of another length.
    #[must_use]
    pub fn decoded(payload: &'a [u8], facts: &BatchFacts) -> CommandBatch<'a> {
        let BatchFacts { stamp_ms, condition_count, count, sealed_writes_max, conditions_len, commands_len } = *facts;
        assert_eq!(payload.len(), BATCH_HEADER_LEN + conditions_len, "these are the facts of this payload");
        let conditions = &payload[BATCH_HEADER_LEN..];
        let commands = &conditions[conditions_len - commands_len..];
        CommandBatch { stamp_ms, condition_count, conditions, count, sealed_writes_max, commands }
    }

    /// All that is known of it beside its bytes.
    #[must_use]
    pub fn facts(&self) -> BatchFacts {
        let CommandBatch { stamp_ms, condition_count, count, sealed_writes_max, .. } = *self;
        let (conditions_len, commands_len) = (self.conditions.len(), self.commands.len());
        BatchFacts { stamp_ms, condition_count, count, sealed_writes_max, conditions_len, commands_len }
    }

    /// The conditions under which the commands run.
    #[must_use]
    pub fn conditions(&self) -> Conditions<'a> {
        Conditions::new(self.condition_count, self.conditions)
    }

    /// Whether it has more sealed writes than `op` can number. No node proposes such a batch. If one is committed anyway,
    /// each of its commands answers an error and writes nothing, so that no two values are sealed with one nonce.
    #[must_use]
    pub fn exceeds_writes(&self) -> bool {
        self.sealed_writes_max > ENTRY_WRITES_MAX
    }

    /// The commands, in order.
    #[must_use]
    pub fn commands(&self) -> Commands<'a> {
        Commands { left: self.count, reader: Reader::new(self.commands) }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = EntryCommand<'a>;

    fn next(&mut self) -> Option<EntryCommand<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(EntryCommand::take(&mut self.reader).expect("Payload::decode checked every command"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Commands<'_> {}

impl<'a> EntryCommand<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<EntryCommand<'a>, PayloadError> {
        let (database, write) = WriteRef::take(reader)?;
        Ok(EntryCommand { database, write })
    }
}

fn decode_batch<'a>(
    mut reader: Reader<'a>,
    mut visit: impl FnMut(BatchPart<'a>),
) -> Result<CommandBatch<'a>, PayloadError> {
    let stamp_ms = reader.u64("stamp")?;
    let condition_count = reader.u32("count of conditions")?;
    if condition_count as usize > ENTRY_CONDITIONS_MAX {
        return Err(PayloadError::ConditionsMany { found: condition_count });
    }
    let count = reader.count(HEADER_LEN, "count of commands")?;
    if count == 0 {
        return Err(PayloadError::Empty);
    }
    let conditions = reader.rest();
    let mut before: Option<ConditionRef<'_>> = None;
    for _ in 0..condition_count {
        let condition = ConditionRef::take(&mut reader)?;
        if before.is_some_and(|before| before.order() >= condition.order()) {
            return Err(PayloadError::ConditionsUnsorted);
        }
        before = Some(condition);
        visit(BatchPart::Condition(condition));
    }
    let commands = reader.rest();
    let mut sealed_writes_max = 0;
    for _ in 0..count {
        let command = EntryCommand::take(&mut reader)?;
        sealed_writes_max += command.write.cost().seals;
        visit(BatchPart::Command(command));
    }
    reader.end()?;
    Ok(CommandBatch { stamp_ms, condition_count, conditions, count, sealed_writes_max, commands })
}
