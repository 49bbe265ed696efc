//! The life of one connection: read what is ready, run it, answer, until somebody ends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::resp::close::Close;
use crate::resp::codec::arguments::Received;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::Protocol;
use crate::resp::codec::request::Parser;
use crate::resp::registry::Client;
use crate::resp::session::Session;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
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
        Close::Bound("write deadline") => {
            add(&shared.stats.connections_closed_total, 1);
            return;
        }
        Close::Bound(_) => add(&shared.stats.connections_closed_total, 1),
        Close::Protocol(error) => {
            add(&shared.stats.connections_closed_total, 1);
            add(&shared.stats.protocol_errors_total, 1);
            Encoder::new(&mut wire.outbox, Protocol::Resp2).error(&format!("ERR {error}"));
        }
        Close::Asked | Close::Unknown | Close::Killed | Close::Stopping => {}
    }
    wire.part().await;
}

enum Never {}

async fn converse<S>(
    wire: &mut Wire<S>,
    session: &mut Session,
    shared: &ServerShared,
    client: &Client,
    mut stopping: watch::Receiver<bool>,
) -> Result<Never, Close>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut parser = Parser::default();
    let mut batch = Received::default();
    let mut command_began = None;
    loop {
        let parsed = parser.parse(&mut wire.inbox, session.sender(), &mut batch);
        if batch.len() > 0 {
            wire.charge(batch.frame_bytes())?;
            session.run(&batch, wire).await?;
            batch.clear();
            command_began = None;
        }
        parsed.map_err(Close::Protocol)?;
        if client.is_killed() {
            return Err(Close::Killed);
        }
        wire.drain().await?;
        if *stopping.borrow() {
            return Err(Close::Stopping);
        }
        if parser.may_have_more(&wire.inbox) {
            continue;
        }
        wire.rest();
        wire.charge(0)?;
        if !wire.inbox.is_empty() && command_began.is_none() {
            command_began = Some(Instant::now());
        }
        let deadline = next_deadline(session, shared, command_began);
        wait_for_bytes(wire, client, &mut stopping, deadline).await?;
    }
}

/// Reads, unless a deadline, a CLIENT KILL or the end of the node comes first.
async fn wait_for_bytes<S>(
    wire: &mut Wire<S>,
    client: &Client,
    stopping: &mut watch::Receiver<bool>,
    deadline: Option<(Instant, &'static str)>,
) -> Result<(), Close>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let expired = async {
        match deadline {
            Some((at, _)) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        filled = wire.fill() => match filled {
            Ok(true) => Ok(()),
            Ok(false) => Err(Close::Gone(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(Close::Gone(error)),
        },
        () = client.killed() => Err(Close::Killed),
        _ = stopping.changed() => Err(Close::Stopping),
        () = expired => Err(Close::Bound(deadline.map_or("deadline", |(_, name)| name))),
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
