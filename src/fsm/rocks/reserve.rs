//! Space that is kept for the one file that gives space back: what removes all rows of a database. On a disk that is really full
//! not even that could be written, and nothing else would make space.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// A file of zeros in the directory of the state, or none where there was no space for it.
#[derive(Debug)]
pub(crate) struct SpaceReserve {
    path: PathBuf,
    is_kept: AtomicBool,
}

impl SpaceReserve {
    /// That of a state, made if it is not there and there is space.
    pub(crate) fn of(state: &Path) -> SpaceReserve {
        let reserve = SpaceReserve { path: state.join(NAME), is_kept: AtomicBool::new(false) };
        reserve.keep();
        reserve
    }

    /// Makes it again if it was let go of.
    pub(crate) fn keep(&self) {
        if self.is_kept.load(Relaxed) {
            return;
        }
        match make(&self.path) {
            Ok(()) => self.is_kept.store(true, Relaxed),
            Err(error) => {
                tracing::debug!(%error, "no space is kept for what gives space back");
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    /// Gives the space free. False: there is none.
    pub(crate) fn let_go(&self) -> bool {
        self.is_kept.swap(false, Relaxed) && fs::remove_file(&self.path).is_ok()
    }
}

fn make(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| found.len() == RESERVE_BYTES as u64) {
        return Ok(());
    }
    let mut file = File::create(path)?;
    file.write_all(&vec![0; RESERVE_BYTES])?;
    // Blocks that are only promised may not be there when they are needed.
    file.sync_all()
}

/// RocksDB passes over names that it does not give.
const NAME: &str = "SPACE";
/// A file of nothing but state rows (the largest have 432 KiB), range deletes and an edit of the manifest, rounded up.
const RESERVE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_kept_let_go_of_once_and_kept_again() {
        let dir = tempfile::tempdir().unwrap();
        let held = || fs::metadata(dir.path().join(NAME)).map_or(0, |found| found.len());
        let reserve = SpaceReserve::of(dir.path());
        assert_eq!(held(), RESERVE_BYTES as u64);
        assert!(reserve.let_go() && held() == 0);
        assert!(!reserve.let_go(), "there is none");
        reserve.keep();
        assert_eq!(held(), RESERVE_BYTES as u64);
        drop(reserve);
        File::options().write(true).open(dir.path().join(NAME)).unwrap().set_len(7).unwrap();
        assert!(SpaceReserve::of(dir.path()).let_go(), "one that is cut is made whole");
        let nowhere = SpaceReserve::of(&dir.path().join("not/there"));
        assert!(!nowhere.let_go());
    }
}
