//! What is allocated, counted in steady state: nothing for the nil hook, nothing per entry for opening a run, nothing for a GET, nothing
//! for a row that is overwritten.

#![allow(unsafe_code, reason = "a global allocator that counts is the only witness")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it counted")]

mod reads;
mod writes;

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use sealkv::apply::halt::HaltCause;
use sealkv::apply::hook::Delivery;
use sealkv::apply::hook::Hook;
use sealkv::apply::hook::StateMachine;
use sealkv::apply::open::Openings;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::keystore::Dek;
use sealkv::crypto::keystore::KeyStore;
use sealkv::crypto::keystore::Purpose;
use sealkv::crypto::keystore::TermSalt;
use sealkv::crypto::open::EntryKeys;
use sealkv::entry::EntryKind;
use sealkv::entry::LogEntry;
use sealkv::ids::ClusterId;
use sealkv::ids::Cutover;
use sealkv::ids::Index;
use sealkv::ids::KeyId;
use sealkv::ids::Position;
use sealkv::ids::ProposalId;
use sealkv::ids::Term;
use sealkv::propose::seal::LeaderSealer;
use sealkv::propose::seal::Proposal;
use sealkv::propose::seal::seal_batch;
use sealkv::world::KernelEntropy;

/// Counts every request for memory: by the thread that makes it, and all together.
struct Counting;

thread_local! {
    static HERE: Cell<u64> = const { Cell::new(0) };
}
static EVERYWHERE: AtomicU64 = AtomicU64::new(0);

fn count() {
    EVERYWHERE.fetch_add(1, Relaxed);
    // A thread that ends may free and ask when its locals are gone.
    let _ = HERE.try_with(|here| here.set(here.get() + 1));
}

// SAFETY: every call is handed to `System` as it came; counting allocates nothing (a `Cell` without destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests for memory by this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = HERE.get();
    work();
    HERE.get() - before
}

const ENTRIES: usize = 4096;
const LENGTHS: [usize; 8] = [1, 2, 3, 17, 64, 256, 1000, ENTRIES];
const CUTOVER: Index = Index(9);

/// Takes in every payload without keeping any.
#[derive(Default)]
struct Sum {
    entries: u64,
    bytes: u64,
}

impl StateMachine for Sum {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        self.entries += 1;
        self.bytes += delivery.payload.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        Ok(())
    }
}

fn log(data: impl Iterator<Item = bytes::Bytes>) -> Vec<LogEntry> {
    let entry = |(index, data)| LogEntry { term: Term(3), index: Index(index), kind: EntryKind::Normal, data };
    (CUTOVER.0 + 1..).zip(data).map(entry).collect()
}

fn payloads() -> impl Iterator<Item = Vec<u8>> {
    (0..ENTRIES).map(|number| vec![number as u8; 100 + number % 57])
}

fn clear_log() -> Vec<LogEntry> {
    let frame = |(id, payload): (u64, Vec<u8>)| EntryFrame { proposal_id: ProposalId(id), payload: &payload }.encode();
    log((0..).zip(payloads()).map(frame))
}

fn proposals(count: usize) -> Vec<Proposal> {
    (0..).zip(payloads().take(count)).map(|(id, payload)| Proposal::new(ProposalId(id), &payload)).collect()
}

struct Keys {
    store: KeyStore,
    term_salt: TermSalt,
}

impl Keys {
    fn new() -> Keys {
        let store = KeyStore::new(ClusterId([1; 16]));
        store.insert(KeyId::new(1).unwrap(), Purpose::Entry, Dek::new(&[7; 32])).unwrap();
        Keys { store, term_salt: TermSalt { term: Term(3), index: CUTOVER, salt: [5; 32] } }
    }

    fn opening(&self) -> EntryKeys {
        EntryKeys::new(self.store.snapshot(), Some(self.term_salt))
    }

    fn seal(&self, proposals: Vec<Proposal>) -> Vec<bytes::Bytes> {
        let key = self.store.snapshot().entry(KeyId::new(1).unwrap()).unwrap().leadership(&self.term_salt);
        let first = Position { term: Term(3), index: CUTOVER.next() };
        seal_batch(Some(&LeaderSealer::new(&key, &KernelEntropy)), first, proposals).unwrap()
    }
}

fn hook(cutover: Index, openings: Openings) -> Hook {
    let shared = Arc::new(Cutover::default());
    shared.set(cutover);
    Hook::new(shared, openings)
}

/// Not inlined, so that a profiler can name it: see the last test.
#[inline(never)]
fn through_the_hook(hook: &mut Hook, entries: &[LogEntry], keys: Option<&EntryKeys>, machine: &mut Sum) {
    assert_eq!(hook.open_and_deliver(black_box(entries), keys, machine).unwrap(), entries.len());
}

#[inline(never)]
fn without_the_hook(entries: &[LogEntry], machine: &mut Sum) {
    for entry in black_box(entries) {
        let frame = EntryFrame::decode(&entry.data).unwrap();
        let position = entry.position();
        let delivery = Delivery { position, proposal_id: frame.proposal_id, payload: frame.payload, entry_tag: None };
        machine.apply(delivery).unwrap();
    }
}

#[test]
fn the_nil_hook_allocates_nothing_with_keys_or_without() {
    let entries = clear_log();
    let keys = Keys::new().opening();
    let mut machine = Sum::default();
    let mut by_default = Hook::default();
    let mut at_the_end = hook(entries[ENTRIES - 1].index, Openings::new(None));
    for length in LENGTHS {
        let run = &entries[..length];
        assert_eq!(allocations(|| through_the_hook(&mut by_default, run, None, &mut machine)), 0, "{length} entries");
        assert_eq!(allocations(|| through_the_hook(&mut by_default, run, Some(&keys), &mut machine)), 0);
        assert_eq!(allocations(|| through_the_hook(&mut at_the_end, run, Some(&keys), &mut machine)), 0);
    }
    assert_eq!(machine.entries, 3 * LENGTHS.iter().sum::<usize>() as u64);
}

/// The plan of a part and the messages of its one key.
const PER_PART: u64 = 2;
/// A run is opened in parts of so many bytes, a batch sealed in as large ones.
const PART_BYTES: usize = 64 << 10;

#[test]
fn opening_a_run_into_a_reused_arena_allocates_by_its_parts_and_not_by_its_entries() {
    let keys = Keys::new();
    let entries = log(keys.seal(proposals(ENTRIES)).into_iter());
    let opening = keys.opening();
    let mut hook = hook(CUTOVER, Openings::new(None));
    let mut machine = Sum::default();
    // The longest run once: the arena has its size, the thread its place in the key store.
    through_the_hook(&mut hook, &entries, Some(&opening), &mut machine);
    for length in LENGTHS {
        let counted = allocations(|| through_the_hook(&mut hook, &entries[..length], Some(&opening), &mut machine));
        let bytes: usize = entries[..length].iter().map(|entry| entry.data.len()).sum();
        assert_eq!(counted, PER_PART * bytes.div_ceil(PART_BYTES) as u64, "a run of {length}");
    }
    let mut expected = Sum::default();
    without_the_hook(&clear_log(), &mut expected);
    let mut machine = Sum::default();
    through_the_hook(&mut hook, &entries, Some(&opening), &mut machine);
    assert_eq!((machine.entries, machine.bytes), (expected.entries, expected.bytes), "and it was opened");
}

#[test]
fn opening_a_run_in_parallel_allocates_by_its_parts_and_not_by_its_entries() {
    let keys = Keys::new();
    let entries = log(keys.seal(proposals(ENTRIES)).into_iter());
    let opening = keys.opening();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let mut hook = hook(CUTOVER, Openings::eager(Some(Arc::new(pool))));
    let mut machine = Sum::default();
    for _ in 0..50 {
        through_the_hook(&mut hook, &entries, Some(&opening), &mut machine);
    }
    // Four parts: messages and a boxed job each; the pool's queue takes a block now and then. The other tests of this
    // process count here as well while they last, so the quietest of many runs is the one that tells.
    let quietest = (0..200).map(|_| {
        let before = EVERYWHERE.load(Relaxed);
        through_the_hook(&mut hook, &entries, Some(&opening), &mut machine);
        EVERYWHERE.load(Relaxed) - before
    });
    let quietest = quietest.min().unwrap();
    assert!(quietest < 100, "{quietest} allocations for a run of {ENTRIES}");
}

#[test]
fn sealing_a_batch_allocates_by_its_arenas_and_not_by_its_entries() {
    let keys = Keys::new();
    drop(keys.seal(proposals(1)));
    let counted = |length| {
        let batch = proposals(length);
        let mut sealed = Vec::new();
        let counted = allocations(|| sealed = keys.seal(batch));
        assert_eq!(sealed.len(), length);
        (counted, sealed.iter().map(bytes::Bytes::len).sum::<usize>())
    };
    let (one, _) = counted(2);
    for length in [16, 64, 256, ENTRIES] {
        let (counted, bytes) = counted(length);
        // An arena ends before the entry that would not fit.
        let arenas = bytes.div_ceil(PART_BYTES - 300) as u64;
        assert!((one..=one * arenas).contains(&counted), "{counted} for a batch of {length}, {one} for an arena");
    }
    println!("{one} allocations for a batch");
}

/// Goal: under `valgrind --tool=callgrind --toggle-collect='*through_the_hook*'`, and once more with
/// `'*without_the_hook*'`, the difference is what the nil hook costs; alone it only holds that both see the same.
#[test]
fn the_nil_hook_gives_what_is_given_without_it() {
    let entries = clear_log();
    let (mut with, mut without) = (Sum::default(), Sum::default());
    through_the_hook(&mut Hook::default(), &entries, None, &mut with);
    without_the_hook(&entries, &mut without);
    assert_eq!((with.entries, with.bytes), (without.entries, without.bytes));
}
