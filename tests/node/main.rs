//! The running binary: what a user, an operator and an attacker with the disk see of it.

mod clients;
mod client;
mod durability;
mod halt;
mod harness;
mod limits;
mod refusals;
mod secrets;
