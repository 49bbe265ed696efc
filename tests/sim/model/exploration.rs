//! The rules hold in every state within bounds, and each is needed: without it the checker finds what goes wrong.

use std::collections::BTreeSet;

use sealkv::testing::seed::runs;
use stateright::Checker;
use stateright::HasDiscoveries;
use stateright::Model;

use crate::model::explore::Bounds;
use crate::model::explore::Explored;
use crate::model::explore::N1;
use crate::model::explore::N6;
use crate::model::explore::NONCES;
use crate::model::explore::OPENS;
use crate::model::explore::told;
use crate::model::rules::Rules;

/// Explores all of it; how many different states there are.
fn explore(name: &str, rules: Rules, bounds: Bounds) -> usize {
    let checker = Explored { rules, bounds }.checker().threads(THREADS).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, {} deep", checker.max_depth());
    checker.assert_properties();
    states
}

#[test]
fn the_rules_hold_in_every_state_within_bounds() {
    for (name, bounds, states_min) in [
        ("cutover", Bounds::CUTOVER, 20_000),
        ("sealed", Bounds::SEALED, 35_000),
        ("alone", Bounds::ALONE, 30_000),
        ("small field", Bounds::SMALL_FIELD, 2_000),
        ("backup", Bounds::BACKUP, 20_000),
    ] {
        let states = explore(name, Rules::ALL, bounds);
        assert!(states >= states_min, "{name}: {states} states");
    }
}

/// The library hands out durable entries only, so the empty entry is applied only once its term is durable.
#[test]
fn the_first_rule_follows_from_the_second() {
    explore("without N1", Rules { term_is_durable: false, ..Rules::ALL }, Bounds::ALONE);
}

/// Each rule is switched off alone, but N1, which follows from N2.
#[test]
fn without_any_one_rule_the_checker_finds_what_goes_wrong() {
    let all = Rules::ALL;
    for (name, rules, bounds, goes_wrong) in [
        ("N1", Rules { term_is_durable: false, empty_is_applied: false, ..all }, Bounds::ALONE, N1),
        ("N2, empty entry", Rules { empty_is_applied: false, ..all }, Bounds::CUTOVER, OPENS),
        ("N2, opener", Rules { opener_first: false, ..all }, Bounds::SEALED, OPENS),
        ("N3", Rules { control_is_applied: false, ..all }, Bounds::CUTOVER, OPENS),
        ("N4", Rules { opener_is_renewed: false, ..all }, Bounds::SMALL_FIELD, NONCES),
        ("N5", Rules { restored_is_new: false, ..all }, Bounds::BACKUP, NONCES),
        ("N6, position", Rules { place_is_fresh: false, ..all }, Bounds::SEALED, OPENS),
        ("N6, once", Rules { sealed_once: false, ..all }, Bounds::SEALED, N6),
    ] {
        let until = HasDiscoveries::AllOf(BTreeSet::from([goes_wrong]));
        let checker = Explored { rules, bounds }.checker().threads(THREADS).finish_when(until).spawn_bfs().join();
        let path = checker.discovery(goes_wrong).unwrap_or_else(|| panic!("without {name} nothing is found"));
        println!("without {name}: {goes_wrong}, not so after {} states", checker.unique_state_count());
        println!("{}", told(&path.into_actions()));
    }
}

/// `scripts/slow model` explores as many states as it is told to, in larger bounds.
#[test]
fn many_more_states_hold_the_rules_too() {
    let wanted = usize::try_from(runs(CI_STATES)).expect("fewer than fit memory");
    let bounds = Bounds { terms: 3, last: 7, batches: 2, keys: 3, crashes: 1, ..Bounds::CUTOVER };
    let model = Explored { rules: Rules::ALL, bounds };
    let checker = model.checker().threads(THREADS).target_state_count(wanted).spawn_bfs().join();
    let failed = checker.discoveries().into_iter().filter(|(name, _)| is_failure(name)).count();
    for (name, path) in checker.discoveries().into_iter().filter(|(name, _)| is_failure(name)) {
        eprintln!("{name}: not so\n{}", told(&path.into_actions()));
    }
    println!("{} states, {} deep", checker.unique_state_count(), checker.max_depth());
    println!("{} tried, {failed} failed", checker.state_count());
    assert_eq!(failed, 0);
    assert!(checker.state_count() >= wanted, "there are no more within these bounds");
}

fn is_failure(name: &str) -> bool {
    let model = Explored { rules: Rules::ALL, bounds: Bounds::CUTOVER };
    model.properties().iter().any(|property| property.name == name && property.expectation.discovery_is_failure())
}

const THREADS: usize = 2;
const CI_STATES: u64 = 20_000;
