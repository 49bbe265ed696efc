//! Bytes in, bytes out: AES-256-GCM, envelopes, nonces, derived keys. No threads, files, clock or randomness source.

pub mod aead;
