//! The room's invariants, each test named after what must hold.

mod aead;
mod bytes;
mod entries;
mod keys;
mod names;
mod nonces;
mod values;
mod vectors;

use std::sync::Arc;

use crate::crypto::keystore::Dek;
use crate::crypto::keystore::EntryDek;
use crate::crypto::keystore::KeyStore;
use crate::crypto::keystore::Purpose;
use crate::crypto::open::EntryKeys;
use crate::crypto::selftest::KNOWN_CLUSTER;
use crate::crypto::selftest::KNOWN_ENTRY_DEK;
use crate::crypto::selftest::KNOWN_TERM_SALT;
use crate::crypto::selftest::KNOWN_VALUE_DEK;
use crate::ids::KeyId;
use crate::testing::seed::Seeded;

fn key_id(id: u32) -> KeyId {
    KeyId::new(id).unwrap()
}

/// Entry DEK 0xCAFEBABE and value DEK 7, those of the known answers.
fn known_store() -> KeyStore {
    let store = KeyStore::new(KNOWN_CLUSTER);
    store.insert(key_id(0xCAFE_BABE), Purpose::Entry, Dek::new(&KNOWN_ENTRY_DEK)).unwrap();
    store.insert(key_id(7), Purpose::Value, Dek::new(&KNOWN_VALUE_DEK)).unwrap();
    store
}

fn known_entry_dek(store: &KeyStore) -> Arc<EntryDek> {
    Arc::clone(store.snapshot().entry(key_id(0xCAFE_BABE)).unwrap())
}

fn known_entry_keys(store: &KeyStore) -> EntryKeys {
    EntryKeys::new(store.snapshot(), Some(KNOWN_TERM_SALT))
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}
