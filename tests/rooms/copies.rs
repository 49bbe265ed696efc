//! States that are copied, restored, cloned and started again: what a node knows travels with its state.

use std::collections::HashSet;
use std::sync::Arc;

use sealkv::apply::halt::HaltClass;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::envelope::Envelope;
use sealkv::crypto::keystore::Purpose;
use sealkv::crypto::open::OpenJob;
use sealkv::crypto::open::open_entry;
use sealkv::ids::Index;
use sealkv::keys::change::Change;
use sealkv::keys::change::Retire;
use sealkv::keys::kek::KekSet;
use sealkv::testing::picture::Picture;
use sealkv::testing::seed::Seeded;

use crate::kit::Leader;
use crate::kit::Node;
use crate::kit::append;
use crate::kit::keks;
use crate::kit::set;
use crate::kit::stored;

/// Clear, keys, clear, cutover, sealed, both kinds of rotation, a retirement, three terms.
fn eventful() -> Leader {
    let mut leader = Leader::new(11);
    leader.empty();
    leader.clients(&[set("old", "clear")]);
    leader.bootstrap(false);
    leader.clients(&[append("old", " still")]);
    leader.cutover();
    leader.opener();
    for round in 0..4 {
        leader.clients(&[set(&format!("k{round}"), "v"), append("log", "x")]);
        leader.rotate(if round % 2 == 0 { Purpose::Entry } else { Purpose::Value });
        leader.clients(&[append("log", "y")]);
        if round > 0 {
            leader.elect();
        }
    }
    let oldest = sealkv::ids::KeyId::new(1).unwrap();
    leader.control(&Change::Retire(Retire { key_id: oldest }));
    leader.clients(&[append("log", "z")]);
    leader
}

/// W3: there a node restored from a snapshot knew neither cutover nor keys, and took sealed entries for garbage.
#[test]
fn w03_a_state_copied_past_the_cutover_opens_everything_on_a_blank_node() {
    let leader = eventful();
    let mut whole = Node::new();
    whole.run(&leader.log).unwrap();
    let cutover = Index(6);
    for upto in cutover.0..leader.log.len() as u64 + 1 {
        let mut source = Node::new();
        source.run(&leader.log[..upto as usize - 1]).unwrap();
        let mut blank = Node::start(source.copied(), keks(7)).unwrap();
        assert_eq!((blank.applied(), blank.node_keys.cutover()), (upto, cutover));
        assert!(blank.node_keys.current().needs().is_none());
        blank.run(&leader.log).unwrap();
        assert!(blank.picture() == whole.picture(), "copied at {upto}");
    }
}

/// W3: without the KEK, or without the keyring, the blank node says so; no sealed byte reaches a command.
#[test]
fn w03_a_blank_node_without_the_kek_or_the_keyring_applies_nothing() {
    let leader = eventful();
    let mut source = Node::new();
    source.run(&leader.log[..8]).unwrap();
    assert!(Node::start(source.copied(), KekSet::default()).is_err());
    assert!(Node::start(source.copied(), keks(8)).is_err());
    let without = Picture { keyring: None, ..source.picture() };
    assert!(Node::start(stored(&without), keks(7)).is_err());
    // A node that follows the log from the start without a KEK stops where the keys appear.
    let mut keyless = Node::start(crate::kit::founded(), KekSet::default()).unwrap();
    let halt = keyless.run(&leader.log).unwrap_err();
    assert_eq!((halt.position.index.0, halt.class(), halt.blame().status()), (4, HaltClass::NoCipher, 78));
}

/// W5: there, idle compaction past the newest control entry made the next start impossible.
#[test]
fn w05_a_log_trimmed_far_past_every_control_entry_does_not_stop_a_restart() {
    let mut leader = Leader::sealed(12);
    for number in 0..2000 {
        leader.clients(&[set(&format!("k{}", number % 50), &number.to_string())]);
    }
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    node.apply.flush().unwrap();
    // Only what the state does not have is left of the log.
    let trimmed = leader.log.len();
    for number in 0..3 {
        leader.clients(&[set("after", &number.to_string())]);
    }
    let mut again = Node::start(node.copied(), keks(7)).unwrap();
    again.apply.offer(leader.log[trimmed..].to_vec());
    while again.apply.queued() > 0 {
        again.apply.step().unwrap();
    }
    assert_eq!(again.value(b"after").unwrap().unwrap().bytes, "2");
}

/// W4, W10: there, a bootstrap or rotation replayed at a start could be missed, or refused for ever.
#[test]
fn w10_the_keyring_is_the_same_whatever_is_replayed_after_a_crash() {
    let leader = eventful();
    let mut whole = Node::new();
    whole.run(&leader.log).unwrap();
    for first in (2..=leader.log.len()).step_by(3) {
        for lost in [0, 1, 2, 5, 100] {
            let mut node = Node::new();
            node.run(&leader.log[..first.saturating_sub(lost)]).unwrap();
            node.apply.flush().unwrap();
            node.run(&leader.log[..first]).unwrap();
            let base = Arc::clone(&node.base);
            drop(node);
            base.crash();
            let mut node = Node::start(base, keks(7)).unwrap();
            let (applied, current) = (node.applied(), node.node_keys.current());
            if let Some(keyring) = current.keyring() {
                let changed_at =
                    keyring.deks().map(|dek| dek.active_from).chain(keyring.opener().map(|salt| salt.index));
                assert!(
                    changed_at.max().is_some_and(|at| at.0 <= applied),
                    "the keyring is of no later entry than the state"
                );
            }
            node.run(&leader.log).unwrap();
            assert!(node.picture() == whole.picture(), "{first} entries, {lost} of them lost");
        }
    }
}

/// W21: there, a disk that was cloned or rolled back sealed again under the same key and nonce.
#[test]
fn w21_clones_of_a_directory_never_share_a_key_and_nonce() {
    let original = eventful();
    // Two nodes go on from one disk, both elected in the same next term, both at the same indexes.
    let [one, two] = [21, 22].map(|seed| {
        let mut clone = eventful();
        clone.chance = Seeded::new(seed);
        assert_eq!(clone.entry(20), original.entry(20), "the same log up to here");
        clone.elect();
        clone.clients(&[set("k", "the same command")]);
        clone
    });
    let last = one.log.last().unwrap().entry.clone();
    assert_eq!((last.index, last.term), (two.log.last().unwrap().entry.index, two.log.last().unwrap().entry.term));
    let opener = |leader: &Leader| *leader.node_keys.current().keyring().unwrap().opener().unwrap();
    assert_eq!((opener(&one).term, opener(&one).index), (opener(&two).term, opener(&two).index));
    assert_ne!(opener(&one).salt, opener(&two).salt);
    // Two keys: what one sealed does not open for the other, at the same place under the same key id.
    let position = last.position();
    let job = |data| OpenJob { position, data };
    assert!(open_entry(&one.node_keys.current().entry_keys().unwrap(), job(&last.data)).is_ok());
    assert!(open_entry(&two.node_keys.current().entry_keys().unwrap(), job(&last.data)).is_err());
    // Stored values: key, index and op are the same in both futures, so the nonce tells what differs.
    let values = [&one, &two].map(|leader| {
        let mut node = Node::new();
        node.run(&leader.log).unwrap();
        node.row_of(b"k").unwrap()
    });
    let nonces = values.clone().map(|row| Envelope::parse(&row[9..]).unwrap().nonce);
    assert_ne!(nonces[0], nonces[1]);
    assert_eq!(nonces[0][..6], nonces[1][..6], "the same place");
}

/// W21: a machine copied while it runs leads the same term with the same salt: the random part of the nonces differs.
#[test]
fn w21_live_copies_of_a_leader_never_share_a_nonce() {
    let mut seen = HashSet::new();
    for seed in 30..40 {
        let mut copy = eventful();
        copy.chance = Seeded::new(seed);
        for number in 0..20 {
            let position = copy.clients(&[set("k", &format!("{seed} {number}"))]);
            let data = copy.entry(position.index.0).data.clone();
            let nonce = Envelope::parse(EntryFrame::decode(&data).unwrap().payload).unwrap().nonce;
            assert!(seen.insert(nonce), "copy {seed}, entry {number}");
        }
    }
    assert_eq!(seen.len(), 200);
}
