//! Somebody can write to the disk and has no key: entries, rows and the state record are changed in every way there is.

use bytes::Bytes;
use sealkv::apply::halt::HaltClass;
use sealkv::apply::load::load;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::keystore::Purpose;
use sealkv::fsm::opening::ReadError;
use sealkv::ids::ClusterId;
use sealkv::keys::change::Change;
use sealkv::keys::change::Retire;
use sealkv::keys::keyring::ClearRows;
use sealkv::keys::keyring::Keyring;
use sealkv::keys::make::make_cutover;
use sealkv::keys::node_keys::NodeKeys;
use sealkv::testing::picture::Picture;

use crate::kit::CLUSTER;
use crate::kit::Leader;
use crate::kit::Node;
use crate::kit::append;
use crate::kit::control_payload;
use crate::kit::in_clear;
use crate::kit::keks;
use crate::kit::set;
use crate::kit::stored;

/// Clients' entries 5 to 9 of term 1, then 10 empty, 11 opener and 12 to 14 of term 2.
fn history() -> Leader {
    let mut leader = Leader::sealed(1);
    for number in 0..5 {
        leader.clients(&[set("k", &number.to_string())]);
    }
    leader.elect();
    for number in 5..8 {
        leader.clients(&[set("k", &number.to_string())]);
    }
    leader
}

/// W1: an envelope that says nothing of its place verifies anywhere; ours opens where it was sealed and nowhere else.
#[test]
fn w01_entries_that_were_moved_swapped_repeated_or_relabelled_never_open() {
    let unauthentic = |index| (index, HaltClass::Unauthentic);
    let mut swapped = history();
    let (one, two) = (swapped.entry(6).data.clone(), swapped.entry(7).data.clone());
    swapped.entry_mut(6).data = two;
    swapped.entry_mut(7).data = one;
    assert_eq!(Node::halt_of(&swapped.log), unauthentic(6));

    let mut repeated = history();
    repeated.entry_mut(8).data = repeated.entry(7).data.clone();
    assert_eq!(Node::halt_of(&repeated.log), unauthentic(8));

    let mut replayed = history();
    replayed.entry_mut(13).data = replayed.entry(6).data.clone();
    assert_eq!(Node::halt_of(&replayed.log), unauthentic(13));

    let mut cut_out = history();
    for index in 7..9 {
        cut_out.entry_mut(index).data = cut_out.entry(index + 1).data.clone();
    }
    assert_eq!(Node::halt_of(&cut_out.log), unauthentic(7));

    // The entry with another's proposal id, flag, key, nonce.
    for (byte, class) in [(8, HaltClass::Unauthentic), (10, HaltClass::Malformed), (20, HaltClass::Unauthentic)] {
        let mut edited = history();
        let mut data = edited.entry(12).data.to_vec();
        data[byte] ^= 1;
        edited.entry_mut(12).data = Bytes::from(data);
        assert_eq!(Node::halt_of(&edited.log), (12, class));
    }

    // A control entry in another control entry's place.
    let mut openers = history();
    openers.entry_mut(11).data = openers.entry(4).data.clone();
    assert_eq!(Node::halt_of(&openers.log), unauthentic(11));
}

/// W1: nor does the entry of another cluster open, though its KEK, its index, term and key id are the same.
#[test]
fn w01_an_entry_of_another_cluster_never_opens() {
    let mut ours = history();
    let mut theirs = Leader::with(ClusterId([0xc2; 16]), keks(7), 2).begun_sealed();
    theirs.clients(&[set("k", "theirs")]);
    assert_eq!(EntryFrame::decode(&theirs.entry(5).data).unwrap().payload[..6], [2, 0, 0, 0, 0, 1]);
    ours.entry_mut(5).data = theirs.entry(5).data.clone();
    assert_eq!(Node::halt_of(&ours.log), (5, HaltClass::Unauthentic));
}

/// W1: after a rotation an entry cannot be given to the key of before it.
#[test]
fn w01_an_entry_relabelled_to_an_older_key_never_opens() {
    let mut leader = Leader::sealed(3);
    leader.rotate(Purpose::Entry);
    leader.clients(&[set("k", "v")]);
    let mut data = leader.entry(6).data.to_vec();
    assert_eq!(data[11..15], [0, 0, 0, 3]);
    data[14] = 1;
    leader.entry_mut(6).data = Bytes::from(data);
    assert_eq!(Node::halt_of(&leader.log), (6, HaltClass::Unauthentic));
}

/// W2: a committed entry that became nonsense was counted as applied there; here nothing is counted but what was applied.
#[test]
fn w02_a_committed_entry_that_became_nonsense_is_never_counted_as_applied() {
    let good = history().entry(7).data.clone();
    let clear_command = history().payload(&[set("k", "forged")]);
    let retire = Change::Retire(Retire { key_id: history().node_keys.current().keyring().unwrap().active_entry().id });
    let nonsense = [
        good[..1].to_vec(),
        good[..8].to_vec(),
        good[..9].to_vec(),
        [&[0], &good[1..]].concat(),
        [&[0xff], &good[1..]].concat(),
        good[9..].to_vec(),
        vec![0; good.len()],
        // What would be fine below the cutover.
        clear_command.clone(),
        in_clear(&clear_command).to_vec(),
        in_clear(&control_payload(&retire)).to_vec(),
        // An envelope of a version that nodes do not take, of a flag that they do not know, of the reserved key.
        [&good[..9], &[1], &good[10..]].concat(),
        [&good[..10], &[1], &good[11..]].concat(),
        [&good[..11], &[0, 0, 0, 0], &good[15..]].concat(),
    ];
    for data in nonsense {
        let mut leader = history();
        leader.entry_mut(7).data = Bytes::from(data.clone());
        assert_eq!(Node::halt_of(&leader.log), (7, HaltClass::Malformed), "{}", hex::encode(data));
    }
}

/// W9: readers there take rows in the clear for ever. Here only where the keyring says that there can be some.
#[test]
fn w09_a_forged_clear_row_is_refused_where_none_can_be() {
    let forged = || [&[0_u8; 9][..], &[1], &1_u64.to_be_bytes(), &1_u32.to_be_bytes(), b"kforged"].concat();
    let mut leader = history();
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    let mut node = node.with_row(b"k", forged());
    assert!(matches!(node.value(b"k"), Err(ReadError::Unauthentic)));
    leader.clients(&[append("k", "x")]);
    let halt = node.run(&leader.log).unwrap_err();
    assert_eq!((halt.position.index.0, halt.class(), halt.blame().status()), (15, HaltClass::StateMachine, 74));

    // Where clients wrote before the cutover there are such rows until all are rewritten: that much remains.
    let mut leader = Leader::new(4);
    leader.empty();
    leader.bootstrap(false);
    leader.clients(&[set("k", "old")]);
    leader.cutover();
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    assert_eq!(node.node_keys.current().keyring().unwrap().clear_rows(), ClearRows::Allowed);
    let node = node.with_row(b"k", forged());
    assert_eq!(node.value(b"k").unwrap().unwrap().bytes, "forged");
}

/// W13, W15: cutover, keys and applied index stood in an unauthenticated file there. Here no bit of them can be changed.
#[test]
fn w15_an_edited_state_record_is_refused_whatever_bit_is_edited() {
    let mut node = Node::new();
    node.run(&history().log).unwrap();
    let whole = node.picture();
    let keyring = whole.keyring.clone().unwrap();
    for byte in 0..whole.applied.len() {
        let mut edited = whole.clone();
        edited.applied[byte] ^= 1;
        assert!(Node::start(stored(&edited), keks(7)).is_err(), "byte {byte} of the applied row");
    }
    for byte in 0..keyring.len() {
        let mut edited = keyring.clone();
        edited[byte] ^= 1;
        let edited = Picture { keyring: Some(edited), ..whole.clone() };
        assert!(Node::start(stored(&edited), keks(7)).is_err(), "byte {byte} of the keyring row");
    }
    assert!(Node::start(stored(&whole), keks(7)).is_ok());
}

/// W15: the record without its keyring, with an older one, with one of another cutover: never the way back to clear.
#[test]
fn w15_a_cutover_cannot_be_lowered_raised_or_taken_away() {
    let mut leader = Leader::new(5);
    leader.empty();
    leader.bootstrap(false);
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    let before_cutover = node.picture();
    let keyring = node.node_keys.current().keyring().unwrap().clone();
    leader.clients(&[set("k", "old")]);
    leader.cutover();
    leader.opener();
    leader.clients(&[set("k", "new")]);
    node.run(&leader.log).unwrap();
    assert_eq!(*node.notes.cutovers.lock().unwrap(), [5]);

    let with_keyring = |row: Option<Vec<u8>>| {
        let edited = Picture { keyring: row, ..node.picture() };
        load(&*stored(&edited), &NodeKeys::new(CLUSTER, keks(7)))
    };
    assert!(with_keyring(None).is_err());
    assert!(with_keyring(Some(keyring.encode())).is_err());
    assert!(with_keyring(Some(Keyring::encode(&at_another_index(&keyring)))).is_err());
    // The whole record of before, put under a node that knows better: its keys, or its log, say no.
    let known = NodeKeys::new(CLUSTER, keks(7));
    load(&*node.copied(), &known).unwrap();
    assert!(load(&*stored(&before_cutover), &known).is_err());
}

/// The cutover as it would be had it come at another index.
fn at_another_index(keyring: &Keyring) -> Keyring {
    let facts = sealkv::keys::rules::Facts { cluster: CLUSTER, client_command_applied: true };
    let at = sealkv::ids::Position { term: sealkv::ids::Term(1), index: sealkv::ids::Index(900) };
    sealkv::keys::rules::decide(Some(keyring), &make_cutover(keyring), at, facts).unwrap()
}
