//! The roof: the only room that knows every room. Configuration, wiring, admin, metrics, and what a start refuses.

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
