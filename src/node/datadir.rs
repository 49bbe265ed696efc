//! The data directory ([`crate::design`]): what a start finds in it, and what is refused before anything is touched.
//!
//! ```text
//! IDENTITY  IDENTITY.new  anything else   a start finds
//! no        no            no              a fresh directory
//! no        yes           log, state, ..  an unfinished first start: made again from nothing; 74 if they hold more than that
//! no        no            log or state    refused, 74: the node's identity is lost
//! no        any           other names     refused, 78: not a data directory (`lost+found` is nobody's)
//! yes       any           any             a node, if its keys and formats agree with the configuration
//! ```
//!
//! IDENTITY.new is written before anything else and renamed last of all, so IDENTITY means that the first start was
//! finished; from then on nothing that is missing is ever created. A refused start changes nothing but LOCK.

mod error;

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::keys::file;
use crate::keys::file::FileKind;
use crate::keys::identity::IDENTITY_LEN_MAX;
use crate::keys::identity::Identity;
use crate::keys::identity::LogKey;
use crate::keys::kek::KekSet;
use crate::limits::DIRECTORY_NAMES_MAX;

pub use error::DataDirError;

/// What a start finds.
#[derive(Debug)]
pub enum DirectoryKind {
    /// Nothing: a first start.
    Fresh,
    /// A first start that did not finish, if log and state hold no more than that ([`DataDir::begin`] removes what it left).
    Unfinished {
        /// Whose first start it was; `None` if its IDENTITY.new was not finished either, or does not open under this KEK.
        of: Option<(Identity, Option<LogKey>)>,
    },
    /// A node.
    Existing {
        /// Who it is.
        identity: Identity,
        /// The key of its log, if the log is sealed.
        log_key: Option<LogKey>,
    },
}

/// A data directory that this process holds. Dropped: released.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held for the locks on them: the directory itself too, since a file can be removed while its lock is held.
    _locks: Vec<File>,
}

impl DataDir {
    /// Makes the directory if it is missing (mode 0700) and takes its LOCK.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] if another process has it; `Unusable`, `NotADirectory`.
    pub fn lock(path: &Path) -> Result<DataDir, DataDirError> {
        make_directory(path)?;
        let directory = lock_directory(path)?;
        let lock = take_lock(path)?;
        Ok(DataDir { path: path.to_owned(), _locks: vec![directory, lock] })
    }

    /// Takes hold of the directory of a node, to look at it: nothing in it changes, LOCK neither.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] if another process has it; `Unusable`, `NoNode`.
    pub fn look(path: &Path) -> Result<DataDir, DataDirError> {
        let directory = DataDir { path: path.to_owned(), _locks: vec![lock_directory(path)?] };
        let has_node = directory.has(IDENTITY)?;
        if has_node { Ok(directory) } else { Err(DataDirError::NoNode { path: path.to_owned() }) }
    }

    /// The identity of the node in the directory, and the key of its log.
    ///
    /// # Errors
    /// [`DataDirError`]: it is damaged, or of another KEK.
    pub fn identity(&self, keks: &KekSet) -> Result<(Identity, Option<LogKey>), DataDirError> {
        Identity::open(&self.read_identity(IDENTITY)?, keks)
            .map_err(|source| DataDirError::Identity { path: self.path.clone(), source })
    }

    /// Tells what is in the directory, or why this node must not start. Changes nothing.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn classify(&self, keks: &KekSet) -> Result<DirectoryKind, DataDirError> {
        if self.has(IDENTITY)? {
            return self.existing(keks);
        }
        let names = self.names()?;
        if let Some(name) = names.iter().find(|name| !self.is_own(name)) {
            return Err(DataDirError::Foreign { path: self.path.clone(), name: name.into() });
        }
        if self.has(IDENTITY_NEW)? {
            // Its keys count for nothing yet: it may be finished with another KEK.
            return Ok(DirectoryKind::Unfinished { of: Identity::open(&self.read_identity(IDENTITY_NEW)?, keks).ok() });
        }
        match PARTS.iter().find(|part| names.iter().any(|name| name == *part)) {
            Some(part) => Err(DataDirError::WithoutIdentity { path: self.path.clone(), name: part.into() }),
            None => Ok(DirectoryKind::Fresh),
        }
    }

    /// Begins a first start: removes what an unfinished one left, then writes IDENTITY.new, durable before this returns.
    ///
    /// Only after [`DataDir::classify`] answered `Fresh` or `Unfinished`.
    ///
    /// # Errors
    /// [`DataDirError::Io`]; the next start finds an unfinished or fresh directory again.
    pub fn begin(&self, identity: &Identity, log_key: Option<&LogKey>) -> Result<(), DataDirError> {
        self.remove_unfinished()?;
        let path = self.path.join(IDENTITY_NEW);
        file::write_new(&path, &identity.encode(log_key)).map_err(|source| DataDirError::Io {
            path,
            action: "written",
            source,
        })
    }

    /// Takes a first start back that failed, so that nothing half-made stays behind. What cannot be removed is what the next start
    /// removes.
    pub fn take_back(&self) {
        if self.path.join(IDENTITY).exists() {
            return;
        }
        if let Err(error) = self.remove_unfinished() {
            tracing::warn!(%error, "what the first start has made stays behind, the next one removes it");
        }
    }

    fn remove_unfinished(&self) -> Result<(), DataDirError> {
        assert!(!self.path.join(IDENTITY).exists(), "a node that has its IDENTITY never has a first start again");
        for part in PARTS {
            remove(&self.path.join(part))?;
        }
        // IDENTITY.new goes last: parts that are found without it are taken for a node that lost its identity.
        file::sync_directory(&self.path).map_err(|source| self.failed(source, "synced"))?;
        remove(&self.path.join(IDENTITY_NEW))
    }

    /// Ends a first start: log and state are made and durable, and now the directory is a node.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn finish(&self) -> Result<(), DataDirError> {
        let (from, to) = (self.path.join(IDENTITY_NEW), self.path.join(IDENTITY));
        assert!(!to.exists(), "a node that has its IDENTITY never has a first start again");
        assert!(self.log().exists(), "IDENTITY says that there is a log");
        assert!(self.state().exists(), "IDENTITY says that there is a state");
        assert!(self.flush().exists(), "IDENTITY says that there is a place for files on their way into the state");
        // The names of log and state must not be younger than the name that says they are complete.
        let renamed = file::sync_directory(&self.path)
            .and_then(|()| fs::rename(&from, &to))
            .and_then(|()| file::sync_directory(&self.path));
        renamed.map_err(|source| DataDirError::Io { path: from, action: "renamed to IDENTITY", source })
    }

    /// Where the write-ahead log is.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where the state is.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// Where files on their way into the state are.
    #[must_use]
    pub fn flush(&self) -> PathBuf {
        self.path.join(FLUSH)
    }

    /// Where a snapshot is received.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.path.join(INCOMING)
    }

    /// Where a snapshot for others is.
    #[must_use]
    pub fn outgoing(&self) -> PathBuf {
        self.path.join(OUTGOING)
    }

    /// Where the state before an install is, until it is removed.
    #[must_use]
    pub fn old(&self) -> PathBuf {
        self.path.join(OLD)
    }

    /// Makes the directory of [`DataDir::flush`], part of a first start.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn make_flush(&self) -> Result<(), DataDirError> {
        let path = self.flush();
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| DataDirError::Io { path, action: "made", source })
    }

    /// Refuses a state, or files on their way into it, that are anything but regular files: RocksDB opens files by name, and a
    /// pipe would block it forever.
    ///
    /// # Errors
    /// [`DataDirError::NotAFile`], `Io`.
    pub fn check_state_files(&self) -> Result<(), DataDirError> {
        for path in [self.state(), self.flush()] {
            let failed = |path: &Path, source| DataDirError::Io { path: path.to_owned(), action: "listed", source };
            for entry in fs::read_dir(&path).map_err(|source| failed(&path, source))? {
                let entry = entry.map_err(|source| failed(&path, source))?;
                let kind = entry.file_type().map_err(|source| failed(&entry.path(), source))?;
                // RocksDB makes directories in its own when it loses files; in the other nothing makes any.
                if !(kind.is_file() || kind.is_dir() && path.ends_with(STATE)) {
                    return Err(DataDirError::NotAFile { path: entry.path(), kind: file::kind_of_type(kind) });
                }
            }
        }
        Ok(())
    }

    /// A name of ours, or the directory that ext4 makes in every file system.
    fn is_own(&self, name: &OsStr) -> bool {
        OWN_NAMES.iter().any(|own| name == *own) || (name == LOST_AND_FOUND && self.path.join(name).is_dir())
    }

    /// The refusal of what is taken for an unfinished first start and holds more.
    pub(super) fn not_unfinished(&self, found: String) -> DataDirError {
        DataDirError::NotUnfinished { path: self.path.clone(), found }
    }

    fn existing(&self, keks: &KekSet) -> Result<DirectoryKind, DataDirError> {
        let (identity, log_key) = self.identity(keks)?;
        if !self.has(LOG)? {
            return Err(DataDirError::Missing { path: self.path.clone(), name: LOG });
        }
        // Between the two renames of an install there is no state, but the complete one in incoming.
        if !self.has(STATE)? && !self.has(INCOMING_COMPLETE)? {
            return Err(DataDirError::Missing { path: self.path.clone(), name: STATE });
        }
        if !self.has(FLUSH)? {
            return Err(DataDirError::Missing { path: self.path.clone(), name: FLUSH });
        }
        Ok(DirectoryKind::Existing { identity, log_key })
    }

    fn read_identity(&self, name: &str) -> Result<Vec<u8>, DataDirError> {
        let path = self.path.join(name);
        let read = |source| DataDirError::Io { path: path.clone(), action: "read", source };
        let mut opened = file::open(&path).map_err(read)?;
        if opened.kind != FileKind::Regular {
            return Err(DataDirError::NotAFile { path, kind: opened.kind });
        }
        file::read_at_most(&mut opened.file, IDENTITY_LEN_MAX + 1).map_err(read)
    }

    fn has(&self, name: &str) -> Result<bool, DataDirError> {
        match fs::symlink_metadata(self.path.join(name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(self.failed(source, "searched")),
        }
    }

    fn names(&self) -> Result<Vec<OsString>, DataDirError> {
        let listed = |source| self.failed(source, "listed");
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(listed)?.take(DIRECTORY_NAMES_MAX) {
            names.push(entry.map_err(listed)?.file_name());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn failed(&self, source: io::Error, action: &'static str) -> DataDirError {
        DataDirError::Io { path: self.path.clone(), action, source }
    }
}

fn make_directory(path: &Path) -> Result<(), DataDirError> {
    let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataDirError::NotADirectory { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
            file::sync_parent(path).map_err(unusable)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn lock_directory(path: &Path) -> Result<File, DataDirError> {
    let unusable = |errno: Errno| DataDirError::Unusable { path: path.to_owned(), source: errno.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(unusable)?);
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(Errno::WOULDBLOCK) => {
            let holder = file::open(&path.join(LOCK)).ok().filter(|lock| lock.kind == FileKind::Regular);
            let holder = holder.map_or_else(String::new, |mut lock| holder_of(&mut lock.file));
            Err(DataDirError::Locked { path: path.to_owned(), holder })
        }
        Err(errno) => Err(unusable(errno)),
    }
}

fn take_lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(LOCK);
    let unusable = |source| DataDirError::Unusable { path: path.clone(), source };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| unusable(errno.into()))?;
    let mut lock = File::from(lock);
    let kind = lock.metadata().map_err(unusable)?.file_type();
    if !kind.is_file() {
        let found = format!("it is {}, expected a regular file: remove it", file::kind_of_type(kind));
        return Err(unusable(io::Error::new(io::ErrorKind::InvalidInput, found)));
    }
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(DataDirError::Locked { path: directory.to_owned(), holder: holder_of(&mut lock) });
        }
        Err(errno) => return Err(unusable(errno.into())),
    }
    // The number is only for the message that a second process shows; the lock is the kernel's. A full disk has no space for it.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

fn holder_of(lock: &mut File) -> String {
    let mut text = String::new();
    let is_read = lock.take(20).read_to_string(&mut text).is_ok();
    match text.trim().parse::<u32>() {
        Ok(pid) if is_read => format!(", number {pid}"),
        _ => String::new(),
    }
}

fn remove(path: &Path) -> Result<(), DataDirError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|source| DataDirError::Io { path: path.to_owned(), action: "removed", source })
}

const LOCK: &str = "LOCK";
const IDENTITY: &str = "IDENTITY";
const IDENTITY_NEW: &str = "IDENTITY.new";
const LOG: &str = "log";
const STATE: &str = "state";
const FLUSH: &str = "flush";
const INCOMING: &str = "incoming";
const INCOMING_COMPLETE: &str = "incoming/COMPLETE";
const OLD: &str = "old";
const OUTGOING: &str = "outgoing";
const PARTS: [&str; 6] = [LOG, STATE, FLUSH, INCOMING, OUTGOING, OLD];
const OWN_NAMES: [&str; 9] = [LOCK, IDENTITY, IDENTITY_NEW, LOG, STATE, FLUSH, INCOMING, OUTGOING, OLD];
const LOST_AND_FOUND: &str = "lost+found";

#[cfg(test)]
mod tests;
