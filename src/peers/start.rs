//! The connections of one node as a whole: they live on threads of their own, and end with them.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::runtime::Handle;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::ids::NodeId;
use crate::limits::BACKLOG;
use crate::limits::PEER_CALLS_LOOK_EVERY;
use crate::limits::PEER_PING_EVERY;
use crate::limits::PEERS_END_DEADLINE;
use crate::peers::calls::CallDone;
use crate::peers::calls::CallFailed;
use crate::peers::calls::WhyNotSent;
use crate::peers::config::PeerAddress;
use crate::peers::config::PeersConfig;
use crate::peers::config::PeersRefused;
use crate::peers::config::Security;
use crate::peers::counters::PeerStatus;
use crate::peers::dial::keep;
use crate::peers::handler::PeerHandler;
use crate::peers::listen::listen;
use crate::peers::peer::Peer;
use crate::peers::secure::Secure;
use crate::peers::shared::Guests;
use crate::peers::shared::Refusals;
use crate::peers::shared::RefusedPeers;
use crate::peers::shared::Shared;
use crate::raft::PeerMessage;
use crate::raft::Transport;
use crate::tls::TlsRefused;

/// Listens for peers, and dials those that are given, from now on.
///
/// # Errors
/// [`PeersRefused`]: nothing listens and nothing was sent.
pub fn start(config: PeersConfig, handler: Arc<dyn PeerHandler>) -> Result<Peers, PeersRefused> {
    let address = config.listen;
    let is_bare = matches!(config.security, Security::InsecurePlain { beyond_loopback: false });
    if is_bare && !address.ip().is_loopback() {
        return Err(PeersRefused::Insecure { address });
    }
    let secure = Secure::new(&config.security, config.cluster, config.node)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(config.threads.max(1))
        .max_blocking_threads(RESOLVERS_MAX)
        .thread_name("peers")
        .enable_all()
        .build()
        .map_err(PeersRefused::Threads)?;
    let listener = {
        let _in_runtime = runtime.enter();
        bind(address).map_err(|source| PeersRefused::Listen { address, source })?
    };
    let local_address = listener.local_addr().map_err(|source| PeersRefused::Listen { address, source })?;
    let shared = Arc::new(Shared {
        node: config.node,
        cluster: config.cluster,
        secure,
        handler,
        peers: ArcSwap::default(),
        guests: Guests::default(),
        refusals: Refusals::default(),
        queue_bytes_max: config.queue_bytes_max,
    });
    runtime.spawn(listen(Arc::clone(&shared), listener));
    runtime.spawn(look_for_deadlines(Arc::clone(&shared)));
    tracing::info!(address = %local_address, node = config.node.value(), "peers");
    let peers = Peers {
        local_address,
        handle: runtime.handle().clone(),
        tasks: Mutex::new(BTreeMap::new()),
        runtime: Mutex::new(Some(runtime)),
        shared,
    };
    peers.set_members(&config.members);
    Ok(peers)
}

/// A node's connections.
pub struct Peers {
    local_address: SocketAddr,
    shared: Arc<Shared>,
    handle: Handle,
    tasks: Mutex<BTreeMap<NodeId, [AbortHandle; 2]>>,
    runtime: Mutex<Option<Runtime>>,
}

debug_fields!(self: Peers { node: self.shared.node, local_address: self.local_address });

impl Peers {
    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// The way of raft's messages.
    #[must_use]
    pub fn transport(&self) -> PeersTransport {
        PeersTransport { shared: Arc::clone(&self.shared) }
    }

    /// From now on these are dialled, and no others. A peer whose address is another is dialled anew.
    pub fn set_members(&self, members: &[(NodeId, PeerAddress)]) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shared.peers.load_full();
        let mut after = BTreeMap::new();
        for (node, address) in members.iter().filter(|(node, _)| *node != self.shared.node) {
            let known = before.get(node).cloned();
            if let Some(peer) = &known {
                peer.address.send_if_modified(|current| {
                    let is_other = current != address;
                    current.clone_from(address);
                    is_other
                });
            }
            after.insert(*node, known.unwrap_or_else(|| self.dial(*node, address.clone(), &mut tasks)));
        }
        let gone: Vec<Arc<Peer>> = before.values().filter(|peer| !after.contains_key(&peer.node)).cloned().collect();
        self.shared.peers.store(Arc::new(after));
        for peer in gone {
            tasks.remove(&peer.node).into_iter().flatten().for_each(|task| task.abort());
            peer.calls.lost(WhyNotSent::NotAMember);
        }
    }

    /// From now on these are not heard, whatever they have shown: their connections end. Nobody else is kept out.
    pub fn turn_out(&self, nodes: &[NodeId]) {
        self.shared.guests.turn_out(nodes);
    }

    /// Has `to` answer a request, within `patience`. May be awaited anywhere.
    pub fn call(
        &self,
        to: NodeId,
        request: Bytes,
        patience: Duration,
    ) -> impl Future<Output = Result<Bytes, CallFailed>> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        // Nobody listens any more if the future was dropped.
        self.call_then(to, request, patience, Box::new(move |result| drop(done.send(result))));
        async { outcome.await.unwrap_or(Err(CallFailed::Unknown)) }
    }

    /// The same for who does not wait. `done` is called once, perhaps before this returns.
    pub fn call_then(&self, to: NodeId, request: Bytes, patience: Duration, done: CallDone) {
        match self.shared.peer(to) {
            Some(peer) => peer.call(request, patience, done),
            None => done(Err(CallFailed::NotSent(WhyNotSent::NotAMember))),
        }
    }

    /// How the connections stand, in the order of ids.
    #[must_use]
    pub fn status(&self) -> Vec<PeerStatus> {
        self.shared.peers.load().values().map(|peer| peer.status()).collect()
    }

    /// Who did not come in, for metrics.
    #[must_use]
    pub fn refusals(&self) -> RefusedPeers {
        self.shared.refusals.seen()
    }

    /// Reads the certificates again. Connections stay; those that begin from now on are made with what is in the files.
    ///
    /// # Errors
    /// [`TlsRefused`]: what was read before stays.
    pub fn reload(&self) -> Result<(), TlsRefused> {
        self.shared.secure.reload()
    }

    /// Ends all connections, within [`PEERS_END_DEADLINE`]. What waits for an answer learns that there will be none.
    pub fn stop(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(PEERS_END_DEADLINE);
        }
        self.set_members(&[]);
    }

    fn dial(&self, node: NodeId, address: PeerAddress, tasks: &mut BTreeMap<NodeId, [AbortHandle; 2]>) -> Arc<Peer> {
        let (peer, lanes) = Peer::new(node, address, self.shared.queue_bytes_max);
        let peer = Arc::new(peer);
        let keep = |(lane, queue)| {
            let kept = keep(Arc::clone(&self.shared), Arc::clone(&peer), lane, queue);
            self.handle.spawn(kept).abort_handle()
        };
        tasks.insert(node, lanes.map(keep));
        peer
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Raft's way to its peers: queues that never wait.
#[derive(Clone, Debug)]
pub struct PeersTransport {
    shared: Arc<Shared>,
}

impl Transport for PeersTransport {
    fn send(&mut self, message: PeerMessage) {
        let Some(to) = NodeId::new(message.to()) else { return };
        let peers = self.shared.peers.load();
        let was_told = peers.get(&to).is_none_or(|peer| peer.send(message));
        if !was_told {
            self.shared.handler.unreachable(to);
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a restart would wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn look_for_deadlines(shared: Arc<Shared>) {
    let mut pinged = Instant::now();
    loop {
        sleep(PEER_CALLS_LOOK_EVERY).await;
        let now = Instant::now();
        let peers = shared.peers.load_full();
        peers.values().for_each(|peer| peer.calls.expire(now));
        if now - pinged >= PEER_PING_EVERY {
            pinged = now;
            peers.values().for_each(Peer::ping);
        }
    }
}

/// Threads that resolve names at once.
const RESOLVERS_MAX: usize = 4;
