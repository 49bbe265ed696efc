//! How a connection is protected, and who is at its other end as far as certificates say.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::server::Acceptor;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::peers::config::Security;
use crate::peers::frame::FRAME_MAGIC;
use crate::peers::frame::FrameKind;
use crate::peers::frame::frame_of;
use crate::peers::stream::BoxedStream;
use crate::tls::PeerTls;
use crate::tls::TlsFiles;
use crate::tls::TlsRefused;
use crate::tls::node_name;
use crate::tls::words_of_io;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Secure {
    node: NodeId,
    cluster: ClusterId,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    files: TlsFiles,
    now: ArcSwap<PeerTls>,
}

/// Why nothing was said over a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecureFault {
    /// The handshake ended.
    #[error("{}", words_of_io(.0))]
    Handshake(#[from] io::Error),
    /// The other side has no TLS.
    #[error("it speaks without TLS, and peers of this node do not")]
    Plain,
    /// It dials somebody else.
    #[error("it looks for {wanted:?}, this is {own}")]
    NotForThis { wanted: String, own: String },
}

/// A stream, and the certificate that the other side has shown.
pub(super) struct Accepted {
    pub(super) stream: BoxedStream,
    certificate: Option<Vec<u8>>,
}

impl Secure {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// [`TlsRefused`].
    pub(super) fn new(security: &Security, cluster: ClusterId, node: NodeId) -> Result<Secure, TlsRefused> {
        let tls = match security {
            Security::InsecurePlain { .. } => None,
            Security::MutualTls(files) => {
                let now = ArcSwap::from_pointee(PeerTls::load(files, cluster, node)?);
                Some(Tls { files: files.clone(), now })
            }
        };
        Ok(Secure { node, cluster, tls })
    }

    /// Reads the files again: connections that begin from now on are made with what is in them.
    ///
    /// # Errors
    /// [`TlsRefused`]: what was read before stays.
    pub(super) fn reload(&self) -> Result<(), TlsRefused> {
        if let Some(tls) = &self.tls {
            tls.now.store(Arc::new(PeerTls::load(&tls.files, self.cluster, self.node)?));
        }
        Ok(())
    }

    /// The side that dials `node`: nobody else is let in.
    pub(super) async fn dialled(&self, stream: TcpStream, node: NodeId) -> Result<BoxedStream, SecureFault> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let tls = tls.now.load_full();
        let connector = TlsConnector::from(tls.client());
        Ok(Box::new(connector.connect(tls.name_of(node), stream).await?))
    }

    /// The side that is dialled. Who it is stands in its hello, and [`Secure::is_node`] says whether that is so.
    pub(super) async fn accepted(&self, mut stream: TcpStream) -> Result<Accepted, SecureFault> {
        let Some(tls) = &self.tls else { return Ok(Accepted { stream: Box::new(stream), certificate: None }) };
        if is_plain(&stream).await? {
            // The one thing that is said in the clear, so that the other operator reads it too.
            let refusal = frame_of(FrameKind::Refusal, b"this node speaks TLS, and the peer does not");
            let _ = stream.write_all(&refusal).await;
            return Err(SecureFault::Plain);
        }
        let tls = tls.now.load_full();
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let own = node_name(self.cluster, self.node);
        if let Some(wanted) = begun.client_hello().server_name().filter(|name| *name != own) {
            return Err(SecureFault::NotForThis { wanted: wanted.to_owned(), own });
        }
        let stream = begun.into_stream(tls.server()).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(|certificate| certificate.to_vec());
        Ok(Accepted { stream: Box::new(stream), certificate })
    }

    /// Whether the certificate that `accepted` showed is that of `node`.
    ///
    /// # Errors
    /// Words that say whose it is.
    pub(super) fn is_node(&self, accepted: &Accepted, node: NodeId) -> Result<(), String> {
        match (&self.tls, &accepted.certificate) {
            (None, _) => Ok(()),
            (Some(tls), Some(certificate)) => tls.now.load().check_name(certificate, node),
            (Some(_), None) => Err("it shows no certificate".to_owned()),
        }
    }
}

/// Whether the first bytes are those of a frame. Waits for them.
async fn is_plain(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; FRAME_MAGIC.len()];
    let count = stream.peek(&mut first).await?;
    Ok(count > 0 && FRAME_MAGIC.starts_with(&first[..count]))
}
