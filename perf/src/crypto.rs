//! The room that is measured, taken in by path: the same source, without RocksDB.

#[allow(dead_code, unused_imports, reason = "the bench uses a part of the room")]
#[path = "../../src/crypto/aead/mod.rs"]
pub mod aead;
