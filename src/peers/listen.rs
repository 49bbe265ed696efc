//! The connections that others make: accepted, asked who they are, and refused with words or served.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::limits::PEER_HELLO_DEADLINE;
use crate::limits::PEER_STRANGERS_MAX;
use crate::limits::PEER_STRANGERS_OF_ADDRESS_MAX;
use crate::peers::frame::FrameFault;
use crate::peers::frame::FrameKind;
use crate::peers::frame::FramesIn;
use crate::peers::frame::frame_of;
use crate::peers::hello::Hello;
use crate::peers::hello::HelloRefused;
use crate::peers::hello::words_to_bytes;
use crate::peers::inbound::serve;
use crate::peers::secure::Accepted;
use crate::peers::secure::SecureFault;
use crate::peers::shared::Shared;
use crate::peers::stream::set_up;

/// Why somebody did not come in.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Secure(#[from] SecureFault),
    #[error("{0}")]
    Frame(#[from] FrameFault),
    #[error("{0}")]
    Hello(#[from] HelloRefused),
    #[error("it did not say who it is within {} s", PEER_HELLO_DEADLINE.as_secs())]
    Deadline,
}

/// Accepts until the task is aborted.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let strangers = Arc::new(Semaphore::new(PEER_STRANGERS_MAX));
    let of_addresses = Arc::new(Strangers::default());
    loop {
        let Ok(place) = Arc::clone(&strangers).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = Seat::take(&of_addresses, address.ip()) else {
            tracing::debug!(%address, "a connection of a peer is dropped: its address has as many that say nothing");
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let entered = timeout(PEER_HELLO_DEADLINE, enter(&shared, stream)).await;
            drop((place, seat));
            if let Err(turned) = entered.unwrap_or(Err(Turned::Deadline)) {
                log(&shared, address, &turned);
            }
        });
    }
}

/// Those who have not said who they are, by their address.
#[derive(Default)]
struct Strangers(Mutex<HashMap<IpAddr, usize>>);

impl Strangers {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a stranger among those of its address.
struct Seat {
    strangers: Arc<Strangers>,
    address: IpAddr,
}

impl Seat {
    /// `None`: the address has as many as it may have.
    fn take(strangers: &Arc<Strangers>, address: IpAddr) -> Option<Seat> {
        let mut counts = strangers.counts();
        let count = counts.entry(address).or_insert(0);
        if *count >= PEER_STRANGERS_OF_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Seat { strangers: Arc::clone(strangers), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.strangers.counts();
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.address)),
        }
    }
}

/// The end of a connection that said nothing is nobody's trouble: probes and port scans do that.
fn log(shared: &Shared, address: SocketAddr, turned: &Turned) {
    let words = turned.to_string();
    if matches!(turned, Turned::Frame(FrameFault::Closed)) || !shared.refusals.add(address.ip(), &words) {
        tracing::debug!(%address, "a connection of a peer is refused: {words}");
    } else {
        tracing::warn!(%address, "a connection of a peer is refused: {words}");
    }
}

/// Hears who somebody is; who may come in is served by a task of its own.
async fn enter(shared: &Arc<Shared>, stream: TcpStream) -> Result<(), Turned> {
    set_up(&stream)?;
    let mut accepted = shared.secure.accepted(stream).await?;
    let mut reader = FramesIn::default();
    let (_, body) = reader.next(&mut accepted.stream, &[FrameKind::Hello]).await?;
    let hello = match judge(shared, &accepted, &body) {
        Ok(hello) => hello,
        Err(refused) => {
            // So that the other operator reads it too. Who does not take it knows less.
            let words = refused.to_string();
            let _ = accepted.stream.write_all(&frame_of(FrameKind::Refusal, words_to_bytes(&words))).await;
            let _ = accepted.stream.shutdown().await;
            return Err(refused.into());
        }
    };
    let welcome = frame_of(FrameKind::Welcome, &shared.hello(hello.lane, hello.from).to_bytes());
    let mut stream = accepted.stream;
    stream.write_all(&welcome).await?;
    stream.flush().await?;
    if let Some(peer) = shared.peer(hello.from) {
        peer.is_back();
    }
    let (node, lane) = (hello.from, hello.lane);
    let task = tokio::spawn(serve(Arc::clone(shared), stream, reader, node, lane));
    shared.guests.enter(node, lane, task.abort_handle());
    Ok(())
}

fn judge(shared: &Shared, accepted: &Accepted, body: &Bytes) -> Result<Hello, HelloRefused> {
    let hello = Hello::read(body)?;
    hello.may_enter(shared.node, shared.cluster)?;
    shared.secure.is_node(accepted, hello.from).map_err(HelloRefused::Certificate)?;
    shared.handler.meet(hello.from, &hello.facts).map_err(HelloRefused::Unwanted)?;
    Ok(hello)
}

/// After an accept that failed: the process has no descriptor left, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_one_address_takes_not_all_places_of_strangers() {
        let strangers = Arc::new(Strangers::default());
        let [one, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let mut seats: Vec<Option<Seat>> =
            (0..PEER_STRANGERS_OF_ADDRESS_MAX + 3).map(|_| Seat::take(&strangers, one)).collect();
        assert_eq!(seats.iter().flatten().count(), PEER_STRANGERS_OF_ADDRESS_MAX);
        assert!(Seat::take(&strangers, other).is_some());
        seats.swap_remove(0);
        assert!(Seat::take(&strangers, one).is_some());
        drop(seats);
        assert!(strangers.counts().is_empty(), "nothing is kept of those who have gone");
    }
}
