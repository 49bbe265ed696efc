//! Both bases under the same files: what is visible, what is durable, what a crash and a failed file leave.
//!
//! A crash of RocksDB is its directories copied while it is open. Its kills are in `tests/rooms/ingest.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::fsm::base::BaseError;
use crate::fsm::base::FinishedFile;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::held::hold;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::base::BasePlace;
use crate::fsm::rocks::base::RocksBase;
use crate::fsm::rocks::start::LookedAt;
use crate::limits::FETCH_BATCH_ROWS_MAX;
use crate::limits::LEVEL0_FILES_MAX;
use crate::limits::LEVEL0_FILES_MERGED;
use crate::limits::PENDING_COMPACTION_BYTES_MAX;
use crate::testing::base::BaseFault;
use crate::testing::base::FileStep;
use crate::testing::base::HoldPoint;
use crate::testing::base::MemoryBase;
use crate::testing::seed::Seeded;

fn small() -> RocksOptions {
    RocksOptions { block_cache_bytes: 1 << 20, file_bytes: 16 << 10, ..RocksOptions::default() }
}

fn record(number: u64) -> StateRows {
    let keyring = (number > 2).then(|| number.to_le_bytes().to_vec());
    StateRows { applied: number.to_be_bytes().to_vec(), keyring }
}

/// One of a few, so that files meet; the lowest and the highest of three databases among them.
fn random_name(rng: &Seeded) -> RowName {
    let database = Database::new(rng.pick(&[0, 1, 15])).unwrap();
    RowName::new(database, [rng.pick(&[0, 1, 2, 0x7f, 0xfe, 0xff]); NAME_LEN])
}

fn name(database: u8, byte: u8) -> RowName {
    RowName::new(Database::new(database).unwrap(), [byte; NAME_LEN])
}

/// What a file does, for both bases and for a model.
#[derive(Clone, Debug)]
struct Change {
    number: u64,
    cleared: Vec<Database>,
    rows: BTreeMap<RowName, Option<Vec<u8>>>,
}

impl Change {
    fn random(rng: &Seeded, number: u64) -> Change {
        let cleared = Database::all().filter(|_| rng.one_in(40)).collect();
        let rows = (0..rng.index(8)).map(|_| {
            let length = rng.pick(&[0, 1, 300, 5000]);
            (random_name(rng), (!rng.one_in(3)).then(|| rng.bytes(length)))
        });
        Change { number, cleared, rows: rows.collect() }
    }

    fn one(number: u64, name: RowName, row: &[u8]) -> Change {
        Change { number, cleared: Vec::new(), rows: BTreeMap::from([(name, Some(row.to_vec()))]) }
    }

    fn write<'a>(&self, base: &'a dyn RowBase) -> Result<Box<dyn FinishedFile + 'a>, WriteFileError> {
        let mut file = base.begin_file(&record(self.number))?;
        for (name, row) in &self.rows {
            match row {
                Some(row) => file.put(name, row)?,
                None => file.delete(name)?,
            }
        }
        // A range delete hides what the base has, and nothing of its own file, wherever it is said.
        for database in &self.cleared {
            file.clear(*database)?;
        }
        file.finish()
    }

    fn apply(&self, base: &dyn RowBase) {
        self.write(base).unwrap().ingest().unwrap();
    }

    fn apply_to(&self, model: &mut BTreeMap<RowName, Vec<u8>>) {
        model.retain(|name, _| !self.cleared.contains(&name.database()));
        for (name, row) in &self.rows {
            match row {
                Some(row) => model.insert(*name, row.clone()),
                None => model.remove(name),
            };
        }
    }
}

type Rows = Vec<(RowName, Vec<u8>)>;

fn walked(base: &dyn RowBase, from: RowName, to: RowName, most: usize) -> Rows {
    let mut found = Rows::new();
    let mut keep = |name: RowName, row: &[u8]| {
        found.push((name, row.to_vec()));
        found.len() < most
    };
    base.walk(from..=to, &mut keep).unwrap();
    found
}

fn all_rows(base: &dyn RowBase) -> Rows {
    walked(base, name(0, 0), name(15, 0xff), usize::MAX)
}

#[track_caller]
fn assert_shows(base: &dyn RowBase, model: &BTreeMap<RowName, Vec<u8>>, number: u64, rng: &Seeded) {
    let expected: Rows = model.iter().map(|(name, row)| (*name, row.clone())).collect();
    assert_eq!(all_rows(base), expected);
    let (from, to) = (random_name(rng), random_name(rng));
    let part: Rows = expected.iter().filter(|(name, _)| (from..=to).contains(name)).cloned().collect();
    assert_eq!(walked(base, from, to, usize::MAX), part);
    assert_eq!(walked(base, from, to, 1), part.iter().take(1).cloned().collect::<Rows>());
    let names: Vec<RowName> = (0..rng.index(90)).map(|_| random_name(rng)).collect();
    let stop = rng.index(100);
    let mut found = Vec::new();
    let mut keep = |at: usize, row: Option<&[u8]>| {
        assert_eq!(at, found.len(), "rows come in the order of their names");
        found.push(row.map(<[u8]>::to_vec));
        at != stop
    };
    base.rows(&names, &mut keep).unwrap();
    assert_eq!(found.len(), names.len().min(stop + 1));
    for (name, row) in names.iter().zip(found) {
        assert_eq!(row.as_ref(), model.get(name));
        let mut alone = None;
        assert_eq!(base.row(name, &mut |row| alone = Some(row.to_vec())).unwrap(), row.is_some());
        assert_eq!(alone, row);
    }
    let record = record(number);
    assert_eq!(base.flushed_state(StateRow::Applied).unwrap(), Some(record.applied));
    assert_eq!(base.flushed_state(StateRow::Keyring).unwrap(), record.keyring);
}

struct Site {
    _directory: TempDir,
    root: PathBuf,
    place: BasePlace,
    starts: u64,
}

impl Site {
    fn new() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let site = Site { _directory: directory, place: place(&root.join("0")), root, starts: 0 };
        fs::create_dir_all(&site.place.flush).unwrap();
        site
    }

    fn start(&mut self) -> u64 {
        self.starts += 1;
        self.starts
    }

    fn create(&mut self) -> RocksBase {
        let start = self.start();
        RocksBase::create(&self.place, &small(), start, &record(1)).unwrap()
    }

    fn open(&mut self) -> RocksBase {
        let start = self.start();
        LookedAt::look(&self.place, &small()).unwrap().open(&small(), start).unwrap()
    }

    /// What a crash leaves, in another place.
    fn crash(&mut self) {
        let number = self.start();
        let next = place(&self.root.join(number.to_string()));
        // RocksDB compacts behind our back: only a copy under which nothing moved counts.
        loop {
            let before = names_and_lengths(&self.place.state);
            for (from, to) in [(&self.place.state, &next.state), (&self.place.flush, &next.flush)] {
                let _ = fs::remove_dir_all(to);
                fs::create_dir_all(to).unwrap();
                for (name, _) in names_and_lengths(from).iter().filter(|(name, _)| *name != "LOCK") {
                    let _ = fs::copy(from.join(name), to.join(name));
                }
            }
            if names_and_lengths(&self.place.state) == before {
                break;
            }
        }
        self.place = next;
    }

    fn flush_names(&self) -> Vec<String> {
        names_and_lengths(&self.place.flush).into_iter().map(|(name, _)| name).collect()
    }

    /// The name of the newest table.
    fn newest_table(&self) -> PathBuf {
        let names = names_and_lengths(&self.place.state);
        let newest = names.into_iter().map(|(name, _)| name).filter(|name| name.ends_with(".sst")).max();
        self.place.state.join(newest.unwrap())
    }
}

fn place(root: &Path) -> BasePlace {
    BasePlace { state: root.join("state"), flush: root.join("flush") }
}

fn names_and_lengths(path: &Path) -> Vec<(String, Option<u64>)> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap());
    let mut found: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), file.metadata().ok().map(|metadata| metadata.len())))
        .collect();
    found.sort_unstable();
    found
}

fn names_and_contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = names_and_lengths(path).into_iter().map(|(name, _)| name);
    names.map(|name| (name.clone(), fs::read(path.join(name)).unwrap())).collect()
}

/// Goal: the twin is a twin. Same random files; now and then both crash with a file that is written and not ingested, or
/// RocksDB is closed and opened.
#[test]
fn both_bases_show_and_keep_the_same_through_crashes() {
    let rng = Seeded::fresh();
    let mut site = Site::new();
    let mut rocks = site.create();
    let memory = MemoryBase::new(record(1));
    let (mut model, mut number) = (BTreeMap::new(), 1);
    for next in 2..=60 {
        match rng.index(8) {
            0 => {
                let lost = Change::random(&rng, next);
                let _file = lost.write(&rocks).unwrap();
                let _twin = lost.write(&memory).unwrap();
                site.crash();
                memory.crash();
                assert_eq!(site.flush_names().len(), 1, "the file that was written is left");
            }
            1 => {}
            _ => {
                let change = Change::random(&rng, next);
                change.apply(&rocks);
                change.apply(&memory);
                change.apply_to(&mut model);
                number = next;
            }
        }
        if rng.one_in(4) || !site.flush_names().is_empty() {
            drop(rocks);
            rocks = site.open();
        }
        assert!(site.flush_names().is_empty());
        assert_shows(&rocks, &model, number, &rng);
        assert_shows(&memory, &model, number, &rng);
    }
}

/// Goal: a pinned moment stays, whatever is ingested, cleared and merged meanwhile.
#[test]
fn a_pinned_moment_of_either_base_stays_as_it_was() {
    let rng = Seeded::fresh();
    let mut site = Site::new();
    let rocks = site.create();
    let memory = MemoryBase::new(record(1));
    let mut model = BTreeMap::new();
    for round in 0..12 {
        let pins = [rocks.pin(), memory.pin()];
        let moment = model.clone();
        for next in 0..4 {
            let change = Change::random(&rng, 2 + 4 * round + next);
            change.apply(&rocks);
            change.apply(&memory);
            change.apply_to(&mut model);
        }
        let names: Vec<RowName> = (0..90).map(|_| random_name(&rng)).collect();
        for pin in pins {
            let mut found = Vec::new();
            let mut keep = |_: usize, row: Option<&[u8]>| {
                found.push(row.map(<[u8]>::to_vec));
                true
            };
            pin.rows(&names, &mut keep).unwrap();
            let stood: Vec<_> = names.iter().map(|name| moment.get(name).cloned()).collect();
            assert_eq!(found, stood);
        }
    }
}

#[test]
fn merges_keep_to_a_pace_and_no_file_is_merged_for_its_age() {
    let mut site = Site::new();
    let rocks = site.create();
    let rng = Seeded::fresh();
    assert_eq!(rocks.merging_spent(), (Duration::ZERO, false));
    for number in 2..2 + 2 * LEVEL0_FILES_MERGED {
        let rows = (0..150).map(|_| (RowName::new(Database::FIRST, rng.array()), Some(rng.bytes(700)))).collect();
        Change { number, cleared: Vec::new(), rows }.apply(&rocks);
    }
    let long = Instant::now();
    while !rocks.merging_spent().1 {
        assert!(long.elapsed() < Duration::from_secs(60), "no merge has told what it takes");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(rocks.merging_spent().0 > Duration::ZERO);
    let is_options = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("OPTIONS-");
    let mut options = fs::read_dir(&site.place.state).unwrap().map(Result::unwrap).filter(is_options);
    let options = fs::read_to_string(options.next().unwrap().path()).unwrap();
    assert!(options.contains("periodic_compaction_seconds=0\n"), "{options}");
}

/// Goal: what a cleared database had gives its space back with the file that clears it, and nothing else goes. Method: small
/// tables in the levels below, rows in the clearing file itself, another database beside it; then everything is merged.
#[test]
fn a_cleared_database_gives_its_space_back_and_loses_no_row_that_came_with_the_clear() {
    let mut site = Site::new();
    let rocks = site.create();
    let rng = Seeded::fresh();
    let mut model = BTreeMap::new();
    let row_name = |database: u8, rng: &Seeded| RowName::new(Database::new(database).unwrap(), rng.array());
    for number in 2..14 {
        let rows = (0..150).map(|at| (row_name(if at < 140 { 0 } else { 3 }, &rng), Some(rng.bytes(700)))).collect();
        let change = Change { number, cleared: Vec::new(), rows };
        change.apply(&rocks);
        change.apply_to(&mut model);
    }
    let is_merged = |base: &RocksBase| base.pressure().unwrap().level0_files < LEVEL0_FILES_MERGED;
    while !is_merged(&rocks) {
        thread::sleep(Duration::from_millis(5));
    }
    let before = rocks.table_bytes().unwrap();
    let rows = (0..20).map(|_| (row_name(0, &rng), Some(rng.bytes(700)))).collect();
    let change = Change { number: 14, cleared: vec![Database::FIRST], rows };
    change.apply(&rocks);
    change.apply_to(&mut model);
    let after = rocks.table_bytes().unwrap();
    assert_shows(&rocks, &model, 14, &rng);
    for number in 15..30 {
        let change = Change { number, ..Change::random(&rng, number) };
        change.apply(&rocks);
        change.apply_to(&mut model);
    }
    assert_shows(&rocks, &model, 29, &rng);
    drop(rocks);
    let rocks = site.open();
    assert_shows(&rocks, &model, 29, &rng);
    assert!(after < before / 2, "{after} of {before} bytes are left");
}

/// Between link and removal a crash leaves a live table under two names.
#[test]
fn a_live_table_with_a_second_name_is_never_cut() {
    let mut site = Site::new();
    let rocks = site.create();
    Change::one(2, name(0, 5), b"kept").apply(&rocks);
    drop(rocks);
    // The names of the newest file of the process before, in both of its forms.
    for name in ["0000000000000001-00000001.rows", "0000000000000001-00000001.part"] {
        fs::hard_link(site.newest_table(), site.place.flush.join(name)).unwrap();
    }
    let rocks = site.open();
    assert!(site.flush_names().is_empty());
    Change::one(3, name(0, 6), b"new").apply(&rocks);
    drop(rocks);
    let rows = all_rows(&site.open());
    assert_eq!(rows, [(name(0, 5), b"kept".to_vec()), (name(0, 6), b"new".to_vec())]);
}

#[test]
#[should_panic(expected = "a name in flush/ is used once")]
fn a_name_in_flush_that_is_taken_is_not_opened_for_writing() {
    let mut site = Site::new();
    let rocks = site.create();
    fs::hard_link(site.newest_table(), site.place.flush.join("0000000000000001-00000001.rows")).unwrap();
    let _file = rocks.begin_file(&record(2));
}

/// A failed ingest takes the table's name away, and the manifest may name it all the same.
#[test]
fn a_table_that_the_manifest_names_is_linked_back_from_flush() {
    for tables in [1, 3] {
        let mut site = Site::new();
        let rocks = site.create();
        for number in 2..2 + tables {
            Change::one(number, name(0, 5), &number.to_be_bytes()).apply(&rocks);
        }
        drop(rocks);
        let (newest, flush) = (site.newest_table(), site.place.flush.clone());
        fs::rename(&newest, flush.join("0000000000000009-00000001.rows")).unwrap();
        // Others that are not it: another length, the same length, unfinished.
        fs::write(flush.join("0000000000000009-00000002.rows"), b"other").unwrap();
        let length = fs::metadata(flush.join("0000000000000009-00000001.rows")).unwrap().len();
        fs::write(flush.join("0000000000000009-00000003.rows"), vec![7; usize::try_from(length).unwrap()]).unwrap();
        fs::write(flush.join("0000000000000009-00000004.part"), b"part").unwrap();
        let before = (names_and_contents(&site.place.state), names_and_contents(&flush));

        assert!(matches!(
            RocksBase::open_read_only(&site.place, &small()),
            Err(BaseError::MissingTable { table }) if newest.ends_with(&table)
        ));
        let looked = LookedAt::look(&site.place, &small()).unwrap();
        let number = 1 + tables;
        assert_eq!(looked.base().flushed_state(StateRow::Applied).unwrap(), Some(number.to_be_bytes().to_vec()));
        assert!(looked.base().begin_file(&record(9)).is_err());
        // A start that is refused after it has looked.
        drop(looked);
        assert_eq!((names_and_contents(&site.place.state), names_and_contents(&flush)), before);

        let rocks = site.open();
        assert!(site.flush_names().is_empty());
        assert_eq!(all_rows(&rocks), [(name(0, 5), number.to_be_bytes().to_vec())]);
        Change::one(9, name(0, 6), b"on").apply(&rocks);
        drop(rocks);
        assert_eq!(all_rows(&site.open()).len(), 2);
    }
}

#[test]
fn a_missing_or_cut_table_that_nothing_mends_is_refused_and_nothing_changes() {
    let mut site = Site::new();
    let rocks = site.create();
    for number in 2..5 {
        Change::one(number, name(0, 5), &number.to_be_bytes()).apply(&rocks);
    }
    drop(rocks);
    let newest = site.newest_table();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
    assert!(LookedAt::look(&site.place, &small()).is_err());
    fs::remove_file(&newest).unwrap();
    fs::write(site.place.flush.join("0000000000000009-00000002.rows"), b"other").unwrap();
    let before = names_and_contents(&site.place.state);
    assert!(matches!(LookedAt::look(&site.place, &small()), Err(BaseError::MissingTable { .. })));
    assert_eq!(names_and_contents(&site.place.state), before);
    assert_eq!(site.flush_names().len(), 1);
    fs::write(&newest, &bytes).unwrap();
    assert_eq!(all_rows(&site.open()).len(), 1);
}

/// RocksDB opens few tables at once; a missing one among the others must not be found by a reader a week later.
#[test]
fn a_table_that_rocksdb_does_not_open_at_once_is_missed_at_the_start() {
    let mut site = Site::new();
    let rocks = site.create();
    for number in 2..5 {
        Change::one(number, name(0, 5), &number.to_be_bytes()).apply(&rocks);
    }
    drop(rocks);
    let tables: Vec<String> = names_and_lengths(&site.place.state)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".sst"))
        .collect();
    assert!(tables.len() >= 3, "not merged yet: {tables:?}");
    let few = RocksOptions { open_files_max: 20, ..small() };
    for table in tables {
        let (path, aside) = (site.place.state.join(&table), site.root.join("aside"));
        fs::rename(&path, &aside).unwrap();
        let missing = LookedAt::look(&site.place, &few);
        assert!(matches!(&missing, Err(BaseError::MissingTable { table: named }) if *named == table), "{missing:?}");
        let cut = fs::read(&aside).unwrap();
        fs::write(&path, &cut[..cut.len() - 1]).unwrap();
        assert!(LookedAt::look(&site.place, &few).is_err(), "{table} is cut");
        fs::rename(&aside, &path).unwrap();
    }
    assert!(LookedAt::look(&site.place, &few).is_ok());
}

#[test]
fn a_file_that_cannot_be_written_is_written_anew_under_another_name() {
    let mut site = Site::new();
    let rocks = site.create();
    let moved = site.root.join("elsewhere");
    fs::rename(&site.place.flush, &moved).unwrap();
    assert!(rocks.begin_file(&record(2)).is_err());
    fs::rename(&moved, &site.place.flush).unwrap();
    let file = rocks.begin_file(&record(2)).unwrap();
    let first = site.flush_names();
    drop(file);
    assert!(site.flush_names().is_empty(), "an unfinished file is gone");
    let finished = Change::one(2, name(0, 1), b"x").write(&rocks).unwrap();
    assert!(finished.bytes() > 0);
    assert_ne!(site.flush_names()[0].split('.').next(), first[0].split('.').next());
    drop(finished);
    assert!(site.flush_names().is_empty(), "a file that nobody wants is gone");
    Change::one(2, name(0, 1), b"x").apply(&rocks);
    assert_eq!(all_rows(&rocks).len(), 1);

    let memory = MemoryBase::new(record(1));
    for step in [FileStep::Begin, FileStep::Row, FileStep::Finish] {
        memory.arm(BaseFault::File(1, step));
        let change = Change::one(2, name(0, 1), b"x");
        drop(change.write(&memory).unwrap());
        assert!(change.write(&memory).is_err(), "{step:?}");
        assert!(memory.is_empty());
    }
    Change::one(2, name(0, 1), b"x").apply(&memory);
    assert_eq!((memory.counts().ingested, memory.len()), (1, 1));
}

#[test]
fn an_ingest_that_fails_leaves_its_file_and_the_state_as_it_was() {
    let mut site = Site::new();
    let rocks = site.create();
    let finished = Change::one(2, name(0, 1), b"x").write(&rocks).unwrap();
    let path = site.place.flush.join(&site.flush_names()[0]);
    // Damaged behind its writer's back: RocksDB reads it before it takes it in.
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(finished.ingest().is_err());
    assert!(path.exists(), "the next start looks at it");
    assert!(all_rows(&rocks).is_empty());
    drop(rocks);
    assert!(all_rows(&site.open()).is_empty());
    assert!(!path.exists());
}

#[test]
fn a_failed_ingest_of_the_twin_shows_after_the_crash_whether_it_was_durable() {
    for survives in [false, true] {
        let memory = MemoryBase::new(record(1));
        memory.arm(BaseFault::Ingest { nth: 1, survives });
        Change::one(2, name(0, 1), b"first").apply(&memory);
        assert!(Change::one(3, name(0, 1), b"second").write(&memory).unwrap().ingest().is_err());
        assert!(Change::one(3, name(0, 1), b"again").write(&memory).unwrap().ingest().is_err(), "never tried again");
        assert!(memory.pressure().is_err());
        assert_eq!(all_rows(&memory), [(name(0, 1), b"first".to_vec())]);
        let late = Change::one(3, name(0, 1), b"late").write(&memory).unwrap();
        memory.crash();
        assert!(late.ingest().is_err(), "a file of the life before");
        let expected = if survives { (b"second".to_vec(), 3_u64) } else { (b"first".to_vec(), 2) };
        assert_eq!(all_rows(&memory), [(name(0, 1), expected.0)]);
        assert_eq!(memory.flushed_state(StateRow::Applied).unwrap(), Some(expected.1.to_be_bytes().to_vec()));
        Change::one(4, name(0, 2), b"on").apply(&memory);
    }
}

#[test]
fn an_ingest_of_the_twin_that_is_held_has_happened_or_not() {
    for (point, is_kept) in [(HoldPoint::Before, false), (HoldPoint::After, true)] {
        for crashes in [false, true] {
            let memory = Arc::new(MemoryBase::new(record(1)));
            memory.hold_ingests(point);
            let ingest = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || Change::one(2, name(0, 1), b"x").write(&memory).unwrap().ingest())
            };
            memory.wait_until_held();
            assert_eq!(memory.len(), usize::from(is_kept));
            if crashes {
                memory.crash();
            } else {
                memory.release();
            }
            assert_eq!(ingest.join().unwrap().is_err(), crashes);
            assert_eq!(memory.len(), usize::from(is_kept || !crashes));
        }
    }
}

/// RocksDB itself never holds an ingest back.
#[test]
fn level_0_and_the_debt_of_compaction_hold_a_flush_back() {
    let memory = MemoryBase::new(record(1));
    memory.hold_merging(true);
    for number in 2..2 + LEVEL0_FILES_MAX {
        assert!(!memory.pressure().unwrap().is_high(false));
        Change::one(number, name(0, 1), b"x").apply(&memory);
    }
    assert!(memory.pressure().unwrap().is_high(false));
    memory.hold_merging(false);
    assert!(!memory.pressure().unwrap().is_high(false));
    memory.set_pending_bytes(PENDING_COMPACTION_BYTES_MAX + 1);
    assert!(memory.pressure().unwrap().is_high(false));

    let mut site = Site::new();
    let rocks = site.create();
    let mut most = 0;
    for number in 2..40 {
        Change::one(number, name(0, 1), b"x").apply(&rocks);
        while rocks.pressure().unwrap().is_high(false) {
            thread::sleep(Duration::from_millis(1));
        }
        most = most.max(rocks.pressure().unwrap().level0_files);
    }
    assert!((1..=LEVEL0_FILES_MAX).contains(&most), "files go to level 0: {most}");
    assert_eq!(all_rows(&rocks).len(), 1);
}

#[test]
fn batches_grow_where_rows_are_small_and_stay_small_where_they_are_large() {
    let mut site = Site::new();
    let rocks = site.create();
    let names: Vec<RowName> = (0..=255).map(|byte| name(byte % 16, byte)).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    let mut change = Change { number: 2, cleared: Vec::new(), rows: BTreeMap::new() };
    for (at, name) in sorted.iter().enumerate() {
        // Two large ones in the middle.
        let length = if at / 2 == 64 { 6 << 20 } else { 10 };
        change.rows.insert(*name, Some(vec![name.as_bytes()[1]; length]));
    }
    change.apply(&rocks);
    assert!(names.len() > 4 * FETCH_BATCH_ROWS_MAX);
    let mut seen = 0;
    let mut compare = |at: usize, row: Option<&[u8]>| {
        assert_eq!(row.unwrap()[0], names[at].as_bytes()[1]);
        seen += 1;
        true
    };
    rocks.rows(&names, &mut compare).unwrap();
    assert_eq!(seen, names.len());
}

#[test]
fn names_of_a_file_must_ascend_in_both_bases() {
    let mut site = Site::new();
    let rocks = site.create();
    let memory = MemoryBase::new(record(1));
    for base in [&rocks as &dyn RowBase, &memory] {
        for (first, second) in [(5, 5), (5, 4)] {
            let out_of_order = AssertUnwindSafe(|| {
                let mut file = base.begin_file(&record(2)).unwrap();
                file.put(&name(0, first), b"x").unwrap();
                file.delete(&name(0, second))
            });
            let panicked = catch_unwind(out_of_order);
            assert!(panicked.is_err());
        }
    }
    assert!(site.flush_names().is_empty());
}

/// An install renames nothing before the last holder has let go and RocksDB is closed.
#[test]
fn the_last_holder_closes_the_base_and_whoever_waits_learns_it() {
    let mut site = Site::new();
    let (base, closing) = hold(Box::new(site.create()));
    Change::one(2, name(0, 1), b"x").apply(&*base);
    let reader = Arc::clone(&base);
    let short = Duration::from_millis(5);
    assert_eq!(closing.wait(short).unwrap_err().holders, 2);
    drop(base);
    assert_eq!((closing.wait(short).unwrap_err().holders, closing.holders()), (1, 1));
    let slow = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        let found = all_rows(&*reader);
        drop(reader);
        found
    });
    closing.wait(Duration::from_secs(60)).unwrap();
    // Renamed and opened at once, in the same process.
    let installed = place(&site.root.join("installed"));
    fs::rename(site.root.join("0"), site.root.join("installed")).unwrap();
    site.place = installed;
    assert_eq!(all_rows(&site.open()), slow.join().unwrap());
    closing.wait(Duration::ZERO).unwrap();
}
