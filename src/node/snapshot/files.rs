//! The real disk, and RocksDB on it.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::path::Path;

use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::base::BasePlace;
use crate::fsm::rocks::base::RocksBase;
use crate::keys::file;
use crate::keys::file::unless_absent;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::trial::free_bytes;

/// See the head of this file.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFiles {
    rocks: RocksOptions,
}

impl SnapshotFiles {
    /// States are opened with these options.
    pub(crate) fn new(rocks: RocksOptions) -> SnapshotFiles {
        SnapshotFiles { rocks }
    }
}

impl SnapshotDisk for SnapshotFiles {
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(folder)?.map(name).collect()
    }

    fn has_folder(&self, folder: &Path) -> bool {
        folder.is_dir()
    }

    fn length(&self, file: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(file) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, file: &Path, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut out = Vec::new();
        file.take(bytes as u64).read_to_end(&mut out)?;
        Ok(out)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(file, bytes)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        file::write_new(path, bytes)
    }

    fn cut(&self, file: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().create(true).append(true).open(file)?.set_len(bytes)
    }

    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).open(file)?.write_all(bytes)
    }

    fn sync(&self, file: &Path) -> io::Result<()> {
        // Of a file that was written by another descriptor as well: the kernel syncs files, not descriptors.
        OpenOptions::new().append(true).open(file)?.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        file::sync_directory(folder)
    }

    fn sync_name(&self, path: &Path) -> io::Result<()> {
        file::sync_parent(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        unless_absent(fs::remove_file(file))
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        unless_absent(fs::remove_dir_all(folder))
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        free_bytes(folder)
    }

    fn checkpoint(&self, base: &dyn RowBase, to: &Path) -> Result<(), BaseError> {
        base.checkpoint(to)
    }

    fn look_at(&self, folder: &Path) -> Result<Box<dyn RowBase>, BaseError> {
        // Nothing is linked into it from a place that has no files on their way into a state.
        let flush = folder.parent().unwrap_or(folder).to_owned();
        Ok(Box::new(RocksBase::open_read_only(&BasePlace { state: folder.to_owned(), flush }, &self.rocks)?))
    }
}
