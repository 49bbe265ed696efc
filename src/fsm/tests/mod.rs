//! The room's tests: bytes, commands against a slow and obvious model and case by case where Redis has an opinion, the
//! state record, both stores, both bases.

mod base;
mod cases;
mod codec;
mod conditions;
pub(crate) mod kit;
mod model;
mod random;
mod state;
mod store;
mod threads;
