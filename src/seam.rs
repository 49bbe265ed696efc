//! What an embedder needs: sealing on one side of a raft, opening on the other, for a log and a state machine of your own.
//!
//! [`seal_batch`] turns proposals into the bytes of entries, [`Hook`] turns committed entries into what the state machine
//! applies. Without a sealer, without keys and with the default [`Cutover`] both are the identity. The crate needs no
//! more than this when it is built with `default-features = false`: no raft, no RocksDB, no network.
//!
//! Here with raft-rs and a cutover that is a command of the state machine:
//!
//! ```
//! use std::sync::Arc;
//!
//! use raft::RawNode;
//! use raft::storage::MemStorage;
//! use sealkv::seam::{ClusterId, Cutover, Dek, Delivery, EntryKeys, EntryKind, HaltCause, HaltClass, Hook, Index};
//! use sealkv::seam::{KernelEntropy, KeyId, KeyStore, LeaderSealer, LogEntry, Openings, Position, Proposal};
//! use sealkv::seam::{ProposalId, Purpose, Sealer, SealerError, StateMachine, Term, TermSalt, seal_batch};
//!
//! /// Keeps words; the word CUTOVER turns sealing on, for the entries behind it.
//! struct Words {
//!     words: Vec<String>,
//!     cutover: Arc<Cutover>,
//! }
//!
//! impl StateMachine for Words {
//!     fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
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
//! hook.open_and_deliver(&committed(&mut node), None, &mut machine)?;
//! assert_eq!(machine.words, ["in", "the", "clear"]);
//!
//! // Above the cutover: a data key, and a salt that is published by the leader of this term, here with the cutover.
//! let store = KeyStore::new(ClusterId([0xc1; 16]));
//! let key_id = KeyId::new(1).expect("not 0");
//! store.insert(key_id, Purpose::Entry, Dek::new(&[7; 32]))?;
//! let term_salt = TermSalt { term: Term(node.raft.term), index: cutover.load(), salt: [5; 32] };
//! let key = store.snapshot().entry(key_id).expect("just inserted").leadership(&term_salt);
//! propose(&mut node, Some(&LeaderSealer::new(&key, &KernelEntropy)), &["in", "secret"])?;
//! let entries = committed(&mut node);
//! assert!(entries.iter().all(|entry| !entry.data.ends_with(b"secret")));
//!
//! // Every replica opens an entry at its position, and nowhere else.
//! let keys = EntryKeys::new(store.snapshot(), Some(term_salt));
//! hook.open_and_deliver(&entries, Some(&keys), &mut machine)?;
//! assert_eq!(machine.words[3..], ["in", "secret"]);
//! let mut moved = entries[1].clone();
//! moved.index = moved.index.next();
//! let halt = hook.open_and_deliver(&[moved], Some(&keys), &mut machine).expect_err("its tag holds its position");
//! assert_eq!((halt.position.index, halt.class()), (entries[1].index.next(), HaltClass::Unauthentic));
//! assert_eq!(machine.words.len(), 5, "the state machine was not called");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// The entry at which apply stops, and why.
pub use crate::apply::halt::Halt;
/// Why a state machine does not apply an entry.
pub use crate::apply::halt::HaltCause;
/// The kind of a halt.
pub use crate::apply::halt::HaltClass;
/// A committed entry, opened, as the state machine gets it.
pub use crate::apply::hook::Delivery;
/// The half behind the log: opens committed entries and hands them over in order.
pub use crate::apply::hook::Hook;
/// What applies opened entries.
pub use crate::apply::hook::StateMachine;
/// Buffers to open in, and the threads that share the work.
pub use crate::apply::open::Openings;
/// A data-encryption key.
pub use crate::crypto::keystore::Dek;
/// The data keys of a process, by id.
pub use crate::crypto::keystore::KeyStore;
/// Whether a data key seals entries or stored values.
pub use crate::crypto::keystore::Purpose;
/// The salt of one term, published by its leader.
pub use crate::crypto::keystore::TermSalt;
/// The keys that open the entries of one call.
pub use crate::crypto::open::EntryKeys;
/// Command or membership change.
pub use crate::entry::EntryKind;
/// An entry as raft committed it.
pub use crate::entry::LogEntry;
/// Names a cluster; no two clusters open each other's entries.
pub use crate::ids::ClusterId;
/// The index above which entries are sealed, shared by both halves.
pub use crate::ids::Cutover;
/// Index of an entry in the log.
pub use crate::ids::Index;
/// Names a data key; never 0.
pub use crate::ids::KeyId;
/// Term and index of an entry, which its seal is bound to.
pub use crate::ids::Position;
/// Chosen by the proposer to find its entry again.
pub use crate::ids::ProposalId;
/// Term of a leader.
pub use crate::ids::Term;
/// Seals with the key of one leadership.
pub use crate::propose::seal::LeaderSealer;
/// A payload with space for what sealing adds.
pub use crate::propose::seal::Proposal;
/// What seals a batch, before raft sees it.
pub use crate::propose::seal::Sealer;
/// Why a batch was not sealed; raft has not seen it.
pub use crate::propose::seal::SealerError;
/// The half before the log: seals a batch at the positions that it will get.
pub use crate::propose::seal::seal_batch;
/// The kernel's random bytes.
pub use crate::world::KernelEntropy;
