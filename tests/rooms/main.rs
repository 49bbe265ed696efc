//! Rules that no room can show alone: the table of invariants, and the weaknesses of the system that this one follows.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod copies;
mod forgery;
mod hook;
mod ingest;
mod invariants;
mod kit;
mod nonces;
mod poison;
mod proposals;
