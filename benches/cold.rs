//! `scripts/bench cold`: GETs of keys that no table has, beside RocksDB's `multi_get` of the same rows in a bare loop.
//!
//! Rows are sealed values of 256 bytes, flushed in files of the size that a node makes, and merged. Keys are drawn at random, 16
//! at a time as a pipeline brings them, from more rows than the block cache holds; the kernel may have their blocks. Bare:
//! names that are there already are fetched, nothing is opened. GETs: named, looked up in the tables, fetched, opened, compared.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use sealkv::crypto::keystore::Dek;
use sealkv::crypto::keystore::KeyStore;
use sealkv::crypto::keystore::Purpose;
use sealkv::crypto::names::ClearNameKey;
use sealkv::crypto::names::NameKey;
use sealkv::crypto::open::OpenArena;
use sealkv::crypto::stored::StoredRow;
use sealkv::crypto::stored::ValueBinding;
use sealkv::crypto::stored::add_value;
use sealkv::crypto::stored::seal_values;
use sealkv::fsm::base::RowBase;
use sealkv::fsm::base::StateRows;
use sealkv::fsm::command::KeyReply;
use sealkv::fsm::command::ReadCommand;
use sealkv::fsm::kv::KeyAnswer;
use sealkv::fsm::kv::read_keys_as_leader;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::RowName;
use sealkv::fsm::naming::name_of;
use sealkv::fsm::opening::ReadError;
use sealkv::fsm::opening::RowCipher;
use sealkv::fsm::reader::RowReader;
use sealkv::fsm::rocks::RocksOptions;
use sealkv::fsm::rocks::base::BasePlace;
use sealkv::fsm::rocks::base::RocksBase;
use sealkv::fsm::value::BodyState;
use sealkv::fsm::value::Value;
use sealkv::fsm::value::ValueKind;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::KeyId;
use sealkv::limits::LEVEL0_FILES_MERGED;
use sealkv::testing::base::reader_of;
use sealkv::testing::seed::Seeded;

const VALUE_BYTES: usize = 256;
const FILE_ROWS: u64 = 180_000;
const PIPELINE: usize = 16;
const GETS: usize = 20_000;
const ROUNDS: usize = 7;
const CLUSTER: ClusterId = ClusterId([1; 16]);

fn main() {
    let (rows, directory) = options();
    let place = BasePlace { state: directory.join("state"), flush: directory.join("flush") };
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&place.flush).unwrap();
    let base = RocksBase::create(&place, &RocksOptions::default(), 1, &record(0)).unwrap();
    let cipher = OneKey::new();
    let mut number = 0;
    while number < rows {
        take_in(&base, &cipher, number..rows.min(number + FILE_ROWS));
        number += FILE_ROWS;
    }
    while base.pressure().unwrap().pending_bytes > 0 || base.pressure().unwrap().level0_files >= LEVEL0_FILES_MERGED {
        thread::sleep(Duration::from_millis(10));
    }
    let names = Arc::clone(&cipher.names);
    let base: Arc<dyn RowBase> = Arc::new(base);
    let reader = reader_of(Arc::clone(&base), Arc::new(cipher));
    let rng = Seeded::new(2);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let drawn: Vec<u64> = (0..GETS).map(|_| rng.below(rows)).collect();
        let wanted: Vec<RowName> = drawn.iter().map(|number| name_of(Database::FIRST, &key(*number), &names)).collect();
        times[0].push(bare(&*base, &wanted));
        let drawn: Vec<u64> = (0..GETS).map(|_| rng.below(rows)).collect();
        times[1].push(gets(&reader, &drawn));
    }
    let [bare, gets] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    });
    println!("multi_get in a bare loop  {bare:.2} us for each row, {PIPELINE} at a time");
    println!("GETs                      {gets:.2} us, {:.2} times as long", gets / bare);
    drop((base, reader));
    fs::remove_dir_all(&directory).unwrap();
}

fn options() -> (u64, PathBuf) {
    let (mut rows, mut directory) = (2_000_000, PathBuf::from("target/cold"));
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--rows" => rows = value.parse().unwrap(),
            "--dir" => directory = PathBuf::from(value),
            _ => panic!("expected --rows N or --dir PATH, found {word}"),
        }
    }
    (rows, directory)
}

fn record(number: u64) -> StateRows {
    StateRows { applied: number.to_be_bytes().to_vec(), keyring: Some(vec![1; 512]) }
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

fn take_in(base: &RocksBase, cipher: &OneKey, numbers: std::ops::Range<u64>) {
    while base.pressure().unwrap().is_high(false) {
        thread::sleep(Duration::from_millis(1));
    }
    let mut rows: Vec<(RowName, u64)> =
        numbers.clone().map(|number| (name_of(Database::FIRST, &key(number), &cipher.names), number)).collect();
    rows.sort_unstable();
    let mut file = base.begin_file(&record(numbers.end)).unwrap();
    for some in rows.chunks(64) {
        for ((name, _), row) in some.iter().zip(cipher.seal(some)) {
            file.put(name, &row).unwrap();
        }
    }
    file.finish().unwrap().ingest().unwrap();
}

/// Us for each row.
fn bare(base: &dyn RowBase, names: &[RowName]) -> f64 {
    let begun = Instant::now();
    let mut found = 0;
    for some in names.chunks(PIPELINE) {
        let mut count = |_: usize, row: Option<&[u8]>| {
            found += usize::from(row.is_some());
            true
        };
        base.rows(some, &mut count).unwrap();
    }
    assert_eq!(found, names.len());
    micros_each(begun)
}

/// Us for each GET.
fn gets(reader: &RowReader, numbers: &[u64]) -> f64 {
    let reads: Vec<(Database, ReadCommand)> =
        numbers.iter().map(|number| (Database::FIRST, ReadCommand::Get { key: Bytes::from(key(*number)) })).collect();
    let begun = Instant::now();
    let mut found = 0;
    for some in reads.chunks(PIPELINE) {
        let mut count = |answer: KeyAnswer<'_>| {
            found +=
                usize::from(matches!(answer, KeyAnswer::Reply(KeyReply::Bulk(value)) if value.len() == VALUE_BYTES));
            true
        };
        read_keys_as_leader(reader, some, 9, &mut count).unwrap();
    }
    assert_eq!(found, reads.len());
    micros_each(begun)
}

fn micros_each(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(GETS).unwrap())
}

/// Opens under one key, as a node does.
struct OneKey {
    keys: KeyStore,
    names: Arc<NameKey>,
    pool: Bytes,
}

impl OneKey {
    fn new() -> OneKey {
        let keys = KeyStore::new(CLUSTER);
        keys.insert(KeyId::new(1).unwrap(), Purpose::Value, Dek::new(&[7; 32])).unwrap();
        let pool = Bytes::from(Seeded::new(1).bytes(1 << 20));
        OneKey { keys, names: Arc::new(NameKey::clear(&ClearNameKey([3; 32]), CLUSTER)), pool }
    }

    fn seal(&self, rows: &[(RowName, u64)]) -> Vec<Bytes> {
        let value = |number: u64| {
            let at = usize::try_from(number * 61).unwrap() % (self.pool.len() - VALUE_BYTES);
            let bytes = self.pool.slice(at..at + VALUE_BYTES);
            Value { kind: ValueKind::String, last_change: Index(1), expire_at_ms: 0, bytes }
        };
        let body = |number| {
            let mut body = Vec::new();
            value(number).borrowed().encode_body(&key(number), &mut body);
            body
        };
        let bodies: Vec<Vec<u8>> = rows.iter().map(|(_, number)| body(*number)).collect();
        let header = value(0).borrowed().header(BodyState::Sealed).encode();
        let mut items: Vec<(ValueBinding<'_>, &[u8])> = Vec::with_capacity(rows.len());
        for ((name, _), body) in rows.iter().zip(&bodies) {
            let store_key = name.as_bytes();
            items.push((ValueBinding { store_key, header, entry_tag: [3; 16], delta: 1, op: 0 }, body));
        }
        seal_values(self.keys.snapshot().value(KeyId::new(1).unwrap()).unwrap(), &items).unwrap()
    }
}

impl RowCipher for OneKey {
    fn accepts_clear_rows(&self) -> bool {
        false
    }

    fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        Ok(Arc::clone(&self.names))
    }

    fn add(&self, name: &RowName, row: &[u8], arena: &mut OpenArena) -> Result<(), ReadError> {
        add_value(&self.keys.snapshot(), &StoredRow { store_key: name.as_bytes(), row }, arena);
        Ok(())
    }
}
