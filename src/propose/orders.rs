//! Operators' requests that wait for their turn, and what became of the newest control entries.
//!
//! A request waits here until the raft thread takes it up; from then on clients' requests are held back until it is
//! answered. Losing the leadership in between leaves its entry applied or not, never half: then the answer is that nobody
//! knows, and the status tells.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::ids::Position;
use crate::keys::rules::RuleError;
use crate::limits::CONTROL_OUTCOMES_MAX;
use crate::limits::CONTROL_QUEUE_MAX;
use crate::propose::control::ControlCallback;
use crate::propose::control::ControlError;
use crate::propose::control::ControlRequest;
use crate::propose::control::ControlResult;

/// A request and its callback. Dropped without an answer, the answer is that nobody knows.
pub(super) struct Order {
    pub(super) request: ControlRequest,
    /// As monotonic time.
    pub(super) deadline: Duration,
    done: Option<ControlCallback>,
}

impl Order {
    pub(super) fn answer(mut self, result: ControlResult) {
        tracing::info!(request = ?self.request, ?result, "an operator's request is answered");
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(ControlError::Unknown));
        }
    }
}

#[derive(Default)]
struct OrderTable {
    orders: VecDeque<Order>,
    is_closed: bool,
}

/// Requests of operators that wait for their turn.
#[derive(Default)]
pub(super) struct Orders(Mutex<OrderTable>);

impl Orders {
    /// Takes a request; it is refused at once if too many wait.
    pub(super) fn add(&self, request: ControlRequest, deadline: Duration, done: ControlCallback) {
        let order = Order { request, deadline, done: Some(done) };
        let mut table = self.table();
        let refusal = if table.is_closed {
            ControlError::TryAgain
        } else if table.orders.len() >= CONTROL_QUEUE_MAX {
            ControlError::Busy
        } else {
            table.orders.push_back(order);
            assert!(table.orders.len() <= CONTROL_QUEUE_MAX, "BOUNDED");
            return;
        };
        drop(table);
        order.answer(Err(refusal));
    }

    /// The request whose turn it is.
    pub(super) fn pop(&self) -> Option<Order> {
        self.table().orders.pop_front()
    }

    /// Answers requests whose deadline has passed before their turn: certainly not done.
    pub(super) fn expire(&self, now: Duration) {
        let mut table = self.table();
        let (expired, left): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut table.orders).into_iter().partition(|order| order.deadline <= now);
        table.orders = left;
        drop(table);
        expired.into_iter().for_each(|order| order.answer(Err(ControlError::TryAgain)));
    }

    /// Answers every waiting request with `error`.
    pub(super) fn drain(&self, error: ControlError, is_closed: bool) {
        let mut table = self.table();
        table.is_closed |= is_closed;
        let all = std::mem::take(&mut table.orders);
        drop(table);
        all.into_iter().for_each(|order| order.answer(Err(error)));
    }

    fn table(&self) -> MutexGuard<'_, OrderTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

debug_fields!(self: Orders { waiting: self.table().orders.len() });

/// What became of the newest control entries: apply notes it before it reports its position.
#[derive(Debug, Default)]
pub(super) struct ControlOutcomes(Mutex<VecDeque<(Position, Result<(), RuleError>)>>);

impl ControlOutcomes {
    pub(super) fn note(&self, position: Position, outcome: Result<(), RuleError>) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(newest.back().is_none_or(|(before, _)| before.index <= position.index), "IN-ORDER");
        if newest.len() >= CONTROL_OUTCOMES_MAX {
            newest.pop_front();
        }
        newest.push_back((position, outcome));
    }

    /// `None` if no control entry of that term was applied there.
    pub(super) fn of(&self, position: Position) -> Option<Result<(), RuleError>> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.iter().rev().find(|(at, _)| *at == position).map(|(_, outcome)| *outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::Index;
    use crate::ids::Term;

    #[test]
    fn requests_wait_in_a_bounded_queue_and_each_is_answered_once() {
        let (orders, ends) = (Orders::default(), Arc::<Mutex<Vec<ControlResult>>>::default());
        let add = |deadline| {
            let ends = Arc::clone(&ends);
            let deadline = Duration::from_secs(deadline);
            orders.add(ControlRequest::Enable, deadline, Box::new(move |result| ends.lock().unwrap().push(result)));
        };
        for deadline in 0..CONTROL_QUEUE_MAX as u64 {
            add(deadline);
        }
        assert!(ends.lock().unwrap().is_empty());
        add(99);
        assert_eq!(ends.lock().unwrap().pop(), Some(Err(ControlError::Busy)));
        orders.expire(Duration::from_secs(1));
        assert_eq!(std::mem::take(&mut *ends.lock().unwrap()), [Err(ControlError::TryAgain); 2]);
        drop(orders.pop());
        assert_eq!(ends.lock().unwrap().pop(), Some(Err(ControlError::Unknown)), "dropped: nobody knows");
        orders.drain(ControlError::NotLeader(Some(3)), true);
        add(99);
        let ends = ends.lock().unwrap();
        assert_eq!(ends.len(), CONTROL_QUEUE_MAX - 3 + 1);
        assert_eq!(ends[0], Err(ControlError::NotLeader(Some(3))));
        assert_eq!(ends.last(), Some(&Err(ControlError::TryAgain)), "closed");
    }

    #[test]
    fn an_outcome_is_found_by_term_and_index_only() {
        let outcomes = ControlOutcomes::default();
        let at = |term, index| Position { term: Term(term), index: Index(index) };
        outcomes.note(at(3, 7), Ok(()));
        outcomes.note(at(4, 8), Err(RuleError::SecondBootstrap));
        assert_eq!(outcomes.of(at(3, 7)), Some(Ok(())));
        assert_eq!(outcomes.of(at(2, 7)), None);
        assert_eq!(outcomes.of(at(4, 8)), Some(Err(RuleError::SecondBootstrap)));
        for index in 9..9 + CONTROL_OUTCOMES_MAX as u64 {
            outcomes.note(at(4, index), Ok(()));
        }
        assert_eq!(outcomes.of(at(3, 7)), None, "bounded");
    }
}
