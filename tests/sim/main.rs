//! A whole node, and a cluster of three, in one thread: what a seed decides, what clients may rely on, whatever fails.

mod clients;
mod encryption;
mod faults;
mod replay;
