//! The clock of a node: it gives the stamps of entries, and tells which keys are past due for reads and for removals.
//!
//! It begins at the later of the wall clock and the last stamp, and then goes by the machine's time since boot. It never goes
//! back. A stamp of another leader raises it when that is applied. The wall clock raises it when that is ahead: at once by
//! a little, by more only after a minute, because a short spell in the future must not move what cannot go back.
//!
//! So the clock can lead the wall clock, for ever if a machine was once started with a wrong date. Durations are right all the
//! same. Absolute times of clients are meant by the wall clock: they are moved by the lead when a command is parsed, and moved
//! back when they are shown.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use crate::limits::CLOCK_JUMP_FOLLOWED_AFTER;
use crate::limits::CLOCK_JUMP_MAX;
use crate::limits::CLOCK_LEAD_MIN;
use crate::limits::CLOCK_LOOK_EVERY;
use crate::world::Clock;

/// See the head of this file. Every thread may read it and raise it, without a lock.
pub struct StampClock {
    clock: Arc<dyn Clock>,
    /// What it shows less the time since boot. Only raised.
    origin_ms: AtomicU64,
    lead_ms: AtomicU64,
    jump_ms: AtomicU64,
}

impl StampClock {
    /// A clock that shows the later of the wall clock and `last_stamp_ms`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, last_stamp_ms: u64) -> StampClock {
        let stamps = StampClock { clock, origin_ms: 0.into(), lead_ms: 0.into(), jump_ms: 0.into() };
        stamps.raise(stamps.wall_ms());
        stamps.raise(last_stamp_ms);
        stamps.measure_lead();
        stamps
    }

    /// Ms since 1970; never decreases.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.origin_ms.load(Acquire).saturating_add(self.boot_ms())
    }

    /// It shows at least `stamp_ms` from now on.
    pub fn raise(&self, stamp_ms: u64) {
        self.origin_ms.fetch_max(stamp_ms.saturating_sub(self.boot_ms()), Release);
        assert!(self.now_ms() >= stamp_ms, "stamps never decrease");
    }

    /// The wall clock, ms since 1970: may jump either way.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// By how many ms this clock leads the wall clock; 0 below [`CLOCK_LEAD_MIN`]. It stands still while the wall clock goes as
    /// this one does, so a time that is moved by it and moved back is the same.
    #[must_use]
    pub fn lead_ms(&self) -> u64 {
        self.lead_ms.load(Acquire)
    }

    /// By how many ms the wall clock is ahead without being followed; 0 if it is followed.
    #[must_use]
    pub fn jump_ms(&self) -> u64 {
        self.jump_ms.load(Acquire)
    }

    fn boot_ms(&self) -> u64 {
        millis(self.clock.boottime())
    }

    fn measure_lead(&self) {
        let measured = self.now_ms().saturating_sub(self.wall_ms());
        let lead = if measured < millis(CLOCK_LEAD_MIN) { 0 } else { measured };
        // Two readings of two clocks differ by a few ms: only what is more is a change.
        if lead.abs_diff(self.lead_ms()) > LEAD_JITTER_MS {
            self.lead_ms.store(lead, Release);
        }
    }
}

debug_fields!(self: StampClock { now_ms: self.now_ms(), lead_ms: self.lead_ms() });

/// Looks at the wall clock, on the raft thread: at every tick, whether this node leads or not.
#[derive(Debug, Default)]
pub(super) struct WallWatch {
    /// As monotonic time.
    next_look: Duration,
    jump: Option<Jump>,
    is_lead_said: bool,
}

/// A wall clock that is far ahead and not followed yet.
#[derive(Clone, Copy, Debug)]
struct Jump {
    ahead_ms: u64,
    /// As time since boot.
    since: Duration,
}

impl WallWatch {
    /// `now` is monotonic time.
    pub(super) fn look(&mut self, stamps: &StampClock, now: Duration) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + CLOCK_LOOK_EVERY;
        let before = stamps.now_ms();
        let wall_ms = stamps.wall_ms();
        let ahead_ms = wall_ms.saturating_sub(before);
        if ahead_ms <= millis(CLOCK_JUMP_MAX) {
            self.end_jump("the wall clock is right again: its jump was not followed");
            stamps.raise(wall_ms);
        } else if self.has_stayed(ahead_ms, stamps.clock.boottime()) {
            self.end_jump("the wall clock stayed ahead: it is followed, and what was to expire meanwhile is past due");
            stamps.raise(wall_ms);
        }
        stamps.jump_ms.store(self.jump.map_or(0, |jump| jump.ahead_ms), Release);
        if self.jump.is_none() {
            stamps.measure_lead();
        }
        self.say_lead(stamps.lead_ms());
        assert!(stamps.now_ms() >= before, "the clock never goes back");
    }

    /// Whether the wall clock has been ahead by about that much for long enough. One that goes on jumping has not.
    fn has_stayed(&mut self, ahead_ms: u64, now: Duration) -> bool {
        assert!(ahead_ms > millis(CLOCK_JUMP_MAX), "what is ahead by less is followed at once");
        let held = self.jump.filter(|jump| jump.ahead_ms.abs_diff(ahead_ms) <= millis(CLOCK_JUMP_MAX));
        match held {
            Some(jump) => now.saturating_sub(jump.since) >= CLOCK_JUMP_FOLLOWED_AFTER,
            None => {
                let seconds = ahead_ms / 1000;
                tracing::warn!(
                    seconds,
                    "the wall clock jumped ahead: it is followed if it stays there for a minute; an expiry that is given in seconds meanwhile is then short by the jump"
                );
                self.jump = Some(Jump { ahead_ms, since: now });
                false
            }
        }
    }

    fn end_jump(&mut self, how: &'static str) {
        if let Some(jump) = self.jump.take() {
            tracing::warn!(seconds = jump.ahead_ms / 1000, "{how}");
        }
    }

    /// Once, until there is none any more.
    fn say_lead(&mut self, lead_ms: u64) {
        assert!(lead_ms == 0 || lead_ms >= millis(CLOCK_LEAD_MIN), "a lead below the least is none");
        if lead_ms > 0 && !self.is_lead_said {
            tracing::warn!(
                seconds = lead_ms / 1000,
                "the clock of this node leads its wall clock: it was once ahead. Times to live are right; absolute times of clients are moved by the lead"
            );
        }
        self.is_lead_said = lead_ms > 0;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Above the rounding of both clocks and the time between two readings, below what a client sees.
const LEAD_JITTER_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::clock::SimClock;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;
    const NOON: u64 = 1_780_000_000_000;

    /// A node that looks at its clock at every tick.
    struct Node {
        clock: Arc<SimClock>,
        stamps: StampClock,
        watch: WallWatch,
    }

    impl Node {
        fn start(wall_ms: u64, last_stamp_ms: u64) -> Node {
            let clock = Arc::new(SimClock::showing(Duration::from_secs(77), wall_ms));
            let stamps = StampClock::new(Arc::clone(&clock) as Arc<dyn Clock>, last_stamp_ms);
            Node { clock, stamps, watch: WallWatch::default() }
        }

        /// Lets time pass, tick by tick.
        fn run(&mut self, ms: u64) {
            for tick in 0..=ms / 100 {
                self.clock.advance_ms(if tick == 0 { ms % 100 } else { 100 });
                self.watch.look(&self.stamps, self.clock.monotonic());
            }
        }

        fn now(&self) -> u64 {
            self.stamps.now_ms()
        }
    }

    #[test]
    fn stamps_follow_the_wall_clock_and_never_go_back() {
        let mut node = Node::start(NOON, 0);
        assert_eq!(node.now(), NOON);
        node.run(1_000);
        assert_eq!(node.now(), NOON + 1_000);
        node.clock.set_wall_ms(NOON + 5_000);
        node.run(100);
        assert_eq!(node.now(), NOON + 5_100, "a step by NTP is followed at once");
        node.clock.set_wall_ms(NOON);
        node.run(1_500);
        assert_eq!(node.now(), NOON + 6_600, "set back: it goes on");
    }

    #[test]
    fn an_idle_node_whose_wall_clock_was_set_back_still_counts() {
        let mut node = Node::start(NOON, 0);
        node.run(1_000);
        node.clock.set_wall_ms(NOON - 2 * DAY);
        node.run(500);
        let expires_at = node.now() + 1_500;
        node.run(1_499);
        assert!(node.now() < expires_at);
        node.run(1);
        assert!(node.now() >= expires_at, "gone after its time, with no write meanwhile");
    }

    #[test]
    fn a_stamp_of_another_leader_raises_the_clock_and_changes_nothing_else() {
        let mut node = Node::start(NOON, 0);
        node.run(HOUR);
        node.stamps.raise(NOON + HOUR - 5);
        assert_eq!(node.now(), NOON + HOUR, "an older one does nothing");
        node.stamps.raise(NOON + HOUR + 3_000);
        node.run(200);
        assert_eq!(node.now(), NOON + HOUR + 3_200);
    }

    // What a clock that begins to count with its first own stamp gets wrong: it lies an hour back, holds the jump for a minute,
    // and then takes 59 minutes from every expiry that it gave.
    #[test]
    fn an_idle_hour_before_a_change_of_leader_holds_nothing_back() {
        let mut follower = Node::start(NOON, 0);
        follower.stamps.raise(NOON);
        follower.run(HOUR);
        assert_eq!(follower.now(), NOON + HOUR);
        assert_eq!(follower.stamps.jump_ms(), 0);
        let expires_at = follower.now() + HOUR;
        follower.run(60 * 60_000 - 100);
        assert!(follower.now() < expires_at, "an hour is an hour");
    }

    #[test]
    fn a_suspended_machine_knows_how_long_it_was_away() {
        let mut node = Node::start(NOON, 0);
        node.run(1_000);
        node.clock.suspend(Duration::from_millis(8 * HOUR));
        node.run(100);
        assert_eq!(node.now(), NOON + 8 * HOUR + 1_100, "at once, without a jump");
        assert_eq!(node.stamps.jump_ms(), 0);
    }

    #[test]
    fn a_spell_of_a_day_ahead_for_half_a_minute_moves_nothing() {
        let mut node = Node::start(NOON, 0);
        node.run(1_000);
        node.clock.set_wall_ms(NOON + DAY);
        node.run(30_000);
        assert_eq!(node.now(), NOON + 31_000);
        assert!(node.stamps.jump_ms() > DAY - 60_000, "held");
        assert_eq!(node.stamps.lead_ms(), 0);
        node.clock.set_wall_ms(NOON + 31_000);
        node.run(100_000);
        assert_eq!(node.now(), NOON + 131_000);
        assert_eq!((node.stamps.jump_ms(), node.stamps.lead_ms()), (0, 0));
    }

    #[test]
    fn a_jump_that_stays_is_followed_after_a_minute() {
        let mut node = Node::start(NOON, 0);
        node.run(1_000);
        node.clock.set_wall_ms(NOON + DAY);
        node.run(59_900);
        assert_eq!(node.now(), NOON + 60_900);
        node.run(300);
        assert_eq!(node.now(), NOON + DAY + 60_200);
        assert_eq!(node.stamps.jump_ms(), 0);
    }

    #[test]
    fn a_wall_clock_that_goes_on_jumping_has_not_stayed() {
        let mut node = Node::start(NOON, 0);
        for hours in 1..=20 {
            node.clock.set_wall_ms(NOON + hours * HOUR);
            node.run(30_000);
        }
        assert_eq!(node.now(), NOON + 20 * 30_000, "ten minutes of it, and none was followed");
    }

    #[test]
    fn one_start_with_a_date_ahead_leaves_a_lead_that_stands_still() {
        let stamp = Node::start(NOON + HOUR, 0).now();
        let mut node = Node::start(NOON, stamp);
        assert_eq!(node.now(), NOON + HOUR);
        assert_eq!(node.stamps.lead_ms(), HOUR);
        for _ in 0..50 {
            node.run(777);
            assert_eq!(node.stamps.lead_ms(), HOUR, "a time that is moved by it comes back as it was");
        }
        node.clock.set_wall_ms(node.now() + DAY);
        node.run(30_000);
        assert_eq!(node.stamps.lead_ms(), HOUR, "a spell does not touch it");
        node.clock.set_wall_ms(node.now() - 10_000);
        node.run(100);
        assert_eq!(node.stamps.lead_ms(), 10_000);
        node.clock.set_wall_ms(node.now());
        node.run(100);
        assert_eq!(node.stamps.lead_ms(), 0);
    }

    #[test]
    fn a_start_after_a_day_off_is_taken_as_it_is() {
        let node = Node::start(NOON + DAY, NOON);
        assert_eq!(node.now(), NOON + DAY);
        assert_eq!((node.stamps.jump_ms(), node.stamps.lead_ms()), (0, 0));
    }

    #[test]
    fn the_real_clock_counts_from_boot() {
        let clock: Arc<dyn Clock> = Arc::new(crate::world::SystemClock::default());
        let stamps = StampClock::new(Arc::clone(&clock), 0);
        let before = stamps.now_ms();
        std::thread::sleep(Duration::from_millis(20));
        assert!(stamps.now_ms() >= before + 20);
        assert!(stamps.now_ms().abs_diff(clock.wall_ms()) < 5_000);
        assert!(clock.boottime() >= clock.monotonic());
    }
}
