//! Bytes of control commands and of the keyring: golden (made by a second implementation), canonical, refused when hurt.

use crate::codec::CodecError;
use crate::crypto::keystore::Purpose;
use crate::crypto::names::ClearNameKey;
use crate::ids::Term;
use crate::keys::change::BootstrapKind;
use crate::keys::change::CHANGE_LEN_MAX;
use crate::keys::change::Change;
use crate::keys::change::PublishOpener;
use crate::keys::change::Retire;
use crate::keys::change::SetCutover;
use crate::keys::keyring::ClearRows;
use crate::keys::keyring::DekState;
use crate::keys::keyring::Keyring;
use crate::keys::keyring::Naming;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::make::verify_wraps;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::Counting;
use crate::keys::tests::kit::at;
use crate::keys::tests::kit::bootstrap;
use crate::keys::tests::kit::facts;
use crate::keys::tests::kit::garbage;
use crate::keys::tests::kit::golden;
use crate::keys::tests::kit::hurt;
use crate::keys::tests::kit::keks;
use crate::keys::tests::kit::key_id;
use crate::keys::tests::kit::keyring_new;
use crate::limits::KEYRING_KEYS_MAX;

fn changes() -> Vec<(&'static str, Change)> {
    let rotate = make_rotate(&keks(), &keyring_new(), Purpose::Entry, &Counting::from(100)).unwrap();
    vec![
        ("bootstrap", bootstrap(BootstrapKind::Cutover)),
        ("cutover", Change::Cutover(SetCutover { entry_key: key_id(1) })),
        ("opener", make_opener(Term(2), &Counting::default())),
        ("rotate", rotate),
        ("retire", Change::Retire(Retire { key_id: key_id(1) })),
        ("names", Change::Names(ClearNameKey([0xcc; 32]))),
    ]
}

/// The keyring of `keys.py`: bootstrap as the cutover, opener, rotation, retirement.
pub(crate) fn keyring_old() -> Keyring {
    let mut keyring = keyring_new();
    let by_word = |word| changes().into_iter().find(|(name, _)| *name == word).unwrap().1;
    for (index, word) in [(4, "opener"), (9, "rotate"), (10, "retire")] {
        keyring = decide(Some(&keyring), &by_word(word), at(2, index), facts()).unwrap();
    }
    keyring
}

/// Clients wrote before the keys were made: rows keep the names that they have.
pub(crate) fn keyring_clear() -> Keyring {
    let facts = Facts { client_command_applied: true, ..facts() };
    decide(None, &bootstrap(BootstrapKind::ClearNames), at(2, 9), facts).unwrap()
}

#[test]
fn control_commands_have_their_golden_bytes() {
    for (name, change) in changes() {
        assert_eq!(hex::encode(change.encode()), hex::encode(golden(name)), "{name}");
        assert_eq!(Change::decode(&golden(name)), Ok(change.clone()));
        assert_eq!(change.word(), name);
        assert!(golden(name).len() <= CHANGE_LEN_MAX);
        assert_eq!(verify_wraps(&keks(), CLUSTER, &change), Ok(()));
    }
}

#[test]
fn keyring_has_its_golden_bytes() {
    let keyrings = [("keyring-new", keyring_new()), ("keyring-old", keyring_old()), ("keyring-clear", keyring_clear())];
    for (name, keyring) in keyrings {
        assert_eq!(hex::encode(keyring.encode()), hex::encode(golden(name)), "{name}");
        assert_eq!(Keyring::decode(&golden(name)), Ok(keyring));
    }
}

#[test]
fn control_command_that_is_cut_longer_or_changed_is_another_or_refused() {
    for (name, _) in changes() {
        hurt(&golden(name), Change::decode);
    }
}

#[test]
fn keyring_that_is_cut_longer_or_changed_is_another_or_refused() {
    hurt(&golden("keyring-new"), Keyring::decode);
    hurt(&golden("keyring-old"), Keyring::decode);
    hurt(&golden("keyring-clear"), Keyring::decode);
}

/// What is read is written again with the same bytes: no two rows mean the same (SAME-BYTES).
#[test]
fn every_row_that_is_read_is_the_one_that_would_be_written() {
    for name in ["keyring-new", "keyring-old", "keyring-clear"] {
        let row = golden(name);
        for place in 0..row.len() {
            for value in [0, 1, 2, 3, 4, 0xff, row[place] ^ 1] {
                let mut changed = row.clone();
                changed[place] = value;
                if let Ok(keyring) = Keyring::decode(&changed) {
                    assert_eq!(keyring.encode(), changed, "byte {place}");
                }
            }
        }
    }
}

#[test]
fn garbage_never_panics() {
    garbage(1, &golden("bootstrap")[..3], Change::decode);
    garbage(2, &[3, 4, 0, 0, 0, 3], Change::decode);
    garbage(3, &golden("keyring-new")[..243], Keyring::decode);
    garbage(4, &[2], Keyring::decode);
}

#[test]
fn another_version_says_so() {
    let [mut change, mut keyring] = [golden("opener"), golden("keyring-new")];
    for found in [1, 4] {
        (change[0], keyring[0]) = (found, found);
        let error = |expected| CodecError::Version { found: found.into(), expected };
        assert_eq!(Change::decode(&change), Err(error(3)));
        assert_eq!(Keyring::decode(&keyring), Err(error(2)));
    }
}

#[test]
fn reserved_key_id_0_is_refused_everywhere() {
    for (name, place) in [("cutover", 2), ("retire", 2), ("rotate", 2)] {
        let mut bytes = golden(name);
        bytes[place..place + 4].fill(0);
        assert_eq!(Change::decode(&bytes), Err(CodecError::Field { field: "key id" }), "{name}");
    }
    for place in [32, 36, 243] {
        let mut row = golden("keyring-new");
        row[place..place + 4].fill(0);
        assert_eq!(Keyring::decode(&row), Err(CodecError::Field { field: "key id" }), "{place}");
    }
}

/// BOUNDED: a count is judged before anything is allocated for it.
#[test]
fn count_of_deks_beyond_the_bound_or_the_row_is_refused() {
    for count in [0, 1, 3, KEYRING_KEYS_MAX as u16 + 1, u16::MAX] {
        let mut row = golden("keyring-new");
        row[241..243].copy_from_slice(&count.to_be_bytes());
        assert!(Keyring::decode(&row).is_err(), "{count}");
    }
    let row = [&golden("keyring-new")[..241], &[0xff, 0xff], &vec![0; 65535 * 90][..]].concat();
    assert_eq!(Keyring::decode(&row), Err(CodecError::Field { field: "number of DEKs" }));
}

/// A row that no sequence of changes makes, each wrong in one place.
#[test]
fn row_that_contradicts_itself_is_refused() {
    let cases: [(&str, usize, &[u8], &str); 19] = [
        ("keyring-old", 17, &[0; 8], "cutover"),
        ("keyring-old", 17, &[0xff; 8], "clear rows"),
        ("keyring-old", 17, &[0, 0, 0, 0, 0, 0, 0, 4], "newest opener"),
        ("keyring-old", 25, &[1], "least entry version"),
        ("keyring-old", 26, &[2], "least control version"),
        ("keyring-old", 27, &[2], "clear rows"),
        ("keyring-old", 28, &[0, 0, 0, 3], "next key id"),
        ("keyring-old", 32, &[0, 0, 0, 1], "active DEK"),
        ("keyring-old", 32, &[0, 0, 0, 9], "active DEK"),
        ("keyring-new", 48, &[0, 0, 0, 0, 0, 0, 0, 1], "newest opener"),
        ("keyring-old", 164, &[2], "naming of rows"),
        ("keyring-old", 164, &[0], "wrapped name key"),
        ("keyring-clear", 165, &[1], "wrapped name key"),
        ("keyring-clear", 240, &[1], "wrapped name key"),
        ("keyring-old", 243 + 5, &[1], "wrapped bytes of a retired DEK"),
        ("keyring-old", 243 + 90, &[0, 0, 0, 5], "key id"),
        ("keyring-old", 243 + 90 + 4, &[1], "active DEK"),
        ("keyring-old", 243 + 90 + 5, &[2], "active DEK"),
        ("keyring-old", 243 + 90 + 6, &[1], "index where a DEK became active"),
    ];
    for (name, place, bytes, expected) in cases {
        let mut row = golden(name);
        row[place..place + bytes.len()].copy_from_slice(bytes);
        let result = Keyring::decode(&row);
        let is_expected = matches!(result, Err(CodecError::Field { field }) if field == expected);
        // A retired DEK with its state set back is caught by one of two rules; both fields say it.
        assert!(is_expected || (place == 248 && result.is_err()), "{name} {place}: {result:?}");
    }
}

#[test]
fn equal_check_values_in_a_row_are_refused() {
    let (entry, value, mac, name) = (243 + 14, 243 + 90 + 14, 88, 165);
    for (from, to) in [(entry, value), (entry, mac), (value, mac), (entry, name), (value, name), (mac, name)] {
        let mut row = golden("keyring-new");
        row.copy_within(from..from + 8, to);
        assert_eq!(Keyring::decode(&row), Err(CodecError::Field { field: "check value" }));
    }
}

#[test]
fn keyring_says_what_its_row_says() {
    let keyring = keyring_old();
    assert_eq!(keyring.cluster(), CLUSTER);
    assert_eq!((keyring.cutover().0, keyring.clear_rows()), (3, ClearRows::None));
    assert_eq!(keyring.next_key_id(), Some(key_id(4)));
    assert_eq!((keyring.active_entry().id, keyring.active_entry().active_from.0), (key_id(3), 9));
    assert_eq!((keyring.active_value().id, keyring.active_value().active_from.0), (key_id(2), 3));
    let Change::Opener(PublishOpener { term, salt }) = Change::decode(&golden("opener")).unwrap() else { panic!() };
    let opener = keyring.opener().unwrap();
    assert_eq!((opener.term, opener.index.0, opener.salt), (term, 4, salt));
    assert_eq!(keyring.dek(key_id(1)).unwrap().state, DekState::Retired);
    assert_eq!(keyring.dek(key_id(1)).unwrap().wrapped, [0; 68]);
    assert_eq!(keyring.dek(key_id(4)), None);
    assert_eq!(keyring.deks().count(), 3);
    let Change::Bootstrap(made) = Change::decode(&golden("bootstrap")).unwrap() else { panic!() };
    assert_eq!(*keyring.naming(), Naming::Secret(made.name));
    assert_eq!(*keyring_clear().naming(), Naming::Clear);
}
