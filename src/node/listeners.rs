//! The sockets of clients and of admin: bound before the start. Admin listens at once and says how far the start is, clients
//! are listened to after it.

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
use crate::node::admin::AdminFacts;
use crate::node::client_tls::ClientTlsConfig;
use crate::node::config::Config;
use crate::node::refusal::Refusal;
use crate::node::running::RunningNode;
use crate::resp::ClientBounds;
use crate::resp::Drained;
use crate::resp::SecuredListener;
use crate::resp::Server;
use crate::resp::ServerParts;
use crate::tls::ClientTls;

/// Bound and not listening: no other process can take it, and no client waits in it.
pub(crate) struct Sockets {
    clients: TcpSocket,
    secured: Option<TcpSocket>,
}

/// The same sockets, listening.
pub(crate) struct Listeners {
    clients: TcpListener,
    secured: Option<TcpListener>,
}

impl Sockets {
    /// Takes all addresses, and answers at that of admin from now on.
    ///
    /// # Errors
    /// [`Refusal::Address`].
    pub(crate) fn reserve(config: &Config, runtime: &Runtime, facts: AdminFacts) -> Result<Sockets, Refusal> {
        let _in_runtime = runtime.enter();
        let refused = |name, address| move |reason| Refusal::Address { name, address, reason };
        let clients = bind(config.listen).map_err(refused("listen", config.listen))?;
        let bind_secured = |tls: &ClientTlsConfig| bind(tls.listen).map_err(refused("tls-listen", tls.listen));
        let secured = config.tls.as_ref().map(bind_secured).transpose()?;
        let admin = bind(config.admin_listen).and_then(|socket| socket.listen(BACKLOG));
        let admin = admin.map_err(refused("admin-listen", config.admin_listen))?;
        let address = admin.local_addr().map_err(no_address)?;
        let profiling = config.profiling;
        runtime.spawn(async move {
            if let Err(error) = admin::serve(admin, facts, profiling).await {
                tracing::warn!(%error, "the admin listener broke");
            }
        });
        tracing::info!(%address, "admin");
        Ok(Sockets { clients, secured })
    }

    /// From now on clients may connect.
    ///
    /// # Errors
    /// [`Refusal::Address`].
    pub(crate) fn listen(self, config: &Config, runtime: &Runtime) -> Result<Listeners, Refusal> {
        let _in_runtime = runtime.enter();
        let listen = |socket: TcpSocket, name, address| {
            socket.listen(BACKLOG).map_err(|reason| Refusal::Address { name, address, reason })
        };
        let clients = listen(self.clients, "listen", config.listen)?;
        let secured = self.secured.zip(config.tls.as_ref());
        let secured = secured.map(|(socket, tls)| listen(socket, "tls-listen", tls.listen)).transpose()?;
        Ok(Listeners { clients, secured })
    }
}

impl Listeners {
    /// Accepts clients, and logs the address.
    ///
    /// # Errors
    /// [`Refusal::Make`]: a listener has no address.
    pub(crate) fn serve(
        self,
        config: &Config,
        runtime: &Runtime,
        running: &RunningNode,
        bounds: ClientBounds,
        tls: Option<Arc<ClientTls>>,
        stopping: watch::Receiver<bool>,
    ) -> Result<JoinHandle<Drained>, Refusal> {
        let _in_runtime = runtime.enter();
        let secured = self.secured.zip(tls).map(|(listener, tls)| SecuredListener { listener, tls });
        let server = Server::new(self.clients, secured, server_parts(running, bounds)).map_err(no_address)?;
        if !(config.listen.ip().is_loopback() && config.admin_listen.ip().is_loopback()) {
            tracing::warn!("listening beyond loopback without TLS: everybody on the path can read and write");
        }
        tracing::info!(address = %server.local_address(), "clients");
        if let Some(address) = server.tls_address() {
            tracing::info!(%address, "clients with TLS");
        }
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
