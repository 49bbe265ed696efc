//! The side of an operator's command that asks a node: it believes the CAs that it is given, and may show a certificate.

use std::io;
use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::Error;
use rustls::StreamOwned;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;

use crate::tls::files::FileRole;
use crate::tls::files::TlsRefused;
use crate::tls::files::read_certificates;
use crate::tls::files::read_key;
use crate::tls::files::read_roots;
use crate::tls::words::words;

/// What an operator's command knows nodes by, and what it shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorTls {
    /// Certificates of the CAs that sign nodes.
    pub ca: PathBuf,
    /// The certificate that it shows, and its key; only its owner may reach that.
    pub shown: Option<(PathBuf, PathBuf)>,
}

impl OperatorTls {
    /// Shakes hands over `stream` with the node at `host`, whose certificate must name it.
    ///
    /// # Errors
    /// [`TlsRefused`] for the files, [`io::Error`] for the node.
    pub fn over<S: Read + Write>(&self, host: &str, mut stream: S) -> Result<io::Result<Secured<S>>, TlsRefused> {
        let config = self.config()?;
        let shake = || {
            let wrong = |_| io::Error::new(io::ErrorKind::InvalidInput, "the host is no name that a certificate has");
            let name = ServerName::try_from(host.to_owned()).map_err(wrong)?;
            let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut stream)?;
            }
            Ok(Secured(StreamOwned::new(connection, stream)))
        };
        Ok(shake())
    }

    fn config(&self) -> Result<Arc<ClientConfig>, TlsRefused> {
        let file = self.shown.as_ref().map_or(&self.ca, |(certificate, _)| certificate);
        let unusable = |error: Error| TlsRefused::Unusable { path: file.clone(), why: words(&error) };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(unusable)?;
        let builder = builder.with_root_certificates(read_roots(&self.ca)?);
        let mut config = match &self.shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = read_certificates(FileRole::Certificate, certificate)?;
                builder.with_client_auth_cert(chain, read_key(key)?).map_err(unusable)?
            }
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// What is said to a node over TLS.
#[derive(Debug)]
pub struct Secured<S: Read + Write>(StreamOwned<ClientConnection, S>);

impl<S: Read + Write> Read for Secured<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl<S: Read + Write> Write for Secured<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
