//! A file system of our own below a real node (FUSE): everything goes to a directory beside it, but one request to the log.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use fuser::BackgroundSession;
use fuser::BsdFileFlags;
use fuser::Config;
use fuser::Errno;
use fuser::FileAttr;
use fuser::FileHandle;
use fuser::FileType;
use fuser::Filesystem;
use fuser::FopenFlags;
use fuser::Generation;
use fuser::INodeNo;
use fuser::LockOwner;
use fuser::OpenFlags;
use fuser::RenameFlags;
use fuser::ReplyAttr;
use fuser::ReplyCreate;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyEmpty;
use fuser::ReplyEntry;
use fuser::ReplyOpen;
use fuser::ReplyStatfs;
use fuser::ReplyWrite;
use fuser::Request;
use fuser::TimeOrNow;
use fuser::WriteFlags;

/// What a request to the log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Frames, behind the headers of a slot.
    Frame,
    /// One of the two headers of a slot.
    Header,
    /// The sync of a slot.
    Sync,
    /// A new slot while it is made: its space, zeros and sync.
    Growth,
    /// Names of the data directory and of `log/`: making, renaming, removing, and the sync of the directory.
    Directory,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With this error; nothing was done.
    Error(i32),
    /// Half of what was to be written is written, and no error is reported.
    Short,
    /// It is done after this time.
    Slow(Duration),
}

/// Which request of which kind fails, counted from 0, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub nth: u64,
    pub fault: Fault,
}

/// What the disk has seen.
#[derive(Debug, Default)]
struct Seen {
    plan: Option<Plan>,
    requests: u64,
    failed: Option<(INodeNo, Instant)>,
    syncs_after: u64,
}

/// A mounted file system; unmounted when dropped.
pub struct FailingDisk {
    pub path: PathBuf,
    /// Where everything goes: what a healthy disk would show.
    pub behind: PathBuf,
    seen: Arc<Mutex<Seen>>,
    session: Option<BackgroundSession>,
}

impl FailingDisk {
    /// Below `dir`. `None` says why on the way.
    pub fn mount(dir: &Path) -> Option<FailingDisk> {
        let (path, behind) = (dir.join("mounted"), dir.join("behind"));
        fs::create_dir(&path).unwrap();
        fs::create_dir(&behind).unwrap();
        let seen = Arc::default();
        let through = Through { behind: behind.clone(), seen: Arc::clone(&seen), tables: Mutex::default() };
        let mut config = Config::default();
        config.n_threads = Some(4);
        match fuser::spawn_mount(through, &path, &config) {
            Ok(session) => Some(FailingDisk { path, behind, seen, session: Some(session) }),
            Err(error) => {
                println!("SKIPPED: no file system of our own: {error} (needs /dev/fuse and root)");
                None
            }
        }
    }

    /// From now on requests are counted anew, and one of them fails.
    pub fn plan(&self, plan: Plan) {
        *self.seen.lock().unwrap() = Seen { plan: Some(plan), ..Seen::default() };
    }

    /// When the request failed; `None` if there were not so many.
    pub fn failed_at(&self) -> Option<Instant> {
        self.seen.lock().unwrap().failed.map(|(_, at)| at)
    }

    /// Syncs of the file whose request failed, after it did.
    pub fn syncs_after(&self) -> u64 {
        self.seen.lock().unwrap().syncs_after
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        self.session.take().into_iter().for_each(|session| drop(session.umount_and_join()));
    }
}

#[derive(Debug, Default)]
struct Tables {
    /// Of inodes; one with several names has the newest here.
    paths: HashMap<INodeNo, PathBuf>,
    files: HashMap<FileHandle, Arc<File>>,
    newest: u64,
}

struct Through {
    behind: PathBuf,
    seen: Arc<Mutex<Seen>>,
    tables: Mutex<Tables>,
}

/// Nothing is remembered by the kernel: the directory behind may be used directly as well.
const TTL: Duration = Duration::ZERO;
/// Both headers of a slot.
const HEADERS_BYTES: u64 = 2 * 4096;

impl Through {
    fn path(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        if ino == INodeNo::ROOT {
            return Ok(self.behind.clone());
        }
        self.tables.lock().unwrap().paths.get(&ino).cloned().ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(parent)?.join(name))
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        self.tables.lock().unwrap().files.get(&handle).cloned().ok_or(Errno::EBADF)
    }

    fn keep(&self, file: File) -> FileHandle {
        let mut tables = self.tables.lock().unwrap();
        tables.newest += 1;
        let handle = FileHandle(tables.newest);
        tables.files.insert(handle, Arc::new(file));
        handle
    }

    /// The attributes of what stands at `path`, which is known by its inode from now on.
    fn found(&self, path: PathBuf) -> Result<FileAttr, Errno> {
        let attr = attr(&fs::symlink_metadata(&path)?, path == self.behind);
        self.tables.lock().unwrap().paths.insert(attr.ino, path);
        Ok(attr)
    }

    /// What a request for `path` is for; `None` if it is not the log's.
    fn kind(&self, path: &Path, offset: Option<u64>) -> Option<Kind> {
        let path = path.strip_prefix(&self.behind).ok()?;
        let is_log = path.components().any(|part| part.as_os_str() == "log");
        match (path.extension().and_then(OsStr::to_str), offset) {
            (Some("wal"), Some(offset)) if offset < HEADERS_BYTES => Some(Kind::Header),
            (Some("wal"), Some(_)) => Some(Kind::Frame),
            (Some("wal"), None) => Some(Kind::Sync),
            (Some("new"), _) if is_log => Some(Kind::Growth),
            _ => None,
        }
    }

    fn names(&self, path: &Path) -> Option<Kind> {
        let path = path.strip_prefix(&self.behind).ok()?;
        let is_state = path.components().any(|part| part.as_os_str() == "state" || part.as_os_str() == "flush");
        (!is_state).then_some(Kind::Directory)
    }

    /// Counts a request. The fault, if it is the one that fails.
    fn count(&self, kind: Option<Kind>, ino: INodeNo) -> Option<Fault> {
        let (kind, mut seen) = (kind?, self.seen.lock().unwrap());
        if let Some((failed, _)) = seen.failed {
            seen.syncs_after += u64::from(failed == ino && kind == Kind::Sync);
            return None;
        }
        let plan = seen.plan.filter(|plan| plan.kind == kind)?;
        seen.requests += 1;
        if seen.requests != plan.nth + 1 {
            return None;
        }
        seen.failed = Some((ino, Instant::now()));
        Some(plan.fault)
    }

    /// The same for what cannot be done by half.
    fn check(&self, kind: Option<Kind>, ino: INodeNo) -> Result<(), Errno> {
        match self.count(kind, ino) {
            None => Ok(()),
            Some(Fault::Error(code)) => Err(Errno::from_i32(code)),
            Some(Fault::Short) => Err(Errno::EIO),
            Some(Fault::Slow(time)) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }

    fn write_at(&self, ino: INodeNo, handle: FileHandle, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let fault = self.count(self.kind(&self.path(ino)?, Some(offset)), ino);
        let length = match fault {
            None => data.len(),
            Some(Fault::Short) => data.len() / 2,
            Some(Fault::Error(code)) => return Err(Errno::from_i32(code)),
            Some(Fault::Slow(time)) => {
                std::thread::sleep(time);
                data.len()
            }
        };
        self.file(handle)?.write_all_at(&data[..length], offset)?;
        Ok(u32::try_from(length).unwrap())
    }

    fn sync(&self, ino: INodeNo, handle: FileHandle) -> Result<(), Errno> {
        self.check(self.kind(&self.path(ino)?, None), ino)?;
        Ok(self.file(handle)?.sync_data()?)
    }

    fn resize(&self, ino: INodeNo, size: Option<u64>, mode: Option<u32>) -> Result<FileAttr, Errno> {
        let path = self.path(ino)?;
        if let Some(size) = size {
            let kind = self.kind(&path, None).filter(|kind| *kind == Kind::Growth);
            self.check(kind, ino)?;
            File::options().write(true).open(&path)?.set_len(size)?;
        }
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
        }
        self.found(path)
    }

    fn make_file(&self, path: PathBuf, mode: u32) -> Result<(FileAttr, FileHandle), Errno> {
        self.check(self.names(&path), INodeNo::ROOT)?;
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(mode).open(&path)?;
        Ok((self.found(path)?, self.keep(file)))
    }

    fn make_dir(&self, path: PathBuf, mode: u32) -> Result<FileAttr, Errno> {
        self.check(self.names(&path), INodeNo::ROOT)?;
        fs::DirBuilder::new().mode(mode).create(&path)?;
        self.found(path)
    }

    fn remove(&self, path: &Path, with: fn(&Path) -> io::Result<()>) -> Result<(), Errno> {
        self.check(self.names(path), INodeNo::ROOT)?;
        Ok(with(path)?)
    }

    fn move_to(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.check(self.names(to), INodeNo::ROOT)?;
        fs::rename(from, to)?;
        for path in self.tables.lock().unwrap().paths.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
        Ok(())
    }

    fn link_to(&self, ino: INodeNo, to: PathBuf) -> Result<FileAttr, Errno> {
        fs::hard_link(self.path(ino)?, &to)?;
        self.found(to)
    }

    fn reserve(&self, ino: INodeNo, handle: FileHandle, end: u64) -> Result<(), Errno> {
        self.check(self.kind(&self.path(ino)?, None).filter(|kind| *kind == Kind::Growth), ino)?;
        let file = self.file(handle)?;
        if file.metadata()?.len() < end {
            file.set_len(end)?;
        }
        Ok(())
    }

    fn entries(&self, ino: INodeNo) -> Result<Vec<(INodeNo, FileType, std::ffi::OsString)>, Errno> {
        let mut entries = vec![(ino, FileType::Directory, ".".into()), (ino, FileType::Directory, "..".into())];
        for entry in fs::read_dir(self.path(ino)?)? {
            let entry = entry?;
            let attr = attr(&entry.metadata()?, false);
            entries.push((attr.ino, attr.kind, entry.file_name()));
        }
        Ok(entries)
    }
}

fn attr(metadata: &fs::Metadata, is_root: bool) -> FileAttr {
    let time = |seconds: i64, nanos: i64| {
        SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
    };
    FileAttr {
        ino: if is_root { INodeNo::ROOT } else { INodeNo(metadata.ino()) },
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: u16::try_from(metadata.mode() & 0o7777).unwrap(),
        nlink: u32::try_from(metadata.nlink()).unwrap_or(1),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Answers a request that brings nothing back.
fn done(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(reply: ReplyEntry, result: Result<FileAttr, Errno>) {
    match result {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attributes(reply: ReplyAttr, result: Result<FileAttr, Errno>) {
    match result {
        Ok(attr) => reply.attr(&TTL, &attr),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Through {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.child(parent, name).and_then(|path| self.found(path)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        // A file that was removed or replaced is still known to those who have it open.
        let open = handle.and_then(|handle| self.file(handle).ok()).and_then(|file| file.metadata().ok());
        let found = open.map(|metadata| attr(&metadata, false));
        attributes(reply, found.map_or_else(|| self.path(ino).and_then(|path| self.found(path)), Ok));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        attributes(reply, self.resize(ino, size, mode));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(reply, self.child(parent, name).and_then(|path| self.make_dir(path, mode & !umask)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.child(parent, name).and_then(|path| self.remove(&path, |path| fs::remove_file(path))));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.child(parent, name).and_then(|path| self.remove(&path, |path| fs::remove_dir(path))));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let paths = self.child(parent, name).and_then(|from| Ok((from, self.child(to_parent, to_name)?)));
        done(reply, paths.and_then(|(from, to)| self.move_to(&from, &to)));
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.child(parent, name).and_then(|path| self.link_to(ino, path)));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let truncate = flags.0 & rustix::fs::OFlags::TRUNC.bits().cast_signed() != 0;
        let opened = self.path(ino).and_then(|path| {
            let both = File::options().read(true).write(true).truncate(truncate).open(&path);
            Ok(both.or_else(|_| File::open(&path))?)
        });
        match opened {
            Ok(file) => reply.opened(self.keep(file), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut data = vec![0; size as usize];
        let mut length = 0;
        let read = self.file(handle).and_then(|file| {
            while length < data.len() {
                match file.read_at(&mut data[length..], offset + length as u64)? {
                    0 => break,
                    more => length += more,
                }
            }
            Ok(())
        });
        match read {
            Ok(()) => reply.data(&data[..length]),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write_at(ino, handle, offset, data) {
            Ok(length) => reply.written(length),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _ino: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.tables.lock().unwrap().files.remove(&handle);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(reply, self.sync(ino, handle));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        done(reply, self.path(ino).and_then(|path| self.check(self.names(&path), ino)));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.entries(ino) {
            Ok(entries) => {
                for (at, (ino, kind, name)) in (1..).zip(&entries).skip(usize::try_from(offset).unwrap()) {
                    if reply.add(*ino, at, *kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::statvfs(&self.behind) {
            Ok(it) => reply.statfs(it.f_blocks, it.f_bfree, it.f_bavail, it.f_files, it.f_ffree, 4096, 255, 4096),
            Err(error) => reply.error(Errno::from_i32(error.raw_os_error())),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.child(parent, name).and_then(|path| self.make_file(path, mode & !umask)) {
            Ok((attr, handle)) => reply.created(&TTL, &attr, Generation(0), handle, FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let reserved = if mode == 0 { self.reserve(ino, handle, offset + length) } else { Err(Errno::EOPNOTSUPP) };
        done(reply, reserved);
    }
}
