//! N2 and N3 with real keys: what comes before the first client command, and what is sealed.

use std::sync::Arc;
use std::time::Duration;

use super::rig::Rig;
use super::rig::node_keys;
use super::rig::set;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::change::BootstrapKind;
use crate::keys::node_keys::KeysAt;
use crate::propose::due::ControlQueue;
use crate::propose::due::Due;
use crate::propose::due::Next;
use crate::propose::due::Scene;
use crate::propose::orders::Orders;
use crate::propose::*;
use crate::raft::LeaderView;
use crate::testing::clock::SimClock;

#[test]
fn n2_bootstrap_and_opener_come_before_the_first_client_command() {
    let mut rig = Rig::new(Mode::On);
    rig.handle.propose(rig.request(1, vec![set("k", b"canary-in-the-log")])).unwrap();
    rig.settle();
    assert_eq!(rig.words(), ["empty", "clear bootstrap", "sealed opener", "sealed batch of 1"]);
    assert_eq!(rig.node_keys.cutover(), Index(3), "the bootstrap is the cutover");
    assert_eq!(rig.ends(), [(1, "Replies([Ok])".to_owned())]);
    let holds = |needle: &[u8]| rig.entries.iter().any(|entry| entry.data.windows(needle.len()).any(|at| at == needle));
    assert!(!holds(b"canary"), "the log holds no plaintext");
}

#[test]
fn every_term_has_its_own_opener_before_its_client_commands() {
    let mut rig = Rig::new(Mode::On);
    rig.settle();
    let salt = |rig: &Rig| *rig.node_keys.current().keyring().unwrap().opener().unwrap();
    let first = salt(&rig);
    let mut rig = rig.restarted(Mode::On);
    rig.handle.propose(rig.request(1, vec![set("k", b"v")])).unwrap();
    rig.settle();
    assert_eq!(rig.words(), ["empty", "sealed opener", "sealed batch of 1"]);
    let second = salt(&rig);
    assert_eq!(second.term, Term(first.term.0 + 1));
    assert_ne!(second.salt, first.salt);
}

// The step between: a control entry that is committed and not yet applied here still closes the gate.
#[test]
fn n3_each_control_entry_is_applied_before_the_next_is_proposed() {
    let mut rig = Rig::new(Mode::On);
    rig.handle.propose(rig.request(1, vec![set("k", b"v")])).unwrap();
    rig.step();
    for last in [2, 3, 4] {
        assert_eq!(rig.raft.status().last, Index(last));
        rig.persist();
        for _ in 0..5 {
            rig.forward(100);
        }
        assert_eq!(rig.raft.status().last, Index(last), "nothing behind {last} before it is applied");
        rig.apply();
    }
    assert_eq!(rig.raft.status().last, Index(5));
}

#[test]
fn without_a_kek_nothing_but_client_entries_is_made_and_they_are_in_the_clear() {
    let mut rig = Rig::new(Mode::Off);
    rig.handle.propose(rig.request(1, vec![set("k", b"in the clear")])).unwrap();
    rig.settle();
    assert_eq!(rig.words(), ["empty", "clear batch of 1"]);
    assert_eq!(rig.node_keys.cutover(), Index::NEVER);
}

#[test]
fn ready_makes_the_keys_and_seals_nothing() {
    let mut rig = Rig::new(Mode::Ready);
    rig.handle.propose(rig.request(1, vec![set("k", b"v")])).unwrap();
    rig.settle();
    assert_eq!(rig.words(), ["empty", "clear bootstrap", "clear batch of 1"]);
    let mut rig = rig.restarted(Mode::On);
    rig.handle.propose(rig.request(2, vec![set("k", b"v")])).unwrap();
    rig.settle();
    assert_eq!(rig.words(), ["empty", "clear cutover", "sealed opener", "sealed batch of 1"]);
}

#[test]
fn a_bootstrap_behind_client_commands_is_not_the_cutover_and_leaves_names() {
    let keys = node_keys(Mode::On).current();
    let facts = (Index::NEVER, true);
    let mut queue = ControlQueue::default();
    let next = ask(&mut queue, Mode::On, view(5, 9), &keys, facts, Duration::ZERO);
    assert_eq!(next, Next::Control { due: Due::Bootstrap(BootstrapKind::ClearNames), is_ordered: false });
}

#[test]
fn a_cutover_without_keys_here_lets_no_client_through() {
    let keys = node_keys(Mode::Off).current();
    let facts = (Index(4), true);
    let next = ask(&mut ControlQueue::default(), Mode::Off, view(5, 9), &keys, facts, Duration::ZERO);
    assert_eq!(
        next,
        Next::Control { due: Due::Opener, is_ordered: false },
        "which cannot be sealed, so nothing is proposed"
    );
}

#[test]
fn a_control_entry_without_effect_is_made_again_after_a_pause() {
    let keys = node_keys(Mode::On).current();
    let facts = (Index::NEVER, false);
    let mut queue = ControlQueue::default();
    let due = Due::Bootstrap(BootstrapKind::Cutover);
    let ms = Duration::from_millis;
    assert_eq!(ask(&mut queue, Mode::On, view(5, 9), &keys, facts, ms(0)), Next::Control { due, is_ordered: false });
    queue.placed(at(5, 10), due, false);
    assert_eq!(ask(&mut queue, Mode::On, view(5, 9), &keys, facts, ms(10)), Next::Wait);
    assert_eq!(ask(&mut queue, Mode::On, view(5, 10), &keys, facts, ms(20)), Next::Wait);
    assert_eq!(
        ask(&mut queue, Mode::On, view(5, 10), &keys, facts, ms(1100)),
        Next::Control { due, is_ordered: false }
    );
    queue.placed(at(5, 11), due, false);
    assert_eq!(
        ask(&mut queue, Mode::On, view(6, 10), &keys, facts, ms(3000)),
        Next::Control { due, is_ordered: false },
        "dropped with its term"
    );
}

#[test]
fn n2_the_gate_is_closed_before_the_own_term_is_applied() {
    let keys = node_keys(Mode::Off).current();
    let facts = (Index::NEVER, false);
    let early = LeaderView { own_term_applied: false, ..view(5, 9) };
    assert_eq!(ask(&mut ControlQueue::default(), Mode::Off, early, &keys, facts, Duration::ZERO), Next::Wait);
    assert_eq!(ask(&mut ControlQueue::default(), Mode::Off, view(5, 9), &keys, facts, Duration::ZERO), Next::Clients);
}

/// `facts`: the cutover, and whether a client command was applied.
fn ask(
    queue: &mut ControlQueue,
    mode: Mode,
    view: LeaderView,
    keys: &KeysAt,
    facts: (Index, bool),
    now: Duration,
) -> Next {
    let has_kek = mode != Mode::Off;
    let (cutover, has_client_commands) = facts;
    let limits = RenewLimits::default();
    let lacks_clear_names = false;
    let scene =
        Scene { mode, view: &view, keys, cutover, has_client_commands, has_kek, lacks_clear_names, limits, now };
    let applied = AppliedFacts::new(Arc::new(SimClock::default()), 0, has_client_commands);
    queue.next(&scene, &Orders::default(), &applied)
}

fn at(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

fn view(term: u64, applied: u64) -> LeaderView {
    LeaderView {
        term: Term(term),
        last_index: Index(applied),
        applied: Position { term: Term(term), index: Index(applied) },
        own_term_applied: true,
        is_blocked: false,
        space_bytes: 1 << 30,
        clear_bytes: 1 << 30,
        is_held: false,
    }
}
