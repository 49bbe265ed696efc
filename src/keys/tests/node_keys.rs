//! A node's keys: inert before a keyring, never back behind a cutover, and lacking keys are named at their first use.

use std::sync::Arc;

use crate::crypto::envelope::OpenError;
use crate::crypto::keystore::Purpose;
use crate::crypto::names::ClearNameKey;
use crate::crypto::open::OpenJob;
use crate::crypto::open::open_entry;
use crate::crypto::seal::seal_entries;
use crate::exit::Blame;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::change::BootstrapKind;
use crate::keys::change::Change;
use crate::keys::change::Retire;
use crate::keys::kek::KekSet;
use crate::keys::keyring::Keyring;
use crate::keys::lack::KeyLack;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_cutover;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::node_keys::InstallError;
use crate::keys::node_keys::NodeKeys;
use crate::keys::node_keys::unwrap_mac;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::keys::tests::kit::CLEAR_NAMES;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::Counting;
use crate::keys::tests::kit::at;
use crate::keys::tests::kit::bootstrap;
use crate::keys::tests::kit::facts;
use crate::keys::tests::kit::kek;
use crate::keys::tests::kit::keks;
use crate::keys::tests::kit::key_id;
use crate::keys::tests::kit::keyring_new;
use crate::keys::tests::kit::other_kek;
use crate::keys::tests::kit::other_keks;

fn apply(keyring: &Keyring, change: &Change, index: u64) -> Keyring {
    decide(Some(keyring), change, at(2, index), facts()).unwrap()
}

fn opened(keyring: &Keyring, index: u64) -> Keyring {
    apply(keyring, &make_opener(Term(2), &Counting::from(index)), index)
}

fn rotated(keyring: &Keyring, purpose: Purpose, index: u64) -> Keyring {
    apply(keyring, &make_rotate(&keks(), keyring, purpose, &Counting::from(100 + index * 13)).unwrap(), index)
}

#[test]
fn node_keys_are_inert_before_a_keyring() {
    for keks in [keks(), KekSet::default()] {
        let node_keys = NodeKeys::new(CLUSTER, keks);
        assert_eq!(node_keys.cutover(), Index::NEVER);
        let view = node_keys.current();
        assert!(view.keyring().is_none() && view.needs().is_none());
        assert!(matches!(view.mac_key(), Ok(None)));
        assert_eq!(view.leadership_key().unwrap_err(), KeyLack::NotBootstrapped);
        assert_eq!(view.active_value().unwrap_err(), KeyLack::NotBootstrapped);
        assert_eq!(view.lack(key_id(1), Purpose::Entry), KeyLack::NotBootstrapped);
    }
}

#[test]
fn installed_keyring_gives_every_key_and_the_cutover() {
    let node_keys = NodeKeys::new(CLUSTER, keks());
    node_keys.install(keyring_new()).unwrap();
    assert_eq!(node_keys.cutover(), Index(3));
    let view = node_keys.current();
    assert_eq!(view.cutover(), Index(3));
    assert_eq!(view.leadership_key().unwrap_err(), KeyLack::NoOpener);
    assert_eq!(view.control_key().unwrap().key_id(), key_id(1));
    let value = view.active_value().unwrap();
    assert_eq!((value.dek.key_id(), value.active_from), (key_id(2), Index(3)));
    assert!(view.mac_key().unwrap().is_some() && view.needs().is_none());

    node_keys.install(opened(&keyring_new(), 4)).unwrap();
    let key = node_keys.current().leadership_key().unwrap();
    assert_eq!((key.key_id(), key.term_salt().term, key.term_salt().index), (key_id(1), Term(2), Index(4)));
    assert!(Arc::ptr_eq(&key, &node_keys.current().leadership_key().unwrap()), "derived and expanded once");
    // A view that was taken before stays as it was.
    assert_eq!(view.leadership_key().unwrap_err(), KeyLack::NoOpener);
}

#[test]
fn rotation_changes_the_active_key_and_keeps_the_old_one_for_opening() {
    let node_keys = NodeKeys::new(CLUSTER, keks());
    let keyring = rotated(&opened(&keyring_new(), 4), Purpose::Entry, 5);
    let keyring = rotated(&keyring, Purpose::Value, 6);
    node_keys.install(keyring.clone()).unwrap();
    let view = node_keys.current();
    assert_eq!(view.leadership_key().unwrap().key_id(), key_id(3));
    assert_eq!(view.active_value().unwrap().dek.key_id(), key_id(4));
    assert_eq!(view.active_value().unwrap().active_from, Index(6));
    assert!(view.keys().entry(key_id(1)).is_some() && view.keys().value(key_id(2)).is_some());

    let keyring = apply(&keyring, &Change::Retire(Retire { key_id: key_id(1) }), 7);
    node_keys.install(keyring).unwrap();
    assert!(node_keys.current().keys().entry(key_id(1)).is_none());
    assert_eq!(node_keys.current().lack(key_id(1), Purpose::Entry), KeyLack::Retired { key_id: 1 });
}

/// NO-WAY-DOWN in memory: a cutover that is known stays, whatever comes.
#[test]
fn cutover_that_is_known_never_moves() {
    let node_keys = NodeKeys::new(CLUSTER, keks());
    let clear = decide(None, &bootstrap(BootstrapKind::SecretNames), at(2, 3), facts()).unwrap();
    node_keys.install(clear.clone()).unwrap();
    assert_eq!(node_keys.cutover(), Index::NEVER);
    let sealed = apply(&clear, &make_cutover(&clear), 9);
    node_keys.install(sealed.clone()).unwrap();
    assert_eq!(node_keys.cutover(), Index(9));
    let refused = InstallError::OtherCutover { offered: Index::NEVER, known: Index(9) };
    assert_eq!(node_keys.install(clear), Err(refused));
    let refused = InstallError::OtherCutover { offered: Index(3), known: Index(9) };
    assert_eq!(node_keys.install(keyring_new()), Err(refused));
    assert_eq!(node_keys.cutover(), Index(9));
    assert_eq!(node_keys.current().keyring(), Some(&sealed));
}

#[test]
fn keyring_of_another_cluster_is_refused() {
    let node_keys = NodeKeys::new(ClusterId([1; 16]), keks());
    let refused = InstallError::OtherCluster { offered: CLUSTER, known: ClusterId([1; 16]) };
    assert_eq!(node_keys.install(keyring_new()), Err(refused));
    assert_eq!(node_keys.cutover(), Index::NEVER);
}

/// NO-CIPHER-HALT needs it: the cutover is known even where no key is.
#[test]
fn without_a_kek_the_cutover_counts_and_every_key_says_no_cipher() {
    let node_keys = NodeKeys::new(CLUSTER, KekSet::default());
    node_keys.install(opened(&keyring_new(), 4)).unwrap();
    assert_eq!(node_keys.cutover(), Index(3));
    let view = node_keys.current();
    let no_cipher = KeyLack::NoCipher { wrapped_by: kek().id() };
    assert_eq!(view.leadership_key().unwrap_err(), no_cipher);
    assert_eq!(view.control_key().unwrap_err(), no_cipher);
    assert_eq!(view.active_value().unwrap_err(), no_cipher);
    assert_eq!(view.mac_key().unwrap_err(), no_cipher);
    assert_eq!(view.needs(), Some(no_cipher));
    assert_eq!(no_cipher.blame(), Blame::Config);
}

#[test]
fn with_another_kek_a_key_is_named_with_the_kek_that_it_needs() {
    let node_keys = NodeKeys::new(CLUSTER, other_keks());
    node_keys.install(keyring_new()).unwrap();
    let view = node_keys.current();
    let wrapped_by = kek().id();
    assert_eq!(view.control_key().unwrap_err(), KeyLack::OtherKek { key_id: 1, wrapped_by });
    assert_eq!(view.active_value().unwrap_err(), KeyLack::OtherKek { key_id: 2, wrapped_by });
    assert_eq!(view.mac_key().unwrap_err(), KeyLack::OtherKek { key_id: 0, wrapped_by });
    assert!(view.needs().is_some());
    assert_eq!(node_keys.mac_key_of(&keyring_new()).unwrap_err(), KeyLack::OtherKek { key_id: 0, wrapped_by });
}

#[test]
fn second_kek_unwraps_what_it_wrapped() {
    let node_keys = NodeKeys::new(CLUSTER, KekSet::new(vec![other_kek(), kek()]).unwrap());
    node_keys.install(keyring_new()).unwrap();
    assert_eq!(node_keys.current().needs(), None);
    assert_eq!(node_keys.keks().first().unwrap().id(), other_kek().id());
}

#[test]
fn wraps_that_were_swapped_or_lie_about_their_key_are_damage() {
    let Change::Bootstrap(good) = bootstrap(BootstrapKind::Cutover) else { panic!() };
    let mut swapped = good.clone();
    std::mem::swap(&mut swapped.entry.wrapped, &mut swapped.value.wrapped);
    let node_keys = NodeKeys::new(CLUSTER, keks());
    let keyring = decide(None, &Change::Bootstrap(swapped), at(2, 3), facts()).unwrap();
    node_keys.install(keyring).unwrap();
    let lack = node_keys.current().control_key().unwrap_err();
    assert!(lack.blame() == Blame::Damage && matches!(lack, KeyLack::Unauthentic { key_id: 1, .. }), "{lack}");

    let mut lying = good;
    lying.mac.check[0] ^= 1;
    let keyring = decide(None, &Change::Bootstrap(lying), at(2, 3), facts()).unwrap();
    assert_eq!(unwrap_mac(&keks(), &keyring).unwrap_err(), KeyLack::OtherKey { key_id: 0 });
}

#[test]
fn cause_of_an_unknown_key_is_told_apart() {
    let node_keys = NodeKeys::new(CLUSTER, keks());
    node_keys.install(opened(&keyring_new(), 4)).unwrap();
    let view = node_keys.current();
    assert_eq!(view.lack(key_id(9), Purpose::Entry), KeyLack::Unknown { key_id: 9 });
    assert_eq!(view.lack(key_id(2), Purpose::Entry), KeyLack::OtherPurpose { key_id: 2 });
    assert_eq!(view.lack(key_id(1), Purpose::Entry), KeyLack::OtherTerm { key_id: 1 });
}

#[test]
fn mac_key_of_a_keyring_to_be_written_needs_no_install() {
    let node_keys = NodeKeys::new(CLUSTER, keks());
    let before = node_keys.mac_key_of(&keyring_new()).unwrap();
    node_keys.install(keyring_new()).unwrap();
    let after = node_keys.current().mac_key().unwrap().unwrap();
    assert_eq!(before.tag_applied(b"row"), after.tag_applied(b"row"));
    assert!(after.is_applied(b"row", &before.tag_applied(b"row")));
    assert!(!after.is_applied(b"other", &before.tag_applied(b"row")));
    assert!(Arc::ptr_eq(&after, &node_keys.mac_key_of(&opened(&keyring_new(), 4)).unwrap()), "unwrapped once");
}

/// NO-SECRETS-OUT: fixed key bytes, and nothing of them in what they print.
#[test]
fn debug_of_the_ring_shows_no_key_bytes() {
    let node_keys = NodeKeys::new(CLUSTER, keks());
    node_keys.install(keyring_new()).unwrap();
    let text = format!("{node_keys:?}");
    // The first DEK is 0, 1, 2, ... (`kit::Counting`), the KEK 64, 65, 66, ...
    assert!(!text.contains("0, 1, 2, 3, 4") && !text.contains("64, 65, 66, 67"), "{text}");
}

/// What a leader seals with its view, a replica that installed the same keyring opens; another term's opener does not.
#[test]
fn entry_sealed_by_one_ring_opens_by_another_of_the_same_term_only() {
    let [leader, replica] = [keks(), KekSet::new(vec![other_kek(), kek()]).unwrap()].map(|keks| {
        let node_keys = NodeKeys::new(CLUSTER, keks);
        node_keys.install(opened(&keyring_new(), 4)).unwrap();
        node_keys
    });
    let key = leader.current().leadership_key().unwrap();
    let sealed = seal_entries(&key, [1; 7], Index(5), &[(ProposalId(9), &b"command"[..])]).unwrap();
    let job = OpenJob { position: at(2, 5), data: &sealed[0] };
    assert_eq!(open_entry(&replica.current().entry_keys().unwrap(), job), Ok(b"command".to_vec()));
    let next_term = decide(leader.current().keyring(), &make_opener(Term(3), &Counting::from(9)), at(3, 6), facts());
    replica.install(next_term.unwrap()).unwrap();
    let unknown = OpenError::UnknownKey { key_id: key_id(1) };
    assert_eq!(open_entry(&replica.current().entry_keys().unwrap(), job), Err(unknown));
    assert_eq!(replica.current().lack(key_id(1), Purpose::Entry), KeyLack::OtherTerm { key_id: 1 });
}

/// Another cluster's bootstrap under the same KEK gives keys of its own: a wrap is bound to its cluster.
#[test]
fn wrap_of_another_cluster_does_not_unwrap_here() {
    let elsewhere = ClusterId([1; 16]);
    let Change::Bootstrap(mut moved) =
        make_bootstrap(&keks(), elsewhere, BootstrapKind::Cutover, &Counting::default()).unwrap()
    else {
        panic!()
    };
    moved.cluster = CLUSTER;
    let keyring = decide(None, &Change::Bootstrap(moved), at(2, 3), facts()).unwrap();
    let node_keys = NodeKeys::new(CLUSTER, keks());
    node_keys.install(keyring).unwrap();
    assert_eq!(node_keys.current().control_key().unwrap_err().blame(), Blame::Damage);
}

fn name_of(node_keys: &NodeKeys, user_key: &[u8]) -> [u8; 16] {
    let mut names = [[0; 16]];
    node_keys.current().name_key().unwrap().names(&[user_key], &mut names);
    names[0]
}

/// Before any row a bootstrap makes names secret, the same on every node; later changes of the keyring change no name.
#[test]
fn names_change_at_the_bootstrap_and_never_after_it() {
    let founded = |cluster, keks, key| {
        let node_keys = NodeKeys::new(cluster, keks);
        node_keys.found(&key).unwrap();
        node_keys
    };
    let [one, two] =
        [keks(), KekSet::new(vec![other_kek(), kek()]).unwrap()].map(|keks| founded(CLUSTER, keks, CLEAR_NAMES));
    let clear = name_of(&one, b"user:1");
    assert_eq!(clear, name_of(&founded(CLUSTER, KekSet::default(), CLEAR_NAMES), b"user:1"));
    assert_ne!(clear, name_of(&founded(ClusterId([1; 16]), KekSet::default(), CLEAR_NAMES), b"user:1"));
    assert_ne!(clear, name_of(&founded(CLUSTER, KekSet::default(), ClearNameKey([1; 32])), b"user:1"));
    one.install(keyring_new()).unwrap();
    let secret = name_of(&one, b"user:1");
    assert_ne!(secret, clear);
    let keyring = rotated(&rotated(&opened(&keyring_new(), 4), Purpose::Entry, 5), Purpose::Value, 6);
    for node_keys in [&one, &two] {
        node_keys.install(keyring.clone()).unwrap();
        assert_eq!(name_of(node_keys, b"user:1"), secret);
    }
}

/// Rows that clients wrote before there were keys stay where they are found.
#[test]
fn names_stay_as_they_are_where_clients_wrote_before_the_bootstrap() {
    let node_keys = NodeKeys::new(CLUSTER, keks());
    assert_eq!(node_keys.current().name_key().unwrap_err(), KeyLack::NotBootstrapped, "nothing says yet with what");
    node_keys.found(&CLEAR_NAMES).unwrap();
    assert_eq!(node_keys.found(&ClearNameKey([1; 32])), Err(InstallError::OtherClearNames));
    let before = name_of(&node_keys, b"user:1");
    let late = Facts { client_command_applied: true, ..facts() };
    let keyring = decide(None, &bootstrap(BootstrapKind::ClearNames), at(2, 9), late).unwrap();
    node_keys.install(keyring.clone()).unwrap();
    assert_eq!(name_of(&node_keys, b"user:1"), before);
    let sealed = decide(Some(&keyring), &make_cutover(&keyring), at(2, 12), late).unwrap();
    node_keys.install(sealed).unwrap();
    assert_eq!(name_of(&node_keys, b"user:1"), before);
}

#[test]
fn node_that_lacks_the_name_key_says_so_and_does_not_campaign() {
    let Change::Bootstrap(mut swapped) = bootstrap(BootstrapKind::Cutover) else { panic!() };
    std::mem::swap(&mut swapped.mac.wrapped, &mut swapped.name.wrapped);
    let keyring = decide(None, &Change::Bootstrap(swapped), at(2, 3), facts()).unwrap();
    let node_keys = NodeKeys::new(CLUSTER, keks());
    node_keys.install(keyring).unwrap();
    let lack = node_keys.current().name_key().unwrap_err();
    assert!(lack.blame() == Blame::Damage && matches!(lack, KeyLack::Unauthentic { key_id: 0, .. }), "{lack}");
    assert!(node_keys.current().needs().is_some());
    let without = NodeKeys::new(CLUSTER, KekSet::default());
    without.install(keyring_new()).unwrap();
    assert_eq!(without.current().name_key().unwrap_err(), KeyLack::NoCipher { wrapped_by: kek().id() });
}
