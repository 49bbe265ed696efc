//! The queue in front of one connection, and what stands in it as bytes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Buf;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::limits::PEER_COPY_BYTES_MAX;
use crate::limits::PEER_QUEUE_MAX;
use crate::limits::PEER_WRITE_ITEMS_MAX;
use crate::peers::frame::FrameKind;
use crate::peers::frame::put_frame_head;
use crate::peers::handler::CallAnswer;
use crate::raft::PeerMessage;

/// What is written to a peer.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A message of raft.
    Message(PeerMessage),
    /// A request and its number.
    Request(u64, Bytes),
    /// The answer to a request of the peer, and its number.
    Answer(u64, CallAnswer),
}

impl Outgoing {
    /// Bytes that it holds, roughly.
    fn bytes(&self) -> usize {
        match self {
            Outgoing::Message(message) => message.wire_bytes(),
            Outgoing::Request(_, bytes) | Outgoing::Answer(_, CallAnswer::Done(bytes)) => bytes.len(),
            Outgoing::Answer(..) => 0,
        }
    }
}

/// The end of a queue where it is filled. Never waits.
#[derive(Debug)]
pub(super) struct PeerQueue {
    sender: mpsc::Sender<Outgoing>,
    gauge: Arc<Gauge>,
}

/// The other end.
#[derive(Debug)]
pub(super) struct QueueOut {
    receiver: mpsc::Receiver<Outgoing>,
    gauge: Arc<Gauge>,
}

#[derive(Debug, Default)]
struct Gauge {
    is_open: AtomicBool,
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// Why something does not stand in a queue: it was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// There is no connection.
    Closed,
    /// The bound is reached.
    Full,
}

/// A queue without a connection, for so many bytes.
pub(super) fn queue(bytes_max: usize) -> (PeerQueue, QueueOut) {
    let (sender, receiver) = mpsc::channel(PEER_QUEUE_MAX);
    let gauge = Arc::new(Gauge { bytes_max, ..Gauge::default() });
    (PeerQueue { sender, gauge: Arc::clone(&gauge) }, QueueOut { receiver, gauge })
}

impl PeerQueue {
    /// Puts it behind all others.
    ///
    /// # Errors
    /// [`NotQueued`].
    pub(super) fn push(&self, item: Outgoing) -> Result<(), NotQueued> {
        if !self.gauge.is_open.load(Ordering::Acquire) {
            return Err(NotQueued::Closed);
        }
        let bytes = item.bytes();
        // One that is longer than the bound passes an empty queue.
        let before = self.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before.saturating_add(bytes) > self.gauge.bytes_max {
            self.gauge.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(NotQueued::Full);
        }
        self.sender.try_send(item).map_err(|_| {
            self.gauge.bytes.fetch_sub(bytes, Ordering::Relaxed);
            NotQueued::Full
        })
    }

    /// Whether half of the bytes that may wait do.
    pub(super) fn is_half_full(&self) -> bool {
        self.gauge.bytes.load(Ordering::Relaxed) > self.gauge.bytes_max / 2
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }
}

impl QueueOut {
    /// From now on there is a connection.
    pub(super) fn open(&self) {
        self.gauge.is_open.store(true, Ordering::Release);
    }

    /// The connection is gone: gives back what waits, also what slipped in meanwhile.
    pub(super) fn close(&mut self) -> Vec<Outgoing> {
        self.gauge.is_open.store(false, Ordering::Release);
        let mut left = Vec::new();
        while let Ok(item) = self.receiver.try_recv() {
            self.gauge.bytes.fetch_sub(item.bytes(), Ordering::Relaxed);
            left.push(item);
        }
        left
    }

    /// Waits for at least one and takes what is there, up to a bound. `false`: nobody fills the queue any more.
    pub(super) async fn take(&mut self, items: &mut Vec<Outgoing>) -> bool {
        let count = self.receiver.recv_many(items, PEER_WRITE_ITEMS_MAX).await;
        let bytes = items.iter().map(Outgoing::bytes).sum();
        self.gauge.bytes.fetch_sub(bytes, Ordering::Relaxed);
        count > 0
    }
}

/// Frames as pieces of memory: long payloads from where they lie, everything else copied together.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    open: Vec<u8>,
    head: Vec<u8>,
}

impl Pieces {
    /// Appends the frame of `item`.
    pub(super) fn put(&mut self, item: &Outgoing) {
        self.head.clear();
        match item {
            Outgoing::Message(message) => {
                message.put_head(&mut self.head);
                self.frame(FrameKind::Message, &mut message.payloads());
            }
            Outgoing::Request(number, bytes) => {
                self.head.extend_from_slice(&number.to_be_bytes());
                self.head.push(0);
                self.frame(FrameKind::Request, &mut std::iter::once(bytes));
            }
            Outgoing::Answer(number, answer) => {
                let none = Bytes::new();
                let (outcome, bytes) = match answer {
                    CallAnswer::Done(bytes) => (0, bytes),
                    CallAnswer::NotRun => (1, &none),
                    CallAnswer::Unknown => (2, &none),
                };
                self.head.extend_from_slice(&number.to_be_bytes());
                self.head.push(outcome);
                self.frame(FrameKind::Answer, &mut std::iter::once(bytes));
            }
        }
    }

    /// Nothing is put behind this: all of it can be written.
    pub(super) fn finish(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.open).into());
        }
    }

    fn frame(&mut self, kind: FrameKind, payloads: &mut dyn Iterator<Item = &Bytes>) {
        let payloads: Vec<&Bytes> = payloads.collect();
        let parts = std::iter::once(&self.head[..]).chain(payloads.iter().map(|bytes| &bytes[..]));
        put_frame_head(kind, parts, &mut self.open);
        self.open.extend_from_slice(&self.head);
        for payload in payloads {
            if payload.len() < PEER_COPY_BYTES_MAX {
                self.open.extend_from_slice(payload);
            } else {
                self.finish();
                self.pieces.push_back(payload.clone());
            }
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let count = self.pieces.len().min(out.len());
        out.iter_mut().zip(&self.pieces).for_each(|(slice, piece)| *slice = IoSlice::new(piece));
        count
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let piece = self.pieces.front_mut().expect("not advanced beyond the end");
            let step = count.min(piece.len());
            piece.advance(step);
            count -= step;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    fn has_remaining(&self) -> bool {
        !self.pieces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PEER_ANSWER_BYTES_MAX;
    use crate::limits::PEER_QUEUE_BYTES_MAX;

    const BYTES_MAX: usize = 1 << 20;

    #[test]
    fn a_queue_without_a_connection_takes_nothing_and_a_full_one_gives_back() {
        let (queue, mut out) = queue(BYTES_MAX);
        assert_eq!(queue.push(Outgoing::Request(1, Bytes::new())), Err(NotQueued::Closed));
        out.open();
        for number in 0..PEER_QUEUE_MAX as u64 {
            queue.push(Outgoing::Request(number, Bytes::new())).unwrap();
        }
        assert_eq!(queue.push(Outgoing::Request(9, Bytes::new())), Err(NotQueued::Full));
        assert_eq!(queue.len(), PEER_QUEUE_MAX);
        assert_eq!(out.close().len(), PEER_QUEUE_MAX);
        assert_eq!(queue.push(Outgoing::Request(1, Bytes::new())), Err(NotQueued::Closed));
    }

    #[test]
    fn a_queue_is_bounded_by_bytes_and_still_passes_one_that_is_longer() {
        let (queue, mut out) = queue(BYTES_MAX);
        out.open();
        let half = Bytes::from(vec![0; BYTES_MAX / 2]);
        queue.push(Outgoing::Request(1, half.clone())).unwrap();
        assert!(!queue.is_half_full());
        queue.push(Outgoing::Request(2, half.clone())).unwrap();
        assert!(queue.is_half_full());
        queue.push(Outgoing::Answer(3, CallAnswer::Unknown)).unwrap();
        assert_eq!(queue.push(Outgoing::Request(3, half)), Err(NotQueued::Full));
        assert_eq!(out.close().len(), 3);
        out.open();
        let longer = Bytes::from(vec![0; BYTES_MAX + 1]);
        queue.push(Outgoing::Request(4, longer)).unwrap();
    }

    #[test]
    fn long_payloads_are_written_from_where_they_lie() {
        let long = Bytes::from(vec![5; PEER_COPY_BYTES_MAX]);
        let short = Bytes::from_static(b"short");
        let mut pieces = Pieces::default();
        pieces.put(&Outgoing::Request(7, long.clone()));
        pieces.put(&Outgoing::Answer(8, CallAnswer::Done(short)));
        pieces.finish();
        assert_eq!(pieces.pieces.len(), 3);
        assert_eq!(pieces.pieces[1].as_ptr(), long.as_ptr());
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(pieces.chunks_vectored(&mut slices), 3);
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        assert_eq!(pieces.remaining(), all);
        pieces.advance(1);
        pieces.advance(all - 1);
        assert!(!pieces.has_remaining());
        const { assert!(PEER_ANSWER_BYTES_MAX < PEER_QUEUE_BYTES_MAX) };
    }
}
