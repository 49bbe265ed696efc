//! The thread shell and both real engines, on real files.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::Sender;
use crossbeam_channel::unbounded;

use crate::disk::AlignedBuffer;
use crate::disk::Completion;
use crate::disk::Disk;
use crate::disk::DiskError;
use crate::disk::Engine;
use crate::disk::EngineChoice;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::testing::clock::SimClock;
use crate::testing::disk::Fault;
use crate::testing::disk::SimDisk;
use crate::testing::log::BEGINNING;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::rebuild;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::wal::LogConfig;
use crate::wal::LogLoop;
use crate::wal::LogProgress;
use crate::wal::Recovered;
use crate::wal::WalError;
use crate::wal::create;
use crate::wal::open;
use crate::wal::pulse::Pulse;
use crate::wal::thread::Callbacks;
use crate::wal::thread::Fetch;
use crate::wal::thread::LogThread;
use crate::wal::thread::Watchdog;
use crate::wal::thread::spawn;
use crate::world::Clock;
use crate::world::KernelEntropy;
use crate::world::SystemClock;

#[derive(Debug)]
enum Event {
    Persisted(u64),
    Fatal(WalError),
}

struct Events(Mutex<Sender<Event>>);

impl Callbacks for Events {
    fn on_persisted(&self, ticket: u64) {
        self.0.lock().unwrap().send(Event::Persisted(ticket)).unwrap();
    }

    fn on_fatal(&self, error: WalError) {
        self.0.lock().unwrap().send(Event::Fatal(error)).unwrap();
    }
}

fn events() -> (Arc<Events>, Receiver<Event>) {
    let (sender, receiver) = unbounded();
    (Arc::new(Events(Mutex::new(sender))), receiver)
}

fn wait_for(thread_events: &Receiver<Event>, ticket: u64) {
    loop {
        match thread_events.recv_timeout(Duration::from_secs(20)).unwrap() {
            Event::Persisted(found) if found >= ticket => return,
            Event::Persisted(_) => {}
            Event::Fatal(error) => panic!("{error}"),
        }
    }
}

fn config(dir: &Path, engine: EngineChoice) -> LogConfig {
    let mut config = LogConfig::new(dir.to_owned(), NodeId::new(7).unwrap(), ClusterId([9; 16]));
    config.log_key = Some(zeroize::Zeroizing::new([0x42; 32]));
    (config.slots, config.slots_max, config.slot_bytes) = (4, 8, 1 << 20);
    config.entry_bytes_max = 256 << 10;
    config.engine = engine;
    config
}

fn started(config: &LogConfig) -> (LogThread, Receiver<Event>, Recovered, Engine) {
    let (log, recovered) = open(config, Arc::new(SystemClock::default()), Arc::new(KernelEntropy)).unwrap();
    let engine = log.engine();
    let (callbacks, receiver) = events();
    (spawn(log, callbacks).unwrap(), receiver, recovered, engine)
}

fn make(config: &LogConfig) {
    let disk = config.open_disk().unwrap();
    let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(KernelEntropy));
    let mut seen = 0;
    create(config, disk, clock, entropy, BEGINNING, &mut |done, total| {
        assert!(done >= seen && done <= total);
        seen = done;
    })
    .unwrap();
    assert_eq!(seen, u64::from(config.slots) * config.slot_bytes);
}

#[test]
fn both_engines_write_the_same_directory_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    make(&config(dir.path(), EngineChoice::Auto));
    let mut all = Vec::new();
    for (round, engine) in [EngineChoice::Plain, EngineChoice::Auto].into_iter().cycle().take(6).enumerate() {
        let (thread, receiver, recovered, _) = started(&config(dir.path(), engine));
        assert_eq!(recovered.entries, all, "round {round}");
        assert_eq!(recovered.torn, None);
        let first = 2 + 20 * round as u64;
        for at in 0..20 {
            let more = entries(1, first + at, 1, 3000);
            all.extend(more.clone());
            thread.append(append(1 + at, more)).unwrap();
        }
        wait_for(&receiver, 20);
        let (sender, answers) = unbounded();
        let answer = Box::new(move |found: Result<_, WalError>| sender.send(found.unwrap()).unwrap());
        thread.fetch(Fetch { first: Index(2), last: Index(9), bytes_max: usize::MAX, answer }).unwrap();
        assert_eq!(answers.recv_timeout(Duration::from_secs(20)).unwrap(), all[..8]);
        // Slots are few: give back what is above three rounds.
        if round % 2 == 1 {
            let index = first - 1;
            thread.append(trim(21, 1, index)).unwrap();
            wait_for(&receiver, 21);
            all.retain(|entry| entry.index.0 > index);
            all.splice(0..0, []);
        }
        drop(thread);
        if round % 2 == 1 {
            let mut again = config(dir.path(), engine);
            again.engine = EngineChoice::Plain;
            let (_, recovered) = open(&again, Arc::new(SystemClock::default()), Arc::new(KernelEntropy)).unwrap();
            assert_eq!(recovered.entries, all);
            break;
        }
    }
}

#[test]
fn the_io_uring_engine_runs_where_it_is_asked_for_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    make(&config(dir.path(), EngineChoice::Plain));
    match config(dir.path(), EngineChoice::Uring).open_disk() {
        Ok(disk) => assert_eq!(disk.engine(), Engine::Uring),
        Err(error) => assert!(matches!(error, DiskError::EngineRefused { .. }), "{error}"),
    }
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "the self-test leaves nothing behind: {names:?}");
}

#[test]
fn large_entries_and_the_growth_of_the_pool_work_on_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), EngineChoice::Auto);
    make(&config);
    let (thread, receiver, _, _) = started(&config);
    let all = entries(1, 2, 14, 256 << 10);
    for (at, entry) in all.iter().enumerate() {
        thread.append(append(1 + at as u64, vec![entry.clone()])).unwrap();
    }
    wait_for(&receiver, 14);
    drop(thread);
    let (thread, _, recovered, _) = started(&config);
    assert!(recovered.entries == all);
    assert!(thread.space().pool_bytes() > 4 << 20);
}

#[test]
fn an_error_is_reported_once_and_ends_the_thread() {
    let rig = LogRig::new(80);
    rig.create().unwrap();
    let (log, _) = rig.open().unwrap();
    let (callbacks, receiver) = events();
    let thread = spawn(log, callbacks).unwrap();
    thread.append(append(1, entries(1, 2, 1, 10))).unwrap();
    wait_for(&receiver, 1);
    rig.platters.arm(Fault::SyncError(0, libc::EIO));
    thread.append(append(2, entries(1, 3, 1, 10))).unwrap();
    let event = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(event, Event::Fatal(WalError::Disk { .. })), "{event:?}");
    drop(thread);
    assert!(receiver.recv().is_err(), "nothing more was said");
}

#[test]
fn what_cannot_be_synced_at_start_is_an_error_of_spawn() {
    let rig = LogRig::new(81);
    rig.create().unwrap();
    let (log, _) = rig.open().unwrap();
    rig.platters.arm(Fault::SyncError(0, libc::EIO));
    assert!(matches!(spawn(log, events().0), Err(WalError::Disk { .. })));
}

#[test]
fn a_log_that_does_not_start_in_time_is_let_go() {
    let mut rig = LogRig::new(82);
    rig.create().unwrap();
    rig.config.hung = Duration::ZERO;
    let (log, _) = rig.open().unwrap();
    let (callbacks, receiver) = events();
    drop(spawn(log, callbacks));
    let ended = receiver.recv_timeout(Duration::from_secs(20));
    assert!(matches!(ended, Err(RecvTimeoutError::Disconnected)), "its thread has ended: {ended:?}");
}

#[test]
fn a_log_can_be_rebuilt_with_one_byte_of_one_entry_changed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), EngineChoice::Auto);
    make(&config);
    let (thread, receiver, _, _) = started(&config);
    thread.append(append(1, entries(1, 2, 5, 100))).unwrap();
    wait_for(&receiver, 1);
    drop(thread);
    let (_, _, mut contents, _) = started(&config);
    let mut data = contents.entries[3].data.to_vec();
    data[50] ^= 1;
    contents.entries[3].data = data.into();
    rebuild(&config, &contents).unwrap();
    let (_, _, changed, _) = started(&config);
    assert_eq!(changed.entries, contents.entries);
    assert_eq!((changed.compacted, changed.cutover), (contents.compacted, contents.cutover));
}

#[test]
fn a_call_into_the_kernel_that_does_not_come_back_is_seen_from_outside() {
    let (pulse, clock) = (Arc::new(Pulse::default()), Arc::new(SimClock::default()));
    let (callbacks, receiver) = events();
    let hung = Duration::from_secs(10);
    pulse.begin(SlotId(3), clock.monotonic());
    clock.advance(hung);
    let reported = Arc::default();
    let (_stop, stopped) = crossbeam_channel::bounded(0);
    Watchdog { pulse, clock, hung, callbacks, reported }.run(&stopped);
    let event = receiver.recv().unwrap();
    assert!(matches!(event, Event::Fatal(WalError::Hung { slot: SlotId(3), waited, .. }) if waited == hung));
}

#[test]
fn a_call_that_stood_still_with_the_process_is_not_taken_for_one_that_hangs() {
    let (pulse, clock) = (Arc::new(Pulse::default()), Arc::new(SimClock::default()));
    let (callbacks, receiver) = events();
    let second = Duration::from_secs(1);
    pulse.begin(SlotId(3), clock.monotonic());
    let reported = Arc::default();
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let watchdog = Watchdog { pulse, clock: Arc::clone(&clock) as _, hung: 10 * second, callbacks, reported };
    let thread = std::thread::spawn(move || watchdog.run(&stopped));
    // Its first look is right at its start.
    let none = receiver.recv_timeout(second / 5);
    assert!(none.is_err(), "{none:?}");
    clock.advance(60 * second);
    let none = receiver.recv_timeout(2 * second);
    assert!(none.is_err(), "{none:?}");
    drop(stop);
    thread.join().unwrap();
}

/// Blocks the log thread in its first report, as a call into the kernel would.
struct Hangs(Receiver<()>, Sender<Event>);

impl Callbacks for Hangs {
    fn on_persisted(&self, ticket: u64) {
        self.1.send(Event::Persisted(ticket)).unwrap();
        assert!(self.0.recv().is_err(), "nothing is ever sent");
    }

    fn on_fatal(&self, error: WalError) {
        self.1.send(Event::Fatal(error)).unwrap();
    }
}

#[test]
fn a_close_does_not_wait_for_a_call_into_the_kernel_that_does_not_come_back() {
    let mut rig = LogRig::new(83);
    // Less than a standstill of the process is known by: the watchdog looks before the clock goes on, or only behind it.
    rig.config.hung = Duration::from_secs(2);
    rig.create().unwrap();
    let (log, _) = rig.open().unwrap();
    let (pulse, clock, hung) = log.pulse();
    let ((come_back, never), (sender, receiver)) = (unbounded(), unbounded());
    let thread = spawn(log, Arc::new(Hangs(never, sender))).unwrap();
    thread.append(append(1, entries(1, 2, 1, 10))).unwrap();
    wait_for(&receiver, 1);
    pulse.begin(SlotId(3), clock.monotonic());
    rig.clock.advance(hung);
    drop(thread);
    let event = receiver.try_recv().unwrap();
    assert!(matches!(event, Event::Fatal(WalError::Hung { slot: SlotId(3), .. })), "{event:?}");
    drop(come_back);
}

/// Counts the turns of the log thread.
#[derive(Default)]
struct Turns(AtomicU64);

impl Callbacks for Turns {
    fn on_persisted(&self, _: u64) {}
    fn on_fatal(&self, error: WalError) {
        panic!("{error}");
    }
    fn on_progress(&self, _: &LogProgress) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_thread_without_work_sleeps() {
    for engine in [EngineChoice::Plain, EngineChoice::Auto] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), engine);
        make(&config);
        let (log, _) = open(&config, Arc::new(SystemClock::default()), Arc::new(KernelEntropy)).unwrap();
        let turns = Arc::<Turns>::default();
        let thread = spawn(log, turns.clone()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let before = turns.0.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
        let more = turns.0.load(Ordering::Relaxed) - before;
        assert!(more < 200, "{engine:?}: {more} turns in 300 ms");
        drop(thread);
    }
}

/// What was asked of a disk, and the slot that the pulse shows meanwhile.
type Seen = (&'static str, Option<SlotId>);

/// A disk that looks at the log's pulse while something is asked of it.
#[derive(Debug)]
struct Watched {
    inner: SimDisk,
    pulse: Arc<OnceLock<Arc<Pulse>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Watched {
    fn look(&self, asked: &'static str) {
        let Some(pulse) = self.pulse.get() else { return };
        let busy = pulse.busy_since();
        self.seen.lock().unwrap().push((asked, busy.map(|(slot, _)| slot)));
    }
}

impl Disk for Watched {
    fn engine(&self) -> Engine {
        self.inner.engine()
    }
    fn block_bytes(&self) -> usize {
        self.inner.block_bytes()
    }
    fn slot_count(&self) -> u32 {
        self.inner.slot_count()
    }
    fn slot_bytes(&self, slot: SlotId) -> Option<u64> {
        self.inner.slot_bytes(slot)
    }
    fn create_slot(&mut self, bytes: u64, progress: &mut dyn FnMut(u64)) -> io::Result<SlotId> {
        self.inner.create_slot(bytes, progress)
    }
    fn start_growing(&mut self, bytes: u64) {
        self.inner.start_growing(bytes);
    }
    fn take_grown(&mut self) -> Option<io::Result<SlotId>> {
        self.inner.take_grown()
    }
    fn take_buffer(&mut self, bytes: usize) -> AlignedBuffer {
        self.inner.take_buffer(bytes)
    }
    fn return_buffer(&mut self, buffer: AlignedBuffer) {
        self.inner.return_buffer(buffer);
    }
    fn read(&mut self, slot: SlotId, offset: u64, buffer: &mut AlignedBuffer, bytes: usize) -> io::Result<()> {
        self.inner.read(slot, offset, buffer, bytes)
    }
    fn submit_write(&mut self, write: WriteRequest) -> io::Result<()> {
        self.look("write");
        self.inner.submit_write(write)
    }
    fn submit_sync(&mut self, op: OpId, slot: SlotId) -> io::Result<()> {
        self.look("sync");
        self.inner.submit_sync(op, slot)
    }
    fn wait(&mut self, timeout: Duration) -> io::Result<Option<Completion>> {
        self.look("wait");
        self.inner.wait(timeout)
    }
}

#[test]
fn whatever_may_block_in_the_kernel_is_seen_from_outside_with_its_slot() {
    let rig = LogRig::new(96);
    rig.create().unwrap();
    let (pulse, seen) = (Arc::<OnceLock<Arc<Pulse>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let disk = Watched { inner: rig.platters.open(None), pulse: pulse.clone(), seen: seen.clone() };
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let (mut log, _) = LogLoop::open(&rig.config, Box::new(disk), clock, Arc::new(KernelEntropy)).unwrap();
    pulse.set(log.pulse().0).unwrap();
    write(&mut log, append(1, entries(1, 2, 1, 10))).unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    for asked in ["write", "sync"] {
        let slots: Vec<_> = seen.iter().filter(|seen| seen.0 == asked).map(|seen| seen.1).collect();
        assert!(!slots.is_empty() && slots.iter().all(Option::is_some), "{asked}: {slots:?}");
    }
    assert!(seen.iter().any(|seen| seen.0 == "wait"));
}
