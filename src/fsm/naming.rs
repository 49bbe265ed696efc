//! Names of the keys that commands are about, computed together: lanes want many at once.
//!
//! The names of an entry have one order: those of its conditions, then those of its commands, each in the order in which
//! the keys stand in it. Execution takes them one after another.

use crate::crypto::names::NameKey;
use crate::fsm::codec::BatchFacts;
use crate::fsm::codec::BatchPart;
use crate::fsm::codec::CommandBatch;
use crate::fsm::codec::Payload;
use crate::fsm::command::ReadCommand;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;

/// Keys that wait for their names.
#[derive(Default)]
pub struct NameBatch<'a> {
    databases: Vec<Database>,
    keys: Vec<&'a [u8]>,
}

impl<'a> NameBatch<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One more.
    pub fn add(&mut self, database: Database, key: &'a [u8]) {
        self.databases.push(database);
        self.keys.push(key);
    }

    /// All keys of the commands of an entry, and of its conditions before them.
    pub fn add_commands(&mut self, batch: &CommandBatch<'a>) {
        batch.conditions().for_each(|condition| self.add_part(BatchPart::Condition(condition)));
        batch.commands().for_each(|command| self.add_part(BatchPart::Command(command)));
    }

    fn add_part(&mut self, part: BatchPart<'a>) {
        match part {
            BatchPart::Condition(condition) => self.add(condition.database, condition.key),
            BatchPart::Command(command) => command.write.each_key(&mut |key| self.add(command.database, key)),
        }
    }

    /// All keys of a payload, which is checked on the way, if it is a batch of commands; none of any other.
    pub fn add_payload(&mut self, payload: &'a [u8]) -> Option<BatchFacts> {
        let before = self.len();
        match Payload::decode_showing(payload, |part| self.add_part(part)) {
            Ok(Payload::Batch(batch)) => Some(batch.facts()),
            Ok(Payload::Control(_)) | Err(_) => {
                self.databases.truncate(before);
                self.keys.truncate(before);
                None
            }
        }
    }

    /// All keys of a read.
    pub fn add_read(&mut self, database: Database, read: &'a ReadCommand) {
        for key in read.keys() {
            self.add(database, key);
        }
    }

    /// The names, in the order in which the keys were added.
    #[must_use]
    pub fn names(&self, key: &NameKey) -> Vec<RowName> {
        let mut names = vec![[0; NAME_LEN]; self.keys.len()];
        key.names(&self.keys, &mut names);
        self.databases.iter().zip(names).map(|(database, name)| RowName::new(*database, name)).collect()
    }
}

debug_fields!(self: NameBatch<'_> { keys: self.keys.len() });

/// The names of the commands of an entry.
#[must_use]
pub fn names_of_batch(batch: &CommandBatch<'_>, key: &NameKey) -> Vec<RowName> {
    let mut names = NameBatch::default();
    names.add_commands(batch);
    names.names(key)
}

/// The names of the keys of one read.
#[must_use]
pub fn names_of_read(database: Database, read: &ReadCommand, key: &NameKey) -> Vec<RowName> {
    let mut names = NameBatch::default();
    names.add_read(database, read);
    names.names(key)
}

/// The name of one key.
#[must_use]
pub fn name_of(database: Database, user_key: &[u8], key: &NameKey) -> RowName {
    let mut name = [[0; NAME_LEN]];
    key.names(&[user_key], &mut name);
    RowName::new(database, name[0])
}
