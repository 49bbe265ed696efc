//! Rows that stay in memory behind a flush: never older than the base, and never in the way of what is new.

use crate::apply::apply_loop::ApplyProgress;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::append;
use crate::apply::tests::kit::delete;
use crate::apply::tests::kit::row_name;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::RowKey;
use crate::fsm::reader::Base;
use crate::fsm::reader::ShownValue;
use crate::testing::base::BaseFault;
use crate::testing::base::FileStep;

/// Applies what is new of the log, and flushes it.
fn run_and_flush(node: &mut Node, leader: &Leader) {
    node.run(&leader.log).unwrap();
    node.flusher.ask();
    while node.flusher.is_asked() || node.flusher.is_busy() {
        node.apply.step().unwrap();
    }
}

/// Sets so many keys, and flushes each by itself.
fn set_and_flush_each(node: &mut Node, leader: &mut Leader, count: usize) {
    for number in 0..count {
        leader.clients(&[set(&format!("k{number}"), "v")]);
        run_and_flush(node, leader);
    }
}

fn read(node: &Node, key: &str) -> Option<String> {
    let name = row_name(&node.node_keys, key.as_bytes());
    let value = node.reader.value(RowKey::new(name, key.as_bytes())).unwrap();
    value.map(|value| String::from_utf8(value.bytes.to_vec()).unwrap())
}

fn memory_bytes(node: &Node) -> u64 {
    let view = node.reader.views().load();
    view.table.memory_bytes() + view.frozen.memory_bytes() + view.kept.memory_bytes()
}

fn node() -> (Node, Leader) {
    (Node::new(&Setup { run_entries: 1, table_bytes: TABLE_BYTES, ..Setup::default() }), Leader::sealed(50))
}

#[test]
fn what_was_flushed_long_ago_is_in_memory_still_and_what_was_deleted_is_not() {
    let (mut node, mut leader) = node();
    set_and_flush_each(&mut node, &mut leader, 5);
    leader.clients(&[delete("k0")]);
    run_and_flush(&mut node, &leader);
    leader.clients(&[set("k5", "v")]);
    run_and_flush(&mut node, &leader);
    let view = node.reader.views().load();
    assert_eq!((view.table.row_count(), view.frozen.row_count(), view.kept.row_count()), (0, 1, 5));
    assert_eq!((read(&node, "k0"), read(&node, "k1")), (None, Some("v".into())));
}

/// Goal: a table of which nothing stays is no reason to answer what stood before it.
#[test]
fn a_table_too_large_to_stay_leaves_nothing_old_in_memory() {
    let (mut node, mut leader) = node();
    leader.clients(&[set("k", "old"), set("other", "v")]);
    run_and_flush(&mut node, &leader);
    assert_eq!(node.reader.views().load().kept.row_count(), 2);
    leader.clients(&[set("k", "new"), set("large", &"v".repeat(TABLE_BYTES as usize / 3))]);
    run_and_flush(&mut node, &leader);
    assert_eq!(node.reader.views().load().kept.row_count(), 0);
    leader.clients(&[set("small", "v")]);
    run_and_flush(&mut node, &leader);
    assert_eq!((read(&node, "k"), read(&node, "other")), (Some("new".into()), Some("v".into())));
}

#[test]
fn what_was_cleared_leaves_memory_without_a_flush() {
    let (mut node, mut leader) = node();
    set_and_flush_each(&mut node, &mut leader, 3);
    assert_eq!(node.reader.views().load().kept.row_count(), 3);
    leader.clients(&[WriteCommand::FlushAll]);
    node.run(&leader.log).unwrap();
    assert_eq!(node.reader.views().load().kept.memory_bytes(), 0);
    assert_eq!(read(&node, "k0"), None);
}

#[test]
fn bounded_kept_rows_give_way_to_tables_and_never_make_apply_wait() {
    let (mut node, mut leader) = node();
    for round in 0..40 {
        for number in 0..20 {
            leader.clients(&[set(&format!("k{round}-{number}"), &"v".repeat(1000))]);
        }
        node.run(&leader.log).unwrap();
        // Room is made before a run, for what the one before has left.
        assert!(memory_bytes(&node) <= TABLE_BYTES + RUN_BYTES, "{:?}", node.reader.views().load().kept);
        if round % 4 == 3 {
            run_and_flush(&mut node, &leader);
            let view = node.reader.views().load();
            // The rest is for the next table.
            assert!(
                view.frozen.memory_bytes() + view.kept.memory_bytes() <= TABLE_BYTES * 2 / 3 + 1,
                "{:?}",
                view.kept
            );
            assert!(memory_bytes(&node) <= TABLE_BYTES, "{:?}", view.kept);
        }
    }
    let view = node.reader.views().load();
    assert!(view.kept.memory_bytes() > TABLE_BYTES / 4, "{:?}", view.kept);
    assert!(view.kept.row_count() < 800, "some have given way");
    // Nothing can be flushed: tables take all of it, and apply waits only then.
    (0..1000).for_each(|nth| node.base.memory.arm(BaseFault::File(nth, FileStep::Finish)));
    node.flusher.ask();
    leader.clients(&[set("more", "v")]);
    node.run(&leader.log).unwrap();
    assert!(node.flusher.is_busy() && node.reader.views().load().kept.memory_bytes() > TABLE_BYTES / 4);
    for number in 0..1500 {
        leader.clients(&[set(&format!("more{number}"), &"v".repeat(1000))]);
    }
    let next = node.apply.applied().position.index.0 as usize - 1;
    node.apply.offer(leader.log[next..].to_vec());
    while node.apply.step().unwrap() != ApplyProgress::Full {
        assert!(memory_bytes(&node) <= TABLE_BYTES + RUN_BYTES, "{:?}", node.reader.views().load().kept);
    }
    assert_eq!(node.reader.views().load().kept.memory_bytes(), 0);
}

fn node_with_part() -> (Node, Leader) {
    let setup = Setup { run_entries: 1, table_bytes: TABLE_BYTES, kept_bytes: 8 * TABLE_BYTES, ..Setup::default() };
    (Node::new(&setup), Leader::sealed(50))
}

/// Goal: with a part of their own rows stay through any number of flushes, of full tables too, and never beyond it.
#[test]
fn with_a_part_of_their_own_kept_rows_stay_however_full_the_tables_are() {
    let (mut node, mut leader) = node_with_part();
    let mut most = 0;
    for round in 0..30 {
        for number in 0..400 {
            leader.clients(&[set(&format!("k{round}-{number}"), &"v".repeat(1000))]);
        }
        run_and_flush(&mut node, &leader);
        let view = node.reader.views().load();
        let kept = view.kept.memory_bytes();
        assert!(kept <= 8 * TABLE_BYTES && kept >= view.frozen.memory_bytes(), "{kept} {:?}", view.frozen);
        most = most.max(kept);
    }
    assert!(most > 7 * TABLE_BYTES, "{most}");
}

/// Goal: what is dropped of them is no reason to hold the log, if it is as much as the whole part.
#[test]
fn kept_rows_that_a_clear_has_buried_hold_nobody() {
    let (mut node, mut leader) = node_with_part();
    for number in 0..4000 {
        leader.clients(&[set(&format!("k{number}"), &"v".repeat(1000))]);
    }
    run_and_flush(&mut node, &leader);
    let held = node.reader.views().load().kept.memory_bytes();
    assert!(held > 4 * TABLE_BYTES);
    node.flusher.attend();
    leader.clients(&[WriteCommand::FlushAll]);
    node.run(&leader.log).unwrap();
    assert!(node.flusher.buried_bytes() >= held, "the thread that flushes has not dropped them yet");
    assert!(node.apply.state().memory_bytes() < TABLE_BYTES, "{}", node.apply.state().memory_bytes());
}

/// Goal: a node that was started anew has in memory what was read since, as it is now.
#[test]
fn what_was_read_from_disk_stays_in_memory_until_it_is_written_again() {
    let (mut node, mut leader) = node_with_part();
    leader.clients(&[set("k", "v"), set("other", "v")]);
    run_and_flush(&mut node, &leader);
    node.reader.views().load().kept.shed_to(0);
    leader.clients(&[set("more", "v")]);
    run_and_flush(&mut node, &leader);
    let view = node.reader.views().load();
    assert_eq!((view.kept.row_count(), view.frozen.row_count()), (1, 1));
    let names = ["k", "other", "none"].map(|key| row_name(&node.node_keys, key.as_bytes()));
    let asked =
        [(names[0], "k"), (names[1], "other"), (names[2], "none")].map(|(name, key)| RowKey::new(name, key.as_bytes()));
    let mut shown = Vec::new();
    let mut show = |_, value: ShownValue<'_>| {
        shown.push(value.unwrap().map(|value| value.bytes.to_vec()));
        true
    };
    node.reader.show_each(&asked, &mut show).unwrap();
    assert_eq!(shown, [Some(b"v".to_vec()), Some(b"v".to_vec()), None]);
    assert_eq!(view.kept.row_count(), 3, "an absent row is not kept");
    // Whose key it is is asked of a kept row too.
    let mut other = Vec::new();
    let mut show = |_, value: ShownValue<'_>| {
        other.push(value.is_err());
        true
    };
    node.reader.show_each(&[RowKey::new(names[0], b"another key")], &mut show).unwrap();
    assert_eq!(other, [true]);
    leader.clients(&[append("k", "w"), delete("other")]);
    run_and_flush(&mut node, &leader);
    leader.clients(&[set("more", "v")]);
    run_and_flush(&mut node, &leader);
    assert_eq!((read(&node, "k"), read(&node, "other")), (Some("vw".into()), None));
    assert_eq!(node.reader.views().load().kept.row_count(), 2);
}

const TABLE_BYTES: u64 = 1 << 20;
/// What one entry of this test adds at most: a row, and a map that grows.
const RUN_BYTES: u64 = 64 << 10;
