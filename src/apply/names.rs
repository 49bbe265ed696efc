//! Names of the keys of a run, computed before its first entry runs: lanes want many at once.

use std::collections::VecDeque;

use crate::crypto::names::NameKey;
use crate::fsm::codec::BatchFacts;
use crate::fsm::codec::CommandBatch;
use crate::fsm::name::RowName;
use crate::fsm::naming::NameBatch;

/// The names of entries that are not applied yet, and what their batches are.
#[derive(Default)]
pub(super) struct RunNames {
    names: Vec<RowName>,
    /// Of each entry, the next one first.
    entries: VecDeque<NamedEntry>,
    /// The first of the names that was not taken.
    next: usize,
}

/// An entry whose keys have names.
struct NamedEntry {
    facts: BatchFacts,
    /// How many of the names it has.
    names: usize,
}

impl RunNames {
    /// Checks all entries and computes their names, up to the first that is no batch of commands: it halts at its place.
    pub(super) fn look_ahead(&mut self, payloads: &mut dyn Iterator<Item = &[u8]>, key: &NameKey) {
        let mut batch = NameBatch::default();
        self.entries.clear();
        for payload in payloads {
            let before = batch.len();
            let Some(facts) = batch.add_payload(payload) else {
                break;
            };
            self.entries.push_back(NamedEntry { facts, names: batch.len() - before });
        }
        (self.names, self.next) = (batch.names(key), 0);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Entries that were looked at and not taken.
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The batch of the next entry, whose payload this is, and its names. `None`: it is none, or nothing was looked at.
    pub(super) fn take<'p>(&mut self, payload: &'p [u8]) -> Option<(CommandBatch<'p>, &[RowName])> {
        let NamedEntry { facts, names } = self.entries.pop_front()?;
        let first = self.next;
        self.next += names;
        Some((CommandBatch::decoded(payload, &facts), &self.names[first..self.next]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::names::ClearNameKey;
    use crate::fsm::codec::encode_batch;
    use crate::ids::ClusterId;
    use crate::testing::leader::set;

    // A run that stops early leaves names over; the next run must not get them for its own keys.
    #[test]
    fn names_that_were_not_taken_are_not_those_of_the_next_run() {
        let payload = |keys: &[&'static str]| {
            let (writes, mut out): (Vec<_>, _) = (keys.iter().map(|key| set(key, "v")).collect(), Vec::new());
            encode_batch(1, &writes, &mut out).unwrap();
            out
        };
        let key = NameKey::clear(&ClearNameKey([1; 32]), ClusterId([2; 16]));
        let (first, second) = (payload(&["a", "b"]), payload(&["c"]));
        let mut names = RunNames::default();
        names.look_ahead(&mut [&*first, &*first].into_iter(), &key);
        let (batch, of_first) = names.take(&first).unwrap();
        assert_eq!((batch.commands().len(), of_first.len()), (2, 2));
        names.look_ahead(&mut [&*second].into_iter(), &key);
        let mut alone = RunNames::default();
        alone.look_ahead(&mut [&*second].into_iter(), &key);
        assert_eq!(names.take(&second), alone.take(&second));
        assert_eq!(names.take(&second), None);
    }
}
