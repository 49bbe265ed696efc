//! The listener: who may come in, how many, and how they leave when the node stops.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::net::sockopt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::limits::CLIENT_KEEPALIVE;
use crate::limits::TLS_CONNECTION_BYTES;
use crate::limits::TLS_HANDSHAKE_DEADLINE;
use crate::limits::UNAUTHENTICATED_CLIENTS_MAX;
use crate::resp::connection::serve;
use crate::resp::registry::Client;
use crate::resp::secured::NoHandshake;
use crate::resp::secured::SecuredListener;
use crate::resp::secured::shake_hands;
use crate::resp::shared::ServerParts;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
use crate::tls::ClientTls;

/// How the connections ended when the node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that did not finish in time and were cut.
    pub aborted: usize,
}

/// Listeners with their connections.
pub struct Server {
    listener: TcpListener,
    secured: Option<SecuredListener>,
    shared: Arc<ServerShared>,
}

debug_fields!(self: Server { address: self.shared.address });

impl Server {
    /// Over a listener that the caller made, and perhaps one for clients with TLS. Whether their addresses may be exposed is the
    /// caller's to judge.
    ///
    /// # Errors
    /// The kernel does not say where they listen.
    pub fn new(listener: TcpListener, secured: Option<SecuredListener>, parts: ServerParts) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let tls_address = secured.as_ref().map(|secured| secured.listener.local_addr()).transpose()?;
        let shared = ServerShared::new(address, tls_address, parts);
        Ok(Server { listener, secured, shared: Arc::new(shared) })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Where it listens for clients with TLS.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.shared.tls_address
    }

    /// Accepts until `stopping` turns true (or its sender goes), then lets what is in flight finish and closes.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) -> Drained {
        let Server { listener, secured, shared } = self;
        // Until the last connection has gone.
        let (mut delivering, deliveries) = (JoinSet::new(), Arc::clone(&shared.deliveries));
        delivering.spawn(async move { deliveries.deliver().await });
        let mut connections = JoinSet::new();
        let mut trouble = Trouble::default();
        while !*stopping.borrow() {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => if let Some(guest) = admit(&stream, peer, &shared) {
                        entered(&mut connections, guest, |guest| converse(stream, guest, stopping.clone()));
                    } else {
                        refuse(stream);
                    },
                    Err(error) => trouble.pause(&error).await,
                },
                accepted = accept_secured(secured.as_ref()) => match accepted {
                    // Who finds no place does not get a handshake either.
                    Ok((stream, peer, tls)) => if let Some(guest) = admit(&stream, peer, &shared) {
                        shared.registry.set_stranger(guest.client.id, true);
                        entered(&mut connections, guest, |guest| secure(stream, tls, guest, stopping.clone()));
                    },
                    Err(error) => trouble.pause(&error).await,
                },
                Some(_) = connections.join_next() => {}
                changed = stopping.changed() => if changed.is_err() {
                    break;
                },
            }
        }
        drop((listener, secured));
        let finished = async { while connections.join_next().await.is_some() {} };
        // Whoever is not done by then is cut.
        let _ = timeout(shared.bounds.drain_deadline, finished).await;
        let aborted = connections.len();
        connections.shutdown().await;
        Drained { aborted }
    }
}

/// Waits for a client with TLS; for ever where none can come.
async fn accept_secured(secured: Option<&SecuredListener>) -> io::Result<(TcpStream, SocketAddr, Arc<ClientTls>)> {
    let Some(secured) = secured else { return std::future::pending().await };
    let (stream, peer) = secured.listener.accept().await?;
    Ok((stream, peer, Arc::clone(&secured.tls)))
}

/// Takes a connection in; `None` if there are too many.
fn admit(stream: &TcpStream, peer: SocketAddr, shared: &Arc<ServerShared>) -> Option<Guest> {
    let stats = &shared.stats;
    add(&stats.connections_total, 1);
    if !make_space(shared) {
        add(&stats.connections_rejected_total, 1);
        return None;
    }
    // Replies are gathered here: what is written is meant to leave at once. A socket that refuses is about to fail.
    let _ = stream.set_nodelay(true);
    if let Err(error) = keep_alive(stream) {
        tracing::debug!(%error, "the kernel does not ask whether a client is still there");
    }
    let local_address = stream.local_addr().unwrap_or(shared.address);
    Some(Guest::enter(shared, stream.as_raw_fd(), peer, local_address))
}

/// Gives a connection its task.
fn entered<F>(connections: &mut JoinSet<()>, guest: Guest, task: impl FnOnce(Guest) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let client = Arc::clone(&guest.client);
    client.set_task(connections.spawn(task(guest)));
}

async fn converse(stream: TcpStream, guest: Guest, stopping: watch::Receiver<bool>) {
    serve(stream, Arc::clone(&guest.shared), Arc::clone(&guest.client), stopping).await;
}

/// The same behind a handshake, for which there must be memory. Until that is done the client is a stranger, and has to give up
/// its place to a newer one.
async fn secure(stream: TcpStream, tls: Arc<ClientTls>, guest: Guest, mut stopping: watch::Receiver<bool>) {
    let deadline = tokio::time::Instant::now() + TLS_HANDSHAKE_DEADLINE;
    let held = tokio::select! {
        held = guest.shared.memory.take(TLS_CONNECTION_BYTES, deadline) => held,
        () = guest.client.killed() => return,
        _ = stopping.changed() => return,
    };
    let no_handshake =
        |why: &NoHandshake| guest.shared.stats.count_failed_handshake(guest.client.address.ip(), &why.to_string());
    let Some(_held) = held else {
        add(&guest.shared.stats.connections_rejected_total, 1);
        return no_handshake(&NoHandshake::Memory);
    };
    let shaken = tokio::select! {
        shaken = shake_hands(stream, &tls) => shaken,
        () = guest.client.killed() => return,
        _ = stopping.changed() => return,
    };
    match shaken {
        Ok(stream) => {
            guest.shared.registry.set_stranger(guest.client.id, false);
            serve(stream, Arc::clone(&guest.shared), Arc::clone(&guest.client), stopping).await;
        }
        Err(error) => no_handshake(&error),
    }
}

/// Whether there is a place for one more. Who has waited longest without showing the password gives up its own:
/// otherwise strangers who say nothing would keep everybody out.
fn make_space(shared: &ServerShared) -> bool {
    let (stats, registry) = (&shared.stats, &shared.registry);
    let is_full = || stats.connected_clients.load(Ordering::Relaxed) >= shared.clients_max.load(Ordering::Relaxed);
    let strangers = stats.unauthenticated_clients.load(Ordering::Relaxed);
    if (is_full() || strangers >= UNAUTHENTICATED_CLIENTS_MAX)
        && let Some(oldest) = registry.oldest_stranger()
    {
        registry.evict(&oldest);
        add(&stats.connections_closed_total, 1);
    }
    !is_full()
}

/// Has the kernel ask a silent client whether it is there: one that vanished behind a NAT would hold its place for ever.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, CLIENT_KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, CLIENT_KEEPALIVE / 3)?;
    Ok(sockopt::set_tcp_keepcnt(stream, 3)?)
}

/// Says why, without waiting for anything: what does not fit the socket's buffer at once is lost.
fn refuse(stream: TcpStream) {
    let mut stream = stream;
    tokio::spawn(async move {
        // The connection is closed either way.
        let _ = timeout(REFUSAL_DEADLINE, stream.write_all(b"-ERR max number of clients reached\r\n")).await;
    });
}

/// Accept fails for want of descriptors or memory: others must end first, so wait instead of asking again at once.
#[derive(Default)]
struct Trouble {
    said: Option<Instant>,
    times: u64,
}

impl Trouble {
    async fn pause(&mut self, error: &io::Error) {
        self.times += 1;
        if self.said.is_none_or(|said| said.elapsed() > TROUBLE_SAY_EVERY) {
            tracing::warn!(%error, times = self.times, "cannot accept client connections");
            self.said = Some(Instant::now());
            self.times = 0;
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// A connection's place in the registry and the gauges, given back however its task ends.
struct Guest {
    shared: Arc<ServerShared>,
    client: Arc<Client>,
}

impl Guest {
    fn enter(shared: &Arc<ServerShared>, descriptor: i32, peer: SocketAddr, local_address: SocketAddr) -> Guest {
        Guest { shared: Arc::clone(shared), client: shared.registry.enter(descriptor, peer, local_address) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.registry.leave(self.client.id);
    }
}

/// It goes on for as long as the others stay: ten lines a second would bury what else is said.
const TROUBLE_SAY_EVERY: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);
