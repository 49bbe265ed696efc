//! Clients that come over TLS: the handshake, and who does not get through it.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::TLS_HANDSHAKE_DEADLINE;
use crate::tls::ClientTls;
use crate::tls::words_of_io;

/// A listener whose connections begin with a handshake.
#[derive(Debug)]
pub struct SecuredListener {
    /// Where they come in.
    pub listener: TcpListener,
    /// What the node shows them.
    pub tls: Arc<ClientTls>,
}

/// Why nothing was said over a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHandshake {
    /// The handshake ended.
    #[error("{}", words_of_io(.0))]
    Ended(#[from] io::Error),
    /// A client without TLS.
    #[error("it speaks without TLS")]
    Plain,
    /// It says nothing, or not enough.
    #[error("no handshake within {} s", TLS_HANDSHAKE_DEADLINE.as_secs())]
    Deadline,
    /// Others hold what TLS needs.
    #[error("no memory of clients was left for it within {} s", TLS_HANDSHAKE_DEADLINE.as_secs())]
    Memory,
}

/// Shakes hands within a bound. Whoever speaks the plain protocol is told so in its words.
pub(super) async fn shake_hands(stream: TcpStream, tls: &ClientTls) -> Result<TlsStream<TcpStream>, NoHandshake> {
    timeout(TLS_HANDSHAKE_DEADLINE, shake(stream, tls)).await.unwrap_or(Err(NoHandshake::Deadline))
}

async fn shake(mut stream: TcpStream, tls: &ClientTls) -> Result<TlsStream<TcpStream>, NoHandshake> {
    let mut first = [0];
    if stream.peek(&mut first).await? > 0 && first != [HANDSHAKE_RECORD] {
        let _ = stream.write_all(b"-ERR this port takes TLS only\r\n").await;
        let _ = stream.shutdown().await;
        return Err(NoHandshake::Plain);
    }
    Ok(TlsAcceptor::from(tls.server()).accept(stream).await?)
}

/// The first byte of every connection with TLS (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
