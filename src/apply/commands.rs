//! A run of commands: opened, run in order, published in one step, answered, merged.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::ahead::PreparedRun;
use crate::apply::commit::Committer;
use crate::apply::halt::Halt;
use crate::apply::hook::Hook;
use crate::apply::machine::Machine;
use crate::apply::machine::Progressed;
use crate::apply::machine::RunContext;
use crate::apply::machine::RunResult;
use crate::apply::metrics::Metrics;
use crate::fsm::reader::RowReader;
use crate::keys::lack::KeyLack;
use crate::keys::node_keys::ActiveValue;
use crate::keys::node_keys::KeysAt;
use crate::propose::Outcome;
use crate::propose::Waiter;
use crate::propose::Waiters;
use crate::raft::Committed;
use crate::world::Clock;

/// Applies runs of commands.
pub(super) struct CommandRuns {
    reader: RowReader,
    waiters: Arc<Waiters>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    overlay_bytes_max: u64,
}

/// How a run of commands ended.
pub(super) struct CommandsEnd {
    /// Entries that are applied, from the first on.
    pub(super) count: usize,
    /// Waiters of entries that are committed and not applied: owed an answer that this process will not give.
    pub(super) owed: Vec<Waiter>,
    pub(super) halt: Option<Halt>,
}

impl CommandRuns {
    pub(super) fn new(
        reader: RowReader,
        waiters: Arc<Waiters>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        overlay_bytes_max: u64,
    ) -> CommandRuns {
        CommandRuns { reader, waiters, metrics, clock, overlay_bytes_max }
    }

    /// Runs `entries`, publishes what those that went through did, and answers them. What was `prepared` is not done again.
    pub(super) fn apply(
        &self,
        entries: &[Committed],
        keys: &KeysAt,
        prepared: Option<&mut PreparedRun>,
        hook: &mut Hook,
        committer: &mut Committer,
    ) -> CommandsEnd {
        let values = keys.active_value();
        let mut result = self.run(entries, (keys, &values), prepared, hook, committer);
        let halt = result.halt.take().map(|halt| halt.explained(keys));
        let owed = std::mem::take(&mut result.unanswered);
        let count = result.count;
        if count > 0 {
            self.publish(&entries[..count], result, committer);
        }
        CommandsEnd { count, owed, halt }
    }

    fn run(
        &self,
        entries: &[Committed],
        (keys, values): (&KeysAt, &Result<ActiveValue, KeyLack>),
        mut prepared: Option<&mut PreparedRun>,
        hook: &mut Hook,
        committer: &Committer,
    ) -> RunResult {
        let began = self.clock.monotonic();
        let before = committer.applied();
        let from = Progressed { stamp_ms: before.last_stamp_ms, has_run_commands: before.client_command_applied };
        let context = RunContext {
            base: &self.reader,
            values,
            names: keys.name_key(),
            // They are registered before apply can see their entries: where nobody waits now, nobody waits for this run.
            waiters: (!self.waiters.is_empty()).then_some(&*self.waiters),
            clock: &*self.clock,
            from,
            overlay_bytes_max: self.overlay_bytes_max,
        };
        let names = prepared.as_mut().map(|prepared| std::mem::take(&mut prepared.names));
        let mut machine = Machine::new(context, names.unwrap_or_default(), entries.len());
        let entry_keys = keys.entry_keys();
        let first = entries[0].entry.index;
        let entries = entries.iter().map(|committed| &committed.entry);
        let outcome = match &prepared {
            Some(prepared) => hook.deliver_opened(entries.clone(), &prepared.opened, &mut machine),
            None => hook.open_and_deliver(entries.clone(), entry_keys.as_ref(), &mut machine),
        };
        let result = machine.finish(first, outcome, |again, count| {
            hook.open_and_deliver(entries.clone().take(count), entry_keys.as_ref(), again)
        });
        let ran_at = self.clock.monotonic();
        Metrics::add(&self.metrics.opened_entries, result.opened.entries);
        Metrics::add(&self.metrics.opened_bytes, result.opened.bytes);
        let prepared_in = prepared.map_or(Duration::ZERO, |prepared| prepared.took);
        Metrics::add(&self.metrics.open_nanos, nanos(result.open_took + prepared_in));
        Metrics::add(&self.metrics.run_nanos, nanos(ran_at.saturating_sub(began + result.open_took)));
        Metrics::add(&self.metrics.failed_reads, result.failed_reads);
        result
    }

    fn publish(&self, entries: &[Committed], result: RunResult, committer: &mut Committer) {
        let began = self.clock.monotonic();
        let RunResult { overlay, answers, progressed, .. } = result;
        let position = entries[entries.len() - 1].entry.position();
        committer.publish_commands(overlay.into_effects(), position, progressed);
        committer.count(entries);
        Waiter::answer_all(answers.into_iter().map(|answer| (answer.waiter, Outcome::Replies(answer.replies))));
        committer.finish();
        Metrics::add(&self.metrics.commit_nanos, nanos(self.clock.monotonic().saturating_sub(began)));
    }
}

fn nanos(taken: Duration) -> u64 {
    u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX)
}
