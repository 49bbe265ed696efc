//! NONCE-UNIQUE, as far as this room can hold it: layouts, bounds, and that fields never overlap.

use std::collections::HashSet;
use std::sync::Mutex;

use super::key_id;
use super::unhex;
use crate::crypto::elastickv::nonce::CounterExhausted;
use crate::crypto::elastickv::nonce::CounterNonce;
use crate::crypto::elastickv::nonce::full_node_id;
use crate::crypto::elastickv::nonce::nonce_node_id;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::ValueDek;
use crate::crypto::nonce::ENTRY_DELTA_MAX;
use crate::crypto::nonce::ENTRY_DELTA_RENEW;
use crate::crypto::nonce::NonceError;
use crate::crypto::nonce::VALUE_DELTA_MAX;
use crate::crypto::nonce::VALUE_DELTA_RENEW;
use crate::crypto::nonce::VALUE_OP_MAX;
use crate::crypto::nonce::entry_nonce;
use crate::crypto::nonce::value_nonce;
use crate::crypto::nonce::value_place;
use crate::crypto::stored::ValueBinding;
use crate::crypto::stored::seal_values;
use crate::ids::Index;
use crate::limits::ENTRY_WRITES_MAX;

const _: () = assert!(ENTRY_DELTA_RENEW < ENTRY_DELTA_MAX);
const _: () = assert!(VALUE_DELTA_RENEW < VALUE_DELTA_MAX);
const _: () = assert!(VALUE_OP_MAX as usize + 1 == ENTRY_WRITES_MAX);

#[test]
fn entry_nonce_has_its_golden_bytes() {
    let random = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6];
    let nonce = entry_nonce(Index(1000), Index(1000 + 0x01_0203_0405), random).unwrap();
    assert_eq!(hex::encode(nonce), "0102030405a0a1a2a3a4a5a6");
}

#[test]
fn entry_nonce_overflow_is_an_error() {
    let at = |opener, index| entry_nonce(Index(opener), Index(index), [0; 7]);
    let refused = |opener, index| {
        let error = NonceError::EntryDelta { index: Index(index), opener_index: Index(opener) };
        assert_eq!(at(opener, index), Err(error));
    };
    assert!(at(10, 11).is_ok());
    assert!(at(10, 10 + ENTRY_DELTA_MAX).is_ok());
    refused(10, 10 + ENTRY_DELTA_MAX + 1);
    refused(10, 10);
    refused(10, 9);
    refused(0, u64::MAX);
}

/// The bits of delta, op and T stand side by side and nowhere else.
#[test]
fn value_nonce_has_its_golden_bytes() {
    let place = value_place(0x1_2345_6789, 0xbeef).unwrap();
    assert_eq!(hex::encode(place), "123456789beef00000000000");
    let tag = unhex("dc6af298fe6fdb8e6acd1f78b037a160").try_into().unwrap();
    assert_eq!(hex::encode(value_nonce(place, &tag)), "123456789beefdc6af298fe6");
    let full = value_place(VALUE_DELTA_MAX, VALUE_OP_MAX).unwrap();
    assert_eq!(hex::encode(full), "fffffffffffff00000000000");
    assert_eq!(hex::encode(value_nonce([0; 12], &[0xff; 16])), "0000000000000fffffffffff");
}

#[test]
fn value_nonce_overflow_is_an_error() {
    assert_eq!(value_place(1 << 36, 0), Err(NonceError::ValueDelta { delta: 1 << 36 }));
    assert_eq!(value_place(u64::MAX, 0), Err(NonceError::ValueDelta { delta: u64::MAX }));
    assert_eq!(value_place(0, 1 << 16), Err(NonceError::ValueOp { op: 1 << 16 }));
}

/// Same delta and op, as after a fork of history: any other input gives another nonce. The same input gives the same.
#[test]
fn values_of_one_place_have_nonces_unlike_each_other() {
    let dek = ValueDek::new(key_id(7), Dek::new(&[1; 32]));
    let binding = ValueBinding { store_key: b"key", header: [2; 9], entry_tag: [3; 16], delta: 4, op: 5 };
    let items: [(ValueBinding<'_>, &[u8]); 9] = [
        (binding, b"body"),
        (ValueBinding { store_key: b"kez", ..binding }, b"body"),
        (ValueBinding { header: [0; 9], ..binding }, b"body"),
        (binding, b"bodz"),
        (binding, b""),
        (ValueBinding { entry_tag: [4; 16], ..binding }, b"body"),
        (ValueBinding { delta: 5, ..binding }, b"body"),
        (ValueBinding { op: 6, ..binding }, b"body"),
        // The border between key and body moves.
        (ValueBinding { store_key: b"keyb", ..binding }, b"ody"),
    ];
    let nonces = |dek: &ValueDek| -> Vec<[u8; 12]> {
        let rows = seal_values(dek, &items).unwrap();
        rows.iter().map(|row| row[15..27].try_into().unwrap()).collect()
    };
    assert_eq!(nonces(&dek).iter().collect::<HashSet<_>>().len(), items.len());
    assert_eq!(nonces(&dek), nonces(&dek));
    let other = ValueDek::new(key_id(7), Dek::new(&[2; 32]));
    assert_ne!(nonces(&other)[0], nonces(&dek)[0]);
}

#[test]
fn counter_nonce_has_its_golden_bytes_and_counts_from_one() {
    let nonces = CounterNonce::new(0xabcd, 7);
    assert_eq!(hex::encode(nonces.next_nonce().unwrap()), "abcd00070000000000000001");
    assert_eq!(hex::encode(nonces.next_nonce().unwrap()), "abcd00070000000000000002");
    let later = CounterNonce::new(0xabcd, 8);
    assert_eq!(hex::encode(later.next_nonce().unwrap()), "abcd00080000000000000001");
}

#[test]
fn counter_nonce_running_out_is_final() {
    let nonces = CounterNonce::resumed(1, 2, u64::MAX - 1);
    assert_eq!(hex::encode(nonces.next_nonce().unwrap()), "00010002ffffffffffffffff");
    for _ in 0..3 {
        assert_eq!(nonces.next_nonce(), Err(CounterExhausted));
    }
}

#[test]
fn counter_nonces_of_many_threads_never_repeat() {
    let nonces = CounterNonce::new(1, 1);
    let seen = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mine: Vec<_> = (0..500).map(|_| nonces.next_nonce().unwrap()).collect();
                seen.lock().unwrap().extend(mine);
            });
        }
    });
    assert_eq!(seen.lock().unwrap().len(), 2000);
}

#[test]
fn node_ids_are_elastickvs() {
    assert_eq!(full_node_id("n1"), Some(0x08b3_7b07_b558_d4c0));
    assert_eq!(nonce_node_id(0x08b3_7b07_b558_d4c0), 0xd4c0);
    assert_eq!(full_node_id(""), None);
}
