//! The two buffers of a connection and the bytes between them and the stream.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::time::timeout;

use crate::limits::OUTPUT_BYTES_MAX;
use crate::limits::READ_BATCH_BYTES_MAX;
use crate::limits::WRITE_BATCH_BYTES;
use crate::resp::close::Close;
use crate::resp::registry::Client;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;

/// A stream with what was received and not yet run, and what was answered and not yet sent.
pub(crate) struct Wire<S> {
    pub(crate) inbox: BytesMut,
    pub(crate) outbox: Vec<u8>,
    stream: S,
    shared: Arc<ServerShared>,
    client: Arc<Client>,
    /// Bytes that this connection has taken from the memory of all clients.
    charged: usize,
    /// The part of it that the connection holds outside its buffers.
    kept: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S, shared: Arc<ServerShared>, client: Arc<Client>) -> Wire<S> {
        Wire { inbox: BytesMut::new(), outbox: Vec::new(), stream, shared, client, charged: 0, kept: 0 }
    }

    /// Waits for bytes, then takes all that are ready, up to a batch. `false` at the end of the stream.
    ///
    /// The bytes pass through the stack, so that a connection that waits holds no buffer.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        let stop_at = self.inbox.len() + READ_BATCH_BYTES_MAX;
        let before = self.inbox.len();
        let result = poll_fn(|context| {
            let mut stack = [MaybeUninit::<u8>::uninit(); STACK_BYTES];
            loop {
                let mut chunk = ReadBuf::uninit(&mut stack);
                match Pin::new(&mut self.stream).poll_read(context, &mut chunk) {
                    Poll::Pending if self.inbox.len() == before => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Ok(true)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    // What came before the end is run; the next call finds the end again.
                    Poll::Ready(Ok(())) if chunk.filled().is_empty() => {
                        return Poll::Ready(Ok(self.inbox.len() > before));
                    }
                    Poll::Ready(Ok(())) => {
                        let is_short = chunk.remaining() > 0;
                        self.inbox.extend_from_slice(chunk.filled());
                        if is_short || self.inbox.len() >= stop_at {
                            return Poll::Ready(Ok(true));
                        }
                    }
                }
            }
        })
        .await;
        add(&self.shared.stats.input_bytes_total, self.inbox.len() - before);
        self.client.touch();
        result
    }

    /// Sends what is answered, if it is enough to be worth it.
    pub(crate) async fn drain_if_large(&mut self) -> Result<(), Close> {
        if self.outbox.len() > OUTPUT_BYTES_MAX {
            return Err(Close::Bound("output buffer"));
        }
        if self.outbox.len() >= WRITE_BATCH_BYTES { self.drain().await } else { Ok(()) }
    }

    /// Sends everything that is answered.
    ///
    /// # Errors
    /// The client does not take it in time, or is gone.
    pub(crate) async fn drain(&mut self) -> Result<(), Close> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.charge(0)?;
        let len = self.outbox.len();
        let sent = self.send_at_once().await.map_err(Close::Gone)?;
        if sent < len {
            let allowed = self.shared.bounds.write_deadline + Duration::from_secs((len / PACE_BYTES_PER_SECOND) as u64);
            match timeout(allowed, self.stream.write_all(&self.outbox[sent..])).await {
                Err(_) => return Err(Close::Bound("write deadline")),
                Ok(Err(error)) => return Err(Close::Gone(error)),
                Ok(Ok(())) => {}
            }
        }
        add(&self.shared.stats.output_bytes_total, len);
        self.outbox.clear();
        if self.outbox.capacity() > KEPT_BYTES {
            self.outbox = Vec::new();
        }
        Ok(())
    }

    /// Sends what the socket takes without waiting, and says how much that was. Nearly always it is everything, and a
    /// deadline is set in vain.
    async fn send_at_once(&mut self) -> io::Result<usize> {
        poll_fn(|context| match Pin::new(&mut self.stream).poll_write(context, &self.outbox) {
            Poll::Ready(sent) => Poll::Ready(sent),
            Poll::Pending => Poll::Ready(Ok(0)),
        })
        .await
    }

    /// Lets go of memory that a waiting connection does not need.
    pub(crate) fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
    }

    /// Notes what the connection holds outside its buffers until it says otherwise: the next charge counts it.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.kept = bytes;
    }

    /// Takes from the memory of all clients what this one holds: its buffers and `frame_bytes` of commands being run.
    ///
    /// # Errors
    /// There is not so much left: this one is closed, for it asked last.
    pub(crate) fn charge(&mut self, frame_bytes: usize) -> Result<(), Close> {
        let held = self.inbox.capacity() + self.outbox.capacity() + self.kept + frame_bytes;
        self.client.inbox_bytes.store(self.inbox.len() + frame_bytes, Ordering::Relaxed);
        self.client.outbox_bytes.store(self.outbox.len(), Ordering::Relaxed);
        let gauge = &self.shared.stats.buffer_bytes;
        let charged = std::mem::replace(&mut self.charged, held);
        if held == charged {
            return Ok(());
        }
        if held < charged {
            gauge.fetch_sub(charged - held, Ordering::Relaxed);
            return Ok(());
        }
        let all = gauge.fetch_add(held - charged, Ordering::Relaxed) + (held - charged);
        if all > self.shared.bounds.memory_bytes_max && held > KEPT_BYTES {
            return Err(Close::Bound("memory of all clients"));
        }
        Ok(())
    }

    /// Sends what is left, says that nothing more comes, and waits a little for the client to see it: a socket that
    /// is closed with bytes unread takes the last reply away from the client.
    pub(crate) async fn part(&mut self) {
        let lingering = async {
            if self.stream.write_all(&self.outbox).await.is_err() || self.stream.shutdown().await.is_err() {
                return;
            }
            let mut dropped = 0;
            while dropped < LINGER_BYTES {
                self.inbox.clear();
                match self.fill().await {
                    Ok(true) => dropped += self.inbox.len(),
                    Ok(false) | Err(_) => return,
                }
            }
        };
        // Whether it took the time or not, the connection ends here.
        let _ = timeout(LINGER, lingering).await;
    }
}

impl<S> Drop for Wire<S> {
    fn drop(&mut self) {
        self.shared.stats.buffer_bytes.fetch_sub(self.charged, Ordering::Relaxed);
    }
}

/// One read of the socket: more than a pipeline of 16 small commands.
const STACK_BYTES: usize = 16 << 10;
/// An output buffer up to here is kept between replies, and is not refused for want of memory.
const KEPT_BYTES: usize = 16 << 10;
/// A client that takes less is slow.
const PACE_BYTES_PER_SECOND: usize = 64 << 10;
/// How long and how much is read and dropped after the last reply.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 4 << 20;
