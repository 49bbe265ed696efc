//! The sockets of clients and of admin: bound before the start, listening after it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::limits::BACKLOG;
use crate::node::admin;
use crate::node::config::Config;
use crate::node::refusal::Refusal;
use crate::node::running::RunningNode;
use crate::resp::ClientBounds;
use crate::resp::Drained;
use crate::resp::Server;
use crate::resp::ServerParts;

/// Bound and not listening: no other process can take them, and no client waits in them.
pub(crate) struct Sockets {
    clients: TcpSocket,
    admin: TcpSocket,
}

/// The same sockets, listening.
pub(crate) struct Listeners {
    clients: TcpListener,
    admin: TcpListener,
}

impl Sockets {
    /// Takes both addresses.
    ///
    /// # Errors
    /// [`Refusal::Address`].
    pub(crate) fn reserve(config: &Config, runtime: &Runtime) -> Result<Sockets, Refusal> {
        let _in_runtime = runtime.enter();
        let bind = |name, address| bind(address).map_err(|reason| Refusal::Address { name, address, reason });
        Ok(Sockets { clients: bind("listen", config.listen)?, admin: bind("admin-listen", config.admin_listen)? })
    }

    /// From now on clients and scrapers may connect.
    ///
    /// # Errors
    /// [`Refusal::Address`].
    pub(crate) fn listen(self, config: &Config, runtime: &Runtime) -> Result<Listeners, Refusal> {
        let _in_runtime = runtime.enter();
        let listen = |socket: TcpSocket, name, address| {
            socket.listen(BACKLOG).map_err(|reason| Refusal::Address { name, address, reason })
        };
        let admin = listen(self.admin, "admin-listen", config.admin_listen)?;
        let clients = listen(self.clients, "listen", config.listen)?;
        Ok(Listeners { clients, admin })
    }
}

impl Listeners {
    /// Accepts clients and scrapers, and logs the addresses.
    ///
    /// # Errors
    /// [`Refusal::Make`]: a listener has no address.
    pub(crate) fn serve(
        self,
        config: &Config,
        runtime: &Runtime,
        running: &RunningNode,
        bounds: ClientBounds,
        stopping: watch::Receiver<bool>,
    ) -> Result<JoinHandle<Drained>, Refusal> {
        let _in_runtime = runtime.enter();
        let admin_address = self.admin.local_addr().map_err(no_address)?;
        let server = Server::new(self.clients, server_parts(running, bounds)).map_err(no_address)?;
        let (admin, numbers, profiling) = (self.admin, Arc::clone(&running.numbers), config.profiling);
        runtime.spawn(async move {
            if let Err(error) = admin::serve(admin, numbers, profiling).await {
                tracing::warn!(%error, "the admin listener broke");
            }
        });
        tracing::info!(address = %admin_address, "admin");
        if !(config.listen.ip().is_loopback() && config.admin_listen.ip().is_loopback()) {
            tracing::warn!("listening beyond loopback without TLS: everybody on the path can read and write");
        }
        tracing::info!(address = %server.local_address(), "clients");
        Ok(runtime.spawn(server.run(stopping)))
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a restart would wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn server_parts(running: &RunningNode, bounds: ClientBounds) -> ServerParts {
    ServerParts {
        gateway: Arc::clone(&running.gateway),
        reads: Arc::clone(&running.reads),
        operator: Arc::clone(&running.operator),
        facts: running.numbers.clone(),
        bounds,
        stats: Arc::clone(&running.numbers.clients),
    }
}

fn no_address(source: io::Error) -> Refusal {
    Refusal::Make { what: "the address of a listener".to_owned(), source }
}
