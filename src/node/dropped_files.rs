//! Files that merging has replaced: their space goes back to the disk piece by piece.
//!
//! A merge replaces gigabytes at once, and RocksDB removes them at once. A disk that is told of each block that is free (`discard`)
//! has little time for anything else meanwhile: syncs of the log took 11 ms in place of 0.1 while 4 GB went, and 0.1 ms where they
//! went in pieces of 4 MiB, 500 MB a second (2 cores, Zen 5, 2026-11-30).
//!
//! So files of the state are held open here. One whose last name is gone stays until it is closed; before that it is cut shorter,
//! piece by piece. Nothing is left behind by a crash. A file that has a name, as in a checkpoint, or that anybody else has open, RocksDB
//! too, is not touched.

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

use crate::disk::is_open_nowhere_else;
use crate::limits::DROPPED_FILES_GO_WITHIN;
use crate::limits::DROPPED_PIECE_BYTES;
use crate::limits::WATCH_EVERY;
use crate::node::refusal::Refusal;

/// Starts the thread that gives the space of the files in `state` back. It ends with the process. At most `held_max` are held open;
/// `left` shows the bytes that are still to go.
///
/// # Errors
/// [`Refusal::Make`]: no thread.
pub(super) fn spawn(state: PathBuf, held_max: usize, left: Arc<AtomicU64>) -> Result<(), Refusal> {
    let mut files = DroppedFiles::new(state, held_max);
    let run = move || {
        loop {
            thread::sleep(files.step());
            left.store(files.left, Relaxed);
        }
    };
    let cannot = |source| Refusal::Make { what: "the thread that gives space back cannot be made".to_owned(), source };
    thread::Builder::new().name("give-back".to_owned()).spawn(run).map(drop).map_err(cannot)
}

/// See the head of this file.
struct DroppedFiles {
    state: PathBuf,
    held_max: usize,
    /// Files that had a name at the last look, by their numbers; the newest ones, which are merged first.
    held: BTreeMap<u64, File>,
    /// Files without a name, with what each has left.
    dropped: VecDeque<(File, u64)>,
    /// Bytes of all these, and the most that it was since there was none.
    left: u64,
    left_max: u64,
    /// Until the next look.
    look_in: Duration,
    is_short_of_space: bool,
}

impl DroppedFiles {
    fn new(state: PathBuf, held_max: usize) -> DroppedFiles {
        DroppedFiles {
            state,
            held_max,
            held: BTreeMap::new(),
            dropped: VecDeque::new(),
            left: 0,
            left_max: 0,
            look_in: Duration::ZERO,
            is_short_of_space: false,
        }
    }

    /// Cuts one piece off, and looks for what was dropped if that is due. How long to wait for the next.
    fn step(&mut self) -> Duration {
        if self.look_in.is_zero() && self.held_max > 0 {
            self.look_in = WATCH_EVERY;
            if let Err(error) = self.look() {
                tracing::debug!(%error, "files that merging replaces are removed at once");
                *self = DroppedFiles { look_in: WATCH_EVERY, ..DroppedFiles::new(std::mem::take(&mut self.state), 0) };
            }
        }
        self.cut();
        let pause = self.pause();
        self.look_in = self.look_in.saturating_sub(pause.max(PAUSE_MIN));
        pause
    }

    /// Holds what is new, and finds what has no name any more.
    ///
    /// # Errors
    /// The directory cannot be read, or the file system does not tell who has a file open.
    fn look(&mut self) -> io::Result<()> {
        let mut named = table_numbers(&self.state)?;
        let gone: Vec<u64> = self.held.keys().filter(|number| !named.contains(number)).copied().collect();
        for number in gone {
            let file = &self.held[&number];
            let found = file.metadata()?;
            let has_no_name = found.nlink() == 0;
            if has_no_name && is_open_nowhere_else(file)? {
                let file = self.held.remove(&number).expect("it was looked at");
                self.left += found.len();
                self.dropped.push_back((file, found.len()));
            }
        }
        self.left_max = self.left_max.max(self.left);
        self.is_short_of_space = free_bytes(&self.state)? < 2 * self.left;
        while named.len() > self.held_max {
            named.pop_first();
        }
        for number in named {
            if !self.held.contains_key(&number)
                && let Some(file) = opened(&table_path(&self.state, number))?
            {
                self.held.insert(number, file);
            }
        }
        while self.held.len() > self.held_max {
            self.held.pop_first();
        }
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
            self.left_max = 0;
        }
    }

    /// All of it goes within [`DROPPED_FILES_GO_WITHIN`], evenly; at once where space is short.
    fn pause(&self) -> Duration {
        match self.dropped.len() {
            0 => WATCH_EVERY,
            _ if self.is_short_of_space => Duration::ZERO,
            _ => {
                let pieces = self.left_max.div_ceil(DROPPED_PIECE_BYTES).max(1);
                let pause = DROPPED_FILES_GO_WITHIN.as_micros() / u128::from(pieces);
                Duration::from_micros(u64::try_from(pause).unwrap_or(u64::MAX)).clamp(PAUSE_MIN, PAUSE_MAX)
            }
        }
    }
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

fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const PIECE: u64 = DROPPED_PIECE_BYTES;

    struct House {
        folder: TempDir,
        files: DroppedFiles,
    }

    impl House {
        fn of(held_max: usize) -> House {
            let folder = tempfile::tempdir().unwrap();
            let files = DroppedFiles::new(folder.path().to_owned(), held_max);
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

        /// A look, without a cut.
        fn look(&mut self) -> u64 {
            self.files.look().unwrap();
            self.files.left
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
        assert_eq!((house.look(), house.cut_all()), (2 * PIECE, 0));
    }

    #[test]
    fn bounded_only_the_newest_files_are_held() {
        let mut house = House::of(2);
        (1..=3).for_each(|number| house.make(number, PIECE));
        house.look();
        assert_eq!(house.files.held.keys().copied().collect::<Vec<_>>(), [2, 3]);
        house.make(4, PIECE);
        house.look();
        assert_eq!(house.files.held.keys().copied().collect::<Vec<_>>(), [3, 4]);
        house.remove(1);
        house.remove(4);
        assert_eq!(house.look(), PIECE, "the first one was gone with its name");
        let mut none = House::of(0);
        none.make(1, PIECE);
        assert_eq!((none.files.step(), none.files.held.len()), (WATCH_EVERY, 0));
    }

    #[test]
    fn much_goes_as_evenly_as_little_within_a_bound_and_at_once_where_space_is_short() {
        let mut house = House::of(8);
        let mut drop_files = |pieces: u64| {
            house.make(pieces, pieces * PIECE);
            house.look();
            house.remove(pieces);
            house.look();
            // Of the machine that runs this: the file has no blocks, so none is short.
            house.files.is_short_of_space = false;
            let pause = house.files.pause();
            house.files.is_short_of_space = true;
            assert_eq!(house.files.pause(), Duration::ZERO);
            house.cut_all();
            assert_eq!(house.files.pause(), WATCH_EVERY, "nothing is left");
            pause
        };
        assert_eq!(drop_files(1), PAUSE_MAX);
        assert_eq!(drop_files(1000), DROPPED_FILES_GO_WITHIN / 1000);
        assert_eq!(drop_files(20_000), PAUSE_MIN);
    }

    #[test]
    fn a_look_is_due_twice_a_second_while_pieces_are_cut_and_while_none_are() {
        let mut house = House::of(8);
        house.make(1, 1000 * PIECE);
        assert_eq!(house.files.step(), WATCH_EVERY);
        house.remove(1);
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
    fn a_folder_that_cannot_be_read_is_left_alone() {
        let mut files = DroppedFiles::new(PathBuf::from("/nowhere"), 8);
        assert_eq!(files.step(), WATCH_EVERY);
        assert_eq!((files.step(), files.held_max), (WATCH_EVERY, 0));
    }
}
