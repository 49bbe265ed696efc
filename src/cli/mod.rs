//! The commands, each a function from its arguments to an exit status; flags are read in `main.rs`.

pub mod keygen;
pub mod selftest;
pub mod serve;
