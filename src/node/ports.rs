//! The adapters between rooms that must not know each other: raft's effects, apply's news, the log's reports, reads.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use crate::apply::ports::AppliedPort;
use crate::apply::ports::ApplyLog;
use crate::apply::ports::CutoverNotDurable;
use crate::entry::LogEntry;
use crate::fsm::command::ReadCommand;
use crate::fsm::kv::KeyAnswer;
use crate::fsm::kv::NamedRead;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::kv::read_as_leader;
use crate::fsm::kv::read_keys_as_leader;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::naming::names_of_read;
use crate::fsm::opening::ReadError;
use crate::fsm::reader::RowReader;
use crate::fsm::state::Applied;
use crate::fsm::walk::RowDeadline;
use crate::fsm::walk::WalkError;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::node_keys::NodeKeys;
use crate::keys::rules::RuleError;
use crate::limits::LOG_READ_BYTES_MAX;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::histogram::Histogram;
use crate::node::members_watch::MembersWatch;
use crate::node::retention::LogRetention;
use crate::node::snapshot::Snapshots;
use crate::propose;
use crate::propose::AppliedFacts;
use crate::propose::RowDeadlines;
use crate::raft;
use crate::raft::Committed;
use crate::raft::Input;
use crate::raft::SnapshotOffer;
use crate::raft::Status;
use crate::resp::ClientReads;
use crate::wal::Append;
use crate::wal::LogCounts;
use crate::wal::LogProgress;
use crate::wal::WalError;
use crate::wal::thread::Callbacks;
use crate::wal::thread::Fetch;
use crate::wal::thread::LogThread;
use crate::wal::thread::NotSent;

/// The raft thread's status, for any thread.
#[derive(Debug, Default)]
pub struct StatusCell(Mutex<Status>);

impl StatusCell {
    /// As of now.
    #[must_use]
    pub fn load(&self) -> Status {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self, status: Status) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(newest.term <= status.term, "raft's term never goes back");
        assert!(newest.committed <= status.committed, "what is committed stays committed");
        *newest = status;
    }
}

/// Where raft's effects go.
pub struct RaftPorts {
    /// To the log thread.
    pub log: Arc<LogThread>,
    /// Back to raft.
    pub raft: Sender<Input>,
    /// To the apply thread.
    pub apply: Sender<Vec<Committed>>,
    /// Clients' reads that wait for a read point.
    pub reads: Arc<propose::ReadPoints>,
    /// For metrics and INFO.
    pub status: Arc<StatusCell>,
    /// Where a log that does not read back is reported.
    pub ends: Ends,
    /// Of a node of several.
    pub snapshots: Option<Snapshots>,
}

impl raft::Ports for RaftPorts {
    fn log(&mut self, append: Append) {
        let ticket = append.ticket;
        match self.log.append(append) {
            Ok(()) => {}
            // `on_fatal` has reported why; nothing of this will be acknowledged.
            Err(NotSent::Ended) => tracing::debug!(ticket, "an append after the end of the log"),
            Err(NotSent::Full(_)) => unreachable!("raft hands over at most half of the log's queue"),
        }
    }

    fn apply(&mut self, committed: Vec<Committed>) {
        // Raft keeps its batches below half of this queue; a closed one means that apply has halted.
        if self.apply.try_send(committed).is_err() {
            tracing::debug!("committed entries after the end of apply");
        }
    }

    fn read_ready(&mut self, context: u64, index: Index) {
        self.reads.ready(context, index);
    }

    fn read_lost(&mut self, context: u64) {
        self.reads.lost(context);
    }

    fn status(&mut self, status: Status) {
        self.reads.set_leader(status.is_leader);
        self.reads.set_leads_alone(status.leads_alone);
        self.status.store(status);
    }

    fn fetch(&mut self, first: Index, last: Index) -> bool {
        let (raft, ends) = (self.raft.clone(), self.ends.clone());
        let answer = move |found| fetched(found, &raft, &ends);
        let fetch = Fetch { first, last, bytes_max: LOG_READ_BYTES_MAX, answer: Box::new(answer) };
        let asked = self.log.fetch(fetch);
        if asked.is_err() {
            tracing::debug!(%first, %last, "the log takes no request for old entries now");
        }
        asked.is_ok()
    }

    fn snapshot_wanted(&mut self) {
        self.snapshots.iter().for_each(|snapshots| snapshots.giver.want());
    }

    fn snapshot_offered(&mut self, offer: SnapshotOffer) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.taker.offered(offer);
        }
    }
}

/// Old entries for another member, as the log has read them. Entries that are dropped are none: raft learns that from the log's
/// gauge. A frame that does not read back ends the node, as at a start: with a leader that only asked again that member would
/// stay behind for as long as it leads, and another leader's log may be whole.
fn fetched(found: Result<Vec<LogEntry>, WalError>, raft: &Sender<Input>, ends: &Ends) {
    let entries = match found {
        Ok(entries) => entries,
        Err(WalError::NoEntry { index }) => {
            tracing::debug!(%index, "the log has dropped entries that another member lacks");
            Vec::new()
        }
        Err(error) => return ends.fail(NodeFailure::Log(error)),
    };
    // Gone only when the node ends.
    drop(raft.send(Input::Fetched(entries)));
}

/// What the log thread reports: to raft, to the main thread, to the metrics.
pub struct LogReports {
    raft: Sender<Input>,
    ends: Ends,
    slowest_sync_micros: AtomicU64,
    sync_times: Histogram,
    is_stalled: AtomicBool,
    appends: AtomicU64,
    frames: AtomicU64,
    syncs: AtomicU64,
}

impl LogReports {
    /// `raft` is sent the tickets that are persisted, `ends` why the log ended.
    #[must_use]
    pub fn new(raft: Sender<Input>, ends: Ends) -> LogReports {
        LogReports {
            raft,
            ends,
            slowest_sync_micros: AtomicU64::new(0),
            sync_times: Histogram::default(),
            is_stalled: AtomicBool::new(false),
            appends: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        }
    }

    /// The longest sync so far, in microseconds.
    #[must_use]
    pub fn slowest_sync_micros(&self) -> u64 {
        self.slowest_sync_micros.load(Ordering::Relaxed)
    }

    /// Times of syncs: upper bounds in microseconds with the number up to each, and their sum.
    pub(crate) fn sync_times(&self) -> (Vec<(u64, u64)>, u64) {
        self.sync_times.load()
    }

    /// How much work the log did since it was opened.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        LogCounts {
            appends: self.appends.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
        }
    }

    /// Whether entries wait for a slot of the log.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }
}

impl Callbacks for LogReports {
    fn on_persisted(&self, ticket: u64) {
        // Gone only when the node ends.
        drop(self.raft.send(Input::Persisted(ticket)));
    }

    fn on_fatal(&self, error: WalError) {
        self.ends.fail(NodeFailure::Log(error));
    }

    fn on_progress(&self, progress: &LogProgress) {
        if let Some(sync) = progress.slowest_sync {
            let micros = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
            self.sync_times.add(sync);
            self.slowest_sync_micros.fetch_max(micros, Ordering::Relaxed);
        }
        self.is_stalled.store(progress.stalled, Ordering::Relaxed);
        let LogCounts { appends, frames, syncs } = progress.counts;
        self.appends.store(appends, Ordering::Relaxed);
        self.frames.store(frames, Ordering::Relaxed);
        self.syncs.store(syncs, Ordering::Relaxed);
    }
}

/// The log as apply uses it.
pub(crate) struct TrimmedLog {
    /// The log.
    pub(crate) log: Arc<LogThread>,
    /// What stays for other members.
    pub(crate) retention: LogRetention,
}

impl ApplyLog for TrimmedLog {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        self.log.record_cutover(cutover).map_err(|_| CutoverNotDurable)
    }

    fn trim(&self, flushed: Position) {
        let Some(flushed) = self.retention.droppable(flushed, self.log.space()) else { return };
        if self.log.trim(flushed).is_err() {
            // The next flush says it again.
            tracing::debug!(index = %flushed.index, "the log takes no trim now");
        }
    }

    fn hold(&self, is_held: bool) {
        self.log.space().hold(is_held);
    }

    fn bytes_used(&self) -> u64 {
        self.log.space().handed_bytes()
    }

    fn pool_bytes(&self) -> u64 {
        self.log.space().pool_bytes()
    }
}

/// Where apply reports how far it is.
pub(crate) struct AppliedTo {
    /// The raft thread.
    pub raft: Sender<Input>,
    /// The proposer's replicated facts; set before any other part learns the position.
    pub facts: Arc<AppliedFacts>,
    /// Clients' reads that wait for an index.
    pub reads: Arc<propose::ReadPoints>,
    /// How many members have a vote.
    pub voters: Arc<AtomicUsize>,
    /// Who they are.
    pub members: Arc<MembersWatch>,
    /// The keys as of the newest control entry.
    pub node_keys: Arc<NodeKeys>,
}

impl AppliedPort for AppliedTo {
    fn applied(&mut self, record: &Applied) {
        self.facts.set(record.last_stamp_ms, record.client_command_applied);
        self.reads.applied(record.position.index);
        self.voters.store(record.members.voters.len(), Ordering::Relaxed);
        self.members.applied(record);
        // The raft thread always drains its queue; it is gone only when the node ends.
        drop(self.raft.send(Input::Applied(record.position)));
    }

    fn control(&mut self, position: Position, outcome: Result<(), RuleError>) {
        match outcome {
            Ok(()) => {
                tracing::info!(index = %position.index, term = %position.term, "control entry applied");
                say_active_keys(position, &self.node_keys);
            }
            Err(error) => {
                tracing::warn!(target: "audit", index = %position.index, term = %position.term, %error, "a change of the keys is refused");
            }
        }
        self.facts.control(position, outcome);
        drop(self.raft.send(has_keys(&self.node_keys)));
    }
}

/// Which keys seal from here on: after a bootstrap, a cutover or a rotation; an opener changes none of it.
fn say_active_keys(position: Position, node_keys: &NodeKeys) {
    let current = node_keys.current();
    let Some(keyring) = current.keyring() else { return };
    let (entry_key, value_key) = (keyring.active_entry().id, keyring.active_value().id);
    let (keys, is_sealing) = (keyring.deks().count(), keyring.is_sealing());
    tracing::info!(
        target: "audit",
        index = %position.index,
        %entry_key,
        %value_key,
        keys,
        is_sealing,
        "the keys that seal, as of a change of the keyring"
    );
}

/// Whether this node can open and seal what a leader must.
#[must_use]
pub fn has_keys(node_keys: &NodeKeys) -> Input {
    let lack = node_keys.current().needs();
    if let Some(lack) = &lack {
        tracing::error!(%lack, "this node cannot lead");
    }
    Input::HasKeys(lack.is_none())
}

/// The rows of the state, for the walk that finds expired keys.
pub struct HeldDeadlines(pub RowReader);

impl RowDeadlines for HeldDeadlines {
    fn each_above(
        &self,
        above: Option<RowName>,
        visit: &mut dyn FnMut(&RowName, Option<RowDeadline>) -> bool,
    ) -> Result<(), WalkError> {
        self.0.deadlines(above, visit)
    }
}

/// Clients' reads on the applied state.
pub struct StateReads {
    /// The state.
    pub reader: RowReader,
}

impl ClientReads for StateReads {
    fn names(&self, database: Database, read: &ReadCommand) -> Result<Vec<RowName>, ReadError> {
        Ok(names_of_read(database, read, &*self.reader.name_key()?))
    }

    fn read(&self, read: NamedRead<'_>, clock_ms: u64) -> Result<ReadAnswer, ReadError> {
        // The stamp first: with an older one than the rows, a key may be called past due that need not be, which costs
        // a removal; with a newer one, a key could be hidden here that a later read finds again.
        let stamp_ms = self.reader.views().load().stamp_ms;
        read_as_leader(&self.reader, read, stamp_ms, clock_ms)
    }

    fn read_keys(
        &self,
        reads: &[(Database, ReadCommand)],
        clock_ms: u64,
        visit: &mut dyn FnMut(KeyAnswer<'_>) -> bool,
    ) -> Result<(), ReadError> {
        read_keys_as_leader(&self.reader, reads, clock_ms, visit)
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::Receiver;
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::disk::SlotId;
    use crate::ids::NodeId;
    use crate::ids::Term;
    use crate::keys::kek::KekSet;
    use crate::keys::tests::kit::CLEAR_NAMES;
    use crate::keys::tests::kit::CLUSTER;
    use crate::keys::tests::kit::keyring_new;
    use crate::members::Members;
    use crate::node::end::End;
    use crate::testing::clock::SimClock;
    use crate::wal::Reason;

    fn received(inputs: &Receiver<Input>) -> Vec<String> {
        inputs.try_iter().map(|input| format!("{input:?}")).collect()
    }

    // Design 3.5: a node that cannot unwrap what it needs keeps silent at elections.
    #[test]
    fn raft_is_told_after_each_control_entry_whether_this_node_may_campaign() {
        let (raft, inputs) = unbounded();
        let node_keys = Arc::new(NodeKeys::new(CLUSTER, KekSet::default()));
        let reads = Arc::new(propose::ReadPoints::new(Index(1)));
        let facts = Arc::new(AppliedFacts::new(Arc::new(SimClock::default()), 0, false));
        let node = NodeId::new(1).unwrap();
        let founding = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[node]), Vec::new());
        let members = Arc::new(MembersWatch::new(node, &founding));
        let mut port =
            AppliedTo { raft, facts, reads, voters: Arc::default(), members, node_keys: Arc::clone(&node_keys) };
        let position = Position { term: Term(2), index: Index(3) };
        port.control(position, Err(RuleError::NotBootstrapped));
        assert_eq!(received(&inputs), ["HasKeys(true)"]);
        node_keys.install(keyring_new()).unwrap();
        port.control(position, Ok(()));
        assert_eq!(received(&inputs), ["HasKeys(false)"], "it has no KEK");
    }

    #[test]
    fn old_entries_that_are_dropped_are_none_and_those_that_do_not_read_back_end_the_node() {
        let ((raft, inputs), (ends, ended)) = (unbounded(), Ends::new());
        fetched(Err(WalError::NoEntry { index: Index(7) }), &raft, &ends);
        assert_eq!(received(&inputs), ["Fetched(0 entries)"]);
        assert!(ended.try_recv().is_err(), "a follower that is far behind ends nobody");
        let damage =
            WalError::Refused { segment: 3, slot: SlotId(1), offset: 4096, reason: Reason::AcknowledgedDamaged };
        fetched(Err(damage), &raft, &ends);
        assert!(matches!(ended.try_recv(), Ok(End::Failure(NodeFailure::Log(WalError::Refused { .. })))));
        assert_eq!(received(&inputs), [""; 0], "raft would only ask again");
    }
}
