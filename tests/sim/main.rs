//! A whole node, and a cluster of three or five, in one thread: what a seed decides, what clients may rely on, whatever fails.
//! What they do is held against a small model of what may be sealed, which is explored on its own.
//! And the log alone, on a disk that fails in every way at every moment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attacker;
mod bit_flips;
mod clients;
mod crash_states;
mod disk_errors;
mod encryption;
mod faults;
mod forwarding;
mod full;
mod lease;
mod lives;
mod log_life;
mod log_model;
mod members;
mod model;
mod replay;
mod sealed_log;
mod snapshots;
mod workloads;
