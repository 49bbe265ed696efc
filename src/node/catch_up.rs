//! From the state as it is found at a start to the commit of the log, before raft exists: replay, flush, trim.

use std::cell::RefCell;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::flush::FlushTry;
use crate::apply::flush_thread::FlushThread;
use crate::apply::halt::Halt;
use crate::apply::ports::ApplyLog;
use crate::apply::replay::flush_replayed;
use crate::apply::replay::replay_in_memory;
use crate::ids::Index;
use crate::ids::Position;
use crate::node::agree;
use crate::node::end::NodeFailure;
use crate::node::open::log_facts;
use crate::node::progress::ProgressLine;
use crate::node::progress::ReplayPatience;
use crate::node::progress::StartProgress;
use crate::node::refusal::Refusal;
use crate::node::replayed_entries::ReplayedEntries;
use crate::node::retention::trims_at_start;
use crate::raft::Input;
use crate::wal::Recovered;
use crate::wal::WalError;
use crate::wal::thread::LogThread;

/// What a start catches up from.
pub(super) struct CatchUp<'a> {
    pub(super) recovered: &'a Recovered,
    pub(super) log: &'a LogThread,
    /// Raft's queue. Raft begins with the state behind the replay, so what the replay says to it is dropped before it fills up.
    pub(super) inputs: &'a Receiver<Input>,
    pub(super) progress: &'a StartProgress,
    /// Flushes beside the replay.
    pub(super) flush: &'a FlushThread,
}

debug_fields!(self: CatchUp<'_> { compacted: self.recovered.compacted });

impl CatchUp<'_> {
    /// Applies what is committed and not applied yet.
    pub(super) fn replay(&self, apply: &mut ApplyLoop) -> Result<(), Refusal> {
        let applied = apply.applied().position.index;
        let commit = agree::commit(applied, &log_facts(self.recovered));
        let unread = RefCell::new(None);
        let entries = ReplayedEntries::new(self.log, &self.recovered.entries, (applied.next(), commit), &unread);
        let mut line = ProgressLine::begin(self.progress, "replaying the log", "entries");
        let all = commit.0 - applied.0;
        let patience = RefCell::new(ReplayPatience::new("memory is used up"));
        let progressed = |index: Index| {
            patience.borrow_mut().end();
            line.at(index.0 - applied.0, all);
            self.drain();
        };
        let waits = |tried: &FlushTry| self.flush.failure().is_none() && patience.borrow_mut().wait(tried);
        let replayed = replay_in_memory(apply, entries, progressed, waits);
        line.end();
        self.drain();
        self.check(replayed)?;
        readable(unread)?;
        assert_eq!(apply.applied().position.index, commit, "the replay ends at the commit of the log");
        tracing::info!(behind = %applied, to = %commit, "log replayed");
        Ok(())
    }

    /// Flushes what was replayed. Each start takes a slot of the log and only a flush gives slots back. So the start that would
    /// take the last one waits until the state takes the flush, or ends: otherwise starts that are cut short use the log up,
    /// and no later one can write even the trim.
    pub(super) fn flush(&self, apply: &mut ApplyLoop) -> Result<(), Refusal> {
        let space = self.log.space();
        let line = ProgressLine::begin_uncounted(self.progress, "flushing the state after the replay");
        let mut patience = ReplayPatience::new("the log has one slot left");
        let waits = |tried: &FlushTry| self.flush.failure().is_none() && patience.wait(tried);
        let flushed = flush_replayed(apply, || space.slots_left() <= 1, waits);
        patience.end();
        line.end();
        self.drain();
        self.check(flushed)
    }

    /// What ended the thread that flushes is the reason of what followed from it.
    fn check(&self, done: Result<(), Arc<Halt>>) -> Result<(), Refusal> {
        let halt = self.flush.failure().or(done.err());
        halt.map_or(Ok(()), |halt| Err(NodeFailure::Halt(halt).into()))
    }

    /// Trims the log where [`trims_at_start`] asks for it. Said before raft writes its first frame, so that this start takes no
    /// second slot for it.
    pub(super) fn trim_again(&self, log: &dyn ApplyLog, flushed: Position) {
        if trims_at_start(self.recovered.compacted.index, flushed.index, self.log.space()) {
            log.trim(flushed);
        }
    }

    fn drain(&self) {
        self.inputs.try_iter().for_each(drop);
    }
}

/// What could not be read back ends the start.
fn readable(unread: RefCell<Option<WalError>>) -> Result<(), Refusal> {
    unread.into_inner().map_or(Ok(()), |error| Err(NodeFailure::Log(error).into()))
}
