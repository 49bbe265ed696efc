//! What the data means: commands, their execution, the state record, the store. Deterministic: no clock, no chance.
//!
//! The way of an opened entry: `codec::Payload::decode` gives its commands, `overlay::Overlay::execute` runs them on a
//! `reader::RowReader`, and the overlay's effects become the newest [`view`]. What is flushed is below, in a [`base`].

pub mod base;
pub mod codec;
pub mod command;
pub mod contents;
pub mod dump;
pub mod fetched;
pub mod glob;
pub mod held;
pub mod kept;
pub mod kv;
pub mod name;
pub mod naming;
pub mod opening;
pub mod overlay;
pub mod reader;
#[cfg(feature = "node")]
pub mod rocks;
pub mod row;
pub mod sized_rows;
mod spares;
pub mod state;
mod sync;
pub mod table;
pub mod table_row;
#[cfg(test)]
mod tests;
pub mod user_key;
pub mod value;
pub mod view;
pub mod walk;
