//! The room's tests: bytes, commands against a slow and obvious model and case by case where Redis has an opinion, the
//! state record, readers, both bases, walks, the tables under threads.

mod base;
mod cases;
mod codec;
mod conditions;
mod kept;
pub(crate) mod kit;
mod model;
mod moments;
mod names;
mod random;
mod reader;
mod scans;
mod state;
mod threads;
mod travel;
mod walk;
