//! What the tests of this room share: seeded chance, random commands, a base of values in a map.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::fsm::codec::CommandBatch;
use crate::fsm::codec::Payload;
use crate::fsm::codec::encode_batch;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::overlay::Changes;
use crate::fsm::overlay::RowChange;
use crate::fsm::overlay::WrittenAt;
use crate::fsm::reader::Base;
use crate::fsm::reader::ReadError;
use crate::fsm::value::Value;
use crate::testing::seed::Seeded;

fn between(rng: &Seeded, low: i64, high: i64) -> i64 {
    low + i64::try_from(rng.below(u64::try_from(high - low).unwrap() + 1)).unwrap()
}

/// One of a few, so that commands meet.
pub(crate) fn random_key(rng: &Seeded) -> Bytes {
    Bytes::from_static(rng.pick(&[&b""[..], b"a", b"b", b"c\0", b"c", b"d", b"\xff"]))
}

pub(crate) fn random_value(rng: &Seeded) -> Bytes {
    let fixed: &[&'static [u8]] =
        &[b"", b"0", b"1", b"-1", b"10", b"007", b"-0", b"+5", b" 1", b"2.5", b"-0.125", b"x", b"hello", b"1.2.3"];
    match rng.index(10) {
        0 => Bytes::from(between(rng, i64::MIN / 2, i64::MAX / 2).to_string()),
        1 => Bytes::from_static(rng.pick(&[b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808"])),
        2 => (0..rng.index(40)).map(|_| rng.bits().to_le_bytes()[0]).collect(),
        _ => Bytes::from_static(rng.pick(fixed)),
    }
}

/// Around `stamp_ms`, so that keys do expire.
fn random_expiry(rng: &Seeded, stamp_ms: u64) -> Expiry {
    match rng.index(8) {
        0..=2 => Expiry::Clear,
        3 => Expiry::Keep,
        4 => Expiry::In(rng.pick(&[i64::MIN, -1, 0, i64::MAX, i64::MAX - 5])),
        5 => Expiry::At(i64::try_from(stamp_ms).unwrap() + between(rng, -20, 200)),
        _ => Expiry::In(between(rng, 1, 200)),
    }
}

pub(crate) fn random_write(rng: &Seeded, stamp_ms: u64) -> WriteCommand {
    let key = random_key(rng);
    let keys = |rng: &Seeded| (0..rng.index(4)).map(|_| random_key(rng)).collect();
    match rng.index(24) {
        0..=5 => WriteCommand::Set {
            key,
            value: random_value(rng),
            when: rng.pick(&[SetIf::Always, SetIf::Always, SetIf::Absent, SetIf::Present]),
            expiry: random_expiry(rng, stamp_ms),
            reply: rng.pick(&[SetReply::Ok, SetReply::Old, SetReply::Integer]),
        },
        6 => WriteCommand::SetMany {
            pairs: (0..rng.index(4)).map(|_| (random_key(rng), random_value(rng))).collect(),
            absent_only: rng.index(2) == 0,
        },
        7 | 8 => WriteCommand::Append { key, value: random_value(rng) },
        9 | 10 => {
            WriteCommand::SetRange { key, offset: u32::try_from(rng.index(30)).unwrap(), value: random_value(rng) }
        }
        11 | 12 => WriteCommand::IncrementBy { key, delta: rng.pick(&[1, -1, 7, i64::MAX, i64::MIN, 0]) },
        13 | 14 => WriteCommand::IncrementByFloat {
            key,
            delta: Bytes::from_static(rng.pick(&[b"1", b"-0.5", b"2.125", b"no"])),
        },
        15 => WriteCommand::GetDelete { key },
        16 => WriteCommand::GetExpire { key, expiry: random_expiry(rng, stamp_ms) },
        17 => WriteCommand::Delete { keys: keys(rng) },
        18..=20 => WriteCommand::Expire {
            key,
            expiry: random_expiry(rng, stamp_ms),
            when: rng.pick(&[
                ExpireIf::Always,
                ExpireIf::None,
                ExpireIf::Some,
                ExpireIf::Later,
                ExpireIf::Sooner,
                ExpireIf::SomeSooner,
            ]),
        },
        21 => WriteCommand::Persist { key },
        22 => WriteCommand::RemoveExpired { keys: keys(rng) },
        _ if rng.index(6) == 0 => WriteCommand::FlushAll,
        _ => WriteCommand::Persist { key },
    }
}

/// The payload of one entry.
pub(crate) fn payload(stamp_ms: u64, writes: &[WriteCommand]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_batch(stamp_ms, writes, &mut bytes).unwrap();
    bytes
}

pub(crate) fn batch(payload: &[u8]) -> CommandBatch<'_> {
    match Payload::decode(payload).unwrap() {
        Payload::Batch(batch) => batch,
        Payload::Control(_) => panic!("a batch was encoded"),
    }
}

/// A store of values: what the rows would say, with the place that their nonces are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MapBase {
    pub(crate) rows: BTreeMap<Vec<u8>, (Value, WrittenAt)>,
}

impl MapBase {
    pub(crate) fn apply(&mut self, changes: Changes) {
        assert!(changes.rows.is_sorted_by(|left, right| left.0 < right.0), "sorted, no key twice");
        if changes.clear {
            self.rows.clear();
        }
        for (key, change) in changes.rows {
            match change {
                RowChange::Put { value, at } => self.rows.insert(key, (value, at)),
                RowChange::Delete => self.rows.remove(&key),
            };
        }
    }
}

impl Base for MapBase {
    fn value(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        Ok(self.rows.get(key).map(|(value, _)| value.clone()))
    }

    fn each_value(&self, keys: &[&[u8]], visit: &mut dyn FnMut(Option<Value>) -> bool) -> Result<(), ReadError> {
        let _stopped = keys.iter().all(|key| visit(self.rows.get(*key).map(|(value, _)| value.clone())));
        Ok(())
    }

    fn count(&self, now_ms: u64) -> Result<u64, ReadError> {
        Ok(self.rows.values().filter(|(value, _)| !value.is_past_due(now_ms)).count() as u64)
    }
}
