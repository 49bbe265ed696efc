//! Tests of the room as a whole: nodes driven by hand through their step functions, with doubles for disk and state.

mod cluster;
mod double;
mod lease;
mod single;
mod traps;
