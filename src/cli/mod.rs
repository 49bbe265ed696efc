//! The commands beside `serve`: their library halves, without flags (those are wired in `main.rs`).

pub mod selftest;
