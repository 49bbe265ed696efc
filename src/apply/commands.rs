//! A run of commands: opened, run in order, sealed, written in one step, answered.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::apply_loop::Record;
use crate::apply::apply_loop::mac_of;
use crate::apply::apply_loop::why_unknown;
use crate::apply::halt::Halt;
use crate::apply::halt::MachineError;
use crate::apply::machine::Answer;
use crate::apply::machine::Machine;
use crate::apply::machine::Progressed;
use crate::apply::machine::RunContext;
use crate::apply::machine::RunResult;
use crate::apply::metrics::Metrics;
use crate::apply::run::Run;
use crate::apply::seal;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::ActiveValue;
use crate::keys::node_keys::KeyLack;
use crate::keys::node_keys::KeysAt;
use crate::propose::Outcome;

impl ApplyLoop {
    /// Applies one run of command entries.
    pub(super) fn commands(&mut self, run: Run, keys: &KeysAt) -> Result<(), Halt> {
        let began = self.parts.clock.monotonic();
        let first = &run.entries[0].entry;
        let mac = mac_of(keys, first)?;
        let values = keys.active_value();
        let mut machine = Machine::new(RunContext {
            base: &self.parts.reader,
            values: &values,
            waiters: Some(&*self.parts.waiters),
            clock: &*self.parts.clock,
            from: Progressed {
                stamp_ms: self.applied.last_stamp_ms,
                has_run_commands: self.applied.client_command_applied,
            },
            overlay_bytes_max: self.parts.bounds.overlay_bytes_max,
        });
        let hook = &mut self.hook;
        let entry_keys = keys.entry_keys();
        let entries = || run.entries.iter().map(|committed| &committed.entry);
        let outcome = hook.open_and_deliver(entries(), entry_keys.as_ref(), &mut machine);
        let mut result = machine.finish(first.index, outcome, |again, count| {
            hook.open_and_deliver(entries().take(count), entry_keys.as_ref(), again)
        });
        let ran_at = self.parts.clock.monotonic();
        let halt = result.halt.take();
        let Metrics { opened_entries, opened_bytes, open_nanos, run_nanos, .. } = &*self.parts.metrics;
        Metrics::add(opened_entries, result.opened.entries);
        Metrics::add(opened_bytes, result.opened.bytes);
        Metrics::add(open_nanos, nanos(result.opened_at, began));
        Metrics::add(run_nanos, nanos(ran_at, result.opened_at));
        self.finish_commands(run, result, &values, mac)?;
        halt.map_or(Ok(()), |halt| Err(why_unknown(halt, keys)))
    }

    /// Writes what the entries that went through did, answers them, and puts the others back.
    fn finish_commands(
        &mut self,
        mut run: Run,
        result: RunResult,
        values: &Result<ActiveValue, KeyLack>,
        mac: Option<Arc<MacKey>>,
    ) -> Result<(), Halt> {
        self.owed.extend(result.unanswered);
        Metrics::add(&self.parts.metrics.failed_reads, result.failed_reads);
        let count = result.count;
        let Some(last) = count.checked_sub(1).map(|last| run.entries[last].entry.position()) else {
            return Ok(());
        };
        let began = self.parts.clock.monotonic();
        let mut applied = self.applied.clone();
        applied.position = last;
        applied.last_stamp_ms = result.progressed.stamp_ms;
        applied.client_command_applied = result.progressed.has_run_commands;
        let first = run.entries[0].entry.position();
        let sealed = seal::rows(result.overlay.into_changes(), values.as_ref().ok());
        let (commit, sealed_values) = match sealed {
            Ok(sealed) => sealed,
            Err(error) => return Err(self.lost(result.answers, Halt::at(first, MachineError::Seal(error)))),
        };
        if let Err(halt) = self.write(commit, Record { applied, keyring_row: None, mac }, first) {
            return Err(self.lost(result.answers, halt));
        }
        let metrics = &self.parts.metrics;
        Metrics::add(&metrics.sealed_values, sealed_values);
        Metrics::add(&metrics.commit_nanos, nanos(self.parts.clock.monotonic(), began));
        self.count_applied(&run.entries[..count]);
        for answer in result.answers {
            answer.waiter.answer(Outcome::Replies(answer.replies));
        }
        self.publish();
        for committed in run.entries.drain(count..).rev() {
            self.queue.push_front(committed);
        }
        Ok(())
    }

    /// Answers of a run that was not written are owed: its entries will be applied by the next process.
    fn lost(&mut self, answers: Vec<Answer>, halt: Halt) -> Halt {
        self.owed.extend(answers.into_iter().map(|answer| answer.waiter));
        halt
    }
}

fn nanos(end: Duration, start: Duration) -> u64 {
    u64::try_from(end.saturating_sub(start).as_nanos()).unwrap_or(u64::MAX)
}
