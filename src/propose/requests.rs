//! Clients' requests that wait to be proposed, oldest first, within bounds (BOUNDED).

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::crypto::seal::SEALED_OVERHEAD;
use crate::limits::PROPOSE_BATCH_BYTES_MAX;
use crate::limits::PROPOSE_BATCH_ENTRIES_MAX;
use crate::limits::PROPOSE_QUEUE_BYTES_MAX;
use crate::limits::PROPOSE_QUEUE_MAX;
use crate::propose::request::ClientRequest;
use crate::propose::request::Outcome;
use crate::propose::waiters::Waiter;

/// One request's entry before it has a position.
pub(super) struct QueuedRequest {
    /// [`FRAME_HEADER_LEN`] bytes of space, then the payload.
    pub(super) data: Vec<u8>,
    pub(super) waiter: Waiter,
    deadline: Duration,
}

impl QueuedRequest {
    pub(super) fn sealed_len(&self) -> usize {
        self.data.len() - FRAME_HEADER_LEN + SEALED_OVERHEAD
    }
}

#[derive(Default)]
struct RequestTable {
    items: VecDeque<QueuedRequest>,
    bytes: usize,
    is_closed: bool,
}

/// See the head of this file. Answers are given outside the lock.
#[derive(Default)]
pub(super) struct RequestQueue(Mutex<RequestTable>);

impl RequestQueue {
    pub(super) fn len(&self) -> usize {
        self.table().items.len()
    }

    /// Whether a request of any size would be given back.
    pub(super) fn is_full(&self) -> bool {
        self.table().is_full(0)
    }

    /// Takes a request and its encoded entry; once closed, it is answered at once.
    ///
    /// # Errors
    /// The request, if the queue is full.
    pub(super) fn push(&self, data: Vec<u8>, request: ClientRequest, deadline: Duration) -> Result<(), ClientRequest> {
        let mut table = self.table();
        if table.is_closed {
            drop(table);
            request.done.done(Outcome::TryAgain);
            return Ok(());
        }
        if table.is_full(data.len()) {
            return Err(request);
        }
        table.bytes += data.len();
        table.items.push_back(QueuedRequest { data, waiter: Waiter::new(request.slots, request.done), deadline });
        assert!(table.items.len() <= PROPOSE_QUEUE_MAX, "BOUNDED");
        Ok(())
    }

    /// The requests of the next batch, whose sealed entries take at most `space_bytes`.
    pub(super) fn next_batch(&self, space_bytes: u64) -> Vec<QueuedRequest> {
        let mut items: Vec<QueuedRequest> = Vec::new();
        let mut sealed_bytes = 0;
        let mut table = self.table();
        while let Some(item) = table.items.front() {
            let more = sealed_bytes + item.sealed_len();
            let fits = more as u64 <= space_bytes && (items.is_empty() || more <= PROPOSE_BATCH_BYTES_MAX);
            if !fits || items.len() == PROPOSE_BATCH_ENTRIES_MAX {
                break;
            }
            sealed_bytes = more;
            items.extend(table.pop());
        }
        items
    }

    /// Requests whose deadline has passed were certainly not executed.
    pub(super) fn expire(&self, now: Duration) {
        let mut expired = Vec::new();
        let mut table = self.table();
        while table.items.front().is_some_and(|item| item.deadline <= now) {
            expired.extend(table.pop());
        }
        drop(table);
        answer_all(expired, || Outcome::TryAgain);
    }

    /// Answers all requests; if `is_closed`, those that come later too.
    pub(super) fn drain(&self, outcome: impl Fn() -> Outcome, is_closed: bool) {
        let mut table = self.table();
        let all = std::mem::take(&mut table.items);
        assert_eq!(table.bytes, all.iter().map(|item| item.data.len()).sum::<usize>(), "each request was counted");
        table.is_closed |= is_closed;
        table.bytes = 0;
        drop(table);
        answer_all(all, outcome);
    }

    fn table(&self) -> MutexGuard<'_, RequestTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestTable {
    /// One request may exceed the bytes alone.
    fn is_full(&self, more: usize) -> bool {
        let is_long = self.items.len() >= PROPOSE_QUEUE_MAX;
        is_long || (!self.items.is_empty() && self.bytes + more > PROPOSE_QUEUE_BYTES_MAX)
    }

    fn pop(&mut self) -> Option<QueuedRequest> {
        let front = self.items.pop_front()?;
        assert!(self.bytes >= front.data.len(), "each request was counted");
        self.bytes -= front.data.len();
        Some(front)
    }
}

fn answer_all(items: impl IntoIterator<Item = QueuedRequest>, outcome: impl Fn() -> Outcome) {
    items.into_iter().for_each(|item| item.waiter.answer(outcome()));
}
