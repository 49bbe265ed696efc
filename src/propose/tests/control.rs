//! What an operator asks for, through the gate: the online cutover, rotations, and renewal at the limits (N4).

use super::rig::Rig;
use super::rig::Setup;
use super::rig::set;
use crate::crypto::keystore::Purpose;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::propose::*;

const ENABLE: ControlRequest = ControlRequest::Enable;

/// A node in mode ready with one entry of a client; its bootstrap is at 3, that entry at 4.
fn ready() -> Rig {
    let mut rig = Rig::new(Mode::Ready);
    rig.handle.propose(rig.request(0, vec![set("k", b"before")])).unwrap();
    rig.settle();
    rig.ends();
    assert_eq!(rig.words(), ["empty", "clear bootstrap", "clear batch of 1"]);
    rig
}

fn set_one(rig: &Rig, name: u32) {
    rig.handle.propose(rig.request(name, vec![set("k", b"v")])).unwrap();
}

fn named(name: u32, end: &str) -> (u32, String) {
    (name, end.to_owned())
}

#[test]
fn enable_seals_everything_above_the_cutover_and_nothing_up_to_it() {
    let mut rig = ready();
    set_one(&rig, 1);
    rig.control(2, ENABLE);
    set_one(&rig, 3);
    rig.settle();
    // The request of the operator closes the gate: clients wait, and none is lost.
    assert_eq!(rig.words(), ["clear cutover", "sealed opener", "sealed batch of 1", "sealed batch of 1"]);
    assert_eq!(rig.node_keys.cutover(), Index(5));
    let done = named(2, "Ok(Enabled { cutover: Index(5) })");
    assert_eq!(rig.ends(), [done, named(1, "Replies([Ok])"), named(3, "Replies([Ok])")]);
}

// The three steps one at a time: nobody is told before the opener is applied, no client goes in between.
#[test]
fn enable_is_answered_when_the_opener_is_applied_and_clients_wait_until_then() {
    let mut rig = ready();
    rig.control(2, ENABLE);
    set_one(&rig, 3);
    rig.step();
    for last in [5, 6] {
        assert_eq!(rig.raft.status().last, Index(last));
        rig.persist();
        for _ in 0..5 {
            rig.forward(100);
        }
        assert_eq!(rig.raft.status().last, Index(last), "N3: nothing behind a control entry before it is applied");
        assert_eq!(rig.ends(), []);
        rig.apply();
    }
    assert_eq!(rig.raft.status().last, Index(7));
    assert_eq!(rig.ends(), [named(2, "Ok(Enabled { cutover: Index(5) })")]);
}

#[test]
fn enable_again_says_since_when() {
    let mut rig = ready();
    rig.control(1, ENABLE);
    rig.control(2, ENABLE);
    rig.settle();
    let on = named(2, "Err(IsOn { cutover: Index(5) })");
    assert_eq!(rig.ends(), [named(1, "Ok(Enabled { cutover: Index(5) })"), on]);
    assert_eq!(rig.words(), ["clear cutover", "sealed opener"]);
}

#[test]
fn without_a_kek_an_operator_is_told_what_to_do() {
    let mut rig = Rig::new(Mode::Off);
    rig.settle();
    rig.words();
    rig.control(1, ENABLE);
    rig.control(2, ControlRequest::Rotate(Purpose::Entry));
    set_one(&rig, 3);
    rig.settle();
    assert_eq!(rig.ends(), [named(1, "Err(NoKek)"), named(2, "Err(NoKek)"), named(3, "Replies([Ok])")]);
    assert!(ControlError::NoKek.to_string().contains("kek-file"));
    assert_eq!(rig.words(), ["clear batch of 1"]);
}

// NO-WAY-DOWN: whatever the mode says at the next start.
#[test]
fn a_ready_node_started_again_after_the_cutover_stays_sealed() {
    for mode in [Mode::Ready, Mode::On] {
        let mut rig = ready();
        rig.control(1, ENABLE);
        rig.settle();
        let mut rig = rig.restarted(mode);
        set_one(&rig, 2);
        rig.settle();
        assert_eq!(rig.words(), ["empty", "sealed opener", "sealed batch of 1"]);
        assert_eq!(rig.node_keys.cutover(), Index(5));
    }
}

// Every state that a crash can leave: the entries up to some point are in the log, and applied.
#[test]
fn a_crash_at_any_step_of_enable_leaves_one_or_the_other_and_the_next_life_knows_which() {
    for steps in 0..=6 {
        let mut rig = ready();
        rig.control(1, ENABLE);
        set_one(&rig, 2);
        rig.step();
        for _ in 0..steps {
            if !rig.apply() {
                rig.persist();
            }
        }
        let is_on = rig.node_keys.cutover() != Index::NEVER;
        // What is in the log will be applied before the next life proposes anything.
        while rig.persist() | rig.apply() {}
        rig.words();
        let cutover = rig.node_keys.cutover();
        assert!(!is_on || cutover == Index(5));
        let mut rig = rig.restarted(Mode::Ready);
        set_one(&rig, 3);
        rig.settle();
        assert_eq!(rig.words(), ["empty", "sealed opener", "sealed batch of 1"], "after {steps} steps");
        assert_eq!(rig.node_keys.cutover(), cutover);
    }
}

#[test]
fn rotate_makes_a_new_key_and_clients_go_on_under_it() {
    let mut rig = ready();
    rig.control(1, ENABLE);
    rig.settle();
    rig.words();
    rig.ends();
    for (name, purpose, id) in [(2, Purpose::Entry, 3), (3, Purpose::Value, 4), (4, Purpose::Entry, 5)] {
        set_one(&rig, 10);
        rig.control(name, ControlRequest::Rotate(purpose));
        set_one(&rig, 11);
        rig.settle();
        let rotated = named(name, &format!("Ok(Rotated {{ key_id: KeyId({id}) }})"));
        assert_eq!(rig.ends(), [rotated, named(10, "Replies([Ok])"), named(11, "Replies([Ok])")]);
        assert_eq!(rig.words(), ["sealed rotate", "sealed batch of 1", "sealed batch of 1"]);
        let view = rig.node_keys.current();
        let keyring = view.keyring().unwrap();
        let active = match purpose {
            Purpose::Entry => keyring.active_entry().id,
            Purpose::Value => keyring.active_value().id,
        };
        assert_eq!(active.value(), id);
    }
    let mut rig = rig.restarted(Mode::Ready);
    set_one(&rig, 5);
    rig.settle();
    assert_eq!(rig.words(), ["empty", "sealed opener", "sealed batch of 1"]);
}

#[test]
fn a_ready_node_rotates_before_its_cutover_too() {
    let mut rig = ready();
    rig.control(1, ControlRequest::Rotate(Purpose::Entry));
    rig.control(2, ENABLE);
    rig.settle();
    assert_eq!(rig.words(), ["clear rotate", "clear cutover", "sealed opener"]);
    assert_eq!(rig.ends().len(), 2);
}

#[test]
fn a_member_without_the_kek_refuses_bootstrap_cutover_and_rotation() {
    let lack = MemberLack::Lacks { node: NodeId::new(3).unwrap() };
    let mut rig = ready();
    let setup = Setup { lack: Some(lack), ..rig.setup.clone() };
    rig = rig.restarted_with(setup.clone());
    rig.control(1, ENABLE);
    rig.control(2, ControlRequest::Rotate(Purpose::Value));
    set_one(&rig, 3);
    rig.settle();
    let refused = "Err(Member(Lacks { node: NodeId(3) }))";
    assert_eq!(rig.ends(), [named(1, refused), named(2, refused), named(3, "Replies([Ok])")]);
    assert_eq!(rig.words(), ["empty", "clear batch of 1"]);
    let mut fresh = Rig::set_up(Setup { lack: Some(lack), ..Setup::sole(Mode::On) });
    set_one(&fresh, 1);
    fresh.settle();
    assert_eq!(fresh.words(), ["empty"], "no keys are made, and no client is let through in the clear");
}

#[test]
fn who_asks_a_node_that_does_not_lead_is_told_so() {
    let rig = Rig::founded(Mode::Ready, &[1, 2, 3], 1);
    rig.control(1, ENABLE);
    let mut rig = rig;
    rig.step();
    assert_eq!(rig.ends(), [], "an election is under way: this node may win it");
    rig.forward(10_100);
    assert_eq!(rig.ends(), [named(1, "Err(TryAgain)")]);
}

#[test]
fn whose_entry_is_in_the_log_and_not_committed_is_told_that_nobody_knows() {
    let mut rig = ready();
    rig.control(1, ENABLE);
    rig.step();
    rig.forward(10_100);
    assert_eq!(rig.ends(), [named(1, "Err(Unknown)")]);
    set_one(&rig, 2);
    rig.settle();
    assert_eq!(rig.words(), ["clear cutover", "sealed opener", "sealed batch of 1"], "and it was done");
}

fn limited(mode: Mode, value_delta: u64, entry_delta: u64) -> Rig {
    let limits = RenewLimits { value_delta, entry_delta };
    Rig::set_up(Setup { settings: ProposeConfig { limits, ..ProposeConfig::new(mode) }, ..Setup::sole(mode) })
}

// The limits are 2^35 and 2^39: no test gets there, so they are lowered.
#[test]
fn n4_value_keys_entry_keys_and_openers_are_renewed_at_their_limits() {
    let mut rig = limited(Mode::On, 10, 25);
    let mut count = [0_u32; 3];
    for name in 0..200 {
        set_one(&rig, name);
        rig.settle();
        assert_eq!(rig.ends(), [named(name, "Replies([Ok])")], "no client is refused for it");
        let view = rig.node_keys.current();
        let keyring = view.keyring().unwrap();
        let last = rig.raft.status().last.0;
        assert!(last - keyring.active_value().active_from.0 <= 10);
        assert!(last - keyring.active_entry().active_from.0 <= 25);
        assert!(last - keyring.opener().unwrap().index.0 <= 25);
        for word in rig.words() {
            assert!(word.starts_with("sealed") || name == 0, "{word}");
            count[0] += u32::from(word == "sealed rotate");
            count[1] += u32::from(word == "sealed opener");
            count[2] += u32::from(word == "sealed batch of 1");
        }
    }
    assert_eq!(count[2], 200);
    assert!(count[0] > 25 && count[1] > 8, "{count:?}");
}

// Batches are proposed before the ones ahead of them are applied: the distance counts from the end of the log.
#[test]
fn n4_a_burst_of_proposals_does_not_run_past_a_limit() {
    let mut rig = limited(Mode::On, 100, 150);
    for name in 0..3000 {
        set_one(&rig, name);
    }
    rig.settle();
    assert_eq!(rig.ends().len(), 3000);
    assert!(rig.words().iter().filter(|word| *word == "sealed rotate").count() >= 2);
}

// The keyring is full, or a member lacks the KEK: clients go on while the nonce still has space, then nothing does.
#[test]
fn n4_a_renewal_that_fails_stops_clients_before_a_nonce_overflows() {
    let rig = limited(Mode::On, 20, 1000);
    let mut rig = rig;
    set_one(&rig, 0);
    rig.settle();
    let lack = Some(MemberLack::NoMajority { shown: 1, voters: 3 });
    let mut rig = {
        let setup = Setup { lack, ..rig.setup.clone() };
        rig.restarted_with(setup)
    };
    let mut done = 0;
    for name in 1..100 {
        set_one(&rig, name);
        rig.settle();
        done += rig.ends().len();
    }
    let last = rig.raft.status().last.0;
    let from = rig.node_keys.current().keyring().unwrap().active_value().active_from.0;
    assert_eq!(last - from, 30, "half as much again, and no further");
    assert!(done > 20 && done < 30, "{done}");
}
