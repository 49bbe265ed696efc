//! The disk as snapshots use it: folders, files, and states in folders. Real, or simulated.

use std::io;
use std::path::Path;

use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;

/// See the head of this file. A path leads to what is there now; only what is synced outlives a power cut, a name by the sync
/// of its folder.
pub(crate) trait SnapshotDisk: Send + Sync {
    /// The names in a folder, in any order.
    ///
    /// # Errors
    /// The kernel's, as for every method here.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Whether there is such a folder.
    fn has_folder(&self, folder: &Path) -> bool;

    /// How long a file is; `None` if there is none.
    fn length(&self, file: &Path) -> io::Result<Option<u64>>;

    /// Up to `bytes` bytes of a file from `offset` on; fewer at its end only.
    fn read(&self, file: &Path, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;

    /// Makes a folder, and those that it is in.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// Writes a file, whatever was there. Not durable.
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Writes a file that is not there yet. It and its name are durable.
    fn write_new(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to so many bytes; one that is not there is made.
    fn cut(&self, file: &Path, bytes: u64) -> io::Result<()>;

    /// Appends to a file. Not durable.
    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Makes what is in a file durable.
    fn sync(&self, file: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes the name of a file or folder durable.
    fn sync_name(&self, path: &Path) -> io::Result<()>;

    /// Moves a folder. Not durable.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; none is no error. Not durable.
    fn remove_file(&self, file: &Path) -> io::Result<()>;

    /// Removes a folder and all in it; none is no error. Not durable.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Bytes that may still be written beside `folder`.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;

    /// Makes `to`, which is not there, a folder of the files of `base` as of this moment.
    fn checkpoint(&self, base: &dyn RowBase, to: &Path) -> Result<(), BaseError>;

    /// Opens the state in a folder to look at it.
    fn look_at(&self, folder: &Path) -> Result<Box<dyn RowBase>, BaseError>;
}
