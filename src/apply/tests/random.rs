//! As if one by one: random histories, poisoned at a random place, against the twin.

use bytes::Bytes;

use crate::apply::halt::HaltClass;
use crate::apply::step::position_of;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::append;
use crate::apply::tests::kit::incr;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::seeds;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::apply::tests::one_by_one::Twin;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Purpose;
use crate::fsm::codec::Payload;
use crate::fsm::codec::encode_control;
use crate::fsm::command::Expiry;
use crate::fsm::command::Write;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::change::Change;
use crate::keys::change::Retire;
use crate::keys::make::make_opener;
use crate::propose::Slot;
use crate::wal::EntryKind;

fn random_write(leader: &Leader) -> Write {
    let key = format!("k{}", leader.chance.below(12));
    let bytes = Bytes::from(key.clone());
    match leader.chance.below(10) {
        0 => incr(&format!("n{}", leader.chance.below(3))),
        1 => append(&key, "more"),
        2 => Write::Delete { keys: vec![bytes] },
        3 => Write::GetExpire { key: bytes, expiry: Expiry::In(leader.chance.below(6) as i64 + 1) },
        4 => Write::SetMany {
            pairs: vec![(bytes, Bytes::from_static(b"many")), (Bytes::from_static(b"z"), Bytes::new())],
            absent_only: false,
        },
        5 if leader.chance.below(8) == 0 => Write::FlushAll,
        _ => set(&key, &"v".repeat(leader.chance.below(300) as usize)),
    }
}

fn random_clients(leader: &mut Leader) {
    let writes: Vec<Write> = (0..=leader.chance.below(4)).map(|_| random_write(leader)).collect();
    leader.clients(&writes);
}

/// Hundreds of entries of every kind, most of them commands; sealing turned on at some place, or never.
fn random_history(leader: &mut Leader, count: u64) {
    leader.empty();
    match leader.chance.below(4) {
        0 => {}
        1 => {
            leader.bootstrap(true);
            leader.opener();
        }
        _ => {
            for _ in 0..leader.chance.below(20) {
                random_clients(leader);
            }
            leader.bootstrap(false);
        }
    }
    for _ in 0..count {
        let has_keys = leader.ring.view().keyring().is_some();
        let is_sealed = leader.ring.cutover() != Index::NEVER;
        match leader.chance.below(60) {
            0 => leader.elect(),
            1 => drop(leader.membership()),
            2 if has_keys => drop(leader.rotate(Purpose::Value)),
            3 if has_keys => drop(leader.rotate(Purpose::Entry)),
            4 | 5 if has_keys && !is_sealed => {
                leader.cutover();
                leader.opener();
            }
            6 if has_keys => {
                let key_id = KeyId::new(leader.chance.below(5) as u32 + 1).unwrap();
                leader.control(&Change::Retire(Retire { key_id }));
            }
            7 => drop(leader.bootstrap(false)),
            8 => drop(leader.empty()),
            _ => random_clients(leader),
        }
    }
}

/// Spoils one entry, or puts one in that no leader makes.
fn poison(leader: &mut Leader) {
    let victim = leader.chance.below(leader.log.len() as u64) + 2;
    let other = leader.chance.below(leader.log.len() as u64) + 2;
    let kind = leader.chance.below(8);
    let mut data = leader.entry(victim).data.to_vec();
    if leader.entry(victim).kind != EntryKind::Normal || data.is_empty() {
        return;
    }
    match kind {
        0 => {
            let byte = leader.chance.below(data.len() as u64) as usize;
            data[byte] ^= 1 << leader.chance.below(8);
        }
        1 => data.truncate(leader.chance.below(data.len() as u64) as usize),
        2 if leader.entry(other).kind == EntryKind::Normal => data = leader.entry(other).data.to_vec(),
        3 => data[8] ^= 1,
        4 if data.len() > 14 => data[14] = leader.chance.below(6) as u8,
        5 if data.len() > 9 => data[9] = leader.chance.below(5) as u8,
        6 => {
            // Sealed wholly right, but a control command among clients', at the end of the log.
            let mut control = Vec::new();
            let change = make_opener(Term(leader.term), &leader.chance);
            encode_control(&change.encode(), &mut control).unwrap();
            if leader.ring.cutover() != Index::NEVER {
                let data = leader.seal(&control);
                leader.push(EntryKind::Normal, data, None);
                random_clients(leader);
            }
            return;
        }
        _ => data = EntryFrame { proposal_id: ProposalId(1), payload: b"\x09nonsense" }.encode().to_vec(),
    }
    leader.entry_mut(victim).data = Bytes::from(data);
}

/// A waiter for every entry of commands, found by looking into it while it is made.
fn wait_for_commands(node: &Node, twin: &Twin, leader: &Leader) {
    for committed in &leader.log {
        let index = committed.entry.index.0;
        if let Some((_, replies)) = twin.replies.iter().find(|(known, _)| *known == index) {
            let slots = replies.iter().map(|_| Slot::Write(set("", ""))).collect();
            node.wait_for(position_of(&committed.entry), slots);
        }
    }
}

fn compare(leader: &Leader, twin: &Twin, expected: Result<(), (u64, HaltClass)>, setup: &Setup) {
    let mut node = Node::new(setup);
    wait_for_commands(&node, twin, leader);
    let outcome = node.run(&leader.log).map_err(|halt| (halt.position.index.0, halt.class()));
    assert_eq!(outcome, expected);
    assert_eq!(node.store.picture(), twin.store.picture());
    let told: Vec<_> = node.told.lock().unwrap().iter().map(|(index, told)| (*index, told.clone().unwrap())).collect();
    assert_eq!(told, twin.replies);
    let mut node = node.crash_and_restart(0, keks(7), setup);
    let again = node.run(&leader.log).map_err(|halt| (halt.position.index.0, halt.class()));
    assert_eq!(again, expected, "a restart ends the same way");
    assert_eq!(node.store.picture(), twin.store.picture());
}

#[test]
fn as_if_one_by_one_for_random_histories_runs_and_threads() {
    let mut halts = 0;
    for seed in seeds(24) {
        eprintln!("SEALKV_SEED={seed}");
        let mut leader = Leader::new(seed);
        let count = leader.chance.below(300) + 20;
        random_history(&mut leader, count);
        if leader.chance.below(4) > 0 {
            poison(&mut leader);
        }
        let mut twin = Twin::new();
        let expected = twin.run(&leader.log);
        halts += u64::from(expected.is_err());
        let run_entries = [1, 2, 3, 17, 300][leader.chance.below(5) as usize];
        let threads = leader.chance.below(4) as usize + 1;
        compare(&leader, &twin, expected, &Setup { threads, run_entries, ..Setup::default() });
        compare(
            &leader,
            &twin,
            expected,
            &Setup { threads: 4, run_entries: 300, overlay_bytes: 500, ..Setup::default() },
        );
    }
    eprintln!("{halts} halts");
}

#[test]
fn the_twin_knows_every_payload_that_a_leader_makes() {
    let mut leader = Leader::new(99);
    random_history(&mut leader, 200);
    let mut twin = Twin::new();
    twin.run(&leader.log).unwrap();
    assert!(twin.replies.len() > 100);
    assert!(matches!(Payload::decode(&leader.payload(&[incr("a")])), Ok(Payload::Batch(_))));
}
