//! MULTI and WATCH of one connection: commands that wait for EXEC, and keys that must not change until then.
//!
//! Nothing that waits here is known to any other room. EXEC makes one entry of all of it, with the watched keys as
//! conditions, so the commands run together or not at all. What waits is a copy, counted in the memory of all clients: the
//! receive buffer that a command came in may hold much more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;

use crate::fsm::codec::Condition;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::WriteCommand;
use crate::fsm::command::WriteCost;
use crate::fsm::name::Database;
use crate::limits::ENTRY_CONDITIONS_MAX;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::limits::TRANSACTION_COMMANDS_MAX;
use crate::limits::TRANSACTION_LONG_READS_MAX;
use crate::limits::TRANSACTION_MADE_BYTES_MAX;
use crate::limits::TRANSACTION_MEMORY_BYTES_MAX;
use crate::limits::TRANSACTION_READ_KEYS_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::limits::WATCHED_BYTES_MAX;
use crate::propose::RequestSlot;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::arguments::KeptArguments;
use crate::resp::commands::Action;
use crate::resp::commands::CommandSpec;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Local;
use crate::resp::commands::database_argument;

/// What one connection has begun with MULTI and WATCH.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// Between MULTI and EXEC.
    open: Option<OpenTransaction>,
    /// The last change of each watched key, by database.
    watched: BTreeMap<(Database, Bytes), u64>,
    watched_bytes: usize,
}

#[derive(Debug)]
struct OpenTransaction {
    queued: Vec<Queued>,
    /// Of the next command, once those before it have run.
    database: Database,
    /// In memory, and in the entry.
    bytes: usize,
    entry_bytes: usize,
    cost: WriteCost,
    read_keys: usize,
    long_reads: usize,
    /// A command was refused: EXEC refuses all.
    spoiled: Option<Spoiled>,
}

/// Why EXEC refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoiled {
    /// A command is unknown, or has a wrong number of arguments.
    Refused,
    /// It would be larger than a transaction may be.
    Bound(&'static str),
}

/// A command that waits for EXEC.
#[derive(Debug)]
pub(crate) enum Queued {
    /// Goes into the entry.
    Write(Database, WriteCommand),
    /// Rides with the entry.
    Read(Database, ReadCommand),
    /// Runs on this connection once the entry is applied.
    Local(Local, KeptArguments),
    /// Its arguments are wrong, which Redis finds out when it runs.
    Wrong(ErrorLine),
}

/// What EXEC found.
#[derive(Debug)]
pub(crate) enum Exec {
    /// An error; nothing is to be run.
    Refused(ErrorLine),
    /// These commands, under these conditions.
    Run {
        /// In the order of the client.
        queued: Vec<Queued>,
        /// Ascending.
        conditions: Vec<Condition>,
    },
}

impl Transaction {
    /// True between MULTI and EXEC.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Commands that wait; `None` outside MULTI.
    pub(crate) fn queued(&self) -> Option<usize> {
        self.open.as_ref().map(|open| open.queued.len())
    }

    /// Bytes that it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.watched_bytes + self.open.as_ref().map_or(0, |open| open.bytes)
    }

    /// MULTI.
    ///
    /// # Errors
    /// It is open already.
    pub(crate) fn begin(&mut self, database: Database) -> Result<(), ErrorLine> {
        if self.is_open() {
            return Err(ErrorLine::fixed("ERR MULTI calls can not be nested"));
        }
        self.open = Some(OpenTransaction::new(database));
        Ok(())
    }

    /// Keeps a command for EXEC.
    ///
    /// # Errors
    /// It would be too large, or has no such subcommand; EXEC will refuse.
    pub(crate) fn queue(
        &mut self,
        command: &'static CommandSpec,
        arguments: Arguments<'_>,
        lead_ms: u64,
    ) -> Result<(), ErrorLine> {
        let open = self.open.as_mut().expect("commands are queued between MULTI and EXEC");
        if open.spoiled.is_some() {
            let parsed = command.parse(arguments, open.database, lead_ms);
            return parsed.err().filter(ErrorLine::is_of_subcommand).map_or(Ok(()), Err);
        }
        let queued = open.keep(command, arguments, lead_ms);
        if let Queued::Wrong(refusal) = &queued
            && refusal.is_of_subcommand()
        {
            let refusal = refusal.clone();
            open.spoil(Spoiled::Refused);
            return Err(refusal);
        }
        match open.bound_broken(command, arguments, &queued) {
            None => {
                open.push(arguments, queued);
                Ok(())
            }
            Some(bound) => {
                open.spoil(Spoiled::Bound(bound));
                Err(ErrorLine::made(format!("ERR {bound}")))
            }
        }
    }

    /// A command was refused: EXEC will refuse all. An EXEC that is refused itself ends the transaction. What to answer.
    pub(crate) fn spoiled_by(&mut self, name: &[u8], refusal: ErrorLine) -> ErrorLine {
        if name.eq_ignore_ascii_case(b"exec") {
            self.clear();
            let why = refusal.0.strip_prefix("ERR ").unwrap_or(&refusal.0);
            return ErrorLine::made(format!("EXECABORT Transaction discarded because of: {why}"));
        }
        if let Some(open) = &mut self.open
            && open.spoiled.is_none()
        {
            open.spoil(Spoiled::Refused);
        }
        refusal
    }

    /// EXEC: nothing is open or watched any more.
    pub(crate) fn exec(&mut self) -> Exec {
        let Some(open) = self.open.take() else {
            return Exec::Refused(ErrorLine::fixed("ERR EXEC without MULTI"));
        };
        let watched = std::mem::take(&mut self.watched);
        self.watched_bytes = 0;
        match open.spoiled {
            Some(Spoiled::Refused) => {
                Exec::Refused(ErrorLine::fixed("EXECABORT Transaction discarded because of previous errors."))
            }
            Some(Spoiled::Bound(bound)) => {
                Exec::Refused(ErrorLine::made(format!("EXECABORT Transaction discarded because of: {bound}")))
            }
            None => {
                let conditions = watched.into_iter();
                let conditions = conditions.map(|((database, key), change)| Condition::new(database, key, change));
                Exec::Run { queued: open.queued, conditions: conditions.collect() }
            }
        }
    }

    /// DISCARD: nothing is open or watched any more.
    ///
    /// # Errors
    /// It is not open.
    pub(crate) fn discard(&mut self) -> Result<(), ErrorLine> {
        if !self.is_open() {
            return Err(ErrorLine::fixed("ERR DISCARD without MULTI"));
        }
        self.clear();
        Ok(())
    }

    /// UNWATCH.
    pub(crate) fn unwatch(&mut self) {
        self.watched.clear();
        self.watched_bytes = 0;
    }

    /// RESET, or the client must authenticate again.
    pub(crate) fn clear(&mut self) {
        *self = Transaction::default();
    }

    /// Whether these keys of a database may be watched too.
    ///
    /// # Errors
    /// Inside MULTI, or too many.
    pub(crate) fn may_watch(&self, database: Database, keys: &[Bytes]) -> Result<(), ErrorLine> {
        if self.is_open() {
            return Err(ErrorLine::fixed("ERR WATCH inside MULTI is not allowed"));
        }
        let is_new = |key: &&Bytes| !self.watched.contains_key(&(database, Bytes::clone(key)));
        let mut new: Vec<&Bytes> = keys.iter().filter(is_new).collect();
        new.sort_unstable();
        new.dedup();
        if self.watched.len() + new.len() > ENTRY_CONDITIONS_MAX {
            return Err(ErrorLine::made(format!("ERR a client may watch {ENTRY_CONDITIONS_MAX} keys at once")));
        }
        let bytes = new.iter().map(|key| key.len() + WATCHED_OVERHEAD).sum::<usize>();
        if self.watched_bytes + bytes > WATCHED_BYTES_MAX {
            return Err(ErrorLine::made(format!(
                "ERR the watched keys of a client may take {WATCHED_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    /// Watches a key that has `last_change` now. One that is watched already keeps what it had: it must not have changed
    /// since then.
    pub(crate) fn watch(&mut self, database: Database, key: &Bytes, last_change: u64) {
        if let Entry::Vacant(place) = self.watched.entry((database, Bytes::copy_from_slice(key))) {
            place.insert(last_change);
            self.watched_bytes += key.len() + WATCHED_OVERHEAD;
        }
        assert!(self.watched.len() <= ENTRY_CONDITIONS_MAX, "checked before the keys were read");
    }
}

impl OpenTransaction {
    fn new(database: Database) -> OpenTransaction {
        OpenTransaction {
            queued: Vec::new(),
            database,
            bytes: 0,
            entry_bytes: 0,
            cost: WriteCost::default(),
            read_keys: 0,
            long_reads: 0,
            spoiled: None,
        }
    }

    /// A copy of its own, that shares no receive buffer.
    fn keep(&self, command: &'static CommandSpec, arguments: Arguments<'_>, lead_ms: u64) -> Queued {
        let kept = arguments.kept();
        match command.parse(kept.arguments(), self.database, lead_ms) {
            Ok(Action::Write(write)) => Queued::Write(self.database, write),
            Ok(Action::Read(read)) => Queued::Read(self.database, read),
            Ok(Action::Local(local)) => Queued::Local(local, kept),
            Err(refusal) => Queued::Wrong(refusal),
        }
    }

    /// The bound that it would break with one more command.
    fn bound_broken(
        &self,
        command: &'static CommandSpec,
        arguments: Arguments<'_>,
        queued: &Queued,
    ) -> Option<&'static str> {
        let mut cost = self.cost;
        let mut entry_bytes = self.entry_bytes;
        if let Queued::Write(_, write) = queued {
            cost += write.cost();
            entry_bytes += write.encoded_len();
        }
        let bytes = self.bytes + held_bytes(arguments, queued);
        let is_long = |position: usize| arguments.slice(position).len() > KEY_BYTES_MAX;
        let bounds = [
            (self.queued.len() >= TRANSACTION_COMMANDS_MAX, "a transaction may have 65536 commands"),
            (entry_bytes > TRANSACTION_BYTES_MAX, "the writes of a transaction may take 8 MiB"),
            (bytes > TRANSACTION_MEMORY_BYTES_MAX, "the commands of a transaction may take 16 MiB"),
            (cost.seals > ENTRY_WRITES_MAX, "a transaction may write 65536 values"),
            (cost.made_bytes > TRANSACTION_MADE_BYTES_MAX, "the SETRANGE of a transaction may make 64 MiB"),
            (self.read_keys + read_keys(queued) > TRANSACTION_READ_KEYS_MAX, "a transaction may read 65536 keys"),
            (
                self.long_reads + long_reads(queued) > TRANSACTION_LONG_READS_MAX,
                "a transaction may have 16 DBSIZE, KEYS, LCS, RANDOMKEY and SCAN",
            ),
            (arguments.slices_from(1).any(|argument| argument.len() > VALUE_BYTES_MAX), "a value is too long"),
            (command.key_positions(arguments.len()).any(is_long), "a key is longer than 65536 bytes"),
        ];
        bounds.into_iter().find(|(is_broken, _)| *is_broken).map(|(_, bound)| bound)
    }

    fn push(&mut self, arguments: Arguments<'_>, queued: Queued) {
        self.bytes += held_bytes(arguments, &queued);
        self.read_keys += read_keys(&queued);
        self.long_reads += long_reads(&queued);
        match &queued {
            Queued::Write(_, write) => {
                self.cost += write.cost();
                self.entry_bytes += write.encoded_len();
            }
            // One that is wrong selects nothing when it runs.
            Queued::Local(Local::Select, _) => self.database = database_argument(arguments, 1).unwrap_or(self.database),
            Queued::Read(..) | Queued::Local(..) | Queued::Wrong(_) => {}
        }
        self.queued.push(queued);
    }

    /// Nothing of it will run: its memory is given back at once.
    fn spoil(&mut self, why: Spoiled) {
        *self = OpenTransaction { spoiled: Some(why), ..OpenTransaction::new(self.database) };
    }
}

/// The slots of the entry. One that would have no write gets one that does nothing, so that its conditions are judged,
/// and its reads answered, at one place of the log.
pub(crate) struct TransactionEntry {
    pub(crate) slots: Vec<RequestSlot>,
    /// The first slot is the write that does nothing.
    pub(crate) has_filler: bool,
}

impl TransactionEntry {
    /// The entry of these commands; `None` if nothing in them reaches the state.
    pub(crate) fn of(queued: &[Queued], has_conditions: bool) -> Option<TransactionEntry> {
        let has_write = queued.iter().any(|queued| matches!(queued, Queued::Write(..)));
        let has_read = queued.iter().any(|queued| matches!(queued, Queued::Read(..)));
        if !(has_write || has_read || has_conditions) {
            return None;
        }
        let filler = (!has_write)
            .then(|| RequestSlot::Write(Database::FIRST, WriteCommand::RemoveExpired { names: Vec::new() }));
        let commands = queued.iter().filter_map(|queued| match queued {
            Queued::Write(database, write) => Some(RequestSlot::Write(*database, write.clone())),
            Queued::Read(database, read) => Some(RequestSlot::Read(*database, read.clone())),
            Queued::Local(..) | Queued::Wrong(_) => None,
        });
        let slots = filler.into_iter().chain(commands).collect();
        Some(TransactionEntry { slots, has_filler: !has_write })
    }
}

/// Bytes of memory that a queued command takes. RESTORE unpacks: its value may be far longer than its arguments.
fn held_bytes(arguments: Arguments<'_>, queued: &Queued) -> usize {
    let made = if let Queued::Write(_, write) = queued { write.encoded_len() } else { 0 };
    arguments.kept_bytes().max(made) + QUEUED_OVERHEAD
}

fn read_keys(queued: &Queued) -> usize {
    if let Queued::Read(_, read) = queued { read.opens() } else { 0 }
}

fn long_reads(queued: &Queued) -> usize {
    usize::from(matches!(queued, Queued::Read(_, read) if read.is_long()))
}

/// About what a queued command takes beside its arguments.
const QUEUED_OVERHEAD: usize = 128;
/// About what a watched key takes beside its bytes.
const WATCHED_OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::command::Expiry;

    /// A payload of RESTORE may hold a value that is 88 times as long.
    #[test]
    fn bounded_a_restore_that_waits_counts_with_what_it_was_unpacked_to() {
        let packed = KeptArguments::default();
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![1; 1 << 20]));
        let restore = WriteCommand::Restore { key, value, expiry: Expiry::Clear, replaces: false };
        let mut open = OpenTransaction::new(Database::FIRST);
        open.push(packed.arguments(), Queued::Write(Database::FIRST, restore));
        assert!(open.bytes > 1 << 20, "{}", open.bytes);
    }
}
