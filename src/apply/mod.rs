//! Sealed in, effects out: committed entries are opened in parallel, run strictly in order, and written in one commit.
//!
//! - [`hook`] is the pre-apply hook as a library: keys, cutover, entries and your state machine; a node runs it too.
//! - [`apply_loop`] is the loop of a node: the hook in front of `fsm`, control entries, the commit of the store, the answers.
//! - [`thread`] drives it; [`replay`] is the same code without waiters, at a start.
//! - [`halt`] says why a node stops exactly there.

mod ahead;
pub mod apply_loop;
mod commands;
pub mod commit;
mod control;
pub mod flush;
mod flush_patience;
pub mod flush_thread;
pub mod halt;
pub mod hook;
pub mod load;
mod machine;
mod membership;
pub mod metrics;
mod names;
pub mod open;
mod pace;
pub mod ports;
pub mod replay;
mod riding;
pub mod rows;
pub mod run;
pub(crate) mod seal;
pub mod table_gauge;
pub mod thread;

#[cfg(test)]
mod tests;
