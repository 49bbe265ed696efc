//! From the state as it is found at a start to the commit of the log, before raft exists: the same code, no
//! waiters.

use std::sync::Arc;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::apply_loop::ApplyProgress;
use crate::apply::flush::FlushTry;
use crate::apply::halt::Halt;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::limits::FLUSH_RETRY;
use crate::limits::RUN_BYTES_MAX;
use crate::limits::RUN_ENTRIES_MAX;
use crate::members::Members;
use crate::raft::Committed;
use crate::raft::members_after;

/// Applies `entries`, which are those from applied + 1 to commit, and flushes. `on_progress` hears of every run.
///
/// Where the tables are full and the state takes no flush, `on_full` gets the newest try and waits as it sees fit; the replay
/// tries again if it says so.
///
/// # Errors
/// The [`Halt`], as in [`ApplyLoop::step`]; everything before it is applied and flushed. [`MachineError::Full`] once `on_full`
/// gives up.
///
/// # Panics
/// If the entries do not follow on the applied one.
pub fn replay(
    apply: &mut ApplyLoop,
    entries: impl IntoIterator<Item = LogEntry>,
    on_progress: impl FnMut(Index),
    on_full: impl FnMut(&FlushTry) -> bool,
) -> Result<(), Arc<Halt>> {
    replay_in_memory(apply, entries, on_progress, on_full)?;
    apply.flush()
}

/// The same without the flush at the end.
///
/// # Errors
/// As [`replay`]; what was applied before is applied, and not flushed.
///
/// # Panics
/// As [`replay`].
pub fn replay_in_memory(
    apply: &mut ApplyLoop,
    entries: impl IntoIterator<Item = LogEntry>,
    mut on_progress: impl FnMut(Index),
    mut on_full: impl FnMut(&FlushTry) -> bool,
) -> Result<(), Arc<Halt>> {
    let flusher = apply.flusher();
    let mut batches = Batches { entries: entries.into_iter(), members: apply.applied().members.clone(), halt: None };
    let mut newest = 0;
    loop {
        // Two are offered, so that one is opened while the other is executed.
        while apply.queued() <= newest
            && let Some(batch) = batches.next()
        {
            newest = batch.len();
            apply.offer(batch);
        }
        match apply.step()? {
            ApplyProgress::Applied(position) => on_progress(position.index),
            ApplyProgress::Idle => break,
            // A thread flushes beside the replay, and is at it.
            ApplyProgress::Full if !flusher.is_failing() => {
                flusher.wait_until_idle(FLUSH_RETRY);
            }
            // Raft begins at the commit of the log, so the replay must get there.
            ApplyProgress::Full => {
                let tried = flusher.newest_try();
                if !on_full(&tried) {
                    let full = MachineError::Full { why: tried.trouble() };
                    return Err(apply.halt_at(Halt::at(apply.applied().position, full)));
                }
            }
        }
    }
    batches.halt.map_or(Ok(()), |halt| Err(apply.halt_at(halt)))
}

/// The entries of a replay in batches as long as a run may be, as raft would hand them out.
struct Batches<I> {
    entries: I,
    /// After the newest entry.
    members: Members,
    /// A change of the members that nobody can follow: nothing comes behind it.
    halt: Option<Halt>,
}

impl<I: Iterator<Item = LogEntry>> Iterator for Batches<I> {
    type Item = Vec<Committed>;

    fn next(&mut self) -> Option<Vec<Committed>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while self.halt.is_none()
            && batch.len() < RUN_ENTRIES_MAX
            && bytes < RUN_BYTES_MAX
            && let Some(entry) = self.entries.next()
        {
            bytes += entry.data.len();
            match with_members(&mut self.members, entry) {
                Ok(committed) => batch.push(committed),
                Err(halt) => self.halt = Some(halt),
            }
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// Flushes what was replayed, here or on the thread that flushes. Where the base takes no flush and `must_flush` says that one is
/// needed, `on_held` gets the newest try and waits as it sees fit, as in [`replay`]. Where none is needed the rest stays in the
/// log.
///
/// # Errors
/// The [`Halt`] of a flush whose end nobody knows. [`MachineError::Full`] once `on_held` gives up.
pub fn flush_replayed(
    apply: &mut ApplyLoop,
    must_flush: impl Fn() -> bool,
    mut on_held: impl FnMut(&FlushTry) -> bool,
) -> Result<(), Arc<Halt>> {
    let flusher = apply.flusher();
    loop {
        let tried = match apply.has_flush_thread() {
            true => flusher.wait_for_a_try(),
            false => flusher.try_once().map_err(|error| apply.halt_at(Halt::at(apply.applied().position, error)))?,
        };
        if !flusher.is_failing() {
            // What was not even frozen while another flush was in the way.
            if !apply.freeze_rest() {
                return Ok(());
            }
        } else if !must_flush() {
            return Ok(());
        } else if !on_held(&tried) {
            let full = MachineError::Full { why: tried.trouble() };
            return Err(apply.halt_at(Halt::at(apply.applied().position, full)));
        }
    }
}

/// A membership change with the members that follow from it, as raft would hand it out.
fn with_members(members: &mut Members, entry: LogEntry) -> Result<Committed, Halt> {
    if entry.kind == EntryKind::Normal {
        return Ok(Committed { entry, members: None });
    }
    let malformed = |_| Halt::at(entry.position(), Malformation::Membership);
    *members = members_after(members, &entry).map_err(malformed)?;
    Ok(Committed { entry, members: Some(Box::new(members.clone())) })
}
