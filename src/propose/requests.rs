//! Clients' requests that wait to be proposed, oldest first, within bounds (BOUNDED).

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::crypto::seal::SEALED_OVERHEAD;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::limits::PROPOSE_BATCH_BYTES_MAX;
use crate::limits::PROPOSE_BATCH_ENTRIES_MAX;
use crate::limits::PROPOSE_QUEUE_BYTES_MAX;
use crate::limits::PROPOSE_QUEUE_MAX;
use crate::propose::request::ClientRequest;
use crate::propose::request::Outcome;
use crate::propose::request::RequestSlot;
use crate::propose::waiters::Waiter;
use crate::propose::waiters::WaiterSlots;

/// One request's entry before it has a position.
pub(super) struct QueuedRequest {
    /// [`FRAME_HEADER_LEN`] bytes of space, then the payload.
    pub(super) data: Vec<u8>,
    pub(super) waiter: Waiter,
    pub(super) deadline: Duration,
    /// It only removes all keys.
    is_clear: bool,
    /// Its replies may hold values.
    may_be_large: bool,
    /// Another node sent it here, and it goes no further.
    is_forwarded: bool,
}

impl QueuedRequest {
    pub(super) fn sealed_len(&self) -> usize {
        self.data.len() - FRAME_HEADER_LEN + SEALED_OVERHEAD
    }

    /// Whether it only removes all keys.
    pub(super) fn clears(&self) -> bool {
        self.is_clear
    }
}

#[derive(Default)]
struct RequestTable {
    items: VecDeque<QueuedRequest>,
    bytes: usize,
    /// No deadline among them is earlier, so that nobody looks at all of them in every step. Those of other nodes may have
    /// waited there before, so the order of deadlines is not that of the queue.
    earliest: Option<Duration>,
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
            drop(request.done.done(Outcome::TryAgain));
            return Ok(());
        }
        if table.is_full(data.len()) {
            return Err(request);
        }
        let (is_clear, may_be_large) = (is_clear(&request.slots), may_be_large(&request.slots));
        let (slots, written) = WaiterSlots::of(request.slots);
        let waiter = Waiter::of(slots, request.done);
        table.push(QueuedRequest { data, waiter, deadline, is_clear, may_be_large, is_forwarded: false });
        drop(table);
        // By the thread that made it, and outside the lock.
        drop(written);
        Ok(())
    }

    /// Takes a request that another node sent; one that finds no place was certainly not executed.
    pub(super) fn push_forwarded(&self, data: Vec<u8>, waiter: Waiter, deadline: Duration) {
        let mut table = self.table();
        if table.is_closed || table.is_full(data.len()) {
            drop(table);
            return waiter.answer(Outcome::TryAgain);
        }
        // It goes no further, whatever its replies hold.
        let (is_clear, may_be_large) = (false, false);
        table.push(QueuedRequest { data, waiter, deadline, is_clear, may_be_large, is_forwarded: true });
    }

    /// Requests that were taken out and certainly not executed wait again, before all others: they came first.
    pub(super) fn put_back(&self, items: Vec<QueuedRequest>) {
        let mut table = self.table();
        if table.is_closed {
            drop(table);
            return answer_all(items, || Outcome::TryAgain);
        }
        for item in items.into_iter().rev() {
            table.bytes += item.data.len();
            table.note(item.deadline);
            table.items.push_front(item);
        }
    }

    /// Answers the requests of other nodes, on a node that does not lead.
    pub(super) fn give_back_forwarded(&self, leader: Option<u64>) {
        let mut table = self.table();
        if table.items.iter().all(|item| !item.is_forwarded) {
            return;
        }
        let (forwarded, own): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut table.items).into_iter().partition(|item| item.is_forwarded);
        table.items = own;
        table.bytes -= forwarded.iter().map(|item| item.data.len()).sum::<usize>();
        drop(table);
        answer_all(forwarded, || Outcome::NotLeader(leader));
    }

    /// The requests that travel to the leader together; one whose replies may be large travels alone.
    pub(super) fn next_bundle(&self) -> Vec<QueuedRequest> {
        let mut items: Vec<QueuedRequest> = Vec::new();
        let mut bytes = 0;
        let mut table = self.table();
        while let Some(item) = table.items.front() {
            let is_large = item.may_be_large;
            bytes += item.data.len();
            let fits = items.is_empty() || (bytes <= PROPOSE_BATCH_BYTES_MAX && !is_large);
            if !fits || items.len() == PROPOSE_BATCH_ENTRIES_MAX {
                break;
            }
            items.extend(table.pop());
            if is_large {
                break;
            }
        }
        items
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

    /// The oldest request that only removes all keys, before others that came earlier: these wait for the memory, or the space of the
    /// log, that it gives back. They are of other connections, since each has one request here at most.
    pub(super) fn next_clear(&self, space_bytes: u64) -> Vec<QueuedRequest> {
        let mut table = self.table();
        let found = table.items.iter().position(|item| item.clears() && item.sealed_len() as u64 <= space_bytes);
        let item = found.and_then(|at| table.items.remove(at));
        if let Some(item) = &item {
            assert!(table.bytes >= item.data.len(), "each request was counted");
            table.bytes -= item.data.len();
        }
        item.into_iter().collect()
    }

    /// Requests whose deadline has passed were certainly not executed.
    pub(super) fn expire(&self, now: Duration, outcome: impl Fn() -> Outcome) {
        let mut table = self.table();
        if table.earliest.is_none_or(|earliest| now < earliest) {
            return;
        }
        let (expired, left): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut table.items).into_iter().partition(|item| item.deadline <= now);
        table.earliest = left.iter().map(|item| item.deadline).min();
        table.items = left;
        table.bytes -= expired.iter().map(|item| item.data.len()).sum::<usize>();
        drop(table);
        answer_all(expired, outcome);
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

    fn note(&mut self, deadline: Duration) {
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
    }

    fn push(&mut self, item: QueuedRequest) {
        self.bytes += item.data.len();
        self.note(item.deadline);
        self.items.push_back(item);
        assert!(self.items.len() <= PROPOSE_QUEUE_MAX, "BOUNDED");
    }

    fn pop(&mut self) -> Option<QueuedRequest> {
        let front = self.items.pop_front()?;
        assert!(self.bytes >= front.data.len(), "each request was counted");
        self.bytes -= front.data.len();
        Some(front)
    }
}

fn answer_all(items: impl IntoIterator<Item = QueuedRequest>, outcome: impl Fn() -> Outcome) {
    Waiter::answer_all(items.into_iter().map(|item| (item.waiter, outcome())));
}

/// Whether a request only removes all keys.
fn is_clear(slots: &[RequestSlot]) -> bool {
    let is_clear = |slot: &RequestSlot| {
        matches!(slot, RequestSlot::Write(_, WriteCommand::FlushAll | WriteCommand::FlushDatabase))
    };
    !slots.is_empty() && slots.iter().all(is_clear)
}

/// Whether the replies of a request may hold values.
fn may_be_large(slots: &[RequestSlot]) -> bool {
    slots.iter().any(|slot| match slot {
        RequestSlot::Read(..) => true,
        RequestSlot::Write(_, write) => matches!(
            write,
            WriteCommand::Set { reply: SetReply::Old, .. }
                | WriteCommand::GetDelete { .. }
                | WriteCommand::GetExpire { .. }
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::leader::word;

    // A request of another node may have waited there before.
    #[test]
    fn a_deadline_counts_wherever_its_request_waits() {
        let (queue, ends) = (RequestQueue::default(), Arc::<Mutex<Vec<(u64, &str)>>>::default());
        let item = |name: u64, seconds: u64| {
            let ends = Arc::clone(&ends);
            let done = move |outcome: Outcome| {
                // What is left in the queue when an assertion fails is answered while the thread unwinds.
                if let Ok(mut ends) = ends.lock() {
                    ends.push((name, word(&outcome)));
                }
            };
            let waiter = Waiter::new(Vec::new(), Box::new(done));
            queue.push_forwarded(vec![0; 20], waiter, Duration::from_secs(seconds));
        };
        item(1, 9);
        item(2, 3);
        item(3, 5);
        item(4, 3);
        let expire = |seconds| queue.expire(Duration::from_secs(seconds), || Outcome::TryAgain);
        expire(2);
        assert_eq!(*ends.lock().unwrap(), []);
        expire(4);
        assert_eq!(*ends.lock().unwrap(), [(2, "try again"), (4, "try again")]);
        let taken = queue.next_bundle();
        assert_eq!(taken.len(), 2);
        expire(100);
        queue.put_back(taken);
        expire(6);
        assert_eq!(ends.lock().unwrap()[2..], [(3, "try again")]);
        queue.drain(|| Outcome::TryAgain, false);
        assert_eq!(ends.lock().unwrap()[3..], [(1, "try again")]);
    }
}
