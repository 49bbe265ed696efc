//! KEKs from outside: a file, or a descriptor that the parent process left open. Never written, never printed.
//!
//! A KEK is exactly 32 raw bytes. The file must be a regular one that only its owner can reach, or root's and readable by a
//! group of this process; it may be a symbolic link to one (that is how secrets are mounted), since what counts is the file
//! that was opened. Nothing here can hang
//! the start: files are opened without waiting for a writer, pipes are read with a deadline, reads are bounded.
//!
//! ```text
//! kek_id     HKDF(KEK, "", "sealkv kek id"), 8 bytes: names the KEK in every wrap
//! kek check  HKDF(KEK, "", "sealkv kek check", cluster(16)), 8 bytes: shows other members that this node holds it
//! ```

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::RawFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use zeroize::Zeroizing;

use crate::crypto::aead::KEY_LEN;
use crate::crypto::derive::derive;
use crate::crypto::keystore::Dek;
use crate::crypto::wrap::KEK_ID_LEN;
use crate::crypto::wrap::Kek;
use crate::crypto::wrap::KekId;
use crate::crypto::wrap::WRAPPED_LEN;
use crate::crypto::wrap::WrapError;
use crate::exit::Blame;
use crate::keys::file;
use crate::keys::file::FileKind;
use crate::keys::file::OpenToOthers;
use crate::limits::KEK_DESCRIPTOR_WAIT;
use crate::world::Clock;

/// Why a KEK was not taken. The operator mends every one of them.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// It cannot be opened.
    #[error("KEK file {} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("KEK file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A pipe, a directory, a device.
    #[error("KEK file {} is {kind}, expected a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// Others can reach it.
    #[error("KEK file {} {found}", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Who can reach it.
        found: OpenToOthers,
    },
    /// Not 32 bytes.
    #[error("KEK file {} has {found}, expected exactly 32 raw bytes, as `sealkv keygen FILE` makes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: NotAKey,
    },
    /// 32 zero bytes: a file that was made and never filled.
    #[error("KEK file {} holds only zeros: it was made and never filled", path.display())]
    Zeros {
        /// The file.
        path: PathBuf,
    },
    /// No such descriptor, or it cannot be read.
    #[error("KEK descriptor {descriptor} cannot be read: expected one that the parent process left open for reading")]
    Descriptor {
        /// Its number.
        descriptor: RawFd,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A directory, a device, something of the kernel's.
    #[error("KEK descriptor {descriptor} is {kind}, expected a file, a pipe or a socket")]
    DescriptorKind {
        /// Its number.
        descriptor: RawFd,
        /// What it is.
        kind: FileKind,
    },
    /// Not 32 bytes.
    #[error("KEK descriptor {descriptor} gave {found}, expected exactly 32 raw bytes and then its end")]
    DescriptorSize {
        /// Its number.
        descriptor: RawFd,
        /// What it gave.
        found: NotAKey,
    },
    /// 32 zero bytes.
    #[error("KEK descriptor {descriptor} gave only zeros")]
    DescriptorZeros {
        /// Its number.
        descriptor: RawFd,
    },
    /// The writer does not write, or does not close.
    #[error("KEK descriptor {descriptor} gave {found} and no end within {} ms, expected 32 raw bytes and then its end", waited.as_millis())]
    DescriptorSlow {
        /// Its number.
        descriptor: RawFd,
        /// What it gave.
        found: NotAKey,
        /// How long it had.
        waited: Duration,
    },
    /// The same KEK given twice.
    #[error("the KEK {kek_id} was given twice")]
    Twice {
        /// Its id.
        kek_id: KekId,
    },
}

impl KekError {
    /// Who must act: always the operator.
    #[must_use]
    pub fn blame(&self) -> Blame {
        Blame::Config
    }
}

/// The KEK in a file.
///
/// # Errors
/// [`KekError`]: see its variants; nothing of the file is kept.
pub fn from_file(path: &Path) -> Result<Kek, KekError> {
    let path = path.to_owned();
    let mut opened = match file::open(&path) {
        Ok(opened) => opened,
        // What it says of a socket, which cannot be opened at all.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
            return Err(KekError::NotRegular { path, kind: FileKind::Socket });
        }
        Err(source) => return Err(KekError::Open { path, source }),
    };
    if opened.kind != FileKind::Regular {
        return Err(KekError::NotRegular { path, kind: opened.kind });
    }
    if let Err(found) = opened.check_secret() {
        return Err(KekError::OpenToOthers { path, found });
    }
    let mut text = Text::new();
    loop {
        match text.read_from(&mut opened.file) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(KekError::Read { path, source }),
        }
    }
    match text.key() {
        Ok(key) if *key == [0; KEY_LEN] => Err(KekError::Zeros { path }),
        Ok(key) => Ok(from_bytes(&key)),
        Err(found) => Err(KekError::Size { path, found }),
    }
}

/// The KEK from a descriptor that was left open by the parent process; reads it to its end, with a deadline.
///
/// Permission bits are not judged here: who holds the descriptor was given it.
///
/// # Errors
/// [`KekError`]: see its variants; nothing that was read is kept.
pub fn from_descriptor(descriptor: RawFd, clock: &dyn Clock) -> Result<Kek, KekError> {
    let failed = |source| KekError::Descriptor { descriptor, source };
    let (mut file, kind) = inherited(descriptor).map_err(failed)?;
    if !matches!(kind, FileKind::Regular | FileKind::Pipe | FileKind::Socket) {
        return Err(KekError::DescriptorKind { descriptor, kind });
    }
    let mut text = Text::new();
    let begin = clock.monotonic();
    loop {
        let waited = clock.monotonic().saturating_sub(begin);
        if waited >= KEK_DESCRIPTOR_WAIT {
            return Err(KekError::DescriptorSlow { descriptor, found: text.found(), waited });
        }
        if !is_readable(&file, KEK_DESCRIPTOR_WAIT - waited).map_err(failed)? {
            continue;
        }
        match text.read_from(&mut file) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(source) => return Err(failed(source)),
        }
    }
    match text.key() {
        Ok(key) if *key == [0; KEY_LEN] => Err(KekError::DescriptorZeros { descriptor }),
        Ok(key) => Ok(from_bytes(&key)),
        Err(found) => Err(KekError::DescriptorSize { descriptor, found }),
    }
}

/// The KEK of these bytes, with the id that follows from them; for KEKs that come another way, and tests.
#[must_use]
pub fn from_bytes(bytes: &Zeroizing<[u8; KEY_LEN]>) -> Kek {
    let id = derive::<KEK_ID_LEN>(&bytes[..], b"", "sealkv kek id", &[]);
    Kek::new(KekId(*id), bytes)
}

/// A wrapped key stays shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Operator: the node was given no KEK at all.
    #[error("needs the KEK {wrapped_by}, and no KEK is configured")]
    NoKek {
        /// The KEK that is needed.
        wrapped_by: KekId,
    },
    /// Operator: the node was given others.
    #[error("needs the KEK {wrapped_by}, the one that is given is {given}")]
    OtherKek {
        /// The KEK that is needed.
        wrapped_by: KekId,
        /// The first one that was given.
        given: KekId,
    },
    /// Changed bytes, or a wrap made for another place.
    #[error("is not authentic under the KEK {wrapped_by}")]
    Unauthentic {
        /// The KEK that it names.
        wrapped_by: KekId,
    },
}

/// The KEKs that a node was given; the first wraps, all unwrap. Empty: no cipher.
#[derive(Debug, Default)]
pub struct KekSet {
    keks: Vec<Kek>,
}

impl KekSet {
    /// Takes them in order of preference.
    ///
    /// # Errors
    /// [`KekError::Twice`].
    pub fn new(keks: Vec<Kek>) -> Result<KekSet, KekError> {
        let mut set = KekSet::default();
        for kek in keks {
            if set.find(kek.id()).is_some() {
                return Err(KekError::Twice { kek_id: kek.id() });
            }
            set.keks.push(kek);
        }
        Ok(set)
    }

    /// No KEK was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keks.is_empty()
    }

    /// All of them, in order of preference.
    #[cfg(feature = "node")]
    pub(super) fn all(&self) -> &[Kek] {
        &self.keks
    }

    /// The one that wraps new keys.
    #[must_use]
    pub fn first(&self) -> Option<&Kek> {
        self.keks.first()
    }

    /// Unwraps a key with the KEK that it names.
    ///
    /// # Errors
    /// [`UnwrapError`].
    pub fn unwrap(&self, label: &str, parts: &[&[u8]], wrapped: &[u8; WRAPPED_LEN]) -> Result<Dek, UnwrapError> {
        let wrapped_by = KekId(*wrapped.first_chunk().expect("68 bytes"));
        let given = self.first().ok_or(UnwrapError::NoKek { wrapped_by })?.id();
        let kek = self.find(wrapped_by).ok_or(UnwrapError::OtherKek { wrapped_by, given })?;
        kek.unwrap(label, parts, wrapped).map_err(|error| match error {
            WrapError::OtherKek { wrapped_by, .. } => UnwrapError::OtherKek { wrapped_by, given },
            WrapError::Unauthentic => UnwrapError::Unauthentic { wrapped_by },
        })
    }

    fn find(&self, id: KekId) -> Option<&Kek> {
        self.keks.iter().find(|kek| kek.id() == id)
    }
}

/// What was found where 32 raw bytes were expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAKey {
    /// So many bytes.
    Bytes(usize),
    /// More than the space for any way to write a key.
    Longer,
    /// A key as 64 hexadecimal digits.
    Hex,
    /// A key in base64.
    Base64,
    /// 32 bytes and the newline that an editor adds.
    Newline,
}

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAKey::Bytes(1) => f.write_str("1 byte"),
            NotAKey::Bytes(bytes) => write!(f, "{bytes} bytes"),
            NotAKey::Longer => write!(f, "{TEXT_LEN} bytes or more"),
            NotAKey::Hex => f.write_str("64 hexadecimal digits (`xxd -r -p` turns them into raw bytes)"),
            NotAKey::Base64 => f.write_str("44 characters of base64 (`base64 -d` turns them into raw bytes)"),
            NotAKey::Newline => f.write_str("32 bytes and a newline"),
        }
    }
}

/// Space for a KEK, however it is written, and the byte too many that shows there is more.
struct Text {
    bytes: Zeroizing<[u8; TEXT_LEN]>,
    len: usize,
}

impl Text {
    fn new() -> Text {
        Text { bytes: Zeroizing::new([0; TEXT_LEN]), len: 0 }
    }

    /// Reads once; 0 at the end, or when there is no more space.
    fn read_from(&mut self, file: &mut File) -> io::Result<usize> {
        let count = file.read(&mut self.bytes[self.len..])?;
        self.len += count;
        Ok(count)
    }

    /// The key, or what there is instead.
    fn key(&self) -> Result<Zeroizing<[u8; KEY_LEN]>, NotAKey> {
        match self.bytes[..self.len].as_array::<KEY_LEN>() {
            Some(key) => Ok(Zeroizing::new(*key)),
            None => Err(self.found()),
        }
    }

    fn found(&self) -> NotAKey {
        let bytes = &self.bytes[..self.len];
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        match line.len() {
            KEY_LEN if line.len() < bytes.len() => NotAKey::Newline,
            HEX_LEN if line.iter().all(u8::is_ascii_hexdigit) => NotAKey::Hex,
            BASE64_LEN if line.ends_with(b"=") && line.is_ascii() => NotAKey::Base64,
            _ if self.len == TEXT_LEN => NotAKey::Longer,
            _ => NotAKey::Bytes(self.len),
        }
    }
}

/// A file of our own for an inherited descriptor, without `unsafe`: opened again through procfs, where it then never
/// blocks, or else duplicated (sockets, and files that this user could not open).
fn inherited(descriptor: RawFd) -> io::Result<(File, FileKind)> {
    if descriptor < 0 {
        return Err(Errno::BADF.into());
    }
    let reopened = file::open(&Path::new("/proc/self/fd").join(descriptor.to_string()));
    let error = match reopened {
        Ok(opened) => return Ok((opened.file, opened.kind)),
        Err(error) => error,
    };
    if error.kind() == io::ErrorKind::NotFound {
        return Err(Errno::BADF.into());
    }
    let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let copy = rustix::process::pidfd_getfd(this, descriptor, PidfdGetfdFlags::empty())?;
    let kind = file::kind_of(rustix::fs::fstat(&copy)?.st_mode);
    Ok((File::from(copy), kind))
}

/// Whether a read would not block, after waiting at most `wait`; a writer that is gone counts as readable.
fn is_readable(file: &File, wait: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(file, PollFlags::IN)];
    let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
    match rustix::event::poll(&mut polled, Some(&wait)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// A KEK in hexadecimal, in base64, and more than either with its newline.
const HEX_LEN: usize = 2 * KEY_LEN;
const BASE64_LEN: usize = 44;
const TEXT_LEN: usize = HEX_LEN + 2;
