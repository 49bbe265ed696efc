//! Reads and replies between nodes: what was sent arrives, and bytes that nobody sent are refused.

use bytes::Bytes;

use crate::codec::Reader;
use crate::fsm::codec::encode_read;
use crate::fsm::codec::encode_reply;
use crate::fsm::codec::take_read;
use crate::fsm::codec::take_reply;
use crate::fsm::command::BitFieldAction;
use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitSpan;
use crate::fsm::command::KeyFact;
use crate::fsm::command::LcsAnswer;
use crate::fsm::command::Overflow;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::TtlForm;
use crate::fsm::name::Database;

fn one_of_each() -> Vec<ReadCommand> {
    let key = Bytes::from_static(b"key");
    let keys = vec![key.clone(), Bytes::new()];
    let span = Some(BitSpan { start: -3, end: Some(9), is_bits: true });
    let step = BitFieldStep {
        action: BitFieldAction::Get,
        is_signed: true,
        width: 9,
        overflow: Overflow::Fail,
        offset: 77,
        amount: -5,
    };
    let mut all = vec![
        ReadCommand::Get { key: key.clone() },
        ReadCommand::GetMany { keys: keys.clone() },
        ReadCommand::Length { key: key.clone() },
        ReadCommand::Range { key: key.clone(), start: -1, end: i64::MAX },
        ReadCommand::Exists { keys: keys.clone() },
        ReadCommand::Type { key: key.clone() },
        ReadCommand::LastChanges { keys: keys.clone() },
        ReadCommand::Refuse { key: key.clone(), there: "ERR there", absent: Some("ERR absent") },
        ReadCommand::Refuse { key: key.clone(), there: "ERR there", absent: None },
        ReadCommand::BitAt { key: key.clone(), offset: 7 },
        ReadCommand::BitCount { key: key.clone(), span },
        ReadCommand::BitCount { key: key.clone(), span: None },
        ReadCommand::BitPosition {
            key: key.clone(),
            bit: true,
            span: Some(BitSpan { start: 1, end: None, is_bits: false }),
        },
        ReadCommand::BitFields { key: key.clone(), steps: vec![step, step] },
        ReadCommand::Dump { key: key.clone() },
        ReadCommand::Count,
        ReadCommand::Scan { cursor: 5, count: 10, pattern: Some(key.clone()) },
        ReadCommand::Scan { cursor: 0, count: 1, pattern: None },
        ReadCommand::Keys { pattern: key.clone() },
        ReadCommand::RandomKey { place: 99 },
    ];
    let forms =
        [TtlForm::Seconds, TtlForm::Millis, TtlForm::AtSeconds { lead_ms: 5 }, TtlForm::AtMillis { lead_ms: 6 }];
    all.extend(forms.map(|form| ReadCommand::Ttl { key: key.clone(), form }));
    let answers = [LcsAnswer::Bytes, LcsAnswer::Length, LcsAnswer::Ranges { least: 4, shows_lengths: true }];
    all.extend(answers.map(|answer| ReadCommand::CommonSubsequence { keys: keys.clone(), answer }));
    let facts = [KeyFact::Encoding, KeyFact::References, KeyFact::Frequency, KeyFact::IdleTime, KeyFact::Memory];
    all.extend(facts.map(|fact| ReadCommand::Fact { key: key.clone(), fact }));
    all
}

#[test]
fn every_read_arrives_as_it_was_sent_and_no_part_of_one_does() {
    let database = Database::new(15).unwrap();
    for read in one_of_each() {
        let mut bytes = Vec::new();
        encode_read(database, &read, &mut bytes).unwrap();
        let mut reader = Reader::new(&bytes);
        assert_eq!(take_read(&mut reader), Ok((database, read.clone())));
        assert_eq!(reader.end(), Ok(()), "{read:?}");
        for cut in 0..bytes.len() {
            assert!(take_read(&mut Reader::new(&bytes[..cut])).is_err(), "{read:?} cut at {cut}");
        }
    }
}

#[test]
fn every_reply_arrives_as_it_was_sent_and_no_part_of_one_does() {
    let bulk = Reply::Bulk(Bytes::from_static(b"\x00\xff"));
    let list = Reply::Array(vec![Reply::Null, bulk.clone(), Reply::Array(vec![Reply::Integer(-7)])]);
    let all = [
        Reply::Ok,
        Reply::Simple("string"),
        Reply::Error("WRONGTYPE of a value"),
        Reply::Integer(i64::MIN),
        bulk.clone(),
        Reply::Null,
        list.clone(),
        Reply::Map(vec![(bulk, list)]),
    ];
    for reply in all {
        let mut bytes = Vec::new();
        encode_reply(&reply, &mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(take_reply(&mut reader), Ok(reply.clone()));
        assert_eq!(reader.end(), Ok(()));
        for cut in 0..bytes.len() {
            assert!(take_reply(&mut Reader::new(&bytes[..cut])).is_err(), "{reply:?} cut at {cut}");
        }
    }
}

#[test]
fn replies_without_end_and_tags_without_meaning_are_refused() {
    let arrays: Vec<u8> = [6, 0, 0, 0, 1].repeat(1000);
    assert!(take_reply(&mut Reader::new(&arrays)).is_err());
    for tag in 8..=255 {
        assert!(take_reply(&mut Reader::new(&[tag])).is_err());
    }
    for tag in (21..=255).chain([0]) {
        assert!(take_read(&mut Reader::new(&[0, tag])).is_err());
    }
    assert!(take_reply(&mut Reader::new(&[4, 0xff, 0xff, 0xff, 0xff])).is_err(), "4 GiB that are not there");
}
