//! A whole cluster in one thread, stepped from one seed: [`SimNode`]s, the network between them, clients and time.
//!
//! Each step lets a few ms pass and gives every node a turn. `Watch` looks at every turn and panics at the first that
//! breaks a promise; [`SimCluster::digest`] is a number of everything that could be seen until now.

mod watch;

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::kv::ReadAnswer;
use crate::ids::NodeId;
use crate::members::Members;
use crate::propose::ClientRequest;
use crate::propose::ControlRequest;
use crate::propose::ControlResult;
use crate::propose::Gateway;
use crate::propose::Mode;
use crate::propose::Outcome;
use crate::propose::ReadOutcome;
use crate::propose::RequestDone;
use crate::propose::RequestSlot;
use crate::raft::Input;
use crate::raft::MemberChange;
use crate::testing::cluster::watch::Watch;
use crate::testing::leader::word;
use crate::testing::net::Network;
use crate::testing::net::Weather;
use crate::testing::node::SharedBySimNodes;
use crate::testing::node::SimNode;
use crate::testing::post::Post;
use crate::testing::record::Record;
use crate::testing::seed::Seeded;

/// How a client's or an operator's request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum SimEnd {
    /// Applied, or read: one reply a slot.
    Replies(Vec<Reply>),
    /// Not that: the word of its outcome.
    Without(&'static str),
    /// An operator's.
    Control(ControlResult),
}

/// A request that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct SimReply {
    /// The number that it was given.
    pub request: u64,
    /// The node that was asked.
    pub node: u64,
    /// ms since the cluster was founded.
    pub at_ms: u64,
    /// How.
    pub end: SimEnd,
}

/// Requests that have ended, and reads whose point is reached.
#[derive(Debug, Default)]
struct Desk {
    now_ms: u64,
    ended: Vec<SimReply>,
    readable: Vec<(u64, u64, ReadCommand)>,
}

/// Nodes, network, clients and time. See the head of this file.
pub struct SimCluster {
    nodes: Vec<SimNode>,
    shared: SharedBySimNodes,
    /// Where nodes that do not lead send what their clients ask, once there is one.
    post: Option<Post>,
    chance: Seeded,
    desk: Arc<Mutex<Desk>>,
    watch: Watch,
    last_request: u64,
    steps: u64,
    /// Of everything that every step showed.
    trace: DefaultHasher,
}

impl SimCluster {
    /// A new cluster that is sealed from its first client command on. Its nodes have the ids from 1 on and run.
    #[must_use]
    pub fn new(seed: u64, nodes: u64) -> SimCluster {
        SimCluster::with_mode(seed, nodes, Mode::On)
    }

    /// The same in any mode.
    ///
    /// # Panics
    /// If a node does not start.
    #[must_use]
    pub fn with_mode(seed: u64, nodes: u64, mode: Mode) -> SimCluster {
        let (chance, shared) = (Seeded::new(seed), SharedBySimNodes::over(Network::new(!seed)));
        let ids: Vec<NodeId> = (1..=nodes).map(|id| NodeId::new(id).expect("not 0")).collect();
        let found = |id: &NodeId| SimNode::found(*id, &ids, mode, &shared, Seeded::new(chance.bits()));
        let mut nodes: Vec<SimNode> = ids.iter().map(found).collect();
        for node in &mut nodes {
            node.start().expect("a founded node starts");
        }
        SimCluster {
            watch: Watch::new(shared.sealings.clone()),
            nodes,
            shared,
            post: None,
            chance,
            desk: Arc::default(),
            last_request: 0,
            steps: 0,
            trace: DefaultHasher::new(),
        }
    }

    /// A cluster of three, and a node 4 that runs and is no member yet.
    ///
    /// # Panics
    /// If a node does not start.
    #[must_use]
    pub fn with_joiner(seed: u64, mode: Mode) -> SimCluster {
        let mut cluster = SimCluster::with_mode(seed, 3, mode);
        let founders: Vec<NodeId> = (1..=3).map(|id| NodeId::new(id).expect("not 0")).collect();
        let (joiner, chance) = (NodeId::new(4).expect("not 0"), Seeded::new(cluster.chance.bits()));
        let mut joiner = SimNode::found(joiner, &founders, mode, &cluster.shared, chance);
        joiner.start().expect("a node that joins starts");
        cluster.nodes.push(joiner);
        cluster.watch.set_quorum(2);
        cluster
    }

    /// How much its nodes ever sealed.
    #[must_use]
    pub fn sealed(&self) -> usize {
        self.shared.sealings.count()
    }

    /// From now on a node that does not lead sends what its clients ask to the one that does.
    pub fn forward(&mut self) {
        let post = Post::new(self.shared.network.clone());
        self.nodes.iter_mut().for_each(|node| node.forward_by(&post));
        self.post = Some(post);
    }

    /// What every node does from now on, and did since this was asked for first.
    pub fn record(&self) -> Record {
        self.shared.record.begin();
        self.shared.record.clone()
    }

    /// Requests of clients that another node took than the one that was asked.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.post.as_ref().map_or(0, Post::delivered)
    }

    /// Asks a node for a change of the members. Whether it was made is seen in its members.
    pub fn change(&mut self, node: u64, change: MemberChange) {
        self.node_mut(node).ask(Input::Change { change, done: Box::new(|_| ()) });
    }

    /// Asks a leader to hand over to whom it likes.
    pub fn transfer(&mut self, node: u64) {
        self.node_mut(node).ask(Input::Transfer { to: None, done: Box::new(|_| ()) });
    }

    /// The members as the leader has them.
    #[must_use]
    pub fn members(&self) -> Option<Members> {
        self.node(self.leader()?).members()
    }

    /// Lets a few ms pass, and every node take a turn.
    ///
    /// # Panics
    /// If a promise is broken, or a node ends by itself.
    pub fn step(&mut self) {
        let ms = 1 + self.chance.below(STEP_MS_MAX);
        self.shared.record.begin_step(self.steps);
        self.desk().now_ms += ms;
        self.shared.network.advance_ms(ms);
        self.nodes.iter().for_each(|node| node.clock().advance(Duration::from_millis(ms)));
        if let Some(post) = &self.post {
            post.deliver(|id| self.nodes.iter().find(|node| node.id() == id).and_then(SimNode::handle));
        }
        let first = self.chance.index(self.nodes.len());
        for turn in 0..self.nodes.len() {
            let at = (first + turn) % self.nodes.len();
            let id = self.nodes[at].id();
            self.nodes[at].step().unwrap_or_else(|why| panic!("node {id} ended by itself: {why}"));
            self.read_what_is_due();
            self.watch.look(&self.nodes, at);
            format!("{:?}", self.nodes[at].status()).hash(&mut self.trace);
        }
        self.steps += 1;
    }

    /// So many steps.
    pub fn steps(&mut self, count: u64) {
        (0..count).for_each(|_| self.step());
    }

    /// Steps until `is_so`.
    ///
    /// # Panics
    /// If it does not become so in a simulated minute or more.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&SimCluster) -> bool) {
        for _ in 0..STEPS_MAX {
            if is_so(self) {
                return;
            }
            self.step();
        }
        panic!("{what}: not in {STEPS_MAX} steps, {self:?}");
    }

    /// Steps until some node leads and takes commands; its id.
    pub fn elect(&mut self) -> u64 {
        self.until("a leader", |cluster| cluster.leader().is_some());
        self.leader().expect("just seen")
    }

    /// The running node that leads in the highest term.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        let statuses = self.nodes.iter().filter_map(|node| Some((node.status()?, node.id())));
        let leading = statuses.filter(|(status, _)| status.is_leader);
        leading.max_by_key(|(status, _)| status.term).map(|(_, id)| id)
    }

    /// The number that the next request will be given.
    #[must_use]
    pub fn next_request(&self) -> u64 {
        self.last_request + 1
    }

    /// Sends a client's request to a node; its number. One to a node that does not run ends at once, unknown.
    pub fn propose(&mut self, node: u64, slots: Vec<RequestSlot>) -> u64 {
        let number = self.number();
        let ended = self.ending(number, node);
        let done: Box<dyn RequestDone> = Box::new(move |outcome: Outcome| {
            ended(match outcome {
                Outcome::Replies(replies) => SimEnd::Replies(replies),
                other => SimEnd::Without(word(&other)),
            });
        });
        match self.node(node).handle() {
            None => drop(done.done(Outcome::Unknown)),
            Some(handle) => {
                let request = ClientRequest { conditions: Vec::new(), slots, done };
                if let Err(full) = handle.propose(request) {
                    drop(full.done.done(Outcome::TryAgain));
                }
            }
        }
        number
    }

    /// Sends an operator's request to a node; its number.
    pub fn control(&mut self, node: u64, request: ControlRequest) -> u64 {
        let number = self.number();
        let ended = self.ending(number, node);
        match self.node(node).handle() {
            None => ended(SimEnd::Without("unknown")),
            Some(handle) => handle.control(request, Box::new(move |result| ended(SimEnd::Control(result)))),
        }
        number
    }

    /// A linearizable read; its number.
    pub fn read(&mut self, node: u64, read: ReadCommand) -> u64 {
        let number = self.number();
        self.ask_read_point(number, node, read);
        number
    }

    /// Every request that has ended, in the order in which they ended.
    #[must_use]
    pub fn replies(&self) -> Vec<SimReply> {
        self.desk().ended.clone()
    }

    /// How a request ended, if it has.
    #[must_use]
    pub fn end_of(&self, request: u64) -> Option<SimEnd> {
        self.desk().ended.iter().find(|reply| reply.request == request).map(|reply| reply.end.clone())
    }

    /// Ends a node's process, or its power.
    pub fn crash(&mut self, node: u64) {
        self.node_mut(node).crash();
    }

    /// Starts a crashed or stopped node again.
    ///
    /// # Errors
    /// Why it would not start.
    pub fn restart(&mut self, node: u64) -> Result<(), String> {
        self.node_mut(node).start()
    }

    /// Ends a node in order.
    ///
    /// # Panics
    /// If it cannot.
    pub fn stop(&mut self, node: u64) {
        self.node_mut(node).stop().expect("a node stops");
    }

    /// Lets only nodes of one of these sides reach each other.
    pub fn partition(&mut self, sides: &[&[u64]]) {
        self.shared.network.partition(sides);
    }

    /// Lets everybody reach everybody.
    pub fn heal(&mut self) {
        self.shared.network.heal();
    }

    /// Loss and delays from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.shared.network.set_weather(weather);
    }

    /// A node of that id.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn node(&self, node: u64) -> &SimNode {
        self.nodes.iter().find(|found| found.id() == node).expect("a node of the cluster")
    }

    /// All of them.
    #[must_use]
    pub fn nodes(&self) -> &[SimNode] {
        &self.nodes
    }

    /// How many turns of nodes were looked at, and how many states were compared with another node's.
    #[must_use]
    pub fn looked_at(&self) -> (u64, u64) {
        (self.steps * self.nodes.len() as u64, self.watch.compared())
    }

    /// A number of everything that could be seen: every step's statuses, every reply and its time, logs and states.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = self.trace.clone();
        let desk = self.desk();
        (desk.now_ms, format!("{:?}", desk.ended)).hash(&mut hasher);
        self.nodes.iter().for_each(|node| node.hash_into(&mut hasher));
        hasher.finish()
    }

    fn number(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    fn ending(&self, request: u64, node: u64) -> impl FnOnce(SimEnd) + Send + use<> {
        let desk = Arc::clone(&self.desk);
        move |end| {
            let mut desk = locked(&desk);
            let at_ms = desk.now_ms;
            desk.ended.push(SimReply { request, node, at_ms, end });
        }
    }

    fn ask_read_point(&self, number: u64, node: u64, read: ReadCommand) {
        let ended = self.ending(number, node);
        let desk = Arc::clone(&self.desk);
        let Some(handle) = self.node(node).handle() else {
            return ended(SimEnd::Without("unknown"));
        };
        if handle.is_read_point() {
            return locked(&desk).readable.push((number, node, read));
        }
        handle.read_index(Box::new(move |outcome| match outcome {
            ReadOutcome::Ready(_) => locked(&desk).readable.push((number, node, read)),
            ReadOutcome::TryAgain => ended(SimEnd::Without("try again")),
        }));
    }

    fn read_what_is_due(&self) {
        let due = std::mem::take(&mut self.desk().readable);
        for (number, node, read) in due {
            match self.node(node).read(&read) {
                Ok(Some(ReadAnswer::Reply(reply))) => self.ending(number, node)(SimEnd::Replies(vec![reply])),
                Ok(Some(ReadAnswer::PastDue(_))) => self.ask_read_point(number, node, read),
                Ok(None) => self.ending(number, node)(SimEnd::Without("unknown")),
                Err(why) => panic!("node {node} cannot read: {why}"),
            }
        }
    }

    /// A node of that id, to do something to it.
    ///
    /// # Panics
    /// If there is none.
    pub fn node_mut(&mut self, node: u64) -> &mut SimNode {
        self.nodes.iter_mut().find(|found| found.id() == node).expect("a node of the cluster")
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        locked(&self.desk)
    }
}

debug_fields!(self: SimCluster { now_ms: self.desk().now_ms, nodes: self.nodes });

fn locked(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Far below a tick of raft, so that nodes are seldom a tick late.
const STEP_MS_MAX: u64 = 20;
/// Two simulated minutes on average.
const STEPS_MAX: u64 = 12_000;
