//! Both sides of a connection between nodes: each shows a certificate of the cluster's CA, and knows the other by its name.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::Error;
use rustls::ServerConfig;
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use rustls::server::ParsedCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::tls::files::Loaded;
use crate::tls::files::TlsFiles;
use crate::tls::files::TlsRefused;
use crate::tls::name::server_name;
use crate::tls::words::words;
use crate::world::Clock;
use crate::world::SystemClock;

/// A node's certificates, ready for connections.
#[derive(Clone, Debug)]
pub struct PeerTls {
    cluster: ClusterId,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl PeerTls {
    /// Reads the files of `node`, and holds its own certificate to what its peers will demand: so a mistake shows here, and
    /// not in their logs.
    ///
    /// # Errors
    /// [`TlsRefused`].
    pub fn load(files: &TlsFiles, cluster: ClusterId, node: NodeId) -> Result<PeerTls, TlsRefused> {
        let unusable = |error: Error| TlsRefused::Unusable { path: files.certificate.clone(), why: words(&error) };
        PeerTls::new(Loaded::read(files)?, cluster, node).map_err(unusable)
    }

    fn new(loaded: Loaded, cluster: ClusterId, node: NodeId) -> Result<PeerTls, Error> {
        let Loaded { chain, key, roots } = loaded;
        let provider = Arc::new(ring::default_provider());
        let of_clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let of_clients = of_clients.map_err(|error| Error::General(error.to_string()))?;
        let of_servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let of_servers = of_servers.map_err(|error| Error::General(error.to_string()))?;
        let (own, between) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let now = now();
        of_servers.verify_server_cert(own, between, &server_name(cluster, node), &[], now)?;
        of_clients.verify_client_cert(own, between, now)?;
        let client = client_config(Arc::clone(&provider), of_servers, chain.clone(), key.clone_key())?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(of_clients)
            .with_single_cert(chain, key)?;
        // Every connection shows its certificate anew: nobody comes back by a ticket after a reload.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(PeerTls { cluster, client: Arc::new(client), server: Arc::new(server) })
    }

    /// For dialling, with [`PeerTls::name_of`].
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// For accepting, and then [`PeerTls::check_name`].
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// The name that the certificate of `node` must have.
    #[must_use]
    pub fn name_of(&self, node: NodeId) -> ServerName<'static> {
        server_name(self.cluster, node)
    }

    /// Whether the holder of this verified certificate (DER) is `node`.
    ///
    /// # Errors
    /// Words that say who it is instead.
    pub fn check_name(&self, certificate: &[u8], node: NodeId) -> Result<(), String> {
        let certificate = CertificateDer::from(certificate);
        let is_node = ParsedCertificate::try_from(&certificate)
            .and_then(|certificate| verify_server_name(&certificate, &self.name_of(node)));
        is_node.map_err(|error| words(&error))
    }
}

fn client_config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, Error> {
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// The wall clock, for the dates of certificates.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(SystemClock::default().wall_ms()))
}
