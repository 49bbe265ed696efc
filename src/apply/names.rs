//! Names of the keys of a run, computed before its first entry runs: lanes want many at once.

use std::collections::VecDeque;

use crate::crypto::names::NameKey;
use crate::fsm::codec::Payload;
use crate::fsm::name::RowName;
use crate::fsm::naming::NameBatch;

/// The names of entries that are not applied yet.
#[derive(Default)]
pub(super) struct RunNames {
    names: Vec<RowName>,
    /// How many of them each entry has, the next one first.
    counts: VecDeque<usize>,
    /// The first of them that was not taken.
    next: usize,
}

impl RunNames {
    /// Computes those of all entries, up to the first that is no batch of commands: it halts at its place.
    pub(super) fn look_ahead(&mut self, payloads: &mut dyn Iterator<Item = &[u8]>, key: &NameKey) {
        let mut batch = NameBatch::default();
        self.counts.clear();
        for payload in payloads {
            let Ok(Payload::Batch(commands)) = Payload::decode(payload) else {
                break;
            };
            let before = batch.len();
            batch.add_commands(&commands);
            self.counts.push_back(batch.len() - before);
        }
        (self.names, self.next) = (batch.names(key), 0);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Those of the next entry.
    ///
    /// # Panics
    /// If it was not looked at: the hook shows every entry before it hands the first one over.
    pub(super) fn take(&mut self) -> &[RowName] {
        let count = self.counts.pop_front().expect("an entry that is applied was looked at before");
        let first = self.next;
        self.next += count;
        &self.names[first..self.next]
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
        assert_eq!(names.take().len(), 2);
        names.look_ahead(&mut [&*second].into_iter(), &key);
        let mut alone = RunNames::default();
        alone.look_ahead(&mut [&*second].into_iter(), &key);
        assert_eq!(names.take(), alone.take());
    }
}
