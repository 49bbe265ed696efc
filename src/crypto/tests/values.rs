//! Stored values: bound to their row and header, the same bytes everywhere, and no entry.

use std::collections::HashSet;

use super::Seeded;
use super::key_id;
use super::known_entry_keys;
use super::known_store;
use super::unhex;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::OpenError;
use crate::crypto::keystore::KeyStore;
use crate::crypto::nonce::NonceError;
use crate::crypto::open::OpenArena;
use crate::crypto::open::OpenJob;
use crate::crypto::open::open_entry;
use crate::crypto::seal::SealError;
use crate::crypto::selftest::KNOWN_CLUSTER;
use crate::crypto::selftest::KNOWN_CONTROL;
use crate::crypto::selftest::KNOWN_ENTRY;
use crate::crypto::selftest::KNOWN_POSITION;
use crate::crypto::selftest::KNOWN_PROPOSAL;
use crate::crypto::selftest::KNOWN_ROW;
use crate::crypto::stored::STORED_OVERHEAD;
use crate::crypto::stored::StoredRow;
use crate::crypto::stored::ValueArena;
use crate::crypto::stored::ValueBinding;
use crate::crypto::stored::open_value;
use crate::crypto::stored::open_values;
use crate::crypto::stored::seal_values;

const BODY: &[u8] = b"\x00\x00\x00\x00\x00\x00\x00\x00\x67hello";
const BINDING: ValueBinding<'_> =
    ValueBinding { store_key: b"user:1", header: [2, 0, 0, 0, 0, 0, 0, 0, 0], entry_tag: [1; 16], delta: 1, op: 0 };

/// Made by other code (the bytes are those of the self-test).
#[test]
fn golden_row_opens() {
    assert_eq!(open_value(&known_store().snapshot(), b"user:1", &unhex(KNOWN_ROW)).unwrap(), BODY);
}

#[test]
fn every_flipped_bit_of_a_row_is_refused() {
    let keys = known_store().snapshot();
    let row = unhex(KNOWN_ROW);
    for bit in 0..row.len() * 8 {
        let mut bad = row.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let refused = open_value(&keys, b"user:1", &bad).unwrap_err();
        match bit / 8 {
            9 => assert!(matches!(refused, OpenError::EnvelopeVersion { .. })),
            10 => assert!(matches!(refused, OpenError::EnvelopeFlag { .. })),
            11..15 => assert!(matches!(refused, OpenError::UnknownKey { .. } | OpenError::ReservedKey)),
            _ => assert_eq!(refused, OpenError::Unauthentic { key_id: key_id(7) }, "bit {bit}"),
        }
    }
    for len in 0..row.len() {
        let refused = open_value(&keys, b"user:1", &row[..len]).unwrap_err();
        assert_eq!(refused == OpenError::EnvelopeShort { bytes: len }, len < STORED_OVERHEAD);
    }
}

/// Sealed here and opened at once, so that what binds the row is what refuses it, not the bytes of a known answer.
#[test]
fn layers_apart_a_row_opens_under_its_own_key_and_header_only() {
    let store = known_store();
    let keys = store.snapshot();
    let header = [2, 9, 0, 0, 0, 0, 0, 0, 0];
    let binding = ValueBinding { store_key: b"user:1", header, entry_tag: [1; 16], delta: 3, op: 0 };
    let row = seal_values(keys.value(key_id(7)).unwrap(), &[(binding, b"body")]).unwrap().remove(0);
    assert_eq!(open_value(&keys, b"user:1", &row), Ok(b"body".to_vec()));
    let unauthentic = Err(OpenError::Unauthentic { key_id: key_id(7) });
    for store_key in [&b""[..], b"user:2", b"user:", b"user:10"] {
        assert_eq!(open_value(&keys, store_key, &row), unauthentic);
    }
    for byte in 0..9 {
        let mut edited = row.to_vec();
        edited[byte] ^= 1;
        assert_eq!(open_value(&keys, b"user:1", &edited), unauthentic, "byte {byte} of the header");
    }
}

#[test]
fn a_row_under_another_key_does_not_open() {
    let keys = known_store().snapshot();
    for store_key in [&b""[..], b"user:2", b"user:", b"user:10"] {
        let refused = open_value(&keys, store_key, &unhex(KNOWN_ROW));
        assert_eq!(refused, Err(OpenError::Unauthentic { key_id: key_id(7) }));
    }
    let none = KeyStore::new(KNOWN_CLUSTER).snapshot();
    let refused = open_value(&none, b"user:1", &unhex(KNOWN_ROW));
    assert_eq!(refused, Err(OpenError::UnknownKey { key_id: key_id(7) }));
}

/// LAYERS-APART: a value as an entry (under any label), an entry or control entry as a value.
#[test]
fn a_stored_value_never_opens_as_an_entry_nor_the_reverse() {
    let store = known_store();
    let entry_keys = known_entry_keys(&store);
    let row = unhex(KNOWN_ROW);
    for version in 1..=3 {
        for id in [7_u32, 0xCAFE_BABE] {
            let mut envelope = row[9..].to_vec();
            envelope[0] = version;
            envelope[2..6].copy_from_slice(&id.to_be_bytes());
            let data = EntryFrame { proposal_id: KNOWN_PROPOSAL, payload: &envelope }.encode();
            assert!(open_entry(&entry_keys, OpenJob { position: KNOWN_POSITION, data: &data }).is_err());
        }
    }
    for golden in [KNOWN_ENTRY, KNOWN_CONTROL] {
        for id in [7_u32, 0xCAFE_BABE] {
            let mut as_row = unhex(golden);
            as_row[9] = 1;
            as_row[11..15].copy_from_slice(&id.to_be_bytes());
            assert!(open_value(&store.snapshot(), b"user:1", &as_row).is_err());
        }
    }
}

/// SAME-BYTES: every replica and every replay makes the same rows, in whatever batches they are sealed.
#[test]
fn values_seal_to_the_same_bytes_in_any_batch() {
    let keys = known_store().snapshot();
    let dek = keys.value(key_id(7)).unwrap();
    let random = Seeded::fresh();
    let bodies: Vec<(Vec<u8>, Vec<u8>)> = (0..50).map(|n| (random.bytes(n % 9 + 1), random.bytes(n * 13))).collect();
    let items: Vec<(ValueBinding<'_>, &[u8])> = bodies
        .iter()
        .enumerate()
        .map(|(n, (store_key, body))| (ValueBinding { store_key, op: n as u32, ..BINDING }, &body[..]))
        .collect();
    let rows = seal_values(dek, &items).unwrap();
    let singly: Vec<_> = items.iter().flat_map(|item| seal_values(dek, &[*item]).unwrap()).collect();
    assert_eq!(rows, singly);
    let other_replica = known_store().snapshot();
    assert_eq!(seal_values(other_replica.value(key_id(7)).unwrap(), &items).unwrap(), rows);
    let mut arena = OpenArena::default();
    let to_open: Vec<_> =
        items.iter().zip(&rows).map(|((binding, _), row)| StoredRow { store_key: binding.store_key, row }).collect();
    open_values(&keys, &to_open, &mut arena);
    for (n, result) in arena.results().enumerate() {
        assert_eq!(result, Ok(&bodies[n].1[..]));
    }
}

/// NONCE-UNIQUE: the writes of an entry differ by op even where all else is equal; the ciphertexts differ wholly.
#[test]
fn equal_writes_of_one_entry_have_different_nonces() {
    let keys = known_store().snapshot();
    let items: Vec<(ValueBinding<'_>, &[u8])> = (0..1000).map(|op| (ValueBinding { op, ..BINDING }, BODY)).collect();
    let rows = seal_values(keys.value(key_id(7)).unwrap(), &items).unwrap();
    assert_eq!(rows.iter().map(|row| &row[15..27]).collect::<HashSet<_>>().len(), 1000);
    assert_eq!(rows.iter().map(|row| &row[27..]).collect::<HashSet<_>>().len(), 1000);
}

/// Goal: an arena that is used again has no trace of what was in it, grown or not, and what does not fit a nonce is not in it.
#[test]
fn an_arena_of_values_is_used_again_and_again() {
    let keys = known_store().snapshot();
    let dek = keys.value(key_id(7)).unwrap();
    let mut arena = ValueArena::new(dek, 0);
    for count in [3, 0, 1, 200, 7] {
        let bodies: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; n * count]).collect();
        let binding = |op| ValueBinding { op, ..BINDING };
        for (op, body) in (0..).zip(&bodies) {
            arena.add(&binding(op), body.len(), |out| out.extend_from_slice(body)).unwrap();
        }
        assert_eq!(
            arena.add(&binding(1 << 16), 4, |out| out.extend_from_slice(b"late")),
            Err(NonceError::ValueOp { op: 1 << 16 })
        );
        arena.seal();
        let items: Vec<(ValueBinding<'_>, &[u8])> =
            (0..).zip(&bodies).map(|(op, body)| (binding(op), &body[..])).collect();
        assert_eq!(arena.sealed_rows().collect::<Vec<_>>(), seal_values(dek, &items).unwrap());
        arena.clear();
        assert_eq!(arena.bytes(), 0);
    }
}

#[test]
fn a_value_whose_nonce_would_overflow_is_refused() {
    let keys = known_store().snapshot();
    let seal =
        |binding: ValueBinding<'_>| seal_values(keys.value(key_id(7)).unwrap(), &[(BINDING, BODY), (binding, BODY)]);
    let late = seal(ValueBinding { delta: 1 << 36, ..BINDING });
    assert_eq!(late, Err(SealError::Nonce(NonceError::ValueDelta { delta: 1 << 36 })));
    let many = seal(ValueBinding { op: 1 << 16, ..BINDING });
    assert_eq!(many, Err(SealError::Nonce(NonceError::ValueOp { op: 1 << 16 })));
}
