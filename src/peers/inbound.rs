//! What a peer sends on a connection that it made: messages for raft, and requests whose answers go back.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::split;
use tokio::sync::Semaphore;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::ids::NodeId;
use crate::limits::PEER_ANSWER_BYTES_MAX;
use crate::limits::PEER_CALLS_RUNNING_MAX;
use crate::peers::counters::Traffic;
use crate::peers::frame::FrameFault;
use crate::peers::frame::FrameKind;
use crate::peers::frame::FramesIn;
use crate::peers::handler::CallAnswer;
use crate::peers::handler::CallFuture;
use crate::peers::hello::Lane;
use crate::peers::outgoing::Outgoing;
use crate::peers::outgoing::PeerQueue;
use crate::peers::outgoing::queue;
use crate::peers::pump::write_all;
use crate::peers::shared::Shared;
use crate::peers::stream::BoxedStream;
use crate::raft::PeerMessage;

/// Serves a connection until it breaks or a newer one takes its place.
pub(super) async fn serve(shared: Arc<Shared>, stream: BoxedStream, mut reader: FramesIn, node: NodeId, lane: Lane) {
    let (mut input, mut output) = split(stream);
    let (answers, mut answers_out) = queue(shared.queue_bytes_max);
    answers_out.open();
    let written = Traffic::default();
    let places = Arc::new(Semaphore::new(PEER_CALLS_RUNNING_MAX));
    let guest = PeerGuest { shared, node, answers: Arc::new(answers), places };
    let fault = tokio::select! {
        fault = write_all(&mut output, &mut answers_out, |_| true, &written) => fault,
        fault = guest.read(&mut input, &mut reader, lane) => fault,
    };
    match fault {
        FrameFault::Closed | FrameFault::Io(_) => {
            tracing::debug!(peer = node.value(), "its {lane} connection ended: {fault}")
        }
        // Accidents on the way, or a program that is not ours.
        _ => tracing::warn!(peer = node.value(), "its {lane} connection is cut: {fault}"),
    }
}

/// A peer that came in.
struct PeerGuest {
    shared: Arc<Shared>,
    node: NodeId,
    answers: Arc<PeerQueue>,
    /// For requests under way. They go on when the connection ends: what began cannot be taken back.
    places: Arc<Semaphore>,
}

impl PeerGuest {
    async fn read(&self, input: &mut (impl AsyncRead + Unpin), reader: &mut FramesIn, lane: Lane) -> FrameFault {
        let kinds: &[FrameKind] = match lane {
            Lane::Fast => &[FrameKind::Message, FrameKind::Request],
            Lane::Bulk => &[FrameKind::Message],
        };
        loop {
            let (kind, body) = match reader.next(input, kinds).await {
                Ok(frame) => frame,
                Err(fault) => return fault,
            };
            match self.shared.peer(self.node) {
                Some(peer) => peer.counters.received.add(1, body.len()),
                None if kind == FrameKind::Message => self.shared.handler.undialled(self.node),
                None => {}
            }
            let taken = if kind == FrameKind::Message { self.message(&body) } else { self.request(&body) };
            if let Err(error) = taken {
                return FrameFault::Body { kind: kind as u8, error };
            }
        }
    }

    /// Only messages of the peer itself to this node: nobody speaks for another.
    fn message(&self, body: &Bytes) -> Result<(), CodecError> {
        let message = PeerMessage::read(body)?;
        if message.from() != self.node.value() {
            return Err(CodecError::Field { field: "from" });
        }
        if message.to() != self.shared.node.value() {
            return Err(CodecError::Field { field: "to" });
        }
        self.shared.handler.message(message);
        Ok(())
    }

    fn request(&self, body: &Bytes) -> Result<(), CodecError> {
        let mut reader = Reader::new(body);
        let number = reader.u64("number of a request")?;
        if reader.u8("kind of a request")? != 0 {
            return Err(CodecError::Field { field: "kind of a request" });
        }
        // It only wants to know how long this takes.
        if reader.remaining() == 0 {
            answer(&self.answers, number, CallAnswer::Done(Bytes::new()));
            return Ok(());
        }
        // A peer that does not take its answers is given no further ones: one that finds no place is an outcome that nobody knows.
        let place = (!self.answers.is_half_full()).then(|| Arc::clone(&self.places).try_acquire_owned());
        let Some(Ok(place)) = place else {
            answer(&self.answers, number, CallAnswer::NotRun);
            return Ok(());
        };
        let answered: CallFuture = self.shared.handler.call(self.node, body.slice_ref(reader.rest()));
        let answers = Arc::clone(&self.answers);
        tokio::spawn(async move {
            let outcome = answered.await;
            answer(&answers, number, outcome);
            drop(place);
        });
        Ok(())
    }
}

/// Without a connection, or with more answers than its queue takes, the sender learns that it cannot know: at once, as these are
/// words without bytes.
fn answer(answers: &PeerQueue, number: u64, answer: CallAnswer) {
    let answer = match answer {
        CallAnswer::Done(bytes) if bytes.len() > PEER_ANSWER_BYTES_MAX => CallAnswer::Unknown,
        answer => answer,
    };
    let unknown = |_| answers.push(Outgoing::Answer(number, CallAnswer::Unknown));
    if answers.push(Outgoing::Answer(number, answer)).or_else(unknown).is_err() {
        tracing::debug!("an answer to a peer's request found no connection");
    }
}
