//! Reads: of rows in a table, of rows that only the base has, and a pipeline of GETs through a server.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

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
use sealkv::fsm::kv::KEY_READS_MAX;
use sealkv::fsm::kv::KeyAnswer;
use sealkv::fsm::kv::NamedRead;
use sealkv::fsm::kv::ReadAnswer;
use sealkv::fsm::kv::read_as_leader;
use sealkv::fsm::kv::read_keys_as_leader;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::RowName;
use sealkv::fsm::naming::name_of;
use sealkv::fsm::naming::names_of_read;
use sealkv::fsm::opening::ReadError;
use sealkv::fsm::opening::RowCipher;
use sealkv::fsm::reader::RowReader;
use sealkv::fsm::row::Effects;
use sealkv::fsm::sized_rows::Bury;
use sealkv::fsm::table_row::RowBytes;
use sealkv::fsm::table_row::TableRow;
use sealkv::fsm::table_row::WrittenAt;
use sealkv::fsm::value::BodyState;
use sealkv::fsm::value::Value;
use sealkv::fsm::value::ValueKind;
use sealkv::fsm::view::ViewWriter;
use sealkv::fsm::walk::WalkError;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::KeyId;
use sealkv::ids::Position;
use sealkv::ids::Term;
use sealkv::propose::ClientRequest;
use sealkv::propose::ControlCallback;
use sealkv::propose::ControlRequest;
use sealkv::propose::Gateway;
use sealkv::propose::ReadDone;
use sealkv::propose::ReadOutcome;
use sealkv::resp::ClientBounds;
use sealkv::resp::ClientReads;
use sealkv::resp::DatabaseKeys;
use sealkv::resp::FactSection;
use sealkv::resp::NodeFacts;
use sealkv::resp::Operator;
use sealkv::resp::OperatorFact;
use sealkv::resp::Role;
use sealkv::resp::RowCounts;
use sealkv::resp::Server;
use sealkv::resp::ServerParts;
use sealkv::resp::StateDigest;
use sealkv::testing::base::MemoryBase;
use tokio::sync::watch;

use crate::EVERYWHERE;
use crate::allocations;

const KEYS: usize = 64;
const VALUE: [u8; 256] = [7; 256];
const CLUSTER: ClusterId = ClusterId([1; 16]);

fn key(number: usize) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

fn value() -> Value {
    let bytes = Bytes::from_static(&VALUE);
    Value { kind: ValueKind::String, last_change: Index(1), expire_at_ms: 0, bytes }
}

/// Opens under one key, as a node does.
struct OneKey {
    keys: KeyStore,
    names: Arc<NameKey>,
}

impl OneKey {
    fn new() -> OneKey {
        let keys = KeyStore::new(CLUSTER);
        keys.insert(KeyId::new(1).unwrap(), Purpose::Value, Dek::new(&[7; 32])).unwrap();
        OneKey { keys, names: Arc::new(NameKey::clear(&ClearNameKey([7; 32]), CLUSTER)) }
    }

    fn seal(&self, name: &RowName, key: &[u8]) -> Bytes {
        let mut body = Vec::new();
        value().borrowed().encode_body(key, &mut body);
        let header = value().borrowed().header(BodyState::Sealed).encode();
        let binding = ValueBinding { store_key: name.as_bytes(), header, entry_tag: [3; 16], delta: 1, op: 0 };
        seal_values(self.keys.snapshot().value(KeyId::new(1).unwrap()).unwrap(), &[(binding, &body)]).unwrap().remove(0)
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

/// Every key in a table, or every key sealed in the base.
fn reader(is_in_table: bool) -> RowReader {
    let cipher = OneKey::new();
    let name = |number| name_of(Database::FIRST, &key(number), &cipher.names);
    let base = MemoryBase::new(StateRows { applied: Vec::new(), keyring: None });
    let mut effects = Effects::default();
    if is_in_table {
        for number in 0..KEYS {
            let at = WrittenAt::new(Index(1), 0, None);
            let row = TableRow::new(&key(number), RowBytes::Copied(&VALUE), 0, at);
            effects.set(name(number), Some(row));
        }
    } else {
        let mut names: Vec<(RowName, usize)> = (0..KEYS).map(|number| (name(number), number)).collect();
        names.sort_unstable();
        let mut file = base.begin_file(&StateRows { applied: Vec::new(), keyring: None }).unwrap();
        for (name, number) in names {
            file.put(&name, &cipher.seal(&name, &key(number))).unwrap();
        }
        file.finish().unwrap().ingest().unwrap();
    }
    let (base, bury): (Arc<dyn RowBase>, Bury) = (Arc::new(base), Arc::new(drop));
    let mut writer = ViewWriter::new(base, Position::default(), 0, &bury);
    writer.publish(effects, Position { term: Term(1), index: Index(1) }, 5);
    writer.merge();
    RowReader::new(Arc::clone(writer.views()), Arc::new(cipher))
}

fn gets(count: usize) -> Vec<(Database, ReadCommand)> {
    (0..count).map(|number| (Database::FIRST, ReadCommand::Get { key: Bytes::from(key(number)) })).collect()
}

fn read_all(reader: &RowReader, reads: &[(Database, ReadCommand)]) -> usize {
    let mut right = 0;
    let mut check = |answer: KeyAnswer<'_>| {
        right += usize::from(matches!(answer, KeyAnswer::Reply(KeyReply::Bulk(bytes)) if bytes == VALUE));
        true
    };
    read_keys_as_leader(reader, reads, 9, &mut check).unwrap();
    right
}

#[test]
fn reads_of_keys_in_a_table_allocate_nothing() {
    let reader = reader(true);
    let reads = gets(KEYS);
    // The thread has its space by then.
    assert_eq!(read_all(&reader, &reads), KEY_READS_MAX);
    for count in [1, 2, 16, KEY_READS_MAX] {
        let mut right = 0;
        assert_eq!(allocations(|| right = read_all(&reader, &reads[..count])), 0, "{count} reads");
        assert_eq!(right, count);
    }
}

#[test]
fn reads_of_sealed_rows_of_the_base_allocate_the_same_for_any_number() {
    let reader = reader(false);
    let reads = gets(KEYS);
    assert_eq!(read_all(&reader, &reads), KEY_READS_MAX);
    let counted = |count| {
        let mut right = 0;
        let counted = allocations(|| right = read_all(&reader, &reads[..count]));
        assert_eq!(right, count, "and they were opened");
        counted
    };
    let one = counted(1);
    for count in [2, 16, KEY_READS_MAX] {
        // The base of a test has a list for each four rows.
        let own = (count as u64).div_ceil(4) - 1;
        assert_eq!(counted(count), one + own, "{count} reads");
    }
    assert!(one <= 4, "{one} for a batch: places, names, the base's own, messages");
}

/// A node that leads alone and is asked for reads only.
struct Reads(RowReader);

impl ClientReads for Reads {
    fn names(&self, database: Database, read: &ReadCommand) -> Result<Vec<RowName>, ReadError> {
        Ok(names_of_read(database, read, &*self.0.name_key()?))
    }

    fn read(&self, read: NamedRead<'_>, clock_ms: u64) -> Result<ReadAnswer, ReadError> {
        read_as_leader(&self.0, read, 0, clock_ms)
    }

    fn read_keys(
        &self,
        reads: &[(Database, ReadCommand)],
        clock_ms: u64,
        visit: &mut dyn FnMut(KeyAnswer<'_>) -> bool,
    ) -> Result<(), ReadError> {
        read_keys_as_leader(&self.0, reads, clock_ms, visit)
    }
}

struct Alone;

impl Gateway for Alone {
    fn propose(&self, request: ClientRequest) -> Result<(), ClientRequest> {
        Err(request)
    }

    fn is_read_point(&self) -> bool {
        true
    }

    fn read_index(&self, done: Box<dyn ReadDone>) {
        drop(done.done(ReadOutcome::TryAgain));
    }

    fn now_ms(&self) -> u64 {
        9
    }

    fn lead_ms(&self) -> u64 {
        0
    }

    fn wall_ms(&self) -> u64 {
        9
    }
}

impl Operator for Alone {
    fn ask(&self, _request: ControlRequest, _done: ControlCallback) {}

    fn status(&self) -> Vec<(&'static str, OperatorFact)> {
        Vec::new()
    }

    fn ask_flush(&self) {}

    fn flush(&self) -> Result<(), String> {
        Ok(())
    }

    fn shut_down(&self) {
        unreachable!("nobody asks")
    }

    fn digest(&self, _is_wanted: &dyn Fn() -> bool) -> Result<StateDigest, String> {
        unreachable!("nobody asks")
    }

    fn scan(&self, _is_wanted: &dyn Fn() -> bool) -> Result<RowCounts, WalkError> {
        Ok(RowCounts::default())
    }

    fn log_filter(&self) -> String {
        String::new()
    }

    fn log_by(&self, _filter: &str, _may_trace: bool) -> Result<(), String> {
        Ok(())
    }
}

impl NodeFacts for Alone {
    fn lines(&self, _section: FactSection) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn role(&self) -> Role {
        Role::Leader
    }

    fn voters(&self) -> usize {
        1
    }

    fn applied_index(&self) -> u64 {
        1
    }

    fn keyspace(&self) -> Vec<DatabaseKeys> {
        Vec::new()
    }
}

/// Requests for memory of the whole process while a pipeline of so many GETs is sent and answered, at its quietest.
fn of_a_pipeline(client: &mut TcpStream, gets: usize) -> u64 {
    let request: Vec<u8> = (0..gets).flat_map(|number| command(&key(number))).collect();
    let mut replies = vec![0; gets * ("$256\r\n\r\n".len() + VALUE.len())];
    let quietest = (0..200).map(|_| {
        let before = EVERYWHERE.load(Relaxed);
        client.write_all(&request).unwrap();
        client.read_exact(&mut replies).unwrap();
        let counted = EVERYWHERE.load(Relaxed) - before;
        assert_eq!(&replies[replies.len() - 3..], b"\x07\r\n");
        counted
    });
    quietest.min().unwrap()
}

fn command(key: &[u8]) -> Vec<u8> {
    let mut command = format!("*2\r\n$3\r\nGET\r\n${}\r\n", key.len()).into_bytes();
    command.extend_from_slice(key);
    command.extend_from_slice(b"\r\n");
    command
}

#[test]
fn a_pipeline_of_gets_allocates_the_same_for_any_length() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let alone = Arc::new(Alone);
    let parts = ServerParts {
        gateway: alone.clone(),
        reads: Arc::new(Reads(reader(true))),
        operator: alone.clone(),
        facts: alone,
        bounds: ClientBounds::default(),
        stats: Arc::default(),
    };
    let entered = runtime.enter();
    let server = Server::new(listener, None, parts).unwrap();
    drop(entered);
    let address = server.local_address();
    let (stop, stopping) = watch::channel(false);
    let running = runtime.spawn(server.run(stopping));
    let mut client = TcpStream::connect(address).unwrap();
    let one = of_a_pipeline(&mut client, 1);
    for gets in [2, 16, KEY_READS_MAX] {
        assert_eq!(of_a_pipeline(&mut client, gets), one, "{gets} GETs");
    }
    assert!(one <= 4, "{one} for a pipeline: the buffer that it came in");
    stop.send(true).unwrap();
    runtime.block_on(running).unwrap();
}
