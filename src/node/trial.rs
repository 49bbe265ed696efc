//! Whether a directory can be written at all, before something that does not clean up behind itself tries it.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::limits::TRIAL_BYTES;
use crate::node::refusal::Refusal;

/// Writes into a file without a name, or into one that is removed at once where the file system knows no such files.
///
/// # Errors
/// [`Refusal::Unwritable`]: nothing was changed.
pub(super) fn write(directory: &Path) -> Result<(), Refusal> {
    let written = nameless(directory).and_then(|mut file| file.write_all(&vec![0; TRIAL_BYTES]));
    written.map_err(|source| Refusal::Unwritable { path: directory.to_owned(), source })
}

/// A file in `directory` that is gone when it is closed.
pub(super) fn nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(directory, flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {
            let path = directory.join("trial.tmp");
            let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::NOFOLLOW, mode)?;
            rustix::fs::unlink(&path)?;
            Ok(File::from(file))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a plain user may still write on the disk of `path`.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
