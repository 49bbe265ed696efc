//! The cutover as one number that can be read from anywhere without waiting.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::ids::Index;

/// The index of the entry that turned sealing on; [`Index::NEVER`] until then: inert.
#[derive(Debug)]
pub struct Cutover(AtomicU64);

impl Default for Cutover {
    fn default() -> Self {
        Cutover::new(Index::NEVER)
    }
}

impl Cutover {
    /// A cell that holds `index`.
    #[must_use]
    pub fn new(index: Index) -> Cutover {
        Cutover(AtomicU64::new(index.0))
    }

    /// The cutover now, by value.
    #[must_use]
    pub fn get(&self) -> Index {
        Index(self.0.load(Ordering::Acquire))
    }

    /// Sets it, once.
    ///
    /// # Panics
    /// If another cutover was set before: it never moves (NO-WAY-DOWN).
    pub fn set(&self, index: Index) {
        let before = self.0.swap(index.0, Ordering::AcqRel);
        assert!(before == Index::NEVER.0 || before == index.0, "the cutover is set once");
    }
}

/// Whether the entry at `index` is sealed: strictly above the cutover (CUTOVER-STRICT). The whole nil-cipher hook.
#[inline]
#[must_use]
pub fn is_sealed(index: Index, cutover: Index) -> bool {
    index > cutover
}
