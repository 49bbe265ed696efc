//! The applied row: golden bytes, sorted lists, and no byte that can be changed once there is a keyring.

use std::sync::Arc;

use crate::codec::CodecError;
use crate::crypto::keystore::Dek;
use crate::fsm::state::Applied;
use crate::fsm::state::MemberAddress;
use crate::fsm::state::StateError;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::keyring::Keyring;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::unwrap_mac;
use crate::keys::tests::kit::CLEAR_NAMES;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::garbage;
use crate::keys::tests::kit::golden;
use crate::keys::tests::kit::hurt;
use crate::keys::tests::kit::keks;
use crate::limits::ADDRESS_BYTES_MAX;
use crate::members::Members;

fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn mac() -> Arc<MacKey> {
    unwrap_mac(&keks(), &Keyring::decode(&golden("keyring-old")).unwrap()).unwrap()
}

fn applied(is_keyed: bool) -> Applied {
    let members = Members { learners: vec![9], ..Members::founders(&[node(7), node(5), node(6)]) };
    Applied {
        cluster: CLUSTER,
        clear_names: CLEAR_NAMES,
        position: Position { term: Term(2), index: Index(10) },
        last_stamp_ms: 1_700_000_000_123,
        client_command_applied: true,
        members,
        addresses: vec![
            MemberAddress { node: node(5), address: "a:6379".to_owned() },
            MemberAddress { node: node(7), address: String::new() },
        ],
        keyring_digest: is_keyed.then(|| Keyring::digest(&golden("keyring-old"))),
    }
}

#[test]
fn applied_row_has_its_golden_bytes() {
    assert_eq!(hex::encode(applied(false).encode(None)), hex::encode(golden("applied-clear")));
    assert_eq!(hex::encode(applied(true).encode(Some(&mac()))), hex::encode(golden("applied")));
}

#[test]
fn applied_row_is_read_as_written() {
    assert_eq!(Applied::open(&golden("applied-clear"), None, None), Ok(applied(false)));
    let keyring = golden("keyring-old");
    assert_eq!(Applied::open(&golden("applied"), Some(&keyring), Some(&mac())), Ok(applied(true)));
}

#[test]
fn founders_of_a_cluster_write_the_same_row() {
    let members = Members::founders(&[node(7)]);
    let addresses = vec![MemberAddress { node: node(7), address: String::new() }];
    let founding = Applied::founding(CLUSTER, CLEAR_NAMES, members, addresses);
    assert_eq!(founding.position, Position { term: Term(1), index: Index(1) });
    assert!(!founding.client_command_applied);
    assert_eq!(Applied::decode(&founding.encode(None)), Ok(founding));
}

/// With a keyring every bit of the row is under the MAC.
#[test]
fn applied_row_with_a_changed_bit_is_refused() {
    let (row, keyring, mac) = (golden("applied"), golden("keyring-old"), mac());
    hurt(&row, |row| Applied::open(row, Some(&keyring), Some(&mac)));
    for place in 0..row.len() {
        for bit in 0..8 {
            let mut changed = row.clone();
            changed[place] ^= 1 << bit;
            assert!(Applied::open(&changed, Some(&keyring), Some(&mac)).is_err(), "byte {place} bit {bit}");
        }
    }
}

#[test]
fn clear_row_that_is_cut_longer_or_changed_is_another_or_refused() {
    hurt(&golden("applied-clear"), Applied::decode);
}

/// NO-WAY-DOWN: a keyring row cannot be swapped for an older one of the same cluster, nor taken away.
#[test]
fn keyring_row_of_another_step_is_refused() {
    let (row, mac) = (golden("applied"), mac());
    let open = |keyring: Option<&[u8]>, mac| Applied::open(&row, keyring, mac).unwrap_err();
    let older = golden("keyring-new");
    assert_eq!(open(Some(&older), Some(&mac)), StateError::Keyring { what: "the keyring row is another one" });
    assert_eq!(open(None, None), StateError::Keyring { what: "the keyring row is missing" });
    assert_eq!(open(Some(&older), None), StateError::Keyring { what: "no MAC key for it" });
    let clear = Applied::open(&golden("applied-clear"), Some(&older), Some(&mac)).unwrap_err();
    assert_eq!(clear, StateError::Keyring { what: "it names none" });
}

#[test]
fn row_under_another_mac_key_is_refused() {
    let row = applied(true).encode(Some(&MacKey::new(&Dek::new(&[3; 32]))));
    let error = Applied::open(&row, Some(&golden("keyring-old")), Some(&mac())).unwrap_err();
    assert_eq!(error, StateError::Unauthentic);
}

#[test]
fn lists_that_are_not_strictly_ascending_are_refused() {
    let (voters, first_member) = (74, 74 + 2 + 24 + 2 + 2 + 8 + 2 + 1 + 2);
    for place in [voters + 2 + 7, first_member + 7] {
        for id in [0, 8] {
            let mut row = golden("applied-clear");
            row[place] = id;
            assert!(matches!(Applied::decode(&row), Err(CodecError::Field { .. })), "{place} {id}");
        }
    }
}

/// BOUNDED: counts and lengths are judged before anything is allocated for them.
#[test]
fn counts_and_lengths_beyond_their_bounds_are_refused() {
    let first_member = 74 + 2 + 24 + 2 + 2 + 8 + 2 + 1;
    for place in [74, first_member, first_member + 2 + 8] {
        let mut row = golden("applied-clear");
        row[place..place + 2].fill(0xff);
        assert!(matches!(Applied::decode(&row), Err(CodecError::Field { .. })), "{place}");
    }
    let mut long = applied(false);
    long.addresses[0].address = "x".repeat(ADDRESS_BYTES_MAX);
    assert_eq!(Applied::decode(&long.encode(None)), Ok(long));
}

#[test]
fn address_that_is_no_text_and_unknown_flags_are_refused() {
    let mut row = golden("applied-clear");
    let last = row.len() - 1;
    row[last - 10] = 0xff;
    assert!(Applied::decode(&row).is_err());
    for flags in [4, 0x81, 0xff] {
        let mut row = golden("applied-clear");
        row[1] = flags;
        assert_eq!(Applied::decode(&row), Err(CodecError::Field { field: "flags" }));
    }
    let mut row = golden("applied-clear");
    row[0] = 1;
    assert_eq!(Applied::decode(&row), Err(CodecError::Version { found: 1, expected: 2 }));
}

#[test]
fn garbage_never_panics() {
    let (keyring, mac) = (golden("keyring-old"), mac());
    garbage(8, &golden("applied")[..60], |row| Applied::open(row, Some(&keyring), Some(&mac)));
    garbage(9, &golden("applied-clear")[..44], |row| Applied::open(row, None, None));
}

#[test]
#[should_panic(expected = "a keyring brings its MAC key")]
fn row_with_a_keyring_is_never_written_without_its_mac() {
    let _ = applied(true).encode(None);
}
