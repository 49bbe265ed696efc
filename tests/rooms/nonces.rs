//! NONCE-UNIQUE over whole histories: whatever was ever sealed under one key and nonce was the same bytes.

use std::collections::HashMap;
use std::sync::Arc;

use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::envelope::Envelope;
use sealkv::crypto::envelope::Version;
use sealkv::crypto::keystore::Purpose;
use sealkv::ids::ClusterId;
use sealkv::keys::change::BootstrapKind;
use sealkv::keys::change::Change;
use sealkv::keys::make::make_bootstrap;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::seed;

use crate::kit::CLUSTER;
use crate::kit::Leader;
use crate::kit::Node;
use crate::kit::append;
use crate::kit::keks;
use crate::kit::set;

/// What decides a key, beside the cluster: version, key id, and for entries the term and the salt of its opener.
type KeyName = (u8, u32, u64, [u8; 32]);

/// Every sealing that was ever seen.
#[derive(Default)]
struct Seen(HashMap<(KeyName, [u8; 12]), Vec<u8>>);

impl Seen {
    fn add(&mut self, envelope: &[u8], term: u64, salt: [u8; 32]) {
        let parsed = Envelope::parse(envelope).unwrap();
        let (term, salt) = if parsed.version == Version::Entry { (term, salt) } else { (0, [0; 32]) };
        let name = (parsed.version as u8, parsed.key_id.value(), term, salt);
        let before = self.0.insert((name, parsed.nonce), envelope.to_vec());
        assert!(before.is_none_or(|before| before == envelope), "{name:?} {}", hex::encode(parsed.nonce));
    }

    fn add_values(&mut self, node: &Node) {
        for (_, row) in node.picture().rows {
            if row[0] & 0b110 == 0b010 {
                self.add(&row[9..], 0, [0; 32]);
            }
        }
    }
}

/// A few random steps of a cluster's life; every entry that is sealed is noted with the salt of its term.
fn live(leader: &mut Leader, chance: &Seeded, steps: u64, seen: &mut Seen) {
    for _ in 0..steps {
        let before = leader.log.len();
        match chance.below(12) {
            0 => leader.rotate(Purpose::Entry),
            1 => leader.rotate(Purpose::Value),
            2 => {
                leader.elect();
                leader.opener()
            }
            3 => leader.opener(),
            _ => {
                let key = format!("k{}", chance.below(4));
                leader.clients(&[set(&key, "same"), append(&key, "x"), set("other", "same")])
            }
        };
        let salt = leader.node_keys.current().keyring().unwrap().opener().unwrap().salt;
        for committed in &leader.log[before..] {
            if let Ok(frame) = EntryFrame::decode(&committed.entry.data) {
                seen.add(frame.payload, committed.entry.term.0, salt);
            }
        }
    }
}

/// One disk, several futures: a crash that loses steps, a clone that goes on elsewhere with other randomness, a replay.
#[test]
fn nonce_unique_no_key_and_nonce_occur_twice_in_a_history_or_its_replays() {
    let seed = seed(71);
    for round in 0..20 {
        let chance = Seeded::new(seed + round);
        let shared = 5 + chance.below(30);
        let mut seen = Seen::default();
        for future in 0..3 {
            // The same past from the same seed, then randomness of its own.
            let past = Seeded::new(seed + round + 1000);
            let mut leader = Leader::sealed(seed + round);
            live(&mut leader, &past, shared, &mut seen);
            leader.chance = Seeded::new(seed + round * 10 + future);
            leader.elect();
            live(&mut leader, &chance, 20, &mut seen);
            let mut node = Node::new();
            for upto in (1..=leader.log.len()).step_by(4) {
                node.run(&leader.log[..upto]).unwrap();
                seen.add_values(&node);
                if chance.one_in(4) {
                    node.apply.flush().unwrap();
                }
                if chance.one_in(3) {
                    let base = Arc::clone(&node.base);
                    drop(node);
                    base.crash();
                    node = Node::start(base, keks(7)).unwrap();
                    node.run(&leader.log[..upto]).unwrap();
                    seen.add_values(&node);
                }
            }
        }
        assert!(seen.0.len() > 100, "seed {}", seed + round);
    }
}

#[test]
fn nonce_unique_every_wrap_has_a_nonce_of_its_own() {
    let entropy = Seeded::new(72);
    let mut nonces = std::collections::HashSet::new();
    for cluster in [CLUSTER, CLUSTER, ClusterId([1; 16])] {
        let Change::Bootstrap(made) = make_bootstrap(&keks(7), cluster, BootstrapKind::Cutover, &entropy).unwrap()
        else {
            panic!("a bootstrap")
        };
        for key in [made.entry, made.value, made.mac, made.name] {
            assert!(nonces.insert(key.wrapped[8..20].to_vec()));
        }
    }
    assert_eq!(nonces.len(), 12);
}
