//! AES-256-GCM of many messages side by side, on x86-64.
//!
//! One algorithm (`four` for texts to 1 KiB, `one` beyond) over a trait of vector
//! operations (`vector`), compiled for three instruction sets: `sse`, `avx2`, `avx512`. With its 32 registers the last
//! has more in flight: `eights` for texts of a vector, `stream` for those of three and more to 1 KiB, `segments` beyond.
//! `batch` is the safe side.

mod avx2;
mod avx512;
mod batch;
mod entries;
#[cfg(any(test, feature = "kernels"))]
pub(super) mod fewer;
mod four;
mod hash;
pub(super) mod kernel;
mod one;
mod sse;
mod table;
mod tags;
mod vector;

pub(super) use batch::Lanes;
pub(super) use batch::TagLanes;
#[cfg(test)]
pub(super) use batch::table_after_drop;
#[cfg(test)]
pub(super) use batch::table_bytes;
