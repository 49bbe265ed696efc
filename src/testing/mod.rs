//! What tests and benches use instead of the world: a disk with faults, a clock that is moved, seeded chance.

pub mod clock;
pub mod disk;
pub mod leader;
pub mod log;
pub mod net;
pub mod seed;
