//! Golden bytes, and what a decoder must not do: panic, allocate, take bytes that nobody meant.

use bytes::Bytes;

use crate::codec::CodecError;
use crate::fsm::codec::Payload;
use crate::fsm::codec::encode_batch;
use crate::fsm::codec::encode_control;
use crate::fsm::codec::set_stamp;
use crate::fsm::command::EncodeError;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::PayloadError;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::command::WriteRef;
use crate::fsm::testkit::Rng;
use crate::fsm::testkit::batch;
use crate::fsm::testkit::payload;
use crate::fsm::testkit::random_write;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;

/// Every command, with fields that cannot be taken for one another.
fn one_of_each() -> Vec<(WriteCommand, &'static str)> {
    let (k, v) = (Bytes::from_static(b"k"), Bytes::from_static(b"vv"));
    let keys = vec![k.clone(), Bytes::new()];
    vec![
        (
            WriteCommand::Set {
                key: k.clone(),
                value: v.clone(),
                when: SetIf::Present,
                expiry: Expiry::In(-2),
                reply: SetReply::Old,
            },
            "01010201 02fffffffffffffffe 000000016b 000000027676",
        ),
        (
            WriteCommand::Set {
                key: k.clone(),
                value: v.clone(),
                when: SetIf::Absent,
                expiry: Expiry::Keep,
                reply: SetReply::Integer,
            },
            "01010102 01 000000016b 000000027676",
        ),
        (
            WriteCommand::SetMany { pairs: vec![(k.clone(), v.clone())], absent_only: true },
            "020101 00000001 000000016b 000000027676",
        ),
        (WriteCommand::Append { key: k.clone(), value: v.clone() }, "0301 000000016b 000000027676"),
        (
            WriteCommand::SetRange { key: k.clone(), offset: 258, value: v.clone() },
            "0401 00000102 000000016b 000000027676",
        ),
        (WriteCommand::IncrementBy { key: k.clone(), delta: -3 }, "0501 fffffffffffffffd 000000016b"),
        (WriteCommand::IncrementByFloat { key: k.clone(), delta: v }, "0601 000000016b 000000027676"),
        (WriteCommand::GetDelete { key: k.clone() }, "0701 000000016b"),
        (WriteCommand::GetExpire { key: k.clone(), expiry: Expiry::Clear }, "0801 00 000000016b"),
        (WriteCommand::Delete { keys: keys.clone() }, "0901 00000002 000000016b 00000000"),
        (
            WriteCommand::Expire { key: k.clone(), expiry: Expiry::At(5), when: ExpireIf::SomeSooner },
            "0a01 05 030000000000000005 000000016b",
        ),
        (WriteCommand::Persist { key: k }, "0b01 000000016b"),
        (WriteCommand::FlushAll, "0c01"),
        (WriteCommand::RemoveExpired { keys }, "0d01 00000002 000000016b 00000000"),
    ]
}

#[test]
fn golden_bytes_of_every_command_are_what_the_drawing_says() {
    let cases = one_of_each();
    let mut expected = String::from("01 0102030405060708 0000000e");
    expected.extend(cases.iter().map(|(_, bytes)| *bytes));
    expected.retain(|letter| letter != ' ');
    let writes: Vec<WriteCommand> = cases.into_iter().map(|(write, _)| write).collect();
    assert_eq!(hex::encode(payload(0x0102_0304_0506_0708, &writes)), expected);
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
    let mut rng = Rng::from_env("what_is_decoded_is_what_was_encoded");
    for round in 0..300 {
        let mut writes: Vec<WriteCommand> = (0..=rng.below(20)).map(|_| random_write(&mut rng, 1000)).collect();
        if round == 0 {
            writes = one_of_each().into_iter().map(|(write, _)| write).collect();
        }
        let mut bytes = payload(7, &writes);
        assert_eq!(bytes.len(), super::BATCH_HEADER_LEN + writes.iter().map(WriteCommand::encoded_len).sum::<usize>());
        set_stamp(&mut bytes, 9);
        let batch = batch(&bytes);
        assert_eq!((batch.stamp_ms, batch.count()), (9, writes.len()));
        for (write, decoded) in writes.iter().zip(batch.commands()) {
            assert_eq!(decoded.cost(), write.cost());
        }
        assert_eq!(batch.commands().map(WriteRef::copied).collect::<Vec<_>>(), writes);
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
    let mut rng = Rng::from_env("garbage_never_panics_and_never_promises_more_than_it_holds");
    let mut accepted = 0;
    for _ in 0..20_000 {
        let writes: Vec<WriteCommand> = (0..=rng.below(3)).map(|_| random_write(&mut rng, 1000)).collect();
        let mut bytes = payload(7, &writes);
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] =
                if rng.below(2) == 0 { rng.next().to_le_bytes()[0] } else { rng.pick(&[0, 1, 2, 13, 0x7f, 0xff]) };
        }
        bytes.truncate(rng.below(bytes.len() * 4));
        if let Ok(Payload::Batch(batch)) = Payload::decode(&bytes) {
            // Walking what was accepted is the test: it must neither panic nor yield more than there is.
            let again: Vec<WriteCommand> = batch.commands().map(WriteRef::copied).collect();
            assert_eq!(payload(batch.stamp_ms, &again), bytes, "one meaning, one encoding");
            accepted += 1;
        }
    }
    assert!(accepted > 0, "some changes leave a payload valid");
}

#[test]
fn a_count_or_length_beyond_the_bytes_is_refused() {
    let mut commands = payload(7, &[WriteCommand::FlushAll]);
    commands[9..13].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Payload::decode(&commands), Err(PayloadError::Codec(CodecError::Truncated { .. }))));
    let mut keys = payload(7, &[WriteCommand::Delete { keys: vec![] }]);
    keys[15..19].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Payload::decode(&keys), Err(PayloadError::Codec(CodecError::Truncated { .. }))));
    let mut key = payload(7, &[WriteCommand::Persist { key: Bytes::new() }]);
    key[15..19].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Payload::decode(&key), Err(PayloadError::Long { field: "key", .. })));
}

#[test]
fn unknown_kinds_commands_versions_and_fields_are_refused() {
    assert!(matches!(Payload::decode(&[]), Err(PayloadError::Codec(CodecError::Truncated { .. }))));
    for kind in (0..=255).filter(|kind| ![1, 2].contains(kind)) {
        assert_eq!(Payload::decode(&[kind]), Err(PayloadError::Kind { kind }));
    }
    let mut none = payload(7, &[WriteCommand::FlushAll]);
    none.truncate(13);
    none[12] = 0;
    assert_eq!(Payload::decode(&none), Err(PayloadError::Empty));
    let change = |at: usize, byte: u8| {
        let mut bytes = payload(7, &[one_of_each().remove(0).0]);
        bytes[at] = byte;
        Payload::decode(&bytes).map(|_| ())
    };
    assert_eq!(change(13, 0), Err(PayloadError::Command { tag: 0, version: 1 }));
    assert_eq!(change(13, 14), Err(PayloadError::Command { tag: 14, version: 1 }));
    assert_eq!(change(14, 2), Err(PayloadError::Command { tag: 1, version: 2 }));
    assert_eq!(change(15, 3), Err(PayloadError::Field { field: "when", found: 3 }));
    assert_eq!(change(16, 3), Err(PayloadError::Field { field: "reply", found: 3 }));
    assert_eq!(change(17, 4), Err(PayloadError::Field { field: "expiry", found: 4 }));
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
