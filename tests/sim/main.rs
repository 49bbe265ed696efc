//! A whole node, and a cluster of three, in one thread: what a seed decides, what clients may rely on, whatever fails.
//! And the log alone, on a disk that fails in every way at every moment.

mod clients;
mod crash_states;
mod disk_errors;
mod encryption;
mod faults;
mod log_life;
mod log_model;
mod replay;
mod workloads;
