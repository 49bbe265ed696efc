//! The room's invariants, each test named after what must hold.

mod aead;
mod bytes;
mod entries;
mod keys;
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
use crate::crypto::selftest::KNOWN_OPENER;
use crate::crypto::selftest::KNOWN_VALUE_DEK;
use crate::ids::KeyId;

/// SplitMix64: enough for inputs, and the same everywhere.
struct Random(u64);

impl Random {
    /// From `SEALKV_SEED`, or from the clock; prints the seed, which is shown if the test fails.
    fn new() -> Random {
        let from_clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
        let seed = std::env::var("SEALKV_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(from_clock);
        eprintln!("SEALKV_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

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
    EntryKeys::new(store.snapshot(), Some(KNOWN_OPENER))
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}
