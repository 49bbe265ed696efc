//! What the tests of this room share: seeded chance, random commands, a base of values in a map.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::crypto::names::ClearNameKey;
use crate::crypto::names::NameKey;
use crate::fsm::codec::CommandBatch;
use crate::fsm::codec::Payload;
use crate::fsm::codec::encode_batch;
use crate::fsm::command::BitFieldAction;
use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitOperation;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::Overflow;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::fetched::Detail;
use crate::fsm::kv;
use crate::fsm::kv::NamedRead;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::naming::name_of;
use crate::fsm::naming::names_of_batch;
use crate::fsm::naming::names_of_read;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Changes;
use crate::fsm::overlay::RowChange;
use crate::fsm::reader::Base;
use crate::fsm::reader::KeyWalk;
use crate::fsm::reader::MetKey;
use crate::fsm::reader::each_alone;
use crate::fsm::table_row::WrittenAt;
use crate::fsm::value::Value;
use crate::ids::ClusterId;
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
    match rng.index(36) {
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
        22 => WriteCommand::RemoveExpired { names: (0..rng.index(4)).map(|_| name(&random_key(rng))).collect() },
        24 | 25 => WriteCommand::Rename { absent_only: rng.index(2) == 0, key, target: random_key(rng) },
        26 => WriteCommand::Copy {
            target_database: Database::FIRST,
            replaces: rng.index(2) == 0,
            key,
            target: random_key(rng),
        },
        27 => WriteCommand::SetBit { offset: u32::try_from(rng.index(300)).unwrap(), bit: rng.index(2) == 0, key },
        28 | 29 => {
            let operation = rng.pick(&[BitOperation::And, BitOperation::Or, BitOperation::Xor, BitOperation::Not]);
            WriteCommand::CombineBits { operation, target: key, keys: keys(rng) }
        }
        30 | 31 => WriteCommand::ChangeBitFields { key, steps: (0..=rng.index(3)).map(|_| random_step(rng)).collect() },
        32 => WriteCommand::Restore {
            replaces: rng.index(2) == 0,
            expiry: random_expiry(rng, stamp_ms),
            key,
            value: random_value(rng),
        },
        33 => WriteCommand::SetIfValue {
            wants_equal: rng.index(2) == 0,
            reply: rng.pick(&[SetReply::Ok, SetReply::Old]),
            expiry: random_expiry(rng, stamp_ms),
            key,
            value: random_value(rng),
            compared: random_value(rng),
        },
        34 => WriteCommand::DeleteIfValue { wants_equal: rng.index(2) == 0, key, compared: random_value(rng) },
        _ if rng.index(6) == 0 => rng.pick(&[&WriteCommand::FlushAll, &WriteCommand::FlushDatabase]).clone(),
        _ => WriteCommand::Persist { key },
    }
}

fn random_step(rng: &Seeded) -> BitFieldStep {
    let is_signed = rng.index(2) == 0;
    BitFieldStep {
        action: rng.pick(&[BitFieldAction::Get, BitFieldAction::Set, BitFieldAction::IncrementBy]),
        is_signed,
        width: rng.pick(&[1, 2, 7, 8, 9, 31, 63, if is_signed { 64 } else { 5 }]),
        overflow: rng.pick(&[Overflow::Wrap, Overflow::Saturate, Overflow::Fail]),
        offset: u32::try_from(rng.index(200)).unwrap(),
        amount: rng.pick(&[0, 1, -1, 100, -100, i64::MAX, i64::MIN]),
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

fn name_key() -> &'static NameKey {
    static KEY: OnceLock<NameKey> = OnceLock::new();
    KEY.get_or_init(|| NameKey::clear(&ClearNameKey([7; 32]), ClusterId([7; 16])))
}

/// The row of a key of the first database.
pub(crate) fn name(key: &[u8]) -> RowName {
    name_in(Database::FIRST, key)
}

pub(crate) fn name_in(database: Database, key: &[u8]) -> RowName {
    name_of(database, key, name_key())
}

/// The names of the commands of a batch.
pub(crate) fn names(batch: &CommandBatch<'_>) -> Vec<RowName> {
    names_of_batch(batch, name_key())
}

/// Asks `run` with the names of a read of the first database.
pub(crate) fn named<T>(read: &ReadCommand, run: impl FnOnce(NamedRead<'_>) -> T) -> T {
    let names = names_of_read(Database::FIRST, read, name_key());
    run(NamedRead { read, database: Database::FIRST, names: &names })
}

/// The reply to a read of the first database.
pub(crate) fn read<B: Base + ?Sized>(view: &B, command: &ReadCommand, now_ms: u64) -> Result<Reply, ReadError> {
    named(command, |command| kv::read(view, command, now_ms))
}

/// A store of values: what the rows would say, with the place that their nonces are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MapBase {
    rows: BTreeMap<RowName, (Vec<u8>, Value, WrittenAt)>,
}

impl MapBase {
    pub(crate) fn apply(&mut self, changes: Changes) {
        assert!(changes.rows.is_sorted_by(|left, right| left.0 < right.0), "sorted, no name twice");
        self.rows.retain(|name, _| !changes.cleared.contains(&name.database()));
        for (name, change) in changes.rows {
            match change {
                RowChange::Put { key, value, at } => {
                    assert_eq!(name, name_in(name.database(), &key), "a row holds the key of its name");
                    self.rows.insert(name, (key.into_vec(), value, at))
                }
                RowChange::Delete => self.rows.remove(&name),
            };
        }
    }

    pub(crate) fn insert(&mut self, key: &[u8], value: Value, at: WrittenAt) {
        self.rows.insert(name(key), (key.to_vec(), value, at));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its rows in the order of their keys.
    pub(crate) fn by_key(&self) -> BTreeMap<Vec<u8>, (Value, WrittenAt)> {
        self.rows.values().map(|(key, value, at)| (key.clone(), (value.clone(), *at))).collect()
    }
}

impl Base for MapBase {
    fn value(&self, row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        let found = self.rows.get(&row.name);
        assert!(found.is_none_or(|(key, ..)| row.is_of(key)), "names of two keys are two");
        Ok(found.map(|(_, value, _)| value.clone()))
    }

    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        _detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        each_alone(self, rows, visit)
    }

    fn walk_keys(&self, from: KeyWalk, visit: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
        let is_asked = |name: &RowName| name.database() == from.database && Some(*name) > from.behind;
        for (name, (key, value, _)) in self.rows.iter().filter(|(name, _)| is_asked(name)) {
            let key = (!value.is_past_due(from.now_ms)).then_some(&key[..]);
            if !visit(MetKey { name: *name, key, bytes: value.bytes.len() }) {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError> {
        let rows = self.rows.iter().filter(|(name, _)| name.database() == database);
        Ok(rows.filter(|(_, (_, value, _))| !value.is_past_due(now_ms)).count() as u64)
    }
}
