//! A run of commands: opened, run in order, sealed, written in one step, answered.

use std::sync::Arc;

use crate::apply::halt::Halt;
use crate::apply::hook::deliver;
use crate::apply::hook::open_sealed;
use crate::apply::machine::Answer;
use crate::apply::machine::Machine;
use crate::apply::machine::Progressed;
use crate::apply::machine::Settled;
use crate::apply::machine::settle;
use crate::apply::metrics::Metrics;
use crate::apply::run::Run;
use crate::apply::seal;
use crate::apply::step::Loop;
use crate::apply::step::Record;
use crate::apply::step::cutover_of;
use crate::apply::step::explain;
use crate::apply::step::mac_of;
use crate::apply::step::machine_halt;
use crate::apply::step::nanos;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::ActiveValue;
use crate::keys::node_keys::KeyLack;
use crate::keys::node_keys::KeysAt;
use crate::propose::Outcome;

impl Loop {
    /// Applies one run of command entries.
    pub(super) fn commands(&mut self, run: Run, view: &KeysAt) -> Result<(), Halt> {
        let began = self.parts.clock.monotonic();
        let first = &run.entries[0].entry;
        let mac = mac_of(view, first)?;
        let cutover = cutover_of(view);
        let keys = (!self.parts.node_keys.keks().is_empty()).then(|| view.entry_keys());
        let entries = || run.entries.iter().map(|committed| &committed.entry);
        let opened = open_sealed(entries(), cutover, keys.as_ref(), &mut self.parts.openings);
        let opened_at = self.parts.clock.monotonic();
        let values = view.active_value();
        let from =
            Progressed { stamp_ms: self.applied.last_stamp_ms, has_run_commands: self.applied.client_command_applied };
        let waiters = Some(&*self.parts.waiters);
        let mut machine = Machine::new(&self.parts.reader, &values, waiters, from, self.parts.bounds.overlay_bytes_max);
        let openings = &self.parts.openings;
        let outcome = deliver(entries(), cutover, keys.is_some(), openings, &mut machine);
        let rerun = |again: &mut Machine<'_>, at| deliver(entries().take(at), cutover, keys.is_some(), openings, again);
        let mut settled = settle(outcome, machine, from, rerun);
        let halt = settled.halt.take().map(|halt| explain(halt, view));
        let ran_at = self.parts.clock.monotonic();
        let Metrics { opened_entries, opened_bytes, open_nanos, run_nanos, .. } = &*self.parts.metrics;
        Metrics::add(opened_entries, opened.entries);
        Metrics::add(opened_bytes, opened.bytes);
        Metrics::add(open_nanos, nanos(opened_at, began));
        Metrics::add(run_nanos, nanos(ran_at, opened_at));
        self.finish_commands(run, settled, &values, mac)?;
        halt.map_or(Ok(()), Err)
    }

    /// Writes what the entries that went through did, answers them, and puts the others back.
    fn finish_commands(
        &mut self,
        run: Run,
        settled: Settled,
        values: &Result<ActiveValue, KeyLack>,
        mac: Option<Arc<MacKey>>,
    ) -> Result<(), Halt> {
        self.owed.extend(settled.unanswered);
        Metrics::add(&self.parts.metrics.failed_reads, settled.failed_reads);
        let count = settled.count;
        let Some(last) = count.checked_sub(1).map(|last| run.entries[last].entry.position()) else {
            return Ok(());
        };
        let began = self.parts.clock.monotonic();
        let mut applied = self.applied.clone();
        applied.position = last;
        applied.last_stamp_ms = settled.progressed.stamp_ms;
        applied.client_command_applied = settled.progressed.has_run_commands;
        let first = run.entries[0].entry.position();
        let sealed = seal::rows(settled.overlay.into_changes(), values.as_ref().ok());
        let (step, sealed_values) = match sealed {
            Ok(sealed) => sealed,
            Err(error) => return Err(self.lost(settled.answers, machine_halt(first, error.into()))),
        };
        if let Err(halt) = self.write(step, Record { applied, keyring_row: None, mac }, first) {
            return Err(self.lost(settled.answers, halt));
        }
        let metrics = &self.parts.metrics;
        Metrics::add(&metrics.sealed_values, sealed_values);
        Metrics::add(&metrics.commit_nanos, nanos(self.parts.clock.monotonic(), began));
        let rest = run.entries.len() - count;
        self.count_applied(&run.entries[..count]);
        for answer in settled.answers {
            answer.waiter.answer(Outcome::Replies(answer.replies));
        }
        self.publish();
        if rest > 0 {
            let mut entries = run.entries;
            for committed in entries.drain(count..).rev() {
                self.queue.push_front(committed);
            }
        }
        Ok(())
    }

    /// Answers of a run that was not written are owed: its entries will be applied by the next process.
    fn lost(&mut self, answers: Vec<Answer>, halt: Halt) -> Halt {
        self.owed.extend(answers.into_iter().map(|answer| answer.waiter));
        halt
    }
}
