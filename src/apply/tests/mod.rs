//! The invariants of [`crate::design`] that belong to apply, each by its name, with real keys and the store's twin.

mod ahead;
mod embedder;
mod halts;
mod history;
mod hook;
mod kept;
mod kit;
mod names;
mod node;
mod one_by_one;
mod order;
mod pace;
mod plain;
mod random;
mod riding;
mod rules;
mod table;
