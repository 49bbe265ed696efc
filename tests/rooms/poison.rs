//! Control entries that cannot apply, committed all the same: nobody halts, nothing changes, at no start.

use sealkv::crypto::keystore::Purpose;
use sealkv::exit::Blame;
use sealkv::ids::ClusterId;
use sealkv::ids::KeyId;
use sealkv::ids::Term;
use sealkv::keys::change::BootstrapKind;
use sealkv::keys::change::Change;
use sealkv::keys::change::Retire;
use sealkv::keys::change::Rotate;
use sealkv::keys::make::make_bootstrap;
use sealkv::keys::make::make_cutover;
use sealkv::keys::make::make_opener;
use sealkv::keys::make::verify_wraps;

use crate::kit::CLUSTER;
use crate::kit::Leader;
use crate::kit::Node;
use crate::kit::keks;
use crate::kit::set;

/// Every change that `leader`'s keyring refuses: what a confused operator, an old leader or a replay could bring.
fn poison(leader: &Leader) -> Vec<Change> {
    let view = leader.node_keys.current();
    let keyring = view.keyring().unwrap();
    let Change::Rotate(next) = leader.rotation(Purpose::Value) else { panic!("a rotation") };
    let mut again = next.clone();
    again.key.check = keyring.active_entry().check;
    let bootstrap = |cluster| make_bootstrap(&keks(7), cluster, BootstrapKind::Cutover, &leader.chance).unwrap();
    let salt = keyring.opener().unwrap().salt;
    vec![
        bootstrap(CLUSTER),
        bootstrap(ClusterId([0xc2; 16])),
        make_cutover(keyring),
        make_opener(Term(leader.term + 1), &leader.chance),
        make_opener(Term(0), &leader.chance),
        Change::Opener(sealkv::keys::change::PublishOpener { term: Term(leader.term), salt }),
        Change::Rotate(Rotate { key_id: keyring.active_value().id, ..next.clone() }),
        Change::Rotate(Rotate { key_id: KeyId::new(u32::MAX).unwrap(), ..next.clone() }),
        Change::Rotate(again),
        Change::Retire(Retire { key_id: keyring.active_entry().id }),
        Change::Retire(Retire { key_id: keyring.active_value().id }),
        Change::Retire(Retire { key_id: KeyId::new(999).unwrap() }),
    ]
}

/// W7: there each of these halts every node, at every start, for ever.
#[test]
fn w07_control_entries_that_cannot_apply_are_no_ops_now_and_at_every_restart() {
    let mut leader = Leader::sealed(51);
    leader.clients(&[set("a", "before")]);
    let before = leader.node_keys.current().keyring().unwrap().clone();
    let poison = poison(&leader);
    let first = leader.next_position().index.0;
    for change in &poison {
        leader.control(change);
    }
    leader.clients(&[set("a", "after")]);
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    let refused: Vec<u64> = node.notes.refused.lock().unwrap().iter().map(|(index, _)| *index).collect();
    assert_eq!(refused, (first..first + poison.len() as u64).collect::<Vec<u64>>());
    assert_eq!(node.node_keys.current().keyring(), Some(&before));
    for upto in 3..=leader.log.len() {
        let mut part = Node::new();
        part.run(&leader.log[..upto]).unwrap();
        let mut again = Node::start(part.copied(), keks(7)).unwrap();
        again.run(&leader.log).unwrap();
        assert!(again.picture() == node.picture());
    }
}

/// W12: there an old rotation that is replayed points back at the older key.
#[test]
fn w12_a_rotation_or_opener_committed_again_changes_nothing() {
    let mut leader = Leader::sealed(52);
    let rotations: Vec<Change> = [Purpose::Entry, Purpose::Value, Purpose::Entry]
        .into_iter()
        .map(|purpose| {
            let change = leader.rotation(purpose);
            leader.control(&change);
            change
        })
        .collect();
    let keyring = leader.node_keys.current().keyring().unwrap().clone();
    for change in &rotations {
        leader.control(change);
    }
    leader.clients(&[set("a", "b")]);
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    assert_eq!(node.notes.refused.lock().unwrap().len(), 3);
    assert_eq!(node.node_keys.current().keyring(), Some(&keyring));
    assert_eq!(node.node_keys.current().active_value().unwrap().dek.key_id().value(), 4);
}

/// W7, W8: what a leader checks before it proposes: each wrap opens, for its place, to the key that the entry says.
#[test]
fn w08_a_leader_never_proposes_wraps_that_are_swapped_doubled_or_not_its_own() {
    let Change::Bootstrap(good) =
        make_bootstrap(&keks(7), CLUSTER, BootstrapKind::Cutover, &Leader::sealed(53).chance).unwrap()
    else {
        panic!("a bootstrap")
    };
    let is_fine = |bootstrap: &sealkv::keys::change::Bootstrap| {
        verify_wraps(&keks(7), CLUSTER, &Change::Bootstrap(Box::new(bootstrap.clone()))).is_ok()
    };
    assert!(is_fine(&good));
    let mut swapped = good.clone();
    std::mem::swap(&mut swapped.entry, &mut swapped.value);
    assert!(!is_fine(&swapped));
    let mut doubled = good.clone();
    doubled.value = doubled.entry;
    assert!(!is_fine(&doubled));
    let mut lying = good.clone();
    lying.value.check[0] ^= 1;
    assert!(!is_fine(&lying));
    assert!(verify_wraps(&keks(8), CLUSTER, &Change::Bootstrap(good.clone())).is_err());
    assert!(verify_wraps(&keks(7), ClusterId([0xc2; 16]), &Change::Bootstrap(good)).is_err());
}

/// W8: should a bootstrap with swapped wraps be committed all the same, nobody ever seals with a key of the wrong purpose.
#[test]
fn w08_swapped_wraps_are_never_used_for_the_wrong_purpose() {
    let mut leader = Leader::new(54);
    leader.empty();
    let Change::Bootstrap(mut swapped) =
        make_bootstrap(&keks(7), CLUSTER, BootstrapKind::Cutover, &leader.chance).unwrap()
    else {
        panic!("a bootstrap")
    };
    std::mem::swap(&mut swapped.entry.wrapped, &mut swapped.value.wrapped);
    leader.control(&Change::Bootstrap(swapped));
    assert!(leader.node_keys.current().needs().is_some(), "it may not lead");
    assert!(leader.node_keys.current().control_key().is_err());
    assert!(leader.node_keys.current().active_value().is_err());
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    assert!(node.node_keys.current().needs().is_some_and(|lack| lack.blame() == Blame::Damage));
}
