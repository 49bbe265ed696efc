//! What a crash of a simulated node leaves, and what every life of it begins with.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::keys::identity::Identity;
use crate::keys::kek::KekSet;
use crate::propose::Mode;
use crate::testing::base::MemoryBase;
use crate::testing::clock::SimClock;
use crate::testing::disk::Platters;
use crate::testing::leader::keks;
use crate::wal::LogConfig;

/// What a crash leaves.
pub(super) struct Remains {
    pub(super) identity: Identity,
    pub(super) mode: Mode,
    pub(super) config: LogConfig,
    pub(super) platters: Platters,
    pub(super) base: Arc<MemoryBase>,
    pub(super) clock: Arc<SimClock>,
    /// Some node has not applied what is above this index: the log keeps it.
    pub(super) needed_above: Arc<AtomicU64>,
}

/// Every node has the same KEK.
pub(super) fn keks_of(mode: Mode) -> KekSet {
    if mode == Mode::Off { KekSet::default() } else { keks(7) }
}
