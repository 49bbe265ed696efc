//! The run that is prepared while another one is executed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::apply::ahead::RunsAhead;
use crate::apply::open::Openings;
use crate::apply::run::RunBounds;
use crate::apply::tests::kit::CLUSTER;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::pool;
use crate::keys::node_keys::KeysAt;
use crate::keys::node_keys::NodeKeys;
use crate::raft::Committed;
use crate::testing::clock::SimClock;
use crate::testing::leader::Leader;

fn commands(count: u64) -> VecDeque<Committed> {
    let mut leader = Leader::new(31);
    leader.empty();
    for number in 0..count {
        leader.clients(&[set("k", &number.to_string())]);
    }
    leader.log.into()
}

fn keys() -> Arc<KeysAt> {
    NodeKeys::new(CLUSTER, keks(7)).current()
}

fn ahead(threads: usize) -> RunsAhead {
    RunsAhead::new(&Openings::eager(pool(threads)), Arc::new(SimClock::default()))
}

fn bounds(entries_max: usize) -> RunBounds {
    RunBounds { entries_max, ..RunBounds::default() }
}

#[test]
fn a_run_is_prepared_beside_another_one_and_is_the_next_one() {
    let (mut queue, keys, mut ahead) = (commands(9), keys(), ahead(2));
    assert_eq!(ahead.ready(&queue, &keys), None);
    ahead.beside(&queue, &keys, bounds(4), |prepared| assert!(prepared.is_none()));
    for left in [6, 2] {
        assert_eq!(ahead.ready(&queue, &keys), Some(4));
        drop(queue.drain(..4));
        assert_eq!(queue.len(), left);
        ahead.beside(&queue, &keys, bounds(4), |prepared| assert!(prepared.is_some()));
    }
    assert_eq!(ahead.ready(&queue, &keys), Some(2));
    drop(queue.drain(..));
    ahead.beside(&queue, &keys, bounds(4), |prepared| assert!(prepared.is_some()));
    assert_eq!(ahead.ready(&queue, &keys), None);
}

#[test]
fn what_was_prepared_by_other_keys_or_for_another_entry_is_thrown_away() {
    let (mut queue, before) = (commands(9), keys());
    let prepared = || {
        let mut ahead = ahead(2);
        ahead.beside(&commands(9), &before, bounds(4), |_| ());
        ahead
    };
    assert_eq!(prepared().ready(&queue, &before), Some(4));
    let mut other_keys = prepared();
    assert_eq!(other_keys.ready(&queue, &keys()), None);
    other_keys.beside(&queue, &before, bounds(4), |prepared| assert!(prepared.is_none()));
    drop(queue.pop_front());
    assert_eq!(prepared().ready(&queue, &before), None);
}

#[test]
fn nothing_is_prepared_without_threads_nor_behind_a_control_entry() {
    let (queue, keys) = (commands(9), keys());
    let mut alone = ahead(1);
    alone.beside(&queue, &keys, bounds(4), |_| ());
    assert_eq!(alone.ready(&queue, &keys), None);
    let mut leader = Leader::new(32);
    leader.empty();
    leader.bootstrap(true);
    let control = VecDeque::from([leader.log.pop().expect("the bootstrap")]);
    let mut before_control = ahead(2);
    before_control.beside(&control, &keys, bounds(4), |_| ());
    assert_eq!(before_control.ready(&control, &keys), None);
}

#[test]
fn where_clients_share_the_cores_only_a_much_larger_run_is_worth_a_thread() {
    let mut openings = Openings::new(pool(1));
    let runs = [vec![0; 400 << 10], vec![0; 1 << 20], vec![0; 8 << 20]];
    let worth = |openings: &Openings| runs.each_ref().map(|run| openings.is_worth_a_thread([&run[..]].into_iter()));
    assert_eq!(worth(&openings), [false, true, true]);
    openings.share_cores();
    assert_eq!(worth(&openings), [false, false, true]);
    assert_eq!(worth(&openings.beside()), [false, false, true]);
}
