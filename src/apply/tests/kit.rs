//! Commands, keys and answers of the tests of this room.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::crypto::wrap::Kek;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::naming::name_of;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::kek::KekSet;
use crate::keys::kek::from_bytes;
use crate::keys::node_keys::NodeKeys;
use crate::propose::Outcome;
use crate::testing::leader;
pub(super) use crate::testing::leader::CLUSTER;
pub(super) use crate::testing::leader::Leader;
pub(super) use crate::testing::leader::append;
pub(super) use crate::testing::leader::keks;
pub(super) use crate::testing::leader::set;

pub(super) fn kek(byte: u8) -> Kek {
    from_bytes(&Zeroizing::new([byte; 32]))
}

pub(super) fn no_keks() -> KekSet {
    KekSet::new(Vec::new()).unwrap()
}

/// What a waiter was told: the replies, or why there are none.
pub(super) fn word(outcome: Outcome) -> Result<Vec<Reply>, &'static str> {
    match outcome {
        Outcome::Replies(replies) => Ok(replies),
        other => Err(leader::word(&other)),
    }
}

pub(super) fn at(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

pub(super) fn delete(key: &str) -> WriteCommand {
    WriteCommand::Delete { keys: vec![Bytes::copy_from_slice(key.as_bytes())] }
}

pub(super) fn incr(key: &str) -> WriteCommand {
    WriteCommand::IncrementBy { key: Bytes::copy_from_slice(key.as_bytes()), delta: 1 }
}

/// The row of a key of the first database, by the keys of this moment.
pub(super) fn row_name(node_keys: &NodeKeys, key: &[u8]) -> RowName {
    name_of(Database::FIRST, key, node_keys.current().name_key().unwrap())
}
