//! The certificates of a node that runs: read again at SIGHUP, for connections that begin from then on.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::Weak;

use crate::exit::chain;
use crate::peers::Peers;
use crate::tls::ClientTls;
use crate::tls::TlsRefused;

/// Those that there are. A node without any ends at SIGHUP.
#[derive(Clone, Default)]
pub(crate) struct Certificates(Arc<CertificatesInner>);

#[derive(Default)]
struct CertificatesInner {
    peers: OnceLock<Weak<Peers>>,
    clients: OnceLock<Arc<ClientTls>>,
}

impl Certificates {
    /// Takes those for other nodes. Once.
    pub(crate) fn of_peers(&self, peers: &Arc<Peers>) {
        let is_first = self.0.peers.set(Arc::downgrade(peers)).is_ok();
        assert!(is_first, "a node has one set of them");
    }

    /// Takes those for clients. Once.
    pub(crate) fn of_clients(&self, clients: &Arc<ClientTls>) {
        let is_first = self.0.clients.set(Arc::clone(clients)).is_ok();
        assert!(is_first, "a node has one set of them");
    }

    /// Reads them again: a few small files, so this is done right here. `false`: there are none.
    pub(crate) fn reload(&self) -> bool {
        if let Some(peers) = self.0.peers.get().and_then(Weak::upgrade) {
            say("peers", peers.reload());
        }
        if let Some(clients) = self.0.clients.get() {
            say("clients", clients.reload());
        }
        self.0.peers.get().is_some() || self.0.clients.get().is_some()
    }
}

fn say(whom: &str, read: Result<(), TlsRefused>) {
    match read {
        Ok(()) => tracing::info!("certificates for {whom} are read again, for connections that begin from now on"),
        Err(error) => {
            let error = chain(&error);
            tracing::error!("the certificates for {whom} stay as they were, the files cannot be used: {error}");
        }
    }
}
