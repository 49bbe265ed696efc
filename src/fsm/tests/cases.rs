//! Cases that Redis's own tests look at, bounds, and what a command must not do.

use std::cell::Cell;

use bytes::Bytes;

use crate::crypto::keystore::Dek;
use crate::crypto::names::ClearNameKey;
use crate::crypto::names::NameKey;
use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::command::BitOperation;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::LcsAnswer;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::TtlForm;
use crate::fsm::command::WriteCommand;
use crate::fsm::fetched::Detail;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::kv::read_as_leader;
use crate::fsm::kv::read_within;
use crate::fsm::kv::words;
use crate::fsm::name::DATABASES;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::RowChange;
use crate::fsm::reader::Base;
use crate::fsm::reader::KeyWalk;
use crate::fsm::reader::MetKey;
use crate::fsm::table_row::WrittenAt;
use crate::fsm::tests::kit::MapBase;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::name;
use crate::fsm::tests::kit::named;
use crate::fsm::tests::kit::names;
use crate::fsm::tests::kit::payload;
use crate::fsm::tests::kit::read;
use crate::fsm::value::Value;
use crate::fsm::value::ValueKind;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::limits::ENTRY_VALUE_BYTES_MAX;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::REPLY_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;

const NOW: u64 = 1_000_000;

#[derive(Default)]
struct Fixture {
    base: MapBase,
    index: u64,
    stamp_ms: u64,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { base: MapBase::default(), index: 1, stamp_ms: NOW }
    }

    /// One entry, one run.
    fn entry(&mut self, writes: &[WriteCommand]) -> Vec<Reply> {
        self.index += 1;
        let payload = payload(self.stamp_ms, writes);
        let batch = batch(&payload);
        let mut overlay = Overlay::new();
        let names = names(&batch);
        let mut context = overlay.begin(&self.base, Index(self.index), batch.stamp_ms, None, &batch, &names).unwrap();
        let replies = batch.commands().map(|write| overlay.execute(&self.base, write, &mut context).unwrap()).collect();
        self.base.apply(overlay.into_changes());
        replies
    }

    fn one(&mut self, write: WriteCommand) -> Reply {
        self.entry(&[write]).remove(0)
    }

    fn get(&self, key: &'static str) -> Reply {
        self.read(&ReadCommand::Get { key: b(key) })
    }

    fn read(&self, command: &ReadCommand) -> Reply {
        read(&self.base, command, self.stamp_ms).unwrap()
    }
}

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn bulk(text: &'static str) -> Reply {
    Reply::Bulk(b(text))
}

fn set(key: &'static str, value: &'static str) -> WriteCommand {
    set_until(key, value, Expiry::Clear)
}

fn set_until(key: &'static str, value: &'static str, expiry: Expiry) -> WriteCommand {
    WriteCommand::Set { key: b(key), value: b(value), when: SetIf::Always, expiry, reply: SetReply::Ok }
}

fn incr(key: &'static str) -> WriteCommand {
    WriteCommand::IncrementBy { key: b(key), delta: 1 }
}

#[test]
fn a_key_is_gone_at_its_deadline_for_reads_and_writes_and_never_comes_back() {
    let mut f = Fixture::new();
    f.one(set_until("k", "41", Expiry::In(100)));
    f.stamp_ms = NOW + 99;
    assert_eq!(f.read(&ReadCommand::Ttl { key: b("k"), form: TtlForm::Millis }), Reply::Integer(1));
    assert_eq!(f.get("k"), bulk("41"));
    f.stamp_ms = NOW + 100;
    assert_eq!(f.get("k"), Reply::Null);
    assert_eq!(f.read(&ReadCommand::Count), Reply::Integer(0));
    assert_eq!(f.one(WriteCommand::Persist { key: b("k") }), Reply::Integer(0));
    assert!(f.base.is_empty(), "a write that finds it past due removes the row");
    assert_eq!(f.one(incr("k")), Reply::Integer(1));
    assert_eq!(f.read(&ReadCommand::Ttl { key: b("k"), form: TtlForm::Millis }), Reply::Integer(-1));
}

#[test]
fn remove_expired_removes_only_what_is_past_due_by_its_own_stamp() {
    let mut f = Fixture::new();
    f.entry(&[set_until("a", "1", Expiry::In(10)), set_until("b", "1", Expiry::In(20)), set("c", "1")]);
    f.stamp_ms = NOW + 10;
    let removal = WriteCommand::RemoveExpired { names: ["a", "b", "c", "d"].map(|key| name(key.as_bytes())).to_vec() };
    assert_eq!(f.one(removal), Reply::Integer(1));
    assert_eq!(f.base.by_key().into_keys().collect::<Vec<_>>(), [b"b", b"c"]);
}

#[test]
fn a_leader_asks_for_removal_of_what_only_its_clock_finds_past_due() {
    let mut f = Fixture::new();
    f.entry(&[set_until("a", "1", Expiry::In(10)), set_until("b", "2", Expiry::In(20)), set("c", "3")]);
    let get_many = ReadCommand::GetMany { keys: vec![b("a"), b("b"), b("c")] };
    let ask =
        |f: &Fixture, wall_ms| named(&get_many, |read| read_as_leader(&f.base, read, f.stamp_ms, wall_ms)).unwrap();
    assert_eq!(ask(&f, NOW + 9), ReadAnswer::Reply(Reply::Array(vec![bulk("1"), bulk("2"), bulk("3")])));
    assert_eq!(ask(&f, NOW + 10), ReadAnswer::PastDue(vec![name(b"a")]));
    assert_eq!(ask(&f, NOW + 20), ReadAnswer::PastDue(vec![name(b"a"), name(b"b")]));
    f.stamp_ms = NOW + 20;
    assert_eq!(ask(&f, NOW + 20), ReadAnswer::Reply(Reply::Array(vec![Reply::Null, Reply::Null, bulk("3")])));
}

#[test]
fn set_has_the_conditions_and_replies_of_redis() {
    let mut f = Fixture::new();
    let mut set =
        |value, when, expiry, reply| f.one(WriteCommand::Set { key: b("k"), value: b(value), when, expiry, reply });
    assert_eq!(set("1", SetIf::Present, Expiry::Clear, SetReply::Ok), Reply::Null);
    assert_eq!(set("1", SetIf::Absent, Expiry::Clear, SetReply::Old), Reply::Null);
    assert_eq!(set("2", SetIf::Absent, Expiry::Clear, SetReply::Old), bulk("1"));
    assert_eq!(set("2", SetIf::Absent, Expiry::Clear, SetReply::Integer), Reply::Integer(0));
    assert_eq!(set("2", SetIf::Present, Expiry::In(50), SetReply::Ok), Reply::Ok);
    assert_eq!(set("3", SetIf::Always, Expiry::Keep, SetReply::Old), bulk("2"));
    let invalid = Reply::Error("ERR invalid expire time in 'set' command");
    for expiry in [Expiry::In(0), Expiry::In(-1), Expiry::At(0), Expiry::At(-5), Expiry::In(i64::MAX)] {
        assert_eq!(set("4", SetIf::Always, expiry, SetReply::Ok), invalid);
    }
    assert_eq!(f.get("k"), bulk("3"));
    assert_eq!(
        f.read(&ReadCommand::Ttl { key: b("k"), form: TtlForm::AtMillis { lead_ms: 0 } }),
        Reply::Integer(1_000_050)
    );
    assert_eq!(f.one(set_until("k", "5", Expiry::At(1))), Reply::Ok);
    assert!(f.base.is_empty(), "a deadline in the past leaves no row");
}

#[test]
fn expire_has_the_conditions_of_redis() {
    let mut f = Fixture::new();
    let expire = |f: &mut Fixture, expiry, when| f.one(WriteCommand::Expire { key: b("k"), expiry, when });
    assert_eq!(expire(&mut f, Expiry::In(5), ExpireIf::Always), Reply::Integer(0));
    f.one(set("k", "v"));
    for when in [ExpireIf::Some, ExpireIf::Later, ExpireIf::SomeSooner] {
        assert_eq!(expire(&mut f, Expiry::In(100), when), Reply::Integer(0), "{when:?}");
    }
    assert_eq!(expire(&mut f, Expiry::In(100), ExpireIf::Sooner), Reply::Integer(1));
    assert_eq!(expire(&mut f, Expiry::In(100), ExpireIf::None), Reply::Integer(0));
    assert_eq!(expire(&mut f, Expiry::In(100), ExpireIf::Later), Reply::Integer(0));
    assert_eq!(expire(&mut f, Expiry::In(101), ExpireIf::Later), Reply::Integer(1));
    assert_eq!(expire(&mut f, Expiry::In(102), ExpireIf::SomeSooner), Reply::Integer(0));
    let invalid = Reply::Error("ERR invalid expire time in 'expire' command");
    assert_eq!(expire(&mut f, Expiry::In(i64::MAX), ExpireIf::Always), invalid);
    assert_eq!(expire(&mut f, Expiry::In(i64::MIN), ExpireIf::Always), Reply::Integer(1));
    assert_eq!(f.get("k"), Reply::Null);
}

#[test]
fn numbers_are_taken_as_strictly_as_redis_takes_them() {
    let mut f = Fixture::new();
    let not_integer = Reply::Error("ERR value is not an integer or out of range");
    for text in ["", " 1", "1 ", "01", "+1", "-0", "-", "1.0", "9223372036854775808", "-9223372036854775809", "a"] {
        f.one(set("k", text));
        assert_eq!(f.one(incr("k")), not_integer, "{text:?}");
    }
    let overflow = Reply::Error("ERR increment or decrement would overflow");
    f.one(set("k", "9223372036854775807"));
    assert_eq!(f.one(incr("k")), overflow);
    f.one(set("k", "-9223372036854775808"));
    assert_eq!(f.one(WriteCommand::IncrementBy { key: b("k"), delta: -1 }), overflow);
    assert_eq!(f.one(incr("k")), Reply::Integer(i64::MIN + 1));
    let mut float = |delta| f.one(WriteCommand::IncrementByFloat { key: b("f"), delta: b(delta) });
    assert_eq!(float("5.0e3"), bulk("5000"));
    assert_eq!(float("x"), Reply::Error("ERR value is not a valid float"));
    assert_eq!(float("inf"), Reply::Error("ERR increment would produce NaN or Infinity"));
}

#[test]
fn no_value_grows_beyond_its_bound() {
    let mut f = Fixture::new();
    let too_long = Reply::Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    let range = |offset: usize, value| WriteCommand::SetRange {
        key: b("k"),
        offset: u32::try_from(offset).unwrap(),
        value: b(value),
    };
    assert_eq!(f.one(range(u32::MAX as usize, "x")), too_long);
    assert_eq!(f.one(range(VALUE_BYTES_MAX, "x")), too_long);
    assert_eq!(f.one(range(VALUE_BYTES_MAX, "")), Reply::Integer(0));
    assert!(f.base.is_empty(), "an empty value makes no key");
    let full = i64::try_from(VALUE_BYTES_MAX).unwrap();
    assert_eq!(f.one(range(VALUE_BYTES_MAX - 1, "x")), Reply::Integer(full));
    assert_eq!(f.one(WriteCommand::Append { key: b("k"), value: b("x") }), too_long);
    assert_eq!(f.one(WriteCommand::Append { key: b("k"), value: b("") }), Reply::Integer(full));
    assert_eq!(f.read(&ReadCommand::Range { key: b("k"), start: -2, end: -1 }), bulk("\0x"));
}

#[test]
fn one_entry_loads_and_makes_a_bounded_amount_of_values() {
    let mut f = Fixture::new();
    let keys: Vec<Bytes> = (0..80).map(|number| Bytes::from(format!("key-{number}"))).collect();
    let offset = u32::try_from(VALUE_BYTES_MAX - 1).unwrap();
    let grow: Vec<WriteCommand> =
        keys.iter().map(|key| WriteCommand::SetRange { key: key.clone(), offset, value: b("x") }).collect();
    let fitting = usize::try_from(ENTRY_VALUE_BYTES_MAX).unwrap() / VALUE_BYTES_MAX;
    let replies = f.entry(&grow);
    assert_eq!(replies.iter().filter(|reply| matches!(reply, Reply::Integer(_))).count(), fitting);
    assert_eq!(f.base.by_key().len(), fitting, "a refused command writes nothing");
    let appends = vec![WriteCommand::Append { key: keys[0].clone(), value: Bytes::new() }; 200];
    let refused = |reply: &Reply| matches!(reply, Reply::Error(_));
    assert!(!f.entry(&appends).iter().any(refused), "a value is loaded once however often it is changed");
    let returns = vec![WriteCommand::GetExpire { key: keys[0].clone(), expiry: Expiry::In(9) }; 80];
    assert!(f.entry(&returns).iter().any(refused), "replies are held too");
}

#[test]
fn an_entry_of_too_many_writes_answers_errors_and_writes_nothing() {
    let pairs = vec![(b("k"), b("v")); ENTRY_WRITES_MAX];
    let full = [WriteCommand::FlushAll, WriteCommand::SetMany { pairs, absent_only: false }];
    // Nobody encodes such an entry, so the command behind the bound is put in by hand.
    let mut bytes = payload(NOW, &full);
    let last = payload(NOW, &[set("x", "y")]);
    bytes.extend_from_slice(&last[BATCH_HEADER_LEN..]);
    bytes[BATCH_HEADER_LEN - 1] += 1;
    let batch = batch(&bytes);
    assert!(batch.exceeds_writes());
    let mut overlay = Overlay::new();
    let names = names(&batch);
    let mut context = overlay.begin(&MapBase::default(), Index(2), NOW, None, &batch, &names).unwrap();
    for write in batch.commands() {
        let reply = overlay.execute(&MapBase::default(), write, &mut context).unwrap();
        assert_eq!(reply, Reply::Error("ERR too many writes in one transaction or pipeline"));
    }
    assert!(overlay.is_empty());
}

#[test]
fn op_counts_every_sealed_write_up_to_its_last_number() {
    let pairs = vec![(b("k"), b("v")); ENTRY_WRITES_MAX];
    let bytes = payload(NOW, &[WriteCommand::SetMany { pairs, absent_only: false }]);
    let batch = batch(&bytes);
    let mut overlay = Overlay::new();
    let names = names(&batch);
    let mut context = overlay.begin(&MapBase::default(), Index(2), NOW, Some([1; 16].into()), &batch, &names).unwrap();
    for write in batch.commands() {
        overlay.execute(&MapBase::default(), write, &mut context).unwrap();
    }
    assert_eq!(context.sealed_writes() as usize, ENTRY_WRITES_MAX);
    let changes = overlay.into_changes();
    assert!(matches!(&changes.rows[..], [(_, RowChange::Put { at, .. })] if at.op == u16::MAX));
}

#[test]
fn header_only_changes_and_overwritten_values_take_an_op_each() {
    let mut f = Fixture::new();
    f.entry(&[
        set("a", "1"),
        set("a", "2"),
        WriteCommand::Persist { key: b("a") },
        WriteCommand::Expire { key: b("a"), expiry: Expiry::In(9), when: ExpireIf::Always },
        WriteCommand::Delete { keys: vec![b("none")] },
        set("b", "3"),
        WriteCommand::GetExpire { key: b("a"), expiry: Expiry::Clear },
    ]);
    let ops: Vec<u16> = f.base.by_key().values().map(|(_, at)| at.op).collect();
    assert_eq!(ops, [4, 3]);
}

/// A base that counts how often it is asked.
#[derive(Default)]
struct Counting(Cell<u32>);

impl Base for Counting {
    fn value(&self, _row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        self.0.set(self.0.get() + 1);
        Err(ReadError::Unauthentic)
    }

    fn each_value(
        &self,
        _: &[RowKey<'_>],
        _: Detail,
        _: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        Err(ReadError::Unauthentic)
    }

    fn walk_keys(&self, _: KeyWalk, _: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
        Err(ReadError::Unauthentic)
    }

    fn count(&self, _database: Database, _now_ms: u64) -> Result<u64, ReadError> {
        Err(ReadError::Unauthentic)
    }
}

#[test]
fn a_plain_set_reads_nothing_and_a_flushed_store_is_not_asked() {
    let writes = [
        set("k", "v"),
        set_until("k", "v", Expiry::In(5)),
        WriteCommand::SetMany { pairs: vec![(b("a"), b("1"))], absent_only: false },
        WriteCommand::FlushAll,
        incr("k"),
        WriteCommand::Delete { keys: vec![b("other")] },
    ];
    let bytes = payload(NOW, &writes);
    let batch = batch(&bytes);
    let base = Counting::default();
    let mut overlay = Overlay::new();
    let names = names(&batch);
    let mut context = overlay.begin(&MapBase::default(), Index(2), NOW, None, &batch, &names).unwrap();
    for write in batch.commands() {
        overlay.execute(&base, write, &mut context).unwrap();
    }
    assert_eq!(base.0.get(), 0);
    let changes = overlay.into_changes();
    assert_eq!(changes.cleared.len(), DATABASES);
    assert_eq!(changes.rows.len(), 1, "what was written before FLUSHALL is gone, and a clear needs no deletes");
}

#[test]
fn a_value_that_does_not_open_halts_and_is_never_an_answer() {
    let bytes = payload(NOW, &[incr("k")]);
    let batch = batch(&bytes);
    let names = names(&batch);
    let mut context = Overlay::new().begin(&MapBase::default(), Index(2), NOW, None, &batch, &names).unwrap();
    let write = batch.commands().next().unwrap();
    let error = Overlay::new().execute(&Counting::default(), write, &mut context).unwrap_err();
    assert!(matches!(error, ReadError::Unauthentic));
}

/// Where names are secret nobody can make two keys of one name, so such a row was moved.
#[test]
fn a_row_of_another_key_halts_where_names_are_secret_and_is_an_error_where_they_are_not() {
    let bytes = payload(NOW, &[set("one", "1"), incr("other")]);
    let batch = batch(&bytes);
    let name = RowName::new(Database::FIRST, [7; 16]);
    let second = |mut overlay: Overlay| {
        let base = MapBase::default();
        let names = [name, name];
        let mut context = overlay.begin(&base, Index(2), NOW, None, &batch, &names).unwrap();
        let mut ran = batch.commands().map(|write| overlay.execute(&base, write, &mut context));
        assert_eq!(ran.next().unwrap().unwrap(), Reply::Ok);
        ran.next().unwrap()
    };
    assert!(second(Overlay::new()).unwrap_err().is_other_key());
    let cluster = ClusterId([7; 16]);
    let [secret, clear] = [NameKey::new(&Dek::new(&[7; 32]), cluster), NameKey::clear(&ClearNameKey([7; 32]), cluster)];
    assert!(second(Overlay::named_with(&secret)).unwrap_err().is_other_key());
    assert!(matches!(second(Overlay::named_with(&clear)).unwrap(), Reply::Error(_)));
}

#[test]
fn ranges_are_cut_as_redis_cuts_them() {
    let mut f = Fixture::new();
    f.one(set("k", "Hello World"));
    let range = |start, end| f.read(&ReadCommand::Range { key: b("k"), start, end });
    assert_eq!(range(0, 3), bulk("Hell"));
    assert_eq!(range(0, -1), bulk("Hello World"));
    assert_eq!(range(-4, -1), bulk("orld"));
    assert_eq!(range(5, 3), bulk(""));
    assert_eq!(range(5, 5000), bulk(" World"));
    assert_eq!(range(-5000, 10000), bulk("Hello World"));
    assert_eq!(range(-5000, -5000), bulk("H"));
    assert_eq!(range(-1, -5), bulk(""));
    assert_eq!(range(i64::MIN, i64::MAX), bulk("Hello World"));
    assert_eq!(range(i64::MAX, i64::MAX), bulk(""));
    assert_eq!(f.read(&ReadCommand::Range { key: b("none"), start: 0, end: -1 }), bulk(""));
}

#[test]
fn reads_answer_in_the_forms_of_redis() {
    let mut f = Fixture::new();
    f.entry(&[set_until("a", "xyz", Expiry::In(1499)), set("b", "1")]);
    let ttl = |key, form| f.read(&ReadCommand::Ttl { key: b(key), form });
    assert_eq!(ttl("a", TtlForm::Seconds), Reply::Integer(1));
    assert_eq!(ttl("a", TtlForm::Millis), Reply::Integer(1499));
    assert_eq!(ttl("a", TtlForm::AtSeconds { lead_ms: 0 }), Reply::Integer(1001));
    assert_eq!(ttl("a", TtlForm::AtMillis { lead_ms: 0 }), Reply::Integer(1_001_499));
    assert_eq!(ttl("b", TtlForm::Seconds), Reply::Integer(-1));
    assert_eq!(ttl("c", TtlForm::AtMillis { lead_ms: 0 }), Reply::Integer(-2));
    assert_eq!(f.read(&ReadCommand::Exists { keys: vec![b("a"), b("a"), b("c")] }), Reply::Integer(2));
    assert_eq!(f.read(&ReadCommand::Exists { keys: ["c", "a", "c", "c", "a"].map(b).to_vec() }), Reply::Integer(2));
    assert_eq!(f.read(&ReadCommand::Length { key: b("a") }), Reply::Integer(3));
    assert_eq!(f.read(&ReadCommand::Type { key: b("a") }), Reply::Simple("string"));
    assert_eq!(f.read(&ReadCommand::Type { key: b("c") }), Reply::Simple("none"));
    assert_eq!(f.read(&ReadCommand::Count), Reply::Integer(2));
}

/// `count` keys "0", "1", ... that share one value of `bytes` bytes.
fn large_values(f: &mut Fixture, count: usize, bytes: usize) -> Vec<Bytes> {
    let value = Bytes::from(vec![7; bytes]);
    let at = WrittenAt::new(Index(2), 0, None);
    let keys: Vec<Bytes> = (0..count).map(|number| Bytes::from(number.to_string())).collect();
    for key in &keys {
        let value = Value { kind: ValueKind::String, last_change: Index(2), expire_at_ms: 0, bytes: value.clone() };
        f.base.insert(key, value, at);
    }
    keys
}

#[test]
fn bounded_a_read_that_brings_more_than_a_reply_may_hold_is_an_error_that_names_the_limit() {
    assert!(words::REPLY_LARGE.contains(&REPLY_BYTES_MAX.to_string()));
    let too_large = Reply::Error(words::REPLY_LARGE);
    let mut f = Fixture::new();
    let mut keys = large_values(&mut f, 60, 1 << 20);
    let full = f.read(&ReadCommand::GetMany { keys: keys.clone() });
    assert_eq!(full.value_bytes(), REPLY_BYTES_MAX, "exactly what may be");
    f.one(set("last", "1"));
    keys.push(b("last"));
    assert_eq!(f.read(&ReadCommand::GetMany { keys: keys.clone() }), too_large);
    let many: Vec<Bytes> = std::iter::repeat_n(keys, 100).flatten().collect();
    assert_eq!(f.read(&ReadCommand::Exists { keys: many.clone() }), Reply::Integer(6100), "it keeps no values");
    let many = ReadCommand::GetMany { keys: many };
    let leader = named(&many, |read| read_as_leader(&f.base, read, f.stamp_ms, NOW)).unwrap();
    assert_eq!(leader, ReadAnswer::Reply(too_large.clone()));
    let within = |read: &ReadCommand, left| named(read, |read| read_within(&f.base, read, f.stamp_ms, left)).unwrap();
    assert_eq!(within(&ReadCommand::Get { key: b("0") }, (1 << 20) - 1), too_large);
    assert_eq!(within(&ReadCommand::Length { key: b("0") }, 0), Reply::Integer(1 << 20));
}

#[test]
fn bounded_a_read_that_is_too_large_keeps_no_more_than_it_may() {
    /// A base of endless large values that counts how many were taken.
    struct Endless(Cell<usize>);

    impl Base for Endless {
        fn value(&self, _row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
            let bytes = Bytes::from(vec![1; 1 << 20]);
            Ok(Some(Value { kind: ValueKind::String, last_change: Index(2), expire_at_ms: 0, bytes }))
        }

        fn each_value(
            &self,
            rows: &[RowKey<'_>],
            _detail: Detail,
            visit: &mut dyn FnMut(Option<Value>) -> bool,
        ) -> Result<(), ReadError> {
            for row in rows {
                self.0.set(self.0.get() + 1);
                if !visit(self.value(*row)?) {
                    break;
                }
            }
            Ok(())
        }

        fn walk_keys(&self, _: KeyWalk, _: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
            Err(ReadError::Unauthentic)
        }

        fn count(&self, _database: Database, _now_ms: u64) -> Result<u64, ReadError> {
            Ok(0)
        }
    }

    let base = Endless(Cell::new(0));
    let reply = read(&base, &ReadCommand::GetMany { keys: vec![b("k"); 5000] }, NOW).unwrap();
    assert_eq!((reply, base.0.get()), (Reply::Error(words::REPLY_LARGE), 61));
    // Equal keys of EXISTS are opened once: no reply would end it.
    base.0.set(0);
    let keys: Vec<Bytes> = ["k", "l", "k"].map(b).into_iter().chain(vec![b("k"); 130_000]).collect();
    assert_eq!(read(&base, &ReadCommand::Exists { keys }, NOW).unwrap(), Reply::Integer(130_003));
    assert_eq!(base.0.get(), 2);
    // A small piece of a large value is a copy: what it holds in memory is what is counted.
    let Reply::Bulk(piece) = read(&base, &ReadCommand::Range { key: b("k"), start: 5, end: 7 }, NOW).unwrap() else {
        panic!()
    };
    assert_eq!(piece.try_into_mut().unwrap().capacity(), 3);
}

/// A few bytes of an entry must not become many copies of a large value, wherever that comes from.
#[test]
fn bounded_copies_of_a_large_value_are_as_many_as_an_entry_may_hold() {
    let mut f = Fixture::new();
    let value = Bytes::from(vec![1; VALUE_BYTES_MAX]);
    let set = WriteCommand::Set { key: b("k"), value, when: SetIf::Always, expiry: Expiry::Clear, reply: SetReply::Ok };
    let copy = |number: usize| WriteCommand::Copy {
        target_database: Database::FIRST,
        replaces: false,
        key: b("k"),
        target: Bytes::from(number.to_string()),
    };
    let fits = usize::try_from(ENTRY_VALUE_BYTES_MAX).unwrap() / VALUE_BYTES_MAX;
    let replies = f.entry(&std::iter::once(set).chain((0..fits + 5).map(copy)).collect::<Vec<_>>());
    let copied = replies.iter().filter(|reply| **reply == Reply::Integer(1)).count();
    assert_eq!(copied, fits - 1, "the first value counts too");
    assert_eq!(replies.last(), Some(&Reply::Error(words::VALUES_LARGE)));
    let replies = f.entry(&(100..100 + fits + 5).map(copy).collect::<Vec<_>>());
    assert_eq!(replies.iter().filter(|reply| **reply == Reply::Integer(1)).count(), fits);
}

/// A pipeline must not fail where its commands one by one would not: what each may keep is counted before it joins.
#[test]
fn the_result_of_bitop_counts_beside_its_sources() {
    let bitop = |keys: usize| WriteCommand::CombineBits {
        operation: BitOperation::Not,
        target: b("t"),
        keys: vec![b("k"); keys],
    };
    assert_eq!(bitop(1).cost().loads, 2);
    assert_eq!(bitop(5).cost().loads, 6);
}

/// A view gives no more once it has opened as much as it may: then there is no answer, and no panic.
#[test]
fn a_read_that_does_not_see_all_of_its_rows_is_an_error() {
    struct OneOnly;

    impl Base for OneOnly {
        fn value(&self, _row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
            Ok(None)
        }

        fn each_value(
            &self,
            _: &[RowKey<'_>],
            _: Detail,
            visit: &mut dyn FnMut(Option<Value>) -> bool,
        ) -> Result<(), ReadError> {
            visit(None);
            Ok(())
        }

        fn walk_keys(&self, _: KeyWalk, _: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
            Ok(())
        }

        fn count(&self, _: Database, _: u64) -> Result<u64, ReadError> {
            Ok(0)
        }
    }

    let keys = vec![b("k"), b("l")];
    for command in [
        ReadCommand::CommonSubsequence { keys: keys.clone(), answer: LcsAnswer::Length },
        ReadCommand::GetMany { keys: keys.clone() },
        ReadCommand::Exists { keys: keys.clone() },
        ReadCommand::LastChanges { keys },
    ] {
        assert_eq!(read(&OneOnly, &command, NOW).unwrap(), Reply::Error(words::VALUES_LARGE), "{command:?}");
    }
}
