//! The rig: clients' end, raft loop, log and state in memory; a clock that the test moves, seeded chance.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::crypto::envelope::EntryFrame;
use crate::crypto::open::OpenJob;
use crate::crypto::open::open_entry;
use crate::entry::LogEntry;
use crate::fsm::codec::Payload;
use crate::fsm::command::Expiry;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::change::Change;
use crate::keys::kek;
use crate::keys::kek::KekSet;
use crate::keys::node_keys::NodeKeys;
use crate::keys::rules;
use crate::members::Members;
use crate::propose::*;
use crate::raft;
use crate::raft::Committed;
use crate::raft::Input;
use crate::raft::RaftLoop;
use crate::testing::clock::SimClock;
use crate::testing::net::Network;
use crate::testing::seed::Seeded;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::LogSpace;
use crate::world::Clock;
use crate::world::Entropy;

#[derive(Default)]
struct Wires {
    appends: VecDeque<Append>,
    committed: VecDeque<Committed>,
    reads: Option<Arc<ReadPoints>>,
}

struct Tap(Arc<Mutex<Wires>>);

impl raft::Ports for Tap {
    fn log(&mut self, append: Append) {
        self.0.lock().unwrap().appends.push_back(append);
    }

    fn apply(&mut self, committed: Vec<Committed>) {
        self.0.lock().unwrap().committed.extend(committed);
    }

    fn read_ready(&mut self, context: u64, index: Index) {
        let reads = self.0.lock().unwrap().reads.clone();
        reads.unwrap().ready(context, index);
    }

    fn read_lost(&mut self, context: u64) {
        let reads = self.0.lock().unwrap().reads.clone();
        reads.unwrap().lost(context);
    }

    fn status(&mut self, _status: raft::Status) {}
}

/// How each request ended, by name.
pub(super) type Ends = Arc<Mutex<Vec<(u32, String)>>>;

/// What a node of a test is started with.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) settings: ProposeConfig,
    /// The first is this node, unless `node` says otherwise.
    pub(super) voters: Vec<u64>,
    pub(super) node: u64,
    pub(super) seed: u64,
    pub(super) network: Option<Network>,
    pub(super) clock: Arc<SimClock>,
    /// What another member lacks.
    pub(super) lack: Option<MemberLack>,
}

impl Setup {
    pub(super) fn sole(mode: Mode) -> Setup {
        Setup {
            settings: ProposeConfig::new(mode),
            voters: vec![1],
            node: 1,
            seed: 1,
            network: None,
            clock: Arc::<SimClock>::default(),
            lack: None,
        }
    }
}

struct Witness(Option<MemberLack>);

impl KekWitness for Witness {
    fn check(&self) -> Result<(), MemberLack> {
        self.0.map_or(Ok(()), Err)
    }
}

pub(super) struct Rig {
    pub(super) setup: Setup,
    pub(super) raft: RaftLoop,
    pub(super) handle: ProposeHandle,
    pub(super) node_keys: Arc<NodeKeys>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) reads: Arc<ReadPoints>,
    pub(super) ends: Ends,
    pub(super) wakes: Arc<AtomicUsize>,
    /// What was applied, in words, and the bytes of the log.
    pub(super) words: Vec<String>,
    pub(super) entries: Vec<LogEntry>,
    pub(super) ids: Vec<ProposalId>,
    pub(super) stamps: Vec<u64>,
    facts: Arc<AppliedFacts>,
    clock: Arc<SimClock>,
    wires: Arc<Mutex<Wires>>,
    hard_state: HardState,
}

pub(super) const CLUSTER: ClusterId = ClusterId([7; 16]);

pub(super) fn node_keys(mode: Mode) -> Arc<NodeKeys> {
    let keks = match mode {
        Mode::Off => KekSet::default(),
        Mode::Ready | Mode::On => KekSet::new(vec![kek::from_bytes(&Zeroizing::new([9; 32]))]).unwrap(),
    };
    Arc::new(NodeKeys::new(CLUSTER, keks))
}

impl Rig {
    pub(super) fn new(mode: Mode) -> Rig {
        Rig::founded(mode, &[1], 1)
    }

    pub(super) fn founded(mode: Mode, voters: &[u64], seed: u64) -> Rig {
        Rig::set_up(Setup { voters: voters.to_vec(), node: voters[0], seed, ..Setup::sole(mode) })
    }

    pub(super) fn set_up(setup: Setup) -> Rig {
        let hard_state = HardState { term: Term(1), vote: 0, commit: Index(1) };
        let node_keys = node_keys(setup.settings.mode);
        Rig::start(setup, node_keys, hard_state, Vec::new(), false)
    }

    /// The same log and keys in a new life, with the state where the log ends.
    pub(super) fn restarted(self, mode: Mode) -> Rig {
        let setup = Setup { seed: 77, clock: Arc::default(), ..self.setup.clone() };
        self.restarted_with(Setup { settings: ProposeConfig { mode, ..setup.settings }, ..setup })
    }

    pub(super) fn restarted_with(self, setup: Setup) -> Rig {
        let has_commands = self.facts.has_client_commands();
        Rig::start(setup, self.node_keys, self.hard_state, self.entries, has_commands)
    }

    fn start(
        setup: Setup,
        node_keys: Arc<NodeKeys>,
        hard_state: HardState,
        entries: Vec<LogEntry>,
        has_client_commands: bool,
    ) -> Rig {
        let clock = Arc::clone(&setup.clock);
        let entropy: Arc<dyn Entropy> = Arc::new(Seeded::new(setup.seed));
        let founded = Position { term: Term(1), index: Index(1) };
        let applied = entries.last().map_or(founded, |last| last.position());
        let facts = Arc::new(AppliedFacts::new(Arc::clone(&clock) as Arc<dyn Clock>, 0, has_client_commands));
        let (waiters, reads) = (Arc::new(Waiters::new()), Arc::new(ReadPoints::new(applied.index)));
        let wires = Arc::new(Mutex::new(Wires { reads: Some(Arc::clone(&reads)), ..Wires::default() }));
        let wakes = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&wakes);
        let parts = ProposeParts {
            witness: Box::new(Witness(setup.lack)),
            node_keys: Arc::clone(&node_keys),
            facts: Arc::clone(&facts),
            waiters: Arc::clone(&waiters),
            reads: Arc::clone(&reads),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::clone(&entropy),
            wake: Box::new(move || {
                counted.fetch_add(1, SeqCst);
            }),
        };
        let (queue, handle) = queue(setup.settings, parts);
        let transport: Box<dyn raft::Transport> = match &setup.network {
            None => Box::new(raft::Nowhere),
            Some(network) => Box::new(network.endpoint()),
        };
        let outside = raft::RaftParts {
            proposer: Box::new(queue),
            ports: Box::new(Tap(Arc::clone(&wires))),
            transport,
            space: Arc::new(LogSpace::of(1 << 40, 1 << 40)),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy,
        };
        let ids: Vec<NodeId> = setup.voters.iter().map(|id| NodeId::new(*id).unwrap()).collect();
        let members = Members::founders(&ids);
        let recovered = raft::StartingPoint {
            hard_state,
            compacted: founded,
            entries: entries.clone(),
            older_terms: Vec::new(),
            members,
            applied,
        };
        let raft = RaftLoop::new(raft::RaftConfig::new(NodeId::new(setup.node).unwrap()), recovered, outside).unwrap();
        Rig {
            setup,
            raft,
            handle,
            node_keys,
            waiters,
            reads,
            ends: Ends::default(),
            wakes,
            words: Vec::new(),
            entries,
            ids: Vec::new(),
            stamps: Vec::new(),
            facts,
            clock,
            wires,
            hard_state,
        }
    }

    pub(super) fn step(&mut self) {
        self.raft.step(std::iter::once(Input::Wake)).unwrap();
    }

    pub(super) fn forward(&mut self, ms: u64) {
        self.clock.advance_ms(ms);
        self.step();
    }

    pub(super) fn persist(&mut self) -> bool {
        let appends: Vec<Append> = self.wires.lock().unwrap().appends.drain(..).collect();
        for append in &appends {
            self.hard_state = append.hard_state.unwrap_or(self.hard_state);
            if let Some(first) = append.entries.first() {
                self.entries.retain(|entry| entry.index < first.index);
            }
            self.entries.extend(append.entries.iter().cloned());
            self.raft.step(std::iter::once(Input::Persisted(append.ticket))).unwrap();
        }
        !appends.is_empty()
    }

    pub(super) fn apply(&mut self) -> bool {
        let committed: Vec<Committed> = self.wires.lock().unwrap().committed.drain(..).collect();
        for Committed { entry, .. } in &committed {
            let position = entry.position();
            let word = self.apply_one(position, &entry.data);
            self.words.push(word);
            self.reads.applied(position.index);
            self.raft.step(std::iter::once(Input::Applied(position))).unwrap();
        }
        !committed.is_empty()
    }

    fn apply_one(&mut self, position: Position, data: &Bytes) -> String {
        if data.is_empty() {
            return "empty".to_owned();
        }
        let frame = EntryFrame::decode(data).unwrap();
        self.ids.push(frame.proposal_id);
        let is_sealed = position.index > self.node_keys.cutover();
        let payload = if is_sealed {
            open_entry(&self.node_keys.current().entry_keys().unwrap(), OpenJob { position, data }).unwrap()
        } else {
            frame.payload.to_vec()
        };
        let how = if is_sealed { "sealed" } else { "clear" };
        match Payload::decode(&payload).unwrap() {
            Payload::Control(change) => {
                let change = Change::decode(change).unwrap();
                let facts = rules::Facts { cluster: CLUSTER, client_command_applied: self.facts.has_client_commands() };
                let view = self.node_keys.current();
                let decided = rules::decide(view.keyring(), &change, position, facts);
                let outcome = decided.map(|keyring| self.node_keys.install(keyring).unwrap());
                self.facts.control(position, outcome);
                format!("{how} {}{}", change.word(), if outcome.is_ok() { "" } else { " refused" })
            }
            Payload::Batch(batch) => {
                self.stamps.push(batch.stamp_ms);
                self.facts.set(batch.stamp_ms, true);
                if let Some(waiter) = self.waiters.take(position) {
                    let replies = waiter.slots.iter().map(|_| Reply::Ok).collect();
                    waiter.answer(Outcome::Replies(replies));
                }
                format!("{how} batch of {}", batch.commands().count())
            }
        }
    }

    pub(super) fn settle(&mut self) {
        self.step();
        while self.persist() | self.apply() {}
    }

    /// An operator's request; how it ends is kept under `name`.
    pub(super) fn control(&self, name: u32, request: ControlRequest) {
        let ends = Arc::clone(&self.ends);
        self.handle.control(request, Box::new(move |end| ends.lock().unwrap().push((name, format!("{end:?}")))));
    }

    pub(super) fn request(&self, name: u32, slots: Vec<RequestSlot>) -> ClientRequest {
        request(&self.ends, name, slots)
    }

    pub(super) fn ends(&self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.ends.lock().unwrap())
    }

    pub(super) fn words(&mut self) -> Vec<String> {
        std::mem::take(&mut self.words)
    }
}

/// The two ends without a raft loop; requests made by `request` end in the returned list.
pub(super) fn alone() -> (Queue, ProposeHandle, Ends) {
    alone_with(Mode::Off, node_keys(Mode::Off))
}

pub(super) fn alone_with(mode: Mode, node_keys: Arc<NodeKeys>) -> (Queue, ProposeHandle, Ends) {
    let clock: Arc<dyn Clock> = Arc::<SimClock>::default();
    let parts = ProposeParts {
        witness: Box::new(SoleVoter),
        node_keys,
        facts: Arc::new(AppliedFacts::new(Arc::clone(&clock), 0, false)),
        waiters: Arc::default(),
        reads: Arc::default(),
        clock,
        entropy: Arc::new(Seeded::new(1)),
        wake: Box::new(|| {}),
    };
    let (queue, handle) = queue(ProposeConfig::new(mode), parts);
    (queue, handle, Ends::default())
}

pub(super) fn request(ends: &Ends, name: u32, slots: Vec<RequestSlot>) -> ClientRequest {
    let ends = Arc::clone(ends);
    let done = Box::new(move |outcome: Outcome| ends.lock().unwrap().push((name, format!("{outcome:?}"))));
    ClientRequest { conditions: Vec::new(), slots, done }
}

pub(super) fn set(key: &str, value: &[u8]) -> RequestSlot {
    RequestSlot::Write(
        Database::FIRST,
        WriteCommand::Set {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value),
            when: SetIf::Always,
            expiry: Expiry::Clear,
            reply: SetReply::Ok,
        },
    )
}
