//! The admin listener's connections within bounds: whoever holds them must not take descriptors from the node.
//!
//! At most [`ADMIN_CONNECTIONS_MAX`] are open. A newcomer takes the place of the oldest one that has no request under way.
//! A request must be complete [`ADMIN_DEADLINE`] after the connection began, or after the answer before it. Its answer begins
//! within [`ADMIN_ANSWER_DEADLINE`], and must be taken at the pace of the first.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep;

use crate::limits::ADMIN_ANSWER_DEADLINE;
use crate::limits::ADMIN_CONNECTIONS_MAX;
use crate::limits::ADMIN_DEADLINE;

/// Accepts within bounds.
pub(super) struct AdminListener {
    listener: TcpListener,
    /// Oldest first.
    open: VecDeque<Place>,
}

/// A connection as the listener sees it.
struct Place {
    /// Dropped to end the connection; closed once it has ended.
    hold: oneshot::Sender<()>,
    has_request: Arc<AtomicBool>,
}

impl AdminListener {
    pub(super) fn new(listener: TcpListener) -> AdminListener {
        AdminListener { listener, open: VecDeque::new() }
    }

    /// A place for one more, if there is one or can be.
    fn place(&mut self) -> Option<(oneshot::Receiver<()>, Arc<AtomicBool>)> {
        self.open.retain(|place| !place.hold.is_closed());
        if self.open.len() >= ADMIN_CONNECTIONS_MAX {
            let idle = self.open.iter().position(|place| !place.has_request.load(Relaxed))?;
            self.open.remove(idle);
        }
        let (hold, held) = oneshot::channel();
        let has_request = Arc::new(AtomicBool::new(false));
        self.open.push_back(Place { hold, has_request: Arc::clone(&has_request) });
        assert!(self.open.len() <= ADMIN_CONNECTIONS_MAX, "BOUNDED");
        Some((held, has_request))
    }
}

impl Listener for AdminListener {
    type Io = AdminStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (AdminStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some((held, has_request)) = self.place() {
                        return (AdminStream::new(stream, held, has_request), peer);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept admin connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends at its deadline.
pub(super) struct AdminStream {
    stream: TcpStream,
    held: oneshot::Receiver<()>,
    has_request: Arc<AtomicBool>,
    deadline: Pin<Box<Sleep>>,
    /// Bytes of the line that is being received.
    line_bytes: usize,
    /// A line of a head came before it. Empty ones before the first are passed over, as HTTP says.
    has_lines: bool,
}

impl AdminStream {
    fn new(stream: TcpStream, held: oneshot::Receiver<()>, has_request: Arc<AtomicBool>) -> AdminStream {
        let deadline = Box::pin(sleep(ADMIN_DEADLINE));
        AdminStream { stream, held, has_request, deadline, line_bytes: 0, has_lines: false }
    }

    /// Ready once the connection must end.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if Pin::new(&mut self.held).poll(context).is_ready() {
            return Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "its place was needed"));
        }
        self.deadline.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Notes whether the head of a request is complete.
    fn look_for_request(&mut self, received: &[u8]) {
        for byte in received {
            match byte {
                b'\r' => {}
                b'\n' if self.line_bytes > 0 => (self.line_bytes, self.has_lines) = (0, true),
                b'\n' if self.has_lines => {
                    self.has_lines = false;
                    self.has_request.store(true, Relaxed);
                    self.deadline.as_mut().reset(Instant::now() + ADMIN_ANSWER_DEADLINE);
                }
                b'\n' => {}
                _ => self.line_bytes += 1,
            }
        }
    }
}

impl AsyncRead for AdminStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, out);
        match polled {
            Poll::Ready(result) => {
                self.look_for_request(&out.filled()[before..]);
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_end(context).map(Err),
        }
    }
}

impl AsyncWrite for AdminStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.has_request.swap(false, Relaxed) {
            self.deadline.as_mut().reset(Instant::now() + ADMIN_DEADLINE);
        }
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(result) => {
                self.deadline.as_mut().reset(Instant::now() + ADMIN_DEADLINE);
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_end(context).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
