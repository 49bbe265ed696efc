//! The simulated disk under a node's folders: what snapshots are made in, received in and installed from.
//!
//! A change of a name lasts when its folder is synced; a power cut keeps some of those before, in their order, as a journal
//! does, and a rename wholly or not at all. Of a file that was not synced a power cut keeps what it had, all, or a part with
//! zeros behind it. A state lies in its folder as the [`MemoryBase`] that a node runs on, or as the files of a checkpoint until a node opens it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::testing::base::MemoryBase;
use crate::testing::checkpoint;
use crate::testing::folders::FileNode;
use crate::testing::folders::FilesDisk;
use crate::testing::folders::ROOT;
use crate::testing::folders::STATE;
use crate::testing::seed::Seeded;

/// The disk as one life of a node sees it. Whatever an ended life does changes nothing.
#[derive(Clone)]
pub(crate) struct SimFiles {
    disk: Arc<Mutex<FilesDisk>>,
    life: u64,
}

impl SimFiles {
    /// A disk with a state in the folder `state`, all of it durable.
    pub(crate) fn with_state(state: &Path, base: MemoryBase) -> SimFiles {
        let disk = FilesDisk { nodes: vec![FileNode::Folder], ..FilesDisk::default() };
        let files = SimFiles { disk: Arc::new(Mutex::new(disk)), life: 0 };
        let mut disk = files.lock();
        disk.make_folder(state);
        let folder = disk.find(state).expect("just made");
        disk.place_state(folder, Arc::new(base));
        let names = disk.names.clone();
        (disk.durable, disk.journal) = (names, Vec::new());
        drop(disk);
        files
    }

    /// The process ended.
    pub(crate) fn end_life(&self) {
        let disk = &mut *self.lock();
        (disk.life, disk.is_dead) = (disk.life + 1, false);
    }

    /// And its power went with it: of what was not synced `chance` keeps some.
    pub(crate) fn cut_power(&self, chance: &Seeded) {
        self.end_life();
        self.lock().cut_power(chance);
    }

    /// The disk as the life sees it that begins now.
    pub(crate) fn of_this_life(&self) -> SimFiles {
        SimFiles { disk: Arc::clone(&self.disk), life: self.lock().life }
    }

    /// The process dies in a call, behind so many others; if it ends before, the next one does.
    pub(crate) fn die_after(&self, calls: u64) {
        self.lock().dies_after = Some(calls);
    }

    /// It does not.
    pub(crate) fn live_on(&self) {
        self.lock().dies_after = None;
    }

    /// The process dies in a call that changes something, behind so many others; `None`: it does not.
    pub(crate) fn die_after_changes(&self, changes: Option<u64>) {
        self.lock().dies_after_changes = changes;
    }

    /// Whether it did.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    /// Whether there is no space for states and snapshots any more.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.lock().set_full(is_full);
    }

    /// How many folders were moved up to the folder of all others.
    pub(crate) fn installed(&self) -> u64 {
        self.lock().installed
    }

    /// Whether there is a file or folder.
    pub(crate) fn is_there(&self, path: &Path) -> bool {
        self.lock().find(path).is_some()
    }

    /// The state in a folder, as a node that starts opens it; `None` without such a folder.
    ///
    /// # Panics
    /// If there is a folder and no state in it.
    pub(crate) fn state(&self, folder: &Path) -> Option<Arc<MemoryBase>> {
        let mut disk = self.lock();
        let at = disk.find(folder)?;
        if let Some(FileNode::State(base)) = disk.child(at, STATE).map(|node| &disk.nodes[node]) {
            return Some(Arc::clone(base));
        }
        let base = checkpoint::open(&disk.contents(at)).expect("an installed state was verified and synced");
        let base = Arc::new(base);
        disk.place_state(at, Arc::clone(&base));
        Some(base)
    }

    /// Everything that can be seen, as a number.
    pub(crate) fn checksum(&self) -> u32 {
        let disk = self.lock();
        let mut sum = 0;
        for ((folder, name), node) in &disk.names {
            sum = crc32c::crc32c_append(sum, format!("{folder} {name} {node}").as_bytes());
            if let FileNode::File { bytes, .. } = &disk.nodes[*node] {
                sum = crc32c::crc32c_append(sum, bytes);
            }
        }
        sum
    }

    /// One call of a process that may have died.
    fn call<T>(&self, work: impl FnOnce(&mut FilesDisk) -> io::Result<T>) -> io::Result<T> {
        let disk = &mut *self.lock();
        let is_last = disk.dies_after == Some(0);
        disk.dies_after = disk.dies_after.and_then(|calls| calls.checked_sub(1));
        if is_last {
            disk.is_dead = true;
        }
        if disk.is_dead || disk.life != self.life {
            return Err(io::Error::other("the process has ended"));
        }
        work(disk)
    }

    /// One that changes something.
    fn change<T>(&self, work: impl FnOnce(&mut FilesDisk) -> io::Result<T>) -> io::Result<T> {
        {
            let disk = &mut *self.lock();
            disk.is_dead |= disk.dies_after_changes == Some(0);
            disk.dies_after_changes = disk.dies_after_changes.and_then(|changes| changes.checked_sub(1));
        }
        self.call(work)
    }

    fn lock(&self) -> MutexGuard<'_, FilesDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SnapshotDisk for SimFiles {
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.call(|disk| {
            let at = disk.find(folder).ok_or(io::ErrorKind::NotFound)?;
            Ok(disk.children(at).map(|(name, _)| name.to_owned()).collect())
        })
    }

    fn has_folder(&self, folder: &Path) -> bool {
        let disk = self.lock();
        disk.find(folder).is_some_and(|at| matches!(disk.nodes[at], FileNode::Folder))
    }

    fn length(&self, file: &Path) -> io::Result<Option<u64>> {
        self.call(|disk| match disk.file(file) {
            Ok((bytes, _)) => Ok(Some(bytes.len() as u64)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn read(&self, file: &Path, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.call(|disk| {
            let there = disk.file(file)?.0;
            let from = usize::try_from(offset).expect("a small file").min(there.len());
            Ok(there[from..there.len().min(from.saturating_add(bytes))].to_vec())
        })
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|disk| {
            disk.make_folder(folder);
            Ok(())
        })
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| {
            bytes.clone_into(disk.make_file(file)?);
            Ok(())
        })
    }

    fn write_new(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.lock().find(file).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // Each of these can be the last.
        self.write(file, bytes)?;
        self.sync(file)?;
        self.sync_name(file)
    }

    fn cut(&self, file: &Path, bytes: u64) -> io::Result<()> {
        self.change(|disk| {
            disk.make_file(file)?.resize(usize::try_from(bytes).expect("a small file"), 0);
            Ok(())
        })
    }

    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk| {
            disk.file(file)?.0.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self, file: &Path) -> io::Result<()> {
        self.change(|disk| {
            let (bytes, durable) = disk.file(file)?;
            durable.clone_from(bytes);
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(|disk| {
            let at = disk.find(folder).ok_or(io::ErrorKind::NotFound)?;
            disk.sync_names(at);
            Ok(())
        })
    }

    fn sync_name(&self, path: &Path) -> io::Result<()> {
        self.sync_folder(path.parent().unwrap_or(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| {
            let node = disk.find(from).ok_or(io::ErrorKind::NotFound)?;
            if disk.find(to).is_some() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let places = (disk.place(from)?, disk.place(to)?);
            disk.installed += u64::from(places.0.0 != ROOT && places.1.0 == ROOT);
            disk.change(vec![(places.0, None), (places.1, Some(node))]);
            Ok(())
        })
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.change(|disk| {
            if disk.find(file).is_some() {
                let place = disk.place(file)?;
                disk.change(vec![(place, None)]);
            }
            Ok(())
        })
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let children: Vec<(String, bool)> = {
            let disk = self.lock();
            let Some(at) = disk.find(folder) else { return Ok(()) };
            let is_folder = |node: usize| matches!(disk.nodes[node], FileNode::Folder);
            disk.children(at).map(|(name, node)| (name.to_owned(), is_folder(node))).collect()
        };
        for (name, is_folder) in children {
            let path = folder.join(name);
            if is_folder { self.remove_folder(&path)? } else { self.remove_file(&path)? }
        }
        self.remove_file(folder)
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        Ok(if self.lock().is_full { 0 } else { 1 << 40 })
    }

    fn checkpoint(&self, base: &dyn RowBase, to: &Path) -> Result<(), BaseError> {
        let io_error = |source| BaseError::Io { path: to.to_owned(), source };
        self.make_folder(to).map_err(io_error)?;
        for (name, bytes) in checkpoint::files(base) {
            self.write(&to.join(name), &bytes).map_err(io_error)?;
        }
        Ok(())
    }

    fn look_at(&self, folder: &Path) -> Result<Box<dyn RowBase>, BaseError> {
        let contents = self.call(|disk| {
            let at = disk.find(folder).ok_or(io::ErrorKind::NotFound)?;
            Ok(disk.contents(at))
        });
        let contents = contents.map_err(|source| BaseError::Io { path: folder.to_owned(), source })?;
        Ok(Box::new(checkpoint::open(&contents)?))
    }
}

#[cfg(test)]
mod tests;
