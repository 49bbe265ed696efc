//! Tests of the room, and what tests of the rooms above borrow from it.

pub(crate) mod kit;

mod identity;
mod kek;
mod node_keys;
mod records;
mod rules;
