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
//! | [`keys`] | the KEK, the keyring, and the rules of bootstrap, cutover and rotation | the log, raft, clients |
//! | [`node`], [`cli`] | the roof: settings, start, threads, metrics, the commands of the binary | nothing: they may import every room |
//! | `testing` | a simulated disk, clock and network, behind a feature | |
//! | [`ids`], [`limits`], [`world`] | the ground floor: indexes and terms, every bound with its reason, clock and entropy | every room above |
//!
//! Imports go down only. `tests/tidy.rs` holds the allowed ones as a table.
//!
//! # The seam, for a raft and a state machine of one's own
//!
//! [`propose::seal`] turns proposals into entries, [`apply::gate`] turns committed entries into what the state machine is
//! to apply. Without a sealer, without keys and with the default [`Cutover`](ids::Cutover) both are the identity. Here with
//! raft-rs and a cutover that is a command of the state machine:
//!
//! ```
//! use std::sync::Arc;
//!
//! use raft::RawNode;
//! use raft::storage::MemStorage;
//! use sealkv::apply::gate::{Delivery, Hook, StateMachine, Stop};
//! use sealkv::apply::halt::HaltClass;
//! use sealkv::apply::open::Openings;
//! use sealkv::crypto::keystore::{Dek, KeyStore, Opener, Purpose};
//! use sealkv::crypto::open::EntryKeys;
//! use sealkv::ids::{ClusterId, Cutover, Index, KeyId, Position, ProposalId, Term};
//! use sealkv::propose::seal::{LeaderSealer, Proposal, Sealer, SealerError, seal_batch};
//! use sealkv::wal::{EntryKind, LogEntry};
//! use sealkv::world::KernelEntropy;
//!
//! /// Keeps words; the word CUTOVER turns sealing on, for the entries behind it.
//! struct Words {
//!     words: Vec<String>,
//!     cutover: Arc<Cutover>,
//! }
//!
//! impl StateMachine for Words {
//!     fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), Stop> {
//!         match std::str::from_utf8(delivery.payload).expect("only words are proposed") {
//!             "CUTOVER" => self.cutover.set(delivery.position.index),
//!             word => self.words.push(word.to_owned()),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! /// Seal, then propose: a sealer's error comes back from here and raft has seen nothing.
//! fn propose(node: &mut RawNode<MemStorage>, sealer: Option<&dyn Sealer>, words: &[&str]) -> Result<(), SealerError> {
//!     let proposals = (0..).zip(words).map(|(id, word)| Proposal::new(ProposalId(id), word.as_bytes())).collect();
//!     let first = Position { term: Term(node.raft.term), index: Index(node.raft.raft_log.last_index() + 1) };
//!     for data in seal_batch(sealer, first, proposals)? {
//!         node.propose(Vec::new(), data.to_vec()).expect("this node leads");
//!     }
//!     Ok(())
//! }
//!
//! /// Commit: what raft asks its driver to do, for a log in memory.
//! fn committed(node: &mut RawNode<MemStorage>) -> Vec<LogEntry> {
//!     let mut out = Vec::new();
//!     while node.has_ready() {
//!         let mut ready = node.ready();
//!         out.extend(ready.take_committed_entries());
//!         node.store().wl().append(ready.entries()).expect("consecutive");
//!         if let Some(hard_state) = ready.hs() {
//!             node.store().wl().set_hardstate(hard_state.clone());
//!         }
//!         out.extend(node.advance(ready).take_committed_entries());
//!         node.advance_apply();
//!     }
//!     let entry = |e: raft::eraftpb::Entry| {
//!         LogEntry { term: Term(e.term), index: Index(e.index), kind: EntryKind::Normal, data: e.data }
//!     };
//!     out.into_iter().map(entry).collect()
//! }
//!
//! let logger = slog::Logger::root(slog::Discard, slog::o!());
//! let config = raft::Config { id: 1, ..raft::Config::default() };
//! let mut node = RawNode::new(&config, MemStorage::new_with_conf_state((vec![1], vec![])), &logger)?;
//! node.campaign()?;
//!
//! // The nil cipher: no sealer, no keys, no cutover.
//! let cutover = Arc::new(Cutover::default());
//! let mut hook = Hook::new(Arc::clone(&cutover), Openings::new(None));
//! let mut machine = Words { words: Vec::new(), cutover: Arc::clone(&cutover) };
//! propose(&mut node, None, &["in", "the", "clear", "CUTOVER"])?;
//! hook.apply(&committed(&mut node), None, &mut machine)?;
//! assert_eq!(machine.words, ["in", "the", "clear"]);
//!
//! // Above the cutover: a data key, and a salt that is published by the leader of this term, here with the cutover.
//! let store = KeyStore::new(ClusterId([0xc1; 16]));
//! let key_id = KeyId::new(1).expect("not 0");
//! store.insert(key_id, Purpose::Entry, Dek::new(&[7; 32]))?;
//! let opener = Opener { term: Term(node.raft.term), index: cutover.load(), salt: [5; 32] };
//! let key = store.snapshot().entry(key_id).expect("just inserted").leadership(&opener);
//! propose(&mut node, Some(&LeaderSealer::new(&key, &KernelEntropy)), &["in", "secret"])?;
//! let entries = committed(&mut node);
//! assert!(entries.iter().all(|entry| !entry.data.ends_with(b"secret")));
//!
//! // Every replica opens an entry at its place, and nowhere else.
//! let keys = EntryKeys::new(store.snapshot(), Some(opener));
//! hook.apply(&entries, Some(&keys), &mut machine)?;
//! assert_eq!(machine.words[3..], ["in", "secret"]);
//! let mut moved = entries[1].clone();
//! moved.index = moved.index.next();
//! let halted = hook.apply(&[moved], Some(&keys), &mut machine).expect_err("its tag holds its place");
//! assert_eq!((halted.at, halted.halt.class()), (0, HaltClass::Unauthentic));
//! assert_eq!(machine.words.len(), 5, "the state machine was not called");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

pub mod apply;
pub mod cli;
pub mod crypto;
#[doc = include_str!("design.md")]
pub mod design {}
pub mod disk;
pub mod fsm;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod node;
pub mod propose;
pub mod raft;
pub mod resp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wal;
pub mod world;
