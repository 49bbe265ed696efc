//! Files that merging has replaced: their space goes back to the disk piece by piece.
//!
//! A merge replaces gigabytes at once, and RocksDB removes them at once. A disk that is told of each block that is free (`discard`)
//! has little time for anything else meanwhile: syncs of the log took 11 ms in place of 0.1 while 4 GB went, and 0.1 ms where they
//! went in pieces of 4 MiB, 500 MB a second (2 cores, Zen 5, 2026-11-30).
//!
//! So files of the state are held open here. One whose last name is gone stays until it is closed; before that it is cut shorter,
//! piece by piece. Nothing is left behind by a crash. A file that has a name, as in a checkpoint, or that anybody else has open, RocksDB
//! too, is not touched. Where space is short nothing is held, and what is removed goes at once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use crate::disk::is_open_nowhere_else;
use crate::limits::DROPPED_FILES_GO_WITHIN;
use crate::limits::DROPPED_PIECE_BYTES;
use crate::limits::HELD_FILES_NEED_FREE_BYTES;
use crate::limits::WATCH_EVERY;
use crate::node::refusal::Refusal;
use crate::node::trial::free_bytes;

/// Starts the thread that gives the space of the files in `state` back. It ends with the process, or where it can do nothing. At most
/// `files_max` are held open; `left` shows the bytes that are still to go.
///
/// # Errors
/// [`Refusal::Make`]: no thread.
pub(super) fn spawn(state: PathBuf, files_max: usize, left: Arc<AtomicU64>) -> Result<(), Refusal> {
    let mut files = DroppedFiles::new(state, files_max);
    let run = move || {
        while files.files_max > 0 {
            let pause = files.step();
            left.store(files.left, Relaxed);
            thread::sleep(pause);
        }
    };
    let cannot = |source| Refusal::Make { what: "the thread that gives space back cannot be made".to_owned(), source };
    thread::Builder::new().name("give-back".to_owned()).spawn(run).map(drop).map_err(cannot)
}

/// See the head of this file.
struct DroppedFiles {
    state: PathBuf,
    /// Descriptors that it may have in all.
    files_max: usize,
    free_bytes: fn(&Path) -> io::Result<u64>,
    /// The file system has shown that files without a name can be told.
    is_tried: bool,
    /// An error was said, and there was no look without one since.
    is_failing: bool,
    /// The tables that had a name when the directory was read last.
    named: BTreeSet<u64>,
    /// When the directory had changed last by then, and looks since.
    read_at: Option<SystemTime>,
    looks: u32,
    /// Files by their numbers; the newest ones, which are merged first.
    held: BTreeMap<u64, File>,
    /// Those that nobody else had open at the last look.
    unused: BTreeSet<u64>,
    /// Files without a name, with what each has left.
    dropped: VecDeque<(File, u64)>,
    /// Bytes of all these; pieces that they had in all since there were none.
    left: u64,
    pieces: u64,
    /// Until the next look.
    look_in: Duration,
}

impl DroppedFiles {
    fn new(state: PathBuf, files_max: usize) -> DroppedFiles {
        DroppedFiles {
            state,
            files_max,
            free_bytes,
            is_tried: false,
            is_failing: false,
            named: BTreeSet::new(),
            read_at: None,
            looks: 0,
            held: BTreeMap::new(),
            unused: BTreeSet::new(),
            dropped: VecDeque::new(),
            left: 0,
            pieces: 0,
            look_in: Duration::ZERO,
        }
    }

    /// Cuts one piece off, and looks for what was dropped if that is due. How long to wait for the next.
    fn step(&mut self) -> Duration {
        if self.look_in.is_zero() {
            self.look_in = WATCH_EVERY;
            let looked = self.look();
            if let Err(error) = &looked {
                if !self.is_failing {
                    tracing::info!(%error, "files that merging replaces are removed at once for now");
                }
                self.let_all_go();
            }
            self.is_failing = looked.is_err();
        }
        self.cut();
        let pause = self.pause();
        self.look_in = self.look_in.saturating_sub(pause);
        pause
    }

    /// Holds what is new, and finds what has no name any more.
    ///
    /// # Errors
    /// The directory or a file in it cannot be opened or looked at.
    fn look(&mut self) -> io::Result<()> {
        if !self.is_tried {
            if let Err(error) = try_file_system(&self.state)? {
                tracing::info!(%error, "files that merging replaces are removed at once: the file system tells too little of them");
                self.files_max = 0;
                return Ok(());
            }
            self.is_tried = true;
        }
        if (self.free_bytes)(&self.state)? < HELD_FILES_NEED_FREE_BYTES + self.left {
            self.let_all_go();
            return Ok(());
        }
        self.read_names()?;
        self.find_dropped()?;
        let most = self.files_max.saturating_sub(self.dropped.len());
        let newest: BTreeSet<u64> = self.named.iter().rev().take(most).copied().collect();
        for number in &newest {
            if !self.held.contains_key(number)
                && let Some(file) = opened(&table_path(&self.state, *number))?
            {
                self.held.insert(*number, file);
            }
        }
        while self.held.len() > most {
            self.held.pop_first();
        }
        Ok(())
    }

    /// Reads the directory if it has changed. A change within the tick of the clock that it was read in does not show, so it is read
    /// now and then in any case.
    fn read_names(&mut self) -> io::Result<()> {
        let changed_at = fs::metadata(&self.state)?.modified()?;
        self.looks += 1;
        if self.read_at != Some(changed_at) || self.looks >= LOOKS_TO_READ {
            self.named = table_numbers(&self.state)?;
            (self.read_at, self.looks) = (Some(changed_at), 0);
        }
        Ok(())
    }

    /// Takes held files without a name that nobody else had open at two looks: who was about to open one when its name went is
    /// seen by the second.
    fn find_dropped(&mut self) -> io::Result<()> {
        let mut unused = BTreeSet::new();
        for (number, file) in self.held.iter().filter(|(number, _)| !self.named.contains(number)) {
            let has_no_name = file.metadata()?.nlink() == 0;
            if has_no_name && is_open_nowhere_else(file)? {
                unused.insert(*number);
            }
        }
        for number in unused.intersection(&self.unused) {
            let file = self.held.remove(number).expect("it was looked at");
            let bytes = file.metadata()?.len();
            self.left += bytes;
            self.pieces += pieces(bytes);
            self.dropped.push_back((file, bytes));
        }
        self.unused = unused;
        Ok(())
    }

    /// Makes the first file a piece shorter; one that is empty is closed.
    fn cut(&mut self) {
        let Some((file, left)) = self.dropped.front_mut() else { return };
        let piece = DROPPED_PIECE_BYTES.min(*left);
        *left -= piece;
        self.left -= piece;
        // Closed, it goes at once.
        if *left == 0 || file.set_len(*left).is_err() {
            self.left -= *left;
            self.dropped.pop_front();
        }
        if self.dropped.is_empty() {
            assert!(self.left == 0, "all bytes are those of files");
            self.pieces = 0;
        }
    }

    /// All of it goes within [`DROPPED_FILES_GO_WITHIN`], evenly, if it is not too much for that.
    fn pause(&self) -> Duration {
        if self.dropped.is_empty() {
            return WATCH_EVERY;
        }
        let pause = DROPPED_FILES_GO_WITHIN.as_micros() / u128::from(self.pieces.max(1));
        Duration::from_micros(u64::try_from(pause).unwrap_or(u64::MAX)).clamp(PAUSE_MIN, PAUSE_MAX)
    }

    /// What has no name goes at once, and nothing is held.
    fn let_all_go(&mut self) {
        self.held.clear();
        self.unused.clear();
        self.dropped.clear();
        (self.left, self.pieces, self.read_at) = (0, 0, None);
    }
}

/// Whether a file that is held open shows that its name was removed, and that nobody else has it open. The outer error passes.
fn try_file_system(state: &Path) -> io::Result<io::Result<()>> {
    let path = state.join(TRIAL);
    let file = File::create(&path)?;
    fs::remove_file(&path)?;
    Ok(match (file.metadata()?.nlink(), is_open_nowhere_else(&file)) {
        (0, Ok(true)) => Ok(()),
        (0, Ok(false)) => Err(io::Error::other("it takes a file for open that nobody has open")),
        (0, Err(error)) => Err(error),
        _ => Err(io::Error::other("a file that is open keeps a name when it is removed")),
    })
}

fn pieces(bytes: u64) -> u64 {
    bytes.div_ceil(DROPPED_PIECE_BYTES)
}

/// The numbers of the tables that have a name in `state`: RocksDB calls them `000123.sst`, and uses no number twice.
fn table_numbers(state: &Path) -> io::Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(state)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".sst")?.parse::<u64>().ok()));
    }
    Ok(numbers)
}

fn table_path(state: &Path, number: u64) -> PathBuf {
    state.join(format!("{number:06}.sst"))
}

/// To write, or it could not be cut. `None`: it is gone meanwhile.
fn opened(path: &Path) -> io::Result<Option<File>> {
    match File::options().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// RocksDB passes over names that it does not give.
const TRIAL: &str = "TRIAL";
/// Ten seconds.
const LOOKS_TO_READ: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tempfile::TempDir;

    use super::*;
    use crate::fsm::base::RowBase;
    use crate::fsm::base::StateRows;
    use crate::fsm::name::Database;
    use crate::fsm::name::RowName;
    use crate::fsm::rocks::RocksOptions;
    use crate::fsm::rocks::base::BasePlace;
    use crate::fsm::rocks::base::RocksBase;
    use crate::limits::LEVEL0_FILES_MERGED;
    use crate::testing::seed::Seeded;

    const PIECE: u64 = DROPPED_PIECE_BYTES;
    const FILES: u64 = 2 * LEVEL0_FILES_MERGED;

    struct House {
        folder: TempDir,
        files: DroppedFiles,
    }

    impl House {
        fn of(files_max: usize) -> House {
            let folder = tempfile::tempdir().unwrap();
            let mut files = DroppedFiles::new(folder.path().to_owned(), files_max);
            files.free_bytes = |_| Ok(u64::MAX);
            House { folder, files }
        }

        fn path(&self, number: u64) -> PathBuf {
            table_path(self.folder.path(), number)
        }

        fn make(&self, number: u64, bytes: u64) {
            File::create(self.path(number)).unwrap().set_len(bytes).unwrap();
        }

        fn remove(&self, number: u64) {
            fs::remove_file(self.path(number)).unwrap();
        }

        /// As many looks as it takes to find what was dropped, without a cut.
        fn look(&mut self) -> u64 {
            for _ in 0..2 {
                self.files.read_at = None;
                self.files.look().unwrap();
            }
            self.files.left
        }

        fn held(&self) -> Vec<u64> {
            self.files.held.keys().copied().collect()
        }

        /// What is left once nothing is cut any more.
        fn cut_all(&mut self) -> u64 {
            while !self.files.dropped.is_empty() {
                self.files.cut();
            }
            self.files.left
        }
    }

    #[test]
    fn a_replaced_file_goes_piece_by_piece_and_no_other_is_touched() {
        let mut house = House::of(8);
        house.make(7, 3 * PIECE + 1);
        house.make(1_234_567, PIECE);
        fs::write(house.folder.path().join("MANIFEST-000005"), "no table").unwrap();
        assert_eq!(house.look(), 0, "all have a name");
        house.remove(7);
        assert_eq!(house.look(), 3 * PIECE + 1);
        for left in [2 * PIECE + 1, PIECE + 1, 1, 0] {
            house.files.cut();
            assert_eq!(house.files.left, left);
            let lengths = house.files.dropped.iter().map(|(file, _)| file.metadata().unwrap().len());
            assert_eq!(lengths.sum::<u64>(), left);
        }
        assert!(house.files.dropped.is_empty());
        assert_eq!(house.look(), 0);
        assert_eq!(fs::metadata(house.path(1_234_567)).unwrap().len(), PIECE);
        assert_eq!(fs::read(house.folder.path().join("MANIFEST-000005")).unwrap(), b"no table");
        assert_eq!(fs::read_dir(house.folder.path()).unwrap().count(), 2, "the trial leaves nothing");
    }

    #[test]
    fn a_file_with_another_name_keeps_every_byte() {
        let mut house = House::of(8);
        house.make(1, 2 * PIECE);
        let kept = house.folder.path().join("of-a-checkpoint");
        fs::hard_link(house.path(1), &kept).unwrap();
        house.look();
        house.remove(1);
        assert_eq!((house.look(), house.cut_all()), (0, 0));
        assert_eq!(fs::metadata(&kept).unwrap().len(), 2 * PIECE);
        fs::remove_file(&kept).unwrap();
        assert_eq!(house.look(), 2 * PIECE, "now it has none");
    }

    /// Goal: whoever reads a table, a command that looks at a running node's state or RocksDB itself, reads all of it.
    #[test]
    fn a_file_that_somebody_has_open_keeps_every_byte() {
        let mut house = House::of(8);
        house.make(1, 2 * PIECE);
        house.look();
        let reader = File::open(house.path(1)).unwrap();
        house.remove(1);
        assert_eq!((house.look(), house.cut_all()), (0, 0));
        assert_eq!(reader.metadata().unwrap().len(), 2 * PIECE);
        drop(reader);
        house.files.look().unwrap();
        assert_eq!(house.files.left, 0, "one look is not enough");
        assert_eq!((house.look(), house.cut_all()), (2 * PIECE, 0));
    }

    #[test]
    fn bounded_only_the_newest_files_are_held_and_those_that_go_count() {
        let mut house = House::of(2);
        (1..=3).for_each(|number| house.make(number, PIECE));
        house.look();
        assert_eq!(house.held(), [2, 3]);
        house.make(4, PIECE);
        house.look();
        assert_eq!(house.held(), [3, 4]);
        house.remove(1);
        house.remove(4);
        assert_eq!(house.look(), PIECE, "the first one was gone with its name");
        assert_eq!(house.held(), [3], "and the one that goes is a file still");
        house.cut_all();
        house.look();
        assert_eq!(house.held(), [2, 3]);
        let mut none = House::of(0);
        none.make(1, PIECE);
        assert_eq!((none.files.step(), none.held().len()), (WATCH_EVERY, 0));
    }

    #[test]
    fn much_goes_as_evenly_as_little_within_a_bound() {
        let mut house = House::of(8);
        let mut pause_of = |pieces: u64| {
            house.make(pieces, pieces * PIECE);
            house.look();
            house.remove(pieces);
            house.look();
            let pause = house.files.pause();
            house.files.cut();
            assert_eq!(house.files.pause(), if pieces > 1 { pause } else { WATCH_EVERY }, "evenly");
            house.cut_all();
            pause
        };
        assert_eq!(pause_of(1), PAUSE_MAX);
        assert_eq!(pause_of(1000), DROPPED_FILES_GO_WITHIN / 1000);
        assert_eq!(pause_of(20_000), PAUSE_MIN);
    }

    /// Goal: what makes space on a full disk makes it at once.
    #[test]
    fn nothing_is_held_where_space_is_short() {
        let mut house = House::of(8);
        (1..=2).for_each(|number| house.make(number, 100 * PIECE));
        house.look();
        house.remove(1);
        assert_eq!((house.look(), house.held()), (100 * PIECE, vec![2]));
        house.files.free_bytes = |_| Ok(HELD_FILES_NEED_FREE_BYTES + 99 * PIECE);
        assert_eq!((house.look(), house.held()), (0, vec![2]), "what was left is free now, so this is enough again");
        house.files.free_bytes = |_| Ok(HELD_FILES_NEED_FREE_BYTES - 1);
        assert_eq!((house.look(), house.held()), (0, vec![]));
    }

    #[test]
    fn a_look_is_due_twice_a_second_while_pieces_are_cut_and_while_none_are() {
        let mut house = House::of(8);
        house.make(1, 1000 * PIECE);
        assert_eq!(house.files.step(), WATCH_EVERY);
        house.remove(1);
        assert_eq!(house.files.step(), WATCH_EVERY);
        let mut waited = house.files.step();
        house.make(2, PIECE);
        let mut steps = 0;
        while !house.files.held.contains_key(&2) {
            waited += house.files.step();
            steps += 1;
        }
        assert!(steps > 10 && waited >= WATCH_EVERY && waited <= WATCH_EVERY + PAUSE_MAX, "{steps} steps, {waited:?}");
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_tried_again() {
        let mut house = House::of(8);
        house.make(1, PIECE);
        house.look();
        let (state, away) = (house.folder.path().to_owned(), PathBuf::from("/nowhere"));
        house.files.state = away;
        assert_eq!((house.files.step(), house.held()), (WATCH_EVERY, vec![]));
        house.files.state = state;
        house.files.step();
        assert_eq!(house.held(), [1]);
    }

    /// Goal: what RocksDB calls its tables, and when it closes them, is as it is taken for here.
    #[test]
    fn tables_that_rocksdb_has_merged_are_found() {
        let mut house = House::of(100);
        let root = tempfile::tempdir_in(house.folder.path()).unwrap();
        let place = BasePlace { state: root.path().join("state"), flush: root.path().join("flush") };
        fs::create_dir(&place.flush).unwrap();
        let record = StateRows { applied: vec![1], keyring: None };
        let base = RocksBase::create(&place, &RocksOptions::default(), 1, &record).unwrap();
        house.files.state.clone_from(&place.state);
        let (rng, mut bytes) = (Seeded::fresh(), 0);
        // The first ones go each to a level of its own.
        for _ in 0..FILES {
            let mut file = base.begin_file(&record).unwrap();
            file.put(&RowName::new(Database::FIRST, rng.array()), &rng.bytes(100_000)).unwrap();
            file.finish().unwrap().ingest().unwrap();
            bytes += 100_000;
            house.look();
        }
        let begun = Instant::now();
        while house.look() < bytes / 4 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} of {bytes} bytes", house.files.left);
            thread::sleep(Duration::from_millis(20));
        }
        house.cut_all();
        let mut rows = 0;
        let mut count = |_, row: &[u8]| {
            rows += u64::from(row.len() == 100_000);
            true
        };
        let all = RowName::new(Database::FIRST, [0; 16])..=RowName::new(Database::FIRST, [0xff; 16]);
        base.walk(all, &mut count).unwrap();
        assert_eq!(rows, FILES, "what was merged is all there");
    }
}
