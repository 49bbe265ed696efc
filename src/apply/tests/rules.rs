//! Control entries within the stream: each is a run of its own, and what stands right behind one is judged by what it made.

use crate::apply::halt::HaltClass;
use crate::apply::run::RunBounds;
use crate::apply::run::RunKind;
use crate::apply::run::take_run;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Envelope;
use crate::crypto::keystore::Purpose;
use crate::entry::EntryKind;
use crate::fsm::codec::encode_control;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::ProposalId;
use crate::keys::change::Change;
use crate::keys::change::Retire;

/// A history in which every control entry matters to the entry right behind it; clear up to 5, sealed from 6 on.
fn eventful() -> Leader {
    let mut leader = Leader::new(41);
    leader.empty();
    leader.bootstrap(false);
    leader.clients(&[set("a", "clear")]);
    leader.cutover();
    leader.opener();
    leader.clients(&[set("b", "under key 1")]);
    leader.rotate(Purpose::Entry);
    leader.clients(&[set("c", "under key 3")]);
    leader.rotate(Purpose::Value);
    leader.clients(&[set("d", "value key 4")]);
    leader.elect();
    leader.clients(&[set("e", "of the second term")]);
    leader
}

#[test]
fn in_order_a_control_entry_is_a_run_of_its_own() {
    let leader = eventful();
    let mut queue = leader.log.iter().cloned().collect();
    let mut runs = Vec::new();
    // The cutover in force moves as its entry is taken, as it does in the loop.
    let mut cutover = Index::NEVER;
    while let Some(run) = take_run(&mut queue, cutover, RunBounds::default()) {
        let indexes: Vec<u64> = run.entries.iter().map(|committed| committed.entry.index.0).collect();
        if indexes == [5] {
            cutover = Index(5);
        }
        assert!(run.kind == RunKind::Commands || indexes.len() == 1);
        runs.push((run.kind, indexes));
    }
    let (commands, control) = (RunKind::Commands, RunKind::Control);
    let expected = [
        (commands, vec![2]),
        (control, vec![3]),
        (commands, vec![4]),
        (control, vec![5]),
        (control, vec![6]),
        (commands, vec![7]),
        (control, vec![8]),
        (commands, vec![9]),
        (control, vec![10]),
        (commands, vec![11, 12]),
        (control, vec![13]),
        (commands, vec![14]),
    ];
    assert_eq!(runs, expected);
    let mut node = Node::new(&Setup::default());
    node.run(&leader.log).unwrap();
    assert_eq!(*node.notes.applied.lock().unwrap(), [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14]);
}

#[test]
fn same_decision_an_entry_is_judged_by_the_keyring_of_the_control_entry_right_before_it() {
    let leader = eventful();
    let key_of = |data: &[u8]| Envelope::parse(EntryFrame::decode(data).unwrap().payload).unwrap().key_id.value();
    assert_eq!([7, 9, 14].map(|index| key_of(&leader.entry(index).data)), [1, 3, 3]);
    for run_entries in [1, 4096] {
        let setup = Setup { run_entries, ..Setup::default() };
        let mut node = Node::new(&setup);
        node.run(&leader.log).unwrap();
        let of_values: Vec<Option<u32>> =
            ["a", "b", "c", "d", "e"].iter().map(|key| value_key_of(&node.row_of(key).unwrap())).collect();
        assert_eq!(of_values, [None, Some(2), Some(2), Some(4), Some(4)], "a to e");
        // The same from any crash: the keyring comes from the state then.
        for flushed in 0..leader.log.len() {
            let mut whole = Node::new(&setup);
            whole.run(&leader.log[..flushed]).unwrap();
            whole.apply.flush().unwrap();
            whole.run(&leader.log).unwrap();
            let mut again = whole.crash_and_restart(keks(7), &setup);
            again.run(&leader.log).unwrap();
            assert_eq!(again.picture(), node.picture());
        }
    }
    // Behind the retirement of its key nothing opens, behind the cutover nothing is taken in the clear.
    let mut leader = eventful();
    let old = leader.entry(7).data.clone();
    leader.control(&Change::Retire(Retire { key_id: KeyId::new(1).unwrap() }));
    leader.push(EntryKind::Normal, old, None);
    assert_eq!(halt_of(&leader), (HaltClass::UnknownKey, 16));
    let mut leader = Leader::new(42);
    leader.empty();
    leader.bootstrap(true);
    let payload = leader.payload(&[set("a", "in the clear")]);
    let data = EntryFrame { proposal_id: ProposalId(1), payload: &payload }.encode();
    leader.push(EntryKind::Normal, data, None);
    assert_eq!(halt_of(&leader), (HaltClass::Malformed, 4));
}

/// A control entry that somebody put into the log in the clear, above the cutover: never taken.
#[test]
fn no_way_down_a_control_entry_in_the_clear_above_the_cutover_halts() {
    let mut leader = Leader::sealed(43);
    leader.clients(&[set("a", "b")]);
    let keyring = leader.node_keys.current().keyring().unwrap().clone();
    let forged = Change::Retire(Retire { key_id: keyring.active_entry().id });
    let mut payload = Vec::new();
    encode_control(&forged.encode(), &mut payload).unwrap();
    let data = EntryFrame { proposal_id: ProposalId(1), payload: &payload }.encode();
    leader.push(EntryKind::Normal, data, None);
    let mut node = Node::new(&Setup::default());
    let halt = node.run(&leader.log).unwrap_err();
    assert_eq!((halt.class(), halt.position.index.0), (HaltClass::Malformed, 6));
    assert_eq!(node.node_keys.current().keyring(), Some(&keyring));
    assert!(node.notes.controls.lock().unwrap().iter().all(|(index, _)| *index < 6));
}

fn halt_of(leader: &Leader) -> (HaltClass, u64) {
    let mut node = Node::new(&Setup::default());
    let halt = node.run(&leader.log).unwrap_err();
    assert_eq!(node.apply.applied().position.index.0, halt.position.index.0 - 1);
    (halt.class(), halt.position.index.0)
}

/// The key id in a stored row's envelope, `None` if the row is in the clear.
fn value_key_of(row: &[u8]) -> Option<u32> {
    (row[0] & 0b110 == 0b010).then(|| Envelope::parse(&row[9..]).unwrap().key_id.value())
}
