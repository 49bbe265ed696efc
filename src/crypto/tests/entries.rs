//! Entries and control entries: PLACE-BOUND, LAYERS-APART, one nonce each, and batches that open like single entries.

use std::collections::HashSet;

use bytes::Bytes;
use rayon::prelude::*;

use super::Seeded;
use super::key_id;
use super::known_entry_dek;
use super::known_entry_keys;
use super::known_store;
use super::unhex;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Envelope;
use crate::crypto::envelope::OpenError;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::KeyStore;
use crate::crypto::keystore::Purpose;
use crate::crypto::keystore::TermSalt;
use crate::crypto::nonce::ENTRY_DELTA_MAX;
use crate::crypto::nonce::NonceError;
use crate::crypto::open::EntryKeys;
use crate::crypto::open::OpenArena;
use crate::crypto::open::OpenJob;
use crate::crypto::open::open_entries;
use crate::crypto::open::open_entry;
use crate::crypto::seal::SEALED_OVERHEAD;
use crate::crypto::seal::SealError;
use crate::crypto::seal::seal_control;
use crate::crypto::seal::seal_entries;
use crate::crypto::selftest::KNOWN_CONTROL;
use crate::crypto::selftest::KNOWN_ENTRY;
use crate::crypto::selftest::KNOWN_PAYLOAD;
use crate::crypto::selftest::KNOWN_POSITION;
use crate::crypto::selftest::KNOWN_PROPOSAL;
use crate::crypto::selftest::KNOWN_TERM_SALT;
use crate::crypto::stored::open_value;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::limits::ENTRY_BYTES_MAX;

fn known_id() -> KeyId {
    key_id(0xCAFE_BABE)
}

fn unauthentic<T>() -> Result<T, OpenError> {
    Err(OpenError::Unauthentic { key_id: known_id() })
}

fn unknown<T>(key_id: KeyId) -> Result<T, OpenError> {
    Err(OpenError::UnknownKey { key_id })
}

fn open_at(keys: &EntryKeys, position: Position, data: &[u8]) -> Result<Vec<u8>, OpenError> {
    open_entry(keys, OpenJob { position, data })
}

/// A batch at 101.. of the known term with payloads of these lengths.
fn sealed_batch(store: &KeyStore, random: &Seeded, lens: &[usize]) -> (Vec<Vec<u8>>, Vec<Bytes>) {
    let payloads: Vec<Vec<u8>> = lens.iter().map(|len| random.bytes(*len)).collect();
    let ids: Vec<ProposalId> = lens.iter().map(|_| ProposalId(random.bits())).collect();
    let items: Vec<_> = ids.iter().zip(&payloads).map(|(id, payload)| (*id, &payload[..])).collect();
    let key = known_entry_dek(store).leadership(&KNOWN_TERM_SALT);
    let sealed = seal_entries(&key, random.array(), Index(101), &items).unwrap();
    (payloads, sealed)
}

fn position(n: usize) -> Position {
    Position { term: KNOWN_TERM_SALT.term, index: Index(101 + n as u64) }
}

fn jobs(sealed: &[Bytes]) -> Vec<OpenJob<'_>> {
    sealed.iter().enumerate().map(|(n, data)| OpenJob { position: position(n), data }).collect()
}

/// Made by other code (the bytes are those of the self-test).
#[test]
fn golden_entry_and_control_entry_open() {
    let keys = known_entry_keys(&known_store());
    assert_eq!(open_at(&keys, KNOWN_POSITION, &unhex(KNOWN_ENTRY)).unwrap(), KNOWN_PAYLOAD);
    assert_eq!(open_at(&keys, KNOWN_POSITION, &unhex(KNOWN_CONTROL)).unwrap(), KNOWN_PAYLOAD);
}

#[test]
fn every_flipped_bit_of_a_sealed_entry_is_refused() {
    let keys = known_entry_keys(&known_store());
    for golden in [KNOWN_ENTRY, KNOWN_CONTROL] {
        let data = unhex(golden);
        for bit in 0..data.len() * 8 {
            let mut bad = data.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let refused = open_at(&keys, KNOWN_POSITION, &bad).unwrap_err();
            match bit / 8 {
                0 => assert_eq!(refused, OpenError::EntryFrame { bytes: data.len() }),
                // Version 2 made 3, or the reverse, is a known version with another key.
                9 => assert!(matches!(refused, OpenError::EnvelopeVersion { .. } | OpenError::Unauthentic { .. })),
                10 => assert!(matches!(refused, OpenError::EnvelopeFlag { .. })),
                11..15 => assert!(matches!(refused, OpenError::UnknownKey { .. })),
                _ => assert_eq!(refused, OpenError::Unauthentic { key_id: known_id() }, "bit {bit}"),
            }
        }
    }
}

#[test]
fn every_shortened_entry_is_refused() {
    let keys = known_entry_keys(&known_store());
    let data = unhex(KNOWN_ENTRY);
    for len in 0..data.len() {
        let expected = match len {
            0..9 => OpenError::EntryFrame { bytes: len },
            9..43 => OpenError::EnvelopeShort { bytes: len - 9 },
            _ => OpenError::Unauthentic { key_id: known_id() },
        };
        assert_eq!(open_at(&keys, KNOWN_POSITION, &data[..len]), Err(expected));
    }
}

/// PLACE-BOUND: another index, another proposal id, another term.
#[test]
fn an_entry_moved_to_another_place_does_not_open() {
    let store = known_store();
    let keys = known_entry_keys(&store);
    for golden in [KNOWN_ENTRY, KNOWN_CONTROL] {
        let data = unhex(golden);
        for index in [1, 100, 102, 104, u64::MAX] {
            let moved = Position { index: Index(index), ..KNOWN_POSITION };
            assert_eq!(open_at(&keys, moved, &data), unauthentic());
        }
        let envelope = EntryFrame::decode(&data).unwrap().payload;
        let renamed = EntryFrame { proposal_id: ProposalId(KNOWN_PROPOSAL.0 + 1), payload: envelope }.encode();
        assert_eq!(open_at(&keys, KNOWN_POSITION, &renamed), unauthentic());
    }
    // Of another term: the entry has no key, the control entry is not authentic.
    let moved = Position { term: Term(6), ..KNOWN_POSITION };
    assert_eq!(open_at(&keys, moved, &unhex(KNOWN_ENTRY)), unknown(known_id()));
    assert_eq!(open_at(&keys, moved, &unhex(KNOWN_CONTROL)), unauthentic());
    // Even if an opener of that term is the newest, with the same salt.
    let newer = EntryKeys::new(store.snapshot(), Some(TermSalt { term: Term(6), ..KNOWN_TERM_SALT }));
    assert_eq!(open_at(&newer, moved, &unhex(KNOWN_ENTRY)), unauthentic());
}

/// Sealed here and opened at once, so that what binds the place is what refuses it, not the bytes of a known answer.
#[test]
fn place_bound_a_fresh_entry_opens_in_its_own_place_only() {
    let store = known_store();
    let control = seal_control(&known_entry_dek(&store), KNOWN_POSITION, KNOWN_PROPOSAL, [3; 12], b"control").unwrap();
    let leadership = known_entry_dek(&store).leadership(&KNOWN_TERM_SALT);
    let item = (KNOWN_PROPOSAL, &b"entry"[..]);
    let entry = seal_entries(&leadership, [3; 7], KNOWN_POSITION.index, &[item]).unwrap().remove(0);
    let keys = known_entry_keys(&store);
    for data in [&control, &entry] {
        assert!(open_at(&keys, KNOWN_POSITION, data).is_ok());
        let elsewhere = Position { index: KNOWN_POSITION.index.next(), ..KNOWN_POSITION };
        assert_eq!(open_at(&keys, elsewhere, data), unauthentic());
        let mut renamed = data.to_vec();
        renamed[8] ^= 1;
        assert_eq!(open_at(&keys, KNOWN_POSITION, &renamed), unauthentic());
    }
    let later = Position { term: Term(KNOWN_POSITION.term.0 + 1), ..KNOWN_POSITION };
    assert_eq!(open_at(&keys, later, &control), unauthentic());
    assert_eq!(open_at(&keys, later, &entry), unknown(known_id()));
}

#[test]
fn two_entries_that_swap_places_do_not_open() {
    let store = known_store();
    let (_, sealed) = sealed_batch(&store, &Seeded::fresh(), &[40, 40]);
    let keys = known_entry_keys(&store);
    assert!(open_at(&keys, position(0), &sealed[0]).is_ok());
    assert_eq!(open_at(&keys, position(0), &sealed[1]), unauthentic());
    assert_eq!(open_at(&keys, position(1), &sealed[0]), unauthentic());
}

/// LAYERS-APART between entries and control entries: an envelope relabelled as the other kind does not open.
#[test]
fn a_control_entry_never_opens_as_an_entry_nor_the_reverse() {
    let keys = known_entry_keys(&known_store());
    for (golden, version) in [(KNOWN_ENTRY, 3), (KNOWN_CONTROL, 2)] {
        let mut relabelled = unhex(golden);
        relabelled[9] = version;
        assert_eq!(open_at(&keys, KNOWN_POSITION, &relabelled), unauthentic());
        relabelled[9] = 1;
        let refused = Err(OpenError::EnvelopeVersion { version: 1 });
        assert_eq!(open_at(&keys, KNOWN_POSITION, &relabelled), refused, "a node accepts no version 1 entry");
    }
}

#[test]
fn an_entry_without_its_key_is_unknown() {
    let store = known_store();
    let entry = unhex(KNOWN_ENTRY);
    let no_opener = EntryKeys::new(store.snapshot(), None);
    assert_eq!(open_at(&no_opener, KNOWN_POSITION, &entry), unknown(known_id()));
    assert!(open_at(&no_opener, KNOWN_POSITION, &unhex(KNOWN_CONTROL)).is_ok(), "an opener needs none");
    let empty = EntryKeys::new(KeyStore::new(super::KNOWN_CLUSTER).snapshot(), Some(KNOWN_TERM_SALT));
    assert_eq!(open_at(&empty, KNOWN_POSITION, &entry), unknown(known_id()));
    assert_eq!(open_at(&empty, KNOWN_POSITION, &unhex(KNOWN_CONTROL)), unknown(known_id()));
    // A value DEK's id in an entry.
    let mut of_value = entry;
    of_value[11..15].copy_from_slice(&7_u32.to_be_bytes());
    assert_eq!(open_at(&known_entry_keys(&store), KNOWN_POSITION, &of_value), unknown(key_id(7)));
}

/// NONCE-UNIQUE within a batch and over batches at other positions with the same random part.
#[test]
fn every_entry_has_a_nonce_of_its_own() {
    let key = known_entry_dek(&known_store()).leadership(&KNOWN_TERM_SALT);
    let items = [(KNOWN_PROPOSAL, KNOWN_PAYLOAD); 100];
    let mut nonces = HashSet::new();
    for first in [101, 201, 301] {
        for data in seal_entries(&key, [1; 7], Index(first), &items).unwrap() {
            let frame = EntryFrame::decode(&data).unwrap();
            assert!(nonces.insert(Envelope::parse(frame.payload).unwrap().nonce));
        }
    }
    // A live copy of the machine draws another random part for the same positions.
    for data in seal_entries(&key, [2; 7], Index(101), &items).unwrap() {
        let frame = EntryFrame::decode(&data).unwrap();
        assert!(nonces.insert(Envelope::parse(frame.payload).unwrap().nonce));
    }
}

#[test]
fn a_batch_that_cannot_be_sealed_is_refused_whole() {
    let key = known_entry_dek(&known_store()).leadership(&KNOWN_TERM_SALT);
    let item = (KNOWN_PROPOSAL, KNOWN_PAYLOAD);
    let refused = |index| {
        let error = NonceError::EntryDelta { index: Index(index), opener_index: KNOWN_TERM_SALT.index };
        Err(SealError::Nonce(error))
    };
    assert_eq!(seal_entries(&key, [0; 7], Index(100), &[item]), refused(100));
    let last = KNOWN_TERM_SALT.index.0 + ENTRY_DELTA_MAX;
    assert!(seal_entries(&key, [0; 7], Index(last), &[item]).is_ok());
    assert_eq!(seal_entries(&key, [0; 7], Index(last), &[item, item]), refused(last + 1));
    let large = vec![0; ENTRY_BYTES_MAX - SEALED_OVERHEAD + 1];
    let too_large = SealError::TooLarge { bytes: ENTRY_BYTES_MAX + 1 };
    assert_eq!(seal_entries(&key, [0; 7], Index(101), &[item, (KNOWN_PROPOSAL, &large)]), Err(too_large));
    let dek = known_entry_dek(&known_store());
    assert_eq!(seal_control(&dek, KNOWN_POSITION, KNOWN_PROPOSAL, [0; 12], &large), Err(too_large));
    assert_eq!(
        seal_entries(&key, [0; 7], Index(101), &[(KNOWN_PROPOSAL, &large[1..])]).unwrap()[0].len(),
        ENTRY_BYTES_MAX
    );
}

/// A small batch lies in one allocation: each entry begins where the one before it ends.
#[test]
fn a_small_sealed_batch_is_one_arena() {
    let (_, sealed) = sealed_batch(&known_store(), &Seeded::fresh(), &[0, 1, 100, 5000]);
    for pair in sealed.windows(2) {
        assert_eq!(pair[0].as_ptr_range().end, pair[1].as_ptr());
    }
    assert_eq!(
        seal_entries(&known_entry_dek(&known_store()).leadership(&KNOWN_TERM_SALT), [0; 7], Index(101), &[]),
        Ok(vec![])
    );
}

/// Each entry of a batch that takes several arenas is sealed for its own place, as in a batch of its own.
#[test]
fn a_large_batch_is_sealed_in_several_arenas_to_the_same_bytes() {
    let random = Seeded::fresh();
    let key = known_entry_dek(&known_store()).leadership(&KNOWN_TERM_SALT);
    let lens = [30 << 10, 30 << 10, 30 << 10, 200 << 10, 0, 64 << 10, 1, 100, 70 << 10];
    let payloads = lens.map(|len| random.bytes(len));
    let items = payloads.each_ref().map(|payload| (ProposalId(random.bits()), &payload[..]));
    let sealed = seal_entries(&key, [7; 7], Index(101), &items).unwrap();
    for (n, item) in items.iter().enumerate() {
        assert_eq!(seal_entries(&key, [7; 7], position(n).index, &[*item]).unwrap()[0], sealed[n], "entry {n}");
    }
    let is_neighbour = |pair: &[Bytes]| pair[0].as_ptr_range().end == pair[1].as_ptr();
    assert!(is_neighbour(&sealed[0..2]) && !is_neighbour(&sealed[1..3]));
}

/// Random batches with damaged entries among them: a batch opens exactly what single calls open, and damages nothing.
#[test]
fn a_batch_opens_what_single_calls_open() {
    let random = Seeded::fresh();
    let store = known_store();
    let keys = known_entry_keys(&store);
    let mut arena = OpenArena::default();
    for _ in 0..30 {
        let lens: Vec<usize> = (0..random.below(40)).map(|_| random.index(600)).collect();
        let (payloads, mut sealed) = sealed_batch(&store, &random, &lens);
        for data in &mut sealed {
            if random.below(4) == 0 {
                let mut bad = data.to_vec();
                let bit = random.index(bad.len() * 8);
                bad[bit / 8] ^= 1 << (bit % 8);
                *data = bad.into();
            }
        }
        open_entries(&keys, &jobs(&sealed), &mut arena);
        assert_eq!(arena.count(), sealed.len());
        for (n, result) in arena.results().enumerate() {
            let single = open_at(&keys, position(n), &sealed[n]);
            assert_eq!(result.map(<[u8]>::to_vec), single);
            assert!(single.is_err() || single.as_ref() == Ok(&payloads[n]));
        }
    }
}

/// Several keys in one batch, and failures under the first of them: what lies behind still opens under the second.
#[test]
fn a_batch_under_several_keys_opens_each_under_its_own() {
    let store = known_store();
    store.insert(key_id(9), Purpose::Entry, Dek::new(&[9; 32])).unwrap();
    let first = known_entry_dek(&store).leadership(&KNOWN_TERM_SALT);
    let second = store.snapshot().entry(key_id(9)).unwrap().leadership(&KNOWN_TERM_SALT);
    let dek = known_entry_dek(&store);
    let mut sealed: Vec<Bytes> = Vec::new();
    for n in 0..12 {
        let item = (ProposalId(n), KNOWN_PAYLOAD);
        let index = Index(101 + n);
        sealed.push(match n % 3 {
            0 => seal_entries(&first, [0; 7], index, &[item]).unwrap().remove(0),
            1 => seal_entries(&second, [0; 7], index, &[item]).unwrap().remove(0),
            _ => seal_control(&dek, position(n as usize), item.0, [0; 12], item.1).unwrap(),
        });
    }
    for bad in [0, 4, 8] {
        let mut bytes = sealed[bad].to_vec();
        bytes[30] ^= 1;
        sealed[bad] = bytes.into();
    }
    let mut arena = OpenArena::default();
    open_entries(&known_entry_keys(&store), &jobs(&sealed), &mut arena);
    for (n, result) in arena.results().enumerate() {
        match n {
            0 | 8 => assert_eq!(result, unauthentic()),
            4 => assert_eq!(result, Err(OpenError::Unauthentic { key_id: key_id(9) })),
            _ => assert_eq!(result, Ok(KNOWN_PAYLOAD), "{n}"),
        }
    }
}

/// As apply does it: chunks over rayon workers, an arena each.
#[test]
fn chunks_open_on_many_threads() {
    let random = Seeded::fresh();
    let store = known_store();
    let keys = known_entry_keys(&store);
    let lens: Vec<usize> = (0..200).map(|n| n % 70).collect();
    let (payloads, sealed) = sealed_batch(&store, &random, &lens);
    let arenas: Vec<OpenArena> = jobs(&sealed)
        .par_chunks(16)
        .map(|chunk| {
            let mut arena = OpenArena::default();
            open_entries(&keys, chunk, &mut arena);
            arena
        })
        .collect();
    let opened: Vec<&[u8]> = arenas.iter().flat_map(OpenArena::results).map(Result::unwrap).collect();
    assert_eq!(opened, payloads);
}

/// Whatever bytes come from a disk or a peer: an error, never a panic, never plaintext.
#[test]
fn arbitrary_bytes_are_refused_without_a_panic() {
    let random = Seeded::fresh();
    let store = known_store();
    let keys = known_entry_keys(&store);
    for _ in 0..5000 {
        let len = random.index(120);
        let mut data = random.bytes(len);
        // Half of them look like an entry under a known key, so that the later checks are met too.
        let known = [&[1][..], &random.bytes(8), &[random.below(5) as u8, 0], &known_id().to_bytes()].concat();
        if random.below(2) == 0 && data.len() > known.len() {
            data[..known.len()].copy_from_slice(&known);
        }
        assert!(open_at(&keys, KNOWN_POSITION, &data).is_err());
        assert!(open_value(&store.snapshot(), b"user:1", &data).is_err());
    }
}
