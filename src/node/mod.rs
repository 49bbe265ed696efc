//! The roof: the only room that knows every room. Settings, start, threads, admin and metrics.
//!
//! A node begins in [`run`]: [`open`] checks the directory, `start` starts the threads, clients are served until an end is
//! reported. Every error of a start is a [`refusal::Refusal`].

mod admin;
mod admin_listener;
pub(crate) mod agree;
mod book;
mod catch_up;
mod certificates;
pub mod client_tls;
pub mod cluster_config;
pub mod config;
pub mod datadir;
mod encryption;
pub(crate) mod end;
mod expiry;
mod families;
mod first_start;
mod hand_over;
mod kek_meetings;
mod link_numbers;
mod links;
mod listeners;
pub(crate) mod log_lines;
pub(crate) mod machine;
mod member_wire;
pub(crate) mod members_watch;
mod membership;
pub mod memory;
mod memory_numbers;
mod modes;
mod numbers;
pub mod open;
mod password;
mod peering;
mod place;
pub(crate) mod ports;
pub(crate) mod process;
mod profile;
mod progress;
pub mod refusal;
pub(crate) mod remedy;
mod resources;
pub(crate) mod retention;
mod rotation_guard;
pub mod run;
mod running;
pub mod settings;
mod shown_addresses;
pub(crate) mod snapshot;
mod start;
pub mod stopped;
mod trial;
mod unfinished;
mod watch;
mod watch_facts;
pub mod words;
