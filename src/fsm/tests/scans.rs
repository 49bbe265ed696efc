//! Goal: a walk over rows that were deleted is no longer than its bound, and loses no key. Method: looks are counted, not time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::fsm::base::RowBase;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::fetched::Detail;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::kv::read_as_leader;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::reader::Base;
use crate::fsm::reader::KeyWalk;
use crate::fsm::reader::MetKey;
use crate::fsm::reader::RowReader;
use crate::fsm::row::Effects;
use crate::fsm::sized_rows::Bury;
use crate::fsm::table_row::RowBytes;
use crate::fsm::table_row::TableRow;
use crate::fsm::table_row::WrittenAt;
use crate::fsm::tests::kit::name;
use crate::fsm::tests::kit::named;
use crate::fsm::tests::kit::read;
use crate::fsm::value::Value;
use crate::fsm::view::ViewWriter;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::SCAN_ROWS_MAX;
use crate::limits::TRANSACTION_SCAN_ROWS_MAX;
use crate::testing::base::NoCipher;
use crate::testing::picture::Picture;

const DELETED: u64 = 200_000;
const NOW: u64 = 1_000_000;

/// Counts what walks meet.
struct Counted {
    reader: RowReader,
    looks: Cell<u64>,
}

impl Base for Counted {
    fn value(&self, row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        self.reader.value(row)
    }

    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        self.reader.each_value(rows, detail, visit)
    }

    fn walk_keys(&self, from: KeyWalk, visit: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
        self.reader.walk_keys(from, &mut |met| {
            self.looks.set(self.looks.get() + 1);
            visit(met)
        })
    }

    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError> {
        self.reader.count(database, now_ms)
    }
}

/// A table of deleted rows, among which are `keys`.
fn deleted_and(keys: &[&'static str]) -> Counted {
    let base: Arc<dyn RowBase> =
        Arc::new(Picture { rows: BTreeMap::new(), applied: Vec::new(), keyring: None }.to_base());
    let bury: Bury = Arc::new(drop);
    let mut writer = ViewWriter::new(base, Position::default(), 0, &bury);
    let mut effects = Effects::default();
    for number in 0..DELETED {
        // Multiples of the golden ratio lie evenly.
        let place = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        effects.set(RowName::new(Database::FIRST, (u128::from(place) << 64).to_be_bytes()), None);
    }
    for key in keys {
        let row = TableRow::new(key.as_bytes(), RowBytes::Copied(b"v"), 0, WrittenAt::new(Index(1), 0, None));
        effects.set(name(key.as_bytes()), Some(row));
    }
    writer.publish(effects, Position { term: Term(1), index: Index(1) }, NOW);
    writer.merge();
    let reader = RowReader::new(Arc::clone(writer.views()), Arc::new(NoCipher));
    Counted { reader, looks: Cell::new(0) }
}

impl Counted {
    /// The reply, and how many names it looked at.
    fn ask(&self, command: &ReadCommand, rides: bool) -> (Reply, u64) {
        self.looks.set(0);
        let reply = if rides {
            read(self, command, NOW).unwrap()
        } else {
            match named(command, |command| read_as_leader(self, command, NOW, NOW)).unwrap() {
                ReadAnswer::Reply(reply) => reply,
                ReadAnswer::PastDue(_) => panic!("nothing expires"),
            }
        };
        (reply, self.looks.get())
    }
}

fn cursor_and_keys(reply: Reply) -> (u64, Vec<Bytes>) {
    let Reply::Array(parts) = reply else { panic!("{reply:?}") };
    let [Reply::Bulk(cursor), Reply::Array(keys)] = &parts[..] else { panic!("{parts:?}") };
    let keys = keys.iter().map(|key| if let Reply::Bulk(key) = key { key.clone() } else { panic!("{key:?}") });
    (std::str::from_utf8(cursor).unwrap().parse().unwrap(), keys.collect())
}

#[test]
fn bounded_a_walk_over_deleted_rows_looks_no_further_than_over_others_and_loses_no_key() {
    let expected = ["a", "b", "c"];
    let base = deleted_and(&expected);
    for (rides, looks_max) in [(false, SCAN_ROWS_MAX), (true, TRANSACTION_SCAN_ROWS_MAX)] {
        let (mut cursor, mut calls, mut keys) = (0, 0, BTreeSet::new());
        loop {
            let (reply, looks) = base.ask(&ReadCommand::Scan { cursor, count: 10, pattern: None }, rides);
            assert!(looks <= looks_max + 1, "{looks} from {cursor}");
            let (next, some) = cursor_and_keys(reply);
            keys.extend(some);
            calls += 1;
            if next == 0 {
                break;
            }
            assert!(next > cursor, "it goes on");
            cursor = next;
        }
        assert_eq!(keys, expected.map(|key| Bytes::from_static(key.as_bytes())).into());
        assert!((DELETED / looks_max..=DELETED / looks_max + 2).contains(&calls), "{calls}");
        let (reply, looks) = base.ask(&ReadCommand::RandomKey { place: 1 << 40 }, rides);
        assert!(looks <= looks_max, "{reply:?}: {looks}");
    }
    // As long as a key is where it looks, it is found.
    let (reply, _) = base.ask(&ReadCommand::RandomKey { place: place_before("b") }, false);
    assert_eq!(reply, Reply::Bulk(Bytes::from_static(b"b")));
    let (reply, looks) = base.ask(&ReadCommand::Keys { pattern: Bytes::from_static(b"*") }, true);
    assert!(matches!(reply, Reply::Error(_)), "{reply:?}");
    assert_eq!(looks, TRANSACTION_SCAN_ROWS_MAX + 1);
}

/// The place just before the row of a key.
fn place_before(key: &str) -> u64 {
    u64::from_be_bytes(*name(key.as_bytes()).name().first_chunk().unwrap())
}
