//! The proposer's half of the seam: who is called how often, which bytes leave, and where errors go.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::rig::CLUSTER;
use super::rig::Rig;
use super::rig::alone_with;
use super::rig::request;
use super::rig::set;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::EntryDek;
use crate::crypto::keystore::TermSalt;
use crate::crypto::nonce::NonceError;
use crate::crypto::seal::SealError;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::propose::Gateway;
use crate::propose::Mode;
use crate::propose::seal::LeaderSealer;
use crate::propose::seal::Proposal;
use crate::propose::seal::Sealer;
use crate::propose::seal::SealerError;
use crate::propose::seal::seal_batch;
use crate::raft::BatchRefusal;
use crate::raft::LeaderView;
use crate::raft::Proposer;
use crate::world::KernelEntropy;

const FIRST: Position = Position { term: Term(3), index: Index(10) };

fn proposals() -> Vec<Proposal> {
    (0..3).map(|n| Proposal::new(ProposalId(n), format!("command {n}").as_bytes())).collect()
}

/// Notes its calls; answers what it is told.
struct Told {
    calls: RefCell<Vec<(Position, Vec<ProposalId>)>>,
    answer: Cell<Option<Result<Vec<Bytes>, SealerError>>>,
}

impl Told {
    fn new(answer: Result<Vec<Bytes>, SealerError>) -> Told {
        Told { calls: RefCell::default(), answer: Cell::new(Some(answer)) }
    }
}

impl Sealer for Told {
    fn seal(&self, first: Position, proposals: &[Proposal]) -> Result<Vec<Bytes>, SealerError> {
        self.calls.borrow_mut().push((first, proposals.iter().map(Proposal::id).collect()));
        self.answer.take().expect("called once")
    }
}

#[test]
fn nil_path_without_a_sealer_the_entries_are_the_proposals_own_buffers() {
    let proposals = proposals();
    let payloads: Vec<(*const u8, Vec<u8>)> =
        proposals.iter().map(|p| (p.payload().as_ptr(), p.payload().to_vec())).collect();
    let entries = seal_batch(None, FIRST, proposals).unwrap();
    for (n, (entry, (place, payload))) in entries.iter().zip(&payloads).enumerate() {
        let frame = EntryFrame::decode(entry).unwrap();
        assert_eq!((frame.proposal_id, frame.payload), (ProposalId(n as u64), &payload[..]));
        assert_eq!(frame.payload.as_ptr(), *place, "not a copy");
    }
    assert_eq!(entries.len(), 3);
}

#[test]
fn each_proposal_is_sealed_once_in_one_call_for_the_batch() {
    let made: Vec<Bytes> = (0..3_u8).map(|n| Bytes::from(vec![n])).collect();
    let sealer = Told::new(Ok(made.clone()));
    assert_eq!(seal_batch(Some(&sealer), FIRST, proposals()).unwrap(), made);
    assert_eq!(*sealer.calls.borrow(), [(FIRST, (0..3).map(ProposalId).collect())]);
}

#[test]
fn a_sealers_error_reaches_the_caller_and_a_batch_is_never_half_made() {
    #[derive(Debug, thiserror::Error, PartialEq)]
    #[error("the module with the keys is unplugged")]
    struct Unplugged;

    let error = seal_batch(Some(&Told::new(Err(SealerError::Own(Box::new(Unplugged))))), FIRST, proposals());
    let SealerError::Own(own) = error.unwrap_err() else { panic!() };
    assert_eq!(own.downcast_ref(), Some(&Unplugged));
    for made in [0, 2, 4] {
        let error = seal_batch(Some(&Told::new(Ok(vec![Bytes::new(); made]))), FIRST, proposals()).unwrap_err();
        assert!(matches!(error, SealerError::Count { proposals: 3, sealed } if sealed == made), "{error}");
    }
}

#[test]
fn n1_a_leader_sealer_seals_for_its_own_term_behind_its_opener_and_nothing_else() {
    let dek = EntryDek::new(CLUSTER, KeyId::new(1).unwrap(), Dek::new(&[7; 32]));
    let key = dek.leadership(&TermSalt { term: Term(3), index: Index(9), salt: [5; 32] });
    let sealer = LeaderSealer::new(&key, &KernelEntropy);
    assert_eq!(seal_batch(Some(&sealer), FIRST, proposals()).unwrap().len(), 3);
    for (term, index) in [(2, 10), (4, 10), (3, 9), (3, 8)] {
        let first = Position { term: Term(term), index: Index(index) };
        let error = seal_batch(Some(&sealer), first, proposals()).unwrap_err();
        assert!(matches!(error, SealerError::OtherTerm { first: refused, .. } if refused == first), "{error}");
    }
    let far = Position { term: Term(3), index: Index(9 + (1 << 40)) };
    let error = seal_batch(Some(&sealer), far, proposals()).unwrap_err();
    assert!(matches!(error, SealerError::Seal(SealError::Nonce(NonceError::EntryDelta { .. }))), "{error}");
}

/// Goal: below a cutover nobody can tell from an entry's bytes whether the node has keys at all.
#[test]
fn with_neither_sealer_nor_cutover_the_engine_is_the_nil_engine_byte_for_byte() {
    let run = |mode, skipped| {
        let mut rig = Rig::founded(mode, &[1], 1);
        rig.settle();
        for n in 0..20 {
            rig.handle.propose(rig.request(n, vec![set(&format!("key {n}"), b"value")])).unwrap();
        }
        rig.settle();
        let (indexes, payloads): (Vec<u64>, Vec<Vec<u8>>) = rig.entries[skipped..]
            .iter()
            .map(|entry| (entry.index.0, EntryFrame::decode(&entry.data).unwrap().payload.to_vec()))
            .unzip();
        let ids: Vec<u64> = rig.ids[skipped - 1..].iter().map(|id| id.0).collect();
        (indexes, payloads, ids)
    };
    // The empty entry; with a KEK also the bootstrap, which is no cutover here.
    let (nil_indexes, nil, nil_ids) = run(Mode::Off, 1);
    let (indexes, clear, ids) = run(Mode::Ready, 2);
    assert_eq!((nil.len(), &nil), (20, &clear), "equal proposals, equal bytes");
    assert_eq!(indexes, nil_indexes.iter().map(|index| index + 1).collect::<Vec<u64>>());
    assert_eq!(ids, nil_ids.iter().map(|id| id + 1).collect::<Vec<u64>>(), "the bootstrap took one");
    let as_library = (0..).zip(&nil).map(|(n, payload)| Proposal::new(ProposalId(n), payload));
    let entries = seal_batch(None, FIRST, as_library.collect()).unwrap();
    assert!(entries.iter().zip(&nil).all(|(entry, payload)| entry[9..] == payload[..]));
}

#[test]
fn a_batch_that_cannot_be_sealed_never_touches_raft_and_its_clients_may_try_again() {
    let mut rig = Rig::new(Mode::On);
    rig.settle();
    let term_salt = *rig.node_keys.current().leadership_key().unwrap().term_salt();
    let (mut queue, handle, ends) = alone_with(Mode::On, Arc::clone(&rig.node_keys));
    handle.propose(request(&ends, 1, vec![set("k", b"v")])).unwrap();
    let view = LeaderView {
        term: term_salt.term,
        last_index: term_salt.index,
        applied: Position { term: term_salt.term, index: term_salt.index },
        own_term_applied: true,
        is_blocked: false,
        space_bytes: 1 << 20,
        clear_bytes: 1 << 20,
        is_held: false,
    };
    let mut batch = queue.next(&view).unwrap();
    // Raft asks for another leadership's term: there is nothing that it could append.
    let refusal = batch.seal(Term(term_salt.term.0 + 1), term_salt.index.next()).unwrap_err();
    assert_eq!(refusal, BatchRefusal::SealFailed);
    batch.refused(refusal);
    assert_eq!(*ends.lock().unwrap(), [(1, "TryAgain".to_owned())]);
    assert!(queue.next(&view).is_none(), "it is not sealed again");
}
