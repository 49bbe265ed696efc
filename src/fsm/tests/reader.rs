//! Readers of a base: what they open, what they take in the clear, what is damage.

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::keystore::Dek;
use crate::crypto::keystore::KeyStore;
use crate::crypto::keystore::Purpose;
use crate::crypto::names::NameKey;
use crate::crypto::open::OpenArena;
use crate::crypto::stored::StoredRow;
use crate::crypto::stored::ValueBinding;
use crate::crypto::stored::add_value;
use crate::crypto::stored::seal_values;
use crate::fsm::base::RowBase;
use crate::fsm::codec::encode_batch;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::fetched::Detail;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowCipher;
use crate::fsm::overlay::Overlay;
use crate::fsm::reader::Base;
use crate::fsm::reader::RowReader;
use crate::fsm::row::Effects;
use crate::fsm::sized_rows::Bury;
use crate::fsm::table_row::RowBytes;
use crate::fsm::table_row::TableRow;
use crate::fsm::table_row::WrittenAt;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::name;
use crate::fsm::tests::kit::names;
use crate::fsm::tests::kit::payload;
use crate::fsm::tests::kit::read;
use crate::fsm::value::BODY_PREFIX_LEN;
use crate::fsm::value::BodyState;
use crate::fsm::value::HEADER_LEN;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
use crate::fsm::value::ValueKind;
use crate::fsm::value::ValueRef;
use crate::fsm::view::ViewWriter;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::VALUE_BYTES_MAX;
use crate::testing::base::NoCipher;
use crate::testing::base::reader_of;
use crate::testing::picture::Picture;

/// Opens under the one key that there is.
struct OneKey {
    accepts_clear_rows: bool,
}

impl RowCipher for OneKey {
    fn accepts_clear_rows(&self) -> bool {
        self.accepts_clear_rows
    }

    fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        NoCipher.name_key()
    }

    fn add(&self, asked: &RowName, row: &[u8], arena: &mut OpenArena) -> Result<(), ReadError> {
        add_value(&keys().snapshot(), &StoredRow { store_key: asked.as_bytes(), row }, arena);
        Ok(())
    }
}

fn value(expire_at_ms: u64) -> Value {
    Value { kind: ValueKind::String, last_change: Index(9), expire_at_ms, bytes: Bytes::from_static(b"plain") }
}

fn keys() -> KeyStore {
    let keys = KeyStore::new(ClusterId([1; 16]));
    keys.insert(KeyId::new(1).unwrap(), Purpose::Value, Dek::new(&[7; 32])).unwrap();
    keys
}

fn sealed_row() -> Vec<u8> {
    let mut body = Vec::new();
    value(50).borrowed().encode_body(b"sealed", &mut body);
    let (name, header) = (name(b"sealed"), value(50).borrowed().header(BodyState::Sealed).encode());
    let binding = ValueBinding { store_key: name.as_bytes(), header, entry_tag: [3; 16], delta: 1, op: 0 };
    seal_values(keys().snapshot().value(KeyId::new(1).unwrap()).unwrap(), &[(binding, &body)]).unwrap()[0].to_vec()
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
    let both = reader(OneKey { accepts_clear_rows: true }, puts.clone());
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
    let strict = reader(OneKey { accepts_clear_rows: false }, puts.clone());
    assert!(matches!(strict.value(asked(b"clear")), Err(ReadError::Unauthentic)));
    assert_eq!(strict.value(asked(b"sealed")).unwrap(), Some(value(50)));
    let keyless = reader(NoCipher, puts);
    assert_eq!(keyless.value(asked(b"clear")).unwrap(), Some(value(0)));
    assert!(matches!(keyless.value(asked(b"sealed")), Err(ReadError::NoCipher)));
}

/// A transaction that writes many large values and counts must not open them: it counts on the apply thread.
#[test]
fn a_count_on_top_of_writes_opens_no_row() {
    let keyless = reader(NoCipher, vec![(&b"sealed"[..], sealed_row())]);
    assert!(keyless.value(asked(b"sealed")).is_err(), "it cannot be opened");
    let bytes = payload(0, &[set_command(b"sealed"), set_command(b"other")]);
    let batch = batch(&bytes);
    let names = names(&batch);
    let mut overlay = Overlay::new();
    let mut context = overlay.begin(&keyless, Index(20), 0, None, &batch, &names).unwrap();
    for command in batch.commands() {
        overlay.execute(&keyless, command, &mut context).unwrap();
    }
    assert_eq!(read(&overlay.view(&keyless), &ReadCommand::Count, 49).unwrap(), Reply::Integer(2));
    assert_eq!(read(&overlay.view(&keyless), &ReadCommand::Count, 50).unwrap(), Reply::Integer(2));
}

fn set_command(key: &'static [u8]) -> WriteCommand {
    let (key, value) = (Bytes::from_static(key), Bytes::from_static(b"v"));
    WriteCommand::Set { key, value, when: SetIf::Always, expiry: Expiry::Clear, reply: SetReply::Ok }
}

/// Goal: rows of a table, of the base, sealed and clear, absent and damaged are each answered in their place.
#[test]
fn a_damaged_row_among_several_spoils_only_its_own_answer() {
    let mut forged = sealed_row();
    *forged.last_mut().unwrap() ^= 1;
    let rows = [(&b"clear"[..], value(0).encode_clear_row(b"clear")), (b"sealed", sealed_row())];
    let rows = rows.into_iter().chain([(&b"forged"[..], forged), (b"moved", value(0).encode_clear_row(b"other"))]);
    let rows = rows.map(|(key, row)| (name(key), row)).collect();
    let base = Picture { rows, applied: Vec::new(), keyring: None }.to_base();
    let (base, bury): (Arc<dyn RowBase>, Bury) = (Arc::new(base), Arc::new(drop));
    let mut writer = ViewWriter::new(base, Position::default(), 0, &bury);
    let at = WrittenAt::new(Index(9), 0, None);
    let row = TableRow::new(b"table", RowBytes::Copied(&value(7).bytes), 7, at);
    let mut effects = Effects::default();
    effects.set(name(b"table"), Some(row));
    writer.publish(effects, Position { term: Term(1), index: Index(9) }, 3);
    let reader = RowReader::new(Arc::clone(writer.views()), Arc::new(OneKey { accepts_clear_rows: true }));
    let asked = [&b"forged"[..], b"sealed", b"none", b"moved", b"table", b"clear", b"sealed"].map(asked);
    let mut shown = Vec::new();
    let mut show = |stamp_ms, found: Result<Option<ValueRef<'_>>, ReadError>| {
        assert_eq!(stamp_ms, 3);
        let found = found.map(|found| found.map(|value| (value.bytes.to_vec(), value.expire_at_ms)));
        shown.push(found.map_err(|error| error.to_string()));
        true
    };
    reader.show_each(&asked, &mut show).unwrap();
    let plain = |expire_at_ms| Ok(Some((b"plain".to_vec(), expire_at_ms)));
    let error = |error: ReadError| Err(error.to_string());
    let (forged, moved) = (error(ReadError::Unauthentic), error(ValueError::OtherKey.into()));
    assert_eq!(shown, [forged, plain(50), Ok(None), moved, plain(7), plain(0), plain(50)]);
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
