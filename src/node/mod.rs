//! The roof: the only room that knows every room. Settings, start, threads, admin and metrics.
//!
//! A node begins in [`run`]: [`open`] checks the directory, [`start`] starts the threads, clients are served until an end is
//! reported. Every error on the way is a [`refusal::Refusal`].

pub mod admin;
pub mod agree;
pub mod config;
pub mod datadir;
pub mod encryption;
pub mod end;
pub mod families;
mod first_start;
mod listeners;
pub mod numbers;
pub mod open;
mod password;
pub mod ports;
pub mod process;
pub mod profile;
pub mod progress;
pub mod refusal;
pub mod run;
pub mod running;
pub mod settings;
pub mod start;
