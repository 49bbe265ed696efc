//! Clients: the Redis protocol (RESP2, RESP3, inline), the commands, and the order of one connection.
//!
//! `codec` turns bytes into arguments and replies into bytes; `commands` turns arguments into writes, reads and locals;
//! `session` keeps the order of one connection and asks the [`Gateway`](crate::propose::Gateway); `connection` moves
//! its bytes; `server` accepts. What this room refuses to know: how an entry is made, sealed or applied.
//!
//! Start with [`Server::new`], then [`Server::run`] until its shutdown signal turns true.

mod bounds;
mod calls;
mod close;
mod codec;
mod commands;
mod connection;
mod delivery;
mod facts;
mod group;
mod local;
mod login;
mod lookups;
mod membership;
mod memory;
mod operator;
mod password;
mod patience;
mod rates;
mod read_turn;
mod reads;
mod registry;
mod secured;
mod server;
mod session;
mod shared;
mod stats;
#[cfg(feature = "testing")]
pub mod testkit;
mod transaction;
mod transaction_turn;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;

pub use bounds::ClientBounds;
pub use calls::CommandCall;
pub use facts::DatabaseKeys;
pub use facts::FactSection;
pub use facts::NodeFacts;
pub use facts::Role;
pub use membership::ClusterMembers;
pub use membership::MemberAnswer;
pub use membership::MemberDone;
pub use membership::MemberKnown;
pub use membership::MemberRefused;
pub use membership::MemberRequest;
pub use membership::MemberShown;
pub use operator::Operator;
pub use operator::OperatorFact;
pub use operator::RowCounts;
pub use operator::StateDigest;
pub use password::Password;
pub use reads::ClientReads;
pub use secured::SecuredListener;
pub use server::Drained;
pub use server::Server;
pub use shared::ServerParts;
pub use stats::Stats;
