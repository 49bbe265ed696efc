//! Both stores under the same commits: what is visible, what is durable, what a crash leaves.
//!
//! A crash of RocksDB is its directory copied while it is open: closing it would flush.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
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
use crate::fsm::overlay::Overlay;
use crate::fsm::reader::Base;
use crate::fsm::reader::ReadError;
use crate::fsm::reader::RowCipher;
use crate::fsm::reader::RowReader;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::RocksStore;
use crate::fsm::store::Commit;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::name;
use crate::fsm::tests::kit::name_in;
use crate::fsm::tests::kit::names;
use crate::fsm::tests::kit::random_key;
use crate::fsm::tests::kit::random_value;
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
use crate::testing::seed::Seeded;
use crate::testing::store::MemoryStore;
use crate::testing::store::NoCipher;

const STATE_ROWS: [StateRow; 2] = [StateRow::Applied, StateRow::Keyring];

fn small(values_are_sealed: bool) -> RocksOptions {
    RocksOptions { values_are_sealed, memtable_bytes: 1 << 20, block_cache_bytes: 1 << 20, ..RocksOptions::default() }
}

fn database(number: u8) -> Database {
    Database::new(number).unwrap()
}

fn random_commit(rng: &Seeded, number: u64) -> Commit {
    let mut rows = BTreeMap::new();
    for _ in 0..rng.index(6) {
        let row = (rng.index(3) > 0).then(|| random_value(rng).to_vec());
        rows.insert(name_in(rng.pick(&[0, 0, 1, 15].map(database)), &random_key(rng)), row);
    }
    let cleared = Database::all().filter(|_| rng.index(20) == 0).collect();
    let mut commit = Commit { cleared, ..Commit::default() };
    for (name, row) in rows {
        match row {
            Some(row) => commit.puts.push((name, row)),
            None => commit.deletes.push(name),
        }
    }
    commit.state.push((StateRow::Applied, number.to_be_bytes().to_vec()));
    if rng.index(5) == 0 {
        commit.state.push((StateRow::Keyring, random_value(rng).to_vec()));
    }
    commit
}

fn copy_of(commit: &Commit) -> Commit {
    Commit {
        cleared: commit.cleared.clone(),
        puts: commit.puts.clone(),
        deletes: commit.deletes.clone(),
        state: commit.state.clone(),
    }
}

type Rows = Vec<(RowName, Vec<u8>)>;

fn rows(store: &dyn Store) -> Rows {
    let mut rows = Vec::new();
    let mut keep = |name: &RowName, row: &[u8]| {
        rows.push((*name, row.to_vec()));
        true
    };
    store.scan(&mut keep).unwrap();
    rows
}

#[track_caller]
fn assert_same(rocks: &dyn Store, memory: &dyn Store) {
    let found = rows(rocks);
    assert_eq!(found, rows(memory));
    assert!(found.is_sorted_by(|one, next| one.0 < next.0), "in the order of names");
    let keys: [&[u8]; 9] = [b"", b"a", b"b", b"c", b"c\0", b"d", b"\xff", b"never", b"a"];
    let names = keys.map(|key| name_in(database(if key.len() == 1 { 15 } else { 0 }), key));
    let each = |store: &dyn Store, count: usize| {
        let mut rows = Vec::new();
        let mut keep = |row| {
            rows.push(row);
            rows.len() < count
        };
        store.get_each(&names, &mut keep).unwrap();
        rows
    };
    assert_eq!(each(rocks, usize::MAX), each(memory, usize::MAX));
    assert_eq!(each(rocks, 3), each(memory, 3));
    assert_eq!((each(rocks, 3).len(), each(rocks, 9).len()), (3, 9));
    for name in names {
        let row = rocks.get(&name).unwrap();
        assert_eq!(row, memory.get(&name).unwrap());
        assert_eq!(row.as_ref(), found.iter().find(|(other, _)| *other == name).map(|(_, row)| row));
    }
    for row in STATE_ROWS {
        assert_eq!(rocks.state(row).unwrap(), memory.state(row).unwrap());
        assert_eq!(rocks.flushed_state(row).unwrap(), memory.flushed_state(row).unwrap());
    }
}

/// RocksDB compacts and deletes behind our back, so a copy counts only if nothing moved meanwhile.
fn copy_directory(from: &Path, to: &Path) {
    loop {
        let before = names_and_lengths(from);
        fs::create_dir(to).unwrap();
        let names = before.iter().map(|(name, _)| name).filter(|name| *name != "LOCK");
        let is_whole = names.map(|name| fs::copy(from.join(name), to.join(name))).all(|copied| copied.is_ok());
        if is_whole && names_and_lengths(from) == before {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

fn names_and_lengths(path: &Path) -> Vec<(String, Option<u64>)> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap());
    let mut found: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), file.metadata().ok().map(|metadata| metadata.len())))
        .collect();
    found.sort_unstable();
    found
}

fn names_and_contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

/// Goal: the twin is a twin. Same random commits and flushes; now and then both crash, or RocksDB is closed and opened.
#[test]
fn both_stores_show_and_keep_the_same_through_crashes() {
    let rng = Seeded::fresh();
    for values_are_sealed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let options = small(values_are_sealed);
        let mut path = directory.path().join("state-0");
        let mut rocks = RocksStore::create(&path, &options).unwrap();
        let memory = MemoryStore::new();
        for number in 1..=120 {
            match rng.index(24) {
                0..=3 => {
                    rocks.flush().unwrap();
                    memory.flush().unwrap();
                    assert_eq!(memory.unflushed_commits(), 0);
                }
                4 => {
                    let next = directory.path().join(format!("state-{number}"));
                    copy_directory(&path, &next);
                    rocks = RocksStore::open(&next, &options).unwrap();
                    memory.crash(0);
                    path = next;
                }
                5 => {
                    // RocksDB flushes when it is closed.
                    drop(rocks);
                    memory.flush().unwrap();
                    rocks = RocksStore::open(&path, &options).unwrap();
                }
                _ => {
                    let commit = random_commit(&rng, number);
                    rocks.write(copy_of(&commit)).unwrap();
                    memory.write(commit).unwrap();
                }
            }
            assert_same(&rocks, &memory);
        }
    }
}

#[test]
fn a_crash_of_the_twin_leaves_exactly_the_steps_it_is_told() {
    let rng = Seeded::fresh();
    let store = MemoryStore::new();
    let mut states = vec![rows(&store)];
    for number in 1..=10 {
        store.write(random_commit(&rng, number)).unwrap();
        states.push(rows(&store));
    }
    store.flush_by_itself(2);
    assert_eq!(store.flushed_state(StateRow::Applied).unwrap(), Some(2_u64.to_be_bytes().to_vec()));
    assert_eq!(rows(&store), states[10], "a flush changes nothing that is seen");
    store.crash(3);
    assert_eq!(rows(&store), states[5]);
    assert_eq!(store.state(StateRow::Applied).unwrap(), Some(5_u64.to_be_bytes().to_vec()));
    store.crash(9);
    assert_eq!(rows(&store), states[5]);
}

#[test]
fn opening_to_look_changes_no_byte_and_writing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let options = small(true);
    let rocks = RocksStore::create(&path, &options).unwrap();
    rocks.write(Commit { state: vec![(StateRow::Applied, b"one".to_vec())], ..Commit::default() }).unwrap();
    drop(rocks);
    let before = names_and_contents(&path);
    let looking = RocksStore::open_read_only(&path, &options).unwrap();
    assert_eq!(looking.state(StateRow::Applied).unwrap().unwrap(), b"one");
    assert_eq!(looking.flushed_state(StateRow::Applied).unwrap().unwrap(), b"one");
    let commit = Commit { state: vec![(StateRow::Applied, b"two".to_vec())], ..Commit::default() };
    assert!(looking.write(commit).is_err());
    drop(looking);
    assert_eq!(names_and_contents(&path), before);
    assert!(!before.keys().any(|name| name.starts_with("LOG")), "no info log beside the state: {:?}", before.keys());
}

#[test]
fn a_store_is_never_made_by_opening_nor_made_twice_nor_shared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let options = small(true);
    assert!(RocksStore::open(&path, &options).is_err());
    assert!(RocksStore::open_read_only(&path, &options).is_err());
    assert!(rows(&RocksStore::create(&path, &options).unwrap()).is_empty());
    let held = RocksStore::open(&path, &options).unwrap();
    assert!(RocksStore::open(&path, &options).is_err());
    drop(held);
    assert!(RocksStore::create(&path, &options).is_err());
}

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
    let store = MemoryStore::new();
    let puts = puts.into_iter().map(|(key, row)| (name(key), row)).collect();
    store.write(Commit { puts, ..Commit::default() }).unwrap();
    RowReader::new(Arc::new(store), Arc::new(cipher))
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
    both.each_value(&rows, &mut keep).unwrap();
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
