//! Rows that stay in memory behind a flush.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::fsm::kept::KeptRows;
use crate::fsm::kept::KeptShare;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::row::Databases;
use crate::fsm::row::Effects;
use crate::fsm::row::FoundRow;
use crate::fsm::sized_rows::Rubble;
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

fn find(kept: &KeptRows, number: u16) -> FoundRow {
    kept.find(&name(Database::FIRST, number))
}

// Goal: a read brings a row up, and never one that is older than what a flush has left.
#[test]
fn a_row_that_was_read_stays_unless_a_file_was_taken_in_since_or_one_is_there() {
    let kept = kept(Database::FIRST, 1);
    let read = |number, value: &[u8]| vec![(name(Database::FIRST, number), row(value))];
    assert!(kept.mark().is_none(), "nothing is allowed at first");
    kept.allow(1 << 20);
    let mark = kept.mark().unwrap();
    let bytes = kept.memory_bytes();
    kept.remember(mark, &mut read(64, b"read"));
    kept.remember(mark, &mut read(0, b"read"));
    assert_eq!((find(&kept, 64), find(&kept, 0)), (FoundRow::Row(row(b"read")), FoundRow::Row(row(&[0; 100]))));
    assert!(kept.memory_bytes() >= bytes + row(b"read").memory_bytes());
    // Another key's file: what was read before it may be old all the same.
    kept.take_over(&table(&Effects::default()), u64::MAX);
    kept.remember(mark, &mut read(128, b"late"));
    assert_eq!(find(&kept, 128), FoundRow::Below);
    let share = KeptShare { rows: Arc::new(kept), bytes_max: None };
    let mark = share.rows.mark().unwrap();
    share.make_room();
    share.rows.remember(mark, &mut read(128, b"between"));
    share.take_over(&table(&Effects::default()));
    share.rows.remember(mark, &mut read(192, b"late"));
    assert_eq!((find(&share.rows, 128), find(&share.rows, 192)), (FoundRow::Below, FoundRow::Below));
    assert_eq!(share.rows.memory_bytes(), 0);
}

// Goal: who reads neither waits for room nor takes more than is allowed, and what is read later comes in.
#[test]
fn rows_that_are_read_never_take_more_than_is_allowed_and_later_ones_find_room() {
    let kept = KeptRows::new(Arc::new(|rubble: Rubble| panic!("{rubble:?}: a reader leaves nothing to others")));
    let allowed = 256 << 10;
    kept.allow(allowed);
    let mark = kept.mark().unwrap();
    let (mut came, mut came_later) = (0, 0);
    for number in 0..5000 {
        let mut read = vec![(name(Database::FIRST, number * 13), row(&[1; 100]))];
        kept.remember(mark, &mut read);
        assert!(read.is_empty());
        let has_come = find(&kept, number * 13) != FoundRow::Below;
        came += u64::from(has_come);
        came_later += u64::from(has_come && number >= 4000);
        // A map may have grown by it.
        assert!(kept.memory_bytes() <= allowed + (16 << 10), "{kept:?}");
        if number % 100 == 99 {
            kept.make_room();
            assert!(kept.memory_bytes() <= allowed, "{kept:?}");
        }
    }
    assert!(came < 5000, "some find no room");
    assert!(came_later > 200, "{came_later}");
    assert!(kept.memory_bytes() > allowed / 2, "{kept:?}");
    let full = kept.memory_bytes();
    kept.make_room();
    kept.make_room();
    assert!(kept.memory_bytes() > full / 2, "no room is made twice for the same rows");
    kept.remember(mark, &mut vec![(name(Database::FIRST, 1), row(&vec![1; 300 << 10]))]);
    assert_eq!(find(&kept, 1), FoundRow::Below);
    kept.shed_to(0);
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

/// Goal: a run that clears nothing never waits for whoever holds a stretch of kept rows, as the thread does that takes rows over.
#[test]
fn giving_up_no_database_waits_for_nobody() {
    let mut effects = Effects::default();
    effects.set(name(Database::FIRST, 0), Some(row(b"there")));
    let table = Arc::new(table(&effects));
    let shown = table.show_stretch(Database::FIRST, 0, |_, _| {
        let (other, (done, is_done)) = (Arc::clone(&table), mpsc::channel());
        thread::spawn(move || {
            other.give_up(Databases::default());
            let _ = done.send(());
        });
        is_done.recv_timeout(Duration::from_secs(10))
    });
    assert_eq!(shown, Ok(()), "it waits for a stretch that is being looked at");
    assert_eq!(table.row_count(), 1);
}

#[test]
fn where_nothing_is_to_stay_there_is_room_before_the_flush_and_else_nothing_goes() {
    let rows = Arc::new(kept(Database::FIRST, 1000));
    KeptShare { rows: Arc::clone(&rows), bytes_max: Some(0) }.make_room();
    assert_eq!(rows.row_count(), 1000, "room is made as others come");
    KeptShare { rows: Arc::clone(&rows), bytes_max: None }.make_room();
    assert_eq!((rows.row_count(), rows.memory_bytes()), (0, 0));
}
