//! Bytes in, bytes out: AES-256-GCM, envelopes, nonces, derived keys. No threads, files, clock or randomness source.
//!
//! Callers bring positions, salts and random bytes; this room decides formats and nothing else.
//! A failure says one thing, [`envelope::OpenError`], and yields no bytes.

pub mod aead;
pub mod derive;
pub mod digest;
pub mod elastickv;
pub mod envelope;
mod key_page;
pub mod keystore;
pub mod names;
pub mod nonce;
pub mod open;
pub mod seal;
pub mod selftest;
pub mod siv;
pub mod stored;
pub mod wrap;

#[cfg(test)]
mod tests;
