//! The running binary: what a user, an operator and an attacker with the disk see of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it counted")]

mod client;
mod clients;
mod durability;
mod halt;
mod harness;
mod limits;
mod operator;
mod refusals;
mod secrets;
