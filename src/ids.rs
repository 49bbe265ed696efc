//! Newtypes for the numbers that must never be confused: terms, indexes, key ids, node ids.
//!
//! Each is one integer with its meaning in the type; arithmetic that has no meaning (term + index) does not compile.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// A Raft term; 0 is "before any election".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A position's index in the Raft log; the first real entry of a new cluster is 2, 0 is "nothing".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl Index {
    /// No cutover: larger than every index of a log, so `index > cutover` is never true (CUTOVER-STRICT).
    pub const NEVER: Index = Index(u64::MAX);

    /// The index after this one.
    ///
    /// # Panics
    /// At `u64::MAX`, which no log reaches.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0.checked_add(1).expect("an index below u64::MAX"))
    }
}

/// The cutover as threads share it: entries above it are sealed, strictly; by default there is none and nothing is.
///
/// It may be set while others read it. Whoever sees it set sees what was done before, such as keys that were put in place.
#[derive(Debug)]
pub struct Cutover(AtomicU64);

impl Default for Cutover {
    fn default() -> Cutover {
        Cutover(AtomicU64::new(Index::NEVER.0))
    }
}

impl Cutover {
    /// The cutover by value, [`Index::NEVER`] if there is none. One load: cheap enough for every entry.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Index {
        Index(self.0.load(Ordering::Acquire))
    }

    /// Entries behind `index` are sealed from now on.
    pub fn set(&self, index: Index) {
        self.0.store(index.0, Ordering::Release);
    }
}

/// The place of an entry in the log: terms never decrease along indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Term of the entry.
    pub term: Term,
    /// Index of the entry.
    pub index: Index,
}

/// Names one DEK of the keyring for ever; 0 is reserved and always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(std::num::NonZeroU32);

impl KeyId {
    /// The id, or `None` for the reserved 0.
    #[must_use]
    pub fn new(id: u32) -> Option<KeyId> {
        std::num::NonZeroU32::new(id).map(KeyId)
    }

    /// The number, never 0.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0.get()
    }

    /// Big-endian, as it stands in envelopes and AAD.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        self.value().to_be_bytes()
    }
}

/// Chosen by the proposing node, part of the AAD and of diagnosis; nothing waits by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProposalId(pub u64);

/// A member's Raft id; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(std::num::NonZeroU64);

impl NodeId {
    /// The id, or `None` for 0, which raft keeps for "nobody".
    #[must_use]
    pub fn new(id: u64) -> Option<NodeId> {
        std::num::NonZeroU64::new(id).map(NodeId)
    }

    /// The number, never 0.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0.get()
    }

    /// The 16-byte form of the log's headers: eight zero bytes, then the number big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        u128::from(self.value()).to_be_bytes()
    }
}

/// 16 random bytes made at the first start of a cluster; part of every key derivation that leaves a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

macro_rules! plain_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
plain_display!(Term, Index, KeyId, NodeId);

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
