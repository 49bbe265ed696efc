//! Descriptors that the parent process left open.
#![allow(unsafe_code)] // A number becomes a descriptor: nothing else can close what was inherited.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::FdFlags;

/// Closes a descriptor that was inherited; one that this process has opened itself stays open.
///
/// # Errors
/// There is no such descriptor, or it was not inherited.
pub fn close_inherited(descriptor: RawFd) -> io::Result<()> {
    if descriptor <= STANDARD_ERROR {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not -1, and it is only asked for its flags; if nothing is open under that number the kernel says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // Whatever this process opens, it opens with this flag; what has it cannot have come through exec.
    if rustix::io::fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is open, and it was inherited: nothing in this process owns it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

/// The standard streams end here.
const STANDARD_ERROR: RawFd = 2;
