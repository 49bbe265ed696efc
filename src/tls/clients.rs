//! The node's side of its clients' connections: it shows a certificate, and may ask clients for theirs.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::Error;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;

use crate::tls::files::FileRole;
use crate::tls::files::TlsRefused;
use crate::tls::files::read_certificates;
use crate::tls::files::read_key;
use crate::tls::files::read_roots;
use crate::tls::words::words;

/// Where a node's certificate for its clients is, and what it asks of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTlsFiles {
    /// The certificate, then those between it and its CA.
    pub certificate: PathBuf,
    /// Its key: PKCS #8, PKCS #1 or SEC 1. Only its owner may reach it.
    pub key: PathBuf,
    /// Certificates of the CAs that sign clients; `None`: clients show no certificate.
    pub ca: Option<PathBuf>,
    /// Whether a client may come in without a certificate. What it shows must be good all the same.
    pub is_optional: bool,
}

/// A node's certificate for its clients, ready for connections.
#[derive(Debug)]
pub struct ClientTls {
    files: ClientTlsFiles,
    now: ArcSwap<ServerConfig>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsRefused`].
    pub fn load(files: ClientTlsFiles) -> Result<ClientTls, TlsRefused> {
        let now = ArcSwap::new(server_config(&files)?);
        Ok(ClientTls { files, now })
    }

    /// Reads the files again: connections that begin from now on are made with what is in them.
    ///
    /// # Errors
    /// [`TlsRefused`]: what was read before stays.
    pub fn reload(&self) -> Result<(), TlsRefused> {
        self.now.store(server_config(&self.files)?);
        Ok(())
    }

    /// For the next connection.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        self.now.load_full()
    }
}

fn server_config(files: &ClientTlsFiles) -> Result<Arc<ServerConfig>, TlsRefused> {
    let chain = read_certificates(FileRole::Certificate, &files.certificate)?;
    let key = read_key(&files.key)?;
    let roots = files.ca.as_deref().map(read_roots).transpose()?;
    let unusable = |error: Error| TlsRefused::Unusable { path: files.certificate.clone(), why: words(&error) };
    let verifier = verifier(roots, files.is_optional).map_err(unusable)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(unusable)?;
    let built = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key);
    let mut server = built.map_err(unusable)?;
    // Every connection shows its certificate anew: nobody comes back by a ticket after a reload.
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(server))
}

fn verifier(roots: Option<RootCertStore>, is_optional: bool) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let Some(roots) = roots else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if is_optional { builder.allow_unauthenticated() } else { builder };
    builder
        .build()
        .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
        .map_err(|error| Error::General(error.to_string()))
}
