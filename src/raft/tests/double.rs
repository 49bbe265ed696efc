//! One node with everything around it replaced: time by hand, seeded chance, a log and a state in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::members::Members;
use crate::raft::*;
use crate::testing::clock::SimClock;
use crate::testing::net::Network;
use crate::testing::seed::Seeded;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::LogSpace;
use crate::world::Clock;

/// What left the loop and was not looked at yet.
#[derive(Default)]
pub(super) struct Wires {
    pub(super) appends: VecDeque<Append>,
    pub(super) committed: VecDeque<Committed>,
    pub(super) fetches: Vec<(Index, Index)>,
    /// So many of the next ones the log does not take.
    pub(super) refusals: usize,
    pub(super) ready: Vec<(u64, Index)>,
    pub(super) lost: Vec<u64>,
    pub(super) reigns: Vec<(Term, bool)>,
    /// How often a snapshot was wanted.
    pub(super) wanted: usize,
    pub(super) offers: Vec<SnapshotOffer>,
}

struct Tap(Arc<Mutex<Wires>>);

impl Ports for Tap {
    fn log(&mut self, append: Append) {
        self.0.lock().unwrap().appends.push_back(append);
    }

    fn apply(&mut self, committed: Vec<Committed>) {
        self.0.lock().unwrap().committed.extend(committed);
    }

    fn read_ready(&mut self, context: u64, index: Index) {
        self.0.lock().unwrap().ready.push((context, index));
    }

    fn read_lost(&mut self, context: u64) {
        self.0.lock().unwrap().lost.push(context);
    }

    fn status(&mut self, status: Status) {
        self.0.lock().unwrap().reigns.push((status.term, status.is_leader));
    }

    fn fetch(&mut self, first: Index, last: Index) -> bool {
        let mut wires = self.0.lock().unwrap();
        match wires.refusals.checked_sub(1) {
            Some(left) => wires.refusals = left,
            None => wires.fetches.push((first, last)),
        }
        wires.fetches.last() == Some(&(first, last))
    }

    fn snapshot_wanted(&mut self) {
        self.0.lock().unwrap().wanted += 1;
    }

    fn snapshot_offered(&mut self, offer: SnapshotOffer) {
        self.0.lock().unwrap().offers.push(offer);
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Sealed(Term, Index),
    Placed(Term, Index),
    Refused(BatchRefusal),
}

/// What the test wants proposed, and what became of it.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) batches: VecDeque<(Vec<Bytes>, bool)>,
    pub(super) fates: Vec<Fate>,
    /// Contexts of reads, one for each step.
    pub(super) reads: VecDeque<u64>,
    /// Hands batches out whatever the view says.
    pub(super) is_pushy: bool,
}

struct TestProposer(Arc<Mutex<Desk>>);

struct TestBatch {
    desk: Arc<Mutex<Desk>>,
    data: Vec<Bytes>,
    is_control: bool,
}

impl Proposer for TestProposer {
    fn next(&mut self, view: &LeaderView) -> Option<Box<dyn Batch>> {
        let mut desk = self.0.lock().unwrap();
        if !desk.is_pushy && (!view.own_term_applied || view.is_blocked) {
            return None;
        }
        let (data, is_control) = desk.batches.front()?;
        let bytes: usize = data.iter().map(Bytes::len).sum();
        if !desk.is_pushy && !is_control && bytes as u64 > view.space_bytes {
            return None;
        }
        let (data, is_control) = desk.batches.pop_front()?;
        Some(Box::new(TestBatch { desk: Arc::clone(&self.0), data, is_control }))
    }

    fn ask_reads(&mut self, unsent: Option<u64>) -> Option<u64> {
        self.0.lock().unwrap().reads.pop_front().filter(|_| unsent.is_none())
    }

    fn not_leading(&mut self, leader: Option<u64>) {
        let mut desk = self.0.lock().unwrap();
        if leader.is_some() {
            while desk.batches.pop_front().is_some() {
                desk.fates.push(Fate::Refused(BatchRefusal::NotLeader(leader)));
            }
        }
    }
}

impl Batch for TestBatch {
    fn count(&self) -> usize {
        self.data.len()
    }

    fn bytes_max(&self) -> u64 {
        self.data.iter().map(|data| data.len() as u64).sum()
    }

    fn is_control(&self) -> bool {
        self.is_control
    }

    fn seal(&mut self, term: Term, first_index: Index) -> Result<Vec<Bytes>, BatchRefusal> {
        self.desk.lock().unwrap().fates.push(Fate::Sealed(term, first_index));
        Ok(self.data.clone())
    }

    fn placed(self: Box<Self>, first: Position) {
        self.desk.lock().unwrap().fates.push(Fate::Placed(first.term, first.index));
    }

    fn refused(self: Box<Self>, refusal: BatchRefusal) {
        self.desk.lock().unwrap().fates.push(Fate::Refused(refusal));
    }
}

/// What a crash leaves.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) entries: Vec<LogEntry>,
    pub(super) members: Members,
    pub(super) applied: Position,
    /// The log begins behind this.
    pub(super) compacted: Position,
}

impl Disk {
    pub(super) fn founded(voters: &[u64]) -> Disk {
        let voters: Vec<NodeId> = voters.iter().map(|id| NodeId::new(*id).unwrap()).collect();
        let hard_state = HardState { term: Term(1), vote: 0, commit: Index(1) };
        let members = Members::founders(&voters);
        Disk { hard_state, entries: Vec::new(), members, applied: FOUNDED, compacted: FOUNDED }
    }

    fn write(&mut self, append: &Append) {
        if let Some(first) = append.entries.first() {
            let keep = usize::try_from(first.index.0 - self.compacted.index.0 - 1).unwrap();
            assert!(keep <= self.entries.len(), "a gap in the log");
            self.entries.truncate(keep);
            self.entries.extend(append.entries.iter().cloned());
        }
        self.hard_state = append.hard_state.unwrap_or(self.hard_state);
    }
}

/// A new cluster begins behind this.
pub(super) const FOUNDED: Position = Position { term: Term(1), index: Index(1) };

/// A node and everything around it.
pub(super) struct Node {
    pub(super) raft: RaftLoop,
    pub(super) clock: Arc<SimClock>,
    pub(super) wires: Arc<Mutex<Wires>>,
    pub(super) desk: Arc<Mutex<Desk>>,
    pub(super) space: Arc<LogSpace>,
    pub(super) disk: Disk,
    pub(super) applied: Vec<LogEntry>,
}

impl Node {
    pub(super) fn start(id: u64, disk: Disk, clock: &Arc<SimClock>, seed: u64, network: &Network) -> Node {
        Node::start_with(id, disk, clock, seed, network, |_| {})
    }

    pub(super) fn start_with(
        id: u64,
        mut disk: Disk,
        clock: &Arc<SimClock>,
        seed: u64,
        network: &Network,
        set: impl Fn(&mut RaftConfig),
    ) -> Node {
        let (wires, desk) = (Arc::<Mutex<Wires>>::default(), Arc::<Mutex<Desk>>::default());
        let space = Arc::new(LogSpace::of(1 << 40, 1 << 40));
        let outside = RaftParts {
            proposer: Box::new(TestProposer(Arc::clone(&desk))),
            ports: Box::new(Tap(Arc::clone(&wires))),
            transport: Box::new(network.endpoint()),
            space: Arc::clone(&space),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            entropy: Arc::new(Seeded::new(seed.wrapping_mul(1000) + id)),
        };
        // The state of these tests is volatile: it is made again from the log, as far as the log says.
        disk.applied = disk.compacted;
        let recovered = StartingPoint {
            older_terms: Vec::new(),
            hard_state: disk.hard_state,
            compacted: disk.compacted,
            entries: disk.entries.clone(),
            members: disk.members.clone(),
            applied: disk.compacted,
        };
        let mut config = RaftConfig::new(NodeId::new(id).unwrap());
        set(&mut config);
        let raft = RaftLoop::new(config, recovered, outside).unwrap();
        Node { raft, clock: Arc::clone(clock), wires, desk, space, disk, applied: Vec::new() }
    }

    /// Lets the log have so many bytes left.
    pub(super) fn free(&self, bytes: u64) {
        self.space.set(bytes, 8, 1 << 40);
    }

    pub(super) fn step(&mut self, inputs: impl IntoIterator<Item = Input>) {
        self.raft.step(inputs.into_iter()).unwrap();
    }

    /// Makes the oldest `count` groups durable.
    pub(super) fn persist(&mut self, count: usize) -> bool {
        let appends: Vec<Append> = {
            let mut wires = self.wires.lock().unwrap();
            let count = count.min(wires.appends.len());
            wires.appends.drain(..count).collect()
        };
        for append in &appends {
            self.disk.write(append);
            self.step([Input::Persisted(append.ticket)]);
        }
        !appends.is_empty()
    }

    /// Applies everything that was handed out.
    pub(super) fn apply(&mut self) -> bool {
        let committed: Vec<Committed> = self.wires.lock().unwrap().committed.drain(..).collect();
        let Some(last) = committed.last().map(|last| &last.entry) else {
            return false;
        };
        let position = last.position();
        for Committed { entry, .. } in committed {
            let expected = self.applied.last().map_or(self.disk.compacted.index.0 + 1, |last| last.index.0 + 1);
            assert_eq!(entry.index.0, expected, "IN-ORDER");
            self.applied.push(entry);
        }
        self.step([Input::Applied(position)]);
        true
    }

    /// Until nothing happens any more.
    pub(super) fn settle(&mut self) {
        self.step([Input::Wake]);
        while self.persist(usize::MAX) | self.apply() {}
    }

    /// A tick, and all that follows here.
    pub(super) fn tick(&mut self) {
        self.clock.advance_ms(100);
        self.settle();
    }

    /// One step that asks for a read point under this context.
    pub(super) fn read(&mut self, context: u64) {
        self.desk.lock().unwrap().reads.push_back(context);
        self.step([Input::Wake]);
    }

    pub(super) fn propose(&self, data: &[&str]) {
        let data = data.iter().map(|data| Bytes::copy_from_slice(data.as_bytes())).collect();
        self.desk.lock().unwrap().batches.push_back((data, false));
    }

    pub(super) fn propose_control(&self, data: &str) {
        self.desk.lock().unwrap().batches.push_back((vec![Bytes::copy_from_slice(data.as_bytes())], true));
    }

    pub(super) fn fates(&self) -> Vec<Fate> {
        std::mem::take(&mut self.desk.lock().unwrap().fates)
    }

    /// Applied entries that somebody proposed.
    pub(super) fn texts(&self) -> Vec<String> {
        let filled = self.applied.iter().filter(|entry| !entry.data.is_empty());
        filled.map(|entry| String::from_utf8_lossy(&entry.data).into_owned()).collect()
    }
}

/// A cluster of one that leads and has applied its own empty entry.
pub(super) fn sole() -> Node {
    let mut node = Node::start(1, Disk::founded(&[1]), &Arc::default(), 1, &Network::default());
    node.settle();
    assert!(node.raft.status().is_leader);
    node
}
