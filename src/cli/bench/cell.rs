//! What every bench is made of: a cell that is measured again and again, and a directory of its own for its files.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// Work that is measured for a while, again and again.
pub(super) trait Cell {
    /// What the row is called.
    fn name(&self) -> String;
    /// Works for about `time`.
    fn measure(&mut self, time: Duration) -> Result<Sample, String>;
}

/// What one turn of a cell gave.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Messages, entries, requests.
    pub(super) count: u64,
    pub(super) took: Duration,
    /// Of single waits, where there are any.
    pub(super) waits: Vec<Duration>,
}

/// A directory of its own, removed at the end.
pub(super) struct OwnPlace(pub(super) PathBuf);

impl OwnPlace {
    pub(super) fn new(above: &Path, name: &str) -> Result<OwnPlace, String> {
        let path = above.join(format!(".sealkv-bench-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(OwnPlace(path))
    }
}

impl Drop for OwnPlace {
    fn drop(&mut self) {
        // What stays lies in a directory that says whose it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `work` for about `time`; it says how much it did.
pub(super) fn for_a_while(time: Duration, mut work: impl FnMut() -> Result<u64, String>) -> Result<Sample, String> {
    let (begin, mut count) = (Instant::now(), 0);
    loop {
        count += work()?;
        let took = begin.elapsed();
        if took >= time {
            return Ok(Sample { count, took, waits: Vec::new() });
        }
    }
}
