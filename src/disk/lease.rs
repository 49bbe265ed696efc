//! Whether a file is open anywhere else.
#![allow(unsafe_code)] // No safe library has the call that tells.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Whether nothing but `file`, which is open to write, has its file open, in this process or in any other. Of a file without a name
/// that stays true, but for whoever was about to open it when the name went, and for `/proc/PID/fd`.
///
/// The kernel grants a lease for writing only then; it is given back at once (`fcntl(2)`, `F_SETLEASE`).
///
/// # Errors
/// The kernel or the file system knows no leases, or the file is another user's.
pub fn is_open_nowhere_else(file: &File) -> io::Result<bool> {
    match set_lease(file, libc::F_WRLCK) {
        Ok(()) => set_lease(file, libc::F_UNLCK).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn set_lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the call takes no pointer.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_open_elsewhere_for_as_long_as_anybody_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        assert!(is_open_nowhere_else(&file).unwrap());
        for open in [|path| File::open(path), |path| File::options().append(true).open(path)] {
            let other = open(&path).unwrap();
            assert!(!is_open_nowhere_else(&file).unwrap());
            drop(other);
            assert!(is_open_nowhere_else(&file).unwrap());
        }
        let other = file.try_clone().unwrap();
        assert!(is_open_nowhere_else(&file).unwrap(), "the same file, opened once");
        drop(other);
        std::fs::remove_file(&path).unwrap();
        assert!(is_open_nowhere_else(&file).unwrap());
    }
}
