//! The table under everything at once: random histories with readers, flushes, faults, crashes and halts, against the twin
//! that does one entry at a time.
//!
//! All in one thread: what happens while a reader waits for the base happens in the base, where the test lets the node take
//! turns. So a seed decides everything. `scripts/slow table [RUNS]` runs many.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use crate::apply::apply_loop::ApplyProgress;
use crate::apply::flush::FlushTry;
use crate::apply::flush::FlushWork;
use crate::apply::flush_thread::FlushThread;
use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::replay::flush_replayed;
use crate::apply::replay::replay;
use crate::apply::replay::replay_in_memory;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::append;
use crate::apply::tests::kit::delete;
use crate::apply::tests::kit::incr;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::row_name;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::apply::tests::node::TestBase;
use crate::apply::tests::one_by_one::Twin;
use crate::apply::thread::NotEnded;
use crate::crypto::keystore::Purpose;
use crate::fsm::codec::encode_batch_if;
use crate::fsm::command::WriteCommand;
use crate::fsm::fetched::Detail;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::opening::RowBatch;
use crate::fsm::reader::Base;
use crate::fsm::row::FoundRow;
use crate::fsm::value::Value;
use crate::fsm::value::ValueRef;
use crate::raft::Committed;
use crate::testing::base::BaseFault;
use crate::testing::base::FileStep;
use crate::testing::picture::Picture;
use crate::testing::seed::Seeded;
use crate::testing::seed::seeds;
use crate::world::NotJoined;

/// What really happened in all histories together.
#[derive(Debug, Default)]
struct Tally {
    tried: u64,
    reads: u64,
    /// Something was published while a reader waited for the base.
    moved: u64,
    /// A table was frozen meanwhile.
    frozen: u64,
    /// So many that what was read had to be read again.
    lapped: u64,
    walks: u64,
    /// Rows that stayed in memory behind a flush, as walks met them.
    kept: u64,
    /// Reads that left rows there.
    read_back: u64,
    flushes: u64,
    failed_files: u64,
    failed_ingests: u64,
    held: u64,
    full: u64,
    crashes: u64,
    halts: u64,
}

impl Tally {
    fn is_vacuous(&self) -> bool {
        let per = |count: u64, part: u64| count * part < self.tried;
        self.reads < 10 * self.tried
            || per(self.moved, 1)
            || per(self.frozen, 2)
            || per(self.lapped, 40)
            || per(self.walks, 1)
            || per(self.kept, 2)
            || per(self.read_back, 4)
            || per(self.flushes, 1)
            || per(self.failed_files, 4)
            || per(self.failed_ingests, 20)
            || per(self.held, 4)
            || per(self.full, 8)
            || per(self.crashes, 2)
            || per(self.halts, 10)
    }
}

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// The value of each key after each entry, by its index.
type States = BTreeMap<u64, Vec<Option<Value>>>;

fn set_many(keys: &[&str], value: &str) -> WriteCommand {
    let pair = |key: &&str| (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    WriteCommand::SetMany { pairs: keys.iter().map(pair).collect(), absent_only: false }
}

fn random_history(chance: &Seeded) -> Leader {
    let mut leader = Leader::sealed(chance.bits());
    for number in 0..10 + chance.below(25) {
        let (key, value) = (chance.pick(&KEYS), format!("{number}-{}", "v".repeat(chance.index(300))));
        let writes = match chance.below(12) {
            0..4 => vec![set_many(&KEYS[..2 + chance.index(5)], &value)],
            4 | 5 => vec![set(key, &value)],
            6 => vec![delete(key), set(chance.pick(&KEYS), &value)],
            7 => vec![append(key, "more"), append(key, &value)],
            8 => vec![incr("count")],
            9 => vec![set(key, "before"), WriteCommand::FlushAll, set_many(&KEYS[..2], &value)],
            10 => vec![WriteCommand::FlushDatabase],
            _ => {
                leader.rotate(Purpose::Value);
                vec![set(key, &value)]
            }
        };
        leader.clients(&writes);
    }
    leader
}

fn states_of(leader: &Leader, twin: &mut Twin) -> States {
    let names = KEYS.map(|key| row_name(&leader.node_keys, key.as_bytes()));
    let mut states = States::from([(1, vec![None; KEYS.len()])]);
    for (at, committed) in leader.log.iter().enumerate() {
        twin.run(&leader.log[..=at]).unwrap();
        let values = names.map(|name| twin.value(RowKey::named(name)).unwrap());
        states.insert(committed.entry.index.0, values.to_vec());
    }
    states
}

thread_local! {
    /// What happens while somebody waits for the base.
    static MEANWHILE: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Called by the base of these tests at each read.
pub(super) fn meanwhile() {
    let taken = MEANWHILE.with_borrow_mut(Option::take);
    if let Some(mut act) = taken {
        act();
        MEANWHILE.set(Some(act));
    }
}

/// A node, what it is to apply, and what became of it.
struct Player {
    node: Node,
    setup: Setup,
    log: Vec<Committed>,
    chance: Seeded,
    tally: Tally,
    /// The process has ended.
    has_ended: bool,
}

impl Player {
    fn applied(&self) -> u64 {
        self.node.apply.applied().position.index.0
    }

    /// One thing that can happen to a node.
    fn turn(&mut self) {
        if self.has_ended {
            return;
        }
        match self.chance.below(12) {
            0..6 => {}
            6 | 7 => self.node.flusher.ask(),
            8 => {
                let step = self.chance.pick(&[FileStep::Begin, FileStep::Row, FileStep::Finish]);
                self.node.base.memory.arm(BaseFault::File(0, step));
            }
            9 if self.chance.one_in(4) => {
                let survives = self.chance.one_in(2);
                self.node.base.memory.arm(BaseFault::Ingest { nth: 0, survives });
            }
            _ => self.node.base.memory.set_pending_bytes(self.chance.pick(&[0, 0, u64::MAX])),
        }
        self.step();
    }

    fn step(&mut self) {
        let next = self.applied() as usize - 1 + self.node.apply.queued();
        let end = self.log.len().min(next + self.chance.index(4));
        self.node.apply.offer(self.log[next..end].to_vec());
        match self.node.apply.step() {
            Ok(ApplyProgress::Full) => self.tally.full += 1,
            Ok(ApplyProgress::Idle | ApplyProgress::Applied(_)) => {}
            Err(_) => self.has_ended = true,
        }
        if self.node.flusher.trouble().is_some_and(|why| why.contains("behind")) {
            self.tally.held += 1;
        }
    }

    /// The process dies, if it has not ended, and another begins on what is durable.
    fn crash(&mut self) {
        self.count();
        let base = Arc::clone(&self.node.base);
        base.memory.crash();
        base.memory.set_pending_bytes(0);
        self.node = Node::start(base, keks(7), &self.setup);
        self.has_ended = false;
        self.tally.crashes += 1;
    }

    fn count(&mut self) {
        self.tally.flushes += self.node.metrics.flushes.load(Relaxed);
        self.tally.failed_files += self.node.metrics.failed_flushes.load(Relaxed);
    }
}

/// Reads some keys as of one moment, or one of them, while the node takes turns: what is answered was true at one index
/// that was published between the beginning and the end.
fn read(player: &Rc<RefCell<Player>>, states: &States) {
    let (reader, keys, turns, node_keys) = {
        let player = player.borrow();
        let count = player.chance.pick(&[1, 2, 2, 3, 6]);
        let keys: Vec<usize> = (0..count).map(|_| player.chance.index(KEYS.len())).collect();
        let turns = player.chance.pick(&[0, 1, 2, 5, 20]);
        (player.node.reader.clone(), keys, turns, Arc::clone(&player.node.node_keys))
    };
    let names: Vec<_> = keys.iter().map(|key| row_name(&node_keys, KEYS[*key].as_bytes())).collect();
    let asked: Vec<RowKey<'_>> =
        names.iter().zip(&keys).map(|(name, key)| RowKey::new(*name, KEYS[*key].as_bytes())).collect();
    let (mut left, acting) = (turns, Rc::clone(player));
    MEANWHILE.set(Some(Box::new(move || {
        while left > 0 {
            left -= 1;
            acting.borrow_mut().turn();
        }
    })));
    let before = reader.views().load();
    let kept_before = before.kept.row_count();
    let mut answers = Vec::new();
    if let [one] = asked[..] {
        answers.push(reader.value(one).unwrap());
    } else {
        let mut keep = |value| {
            answers.push(value);
            true
        };
        reader.each_value(&asked, Detail::Values, &mut keep).unwrap();
    }
    MEANWHILE.set(None);
    let after = reader.views().load();
    let is_true = |state: &Vec<Option<Value>>| keys.iter().zip(&answers).all(|(key, answer)| state[*key] == *answer);
    let (from, to) = (before.position.index.0, after.position.index.0);
    assert_eq!(answers.len(), keys.len());
    assert!(states.range(from..=to).any(|(_, state)| is_true(state)), "{keys:?} {answers:?} from {from} to {to}");
    let tally = &mut player.borrow_mut().tally;
    tally.reads += 1;
    tally.moved += u64::from(from < to);
    tally.frozen += u64::from(before.freezes < after.freezes);
    tally.lapped += u64::from(before.freezes + 2 < after.freezes);
    let is_read_back = turns == 0 && kept_before < after.kept.row_count();
    tally.read_back += u64::from(is_read_back);
}

/// Every row that is there is met once, and no other.
fn walk(player: &Rc<RefCell<Player>>, states: &States) {
    let mut player = player.borrow_mut();
    let counted = player.node.reader.count(Database::FIRST, 0).unwrap();
    let picture = player.node.picture();
    assert_eq!(counted, picture.rows.len() as u64);
    let state = &states[&player.applied()];
    for (key, value) in KEYS.iter().zip(state) {
        assert_eq!(player.node.row_of(key).is_some(), value.is_some(), "{key}");
        player.tally.kept += u64::from(is_kept_as_flushed(&player.node, key));
    }
    player.tally.walks += 1;
}

/// Whether a row stays in memory behind a flush; then it must be what the base has.
fn is_kept_as_flushed(node: &Node, key: &str) -> bool {
    let (view, name) = (node.reader.views().load(), row_name(&node.node_keys, key.as_bytes()));
    let FoundRow::Row(kept) = view.kept.find(&name) else {
        return false;
    };
    let mut batch = RowBatch::default();
    view.base.row(&name, &mut |row| batch.add(node.reader.cipher(), &name, Some(row))).unwrap();
    batch.open();
    let flushed = batch.value(0, RowKey::new(name, key.as_bytes())).unwrap().map(ValueRef::to_value);
    assert_eq!(flushed, Some(kept.value().to_value()), "{key}");
    true
}

/// One history, to its end.
fn trial(seed: u64) -> Tally {
    let chance = Seeded::new(seed);
    let leader = random_history(&chance);
    let mut twin = Twin::new(keks(7), BTreeMap::new());
    let states = states_of(&leader, &mut twin);
    let setup = Setup {
        threads: 1,
        run_entries: chance.pick(&[1, 3, 100]),
        table_bytes: chance.pick(&[1, 1, 120 << 10, 64 << 20]),
        kept_bytes: chance.pick(&[0, 200 << 10, 64 << 20]),
        ..Setup::default()
    };
    let mut log = leader.log.clone();
    let poisoned = chance.one_in(5).then(|| 5 + chance.index(log.len() - 6));
    if let Some(at) = poisoned {
        let mut data = log[at].entry.data.to_vec();
        *data.last_mut().unwrap() ^= 1;
        log[at].entry.data = Bytes::from(data);
    }
    let node = Node::start(TestBase::founded(), keks(7), &setup);
    let tally = Tally { tried: 1, ..Tally::default() };
    let player = Rc::new(RefCell::new(Player { node, setup, log, chance, tally, has_ended: false }));
    for _ in 0..40 {
        player.borrow_mut().turn();
        if player.borrow().has_ended {
            let player = &mut *player.borrow_mut();
            match poisoned {
                Some(at) if player.applied() as usize == at + 1 => {
                    player.log[at] = leader.log[at].clone();
                    player.tally.halts += 1;
                }
                _ => player.tally.failed_ingests += 1,
            }
            player.crash();
        } else if player.borrow().chance.one_in(25) {
            player.borrow_mut().crash();
        } else if player.borrow().applied() > 4 {
            read(&player, &states);
            if player.borrow().chance.one_in(4) {
                let player = player.borrow();
                player.node.reader.views().load().kept.shed_to(player.chance.pick(&[0, 1000, 100_000]));
            }
            if player.borrow().chance.one_in(8) {
                walk(&player, &states);
            }
        }
    }
    let player = &mut *player.borrow_mut();
    player.log.clone_from(&leader.log);
    // The last life: nothing fails any more, and everything is applied and flushed.
    player.crash();
    let left = leader.log[player.applied() as usize - 1..].to_vec();
    player.node.apply.offer(left);
    while player.node.apply.queued() > 0 {
        player.node.apply.step().unwrap();
    }
    player.node.apply.flush().unwrap();
    player.count();
    assert_eq!(player.node.picture(), twin.picture());
    assert_eq!(Picture::of_base(&player.node.base.memory), twin.picture(), "byte for byte");
    std::mem::take(&mut player.tally)
}

#[test]
fn random_histories_with_readers_flushes_faults_crashes_and_halts_are_as_one_entry_at_a_time() {
    let seeds = seeds(CI_RUNS);
    eprintln!("seeds {} to {}; one alone: SEALKV_SEED=N", seeds[0], seeds[seeds.len() - 1]);
    let (mut sum, mut failed) = (Tally::default(), 0);
    for &seed in &seeds {
        match catch_unwind(AssertUnwindSafe(|| trial(seed))) {
            Ok(tally) => sum.add(&tally),
            Err(_) => {
                MEANWHILE.set(None);
                eprintln!("failed: SEALKV_SEED={seed}");
                failed += 1;
            }
        }
    }
    sum.tried += failed;
    eprintln!("{sum:?}");
    eprintln!("{} tried, {failed} failed", sum.tried);
    assert_eq!(failed, 0);
    assert!(sum.tried < 500 || !sum.is_vacuous(), "nothing was shown: {sum:?}");
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        for (sum, one) in [
            (&mut self.tried, other.tried),
            (&mut self.reads, other.reads),
            (&mut self.moved, other.moved),
            (&mut self.frozen, other.frozen),
            (&mut self.lapped, other.lapped),
            (&mut self.walks, other.walks),
            (&mut self.kept, other.kept),
            (&mut self.read_back, other.read_back),
            (&mut self.flushes, other.flushes),
            (&mut self.failed_files, other.failed_files),
            (&mut self.failed_ingests, other.failed_ingests),
            (&mut self.held, other.held),
            (&mut self.full, other.full),
            (&mut self.crashes, other.crashes),
            (&mut self.halts, other.halts),
        ] {
            *sum += one;
        }
    }
}

fn with_entries(count: u64) -> Leader {
    let mut leader = Leader::sealed(50);
    for number in 0..count {
        leader.clients(&[set(&format!("k{number}"), &"v".repeat(1000))]);
    }
    leader
}

/// Goal: where nothing can be flushed apply waits before a run, reads go on, and free space is all that it takes.
#[test]
fn bounded_a_full_table_waits_for_its_flush_and_goes_on_once_the_file_can_be_written() {
    let leader = with_entries(6);
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.run(&leader.log[..4]).unwrap();
    for number in 0..20 {
        node.base.memory.arm(BaseFault::File(number, FileStep::Finish));
    }
    node.apply.offer(leader.log[4..].to_vec());
    assert!(matches!(node.apply.step(), Ok(ApplyProgress::Applied(_))), "one run may exceed the bound");
    for _ in 0..5 {
        assert_eq!(node.apply.step().unwrap(), ApplyProgress::Full);
    }
    assert_eq!(node.published().index.0, 6);
    assert!(node.notes.is_held.load(Relaxed), "nothing more comes into the log");
    assert!(node.flusher.trouble().unwrap().contains("cannot be written"), "{:?}", node.flusher);
    let name = row_name(&node.node_keys, b"k1");
    assert!(node.reader.value(RowKey::new(name, b"k1")).unwrap().is_some(), "reads go on");
    // There is space again.
    node.base.memory.crash();
    while node.apply.queued() > 0 {
        node.apply.step().unwrap();
    }
    assert_eq!((node.published().index.0, node.flusher.trouble()), (10, None));
    assert!(!node.notes.is_held.load(Relaxed));
    assert_eq!(Picture::of_base(&node.base.memory), node.picture());
}

/// Goal: memory that is full for want of disk space is given back by a FLUSHALL, though nothing can be flushed.
#[test]
fn bounded_a_flushall_gives_full_memory_back_where_no_file_can_be_written() {
    let mut leader = with_entries(200);
    leader.clients(&[WriteCommand::FlushAll]);
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 190_000, ..Setup::default() });
    for number in 0..1000 {
        node.base.memory.arm(BaseFault::File(number, FileStep::Finish));
    }
    node.apply.let_in(1 << 20);
    node.apply.offer(leader.log.clone());
    let last = leader.log.last().unwrap().entry.index;
    while node.published().index.next() != last {
        assert!(matches!(node.apply.step(), Ok(ApplyProgress::Applied(_))), "{:?}", node.apply);
    }
    assert!(node.notes.is_held.load(Relaxed), "memory is full: clients' writes wait outside of the log");
    node.apply.step().unwrap();
    for _ in 0..2 {
        assert_eq!(node.apply.step().unwrap(), ApplyProgress::Idle);
    }
    assert!(!node.notes.is_held.load(Relaxed), "what was removed is gone from memory");
    assert!(node.flusher.trouble().is_some(), "and the disk takes no file still");
}

#[test]
fn bounded_no_flush_begins_while_the_base_is_behind() {
    let leader = with_entries(3);
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.base.memory.set_pending_bytes(u64::MAX);
    node.apply.offer(leader.log.clone());
    node.apply.step().unwrap();
    assert_eq!(node.apply.step().unwrap(), ApplyProgress::Full);
    assert_eq!(node.base.memory.counts().begun, 0);
    assert_eq!(node.flusher.try_once().unwrap(), FlushTry::Held);
    node.base.memory.set_pending_bytes(0);
    while node.apply.queued() > 0 {
        node.apply.step().unwrap();
    }
    assert!(node.base.memory.counts().ingested > 1);
}

/// A leader with some rows of the first database, then an entry of `write` in another database or in the first, then one more row.
fn with_clear(database: Database, write: WriteCommand) -> (Leader, usize) {
    let mut leader = with_entries(5);
    let before = leader.log.len();
    let mut payload = Vec::new();
    encode_batch_if(leader.stamp_ms, &[], [(database, &write)], &mut payload).unwrap();
    leader.client_payload(&payload);
    leader.clients(&[set("after", "x")]);
    (leader, before)
}

/// Goal: on a full disk FLUSHALL gives space back. What could not be written is cleared by then, so the flush of the clear takes its
/// place and is small. Where the clear leaves anything of it, it stays.
#[test]
fn a_flush_that_cannot_be_written_gives_way_to_one_that_clears_all_of_it() {
    let third = Database::new(3).unwrap();
    let cases = [
        (Database::FIRST, WriteCommand::FlushAll, true),
        (Database::FIRST, WriteCommand::FlushDatabase, true),
        (third, WriteCommand::FlushDatabase, false),
    ];
    for (database, write, gives_way) in cases {
        let (leader, before) = with_clear(database, write);
        let mut node = Node::new(&Setup::default());
        node.apply.offer(leader.log[..before].to_vec());
        while node.apply.queued() > 0 {
            node.apply.step().unwrap();
        }
        (0..2).for_each(|nth| node.base.memory.arm(BaseFault::File(nth, FileStep::Begin)));
        node.flusher.ask();
        node.apply.step().unwrap();
        node.apply.offer(leader.log[before..].to_vec());
        assert_eq!(node.base.memory.counts().finished, 0, "it cannot be written");
        while node.apply.queued() > 0 {
            node.apply.step().unwrap();
        }
        assert_eq!(node.flusher.is_busy(), !gives_way, "{database:?}");
        assert_eq!(node.base.memory.counts().ingested, u64::from(gives_way));
        while node.flusher.is_busy() {
            let _ = node.flusher.try_once().unwrap();
        }
        node.apply.flush().unwrap();
        assert_eq!(Picture::of_base(&node.base.memory), node.picture());
        assert_eq!(node.base.memory.len(), if gives_way { 1 } else { 6 });
    }
}

/// Goal: files that are not merged hold up no flush that clears databases, up to a bound.
#[test]
fn bounded_a_flush_that_clears_is_let_through_while_the_base_is_behind() {
    let (leader, before) = with_clear(Database::FIRST, WriteCommand::FlushAll);
    let mut node = Node::new(&Setup { run_entries: 1, ..Setup::default() });
    node.apply.offer(leader.log[..=before].to_vec());
    while node.apply.queued() > 0 {
        node.apply.step().unwrap();
    }
    node.base.memory.set_pending_bytes(u64::MAX);
    node.flusher.ask();
    node.apply.step().unwrap();
    assert_eq!((node.base.memory.counts().ingested, node.flusher.is_busy()), (1, false));
    assert!(node.base.memory.is_empty());
    node.run(&leader.log).unwrap();
    node.flusher.ask();
    node.apply.step().unwrap();
    assert!(node.flusher.is_busy(), "the row behind it waits");
}

/// Goal: nobody knows whether a failed ingest is on the disk. The process ends, and both outcomes are a good state.
#[test]
fn an_ingest_that_fails_halts_with_74_and_is_never_tried_again_whether_the_disk_has_it_or_not() {
    let leader = with_entries(3);
    for survives in [false, true] {
        let mut node = Node::new(&Setup::default());
        node.run(&leader.log).unwrap();
        let picture = node.picture();
        node.base.memory.arm(BaseFault::Ingest { nth: 0, survives });
        let halt = node.apply.flush().unwrap_err();
        assert_eq!(halt.blame().status(), 74);
        assert_eq!(node.base.memory.counts().ingested, 0);
        assert!(node.apply.step().is_err(), "it stays halted");
        assert!(node.notes.trims.lock().unwrap().is_empty(), "the log keeps everything");
        let mut node = node.crash_and_restart(keks(7), &Setup::default());
        assert_eq!(node.picture() == picture, survives);
        node.run(&leader.log).unwrap();
        assert_eq!(node.picture(), picture);
    }
}

/// Goal: a value larger than the bound of the tables works, alone.
#[test]
fn bounded_a_value_that_is_larger_than_the_tables_may_be_works() {
    let mut leader = Leader::sealed(51);
    leader.clients(&[set("large", &"v".repeat(3 << 20)), set("small", "1")]);
    leader.clients(&[append("large", "x")]);
    let mut node = Node::new(&Setup { table_bytes: 1 << 20, ..Setup::default() });
    node.run(&leader.log).unwrap();
    let name = row_name(&node.node_keys, b"large");
    let value = node.reader.value(RowKey::new(name, b"large")).unwrap().unwrap();
    assert_eq!(value.bytes.len(), (3 << 20) + 1);
    assert!(node.metrics.flushes.load(Relaxed) > 0);
}

/// Goal: a flush writes the newest row of every name, past due or not; an older row below never shows again.
#[test]
fn a_row_that_is_past_due_at_its_flush_hides_the_older_one_below() {
    let mut leader = Leader::sealed(52);
    leader.clients(&[set("k", "without an end")]);
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log).unwrap();
    node.apply.flush().unwrap();
    let mut brief = set("k", "brief");
    if let WriteCommand::Set { expiry, .. } = &mut brief {
        *expiry = crate::fsm::command::Expiry::In(10);
    }
    leader.clients(&[brief]);
    leader.stamp_ms += 1_000_000;
    leader.clients(&[set("other", "1")]);
    node.run(&leader.log).unwrap();
    node.apply.flush().unwrap();
    let node = node.crash_and_restart(keks(7), &Setup::default());
    let name = row_name(&node.node_keys, b"k");
    let value = node.reader.value(RowKey::new(name, b"k")).unwrap().unwrap();
    assert_eq!(value.bytes, "brief");
    assert!(value.is_past_due(leader.stamp_ms));
}

/// Goal: a flush that cannot succeed does not hold up a stop. What is not flushed is in the log.
#[test]
fn a_stop_ends_the_wait_for_a_flush_that_cannot_succeed() {
    let leader = with_entries(20);
    let node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.base.memory.set_pending_bytes(u64::MAX);
    let reader = node.reader.clone();
    let (sender, handle) = node.on_threads(Arc::new(|halt| panic!("{halt}")));
    sender.send(leader.log.clone()).unwrap();
    while reader.views().load().position.index.0 < 2 {
        std::thread::yield_now();
    }
    drop(sender);
    handle.interrupt();
    handle.join().unwrap();
    assert!(reader.views().load().position.index.0 < 20, "it waited");
}

/// Goal: a disk that hangs does not hang a stop. The thread that hangs on it is left behind, and said so.
#[test]
fn bounded_a_flush_that_hangs_is_left_behind_at_a_stop() {
    let leader = with_entries(3);
    let node = Node::new(&Setup { flush_end: Duration::from_millis(40), ..Setup::default() });
    let base = Arc::clone(&node.base);
    let hangs = base.gate.lock().unwrap();
    let (sender, handle) = node.on_threads(Arc::new(|halt| panic!("{halt}")));
    sender.send(leader.log.clone()).unwrap();
    drop(sender);
    handle.interrupt();
    assert!(matches!(handle.join(), Err(NotEnded::Flush(NotJoined::Hangs { .. }))));
    assert_eq!(base.memory.counts().begun, 0);
    drop(hangs);
}

/// Goal: what is not needed any more is dropped before the next flush, not behind it: until then apply has half of the memory.
#[test]
fn rubble_is_dropped_before_the_next_flush() {
    let leader = with_entries(6);
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.apply.leave_flushes();
    node.apply.offer(leader.log.clone());
    while node.flusher.buried_bytes() == 0 {
        node.apply.step().unwrap();
        if node.flusher.is_busy() && node.flusher.buried_bytes() == 0 {
            assert!(matches!(node.flusher.next_work(None), FlushWork::Flush));
            assert!(matches!(node.flusher.try_once(), Ok(FlushTry::Done(_))));
        }
    }
    assert!(node.flusher.is_busy(), "both are to be done");
    let FlushWork::Drop(rubble) = node.flusher.next_work(None) else { panic!("the flush would come first") };
    node.flusher.drop_rubble(rubble);
    assert_eq!(node.flusher.buried_bytes(), 0);
    assert!(matches!(node.flusher.next_work(None), FlushWork::Flush));
}

/// Goal: an idle node flushes when it is asked.
#[test]
fn an_idle_node_flushes_when_it_is_asked() {
    let leader = with_entries(3);
    let node = Node::new(&Setup::default());
    let (base, reader) = (Arc::clone(&node.base), node.reader.clone());
    let (sender, handle) = node.on_threads(Arc::new(|halt| panic!("{halt}")));
    sender.send(leader.log.clone()).unwrap();
    while reader.views().load().position.index.0 < 7 {
        std::thread::yield_now();
    }
    assert_eq!(base.memory.counts().ingested, 0);
    handle.flush_asker().ask();
    while base.memory.counts().ingested == 0 {
        std::thread::yield_now();
    }
    drop(sender);
    handle.join().unwrap();
    assert_eq!(base.memory.counts().ingested, 1, "there was nothing more to flush");
}

const CI_RUNS: u64 = 1_000;

/// Waits for a base that is behind with merging, which has caught up at the third look.
fn catches_up(base: &TestBase, waited: &mut u32) -> impl FnMut(&FlushTry) -> bool {
    |tried| {
        assert_eq!(*tried, FlushTry::Held);
        *waited += 1;
        if *waited == 3 {
            base.memory.set_pending_bytes(0);
        }
        true
    }
}

/// Goal: a start gets to the commit of the log however long the base merges; a replay never ends before that without a word.
#[test]
fn bounded_a_replay_waits_while_the_base_is_behind_and_ends_with_the_reason_once_patience_ends() {
    let leader = with_entries(6);
    let entries = || leader.log.iter().map(|committed| committed.entry.clone());
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.base.memory.set_pending_bytes(u64::MAX);
    let (base, mut waited) = (Arc::clone(&node.base), 0);
    replay(&mut node.apply, entries(), |_| {}, catches_up(&base, &mut waited)).unwrap();
    assert_eq!((waited, node.published().index.0), (3, leader.log.len() as u64 + 1));
    assert_eq!(Picture::of_base(&node.base.memory), node.picture());

    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.base.memory.set_pending_bytes(u64::MAX);
    let halt = replay(&mut node.apply, entries(), |_| {}, |_| false).unwrap_err();
    assert!(matches!(&halt.cause, HaltCause::StateMachine(MachineError::Full { why }) if why.contains("behind")));
}

/// Goal: a replay and its flushes go on side by side: while a file is written the next table fills, and memory waits for the
/// flush alone, not for anybody's patience.
#[test]
fn a_replay_goes_on_while_a_thread_flushes_and_waits_for_it_where_memory_is_full() {
    let leader = with_entries(200);
    let entries = || leader.log.iter().map(|committed| committed.entry.clone());
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 190_000, ..Setup::default() });
    let flush = FlushThread::spawn(&mut node.apply, Arc::new(|halt| panic!("{halt}"))).unwrap();
    let (base, notes, reader) = (Arc::clone(&node.base), Arc::clone(&node.notes), node.reader.clone());
    let hangs = base.gate.lock().unwrap();
    std::thread::scope(|scope| {
        let replayed = scope.spawn(|| {
            replay_in_memory(&mut node.apply, entries(), |_| {}, |_| false).unwrap();
            flush_replayed(&mut node.apply, || true, |_| false).unwrap();
        });
        while reader.views().load().freezes == 0 {
            std::thread::yield_now();
        }
        while !notes.is_held.load(Relaxed) {
            std::thread::yield_now();
        }
        let view = reader.views().load();
        assert!(view.frozen.row_count() > 0 && view.table.row_count() > 0, "the next table filled meanwhile");
        assert_eq!(base.memory.counts().begun, 0, "the file is not even begun");
        drop(hangs);
        replayed.join().unwrap();
    });
    assert!(flush.failure().is_none());
    assert_eq!(node.published().index.0, leader.log.len() as u64 + 1);
    assert_eq!(Picture::of_base(&node.base.memory), node.picture());
}

/// Goal: an ingest that fails beside a replay ends the start with its own reason, at once.
#[test]
fn a_flush_that_fails_beside_a_replay_is_the_reason_of_its_end() {
    let leader = with_entries(40);
    let entries = || leader.log.iter().map(|committed| committed.entry.clone());
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.base.memory.arm(BaseFault::Ingest { nth: 0, survives: false });
    let (told, heard) = std::sync::mpsc::channel();
    let flush = FlushThread::spawn(&mut node.apply, Arc::new(move |halt| told.send(halt).unwrap())).unwrap();
    let waits = |_: &FlushTry| flush.failure().is_none();
    let ended = replay_in_memory(&mut node.apply, entries(), |_| {}, waits);
    let ended = ended.and_then(|()| flush_replayed(&mut node.apply, || true, waits));
    assert!(ended.is_err());
    assert!(Arc::ptr_eq(&flush.failure().unwrap(), &heard.recv().unwrap()));
    assert!(matches!(&flush.failure().unwrap().cause, HaltCause::StateMachine(MachineError::Ingest(_))));
}

/// Goal: a start that needs a flush goes on only once all that it replayed is flushed, and ends once its patience does.
#[test]
fn bounded_a_start_that_needs_a_flush_waits_for_it_and_flushes_all_of_it() {
    let leader = with_entries(6);
    let entries = || leader.log.iter().map(|committed| committed.entry.clone());
    let held = || {
        let mut node = Node::new(&Setup { run_entries: 1, ..Setup::default() });
        replay_in_memory(&mut node.apply, entries(), |_| {}, |_| false).unwrap();
        node.base.memory.set_pending_bytes(u64::MAX);
        node
    };
    let mut node = held();
    let (base, mut waited) = (Arc::clone(&node.base), 0);
    flush_replayed(&mut node.apply, || true, catches_up(&base, &mut waited)).unwrap();
    assert_eq!(waited, 3);
    assert_eq!(Picture::of_base(&node.base.memory), node.picture());

    for (needs, asked) in [(true, 1), (false, 0)] {
        let is_full = |halt: &Halt| matches!(&halt.cause, HaltCause::StateMachine(MachineError::Full { .. }));
        let (mut node, mut patience) = (held(), 0);
        let gives_up = |_: &FlushTry| {
            patience += 1;
            false
        };
        let flushed = flush_replayed(&mut node.apply, || needs, gives_up);
        assert_eq!(flushed.is_err_and(|halt| is_full(&halt)), needs);
        assert_eq!((patience, node.base.memory.counts().begun), (asked, 0), "where a slot is free nothing waits");
    }
}

/// Goal: nobody knows what the disk has after an ingest that failed, so not even a halt tries it again.
#[test]
fn an_ingest_that_failed_is_never_tried_again() {
    let leader = with_entries(3);
    let mut node = Node::new(&Setup { run_entries: 1, table_bytes: 1, ..Setup::default() });
    node.base.memory.arm(BaseFault::Ingest { nth: 0, survives: false });
    node.apply.offer(leader.log.clone());
    while node.apply.step().is_ok() {}
    let begun = node.base.memory.counts().begun;
    assert_eq!(begun, 1, "the halt tried no second file");
    assert!(matches!(node.flusher.try_once(), Ok(FlushTry::Failed(_))));
    assert!(node.apply.flush().is_err() || node.flusher.trouble().is_some());
    assert_eq!(node.base.memory.counts().begun, begun);
}
