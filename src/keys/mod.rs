//! Keys: the KEKs a node was given, the keyring that is replicated, the rules that change it, and who may use what.
//!
//! A KEK comes from outside ([`kek`]) and is never written. The [`keyring`] is a replicated row of wrapped keys;
//! [`rules`] decides from replicated bytes alone what a control entry ([`change`]) makes of it; [`make`] is the leader's
//! side, where keys are born; [`node_keys`] is what the threads of a node share of all this. [`identity`] is the one file
//! that says who a node is and whether its log is sealed.

pub mod change;
pub mod file;
pub mod identity;
pub mod kek;
#[cfg(feature = "node")]
pub mod kek_facts;
pub mod keyring;
pub mod lack;
pub mod mac;
pub mod make;
pub mod node_keys;
pub mod rules;

#[cfg(test)]
pub(crate) mod tests;
