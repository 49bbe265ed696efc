//! sealkv: an encrypted, replicated key-value node. See the README for the words and the path of an entry.
#![deny(missing_docs)]

pub mod cli;
pub mod crypto;
pub mod disk;
pub mod ids;
pub mod limits;
pub mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wal;
pub mod world;
