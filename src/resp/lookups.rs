//! Keyspace hits and misses: how many of the keys that clients looked up were there, as the replies tell.

use crate::fsm::command::KeyReply;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;

/// What a read's reply tells of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Null for a key that is not there, once or in an array.
    Value,
    /// How many of so many keys are there.
    Count(u64),
    /// -2 without the key.
    Ttl,
    /// `none` without the key.
    Type,
    /// 0, or nothing, without the key: an empty value counts as a miss.
    Length,
    /// Nothing.
    Nothing,
}

impl Lookup {
    pub(crate) fn of(read: &ReadCommand) -> Lookup {
        match read {
            ReadCommand::Get { .. } | ReadCommand::GetMany { .. } => Lookup::Value,
            ReadCommand::Exists { keys } => Lookup::Count(keys.len() as u64),
            ReadCommand::Ttl { .. } => Lookup::Ttl,
            ReadCommand::Type { .. } => Lookup::Type,
            ReadCommand::Length { .. } | ReadCommand::Range { .. } => Lookup::Length,
            _ => Lookup::Nothing,
        }
    }

    /// Hits and misses of the reply to a read of one key.
    pub(crate) fn count_key(self, reply: KeyReply<'_>) -> (u64, u64) {
        let is_hit = match (self, reply) {
            (_, KeyReply::Error(_)) | (Lookup::Nothing, _) => return (0, 0),
            (Lookup::Count(keys), KeyReply::Integer(there)) => {
                let there = u64::try_from(there).unwrap_or(0).min(keys);
                return (there, keys - there);
            }
            (Lookup::Ttl, reply) => reply != KeyReply::Integer(-2),
            (Lookup::Type, reply) => reply != KeyReply::Simple("none"),
            (Lookup::Length, reply) => reply != KeyReply::Integer(0) && reply != KeyReply::Bulk(b""),
            (Lookup::Value | Lookup::Count(_), reply) => reply != KeyReply::Null,
        };
        if is_hit { (1, 0) } else { (0, 1) }
    }

    /// Hits and misses of one reply.
    pub(crate) fn count(self, reply: &Reply) -> (u64, u64) {
        let one = |is_hit: bool| if is_hit { (1, 0) } else { (0, 1) };
        match (self, reply) {
            (_, Reply::Error(_)) | (Lookup::Nothing, _) => (0, 0),
            (Lookup::Value, Reply::Array(members)) => {
                let misses = members.iter().filter(|member| **member == Reply::Null).count() as u64;
                (members.len() as u64 - misses, misses)
            }
            (Lookup::Value, reply) => one(*reply != Reply::Null),
            (Lookup::Count(keys), Reply::Integer(there)) => {
                let there = u64::try_from(*there).unwrap_or(0).min(keys);
                (there, keys - there)
            }
            (Lookup::Ttl, reply) => one(*reply != Reply::Integer(-2)),
            (Lookup::Type, reply) => one(*reply != Reply::Simple("none")),
            (Lookup::Length, Reply::Bulk(bytes)) => one(!bytes.is_empty()),
            (Lookup::Length, reply) => one(*reply != Reply::Integer(0)),
            (Lookup::Count(_), _) => (0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn replies_tell_how_many_keys_were_there() {
        let (hit, miss) = (Reply::Bulk(Bytes::from_static(b"v")), Reply::Null);
        assert_eq!(Lookup::Value.count(&hit), (1, 0));
        assert_eq!(Lookup::Value.count(&miss), (0, 1));
        assert_eq!(Lookup::Value.count(&Reply::Array(vec![hit.clone(), miss.clone(), miss])), (1, 2));
        assert_eq!(Lookup::Count(5).count(&Reply::Integer(2)), (2, 3));
        assert_eq!(Lookup::Ttl.count(&Reply::Integer(-2)), (0, 1));
        assert_eq!(Lookup::Ttl.count(&Reply::Integer(-1)), (1, 0));
        assert_eq!(Lookup::Type.count(&Reply::Simple("string")), (1, 0));
        assert_eq!(Lookup::Length.count(&Reply::Integer(0)), (0, 1));
        assert_eq!(Lookup::Length.count(&hit), (1, 0));
        assert_eq!(Lookup::Value.count(&Reply::Error("ERR")), (0, 0));
        assert_eq!(Lookup::Nothing.count(&hit), (0, 0));
        assert_eq!(Lookup::Value.count_key(KeyReply::Null), (0, 1));
        assert_eq!(Lookup::Length.count_key(KeyReply::Bulk(b"")), (0, 1));
        assert_eq!(Lookup::Count(1).count_key(KeyReply::Integer(1)), (1, 0));
    }
}
