//! Walks over a view: each row once, in order, with the header that counts, wherever it lies and however it is cut to pieces.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::fsm::base::RowBase;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;
use crate::fsm::row::Effects;
use crate::fsm::row::RowFate;
use crate::fsm::sized_rows::Bury;
use crate::fsm::table::RowTable;
use crate::fsm::table_row::RowBytes;
use crate::fsm::table_row::TableRow;
use crate::fsm::table_row::WrittenAt;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
use crate::fsm::value::ValueKind;
use crate::fsm::view::ViewWriter;
use crate::fsm::view::Views;
use crate::fsm::walk::RowDeadline;
use crate::fsm::walk::WalkError;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::COUNT_ROWS_MAX;
use crate::testing::picture::Picture;
use crate::testing::seed::Seeded;

/// What a walk should meet: deadlines by name.
type Model = BTreeMap<RowName, u64>;

fn value(expire_at_ms: u64) -> Value {
    Value { kind: ValueKind::String, last_change: Index(1), expire_at_ms, bytes: Bytes::from_static(b"v") }
}

fn row(expire_at_ms: u64) -> RowFate {
    Some(TableRow::new(b"", RowBytes::Copied(b"v"), expire_at_ms, WrittenAt::new(Index(1), 0, None)))
}

/// One of few, so that levels often know the same; at both ends of stretches, too.
fn random_name(rng: &Seeded) -> RowName {
    let ends = [0x00, 0x01, 0xff];
    let mut name = [ends[rng.index(3)]; NAME_LEN];
    name[0] = [0, 3, 4, 0xff][rng.index(4)];
    name[NAME_LEN - 1] = ends[rng.index(3)];
    RowName::new(Database::new([0, 1, 15][rng.index(3)]).unwrap(), name)
}

fn random_effects(rng: &Seeded, count: usize, model: &mut Model) -> Effects {
    let mut effects = Effects::default();
    if rng.index(4) == 0 {
        let database = random_name(rng).database();
        effects.clear(database);
        model.retain(|name, _| name.database() != database);
    }
    for _ in 0..rng.index(count) {
        let (name, deadline) = (random_name(rng), rng.index(1000) as u64);
        if rng.index(3) == 0 {
            effects.set(name, None);
            model.remove(&name);
        } else {
            effects.set(name, row(deadline));
            model.insert(name, deadline);
        }
    }
    effects
}

/// Rows on all levels, and what they come to.
fn random_views(rng: &Seeded) -> (Arc<Views<dyn RowBase>>, Model) {
    let mut model: Model = (0..rng.index(60)).map(|_| (random_name(rng), rng.index(1000) as u64)).collect();
    let rows = model.iter().map(|(name, deadline)| (*name, value(*deadline).encode_clear_row(b""))).collect();
    let base: Arc<dyn RowBase> = Arc::new(Picture { rows, applied: Vec::new(), keyring: None }.to_base());
    let bury: Bury = Arc::new(drop);
    let mut writer = ViewWriter::new(base, Position::default(), 0, &bury);
    for index in 1..=3 {
        let effects = random_effects(rng, 40, &mut model);
        writer.publish(effects, Position { term: Term(1), index: Index(index) }, index);
        // The last one stays above the tables.
        if index < 3 {
            writer.merge();
        }
        if index == 1 {
            drop(writer.freeze(RowTable::new(Arc::clone(&bury))));
        }
    }
    (Arc::clone(writer.views()), model)
}

#[test]
fn a_walk_from_any_name_meets_every_row_behind_it_once_whatever_is_copied_at_once() {
    let rng = Seeded::fresh();
    for _ in 0..300 {
        let (views, model) = random_views(&rng);
        let behind = (rng.index(4) > 0).then(|| random_name(&rng));
        let most = 1 + rng.index(5);
        let stop_at = 1 + rng.index(80);
        let expected = model.into_iter().filter(|(name, _)| Some(*name) > behind).take(stop_at);
        let mut met = Vec::new();
        let mut visit = |name, row: Option<RowDeadline>| {
            met.extend(row.map(|row| (name, row.expire_at_ms)));
            met.len() < stop_at
        };
        views.walk_behind(behind, most, &mut visit).unwrap();
        assert_eq!(met, expected.collect::<Vec<_>>(), "behind {behind:?}, {most} at once, up to {stop_at}");
    }
}

/// Goal: who walks hears of every name that it passes, so that rows without end that were deleted do not hide how far it is.
#[test]
fn bounded_a_walk_hears_of_what_was_deleted_lately() {
    let rng = Seeded::fresh();
    let bury: Bury = Arc::new(drop);
    let base: Arc<dyn RowBase> =
        Arc::new(Picture { rows: BTreeMap::new(), applied: Vec::new(), keyring: None }.to_base());
    let mut writer = ViewWriter::new(base, Position::default(), 0, &bury);
    let mut effects = Effects::default();
    let names: BTreeMap<RowName, ()> = (0..500).map(|_| (RowName::new(Database::FIRST, rng.array()), ())).collect();
    names.keys().for_each(|name| effects.set(*name, None));
    writer.publish(effects, Position { term: Term(1), index: Index(1) }, 1);
    writer.merge();
    let mut met = Vec::new();
    let mut visit = |name, row: Option<RowDeadline>| {
        assert!(row.is_none());
        met.push(name);
        met.len() < 300
    };
    writer.views().walk_behind(None, 7, &mut visit).unwrap();
    assert_eq!(met, names.into_keys().take(300).collect::<Vec<_>>());
}

fn views_of(rows: BTreeMap<RowName, Vec<u8>>) -> Arc<Views<dyn RowBase>> {
    let base: Arc<dyn RowBase> = Arc::new(Picture { rows, applied: Vec::new(), keyring: None }.to_base());
    let bury: Bury = Arc::new(drop);
    Arc::clone(ViewWriter::new(base, Position::default(), 0, &bury).views())
}

/// Goal: a count takes a bounded time. Up to the bound it is exact, beyond it close; a damaged row is an error, not a smaller number.
#[test]
fn bounded_a_count_is_exact_for_few_rows_and_close_for_many_and_never_silent_about_damage() {
    let rng = Seeded::fresh();
    let row = value(0).encode_clear_row(b"");
    let rows = |count: u64| (0..count).map(|_| (RowName::new(Database::FIRST, rng.array()), row.clone())).collect();
    let few: BTreeMap<RowName, Vec<u8>> = rows(COUNT_ROWS_MAX - 1);
    assert_eq!(views_of(few).count(Database::FIRST, 0).unwrap(), COUNT_ROWS_MAX - 1);
    let many: BTreeMap<RowName, Vec<u8>> = rows(2 * COUNT_ROWS_MAX);
    let counted = views_of(many).count(Database::FIRST, 0).unwrap();
    let off = counted.abs_diff(2 * COUNT_ROWS_MAX);
    assert!(off < COUNT_ROWS_MAX / 20, "{counted}: five times the error that is to be expected");
    let mut damaged: BTreeMap<RowName, Vec<u8>> = rows(100);
    let name = *damaged.keys().nth(50).unwrap();
    damaged.insert(name, vec![1; 30]);
    let views = views_of(damaged);
    let is_it = |error| matches!(error, WalkError::Row { name: at, source: ValueError::Flags { .. } } if at == name);
    assert!(is_it(views.count(Database::FIRST, 0).unwrap_err()));
    assert!(is_it(views.walk_behind(None, 7, &mut |_, _| true).unwrap_err()));
    let mut behind = 0;
    views
        .walk_behind(Some(name), 7, &mut |_, _| {
            behind += 1;
            true
        })
        .unwrap();
    assert_eq!(behind, 49, "a walk goes on behind it");
}
