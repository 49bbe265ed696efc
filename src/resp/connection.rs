//! The life of one connection: read what is ready, run it, answer, until somebody ends it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::limits::CLIENT_HOLD_FREE_BYTES;
use crate::resp::close::Close;
use crate::resp::codec::arguments::Received;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::Protocol;
use crate::resp::codec::request::Parser;
use crate::resp::registry::Client;
use crate::resp::session::Session;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
use crate::resp::wire::MEMORY;
use crate::resp::wire::WRITE_DEADLINE;
use crate::resp::wire::Wire;

/// Serves a connection to its end.
pub(crate) async fn serve<S>(stream: S, shared: Arc<ServerShared>, client: Arc<Client>, stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream, Arc::clone(&shared), Arc::clone(&client));
    let mut session = Session::new(Arc::clone(&shared), Arc::clone(&client));
    let Err(close) = converse(&mut wire, &mut session, &shared, &client, stopping).await;
    tracing::trace!(client = client.id, reason = ?close, "client connection ends");
    match close {
        Close::Gone(error) => {
            tracing::debug!(client = client.id, %error, "client is gone");
            return;
        }
        Close::Bound(WRITE_DEADLINE | MEMORY) => {
            add(&shared.stats.connections_closed_total, 1);
            return;
        }
        Close::Bound(_) => add(&shared.stats.connections_closed_total, 1),
        Close::Protocol(error) => {
            add(&shared.stats.connections_closed_total, 1);
            add(&shared.stats.protocol_errors_total, 1);
            Encoder::new(&mut wire.outbox, Protocol::Resp2).error(&format!("ERR {error}"));
        }
        Close::Asked | Close::Ended | Close::Unknown | Close::Killed | Close::Stopping => {}
    }
    wire.part().await;
}

/// What a command that runs holds beside its bytes, rounded up: its place in a group, an entry and the replies.
const COMMAND_BYTES: usize = 256;

enum Never {}

async fn converse<S>(
    wire: &mut Wire<S>,
    session: &mut Session,
    shared: &ServerShared,
    client: &Client,
    stopping: watch::Receiver<bool>,
) -> Result<Never, Close>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut news = News { ended: pin!(end_from_outside(client, stopping.clone())), listens: None };
    let mut parser = Parser::default();
    let mut batch = Received::default();
    let mut command_began = None;
    loop {
        let parsed = parser.parse(&mut wire.inbox, session.sender(), &mut batch);
        let received = wire.inbox.len();
        if batch.len() > 0 {
            wire.run(batch.held_bytes() + COMMAND_BYTES * batch.len().min(shared.memory.group_commands()));
            session.run(&mut batch, wire).await?;
            wire.ran();
            command_began = None;
        }
        // Who waited, and looked whether its client is still there, may have received something.
        let has_received = wire.inbox.len() > received;
        parsed.map_err(Close::Protocol)?;
        if client.is_killed() {
            return Err(Close::Killed);
        }
        if !wire.outbox.is_empty() {
            // Others whose requests are here run first, then all answer: a client with many connections is woken once for all of
            // them.
            go_behind_others().await;
        }
        wire.drain().await?;
        // What woke this connection while it did something else wakes it no more.
        if client.is_killed() {
            return Err(Close::Killed);
        }
        if !matches!(stopping.has_changed(), Ok(false)) {
            return Err(Close::Stopping);
        }
        if has_received || parser.may_have_more(&wire.inbox) {
            continue;
        }
        wire.rest();
        parser.rest();
        batch.rest();
        wire.run(parser.held_bytes());
        if !wire.inbox.is_empty() && command_began.is_none() {
            command_began = Some(Instant::now());
        }
        let began = command_began;
        if let Some(bytes) = wire.lacks(parser.missing(&wire.inbox)) {
            let ended = poll_fn(|context| news.poll(context, true));
            let is_there = tokio::select! {
                biased;
                close = ended => return Err(close),
                is_there = wire.expect(bytes, Instant::now() + shared.bounds.queue_deadline) => is_there,
            };
            if !is_there {
                parser.give_up();
                continue;
            }
        }
        let deadline = next_deadline(session, shared, command_began);
        wait_for_bytes(wire, shared, &mut news, (began, deadline)).await?;
    }
}

/// Lets everything run that is ready now. The runtime's own yield goes on only once the sockets were asked again, so
/// requests that came meanwhile ran before the answers, and these left in two halves in turn: with 50 connections of one
/// request each a client slept 90 times for 1000 replies, and does 43 times.
async fn go_behind_others() {
    let mut is_behind = false;
    let behind = poll_fn(|context| {
        if std::mem::replace(&mut is_behind, true) {
            return Poll::Ready(());
        }
        // A task that is woken while it runs goes to the end of the queue.
        context.waker().wake_by_ref();
        Poll::Pending
    });
    behind.await;
}

/// A CLIENT KILL or the end of the node.
async fn end_from_outside(client: &Client, mut stopping: watch::Receiver<bool>) -> Close {
    tokio::select! {
        () = client.killed() => Close::Killed,
        _ = stopping.changed() => Close::Stopping,
    }
}

/// What may end a connection while it waits for bytes. It listens for the whole life of the connection: to begin and to end
/// that at every wait would cost more than the wait.
struct News<'a, F> {
    ended: Pin<&'a mut F>,
    /// Whom the news wake; `None` before the first wait.
    listens: Option<Waker>,
}

impl<F: Future<Output = Close>> News<'_, F> {
    /// `is_woken` by the news, or by something else.
    fn poll(&mut self, context: &mut Context<'_>, is_woken: bool) -> Poll<Close> {
        let listens = self.listens.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if listens && !is_woken {
            return Poll::Pending;
        }
        if !listens {
            self.listens = Some(context.waker().clone());
        }
        self.ended.as_mut().poll(context)
    }
}

/// Reads, unless a deadline, a CLIENT KILL or the end of the node comes first.
async fn wait_for_bytes<S>(
    wire: &mut Wire<S>,
    shared: &ServerShared,
    news: &mut News<'_, impl Future<Output = Close>>,
    (began, deadline): (Option<Instant>, Option<(Instant, &'static str)>),
) -> Result<(), Close>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (held, received) = (wire.held(), wire.inbox.len());
    let mut filling = pin!(wire.fill());
    let mut is_woken = false;
    let filled = poll_fn(|context| match filling.as_mut().poll(context) {
        Poll::Ready(Ok(true)) => Poll::Ready(Ok(())),
        Poll::Ready(Ok(false)) => Poll::Ready(Err(Close::Gone(io::ErrorKind::UnexpectedEof.into()))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(Close::Gone(error))),
        Poll::Pending => news.poll(context, std::mem::replace(&mut is_woken, true)).map(Err),
    });
    let filled = async {
        match deadline {
            None => filled.await,
            Some((at, name)) => timeout_at(at, filled).await.unwrap_or(Err(Close::Bound(name))),
        }
    };
    if held <= CLIENT_HOLD_FREE_BYTES {
        return filled.await;
    }
    tokio::select! {
        biased;
        filled = filled => filled,
        () = shared.memory.pressed(held, received, began.unwrap_or_else(Instant::now)) => Err(Close::Bound(MEMORY)),
    }
}

/// The first deadline that a silent client runs into, with its name.
fn next_deadline(
    session: &Session,
    shared: &ServerShared,
    command_began: Option<Instant>,
) -> Option<(Instant, &'static str)> {
    let idle = shared.idle_timeout();
    let deadlines = [
        session.auth_deadline().map(|at| (at, "auth deadline")),
        command_began.map(|began| (began + shared.bounds.command_deadline, "command deadline")),
        (idle > Duration::ZERO).then(|| (Instant::now() + idle, "idle timeout")),
    ];
    deadlines.into_iter().flatten().min_by_key(|(at, _)| *at)
}
