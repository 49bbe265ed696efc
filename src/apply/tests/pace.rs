//! Tables that fill while a flush waits: slowly, and in the end to their bound.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::apply::apply_loop::ApplyProgress;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::testing::clock::SimClock;

const TABLE_BYTES: u64 = 1 << 20;

/// A node with a flush that waits for its base, which has as many entries as fill its tables three times.
fn held(clock: &Arc<SimClock>) -> Node {
    let setup = Setup { run_entries: 1, table_bytes: TABLE_BYTES, clock: Arc::clone(clock) as _, ..Setup::default() };
    let mut node = Node::new(&setup);
    node.base.memory.set_pending_bytes(u64::MAX);
    let mut leader = Leader::sealed(50);
    let value = "v".repeat(8 << 10);
    for number in 0..384 {
        leader.clients(&[set(&format!("k{number}"), &value)]);
    }
    node.apply.offer(leader.log.clone());
    while !node.flusher.is_busy() {
        assert!(matches!(node.apply.step(), Ok(ApplyProgress::Applied(_))));
    }
    node
}

/// Steps until there is no space.
fn fill(node: &mut Node) -> u64 {
    while node.apply.step().unwrap() != ApplyProgress::Full {}
    node.apply.state().memory_bytes()
}

#[test]
fn bounded_tables_fill_slowly_while_a_flush_waits_and_full_speed_comes_back_behind_it() {
    let clock = Arc::new(SimClock::showing(Duration::ZERO, 1));
    let mut node = held(&clock);
    node.apply.keep_pace();
    let mut before = fill(&mut node);
    assert!(before < TABLE_BYTES / 2, "{before}");
    for _ in 0..5 {
        clock.advance_ms(500);
        let bytes = fill(&mut node);
        assert!(bytes > before && bytes < TABLE_BYTES, "{bytes} behind {before}");
        before = bytes;
    }
    assert!(!node.notes.is_held.load(Relaxed), "nobody is told to try again");
    // It takes too long: memory gets full, and clients are told.
    clock.advance_ms(60_000);
    assert!(fill(&mut node) >= TABLE_BYTES);
    assert!(node.notes.is_held.load(Relaxed));
    node.base.memory.set_pending_bytes(0);
    while node.apply.queued() > 0 {
        node.apply.step().unwrap();
    }
    assert!(!node.notes.is_held.load(Relaxed));
}

#[test]
fn a_replay_goes_at_full_speed() {
    let clock = Arc::new(SimClock::showing(Duration::ZERO, 1));
    let mut node = held(&clock);
    assert!(fill(&mut node) >= TABLE_BYTES);
}

#[test]
fn the_base_hears_of_every_entry_long_before_it_gets_a_file() {
    let mut leader = Leader::sealed(51);
    for number in 0..4 {
        leader.clients(&[set(&format!("k{number}"), "v")]);
    }
    let mut node = Node::new(&Setup { run_entries: 1, ..Setup::default() });
    for count in [leader.log.len() - 2, leader.log.len()] {
        node.run(&leader.log[..count]).unwrap();
        let bytes: usize = leader.log[..count].iter().map(|committed| committed.entry.data.len()).sum();
        assert_eq!(node.base.heard.load(SeqCst), bytes as u64);
    }
    assert!(node.notes.trims.lock().unwrap().is_empty(), "nothing was flushed");
}
