//! A connection as the kernel has it, before anybody says who they are.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::limits::PEER_SILENCE_MAX;

/// What frames go over.
pub(super) trait PeerStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> PeerStream for S {}

/// Any of them.
pub(super) type BoxedStream = Box<dyn PeerStream>;

/// Sends at once, and notices a peer that vanished without a word.
///
/// # Errors
/// The kernel refuses, so the socket is about to fail.
pub(super) fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(PEER_SILENCE_MAX.as_millis()).expect("a few seconds");
    sockopt::set_tcp_user_timeout(stream, millis)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PEER_SILENCE_MAX)?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    Ok(sockopt::set_tcp_keepcnt(stream, 2)?)
}
