//! Rows that stay in memory behind a flush.

use std::sync::Arc;

use crate::fsm::kept::KeptRows;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::row::Effects;
use crate::fsm::row::FoundRow;
use crate::fsm::table::MergeSorter;
use crate::fsm::table::RowTable;
use crate::fsm::table_row::RowBytes;
use crate::fsm::table_row::TableRow;
use crate::fsm::table_row::WrittenAt;
use crate::ids::Index;

fn name(database: Database, number: u16) -> RowName {
    let mut name = [7; 16];
    name[..2].copy_from_slice(&number.to_be_bytes());
    RowName::new(database, name)
}

fn row(value: &[u8]) -> TableRow {
    TableRow::new(b"k", RowBytes::Copied(value), 0, WrittenAt::new(Index(7), 0, None))
}

fn table(effects: &Effects) -> RowTable {
    let table = RowTable::new(Arc::new(drop));
    table.merge(effects, &mut MergeSorter::default());
    table
}

fn kept(database: Database, count: u16) -> KeptRows {
    let mut effects = Effects::default();
    (0..count).for_each(|number| effects.set(name(database, number * 64), Some(row(&[number as u8; 100]))));
    let kept = KeptRows::new(Arc::new(drop));
    kept.take_over(&table(&effects), u64::MAX);
    kept
}

#[test]
fn what_a_newer_table_wrote_replaces_a_kept_row_and_what_it_deleted_or_cleared_is_gone() {
    let (kept, other) = (kept(Database::FIRST, 1000), Database::all().nth(3).unwrap());
    let mut effects = Effects::default();
    effects.set(name(Database::FIRST, 0), Some(row(b"new")));
    effects.set(name(Database::FIRST, 64), None);
    effects.set(name(other, 5), Some(row(b"other")));
    kept.take_over(&table(&effects), u64::MAX);
    assert_eq!(kept.find(&name(Database::FIRST, 0)), FoundRow::Row(row(b"new")));
    assert_eq!(kept.find(&name(Database::FIRST, 64)), FoundRow::Below, "the base says that it is gone");
    assert_eq!(kept.find(&name(Database::FIRST, 128)), FoundRow::Row(row(&[2; 100])));
    assert_eq!(kept.row_count(), 1000);
    let mut clear = Effects::default();
    clear.clear(Database::FIRST);
    clear.set(name(Database::FIRST, 64), Some(row(b"after")));
    kept.take_over(&table(&clear), u64::MAX);
    assert_eq!(kept.find(&name(Database::FIRST, 64)), FoundRow::Row(row(b"after")));
    assert_eq!(kept.find(&name(Database::FIRST, 0)), FoundRow::Below, "no mark: the base knows");
    assert_eq!(kept.find(&name(other, 5)), FoundRow::Row(row(b"other")));
    let mut found = vec![FoundRow::Below; 2];
    kept.find_each(&[name(Database::FIRST, 64), name(Database::FIRST, 0)], &mut found);
    assert_eq!(found, [FoundRow::Row(row(b"after")), FoundRow::Below]);
}

#[test]
fn as_many_bytes_are_shed_as_are_asked_for_and_none_are_counted_of_what_is_gone() {
    let kept = kept(Database::FIRST, 1000);
    let (all, rows) = (kept.memory_bytes(), kept.row_count());
    kept.shed_to(all - all / 10);
    assert!(kept.memory_bytes() <= all - all / 10 && kept.memory_bytes() > all / 2, "{}", kept.memory_bytes());
    assert!(kept.row_count() < rows && kept.row_count() > rows / 2);
    kept.shed_to(0);
    assert_eq!((kept.memory_bytes(), kept.row_count()), (0, 0));
    assert_eq!(kept.find(&name(Database::FIRST, 64)), FoundRow::Below);
}
