//! How much of the log stays for members that lag, behind what the state holds durably.
//!
//! An eighth of the pool is kept, and what comes between two flushes on top of that, so a member that was away for a short
//! while needs no snapshot. While a member fetches a snapshot, everything that follows it is kept. A log with two free slots or
//! fewer keeps nothing: it needs the space for itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::ids::Index;
use crate::ids::Position;
use crate::limits::RETENTION_MARKS_MAX;
use crate::node::members_watch::MembersWatch;
use crate::wal::LogSpace;

/// What of a log stays for other members, whatever they need it for.
pub(crate) struct LogRetention {
    members: Arc<MembersWatch>,
    newest: Mutex<Retention>,
    hold: Arc<TrimHold>,
}

impl LogRetention {
    /// Whether there are others, `members` knows; `hold` is what stays while one of them fetches a snapshot.
    pub(crate) fn new(members: Arc<MembersWatch>, hold: Arc<TrimHold>) -> LogRetention {
        LogRetention { members, newest: Mutex::default(), hold }
    }

    /// What of everything up to `flushed`, which the state holds durably, may be dropped.
    pub(crate) fn droppable(&self, flushed: Position, space: &LogSpace) -> Option<Position> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = newest.flushed(flushed, space.handed_bytes(), space.pool_bytes());
        let keeps_nothing = self.members.is_alone() || space.free_slots() <= FREE_SLOTS_LOW;
        if keeps_nothing { Some(flushed) } else { kept.filter(|position| self.hold.allows(*position)) }
    }
}

/// Whether a start trims up to `flushed`, before raft writes a frame: the process before may have ended between its flush and the
/// trim; and a log with no space for entries gives slots back, or grows, only once it writes a frame. A node that follows has
/// nothing to write but entries, which nobody sends it for as long as there is no space.
pub(crate) fn trims_at_start(compacted: Index, flushed: Index, space: &LogSpace) -> bool {
    compacted < flushed || space.available_bytes() == 0
}

/// The newest flushes, with the bytes that the log had used up by then; oldest first.
#[derive(Debug, Default)]
struct Retention {
    marks: VecDeque<(Position, u64)>,
}

impl Retention {
    /// The state holds everything up to `flushed`, and the log has used up `used_bytes` so far. What may be dropped, if anything.
    fn flushed(&mut self, flushed: Position, used_bytes: u64, pool_bytes: u64) -> Option<Position> {
        let keep = pool_bytes / KEPT_SHARE;
        // Flushes that follow each other closely share a mark.
        let step = keep / RETENTION_MARKS_MAX as u64 + 1;
        let is_close = self.marks.len() > 1
            && self.marks.get(self.marks.len() - 2).is_some_and(|(_, used)| used_bytes.saturating_sub(*used) < step);
        if is_close {
            self.marks.pop_back();
        }
        self.marks.push_back((flushed, used_bytes));
        let mut dropped = None;
        while let Some((position, _)) = self.marks.pop_front_if(|(_, used)| used_bytes.saturating_sub(*used) >= keep) {
            dropped = Some(position);
        }
        assert!(self.marks.len() <= 2 * RETENTION_MARKS_MAX + 2, "BOUNDED");
        dropped
    }
}

/// What the log must keep behind a snapshot that a member fetches: without it the snapshot would be of no use to that member.
#[derive(Debug, Default)]
pub(crate) struct TrimHold(Mutex<Option<Index>>);

impl TrimHold {
    /// Nothing may be dropped: a snapshot is being made.
    pub(crate) fn hold_all(&self) {
        self.set(Some(Index(0)));
    }

    /// Only entries up to `index` may be dropped.
    pub(crate) fn hold_above(&self, index: Index) {
        self.set(Some(index));
    }

    /// Nothing is held any more.
    pub(crate) fn release(&self) {
        self.set(None);
    }

    /// Whether entries up to `position` may be dropped.
    fn allows(&self, position: Position) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|held| position.index <= held)
    }

    fn set(&self, held: Option<Index>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

const KEPT_SHARE: u64 = 8;
/// With so many free slots, or fewer, the log keeps nothing for others.
const FREE_SLOTS_LOW: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;

    fn at(index: u64) -> Position {
        Position { term: Term(1), index: Index(index) }
    }

    #[test]
    fn what_lies_within_an_eighth_of_the_pool_stays() {
        let mut retention = Retention::default();
        let mut dropped = 0;
        for index in 1..=10_000 {
            // 10 bytes an entry, a pool of 80,000: an eighth is 1,000 entries.
            if let Some(position) = retention.flushed(at(index), 10 * index, 80_000) {
                assert!(position.index.0 > dropped, "only forward");
                dropped = position.index.0;
                assert!(index - dropped >= 1_000, "{index}: {dropped}");
            }
            assert!(index - dropped <= 1_000 + 40, "{index}: {dropped} is not dropped");
        }
        assert!(dropped > 8_900);
    }

    #[test]
    fn what_follows_a_snapshot_stays_while_it_is_held() {
        let hold = TrimHold::default();
        assert!(hold.allows(at(9)));
        hold.hold_all();
        assert!(!hold.allows(at(1)));
        hold.hold_above(Index(5));
        assert!(hold.allows(at(5)) && !hold.allows(at(6)));
        hold.release();
        assert!(hold.allows(at(9)));
    }

    #[test]
    fn a_start_trims_where_the_one_before_did_not_and_where_nothing_else_makes_space() {
        let (some, none) = (LogSpace::of(1, 8), LogSpace::of(0, 8));
        assert!(trims_at_start(Index(4), Index(5), &some));
        assert!(!trims_at_start(Index(5), Index(5), &some));
        assert!(trims_at_start(Index(5), Index(5), &none));
    }

    #[test]
    fn an_idle_log_keeps_what_it_has() {
        let mut retention = Retention::default();
        assert!((1..1000).all(|index| retention.flushed(at(index), 5, 80_000).is_none()));
        assert!(retention.marks.len() <= 3);
    }
}
