//! Golden bytes, and what a decoder must not do: panic, allocate, take bytes that nobody meant.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::CodecError;
use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::codec::CommandBatch;
use crate::fsm::codec::Condition;
use crate::fsm::codec::ConditionRef;
use crate::fsm::codec::Payload;
use crate::fsm::codec::batch_len;
use crate::fsm::codec::encode_batch;
use crate::fsm::codec::encode_batch_if;
use crate::fsm::codec::encode_control;
use crate::fsm::codec::set_stamp;
use crate::fsm::command::BitFieldAction;
use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitOperation;
use crate::fsm::command::EncodeError;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::Overflow;
use crate::fsm::command::PayloadError;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::payload;
use crate::fsm::tests::kit::random_key;
use crate::fsm::tests::kit::random_write;
use crate::ids::Index;
use crate::limits::ENTRY_CONDITIONS_MAX;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::testing::seed::Seeded;

/// Every command, with fields that cannot be taken for one another.
fn one_of_each() -> Vec<(WriteCommand, &'static str)> {
    let (k, v) = (Bytes::from_static(b"k"), Bytes::from_static(b"vv"));
    let keys = vec![k.clone(), Bytes::new()];
    let names = vec![RowName::new(Database::FIRST, [0; 16]), RowName::new(database(15), [0xab; 16])];
    vec![
        (
            WriteCommand::Set {
                key: k.clone(),
                value: v.clone(),
                when: SetIf::Present,
                expiry: Expiry::In(-2),
                reply: SetReply::Old,
            },
            "0102000201 02fffffffffffffffe 000000016b 000000027676",
        ),
        (
            WriteCommand::Set {
                key: k.clone(),
                value: v.clone(),
                when: SetIf::Absent,
                expiry: Expiry::Keep,
                reply: SetReply::Integer,
            },
            "0102000102 01 000000016b 000000027676",
        ),
        (
            WriteCommand::SetMany { pairs: vec![(k.clone(), v.clone())], absent_only: true },
            "02020001 00000001 000000016b 000000027676",
        ),
        (WriteCommand::Append { key: k.clone(), value: v.clone() }, "030200 000000016b 000000027676"),
        (
            WriteCommand::SetRange { key: k.clone(), offset: 258, value: v.clone() },
            "040200 00000102 000000016b 000000027676",
        ),
        (WriteCommand::IncrementBy { key: k.clone(), delta: -3 }, "050200 fffffffffffffffd 000000016b"),
        (WriteCommand::IncrementByFloat { key: k.clone(), delta: v.clone() }, "060200 000000016b 000000027676"),
        (WriteCommand::GetDelete { key: k.clone() }, "070200 000000016b"),
        (WriteCommand::GetExpire { key: k.clone(), expiry: Expiry::Clear }, "080200 00 000000016b"),
        (WriteCommand::Delete { keys: keys.clone() }, "090200 00000002 000000016b 00000000"),
        (
            WriteCommand::Expire { key: k.clone(), expiry: Expiry::At(5), when: ExpireIf::SomeSooner },
            "0a0200 05 030000000000000005 000000016b",
        ),
        (WriteCommand::Persist { key: k.clone() }, "0b0200 000000016b"),
        (WriteCommand::FlushAll, "0c0200"),
        (
            WriteCommand::RemoveExpired { names },
            "0d0200 00000002 01 00000000000000000000000000000000 10 abababababababababababababababab",
        ),
        (WriteCommand::FlushDatabase, "0e0200"),
        (
            WriteCommand::Rename { absent_only: true, key: k.clone(), target: Bytes::new() },
            "0f0200 01 000000016b 00000000",
        ),
        (
            WriteCommand::Copy { target_database: database(3), replaces: true, key: k.clone(), target: Bytes::new() },
            "100200 03 01 000000016b 00000000",
        ),
        (WriteCommand::Move { target_database: database(15), key: k.clone() }, "110200 0f 000000016b"),
        (WriteCommand::SetBit { offset: 258, bit: true, key: k.clone() }, "120200 00000102 01 000000016b"),
        (
            WriteCommand::CombineBits { operation: BitOperation::Xor, target: k.clone(), keys },
            "130200 02 000000016b 00000002 000000016b 00000000",
        ),
        (
            WriteCommand::ChangeBitFields {
                key: k.clone(),
                steps: vec![BitFieldStep {
                    action: BitFieldAction::IncrementBy,
                    is_signed: true,
                    width: 64,
                    overflow: Overflow::Saturate,
                    offset: 258,
                    amount: -3,
                }],
            },
            "140200 000000016b 00000001 02 01 40 01 00000102 fffffffffffffffd",
        ),
        (
            WriteCommand::Restore { replaces: true, expiry: Expiry::In(5), key: k.clone(), value: v.clone() },
            "150200 01 020000000000000005 000000016b 000000027676",
        ),
        (
            WriteCommand::SetIfValue {
                wants_equal: true,
                reply: SetReply::Old,
                expiry: Expiry::Keep,
                key: k.clone(),
                value: v.clone(),
                compared: Bytes::new(),
            },
            "160200 01 01 01 000000016b 000000027676 00000000",
        ),
        (WriteCommand::DeleteIfValue { wants_equal: true, key: k, compared: v }, "170200 01 000000016b 000000027676"),
    ]
}

fn database(number: u8) -> Database {
    Database::new(number).unwrap()
}

/// A version never changes what it does, so the one that knew one database is refused, as is a database that is not.
#[test]
fn version_1_and_databases_above_15_are_refused() {
    let mut bytes = payload(7, &[WriteCommand::FlushAll]);
    bytes[BATCH_HEADER_LEN + 1] = 1;
    assert_eq!(Payload::decode(&bytes), Err(PayloadError::Command { tag: 12, version: 1 }));
    for number in 16..=255 {
        let mut bytes = payload(7, &[WriteCommand::FlushAll]);
        bytes[BATCH_HEADER_LEN + 2] = number;
        let refused = PayloadError::Field { field: "database", found: number };
        assert_eq!(Payload::decode(&bytes), Err(refused));
        let condition = Condition { database: Database::FIRST, key: Bytes::new(), last_change: Index(1) };
        let mut bytes = Vec::new();
        encode_batch_if(7, &[condition], [(Database::FIRST, &WriteCommand::FlushAll)], &mut bytes).unwrap();
        bytes[BATCH_HEADER_LEN] = number;
        assert_eq!(Payload::decode(&bytes), Err(refused));
    }
    for first in [0, 17, 255] {
        let name = RowName::new(Database::FIRST, [0; 16]);
        let mut bytes = payload(7, &[WriteCommand::RemoveExpired { names: vec![name] }]);
        bytes[BATCH_HEADER_LEN + 3 + 4] = first;
        let refused = PayloadError::Field { field: "database of a name", found: first };
        assert_eq!(Payload::decode(&bytes), Err(refused));
    }
}

fn random_conditions(rng: &Seeded) -> Vec<Condition> {
    let mut named = BTreeMap::new();
    for _ in 0..rng.index(4) {
        named.insert(
            (rng.pick(&[0, 0, 0, 1, 15].map(database)), random_key(rng)),
            Index(rng.pick(&[0, 1, 7, u64::MAX])),
        );
    }
    named.into_iter().map(|((database, key), last_change)| Condition { database, key, last_change }).collect()
}

/// A batch with everything that one can have.
fn random_payload(rng: &Seeded) -> Vec<u8> {
    let writes: Vec<(Database, WriteCommand)> =
        (0..=rng.index(3)).map(|_| (rng.pick(&[0, 0, 0, 1, 15].map(database)), random_write(rng, 1000))).collect();
    let mut bytes = Vec::new();
    let commands = || writes.iter().map(|(database, write)| (*database, write));
    let conditions = random_conditions(rng);
    encode_batch_if(rng.bits(), &conditions, commands(), &mut bytes).unwrap();
    assert_eq!(bytes.len(), batch_len(&conditions, commands()), "the length is known before");
    bytes
}

fn encoded_again(batch: &CommandBatch<'_>) -> Vec<u8> {
    let copied = |found: ConditionRef<'_>| {
        let ConditionRef { database, key, last_change } = found;
        Condition { database, key: Bytes::copy_from_slice(key), last_change }
    };
    let conditions: Vec<Condition> = batch.conditions().map(copied).collect();
    let writes: Vec<(Database, WriteCommand)> =
        batch.commands().map(|command| (command.database, command.write.copied())).collect();
    let mut bytes = Vec::new();
    let commands = writes.iter().map(|(database, write)| (*database, write));
    encode_batch_if(batch.stamp_ms, &conditions, commands, &mut bytes).unwrap();
    bytes
}

#[test]
fn golden_bytes_of_every_command_are_what_the_drawing_says() {
    let cases = one_of_each();
    let mut expected = String::from("01 0102030405060708 00000000 00000018");
    expected.extend(cases.iter().map(|(_, bytes)| *bytes));
    expected.retain(|letter| letter != ' ');
    let writes: Vec<WriteCommand> = cases.into_iter().map(|(write, _)| write).collect();
    assert_eq!(hex::encode(payload(0x0102_0304_0506_0708, &writes)), expected);
}

#[test]
fn golden_bytes_of_conditions_and_databases_are_what_the_drawing_says() {
    let condition = |number: u8, key: &'static [u8], last_change: u64| Condition {
        database: database(number),
        key: Bytes::from_static(key),
        last_change: Index(last_change),
    };
    let conditions = [condition(0, b"a", 0), condition(0, b"b", 0x0102), condition(3, b"a", 1)];
    let writes = [WriteCommand::FlushAll, WriteCommand::Persist { key: Bytes::from_static(b"k") }];
    let mut bytes = Vec::new();
    encode_batch_if(7, &conditions, [(database(0), &writes[0]), (database(3), &writes[1])], &mut bytes).unwrap();
    let expected = "01 0000000000000007 00000003 00000002 \
                    00 0000000000000000 0000000161 00 0000000000000102 0000000162 03 0000000000000001 0000000161 \
                    0c0200 0b0203 000000016b";
    assert_eq!(hex::encode(&bytes), expected.replace(' ', ""));
    let batch = batch(&bytes);
    assert_eq!(batch.conditions().map(|condition| condition.last_change.0).collect::<Vec<_>>(), [0, 0x0102, 1]);
    assert_eq!(batch.commands().map(|command| command.database.number()).collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn a_batch_without_conditions_on_the_first_database_has_one_form() {
    let writes = [WriteCommand::FlushAll];
    let mut bytes = Vec::new();
    encode_batch_if(7, &[], [(Database::FIRST, &writes[0])], &mut bytes).unwrap();
    assert_eq!(bytes, payload(7, &writes));
}

#[test]
fn what_is_decoded_with_conditions_and_databases_is_what_was_encoded() {
    let rng = Seeded::fresh();
    for _ in 0..300 {
        let bytes = random_payload(&rng);
        assert_eq!(encoded_again(&batch(&bytes)), bytes);
        for len in 0..bytes.len() {
            assert!(
                matches!(Payload::decode(&bytes[..len]), Err(PayloadError::Codec(CodecError::Truncated { .. }))),
                "prefix of {len}"
            );
        }
    }
}

#[test]
fn any_bytes_are_decoded_to_what_encodes_to_them_or_refused() {
    let rng = Seeded::fresh();
    for _ in 0..20_000 {
        // Small numbers, so that counts and lengths are often possible.
        let bytes: Vec<u8> = (0..rng.index(80))
            .map(|at| if at < 1 { 1 } else { rng.pick(&[0, 0, 0, 0, 1, 2, 3, 9, 12, 0xff]) })
            .collect();
        if let Ok(Payload::Batch(batch)) = Payload::decode(&bytes) {
            assert_eq!(encoded_again(&batch), bytes);
        }
    }
}

#[test]
fn conditions_that_are_too_many_unsorted_or_doubled_are_refused() {
    let condition = |key: &'static [u8]| Condition {
        database: Database::FIRST,
        key: Bytes::from_static(key),
        last_change: Index(1),
    };
    let write = WriteCommand::FlushAll;
    let mut sorted = Vec::new();
    encode_batch_if(7, &[condition(b"a"), condition(b"b")], [(Database::FIRST, &write)], &mut sorted).unwrap();
    let place = |number: usize| 17 + number * 14;
    let mut doubled = sorted.clone();
    doubled[place(2) - 1] = b'a';
    assert_eq!(Payload::decode(&doubled), Err(PayloadError::ConditionsUnsorted));
    let mut unsorted = doubled;
    unsorted[place(1) - 1] = b'b';
    assert_eq!(Payload::decode(&unsorted), Err(PayloadError::ConditionsUnsorted));
    let many: Vec<Condition> = (0..=u32::try_from(ENTRY_CONDITIONS_MAX).unwrap())
        .map(|number| Condition {
            database: Database::FIRST,
            key: number.to_be_bytes().to_vec().into(),
            last_change: Index(0),
        })
        .collect();
    let mut out = b"before".to_vec();
    let found = ENTRY_CONDITIONS_MAX + 1;
    assert_eq!(
        encode_batch_if(7, &many, [(Database::FIRST, &write)], &mut out),
        Err(EncodeError::ConditionsMany { found })
    );
    assert_eq!(out, b"before");
    let mut full = Vec::new();
    encode_batch_if(7, &many[1..], [(Database::FIRST, &write)], &mut full).unwrap();
    assert_eq!(batch(&full).conditions().count(), ENTRY_CONDITIONS_MAX);
    full[9..13].copy_from_slice(&u32::try_from(found).unwrap().to_be_bytes());
    let found = u32::try_from(found).unwrap();
    assert_eq!(Payload::decode(&full), Err(PayloadError::ConditionsMany { found }));
}

#[test]
fn golden_control_entry_is_its_kind_and_the_change() {
    let mut bytes = Vec::new();
    encode_control(b"change", &mut bytes).unwrap();
    assert_eq!(bytes, b"\x02change");
    assert_eq!(Payload::decode(&bytes), Ok(Payload::Control(b"change")));
}

#[test]
fn what_is_decoded_is_what_was_encoded() {
    let rng = Seeded::fresh();
    for round in 0..300 {
        let mut writes: Vec<WriteCommand> = (0..=rng.index(20)).map(|_| random_write(&rng, 1000)).collect();
        if round == 0 {
            writes = one_of_each().into_iter().map(|(write, _)| write).collect();
        }
        let mut bytes = payload(7, &writes);
        assert_eq!(bytes.len(), BATCH_HEADER_LEN + writes.iter().map(WriteCommand::encoded_len).sum::<usize>());
        set_stamp(&mut bytes, 9);
        let batch = batch(&bytes);
        assert_eq!((batch.stamp_ms, batch.commands().count()), (9, writes.len()));
        for (write, decoded) in writes.iter().zip(batch.commands()) {
            assert_eq!((decoded.database, decoded.write.cost()), (Database::FIRST, write.cost()));
        }
        assert_eq!(batch.commands().map(|command| command.write.copied()).collect::<Vec<_>>(), writes);
    }
}

#[test]
fn no_prefix_and_no_longer_payload_is_accepted() {
    let writes: Vec<WriteCommand> = one_of_each().into_iter().map(|(write, _)| write).collect();
    let mut bytes = payload(7, &writes);
    for len in 0..bytes.len() {
        assert!(
            matches!(Payload::decode(&bytes[..len]), Err(PayloadError::Codec(CodecError::Truncated { .. }))),
            "prefix of {len}"
        );
    }
    bytes.push(0);
    assert_eq!(Payload::decode(&bytes), Err(PayloadError::Codec(CodecError::Trailing { bytes: 1 })));
}

#[test]
fn garbage_never_panics_and_never_promises_more_than_it_holds() {
    let rng = Seeded::fresh();
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = random_payload(&rng);
        for _ in 0..=rng.index(3) {
            let at = rng.index(bytes.len());
            bytes[at] =
                if rng.index(2) == 0 { rng.bits().to_le_bytes()[0] } else { rng.pick(&[0, 1, 2, 13, 0x7f, 0xff]) };
        }
        bytes.truncate(rng.index(bytes.len() * 4));
        if let Ok(Payload::Batch(batch)) = Payload::decode(&bytes) {
            // Walking what was accepted is the test: it must neither panic nor yield more than there is.
            assert_eq!(encoded_again(&batch), bytes, "one meaning, one encoding");
            accepted += 1;
        }
    }
    assert!(accepted > 0, "some changes leave a payload valid");
}

#[test]
fn a_count_or_length_beyond_the_bytes_is_refused() {
    let mut commands = payload(7, &[WriteCommand::FlushAll]);
    commands[13..17].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Payload::decode(&commands), Err(PayloadError::Codec(CodecError::Truncated { .. }))));
    let mut keys = payload(7, &[WriteCommand::Delete { keys: vec![] }]);
    keys[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Payload::decode(&keys), Err(PayloadError::Codec(CodecError::Truncated { .. }))));
    let mut key = payload(7, &[WriteCommand::Persist { key: Bytes::new() }]);
    key[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Payload::decode(&key), Err(PayloadError::Long { field: "key", .. })));
}

#[test]
fn unknown_kinds_commands_versions_and_fields_are_refused() {
    assert!(matches!(Payload::decode(&[]), Err(PayloadError::Codec(CodecError::Truncated { .. }))));
    for kind in (0..=255).filter(|kind| ![1, 2].contains(kind)) {
        assert_eq!(Payload::decode(&[kind]), Err(PayloadError::Kind { kind }));
    }
    let mut none = payload(7, &[WriteCommand::FlushAll]);
    none.truncate(17);
    none[16] = 0;
    assert_eq!(Payload::decode(&none), Err(PayloadError::Empty));
    let change = |at: usize, byte: u8| {
        let mut bytes = payload(7, &[one_of_each().remove(0).0]);
        bytes[at] = byte;
        Payload::decode(&bytes).map(|_| ())
    };
    assert_eq!(change(17, 0), Err(PayloadError::Command { tag: 0, version: 2 }));
    assert_eq!(change(17, 24), Err(PayloadError::Command { tag: 24, version: 2 }));
    assert_eq!(change(18, 3), Err(PayloadError::Command { tag: 1, version: 3 }));
    assert_eq!(change(20, 3), Err(PayloadError::Field { field: "when", found: 3 }));
    assert_eq!(change(21, 3), Err(PayloadError::Field { field: "reply", found: 3 }));
    assert_eq!(change(22, 4), Err(PayloadError::Field { field: "expiry", found: 4 }));
}

#[test]
fn what_does_not_fit_an_entry_is_not_encoded() {
    let mut out = b"before".to_vec();
    let mut refuse = |writes: &[WriteCommand]| {
        let error = encode_batch(7, writes, &mut out).unwrap_err();
        assert_eq!(out, b"before");
        error
    };
    let long = |len: usize| Bytes::from(vec![0; len]);
    assert_eq!(refuse(&[]), EncodeError::Empty);
    let found = KEY_BYTES_MAX + 1;
    assert_eq!(refuse(&[WriteCommand::Persist { key: long(found) }]), EncodeError::KeyLong { found });
    let found = VALUE_BYTES_MAX + 1;
    assert_eq!(
        refuse(&[WriteCommand::Append { key: Bytes::new(), value: long(found) }]),
        EncodeError::ValueLong { found }
    );
    let keys = vec![long(KEY_BYTES_MAX); PAYLOAD_BYTES_MAX / KEY_BYTES_MAX + 1];
    assert!(matches!(refuse(&[WriteCommand::Delete { keys }]), EncodeError::PayloadLong { .. }));
    let pairs = vec![(Bytes::new(), Bytes::new()); ENTRY_WRITES_MAX];
    let many = WriteCommand::SetMany { pairs, absent_only: false };
    encode_batch(7, [&many], &mut Vec::new()).unwrap();
    let found = ENTRY_WRITES_MAX + 1;
    assert_eq!(refuse(&[many, WriteCommand::Persist { key: Bytes::new() }]), EncodeError::WritesMany { found });
    let largest = WriteCommand::Append { key: long(KEY_BYTES_MAX), value: long(VALUE_BYTES_MAX) };
    encode_batch(7, [&largest], &mut Vec::new()).unwrap();
}
