//! The commands, each a function from its arguments to an exit status; flags are read in `main.rs`.

pub mod admin;
pub mod bench;
pub mod cert;
pub mod doctor;
pub mod dump;
mod dump_end;
pub mod keygen;
pub mod load;
pub mod log;
mod request;
pub mod selftest;
pub mod serve;
pub mod state;
pub mod status;
mod talk;

use std::io::Write as _;

/// Says `line` on standard error. One that is closed is no reason to do anything else.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
