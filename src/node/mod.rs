//! The roof: the only room that knows every room. Configuration, wiring, admin, metrics, and what a start refuses.

pub mod agree;
pub mod datadir;
pub mod exit;
