//! The replicated facts that the proposer reads.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Release;

use crate::ids::Position;
use crate::keys::rules::RuleError;
use crate::propose::orders::ControlOutcomes;
use crate::propose::stamp::StampClock;
use crate::world::Clock;

/// Facts that apply sets before it reports its position, and the clock that they raise.
#[derive(Debug)]
pub struct AppliedFacts {
    stamps: StampClock,
    stamp_ms: AtomicU64,
    has_client_commands: AtomicBool,
    controls: ControlOutcomes,
}

impl AppliedFacts {
    /// As of the state at the start.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, stamp_ms: u64, has_client_commands: bool) -> AppliedFacts {
        AppliedFacts {
            stamps: StampClock::new(clock, stamp_ms),
            stamp_ms: stamp_ms.into(),
            has_client_commands: has_client_commands.into(),
            controls: ControlOutcomes::default(),
        }
    }

    /// As of the commit that was just written.
    pub fn set(&self, stamp_ms: u64, has_client_commands: bool) {
        self.stamps.raise(stamp_ms);
        self.stamp_ms.store(stamp_ms, Release);
        self.has_client_commands.store(has_client_commands, Release);
    }

    /// What became of the control entry at `position`, which is being applied.
    pub fn control(&self, position: Position, outcome: Result<(), RuleError>) {
        self.controls.note(position, outcome);
    }

    pub(super) fn control_outcome(&self, position: Position) -> Option<Result<(), RuleError>> {
        self.controls.of(position)
    }

    /// The clock of this node: stamps, and what is past due.
    #[must_use]
    pub fn stamps(&self) -> &StampClock {
        &self.stamps
    }

    /// The newest applied stamp, ms since 1970.
    #[must_use]
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms.load(Acquire)
    }

    /// Whether an entry of client commands was ever applied: then a bootstrap cannot be the cutover.
    #[must_use]
    pub fn has_client_commands(&self) -> bool {
        self.has_client_commands.load(Acquire)
    }
}
