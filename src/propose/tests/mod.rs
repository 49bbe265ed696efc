//! Tests of the room as a whole: a cluster of one with a real raft loop, real keys and an apply double.

mod cluster;
mod control;
mod due;
mod forward;
mod requests;
mod rig;
mod seal;
