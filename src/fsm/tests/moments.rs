//! Reads of several rows while tables come and go: always of one moment, with that moment's stamp, and never without an end.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;

use crate::fsm::base::BaseError;
use crate::fsm::base::PinnedRows;
use crate::fsm::base::Pressure;
use crate::fsm::base::RowBase;
use crate::fsm::base::RowFile;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::name::RowName;
use crate::fsm::reader::RowReader;
use crate::fsm::row::Effects;
use crate::fsm::sized_rows::Bury;
use crate::fsm::table::RowTable;
use crate::fsm::tests::kit::name;
use crate::fsm::tests::kit::read;
use crate::fsm::value::Value;
use crate::fsm::value::ValueKind;
use crate::fsm::view::ViewWriter;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::testing::base::MemoryBase;
use crate::testing::base::NoCipher;
use crate::testing::picture::Picture;

type Act = Box<dyn FnMut() + Send>;

/// A base of which a read takes so long that something is done meanwhile.
struct SlowBase {
    memory: MemoryBase,
    meanwhile: Mutex<Option<Act>>,
}

impl SlowBase {
    fn act(&self) {
        if let Some(act) = &mut *self.meanwhile.lock().unwrap() {
            act();
        }
    }
}

struct SlowMoment<'a> {
    base: &'a SlowBase,
    rows: Box<dyn PinnedRows + 'a>,
}

impl PinnedRows for SlowMoment<'_> {
    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        self.base.act();
        self.rows.rows(names, visit)
    }
}

impl RowBase for SlowBase {
    fn row(&self, name: &RowName, visit: &mut dyn FnMut(&[u8])) -> Result<bool, BaseError> {
        self.memory.row(name, visit)
    }

    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        self.act();
        self.memory.rows(names, visit)
    }

    fn pin(&self) -> Box<dyn PinnedRows + '_> {
        Box::new(SlowMoment { base: self, rows: self.memory.pin() })
    }

    fn walk(
        &self,
        names: RangeInclusive<RowName>,
        visit: &mut dyn FnMut(RowName, &[u8]) -> bool,
    ) -> Result<(), BaseError> {
        self.memory.walk(names, visit)
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, BaseError> {
        self.memory.flushed_state(row)
    }

    fn begin_file(&self, record: &StateRows) -> Result<Box<dyn RowFile + '_>, WriteFileError> {
        self.memory.begin_file(record)
    }

    fn pressure(&self) -> Result<Pressure, BaseError> {
        self.memory.pressure()
    }

    fn hears(&self, _entry_bytes: u64) {}
}

fn row(key: &str, text: &'static str, expire_at_ms: u64) -> (RowName, Vec<u8>) {
    let bytes = Bytes::from_static(text.as_bytes());
    let value = Value { kind: ValueKind::String, last_change: Index(9), expire_at_ms, bytes };
    (name(key.as_bytes()), value.encode_clear_row(key.as_bytes()))
}

/// Readers of a base with these rows, and what the thread that applies has.
fn world(rows: Vec<(RowName, Vec<u8>)>) -> (Arc<SlowBase>, RowReader, ViewWriter<dyn RowBase>) {
    let memory = Picture { rows: rows.into_iter().collect(), applied: Vec::new(), keyring: None }.to_base();
    let base = Arc::new(SlowBase { memory, meanwhile: Mutex::default() });
    let bury: Bury = Arc::new(drop);
    let below: Arc<dyn RowBase> = Arc::clone(&base) as Arc<dyn RowBase>;
    let writer = ViewWriter::new(below, Position { term: Term(1), index: Index(9) }, 50, &bury);
    let reader = RowReader::new(Arc::clone(writer.views()), Arc::new(NoCipher));
    (base, reader, writer)
}

/// A run that changes nothing but the stamp.
fn pass(writer: &mut ViewWriter<dyn RowBase>, stamp_ms: u64) {
    let position = writer.newest().position;
    writer.publish(Effects::default(), Position { index: position.index.next(), ..position }, stamp_ms);
    writer.merge();
}

fn keys() -> Vec<Bytes> {
    vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]
}

fn bulk(text: &'static str) -> Reply {
    Reply::Bulk(Bytes::from_static(text.as_bytes()))
}

/// Goal: whatever is frozen and flushed while the base is read, such a read ends. Method: more tables are frozen during each
/// read of the base than one look bridges, and during the last one both rows change in the base.
#[test]
fn bounded_a_read_of_several_rows_ends_although_tables_come_and_go_faster_than_the_base_answers() {
    let (base, reader, mut writer) = world(vec![row("one", "1", 0), row("two", "1", 0)]);
    let reads = Arc::new(Mutex::new(0));
    let (counted, changed) = (Arc::clone(&reads), Arc::clone(&base));
    *base.meanwhile.lock().unwrap() = Some(Box::new(move || {
        *counted.lock().unwrap() += 1;
        for _ in 0..3 {
            pass(&mut writer, 50);
            writer.freeze(RowTable::new(Arc::new(drop)));
        }
        if *counted.lock().unwrap() == 3 {
            let mut file = changed.memory.begin_file(&StateRows { applied: Vec::new(), keyring: None }).unwrap();
            let mut rows = [row("one", "2", 0), row("two", "2", 0)];
            rows.sort_unstable();
            rows.iter().for_each(|(name, row)| file.put(name, row).unwrap());
            file.finish().unwrap().ingest().unwrap();
        }
    }));
    let reply = read(&reader, &ReadCommand::GetMany { keys: keys() }, 50).unwrap();
    assert_eq!(reply, Reply::Array(vec![bulk("1"), bulk("1")]));
    assert_eq!(*reads.lock().unwrap(), 3, "two in vain, then one of a moment that stays");
    *base.meanwhile.lock().unwrap() = None;
    let reply = read(&reader, &ReadCommand::GetMany { keys: keys() }, 50).unwrap();
    assert_eq!(reply, Reply::Array(vec![bulk("2"), bulk("2")]));
}

/// Goal: several rows are judged by the stamp of their moment, not by an older one that the reader began with. Method: between
/// that stamp and the rows a run comes by whose stamp one of the two is past due.
#[test]
fn a_key_that_expires_before_the_moment_of_a_read_of_several_is_not_in_it() {
    for reads in 0..3 {
        let (base, reader, mut writer) = world(vec![row("one", "1", 100), row("two", "1", 0)]);
        *base.meanwhile.lock().unwrap() = Some(Box::new(move || pass(&mut writer, 200)));
        let (read_command, expected) = match reads {
            0 => (ReadCommand::GetMany { keys: keys() }, Reply::Array(vec![Reply::Null, bulk("1")])),
            1 => (ReadCommand::Exists { keys: keys() }, Reply::Integer(1)),
            _ => {
                let changes = vec![Reply::Integer(0), Reply::Integer(9)];
                (ReadCommand::LastChanges { keys: keys() }, Reply::Array(changes))
            }
        };
        assert_eq!(read(&reader, &read_command, 50).unwrap(), expected);
        assert_eq!(reader.views().load().stamp_ms, 200, "the run came by");
    }
}
