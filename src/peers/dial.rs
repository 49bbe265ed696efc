//! The connections that this node makes: one for each lane of each peer, made again for as long as the peer is a member.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncWriteExt;
use tokio::io::split;
use tokio::net::TcpStream;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::limits::PEER_CONNECT_DEADLINE;
use crate::limits::PEER_HELLO_DEADLINE;
use crate::limits::PEER_PAUSE_MAX;
use crate::limits::PEER_PAUSE_MIN;
use crate::peers::calls::WhyNotSent;
use crate::peers::config::PeerAddress;
use crate::peers::counters::PeerCounters;
use crate::peers::frame::FrameFault;
use crate::peers::frame::FrameKind;
use crate::peers::frame::FramesIn;
use crate::peers::frame::frame_of;
use crate::peers::handler::CallAnswer;
use crate::peers::hello::Hello;
use crate::peers::hello::HelloRefused;
use crate::peers::hello::Lane;
use crate::peers::hello::words_from_bytes;
use crate::peers::outgoing::Outgoing;
use crate::peers::outgoing::QueueOut;
use crate::peers::peer::Peer;
use crate::peers::pump::write_all;
use crate::peers::secure::SecureFault;
use crate::peers::shared::Shared;
use crate::peers::stream::BoxedStream;
use crate::peers::stream::set_up;
use crate::world::KernelEntropy;
use crate::world::random_array;

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
enum DialFault {
    #[error("cannot resolve its name: {0}")]
    Name(io::Error),
    #[error("its name has no address")]
    NoAddress,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {} s", PEER_CONNECT_DEADLINE.as_secs())]
    ConnectDeadline,
    #[error("no welcome within {} s", PEER_HELLO_DEADLINE.as_secs())]
    HelloDeadline,
    #[error("it refuses this node: {0}")]
    RefusedByPeer(String),
    #[error("{0}")]
    Secure(#[from] SecureFault),
    #[error("{0}")]
    Refused(#[from] HelloRefused),
    #[error("{0}")]
    Frame(#[from] FrameFault),
    #[error("it speaks behind its welcome before it is spoken to")]
    Early,
    #[error("its address changed")]
    Moved,
}

/// Keeps one connection, until the task is aborted.
pub(super) async fn keep(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane, mut queue: QueueOut) {
    let mut pause = PEER_PAUSE_MIN;
    loop {
        let mut address = peer.address.subscribe();
        let fault = match connect(&shared, &peer, lane).await {
            Ok(stream) => {
                pause = PEER_PAUSE_MIN;
                run(&peer, lane, stream, &mut queue, &mut address).await
            }
            Err(fault) => fault,
        };
        if peer.standing.failed(fault.to_string()) {
            tracing::warn!(peer = peer.node.value(), address = %*peer.address.borrow(), "no {lane} connection: {fault}");
        }
        shared.handler.unreachable(peer.node);
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            () = peer.is_back.notified() => {}
            _ = address.changed() => {}
        }
        pause = (pause * 2).min(PEER_PAUSE_MAX);
    }
}

/// Half of a pause is chance, so that peers do not come back all at once.
fn jittered(pause: Duration) -> Duration {
    let chance = u32::from(u16::from_be_bytes(random_array(&KernelEntropy)));
    pause / 2 + (pause / 2) * chance / u32::from(u16::MAX)
}

async fn connect(shared: &Shared, peer: &Peer, lane: Lane) -> Result<BoxedStream, DialFault> {
    let address = peer.address.borrow().clone();
    let dialled = timeout(PEER_CONNECT_DEADLINE, dial(address.as_str())).await;
    let stream = dialled.map_err(|_| DialFault::ConnectDeadline)??;
    let greeted = timeout(PEER_HELLO_DEADLINE, greet(shared, peer, lane, stream)).await;
    greeted.map_err(|_| DialFault::HelloDeadline)?
}

/// The first of the addresses of the name that answers.
async fn dial(address: &str) -> Result<TcpStream, DialFault> {
    let mut last = DialFault::NoAddress;
    for address in lookup_host(address).await.map_err(DialFault::Name)? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = DialFault::Connect(error),
        }
    }
    Err(last)
}

/// Says who this node is, and hears who the other one is.
async fn greet(shared: &Shared, peer: &Peer, lane: Lane, stream: TcpStream) -> Result<BoxedStream, DialFault> {
    set_up(&stream).map_err(DialFault::Connect)?;
    let mut stream = shared.secure.dialled(stream, peer.node).await?;
    let hello = shared.hello(lane, peer.node);
    stream.write_all(&frame_of(FrameKind::Hello, &hello.to_bytes())).await.map_err(FrameFault::Io)?;
    stream.flush().await.map_err(FrameFault::Io)?;
    let mut reader = FramesIn::default();
    let (kind, body) = reader.next(&mut stream, &[FrameKind::Welcome, FrameKind::Refusal]).await?;
    if kind == FrameKind::Refusal {
        return Err(DialFault::RefusedByPeer(words_from_bytes(&body)));
    }
    let welcome = Hello::read(&body)?;
    welcome.answers(&hello)?;
    shared.handler.meet(peer.node, &welcome.facts).map_err(HelloRefused::Unwanted)?;
    // Bytes of the network are no reason to end the process.
    if reader.is_empty() { Ok(stream) } else { Err(DialFault::Early) }
}

/// Moves bytes until the connection breaks or the peer has another address.
async fn run(
    peer: &Peer,
    lane: Lane,
    stream: BoxedStream,
    queue: &mut QueueOut,
    address: &mut watch::Receiver<PeerAddress>,
) -> DialFault {
    let (mut input, mut output) = split(stream);
    PeerCounters::add(&peer.counters.connects, 1);
    if peer.standing.rise() {
        tracing::info!(peer = peer.node.value(), address = %*peer.address.borrow(), "connected");
    }
    queue.open();
    let is_wanted = |item: &Outgoing| match item {
        Outgoing::Request(number, _) => peer.calls.sent(*number),
        _ => true,
    };
    let fault = tokio::select! {
        fault = write_all(&mut output, queue, is_wanted, &peer.counters.sent) => fault.into(),
        fault = read_answers(&mut input, peer, lane) => fault.into(),
        _ = address.changed() => DialFault::Moved,
    };
    let left = queue.close();
    let messages = left.iter().filter(|item| matches!(item, Outgoing::Message(_))).count();
    PeerCounters::add(&peer.counters.dropped, messages);
    if lane == Lane::Fast {
        peer.calls.lost(WhyNotSent::NotConnected);
    }
    peer.standing.fall();
    fault
}

/// The peer answers requests on the fast lane, and says nothing on the other.
async fn read_answers(input: &mut (impl AsyncRead + Unpin), peer: &Peer, lane: Lane) -> FrameFault {
    let kinds: &[FrameKind] = if lane == Lane::Fast { &[FrameKind::Answer] } else { &[] };
    let mut reader = FramesIn::default();
    loop {
        let body = match reader.next(input, kinds).await {
            Ok((_, body)) => body,
            Err(fault) => return fault,
        };
        match read_answer(&body) {
            Ok((number, answer)) => peer.calls.answered(number, answer),
            Err(error) => return FrameFault::Body { kind: FrameKind::Answer as u8, error },
        }
    }
}

fn read_answer(body: &Bytes) -> Result<(u64, CallAnswer), CodecError> {
    let mut reader = Reader::new(body);
    let number = reader.u64("number of an answer")?;
    let outcome = reader.u8("outcome")?;
    let answer = match (outcome, reader.remaining()) {
        (0, _) => CallAnswer::Done(body.slice_ref(reader.rest())),
        (1, 0) => CallAnswer::NotRun,
        (2, 0) => CallAnswer::Unknown,
        _ => return Err(CodecError::Field { field: "outcome" }),
    };
    Ok((number, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_at_least_half_of_what_it_is_meant_to_be() {
        for _ in 0..1000 {
            let pause = jittered(PEER_PAUSE_MAX);
            assert!(pause >= PEER_PAUSE_MAX / 2 && pause <= PEER_PAUSE_MAX, "{pause:?}");
        }
    }

    #[test]
    fn an_answer_has_one_of_three_outcomes() {
        let body = |outcome: u8, rest: &[u8]| [&7_u64.to_be_bytes()[..], &[outcome], rest].concat().into();
        assert_eq!(read_answer(&body(0, b"x")), Ok((7, CallAnswer::Done(b"x"[..].into()))));
        assert_eq!(read_answer(&body(1, b"")), Ok((7, CallAnswer::NotRun)));
        assert_eq!(read_answer(&body(2, b"")), Ok((7, CallAnswer::Unknown)));
        for bad in [body(1, b"x"), body(3, b""), body(0xff, b"")] {
            assert_eq!(read_answer(&bad), Err(CodecError::Field { field: "outcome" }));
        }
    }
}
