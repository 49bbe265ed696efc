//! Counts syncs at the door of the C library: these definitions stand before the library's for everything in the process,
//! C++ code too. What goes past the library (io_uring, raw system calls) is counted by its own log.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

static SEEN: AtomicU64 = AtomicU64::new(0);

/// Calls so far.
pub fn seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

// SAFETY: the same meaning as the library's function of this name.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: libc::c_int) -> libc::c_int {
    SEEN.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a system call on a number that the kernel checks.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as libc::c_int }
}

// SAFETY: the same meaning as the library's function of this name.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: libc::c_int) -> libc::c_int {
    SEEN.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a system call on a number that the kernel checks.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as libc::c_int }
}
