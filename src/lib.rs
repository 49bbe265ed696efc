//! sealkv: an encrypted, replicated key-value node. [`design`] is the contract: the words, the path of an entry, the bytes,
//! the rules. The README says how to run it.
//!
//! # The rooms, in the order in which an entry travels
//!
//! | room | what it does | what it does not know |
//! | --- | --- | --- |
//! | [`resp`] | clients: the Redis protocol, commands, the order of one connection | how an entry is made, sealed or applied |
//! | [`propose`] | plaintext in: commands become entries, sealed at the position that raft gives them | sockets, the state, the disk |
//! | [`raft`] | agreement: one thread decides what the log holds and what is committed | what is in an entry; keys; clients |
//! | [`wal`] | durable order: entries into sealed frames, frames onto the disk, recovery | what is in an entry; what raft decides |
//! | [`disk`] | the only door to the kernel for the log: io_uring, and plain system calls | what is in a block |
//! | [`apply`] | sealed in, effects out: opens a run, executes it in order, commits it, answers, or halts | sockets, how the log is written |
//! | [`fsm`] | what the data means: commands, values, the store and its state record | clocks, chance, threads; which key sealed a value |
//!
//! Beside the path:
//!
//! | room | what it does | what it does not know |
//! | --- | --- | --- |
//! | [`crypto`] | bytes in, bytes out: AES-256-GCM, envelopes, nonces, derived keys | files, threads, clocks, the state |
//! | [`peers`] | the other members: connections, frames, who is who | what is in a message or a request; the log, the state, keys of data |
//! | [`keys`] | the KEK, the keyring, and the rules of bootstrap, cutover and rotation | the log, raft, clients |
//! | [`tls`] | certificates: their files, their names, both sides of a connection | sockets, what is said over a connection |
//! | [`node`], [`cli`] | the roof: settings, start, threads, metrics, the commands of the binary | nothing: they may import every room |
//! | `testing` | a simulated disk, clock and network, behind a feature | |
//! | [`ids`], [`entry`], [`members`] | the words of the log: terms and indexes, an entry, the members of the cluster | every room above |
//! | [`limits`], [`world`], [`codec`], [`exit`] | every bound with its reason, clock and entropy, one byte reader, the exit statuses | every room above |
//!
//! Imports go down only. `tests/tidy.rs` holds the allowed ones as a table.
//!
//! [`seam`] is for a raft and a state machine of your own; built without the feature `node` the crate is that and no more.
#![warn(missing_docs)]

#[macro_use]
mod debug;

#[cfg(feature = "node")]
pub mod apply;
#[cfg(feature = "node")]
pub mod cli;
pub mod codec;
pub mod crypto;
#[doc = include_str!("design.md")]
pub mod design {}
pub mod disk;
pub mod entry;
pub mod exit;
pub mod fsm;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod members;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod peers;
#[cfg(feature = "node")]
pub mod propose;
#[cfg(feature = "node")]
pub mod raft;
#[cfg(feature = "node")]
pub mod resp;
pub mod seam;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(feature = "node")]
pub mod tls;
pub mod wal;
pub mod world;

/// Without the node: the hook.
#[cfg(not(feature = "node"))]
pub mod apply {
    pub mod halt;
    pub mod hook;
    pub mod open;
    pub mod ports;
}

/// Without the node: sealing of proposals.
#[cfg(not(feature = "node"))]
pub mod propose {
    pub mod seal;
}
