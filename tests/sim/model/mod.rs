//! A small model of what may be sealed, where and when: N1 to N6, the cutover, openers and rotation.
//!
//! `explore` and `exploration` take it through every order of steps within bounds.
#![allow(dead_code, reason = "what nodes of the simulation do will be held against the rest")]

mod entry;
mod exploration;
mod explore;
mod rules;
mod world;
