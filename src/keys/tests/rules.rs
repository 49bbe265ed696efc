//! The rules: each refusal by name, and sequences of random changes under which nothing ever goes back.

use crate::crypto::keystore::Purpose;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::change::BootstrapKind;
use crate::keys::change::Change;
use crate::keys::change::PublishOpener;
use crate::keys::change::Retire;
use crate::keys::change::Rotate;
use crate::keys::change::SetCutover;
use crate::keys::kek::KekSet;
use crate::keys::keyring::ClearRows;
use crate::keys::keyring::DekState;
use crate::keys::keyring::Keyring;
use crate::keys::keyring::Naming;
use crate::keys::keyring::WrappedDek;
use crate::keys::make::MakeError;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_cutover;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::make::verify_wraps;
use crate::keys::rules::Facts;
use crate::keys::rules::RuleError;
use crate::keys::rules::decide;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::Counting;
use crate::keys::tests::kit::at;
use crate::keys::tests::kit::bootstrap;
use crate::keys::tests::kit::facts;
use crate::keys::tests::kit::keks;
use crate::keys::tests::kit::key_id;
use crate::keys::tests::kit::keyring_new;
use crate::keys::tests::kit::other_keks;
use crate::limits::KEYRING_KEYS_MAX;
use crate::testing::seed::Seeded;

fn clear_keyring() -> Keyring {
    decide(None, &bootstrap(BootstrapKind::SecretNames), at(2, 3), facts()).unwrap()
}

fn opener(term: u64, seed: u64) -> Change {
    make_opener(Term(term), &Counting::from(seed))
}

fn rotate(keyring: &Keyring, purpose: Purpose, seed: u64) -> Change {
    make_rotate(&keks(), keyring, purpose, &Counting::from(seed)).unwrap()
}

fn refusal(keyring: Option<&Keyring>, change: &Change, at: Position) -> RuleError {
    decide(keyring, change, at, facts()).unwrap_err()
}

const KINDS: [BootstrapKind; 3] = [BootstrapKind::Cutover, BootstrapKind::SecretNames, BootstrapKind::ClearNames];

#[test]
fn bootstrap_can_be_the_cutover_or_not() {
    let sealed = keyring_new();
    assert_eq!((sealed.cutover(), sealed.clear_rows()), (Index(3), ClearRows::None));
    let clear = clear_keyring();
    assert_eq!((clear.cutover(), clear.clear_rows()), (Index::NEVER, ClearRows::Allowed));
    for keyring in [sealed, clear] {
        assert_eq!(keyring.active_entry().id, key_id(1));
        assert_eq!(keyring.active_value().id, key_id(2));
        assert_eq!(keyring.opener(), None);
        assert!(keyring.deks().all(|dek| dek.state == DekState::Active && dek.active_from == Index(3)));
    }
}

#[test]
fn bootstrap_is_the_cutover_only_if_no_client_command_was_applied() {
    let facts = Facts { client_command_applied: true, ..facts() };
    assert_eq!(
        decide(None, &bootstrap(BootstrapKind::Cutover), at(2, 30), facts),
        Err(RuleError::CutoverBehindClients)
    );
    assert!(decide(None, &bootstrap(BootstrapKind::SecretNames), at(2, 30), facts).is_ok());
}

/// Nothing signs the record of a replica before the bootstrap: whoever owns its disk may have changed it. NO-WAY-DOWN: that makes
/// no name readable, and no replica names rows in another way than the others.
#[test]
fn how_rows_are_named_is_in_the_bootstrap_and_not_in_a_replicas_own_record() {
    for client_command_applied in [false, true] {
        let facts = Facts { client_command_applied, ..facts() };
        let naming = |kind| *decide(None, &bootstrap(kind), at(2, 30), facts).unwrap().naming();
        let Change::Bootstrap(made) = bootstrap(BootstrapKind::SecretNames) else { panic!() };
        assert_eq!(naming(BootstrapKind::SecretNames), Naming::Secret(made.name));
        assert_eq!(naming(BootstrapKind::ClearNames), Naming::Clear);
    }
    assert!(matches!(keyring_new().naming(), Naming::Secret(_)));
}

#[test]
fn second_bootstrap_is_refused_even_the_same_one() {
    for kind in KINDS {
        assert_eq!(refusal(Some(&keyring_new()), &bootstrap(kind), at(2, 4)), RuleError::SecondBootstrap);
    }
}

#[test]
fn bootstrap_for_another_cluster_is_refused() {
    let named = ClusterId([1; 16]);
    let change = make_bootstrap(&keks(), named, BootstrapKind::Cutover, &Counting::default()).unwrap();
    assert_eq!(refusal(None, &change, at(2, 3)), RuleError::OtherCluster { named, cluster: CLUSTER });
}

#[test]
fn before_bootstrap_everything_else_is_refused() {
    let all = [
        Change::Cutover(SetCutover { entry_key: key_id(1) }),
        opener(2, 0),
        rotate(&clear_keyring(), Purpose::Entry, 100),
        Change::Retire(Retire { key_id: key_id(1) }),
    ];
    for change in all {
        assert_eq!(refusal(None, &change, at(2, 3)), RuleError::NotBootstrapped);
    }
}

#[test]
fn equal_check_values_are_refused_where_keys_are_accepted() {
    let Change::Bootstrap(good) = bootstrap(BootstrapKind::Cutover) else { panic!() };
    for (from, to) in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
        let mut bad = good.clone();
        let check = [good.entry, good.value, good.mac, good.name][from].check;
        [&mut bad.entry, &mut bad.value, &mut bad.mac, &mut bad.name][to].check = check;
        assert_eq!(refusal(None, &Change::Bootstrap(bad), at(2, 3)), RuleError::SameKey);
    }
    let keyring = keyring_new();
    let Change::Rotate(fresh) = rotate(&keyring, Purpose::Value, 100) else { panic!() };
    for check in [good.entry.check, good.value.check, good.mac.check] {
        let mut bad = fresh.clone();
        bad.key.check = check;
        assert_eq!(refusal(Some(&keyring), &Change::Rotate(bad), at(2, 4)), RuleError::SameKey);
    }
}

#[test]
fn retired_key_cannot_come_back_under_another_id() {
    let keyring = keyring_new();
    let first = rotate(&keyring, Purpose::Entry, 100);
    let keyring = decide(Some(&keyring), &first, at(2, 4), facts()).unwrap();
    let old = keyring_new().active_entry().check;
    let keyring = decide(Some(&keyring), &Change::Retire(Retire { key_id: key_id(1) }), at(2, 5), facts()).unwrap();
    let Change::Rotate(mut again) = rotate(&keyring, Purpose::Entry, 200) else { panic!() };
    again.key.check = old;
    assert_eq!(refusal(Some(&keyring), &Change::Rotate(again), at(2, 6)), RuleError::SameKey);
}

#[test]
fn cutover_is_set_once() {
    let keyring = clear_keyring();
    let cutover = make_cutover(&keyring);
    let keyring = decide(Some(&keyring), &cutover, at(2, 9), facts()).unwrap();
    assert_eq!((keyring.cutover(), keyring.clear_rows()), (Index(9), ClearRows::Allowed));
    assert_eq!(refusal(Some(&keyring), &cutover, at(2, 10)), RuleError::CutoverIsSet { cutover: Index(9) });
    assert_eq!(refusal(Some(&keyring_new()), &cutover, at(2, 10)), RuleError::CutoverIsSet { cutover: Index(3) });
}

#[test]
fn cutover_that_saw_another_active_key_is_refused() {
    let keyring = clear_keyring();
    let cutover = make_cutover(&keyring);
    let keyring = decide(Some(&keyring), &rotate(&keyring, Purpose::Entry, 100), at(2, 4), facts()).unwrap();
    let expected = RuleError::NotActive { named: key_id(1), active: key_id(3) };
    assert_eq!(refusal(Some(&keyring), &cutover, at(2, 5)), expected);
}

#[test]
fn opener_counts_only_in_its_own_term_above_the_cutover_with_a_fresh_salt() {
    assert_eq!(refusal(Some(&clear_keyring()), &opener(2, 0), at(2, 4)), RuleError::OpenerBeforeCutover);
    let keyring = keyring_new();
    for (named, term) in [(1, 2), (3, 2), (2, 3), (0, 0)] {
        let expected = RuleError::OpenerTerm { named: Term(named), term: Term(term) };
        assert_eq!(refusal(Some(&keyring), &opener(named, 0), at(term, 4)), expected);
    }
    let keyring = decide(Some(&keyring), &opener(2, 0), at(2, 4), facts()).unwrap();
    assert_eq!(keyring.opener().map(|opener| (opener.term, opener.index)), Some((Term(2), Index(4))));
    assert_eq!(refusal(Some(&keyring), &opener(2, 0), at(2, 5)), RuleError::SaltAgain { index: Index(4) });
    assert_eq!(refusal(Some(&keyring), &opener(3, 0), at(3, 5)), RuleError::SaltAgain { index: Index(4) });
    let renewed = decide(Some(&keyring), &opener(2, 1), at(2, 5), facts()).unwrap();
    assert_eq!(renewed.opener().map(|opener| opener.index), Some(Index(5)));
}

#[test]
fn rotation_replaces_the_active_dek_of_its_purpose_only() {
    let keyring = keyring_new();
    let after = decide(Some(&keyring), &rotate(&keyring, Purpose::Value, 100), at(4, 20), facts()).unwrap();
    assert_eq!((after.active_entry().id, after.active_value().id), (key_id(1), key_id(3)));
    assert_eq!(after.active_value().active_from, Index(20));
    assert_eq!(after.dek(key_id(2)).unwrap().state, DekState::DecryptOnly);
    assert_eq!(after.dek(key_id(1)), keyring.dek(key_id(1)));
    assert_eq!(after.opener(), keyring.opener());
}

#[test]
fn rotation_with_any_id_but_the_next_is_refused() {
    let keyring = keyring_new();
    let Change::Rotate(good) = rotate(&keyring, Purpose::Entry, 100) else { panic!() };
    for id in [1, 2, 4, u32::MAX] {
        let change = Change::Rotate(Rotate { key_id: key_id(id), ..good.clone() });
        let expected = RuleError::NotNextId { named: key_id(id), next: key_id(3) };
        assert_eq!(refusal(Some(&keyring), &change, at(2, 4)), expected);
    }
    let keyring = decide(Some(&keyring), &Change::Rotate(good.clone()), at(2, 4), facts()).unwrap();
    let expected = RuleError::NotNextId { named: key_id(3), next: key_id(4) };
    assert_eq!(refusal(Some(&keyring), &Change::Rotate(good), at(2, 5)), expected);
}

#[test]
fn full_keyring_takes_no_more_and_still_fits_its_row() {
    let mut keyring = keyring_new();
    let Change::Rotate(mut change) = rotate(&keyring, Purpose::Entry, 100) else { panic!() };
    let mut index = 3;
    while let Some(next) = keyring.next_key_id() {
        index += 1;
        change.key_id = next;
        change.key.check = (1 << 40 | u64::from(next.value())).to_be_bytes();
        keyring.deks.push(WrappedDek {
            id: next,
            purpose: Purpose::Entry,
            state: DekState::DecryptOnly,
            active_from: Index(index),
            check: change.key.check,
            wrapped: change.key.wrapped,
        });
    }
    assert_eq!(keyring.deks().count(), KEYRING_KEYS_MAX);
    assert_eq!(Keyring::decode(&keyring.encode()), Ok(keyring.clone()));
    assert_eq!(refusal(Some(&keyring), &Change::Rotate(change), at(2, index + 1)), RuleError::Full);
    let made = make_rotate(&keks(), &keyring, Purpose::Entry, &Counting::default());
    assert_eq!(made, Err(MakeError::Full));
}

#[test]
fn key_in_use_is_never_retired() {
    let retire = |id| Change::Retire(Retire { key_id: key_id(id) });
    let keyring = keyring_new();
    for id in [1, 2] {
        assert_eq!(refusal(Some(&keyring), &retire(id), at(2, 4)), RuleError::InUse { key_id: key_id(id) });
    }
    assert_eq!(refusal(Some(&keyring), &retire(3), at(2, 4)), RuleError::UnknownKey { key_id: key_id(3) });
    let keyring = decide(Some(&keyring), &rotate(&keyring, Purpose::Entry, 100), at(2, 4), facts()).unwrap();
    let keyring = decide(Some(&keyring), &rotate(&keyring, Purpose::Value, 200), at(2, 5), facts()).unwrap();
    // No rewrite pass yet: a stored value may still need it.
    assert_eq!(refusal(Some(&keyring), &retire(2), at(2, 6)), RuleError::InUse { key_id: key_id(2) });
    let keyring = decide(Some(&keyring), &retire(1), at(2, 6), facts()).unwrap();
    assert_eq!(refusal(Some(&keyring), &retire(1), at(2, 7)), RuleError::IsRetired { key_id: key_id(1) });
}

#[test]
fn change_at_or_below_what_the_keyring_names_is_refused() {
    let keyring = decide(Some(&keyring_new()), &opener(2, 0), at(2, 9), facts()).unwrap();
    for index in [1, 3, 8, 9] {
        let expected = RuleError::NotAbove { index: Index(index), newest: Index(9) };
        assert_eq!(refusal(Some(&keyring), &opener(2, 1), at(2, index)), expected);
    }
}

/// SAME-DECISION: wraps that nobody here can open are accepted like any others.
#[test]
fn rules_never_unwrap() {
    let change = make_bootstrap(&other_keks(), CLUSTER, BootstrapKind::Cutover, &Counting::default()).unwrap();
    assert!(decide(None, &change, at(2, 3), facts()).is_ok());
    assert!(matches!(verify_wraps(&keks(), CLUSTER, &change), Err(MakeError::Wrap { key_id: 1, .. })));
}

#[test]
fn leader_refuses_to_propose_a_wrap_for_another_place_or_key() {
    let Change::Bootstrap(good) = bootstrap(BootstrapKind::Cutover) else { panic!() };
    let mut swapped = good.clone();
    std::mem::swap(&mut swapped.entry, &mut swapped.value);
    let swapped = Change::Bootstrap(swapped);
    assert!(matches!(verify_wraps(&keks(), CLUSTER, &swapped), Err(MakeError::Wrap { key_id: 1, .. })));
    let mut other_check = good.clone();
    other_check.mac.check[0] ^= 1;
    let other_check = Change::Bootstrap(other_check);
    assert_eq!(verify_wraps(&keks(), CLUSTER, &other_check), Err(MakeError::Check { key_id: 0 }));
    let mut as_name = good.clone();
    std::mem::swap(&mut as_name.mac, &mut as_name.name);
    let as_name = Change::Bootstrap(as_name);
    assert!(matches!(verify_wraps(&keks(), CLUSTER, &as_name), Err(MakeError::Wrap { key_id: 0, .. })));
    let elsewhere = verify_wraps(&keks(), ClusterId([0; 16]), &Change::Bootstrap(good));
    assert!(matches!(elsewhere, Err(MakeError::Wrap { .. })));
}

#[test]
fn no_keys_are_made_without_a_kek() {
    let none = KekSet::default();
    assert_eq!(make_bootstrap(&none, CLUSTER, BootstrapKind::Cutover, &Counting::default()), Err(MakeError::NoKek));
    assert_eq!(make_rotate(&none, &keyring_new(), Purpose::Entry, &Counting::default()), Err(MakeError::NoKek));
}

/// NO-WAY-DOWN, under thousands of changes, good and bad: the cutover stays, states go forward, ids and keys are never
/// used again, what is refused changes nothing, and every row is read as it was written.
#[test]
fn no_way_down_under_random_changes() {
    let chance = Seeded::replayable(20260101);
    for _ in 0..20 {
        let mut keyring: Option<Keyring> = None;
        let (mut term, mut index) = (1, 1);
        for _ in 0..120 {
            term += chance.below(4) / 3;
            index += chance.below(3);
            let change = random_change(&chance, keyring.as_ref(), term);
            let facts = Facts { client_command_applied: chance.below(4) == 0, ..facts() };
            let Ok(next) = decide(keyring.as_ref(), &change, at(term, index), facts) else {
                continue;
            };
            if let Some(before) = &keyring {
                assert_goes_forward(before, &next);
            }
            assert_eq!(Keyring::decode(&next.encode()).as_ref(), Ok(&next));
            assert_eq!(Change::decode(&change.encode()), Ok(change));
            keyring = Some(next);
        }
        assert!(keyring.is_some_and(|keyring| keyring.deks().count() > 3), "changes do apply");
    }
}

fn random_change(chance: &Seeded, keyring: Option<&Keyring>, term: u64) -> Change {
    let id = key_id(1 + chance.below(12) as u32);
    let purpose = if chance.below(2) == 0 { Purpose::Entry } else { Purpose::Value };
    match (chance.below(8), keyring) {
        (0, _) | (_, None) => make_bootstrap(&keks(), CLUSTER, KINDS[chance.index(3)], chance).unwrap(),
        (1, _) => Change::Cutover(SetCutover { entry_key: id }),
        (2, Some(keyring)) => make_cutover(keyring),
        (3, _) => make_opener(Term(term - chance.below(2)), chance),
        (4, Some(Keyring { opener: Some(newest), .. })) => {
            Change::Opener(PublishOpener { term: Term(term), salt: newest.salt })
        }
        (5, _) => Change::Retire(Retire { key_id: id }),
        (6, Some(keyring)) => match make_rotate(&keks(), keyring, purpose, chance).unwrap() {
            Change::Rotate(rotate) => Change::Rotate(Rotate { key_id: id, ..rotate }),
            other => other,
        },
        (_, Some(keyring)) => make_rotate(&keks(), keyring, purpose, chance).unwrap(),
    }
}

fn assert_goes_forward(before: &Keyring, after: &Keyring) {
    assert_eq!(before.cluster(), after.cluster());
    assert!(before.cutover() == Index::NEVER || before.cutover() == after.cutover());
    assert!(before.clear_rows() == after.clear_rows() || before.cutover() == Index::NEVER);
    assert_eq!(before.mac(), after.mac());
    assert!(before.deks().count() <= after.deks().count());
    for (old, new) in before.deks().zip(after.deks()) {
        assert_eq!((old.id, old.purpose, old.check), (new.id, new.purpose, new.check));
        assert_eq!(old.active_from, new.active_from);
        assert!(old.state <= new.state);
    }
    let opened = |keyring: &Keyring| keyring.opener().map(|opener| opener.index);
    assert!(opened(before) <= opened(after));
}
