//! The running binary: what a user, an operator and an attacker with the disk see of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it counted")]

mod abuse;
mod attacks;
mod chaos;
mod ciphers;
mod client;
mod clients;
mod clock;
mod cluster;
mod cluster_clients;
mod cluster_directories;
mod commands;
mod copies;
mod deploy;
mod disk_errors;
mod durability;
mod encryption;
mod errors;
mod expiry;
mod failing_disk;
mod halt;
mod halt_live;
mod harness;
mod hostile;
mod limits;
mod log_lines;
mod log_tools;
mod machine;
mod manners;
mod memory;
mod mounted;
mod netns;
mod operator;
mod planted;
mod power_cut;
mod readme;
mod redis;
mod refusals;
mod sandbox;
mod scan;
mod secrets;
mod snapshots;
mod tls;
mod transactions;
mod trio;
