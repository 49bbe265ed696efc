//! What the data means: commands, their execution, the state record, the store. Deterministic: no clock, no chance.

pub mod command;
pub mod state;
pub mod store;
