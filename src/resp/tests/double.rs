//! What stands below and beside the room in its tests: a gateway without a log, a node's facts, a small client.

use std::collections::VecDeque;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::fsm::base::RowBase;
use crate::fsm::codec::Condition;
use crate::fsm::codec::Payload;
use crate::fsm::codec::encode_batch_if;
use crate::fsm::command;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::kv::KeyAnswer;
use crate::fsm::kv::NamedRead;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::kv::read;
use crate::fsm::kv::read_as_leader;
use crate::fsm::kv::read_keys_as_leader;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::naming::names_of_batch;
use crate::fsm::naming::names_of_read;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Overlay;
use crate::fsm::reader::RowReader;
use crate::fsm::sized_rows::Bury;
use crate::fsm::view::ViewWriter;
use crate::fsm::walk::WalkError;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::propose::ClientRequest;
use crate::propose::ControlCallback;
use crate::propose::ControlDone;
use crate::propose::ControlRequest;
use crate::propose::ControlResult;
use crate::propose::Gateway;
use crate::propose::Outcome;
use crate::propose::ReadDone;
use crate::propose::ReadOutcome;
use crate::propose::RequestSlot;
use crate::resp::ClientBounds;
use crate::resp::ClientReads;
use crate::resp::DatabaseKeys;
use crate::resp::Drained;
use crate::resp::FactSection;
use crate::resp::NodeFacts;
use crate::resp::Operator;
use crate::resp::OperatorFact;
use crate::resp::Role;
use crate::resp::RowCounts;
use crate::resp::Server;
use crate::resp::ServerParts;
use crate::resp::StateDigest;
use crate::resp::Stats;
use crate::testing::base::MemoryBase;
use crate::testing::base::NoCipher;

/// Applies at once, under a lock; what it is told to answer instead comes first.
pub(super) struct Below {
    state: Mutex<Applied>,
    writer: Mutex<ViewWriter<dyn RowBase>>,
    reader: RowReader,
    pub(super) stamp_ms: Arc<AtomicU64>,
    pub(super) wall_ms: AtomicU64,
    /// Answers for the next requests, in place of running them.
    pub(super) mishaps: Mutex<VecDeque<Mishap>>,
    /// Slots of each request, as `(writes, reads)`.
    pub(super) requests: Mutex<Vec<(usize, usize)>>,
    pub(super) read_rounds: AtomicU64,
    /// Every moment is a read point.
    pub(super) leads_alone: AtomicBool,
    pub(super) shut_downs: AtomicU64,
    /// A digest takes for ever, unless nobody waits for it.
    pub(super) is_large: AtomicBool,
    /// Digests that ended so.
    pub(super) given_up: AtomicU64,
    pub(super) flushes: AtomicU64,
    /// What operators asked, and what they are told; done if nothing is here.
    pub(super) asked: Mutex<Vec<ControlRequest>>,
    pub(super) operator_ends: Mutex<VecDeque<ControlResult>>,
    log_filter: Mutex<String>,
}

/// The state, read at the stamp of the last applied entry.
struct AppliedReads(RowReader, Arc<AtomicU64>);

impl ClientReads for AppliedReads {
    fn names(&self, database: Database, read: &command::ReadCommand) -> Result<Vec<RowName>, ReadError> {
        Ok(names_of_read(database, read, &*self.0.name_key()?))
    }

    fn read(&self, read: NamedRead<'_>, wall_ms: u64) -> Result<ReadAnswer, ReadError> {
        read_as_leader(&self.0, read, self.1.load(Ordering::Acquire), wall_ms)
    }

    fn read_keys(
        &self,
        reads: &[(Database, command::ReadCommand)],
        wall_ms: u64,
        visit: &mut dyn FnMut(KeyAnswer<'_>) -> bool,
    ) -> Result<(), ReadError> {
        read_keys_as_leader(&self.0, reads, wall_ms, visit)
    }
}

#[derive(Default)]
struct Applied {
    index: u64,
}

/// What can happen to a request instead of being applied.
pub(super) enum Mishap {
    QueueFull,
    Ends(Outcome),
    /// The callback is dropped without an answer.
    Forgotten,
    /// Applied, but the outcome is said to be unknown.
    AppliedUnknown,
}

impl Below {
    fn new() -> Below {
        let bury: Bury = Arc::new(drop);
        let base: Arc<dyn RowBase> = Arc::new(MemoryBase::default());
        let writer = ViewWriter::new(base, Position::default(), 0, &bury);
        let reader = RowReader::new(Arc::clone(writer.views()), Arc::new(NoCipher));
        Below {
            state: Mutex::default(),
            writer: Mutex::new(writer),
            reader,
            stamp_ms: Arc::default(),
            wall_ms: AtomicU64::new(1_700_000_000_000),
            mishaps: Mutex::default(),
            requests: Mutex::default(),
            read_rounds: AtomicU64::new(0),
            leads_alone: AtomicBool::new(false),
            shut_downs: AtomicU64::new(0),
            is_large: AtomicBool::new(false),
            given_up: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            asked: Mutex::default(),
            operator_ends: Mutex::default(),
            log_filter: Mutex::new("info".to_owned()),
        }
    }

    fn apply(&self, conditions: &[Condition], slots: &[RequestSlot]) -> Vec<Reply> {
        let mut state = self.state.lock().unwrap();
        state.index += 1;
        let stamp_ms = self.wall_ms().max(self.stamp_ms.load(Ordering::Acquire));
        let writes = slots.iter().filter_map(|slot| match slot {
            RequestSlot::Write(database, write) => Some((*database, write)),
            RequestSlot::Read(..) => None,
        });
        let mut payload = Vec::new();
        let writes: Vec<(Database, &WriteCommand)> = writes.collect();
        encode_batch_if(stamp_ms, conditions, writes, &mut payload).unwrap();
        let Payload::Batch(batch) = Payload::decode(&payload).unwrap() else {
            panic!("a batch was encoded");
        };
        let mut overlay = Overlay::new();
        let key = self.reader.name_key().unwrap();
        let names = names_of_batch(&batch, &key);
        let mut context = overlay.begin(&self.reader, Index(state.index + 1), stamp_ms, None, &batch, &names).unwrap();
        let mut commands = batch.commands();
        let replies = slots.iter().map(|slot| match slot {
            RequestSlot::Write(..) => overlay.execute(&self.reader, commands.next().unwrap(), &mut context).unwrap(),
            RequestSlot::Read(..) if context.refusal().is_some() => Reply::Error(context.refusal().unwrap()),
            RequestSlot::Read(database, asked) => {
                let names = names_of_read(*database, asked, &key);
                let asked = NamedRead { read: asked, database: *database, names: &names };
                read(&overlay.view(&self.reader), asked, stamp_ms).unwrap()
            }
        });
        let replies = replies.collect();
        let position = Position { term: Term(1), index: Index(state.index + 1) };
        let mut writer = self.writer.lock().unwrap();
        writer.publish(overlay.into_effects(), position, stamp_ms);
        writer.merge();
        drop(writer);
        self.stamp_ms.store(stamp_ms, Ordering::Release);
        replies
    }
}

impl Gateway for Below {
    fn propose(&self, request: ClientRequest) -> Result<(), ClientRequest> {
        let mishap = self.mishaps.lock().unwrap().pop_front();
        if matches!(mishap, Some(Mishap::QueueFull)) {
            return Err(request);
        }
        let writes = request.slots.iter().filter(|slot| matches!(slot, RequestSlot::Write(..))).count();
        assert!(writes > 0, "an entry has a write");
        self.requests.lock().unwrap().push((writes, request.slots.len() - writes));
        match mishap {
            Some(Mishap::Ends(outcome)) => drop(request.done.done(outcome)),
            Some(Mishap::Forgotten) => drop(request),
            Some(Mishap::AppliedUnknown) => {
                self.apply(&request.conditions, &request.slots);
                drop(request.done.done(Outcome::Unknown));
            }
            _ => drop(request.done.done(Outcome::Replies(self.apply(&request.conditions, &request.slots)))),
        }
        Ok(())
    }

    fn is_read_point(&self) -> bool {
        self.leads_alone.load(Ordering::Acquire)
    }

    fn read_index(&self, done: Box<dyn ReadDone>) {
        self.read_rounds.fetch_add(1, Ordering::Relaxed);
        let index = self.state.lock().unwrap().index;
        drop(done.done(ReadOutcome::Ready(Index(index))));
    }

    fn now_ms(&self) -> u64 {
        self.wall_ms()
    }

    fn lead_ms(&self) -> u64 {
        0
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
}

impl Operator for Below {
    fn ask(&self, request: ControlRequest, done: ControlCallback) {
        self.asked.lock().unwrap().push(request);
        done(self.operator_ends.lock().unwrap().pop_front().unwrap_or(Ok(ControlDone::Enabled { cutover: Index(7) })));
    }

    fn ask_flush(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) -> Result<(), String> {
        self.ask_flush();
        match self.flushes.load(Ordering::Relaxed) {
            1 => Ok(()),
            _ => Err("the state is not flushed: no space".to_owned()),
        }
    }

    fn shut_down(&self) {
        self.shut_downs.fetch_add(1, Ordering::Relaxed);
    }

    fn status(&self) -> Vec<(&'static str, OperatorFact)> {
        let text = OperatorFact::Text("ready".to_owned());
        vec![("mode", text), ("applied_index", OperatorFact::Number(7)), ("cutover_index", OperatorFact::Nothing)]
    }

    fn digest(&self, is_wanted: &dyn Fn() -> bool) -> Result<StateDigest, String> {
        while self.is_large.load(Ordering::Relaxed) {
            if !is_wanted() {
                self.given_up.fetch_add(1, Ordering::Relaxed);
                return Err("nobody waits for it any more".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(StateDigest { applied: 7, digest: [0xab; 32] })
    }

    fn log_filter(&self) -> String {
        self.log_filter.lock().unwrap().clone()
    }

    fn log_by(&self, filter: &str, is_set: bool) -> Result<(), String> {
        if filter == "wrong" {
            return Err("expected a level".to_owned());
        }
        if is_set {
            *self.log_filter.lock().unwrap() = filter.to_owned();
        }
        Ok(())
    }

    fn scan(&self, _is_wanted: &dyn Fn() -> bool) -> Result<RowCounts, WalkError> {
        Ok(RowCounts { clear: 2, sealed: 3 })
    }
}

struct Facts {
    voters: usize,
}

impl NodeFacts for Facts {
    fn lines(&self, section: FactSection) -> Vec<(&'static str, String)> {
        match section {
            FactSection::Sealkv => vec![("aead_tier", "portable".to_owned())],
            _ => Vec::new(),
        }
    }

    fn role(&self) -> Role {
        Role::Leader
    }

    fn voters(&self) -> usize {
        self.voters
    }

    fn applied_index(&self) -> u64 {
        42
    }

    fn keyspace(&self) -> Vec<DatabaseKeys> {
        let keys = |number, keys, expires| DatabaseKeys { number, keys, expires, ttl_ms: 1500 * expires };
        vec![keys(0, 7, 0), keys(15, 3, 1)]
    }
}

/// A server on a free port, with what is below it.
pub(super) struct House {
    pub(super) below: Arc<Below>,
    pub(super) stats: Arc<Stats>,
    pub(super) address: SocketAddr,
    stopping: watch::Sender<bool>,
    running: Option<tokio::task::JoinHandle<Drained>>,
    runtime: Runtime,
}

impl House {
    pub(super) fn open() -> House {
        House::open_with(ClientBounds::default(), 1)
    }

    pub(super) fn open_with(bounds: ClientBounds, voters: usize) -> House {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let below = Arc::new(Below::new());
        let stats = Arc::new(Stats::default());
        let parts = ServerParts {
            gateway: Arc::clone(&below) as Arc<dyn Gateway>,
            reads: Arc::new(AppliedReads(below.reader.clone(), Arc::clone(&below.stamp_ms))),
            operator: Arc::clone(&below) as Arc<dyn Operator>,
            facts: Arc::new(Facts { voters }),
            bounds,
            stats: Arc::clone(&stats),
        };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let server = Server::new(listener, None, parts).unwrap();
        let address = server.local_address();
        let (stopping, stop) = watch::channel(false);
        let running = Some(runtime.spawn(server.run(stop)));
        House { below, stats, address, stopping, running, runtime }
    }

    pub(super) fn client(&self) -> Talker {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Talker { stream }
    }

    /// Stops the server and says how its connections ended.
    pub(super) fn stop(&mut self) -> Drained {
        self.stopping.send_replace(true);
        let running = self.running.take().expect("stopped once");
        self.runtime.block_on(running).unwrap()
    }

    pub(super) fn mishap(&self, mishap: Mishap) {
        self.below.mishaps.lock().unwrap().push_back(mishap);
    }
}

/// A client that sees bytes.
pub(super) struct Talker {
    pub(super) stream: TcpStream,
}

impl Talker {
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads one whole reply and returns its bytes.
    pub(super) fn reply(&mut self) -> String {
        let mut out = Vec::new();
        self.take_reply(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn take_reply(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut byte = [0];
        while !out[start..].ends_with(b"\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            out.push(byte[0]);
        }
        let kind = out[start];
        let number = String::from_utf8_lossy(&out[start + 1..out.len() - 2]).parse::<i64>().unwrap_or(0);
        let count = usize::try_from(number).unwrap_or(0);
        match kind {
            b'$' | b'=' if number >= 0 => {
                let mut body = vec![0; count + 2];
                self.stream.read_exact(&mut body).unwrap();
                out.extend_from_slice(&body);
            }
            b'*' | b'~' => (0..count).for_each(|_| self.take_reply(out)),
            b'%' => (0..count * 2).for_each(|_| self.take_reply(out)),
            _ => {}
        }
    }

    /// Sends an inline command and returns its reply.
    pub(super) fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Everything until the other side closes.
    pub(super) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A connection that is reset has ended too.
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// An array of bulk strings.
pub(super) fn array(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
