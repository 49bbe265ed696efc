//! Small files that matter: opened so that nothing can hang, read with a bound, written new and made durable.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// What a path or a descriptor turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A pipe, with or without a name.
    Pipe,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// A symbolic link, where it is not followed.
    Link,
    /// Something of the kernel's.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Pipe => "a pipe",
            FileKind::Socket => "a socket",
            FileKind::Device => "a device",
            FileKind::Link => "a symbolic link",
            FileKind::Other => "no file",
        })
    }
}

/// An opened file, and what the kernel says of that very file.
#[derive(Debug)]
pub struct OpenedFile {
    /// Open for reading, without blocking.
    pub file: File,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
    /// Its group.
    pub group: u32,
}

/// A secret that others than its owner can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has mode {mode:04o} and belongs to user {owner} and group {group}, expected {}", self.expected())]
pub struct OpenToOthers {
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub owner: u32,
    /// Its group.
    pub group: u32,
}

impl OpenToOthers {
    fn expected(&self) -> &'static str {
        let is_roots = self.owner == 0 && self.mode & OTHERS_AND_GROUP_WRITE == 0;
        match is_roots {
            true => "a group that this process is in, or no access for group and others: chmod 0400",
            false => {
                "no access for group and others: chmod 0400 (a secret that is mounted: mode 0440, owned by root, in a group of this process)"
            }
        }
    }
}

impl OpenedFile {
    /// Whether only its owner can reach it. A file of root may also be read by its group if this process is in that group:
    /// that is how an orchestrator mounts a secret, and its modes cannot be changed there.
    ///
    /// # Errors
    /// [`OpenToOthers`].
    pub fn check_secret(&self) -> Result<(), OpenToOthers> {
        let is_private = self.mode & OTHERS == 0;
        let is_mounted = self.owner == 0 && self.mode & OTHERS_AND_GROUP_WRITE == 0 && is_own_group(self.group);
        if is_private || is_mounted {
            return Ok(());
        }
        Err(OpenToOthers { mode: self.mode, owner: self.owner, group: self.group })
    }
}

fn is_own_group(group: u32) -> bool {
    let own = rustix::process::getegid().as_raw();
    own == group || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|own| own.as_raw() == group))
}

/// Opens for reading without waiting for anything (a FIFO without a writer opens at once), following symbolic links.
///
/// # Errors
/// The kernel's.
pub fn open(path: &Path) -> io::Result<OpenedFile> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&descriptor)?;
    Ok(OpenedFile {
        file: File::from(descriptor),
        kind: kind_of(stat.st_mode),
        mode: stat.st_mode & 0o7777,
        owner: stat.st_uid,
        group: stat.st_gid,
    })
}

/// Reads to the end, but never more than `max` bytes: a result of `max` bytes means there may be more.
///
/// # Errors
/// The kernel's.
pub fn read_at_most(file: &mut File, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(max);
    file.take(max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file that must not be there yet, mode 0600, and makes it and its name durable.
///
/// # Errors
/// `AlreadyExists` if there is anything under that name: it is untouched. Any other error of the kernel: what was
/// written is removed again.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    let written = rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_parent(path));
    if written.is_err() {
        // The first error is the one to report; a file that is left behind only stands in the way of the next try.
        let _ = rustix::fs::unlink(path);
    }
    written
}

/// What a removal came to; that nothing was there is no error.
///
/// # Errors
/// The kernel's.
pub fn unless_absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The kernel's. A file system that cannot sync directories is no place for a node's data.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(rustix::fs::fsync(directory)?)
}

/// Makes the name of `path` durable in its directory.
///
/// # Errors
/// The kernel's.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        Some(_) => sync_directory(Path::new(".")),
        None => Err(Errno::INVAL.into()),
    }
}

/// The kind that a directory's listing says.
#[must_use]
pub fn kind_of_type(kind: std::fs::FileType) -> FileKind {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        _ if kind.is_file() => FileKind::Regular,
        _ if kind.is_dir() => FileKind::Directory,
        _ if kind.is_symlink() => FileKind::Link,
        _ if kind.is_fifo() => FileKind::Pipe,
        _ if kind.is_socket() => FileKind::Socket,
        _ if kind.is_block_device() || kind.is_char_device() => FileKind::Device,
        _ => FileKind::Other,
    }
}

pub(super) fn kind_of(mode: u32) -> FileKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Fifo => FileKind::Pipe,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
        _ => FileKind::Other,
    }
}

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;
/// The same without the group's right to read.
const OTHERS_AND_GROUP_WRITE: u32 = 0o037;
