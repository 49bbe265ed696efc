//! One fetch of a snapshot, answer by answer: what is asked for next, and what becomes of the answer. Who asks, and waits, is
//! another matter.
//!
//! ```text
//! manifest -> checked; what is in incoming/ stays as far as this snapshot has the same files
//! pieces   -> file by file; each is synced and compared with the manifest
//! last     -> the state is opened to look at it, then COMPLETE is written
//! ```

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::Position;
use crate::keys::node_keys::NodeKeys;
use crate::limits::SNAPSHOT_MANIFEST_BYTES_MAX;
use crate::limits::SNAPSHOT_PAUSE;
use crate::limits::SNAPSHOT_PIECE_BYTES;
use crate::limits::SNAPSHOT_SPACE_LEFT;
use crate::limits::SNAPSHOT_TRIES_MAX;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::snapshot::giver::SnapshotRequest;
use crate::node::snapshot::install::COMPLETE;
use crate::node::snapshot::install::RECEIVED;
use crate::node::snapshot::manifest::SnapshotFile;
use crate::node::snapshot::manifest::SnapshotManifest;
use crate::node::snapshot::manifest::names_in;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::node::snapshot::pace::Pace;
use crate::node::snapshot::verify::KnownHere;
use crate::node::snapshot::verify::SnapshotRefused;
use crate::node::snapshot::verify::check_file;
use crate::node::snapshot::verify::check_names;
use crate::peers::CallFailed;
use crate::world::Clock;

/// Why a snapshot is not complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("the leader does not answer")]
    Call(#[from] CallFailed),
    #[error("the leader has that snapshot no longer")]
    Gone,
    #[error("it is refused and fetched again")]
    Refused(#[from] SnapshotRefused),
    #[error("it needs {need} bytes of free space, there are {free}: free space on that disk")]
    Space { need: u64, free: u64 },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the node stops")]
    Stops,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchStep {
    /// Ask its giver for this, after a while.
    Ask { request: SnapshotRequest, pause: Duration },
    /// All of it is there and durable.
    Complete { bytes: u64 },
}

/// What every fetch of a node needs.
#[derive(Clone)]
pub(super) struct FetchParts {
    pub(super) incoming: PathBuf,
    pub(super) disk: Arc<dyn SnapshotDisk>,
    pub(super) node_keys: Arc<NodeKeys>,
    pub(super) numbers: Arc<SnapshotNumbers>,
    pub(super) clock: Arc<dyn Clock>,
}

/// See the head of this file.
pub(crate) struct SnapshotFetch {
    parts: FetchParts,
    at: Position,
    asked: SnapshotRequest,
    /// How often in a row it had no answer.
    tries: u32,
    /// Once the manifest is there.
    files: Option<FilesFetch>,
}

debug_fields!(self: SnapshotFetch { at: self.at, asked: self.asked });

/// The files of a manifest, one behind another.
struct FilesFetch {
    manifest: SnapshotManifest,
    bytes: Bytes,
    pace: Pace,
    /// The number of the file that is being fetched, and how much of it is there once it is open.
    number: usize,
    offset: Option<u64>,
}

impl SnapshotFetch {
    /// Of the snapshot that ends there.
    pub(super) fn new(parts: FetchParts, at: Position) -> SnapshotFetch {
        SnapshotFetch { parts, at, asked: SnapshotRequest::Manifest(at), tries: 0, files: None }
    }

    /// The first request.
    pub(crate) fn first(&self) -> SnapshotRequest {
        self.asked
    }

    /// What comes of the answer to the last request; an empty one says that the giver has no such snapshot.
    ///
    /// # Errors
    /// [`NotTaken`]: this fetch is over. What is in incoming/ is for the next one.
    pub(crate) fn take(&mut self, answer: Result<Bytes, CallFailed>) -> Result<FetchStep, NotTaken> {
        match answer {
            Ok(answer) if answer.is_empty() => return Err(NotTaken::Gone),
            Ok(answer) => self.took(&answer)?,
            Err(error) if self.tries == SNAPSHOT_TRIES_MAX => return Err(error.into()),
            Err(_) => {
                self.tries += 1;
                return Ok(FetchStep::Ask { request: self.asked, pause: SNAPSHOT_PAUSE });
            }
        }
        self.tries = 0;
        let files = self.files.as_mut().expect("the first answer is the manifest");
        let step = files.next(&self.parts, self.at)?;
        if let FetchStep::Ask { request, .. } = step {
            self.asked = request;
        }
        Ok(step)
    }

    fn took(&mut self, answer: &Bytes) -> Result<(), NotTaken> {
        match &mut self.files {
            Some(files) => files.append(&self.parts, answer),
            None => {
                self.files = Some(self.parts.begin(answer, self.at)?);
                Ok(())
            }
        }
    }
}

impl FetchParts {
    fn received(&self) -> PathBuf {
        self.incoming.join(RECEIVED)
    }

    fn known(&self) -> KnownHere<'_> {
        KnownHere { node_keys: &self.node_keys, cutover: self.node_keys.cutover() }
    }

    /// Reads the manifest, and makes place for its files.
    fn begin(&self, bytes: &Bytes, at: Position) -> Result<FilesFetch, NotTaken> {
        let manifest = SnapshotManifest::decode(bytes).map_err(SnapshotRefused::from)?;
        if manifest.position() != at {
            return Err(NotTaken::Gone);
        }
        self.known().check_manifest(&manifest)?;
        self.keep_what_fits(&manifest)?;
        self.check_space(&manifest)?;
        let pace = Pace::new(Arc::clone(&self.numbers), Arc::clone(&self.clock), manifest.bytes());
        Ok(FilesFetch { manifest, bytes: bytes.clone(), pace, number: 0, offset: None })
    }

    /// Files that the snapshot has as well stay, everything else goes.
    fn keep_what_fits(&self, manifest: &SnapshotManifest) -> Result<(), NotTaken> {
        let (wanted, folder) = (self.incoming.join(WANTED), self.received());
        let write = || self.disk.write(&wanted, &manifest.encode()).map_err(io_error(&wanted));
        let before = self.disk.read(&wanted, 0, SNAPSHOT_MANIFEST_BYTES_MAX).ok();
        let before = before.and_then(|bytes| SnapshotManifest::decode(&bytes).ok());
        let Some(before) = before.filter(|_| self.disk.has_folder(&folder)) else {
            self.disk.remove_folder(&self.incoming).map_err(io_error(&self.incoming))?;
            self.disk.make_folder(&folder).map_err(io_error(&folder))?;
            return write();
        };
        if before == *manifest {
            return Ok(());
        }
        for name in names_in(&*self.disk, &folder).map_err(io_error(&folder))? {
            let of = |manifest: &SnapshotManifest| manifest.files.iter().find(|file| file.name == name).cloned();
            if of(&before).is_none() || of(&before) != of(manifest) {
                let path = folder.join(&name);
                self.disk.remove_file(&path).map_err(io_error(&path))?;
            }
        }
        write()
    }

    /// A node that needs a snapshot must not fill its own disk with it: the log and the state need the space first.
    fn check_space(&self, manifest: &SnapshotManifest) -> Result<(), NotTaken> {
        let folder = self.received();
        let present = |file: &SnapshotFile| self.disk.length(&folder.join(&file.name)).ok().flatten().unwrap_or(0);
        let missing: u64 = manifest.files.iter().map(|file| file.bytes.saturating_sub(present(file))).sum();
        let free = self.disk.free_bytes(&folder).map_err(io_error(&folder))?;
        let need = missing + SNAPSHOT_SPACE_LEFT;
        if free < need { Err(NotTaken::Space { need, free }) } else { Ok(()) }
    }

    /// How much of a file is there, as far as it can be used.
    fn open(&self, path: &Path, file: &SnapshotFile) -> Result<u64, NotTaken> {
        let there = self.disk.length(path).map_err(io_error(path))?.unwrap_or(0);
        // Only whole pieces are appended, but a full disk may leave half of one.
        let offset = match there {
            _ if there == file.bytes => there,
            _ if there > file.bytes => 0,
            _ => there - there % SNAPSHOT_PIECE_BYTES as u64,
        };
        self.disk.cut(path, offset).map_err(io_error(path))?;
        Ok(offset)
    }

    /// Everything came.
    fn complete(&self, manifest: &SnapshotManifest, bytes: &[u8]) -> Result<(), NotTaken> {
        let (disk, folder) = (&*self.disk, self.received());
        disk.sync_folder(&folder).map_err(io_error(&folder))?;
        let checked =
            check_names(disk, &folder, manifest).and_then(|()| self.known().check_state(disk, &folder, manifest));
        if let Err(refused) = checked {
            disk.remove_folder(&self.incoming).map_err(io_error(&self.incoming))?;
            return Err(refused.into());
        }
        let complete = self.incoming.join(COMPLETE);
        disk.write_new(&complete, bytes).map_err(io_error(&complete))
    }
}

impl FilesFetch {
    /// A piece came.
    fn append(&mut self, parts: &FetchParts, piece: &[u8]) -> Result<(), NotTaken> {
        let (file, offset) = (&self.manifest.files[self.number], self.offset.expect("a piece was asked for"));
        if piece.len() as u64 != (file.bytes - offset).min(SNAPSHOT_PIECE_BYTES as u64) {
            return Err(NotTaken::Gone);
        }
        let path = parts.received().join(&file.name);
        parts.disk.append(&path, piece).map_err(io_error(&path))?;
        self.offset = Some(offset + piece.len() as u64);
        self.pace.moved(piece.len() as u64);
        Ok(())
    }

    /// Goes on to the next piece that is missing; files that are whole are synced and compared on the way.
    fn next(&mut self, parts: &FetchParts, of: Position) -> Result<FetchStep, NotTaken> {
        while let Some(file) = self.manifest.files.get(self.number) {
            let path = parts.received().join(&file.name);
            let offset = match self.offset {
                Some(offset) => offset,
                None => {
                    let offset = parts.open(&path, file)?;
                    self.pace.skip(offset);
                    *self.offset.insert(offset)
                }
            };
            if offset < file.bytes {
                let file = u32::try_from(self.number).expect("a manifest has few files");
                let request = SnapshotRequest::Piece { of, file, offset };
                return Ok(FetchStep::Ask { request, pause: self.pace.pause() });
            }
            parts.disk.sync(&path).map_err(io_error(&path))?;
            check_file(&*parts.disk, &path, file).inspect_err(|_| {
                let removed = parts.disk.remove_file(&path);
                removed
                    .unwrap_or_else(|error| tracing::warn!(%error, path = %path.display(), "a file cannot be removed"));
            })?;
            (self.number, self.offset) = (self.number + 1, None);
        }
        parts.complete(&self.manifest, &self.bytes)?;
        Ok(FetchStep::Complete { bytes: self.manifest.bytes() })
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> NotTaken + '_ {
    |source| NotTaken::Io { path: path.to_owned(), source }
}

/// The manifest of what is being fetched.
const WANTED: &str = "WANTED";

#[cfg(test)]
mod tests;
