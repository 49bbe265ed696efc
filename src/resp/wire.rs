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
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio::time::timeout;

use crate::fsm::command::Reply;
use crate::limits::CLIENT_HOLD_FREE_BYTES;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::limits::READ_BATCH_BYTES_MAX;
use crate::limits::WRITE_BATCH_BYTES;
use crate::resp::close::Close;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::Protocol;
use crate::resp::memory::Hold;
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
    /// What this connection has taken from the memory of all clients.
    hold: Hold,
    /// Held outside the buffers: commands that wait for EXEC, commands that arrive or run, replies being sent.
    kept: usize,
    running: usize,
    replying: usize,
    /// When bytes came that nobody has run yet.
    filled_at: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S, shared: Arc<ServerShared>, client: Arc<Client>) -> Wire<S> {
        let hold = shared.memory.hold(0);
        let (inbox, outbox) = (BytesMut::new(), Vec::new());
        Wire { inbox, outbox, stream, shared, client, hold, kept: 0, running: 0, replying: 0, filled_at: None }
    }

    /// Waits for bytes, then takes all that are ready, up to a batch. `false` at the end of the stream.
    ///
    /// The bytes pass through the stack, so that a connection that waits holds no buffer.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        let free = self.inbox.capacity() - self.inbox.len();
        self.fill_with(free.min(READ_BATCH_BYTES_MAX).max(self.shared.memory.buffer_bytes(READ_BATCH_BYTES_MAX))).await
    }

    /// The same up to `most` bytes.
    async fn fill_with(&mut self, most: usize) -> io::Result<bool> {
        let before = self.inbox.len();
        let stop_at = before + most;
        let result = poll_fn(|context| {
            let mut stack = [MaybeUninit::<u8>::uninit(); STACK_BYTES];
            loop {
                let len = STACK_BYTES.min(stop_at - self.inbox.len());
                let mut chunk = ReadBuf::uninit(&mut stack[..len]);
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
                        if self.inbox.capacity() == 0 {
                            // A buffer that grows from nothing takes three times as many instructions as a new one.
                            self.inbox = BytesMut::with_capacity(chunk.filled().len());
                        }
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
        let now = Instant::now();
        self.client.touch(now.into_std());
        self.filled_at = Some(now);
        result
    }

    /// When what is run now came; the time now if something was run since.
    pub(crate) fn begin(&mut self) -> Instant {
        self.filled_at.take().unwrap_or_else(Instant::now)
    }

    /// Returns once the client has ended its side, or somebody ends the connection: for what is done only for a client that stays.
    /// What the client sends meanwhile waits, little of it here; behind it an end is not seen.
    pub(crate) async fn ended(&mut self) -> Close {
        let client = Arc::clone(&self.client);
        if self.inbox.len() < CLIENT_HOLD_FREE_BYTES {
            tokio::select! {
                filled = self.fill_with(CLIENT_HOLD_FREE_BYTES) => match filled {
                    Ok(true) => self.count(),
                    Ok(false) => return Close::Ended,
                    Err(error) => return Close::Gone(error),
                },
                () = client.killed() => return Close::Killed,
            }
        }
        client.killed().await;
        Close::Killed
    }

    /// Sends what is answered, if it is enough to be worth it.
    pub(crate) async fn drain_if_large(&mut self) -> Result<(), Close> {
        let len = self.outbox.len();
        if len > OUTPUT_BYTES_MAX {
            return Err(Close::Bound("output buffer"));
        }
        let is_large = len >= CLIENT_HOLD_FREE_BYTES / 4 && len >= self.shared.memory.buffer_bytes(WRITE_BATCH_BYTES);
        if is_large { self.drain().await } else { Ok(()) }
    }

    /// Sends everything that is answered.
    ///
    /// # Errors
    /// The client does not take it in time, or is gone.
    pub(crate) async fn drain(&mut self) -> Result<(), Close> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.count();
        let mut outbox = std::mem::take(&mut self.outbox);
        self.send(&outbox).await?;
        outbox.clear();
        if outbox.capacity() <= KEPT_BYTES {
            self.outbox = outbox;
        }
        Ok(())
    }

    /// Puts a reply behind what is answered. A large value is sent from where it is, without a copy of it.
    ///
    /// # Errors
    /// As [`Wire::drain`].
    pub(crate) async fn write_reply(&mut self, reply: Reply, protocol: Protocol) -> Result<(), Close> {
        let Reply::Array(members) = reply else {
            return self.write_part(reply, protocol).await;
        };
        Encoder::new(&mut self.outbox, protocol).array(members.len());
        for member in members {
            self.write_part(member, protocol).await?;
        }
        Ok(())
    }

    async fn write_part(&mut self, reply: Reply, protocol: Protocol) -> Result<(), Close> {
        match reply {
            Reply::Bulk(bytes) if bytes.len() >= WRITE_BATCH_BYTES => {
                Encoder::new(&mut self.outbox, protocol).bulk_head(bytes.len());
                self.drain().await?;
                self.send(&bytes).await?;
                self.outbox.extend_from_slice(b"\r\n");
            }
            other => Encoder::new(&mut self.outbox, protocol).reply(&other),
        }
        self.drain_if_large().await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Close> {
        let mut sent = 0;
        // A client that reads takes it all at once: no clock is asked. TLS may hold back what a socket does not.
        let at_once = poll_fn(|context| match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => {
                sent = written;
                match Pin::new(&mut self.stream).poll_flush(context) {
                    Poll::Ready(flushed) => Poll::Ready(flushed.map(|()| sent == bytes.len())),
                    Poll::Pending => Poll::Ready(Ok(false)),
                }
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Ready(Ok(false)),
        });
        if !at_once.await.map_err(Close::Gone)? {
            self.send_rest(&bytes[sent..]).await?;
        }
        add(&self.shared.stats.output_bytes_total, bytes.len());
        Ok(())
    }

    async fn send_rest(&mut self, bytes: &[u8]) -> Result<(), Close> {
        let since = Instant::now();
        let pace = Duration::from_secs((bytes.len() / PACE_BYTES_PER_SECOND) as u64);
        let deadline = since + self.shared.bounds.write_deadline + pace;
        let mut sent = 0;
        loop {
            let rest = &bytes[sent..];
            let step = async {
                if rest.is_empty() { self.stream.flush().await.map(|()| 0) } else { self.stream.write(rest).await }
            };
            tokio::select! {
                biased;
                written = step => match written {
                    Ok(0) if rest.is_empty() => return Ok(()),
                    Ok(0) => return Err(Close::Gone(io::ErrorKind::WriteZero.into())),
                    Ok(count) => sent += count,
                    Err(error) => return Err(Close::Gone(error)),
                },
                () = sleep_until(deadline) => return Err(Close::Bound(WRITE_DEADLINE)),
                () = self.client.killed() => return Err(Close::Killed),
                () = sleep(PRESSURE_LOOK_EVERY) => if !self.shared.memory.allows(self.hold.bytes(), sent, since) {
                    return Err(Close::Bound(MEMORY));
                },
            }
        }
    }

    /// Lets go of memory that a waiting connection does not need.
    pub(crate) fn rest(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
    }

    /// Notes what commands that wait for EXEC hold.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.kept = bytes;
    }

    /// Notes what commands hold that arrive or run, beside the inbox.
    pub(crate) fn run(&mut self, bytes: usize) {
        self.running = bytes;
        self.count();
    }

    /// Notes that nothing runs any more. Counted with what comes next: replies are sent, or bytes are waited for.
    pub(crate) fn ran(&mut self) {
        self.running = 0;
    }

    /// Notes what replies hold that are being sent.
    pub(crate) fn reply(&mut self, taken: Option<Hold>) {
        self.replying = taken.as_ref().map_or(0, Hold::bytes);
        if let Some(taken) = taken {
            self.hold.add(taken);
        }
    }

    /// Notes that memory was taken for what is in the output buffer now.
    pub(crate) fn adopt(&mut self, taken: Hold) {
        self.hold.add(taken);
    }

    /// The memory that has to be taken and allocated before more of a command can arrive, of which `missing` bytes are still to
    /// come, 0 if nobody knows how many. `None`: it has what it needs.
    pub(crate) fn lacks(&self, missing: usize) -> Option<usize> {
        let (len, capacity) = (self.inbox.len(), self.inbox.capacity());
        if len + missing <= CLIENT_HOLD_FREE_BYTES {
            return None;
        }
        let least = if missing > 0 { missing } else { STACK_BYTES };
        if capacity - len >= least {
            return None;
        }
        // A buffer of unknown size doubles.
        Some(if missing > 0 { missing } else { self.shared.memory.buffer_bytes(READ_BATCH_BYTES_MAX).max(capacity) })
    }

    /// Takes `bytes` from the memory of all clients; `None` if there is not as much by `deadline`.
    ///
    /// # Errors
    /// The client has ended its side, or is killed: it leaves the line. What it would be given keeps nobody else waiting.
    pub(crate) async fn take(&mut self, bytes: usize, deadline: Instant) -> Result<Option<Hold>, Close> {
        let memory = Arc::clone(&self.shared.memory);
        if let Some(hold) = memory.try_take(bytes) {
            return Ok(Some(hold));
        }
        tokio::select! {
            biased;
            close = self.ended() => Err(close),
            taken = memory.take(bytes, deadline) => Ok(taken),
        }
    }

    /// Takes memory for `bytes` of a command that arrives, and allocates it. `false` if there is not as much by `deadline`.
    pub(crate) async fn expect(&mut self, bytes: usize, deadline: Instant) -> bool {
        let Some(taken) = self.shared.memory.take(bytes, deadline).await else { return false };
        self.inbox.reserve(bytes);
        self.hold.add(taken);
        self.count();
        true
    }

    /// Bytes that it has taken.
    pub(crate) fn held(&self) -> usize {
        self.hold.bytes()
    }

    /// Counts what it holds now.
    pub(crate) fn count(&mut self) {
        let held = self.inbox.capacity() + self.outbox.capacity() + self.kept + self.running + self.replying;
        self.client.inbox_bytes.store(self.inbox.len() + self.running, Ordering::Relaxed);
        self.client.outbox_bytes.store(self.outbox.len() + self.replying, Ordering::Relaxed);
        self.hold.set(held);
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

/// Names of bounds, as they are logged.
pub(crate) const WRITE_DEADLINE: &str = "write deadline";
pub(crate) const MEMORY: &str = "memory of all clients";
/// How often one that waits for its client looks whether others wait for memory.
const PRESSURE_LOOK_EVERY: Duration = Duration::from_millis(200);
/// One read of the socket: more than a pipeline of 16 small commands.
const STACK_BYTES: usize = 16 << 10;
/// An output buffer up to here is kept between replies.
const KEPT_BYTES: usize = 16 << 10;
/// A client that takes less is slow.
const PACE_BYTES_PER_SECOND: usize = 64 << 10;
/// How long and how much is read and dropped after the last reply.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 4 << 20;
