//! What a log was asked to hold and what of it was acknowledged, and whether a recovered log may look as it does.

use std::collections::VecDeque;

use sealkv::entry::LogEntry;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::ids::Term;
use sealkv::testing::log::BEGINNING;
use sealkv::wal::Append;
use sealkv::wal::HardState;
use sealkv::wal::Recovered;

/// The log as its caller knows it.
#[derive(Clone, Debug)]
pub struct LogModel {
    acknowledged: Contents,
    /// Offered and not acknowledged, in order.
    pending: VecDeque<Append>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    pub entries: Vec<LogEntry>,
    pub compacted: Position,
    pub hard_state: HardState,
    pub cutover: Option<Index>,
}

impl LogModel {
    /// A log that was made and never written to.
    pub fn new() -> LogModel {
        let (hard_state, entries) = (HardState::default(), Vec::new());
        let acknowledged = Contents { entries, compacted: BEGINNING, hard_state, cutover: None };
        LogModel { acknowledged, pending: VecDeque::new() }
    }

    /// A process has found this and synced it: all of it may be relied upon, and nothing else will come.
    pub fn found(recovered: &Recovered) -> LogModel {
        LogModel { acknowledged: Contents::of(recovered), pending: VecDeque::new() }
    }

    pub fn offer(&mut self, append: &Append) {
        self.pending.push_back(append.clone());
    }

    pub fn acknowledge(&mut self, ticket: u64) {
        while let Some(append) = self.pending.pop_front_if(|append| append.ticket <= ticket) {
            self.acknowledged.take(&append, append.entries.len());
        }
    }

    pub fn acknowledged(&self) -> &Contents {
        &self.acknowledged
    }

    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// The contents once everything that was offered is taken.
    pub fn newest(&self) -> Contents {
        let mut newest = self.acknowledged.clone();
        self.pending.iter().for_each(|append| newest.take(append, append.entries.len()));
        newest
    }

    /// Whether a log that is recovered now may hold this: everything acknowledged, then any part of what was offered since
    /// that keeps its order. A commit alone need not have been written, and a trim may overtake entries.
    pub fn accepts(&self, recovered: &Recovered) -> Result<(), String> {
        let mut model = self.acknowledged.clone();
        for append in &self.pending {
            // The hard state may go with a frame before that of the first entry.
            let mut part = model.clone();
            for count in 0..append.entries.len() {
                part.take(append, count);
                if self.is_like(&model, recovered) || self.is_like(&part, recovered) {
                    return Ok(());
                }
            }
            if self.is_like(&model, recovered) {
                return Ok(());
            }
            model.take(append, append.entries.len());
        }
        if self.is_like(&model, recovered) {
            return Ok(());
        }
        Err(format!(
            "found {}, acknowledged {}, with all that was offered {}",
            shown(&Contents::of(recovered)),
            shown(&self.acknowledged),
            shown(&model)
        ))
    }

    fn is_like(&self, model: &Contents, recovered: &Recovered) -> bool {
        let vote = |hard_state: HardState| (hard_state.term, hard_state.vote);
        let offered = self.pending.iter().filter_map(|append| append.hard_state).map(|state| state.commit);
        let commit_max = offered.max().unwrap_or_default().max(self.acknowledged.hard_state.commit);
        let compacted = recovered.compacted;
        let trims = || self.pending.iter().filter_map(|append| append.trim);
        let may_be_compacted = compacted == model.compacted
            || (compacted.index > model.compacted.index && trims().any(|trim| trim == compacted));
        let rest = model.entries.iter().filter(|entry| entry.index > compacted.index);
        vote(model.hard_state) == vote(recovered.hard_state)
            && recovered.hard_state.commit <= commit_max
            && model.cutover == recovered.cutover
            && may_be_compacted
            && rest.eq(&recovered.entries)
    }
}

impl Contents {
    pub fn of(recovered: &Recovered) -> Contents {
        let Recovered { entries, compacted, hard_state, cutover, .. } = recovered.clone();
        Contents { entries, compacted, hard_state, cutover }
    }

    /// Index of the newest entry.
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(self.compacted.index.0, |last| last.index.0)
    }

    /// The highest term in it.
    pub fn term(&self) -> Term {
        let newest = self.entries.last().map_or(self.compacted.term, |last| last.term);
        newest.max(self.hard_state.term)
    }

    /// Takes in an append with its first `count` entries.
    pub fn take(&mut self, append: &Append, count: usize) {
        self.hard_state = append.hard_state.unwrap_or(self.hard_state);
        self.cutover = append.cutover.or(self.cutover);
        if let Some(reset) = append.reset {
            self.compacted = reset;
            self.entries.clear();
        }
        if let Some(first) = append.entries.first().filter(|_| count > 0) {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend_from_slice(&append.entries[..count]);
        }
        if let Some(trim) = append.trim.filter(|trim| trim.index > self.compacted.index && trim.index.0 <= self.last())
        {
            self.compacted = trim;
            self.entries.retain(|entry| entry.index > trim.index);
        }
    }
}

fn shown(contents: &Contents) -> String {
    let places: Vec<(u64, u64)> = contents.entries.iter().map(|entry| (entry.term.0, entry.index.0)).collect();
    format!("{places:?} behind {:?}, {:?}, cutover {:?}", contents.compacted, contents.hard_state, contents.cutover)
}
