//! A small model of what may be sealed, where and when: N1 to N6, the cutover, openers and rotation.
//!
//! `explore` and `exploration` take it through every order of steps within bounds. `trace` and `conformance` step it with
//! what nodes of the simulation did: a trace that the model forbids fails.

pub mod conformance;
mod entry;
mod exploration;
mod explore;
mod rules;
mod trace;
mod world;
