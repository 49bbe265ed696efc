//! sealkv: an encrypted, replicated key-value node. See the README for the words and the path of an entry.
#![warn(missing_docs)]

pub mod apply;
pub mod cli;
pub mod crypto;
pub mod disk;
pub mod fsm;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod node;
pub mod propose;
pub mod raft;
pub mod resp;
pub mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wal;
pub mod world;
