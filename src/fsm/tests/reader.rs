//! Readers of a base: what they open, what they take in the clear, what is damage.

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::names::NameKey;
use crate::fsm::codec::encode_batch;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowCipher;
use crate::fsm::overlay::Overlay;
use crate::fsm::reader::Base;
use crate::fsm::reader::Detail;
use crate::fsm::reader::RowReader;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::name;
use crate::fsm::tests::kit::names;
use crate::fsm::tests::kit::read;
use crate::fsm::value::BODY_PREFIX_LEN;
use crate::fsm::value::BodyState;
use crate::fsm::value::HEADER_LEN;
use crate::fsm::value::Header;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
use crate::fsm::value::ValueKind;
use crate::ids::Index;
use crate::limits::VALUE_BYTES_MAX;
use crate::testing::base::NoCipher;
use crate::testing::base::reader_of;
use crate::testing::picture::Picture;

/// Seals by turning bits over; enough to see who is asked what.
struct Toy {
    accepts_clear_rows: bool,
}

impl RowCipher for Toy {
    fn accepts_clear_rows(&self) -> bool {
        self.accepts_clear_rows
    }

    fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        NoCipher.name_key()
    }

    fn open(&self, asked: &RowName, row: Vec<u8>) -> Result<Bytes, ReadError> {
        let (header, _) = Header::split(&row)?;
        assert_eq!((*asked, header.state), (name(b"sealed"), BodyState::Sealed));
        Ok(row[HEADER_LEN..].iter().map(|byte| !byte).collect())
    }
}

fn value(expire_at_ms: u64) -> Value {
    Value { kind: ValueKind::String, last_change: Index(9), expire_at_ms, bytes: Bytes::from_static(b"plain") }
}

fn sealed_row() -> Vec<u8> {
    let mut body = Vec::new();
    value(50).encode_body(b"sealed", &mut body);
    let header = value(50).header(BodyState::Sealed).encode();
    header.into_iter().chain(body.into_iter().map(|byte| !byte)).collect()
}

fn reader(cipher: impl RowCipher + 'static, puts: Vec<(&[u8], Vec<u8>)>) -> RowReader {
    let rows = puts.into_iter().map(|(key, row)| (name(key), row)).collect();
    let base = Picture { rows, applied: Vec::new(), keyring: None }.to_base();
    reader_of(Arc::new(base), Arc::new(cipher))
}

fn asked(key: &[u8]) -> RowKey<'_> {
    RowKey::new(name(key), key)
}

#[test]
fn a_reader_opens_sealed_rows_and_takes_clear_ones_only_where_they_are_allowed() {
    let puts = vec![(&b"clear"[..], value(0).encode_clear_row(b"clear")), (b"sealed", sealed_row())];
    let both = reader(Toy { accepts_clear_rows: true }, puts.clone());
    assert_eq!(both.value(asked(b"clear")).unwrap(), Some(value(0)));
    let rows = [&b"sealed"[..], b"none", b"clear"].map(asked);
    let mut found = Vec::new();
    let mut keep = |value| {
        found.push(value);
        true
    };
    both.each_value(&rows, Detail::Values, &mut keep).unwrap();
    assert_eq!(found, [Some(value(50)), None, Some(value(0))]);
    assert_eq!(read(&both, &ReadCommand::Count, 49).unwrap(), Reply::Integer(2));
    assert_eq!(read(&both, &ReadCommand::Count, 50).unwrap(), Reply::Integer(1));
    let strict = reader(Toy { accepts_clear_rows: false }, puts.clone());
    assert!(matches!(strict.value(asked(b"clear")), Err(ReadError::Unauthentic)));
    assert_eq!(strict.value(asked(b"sealed")).unwrap(), Some(value(50)));
    let keyless = reader(NoCipher, puts);
    assert_eq!(keyless.value(asked(b"clear")).unwrap(), Some(value(0)));
    assert!(matches!(keyless.value(asked(b"sealed")), Err(ReadError::NoCipher)));
}

#[test]
fn a_row_that_is_none_of_ours_is_damage_and_not_an_absent_key() {
    let short = value(0).encode_clear_row(b"short")[..HEADER_LEN + BODY_PREFIX_LEN - 1].to_vec();
    let moved = value(0).encode_clear_row(b"another");
    let puts = vec![(&b"empty"[..], vec![]), (b"short", short), (b"tombstone", vec![1; 30]), (b"moved", moved)];
    let reader = reader(NoCipher, puts);
    let error = |key: &[u8]| match reader.value(asked(key)) {
        Err(ReadError::Malformed(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error(b"empty"), ValueError::RowShort { found: 0 });
    assert_eq!(error(b"short"), ValueError::BodyShort { found: BODY_PREFIX_LEN - 1 });
    assert_eq!(error(b"tombstone"), ValueError::Flags { flags: 1 });
    assert_eq!(error(b"moved"), ValueError::OtherKey, "the row of one key holds another");
    assert_eq!(reader.value(RowKey::named(name(b"moved"))).unwrap(), Some(value(0)));
    assert!(matches!(reader.count(Database::FIRST, 0), Err(ReadError::Malformed(_))));
}

// In a state without a cipher: forged by somebody who can write to the disk.
#[test]
fn a_value_that_is_too_long_to_be_written_anew_halts_its_entry() {
    let mut long = value(0).encode_clear_row(b"long");
    long.resize(HEADER_LEN + BODY_PREFIX_LEN + 4 + VALUE_BYTES_MAX + 1, 0);
    let reader = reader(NoCipher, vec![(b"long", long)]);
    let key = Bytes::from_static(b"long");
    let expire = WriteCommand::Expire { when: ExpireIf::Always, expiry: Expiry::In(1000), key: key.clone() };
    let overwrite = WriteCommand::SetRange { offset: 0, key, value: Bytes::from_static(b"x") };
    for write in [expire, overwrite] {
        let mut payload = Vec::new();
        encode_batch(5, [&write], &mut payload).unwrap();
        let batch = batch(&payload);
        let mut overlay = Overlay::new();
        let names = names(&batch);
        let mut context = overlay.begin(&reader, Index(100), 5, None, &batch, &names).unwrap();
        let ran = overlay.execute(&reader, batch.commands().next().unwrap(), &mut context);
        assert!(matches!(ran, Err(ReadError::Malformed(ValueError::ValueLong { .. }))), "{ran:?}");
    }
}
