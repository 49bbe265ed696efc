//! The network of nodes of one process: messages take their time, get lost and meet partitions, all from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::limits::PEER_QUEUE_MAX;
use crate::raft::PeerMessage;
use crate::raft::Transport;
use crate::testing::seed::Seeded;

/// What becomes of messages on their way. The default delivers each at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// So many of a hundred are lost.
    pub loss_percent: u64,
    /// Each takes up to this long, chosen for it alone: later ones may overtake it.
    pub delay_ms_max: u64,
}

/// A bounded queue for each node. What a full queue refuses is dropped and counted.
#[derive(Clone, Debug)]
pub struct Network {
    wires: Arc<Mutex<Wires>>,
}

#[derive(Debug)]
struct Wires {
    chance: Seeded,
    weather: Weather,
    now_ms: u64,
    /// Messages ever sent: their order among those that arrive in one ms.
    sent: u64,
    queues: BTreeMap<u64, BTreeMap<Arrival, PeerMessage>>,
    /// The side of a partition on which a node is; all are on side 0 without one.
    sides: BTreeMap<u64, usize>,
    dropped: u64,
}

impl Wires {
    fn arrival(&mut self) -> Option<u64> {
        let is_lost = self.chance.below(100) < self.weather.loss_percent;
        (!is_lost).then(|| self.now_ms + self.chance.below(self.weather.delay_ms_max + 1))
    }

    fn side(&self, node: u64) -> usize {
        self.sides.get(&node).copied().unwrap_or_default()
    }
}

/// In ms, then in the order of sending.
type Arrival = (u64, u64);

impl Network {
    /// Fine weather, until it is changed; then loss and delays are those of the seed.
    #[must_use]
    pub fn new(seed: u64) -> Network {
        let wires = Wires {
            chance: Seeded::new(seed),
            weather: Weather::default(),
            now_ms: 0,
            sent: 0,
            queues: BTreeMap::new(),
            sides: BTreeMap::new(),
            dropped: 0,
        };
        Network { wires: Arc::new(Mutex::new(wires)) }
    }

    /// The sending end; one for each node.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint(self.clone())
    }

    /// What becomes of messages from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.wires().weather = weather;
    }

    /// Lets time pass for the messages on their way.
    pub fn advance_ms(&self, ms: u64) {
        self.wires().now_ms += ms;
    }

    /// Lets only nodes of one of these sides reach each other; nodes that are on none are on a side together.
    pub fn partition(&self, sides: &[&[u64]]) {
        let numbered = sides.iter().zip(1..).flat_map(|(nodes, side)| nodes.iter().map(move |node| (*node, side)));
        self.wires().sides = numbered.collect();
    }

    /// Lets everybody reach everybody.
    pub fn heal(&self) {
        self.wires().sides.clear();
    }

    /// Everything that has arrived for `node`, in the order of its arrival. What meets a partition now is lost.
    #[must_use]
    pub fn take(&self, node: u64) -> Vec<PeerMessage> {
        let wires = &mut *self.wires();
        let Some(queue) = wires.queues.get_mut(&node) else {
            return Vec::new();
        };
        let later = queue.split_off(&(wires.now_ms + 1, 0));
        let arrived = std::mem::replace(queue, later);
        arrived.into_values().filter(|message| wires.side(message.from()) == wires.side(message.to())).collect()
    }

    /// When something arrives that is sent now, in ms; `None` if it gets lost.
    #[must_use]
    pub fn arrival(&self) -> Option<u64> {
        self.wires().arrival()
    }

    /// How long the network has been there.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.wires().now_ms
    }

    /// Whether no partition is between two nodes now.
    #[must_use]
    pub fn reaches(&self, from: u64, to: u64) -> bool {
        let wires = self.wires();
        wires.side(from) == wires.side(to)
    }

    /// Messages that found a full queue.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.wires().dropped
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Network {
    fn default() -> Network {
        Network::new(0)
    }
}

/// One node's way into a [`Network`].
#[derive(Clone, Debug)]
pub struct Endpoint(Network);

impl Transport for Endpoint {
    fn send(&mut self, message: PeerMessage) {
        let wires = &mut *self.0.wires();
        let Some(arrival) = wires.arrival() else { return };
        let arrival = (arrival, wires.sent);
        let queue = wires.queues.entry(message.to()).or_default();
        if queue.len() < PEER_QUEUE_MAX {
            queue.insert(arrival, message);
            wires.sent += 1;
        } else {
            wires.dropped += 1;
        }
    }
}
