//! One log under work: appends of every kind through the real loop on the simulated disk, each step beside a model.

use std::sync::Arc;
use std::time::Duration;

use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::ids::Term;
use sealkv::testing::disk::Platters;
use sealkv::testing::log::LogRig;
use sealkv::testing::log::entries;
use sealkv::testing::log::write;
use sealkv::testing::seed::Seeded;
use sealkv::wal::Append;
use sealkv::wal::HardState;
use sealkv::wal::LogLoop;
use sealkv::wal::LogSpace;
use sealkv::wal::WalError;

use crate::log_model::Contents;
use crate::log_model::LogModel;

/// Opens the log of a disk, holds it against the model, appends, and recovers it once more.
pub fn recovers(rig: &LogRig, model: &LogModel, platters: Platters) -> Result<(), String> {
    let rig = rig.on(platters, 7);
    let (mut log, recovered) = rig.open().map_err(|error| format!("does not open: {error}"))?;
    model.accepts(&recovered)?;
    let mut expected = Contents::of(&recovered);
    let term = expected.term().0 + 1;
    let mut append = Append { ticket: 1, entries: entries(term, expected.last() + 1, 1, 100), ..Append::default() };
    append.hard_state = Some(HardState { term: Term(term), vote: 2, commit: recovered.hard_state.commit });
    if log.space().free_slots() < 3 {
        append.trim = recovered.entries.last().map(|newest| Position { term: newest.term, index: newest.index });
    }
    match write(&mut log, append.clone()) {
        Ok(Some(1)) => expected.take(&append, 1),
        other => return Err(format!("does not go on: {other:?}")),
    }
    drop(log);
    // The power goes at once: what was acknowledged needs no cache.
    rig.platters.cut_power(&Seeded::new(0));
    let (_, again) = rig.open().map_err(|error| format!("does not open again: {error}"))?;
    if Contents::of(&again) == expected {
        Ok(())
    } else {
        Err("holds something else when it is opened again".to_owned())
    }
}

/// Called after every step, with the model as it was before: between them lie the places where the power may go.
pub type Watcher<'a> = dyn FnMut(&LogRig, &LogModel) + 'a;

/// A process that writes a log, until it is replaced by the next one on the same disk.
pub struct Life<'a> {
    pub rig: LogRig,
    pub chance: Seeded,
    model: LogModel,
    /// What the process found when it began, until that is synced.
    found: Option<LogModel>,
    log: LogLoop,
    term: u64,
    ticket: u64,
    watcher: &'a mut Watcher<'a>,
    is_stalled: bool,
    /// Of all steps.
    pub slowest_sync: Duration,
}

impl<'a> Life<'a> {
    /// Makes a log, and opens it with the disk being watched.
    pub fn new(rig: LogRig, chance: Seeded, watcher: &'a mut Watcher<'a>) -> Life<'a> {
        rig.create().expect("a healthy disk");
        rig.platters.watch_crash_points();
        let mut life = Life::on(rig, LogModel::new(), chance, watcher).expect("a log that was just made opens");
        life.sync_recovered().expect("a healthy disk");
        life
    }

    /// Opens a log of which `model` is known. [`Life::sync_recovered`] comes next.
    pub fn on(rig: LogRig, model: LogModel, chance: Seeded, watcher: &'a mut Watcher<'a>) -> Result<Life<'a>, String> {
        let (log, recovered) = rig.open().map_err(|error| format!("does not open: {error}"))?;
        model.accepts(&recovered)?;
        let found = LogModel::found(&recovered);
        let term = found.acknowledged().term().0 + 1;
        Ok(Life {
            rig,
            chance,
            model,
            found: Some(found),
            log,
            term,
            ticket: 0,
            watcher,
            is_stalled: false,
            slowest_sync: Duration::ZERO,
        })
    }

    /// From here on everything that was found may be relied upon, and nothing else that was offered before will come.
    pub fn sync_recovered(&mut self) -> Result<(), WalError> {
        let synced = self.log.sync_recovered();
        (self.watcher)(&self.rig, &self.model);
        synced?;
        self.model = self.found.take().expect("a process syncs once");
        Ok(())
    }

    pub fn model(&self) -> &LogModel {
        &self.model
    }

    pub fn space(&self) -> Arc<LogSpace> {
        self.log.space()
    }

    /// Whether entries waited for a slot at the last step.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// The process ends, whatever is in flight, and the next one begins.
    pub fn reopen(&mut self) {
        let (log, recovered) = self.rig.open().expect("the page cache survives a process");
        self.model.accepts(&recovered).expect("what the page cache holds");
        self.found = Some(LogModel::found(&recovered));
        (self.log, self.term, self.ticket) = (log, self.term + 1, 0);
        self.sync_recovered().expect("a healthy disk");
    }

    /// Hands over an append and does nothing about it.
    pub fn offer(&mut self, append: Append) {
        self.ticket += 1;
        let append = Append { ticket: self.ticket, ..append };
        self.model.offer(&append);
        self.log.offer(append).expect("the queue has space");
    }

    /// One step of the loop; whether something is in flight or waits.
    pub fn step(&mut self) -> Result<bool, WalError> {
        let stepped = self.log.step(Duration::from_secs(1));
        (self.watcher)(&self.rig, &self.model);
        let progress = stepped?;
        self.is_stalled = progress.stalled;
        self.slowest_sync = self.slowest_sync.max(progress.slowest_sync.unwrap_or_default());
        if let Some(ticket) = progress.persisted_ticket {
            self.model.acknowledge(ticket);
        }
        Ok(progress.busy)
    }

    pub fn settle(&mut self) -> Result<(), WalError> {
        while self.step()? {}
        Ok(())
    }

    pub fn idle(&mut self) -> Result<(), WalError> {
        self.rig.clock.advance(self.rig.config.idle);
        self.settle()
    }

    /// New entries behind the newest one.
    pub fn appended(&self, count: u64, len: usize) -> Append {
        self.rewritten(0, count, len)
    }

    /// Entries that replace the newest `back` and go on.
    pub fn rewritten(&self, back: u64, count: u64, len: usize) -> Append {
        let newest = self.model.newest();
        let back = back.min(newest.last() - self.low(&newest));
        Append { entries: entries(self.term, newest.last() + 1 - back, count, len), ..Append::default() }
    }

    /// A trim that keeps so many of the acknowledged entries.
    pub fn trimmed(&self, keep: usize) -> Option<Append> {
        let held = &self.model.acknowledged().entries;
        let at = &held[held.len().checked_sub(keep + 1)?];
        let trim = Some(Position { term: at.term, index: at.index });
        // What is replaced by something that was offered must not be trimmed: raft trims what is applied.
        let is_kept = self.model.newest().entries.contains(at);
        is_kept.then(|| Append { trim, ..Append::default() })
    }

    /// A vote in a newer term.
    pub fn voted(&mut self) -> Append {
        self.term += 1;
        let hard_state = HardState { term: Term(self.term), vote: 1 + self.chance.below(3), commit: self.commit() };
        Append { hard_state: Some(hard_state), ..Append::default() }
    }

    /// A newer commit and nothing else.
    pub fn committed(&self) -> Append {
        let hard_state = HardState { commit: self.commit(), ..self.model.newest().hard_state };
        Append { hard_state: Some(hard_state), ..Append::default() }
    }

    /// A snapshot that takes the place of the whole log.
    pub fn reset(&self, ahead: u64) -> Append {
        let newest = self.model.newest();
        let reset = Some(Position { term: Term(self.term), index: Index(newest.last() + ahead) });
        Append { reset, hard_state: Some(newest.hard_state), ..Append::default() }
    }

    /// Trims as a node does when few slots are free.
    pub fn make_space(&mut self) {
        if self.log.space().free_slots() < 3
            && let Some(trim) = self.trimmed(0)
        {
            self.offer(trim);
        }
    }

    fn commit(&self) -> Index {
        Index(self.model.acknowledged().last())
    }

    /// Raft replaces nothing that is compacted, nor will be once all that was offered is taken.
    fn low(&self, newest: &Contents) -> u64 {
        newest.compacted.index.0
    }
}
