//! The log of a simulated node: the real loop, stepped by hand, and the tickets of whoever waits for it.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::apply::ports::ApplyLog;
use crate::apply::ports::CutoverNotDurable;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::FRAME_BYTES_MAX;
use crate::node::retention::LogRetention;
use crate::raft::Input;
use crate::testing::record::Deed;
use crate::testing::record::NodeRecord;
use crate::testing::sealings::Sealings;
use crate::wal::Append;
use crate::wal::LogLoop;
use crate::wal::LogSpace;
use crate::wal::Recovered;
use crate::wal::WalError;

/// What is durable in a log: the term of each entry, from the first that is not trimmed.
#[derive(Clone, Debug, Default)]
pub(super) struct DurableTerms {
    compacted: Index,
    terms: BTreeMap<Index, Term>,
}

impl DurableTerms {
    /// As a start has recovered it.
    pub(super) fn of(recovered: &Recovered) -> DurableTerms {
        let terms = recovered.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        DurableTerms { compacted: recovered.compacted.index, terms }
    }

    /// Whether the entry of that term is there. What is trimmed was committed, so it was.
    pub(super) fn has(&self, position: Position) -> bool {
        position.index <= self.compacted || self.terms.get(&position.index) == Some(&position.term)
    }

    fn replace(&mut self, entries: Vec<(Index, Term)>) {
        if let Some((first, _)) = entries.first() {
            self.terms.split_off(first);
        }
        self.terms.extend(entries);
    }
}

/// An append that is not durable yet.
struct OnItsWay {
    ticket: u64,
    /// The ticket that raft gave it, if it is raft's.
    of_raft: Option<u64>,
    entries: Vec<(Index, Term)>,
}

/// The loop and its callers, all in one thread. A clone is the same log.
#[derive(Clone)]
pub(super) struct SimLog {
    inner: Arc<Mutex<LogDesk>>,
}

struct LogDesk {
    log: LogLoop,
    space: Arc<LogSpace>,
    raft: Sender<Input>,
    on_its_way: VecDeque<OnItsWay>,
    last_ticket: u64,
    durable_ticket: u64,
    durable: DurableTerms,
    retention: LogRetention,
    sealings: Sealings,
    record: NodeRecord,
    failed: Option<WalError>,
    /// What raft wants to read back.
    wanted: Option<(Index, Index)>,
}

impl SimLog {
    /// A log that keeps what `retention` says for the other nodes, and notes what is sealed and what is done.
    pub(super) fn new(
        log: LogLoop,
        durable: DurableTerms,
        raft: Sender<Input>,
        retention: LogRetention,
        (sealings, record): (Sealings, NodeRecord),
    ) -> SimLog {
        let space = log.space();
        let inner = LogDesk {
            log,
            space,
            raft,
            on_its_way: VecDeque::new(),
            last_ticket: 0,
            durable_ticket: 0,
            durable,
            retention,
            sealings,
            record,
            failed: None,
            wanted: None,
        };
        SimLog { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Raft's group.
    pub(super) fn append(&self, append: Append) {
        let (of_raft, mut inner) = (Some(append.ticket), self.inner());
        let term = append.hard_state.map(|hard_state| hard_state.term);
        inner.record.note(|| Deed::Handed { term, entries: append.entries.clone() });
        inner.hand(append, of_raft);
    }

    /// Entries that raft wants for a follower and has not in memory any more.
    pub(super) fn fetch(&self, first: Index, last: Index) {
        self.inner().wanted = Some((first, last));
    }

    /// One turn of the loop; raft learns what is durable through its queue.
    pub(super) fn step(&self) -> Result<(), String> {
        self.inner().step()
    }

    /// Turns until nothing is in flight.
    pub(super) fn settle(&self) -> Result<(), String> {
        let mut inner = self.inner();
        while inner.log.is_busy() {
            inner.step()?;
        }
        Ok(())
    }

    pub(super) fn durable(&self) -> DurableTerms {
        self.inner().durable.clone()
    }

    pub(super) fn space(&self) -> Arc<LogSpace> {
        Arc::clone(&self.inner().space)
    }

    fn inner(&self) -> MutexGuard<'_, LogDesk> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogDesk {
    fn hand(&mut self, mut append: Append, of_raft: Option<u64>) -> u64 {
        self.last_ticket += 1;
        append.ticket = self.last_ticket;
        append.entries.iter().for_each(|entry| self.sealings.entry(entry));
        let entries = append.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        let cost = self.space.cost_bytes(append.entries.iter().map(|entry| entry.data.len()));
        self.log.offer(append).expect("the door keeps raft's groups below half of the log's queue");
        self.space.handed(cost);
        self.on_its_way.push_back(OnItsWay { ticket: self.last_ticket, of_raft, entries });
        self.last_ticket
    }

    fn step(&mut self) -> Result<(), String> {
        if let Some(error) = &self.failed {
            return Err(error.to_string());
        }
        let worked = self.work();
        worked.map_err(|error| {
            let line = error.to_string();
            self.failed = Some(error);
            line
        })
    }

    fn work(&mut self) -> Result<(), WalError> {
        if let Some((first, last)) = self.wanted.take() {
            let found = match self.log.fetch(first, last, FRAME_BYTES_MAX) {
                Err(WalError::NoEntry { .. }) => Vec::new(),
                found => found?,
            };
            drop(self.raft.try_send(Input::Fetched(found)));
        }
        let progress = self.log.step(Duration::ZERO)?;
        progress.persisted_ticket.into_iter().for_each(|ticket| self.persisted(ticket));
        Ok(())
    }

    fn persisted(&mut self, ticket: u64) {
        self.durable_ticket = ticket;
        let (mut of_raft, mut groups) = (None, 0);
        while let Some(append) = self.on_its_way.pop_front_if(|append| append.ticket <= ticket) {
            self.durable.replace(append.entries);
            groups += usize::from(append.of_raft.is_some());
            of_raft = append.of_raft.or(of_raft);
        }
        self.record.note(|| Deed::Persisted(groups));
        if let Some(ticket) = of_raft {
            drop(self.raft.try_send(Input::Persisted(ticket)));
        }
    }
}

impl ApplyLog for SimLog {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        let mut inner = self.inner();
        let ticket = inner.hand(Append { cutover: Some(cutover), ..Append::default() }, None);
        // The node's apply thread waits here for the log thread; in one thread the log is driven on instead.
        for _ in 0..TURNS_MAX {
            if inner.durable_ticket >= ticket {
                return Ok(());
            }
            inner.step().map_err(|_| CutoverNotDurable)?;
        }
        Err(CutoverNotDurable)
    }

    fn trim(&self, flushed: Position) {
        let mut inner = self.inner();
        let Some(trim) = inner.retention.droppable(flushed, &inner.space) else { return };
        inner.hand(Append { trim: Some(trim), ..Append::default() }, None);
    }

    fn bytes_used(&self) -> u64 {
        self.inner().space.handed_bytes()
    }

    fn pool_bytes(&self) -> u64 {
        self.inner().space.pool_bytes()
    }
}

/// Far more than a cutover record needs.
const TURNS_MAX: usize = 10_000;
