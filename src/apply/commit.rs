//! The end of every run: it is published, then merged, and everybody learns how far the state is. Now and then the table
//! is frozen and handed to the flush.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::apply::flush::FlushJob;
use crate::apply::flush::Flusher;
use crate::apply::machine::Progressed;
use crate::apply::metrics::Metrics;
use crate::apply::pace::HeldFlush;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::ApplyLog;
use crate::apply::table_gauge::TableGauge;
use crate::apply::table_gauge::TableMemory;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRows;
use crate::fsm::kept::KeptShare;
use crate::fsm::row::Effects;
use crate::fsm::sized_rows::Bury;
use crate::fsm::state::Applied;
use crate::fsm::state::StateRecord;
use crate::fsm::table::RowTable;
use crate::fsm::view::View;
use crate::fsm::view::ViewWriter;
use crate::fsm::view::Views;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::rules::RuleError;
use crate::propose::Waiters;
use crate::raft::Committed;

/// What readers of the state share.
pub type StateViews = Views<dyn RowBase>;

/// The tables above the base, and the state record that belongs to them. Made at a start, moved on by apply alone.
pub struct State {
    writer: ViewWriter<dyn RowBase>,
    record: StateRecord,
    flusher: Arc<Flusher>,
    log: Arc<dyn ApplyLog>,
    bury: Bury,
    /// See [`crate::limits::TABLE_BYTES`].
    bytes_max: u64,
    /// What kept rows may take beside that.
    kept_bytes: u64,
    /// Everything up to here was frozen at one time or another.
    frozen: Index,
    /// What the log's gauge showed at the newest freeze.
    frozen_at_bytes: u64,
    /// By how much apply may go beyond that, see [`State::let_in`].
    beyond_bytes: u64,
    /// The log takes nothing for clients until there is space.
    is_held: bool,
}

impl State {
    /// The state as it is in `base`, whose record is `record`.
    #[must_use]
    pub fn new(
        base: Arc<dyn RowBase>,
        record: StateRecord,
        flusher: Arc<Flusher>,
        log: Arc<dyn ApplyLog>,
        bytes_max: u64,
    ) -> State {
        let Applied { position, last_stamp_ms, .. } = record.applied;
        // Weak, since a flush under way holds a table: it and its keys would outlive who applies. Without a flusher rows go at once.
        let drops = Arc::downgrade(&flusher);
        let bury: Bury = Arc::new(move |rubble| {
            if let Some(flusher) = drops.upgrade() {
                flusher.bury(rubble);
            }
        });
        flusher.weigh(&*base);
        let writer = ViewWriter::new(base, position, last_stamp_ms, &bury);
        State {
            writer,
            record,
            flusher,
            log,
            bury,
            bytes_max,
            kept_bytes: 0,
            beyond_bytes: 0,
            frozen: position.index,
            frozen_at_bytes: 0,
            is_held: false,
        }
    }

    /// The same, with a part of the memory in which flushed rows stay, and rows that were read, however full the tables are. Without
    /// one they stay in what the tables leave.
    #[must_use]
    pub fn keeping(mut self, kept_bytes: u64) -> State {
        self.newest().kept.allow(kept_bytes);
        self.kept_bytes = kept_bytes;
        self
    }

    /// What readers share.
    #[must_use]
    pub fn views(&self) -> &Arc<StateViews> {
        self.writer.views()
    }

    /// The newest view.
    #[must_use]
    pub fn newest(&self) -> &Arc<View<dyn RowBase>> {
        self.writer.newest()
    }

    /// Both rows of the state record of the newest view.
    #[must_use]
    pub fn record(&self) -> &StateRecord {
        &self.record
    }

    /// The applied row of the newest view.
    #[must_use]
    pub fn applied(&self) -> &Applied {
        &self.record.applied
    }

    /// For who asks what is in memory; it keeps nothing of it.
    #[must_use]
    pub fn gauge(&self) -> TableGauge {
        TableGauge::new(self.views(), &self.flusher)
    }

    /// Bytes of memory that the tables take, and what was in them and is not dropped yet. Kept rows make room for them, as far as they
    /// have no part of their own.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        TableMemory::of(self.writer.newest(), Some(&self.flusher)).needed(self.kept_bytes)
    }

    /// From now on, where nothing can be flushed, runs begin until memory is so much above its bound. What the log has taken before
    /// it was held is in memory anyway, and a FLUSHALL behind that gives memory back.
    pub fn let_in(&mut self, beyond_bytes: u64) {
        self.beyond_bytes = beyond_bytes;
    }

    /// Whether the log is held.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether a run may begin: a flush under way, and no space for more, means that it may not. Where memory is at its bound
    /// the log takes nothing more for clients but what removes all keys; others are told to try again.
    pub(super) fn has_space(&mut self) -> bool {
        let (bytes, is_busy) = (self.memory_bytes(), self.flusher.is_busy());
        let kept = &self.writer.newest().kept;
        // Others see to their own part. It may be exceeded by what they are at just now: apply does not drop a stretch for that.
        let most = self.bytes_max.saturating_sub(bytes).max(self.kept_bytes);
        if kept.memory_bytes() > most + self.kept_bytes / KEPT_SLACK_PART {
            kept.shed_to(most);
        }
        let is_held = is_busy && bytes >= self.bytes_max;
        if self.is_held != is_held {
            self.is_held = is_held;
            self.log.hold(is_held);
        }
        // Where a flush is only slow it is waited for: what is above the bound makes the next one slower.
        let beyond = if is_held && self.flusher.is_failing() { self.beyond_bytes } else { 0 };
        !is_busy || bytes < self.bytes_max.saturating_add(beyond)
    }

    /// The flush that waits until the base has merged its files.
    pub(super) fn held_flush(&self) -> Option<HeldFlush> {
        // Asked before each run: without one nothing is counted.
        self.flusher.is_waiting().then(|| HeldFlush {
            freezes: self.writer.newest().freezes,
            bytes: self.memory_bytes(),
            bytes_max: self.bytes_max,
        })
    }

    /// Whether the table is to be frozen now.
    pub(super) fn is_freeze_due(&self) -> bool {
        let table = &self.writer.newest().table;
        let cleared = table.cleared();
        if self.flusher.is_busy() {
            // What it cannot write is cleared meanwhile: a file without it takes hardly any space.
            return !cleared.is_empty() && self.flusher.is_stuck() && self.is_frozen_cleared();
        }
        if self.is_frozen() {
            self.flusher.answered();
            return false;
        }
        let since = self.log.bytes_used().saturating_sub(self.frozen_at_bytes);
        let is_large = table.memory_bytes() >= self.bytes_max / FREEZE_PART;
        // So that the space of what was cleared comes back at once.
        let gives_back = !cleared.is_empty() && self.flusher.base_bytes() >= CLEAR_FLUSHED_FROM;
        is_large || gives_back || since > self.log.pool_bytes() / POOL_PART || self.flusher.is_asked()
    }

    /// Whether the table leaves nothing of the frozen one.
    fn is_frozen_cleared(&self) -> bool {
        let View { table, frozen, .. } = &**self.writer.newest();
        frozen.databases().is_within(table.cleared())
    }

    /// Whether nothing was applied since the newest freeze.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen == self.record.applied.position.index
    }

    /// Hands everything that is published to the flush, which must not be under way unless it is stuck and nothing is left of it.
    /// Readers go on seeing it.
    pub(super) fn freeze(&mut self) {
        if self.flusher.is_busy() && !self.flusher.withdraw() {
            return;
        }
        let position = self.record.applied.position;
        let table = self.writer.freeze(RowTable::new(Arc::clone(&self.bury)));
        let View { base, kept, .. } = &**self.writer.newest();
        let (base, kept) = (Arc::clone(base), Arc::clone(kept));
        let bytes = table.memory_bytes();
        // The rest is for the next table.
        let left = (self.bytes_max - self.bytes_max / FREEZE_PART).saturating_sub(bytes);
        let own_bytes = kept.allowed_bytes();
        let stays = bytes <= own_bytes.max(self.bytes_max / KEEP_PART);
        let bytes_max = stays.then(|| left.max(own_bytes));
        (self.frozen, self.frozen_at_bytes) = (position.index, self.log.bytes_used());
        let record: StateRows = self.record.encode();
        self.flusher.begin(FlushJob { table, record, position, base, kept: KeptShare { rows: kept, bytes_max } });
    }
}

debug_fields!(self: State { newest: self.newest() });

/// Publishes runs: to readers, to waiters, to the rooms around.
pub(super) struct Committer {
    state: State,
    waiters: Arc<Waiters>,
    port: Box<dyn AppliedPort>,
    metrics: Arc<Metrics>,
}

impl Committer {
    /// Goes on from `state`.
    pub(super) fn new(
        state: State,
        waiters: Arc<Waiters>,
        port: Box<dyn AppliedPort>,
        metrics: Arc<Metrics>,
    ) -> Committer {
        // A start begins with what is flushed; the replay goes on from there.
        for index in [&metrics.applied_index, &metrics.flushed_index] {
            index.store(state.applied().position.index.0, Relaxed);
        }
        Committer { state, waiters, port, metrics }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The state record as everybody can see it.
    pub(super) fn applied(&self) -> &Applied {
        self.state.applied()
    }

    /// Makes a run visible: effects, index, stamp and keyring in one step (ATOMIC-APPLY). From here on its waiters may be
    /// answered; [`Committer::finish`] follows.
    pub(super) fn publish(&mut self, effects: Effects, record: StateRecord) {
        assert!(record.applied.position.index > self.applied().position.index, "every run moves applied on");
        let Applied { position, last_stamp_ms, .. } = record.applied;
        self.state.record = record;
        self.state.writer.publish(effects, position, last_stamp_ms);
    }

    /// The same for a run of commands up to the entry at `position`, which moves nothing else of the record: none of it is copied.
    pub(super) fn publish_commands(&mut self, effects: Effects, position: Position, progressed: Progressed) {
        assert!(position.index > self.applied().position.index, "every run moves applied on");
        let applied = &mut self.state.record.applied;
        applied.position = position;
        (applied.last_stamp_ms, applied.client_command_applied) = (progressed.stamp_ms, progressed.has_run_commands);
        self.state.writer.publish(effects, position, progressed.stamp_ms);
    }

    /// The record with another applied row, everything else as it is.
    pub(super) fn record_of(&self, applied: Applied) -> StateRecord {
        let StateRecord { keyring_row, mac, .. } = &self.state.record;
        StateRecord { applied, keyring_row: keyring_row.clone(), mac: mac.clone() }
    }

    /// Counts the entries of a run that was published.
    pub(super) fn count(&self, entries: &[Committed]) {
        Metrics::add(&self.metrics.runs, 1);
        Metrics::add(&self.metrics.entries, entries.len() as u64);
        let bytes = entries.iter().map(|committed| committed.entry.data.len() as u64).sum();
        Metrics::add(&self.metrics.applied_bytes, bytes);
        self.metrics.applied_index.store(self.applied().position.index.0, Relaxed);
    }

    /// Tells the outcome of a control entry; [`Committer::finish`] follows.
    pub(super) fn control(&mut self, position: Position, outcome: Result<(), RuleError>) {
        self.port.control(position, outcome);
    }

    /// Tells everybody how far the state is, then takes the run into the table. Waiters at places up to there that have
    /// not been taken belong to other terms.
    pub(super) fn finish(&mut self) {
        self.waiters.passed(self.applied().position.index);
        self.port.applied(self.state.applied());
        self.state.newest().base.hears(self.metrics.applied_bytes.load(Relaxed));
        self.state.writer.merge();
    }
}

/// The part of the bound at which a table is frozen: the next one may take twice as much while it is flushed. At 2 the next one was
/// full before the flush was done: 272 ms at p99.9 of 20 million new keys, 105 ms at 3 (measured).
const FREEZE_PART: u64 = 3;
/// The part of the tables' bound up to which one stays in memory once it is flushed, where kept rows have no part of their own: of two
/// larger ones one has gone before the next is full.
const KEEP_PART: u64 = 4;
/// Part of the kept rows' own bytes that they may be above it before apply itself makes them fewer.
const KEPT_SLACK_PART: u64 = 16;
/// Bytes of the base from which on a cleared database is flushed at once; a smaller one is no space worth a file.
const CLEAR_FLUSHED_FROM: u64 = 64 << 20;
/// The part of the log's pool that may lie above the flushed state: a slot is free again long before the pool is full.
const POOL_PART: u64 = 4;
