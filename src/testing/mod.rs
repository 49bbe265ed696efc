//! What tests and benches use instead of the world: a disk with faults, a store in memory, a network, a clock that is moved, seeded chance.
//!
//! `cluster` puts all of it together: whole nodes in one thread, which a seed decides to the last byte.

pub mod base;
mod checkpoint;
pub mod clock;
pub mod cluster;
pub mod crash;
pub mod disk;
pub(crate) mod files;
mod folders;
pub mod leader;
pub mod log;
pub mod mutator;
pub mod net;
mod no_cipher;
pub mod node;
mod parcels;
pub mod picture;
pub mod post;
pub mod record;
mod sealings;
pub mod seed;
mod surface;
pub mod workload;
