//! The follower's side: fetches the snapshot that its leader offers. What was fetched stays for the next try of this process,
//! as far as the next snapshot has the same files.

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::bounded;

use crate::exit::chain;
use crate::fsm::rocks::RocksOptions;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::keys::file::sync_directory;
use crate::keys::file::unless_absent;
use crate::keys::file::write_new;
use crate::keys::node_keys::NodeKeys;
use crate::limits::SNAPSHOT_PIECE_BYTES;
use crate::limits::SNAPSHOT_PIECE_DEADLINE;
use crate::limits::SNAPSHOT_SPACE_LEFT;
use crate::limits::SNAPSHOT_TRIES_MAX;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
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
use crate::node::trial::free_bytes;
use crate::peers::CallFailed;
use crate::peers::Peers;
use crate::raft::SnapshotOffer;

/// See the head of this file.
pub(crate) struct SnapshotTaker {
    incoming: PathBuf,
    rocks: RocksOptions,
    node_keys: Arc<NodeKeys>,
    numbers: Arc<SnapshotNumbers>,
    ends: Ends,
    /// The kind of the requests among those of peers.
    kind: u8,
    /// Set once they stand.
    pub(crate) peers: OnceLock<Weak<Peers>>,
    is_busy: AtomicBool,
}

debug_fields!(self: SnapshotTaker { incoming: self.incoming });

/// Why a snapshot is not there.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
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

impl SnapshotTaker {
    /// Fetches into `incoming`; reports a snapshot that is complete as an end of this process's life.
    pub(crate) fn new(
        incoming: PathBuf,
        rocks: RocksOptions,
        node_keys: Arc<NodeKeys>,
        numbers: Arc<SnapshotNumbers>,
        kind: u8,
        ends: Ends,
    ) -> SnapshotTaker {
        let (peers, is_busy) = (OnceLock::new(), AtomicBool::new(false));
        SnapshotTaker { incoming, rocks, node_keys, numbers, ends, kind, peers, is_busy }
    }

    /// Begins to fetch, on a thread of its own, unless that is under way. Never waits.
    pub(crate) fn offered(self: &Arc<SnapshotTaker>, offer: SnapshotOffer) {
        if self.is_busy.swap(true, SeqCst) {
            return;
        }
        let taker = Arc::clone(self);
        let spawned = thread::Builder::new().name("snapshot".to_owned()).spawn(move || taker.take(offer));
        if let Err(error) = spawned {
            self.is_busy.store(false, SeqCst);
            tracing::warn!(%error, "no thread for a snapshot");
        }
    }

    fn take(&self, SnapshotOffer { leader, position: at }: SnapshotOffer) {
        tracing::info!(leader = leader.value(), index = at.index.0, "this log lacks entries: fetching a snapshot");
        match self.fetch(leader, at) {
            // It stays busy: this process fetches no other.
            Ok(bytes) => {
                let index = at.index.0;
                tracing::info!(index, bytes, "the snapshot is complete: the node starts anew to install it");
                self.ends.end(End::Install);
            }
            Err(NotTaken::Refused(refused)) if refused.is_lack_of_a_key() => {
                self.ends.fail(NodeFailure::Snapshot(Arc::new(refused)));
            }
            Err(error) => {
                self.numbers.cut_off.fetch_add(1, Relaxed);
                if let NotTaken::Refused(_) = error {
                    self.numbers.refused.fetch_add(1, Relaxed);
                    // Its giver makes another one if this one is damaged there.
                    let _ = self.ask(leader, SnapshotRequest::Refused(at));
                }
                tracing::warn!(index = at.index.0, error = chain(&error), "a snapshot is not complete yet");
                self.is_busy.store(false, SeqCst);
            }
        }
    }

    fn fetch(&self, leader: NodeId, at: Position) -> Result<u64, NotTaken> {
        let bytes = self.ask(leader, SnapshotRequest::Manifest(at))?;
        let manifest = SnapshotManifest::decode(&bytes).map_err(SnapshotRefused::from)?;
        if manifest.position() != at {
            return Err(NotTaken::Gone);
        }
        let known = KnownHere { node_keys: &self.node_keys, cutover: self.node_keys.cutover() };
        known.check_manifest(&manifest)?;
        self.begin(&manifest)?;
        self.check_space(&manifest)?;
        let folder = self.incoming.join(RECEIVED);
        let mut pace = Pace::new(&self.numbers, manifest.bytes());
        for (number, file) in (0..).zip(&manifest.files) {
            let of_file = |offset| SnapshotRequest::Piece { of: at, file: number, offset };
            self.fetch_file(leader, &folder.join(&file.name), file, &of_file, &mut pace)?;
        }
        sync_directory(&folder).map_err(io_error(&folder))?;
        let checked = check_names(&folder, &manifest).and_then(|()| known.check_state(&folder, &manifest, &self.rocks));
        if let Err(refused) = checked {
            unless_absent(fs::remove_dir_all(&self.incoming)).map_err(io_error(&self.incoming))?;
            return Err(refused.into());
        }
        let complete = self.incoming.join(COMPLETE);
        write_new(&complete, &bytes).map_err(io_error(&complete))?;
        Ok(manifest.bytes())
    }

    /// Files that the snapshot has as well stay, everything else goes.
    fn begin(&self, manifest: &SnapshotManifest) -> Result<(), NotTaken> {
        let (wanted, folder) = (self.incoming.join(WANTED), self.incoming.join(RECEIVED));
        let before = fs::read(&wanted).ok().and_then(|bytes| SnapshotManifest::decode(&bytes).ok());
        let Some(before) = before.filter(|_| folder.is_dir()) else {
            unless_absent(fs::remove_dir_all(&self.incoming)).map_err(io_error(&self.incoming))?;
            fs::create_dir_all(&folder).map_err(io_error(&folder))?;
            return fs::write(&wanted, manifest.encode()).map_err(io_error(&wanted));
        };
        if before == *manifest {
            return Ok(());
        }
        for name in names_in(&folder).map_err(io_error(&folder))? {
            let of = |manifest: &SnapshotManifest| manifest.files.iter().find(|file| file.name == name).cloned();
            if of(&before).is_none() || of(&before) != of(manifest) {
                let path = folder.join(&name);
                unless_absent(fs::remove_file(&path)).map_err(io_error(&path))?;
            }
        }
        fs::write(&wanted, manifest.encode()).map_err(io_error(&wanted))
    }

    /// A node that needs a snapshot must not fill its own disk with it: the log and the state need the space first.
    fn check_space(&self, manifest: &SnapshotManifest) -> Result<(), NotTaken> {
        let folder = self.incoming.join(RECEIVED);
        let present = |file: &SnapshotFile| fs::metadata(folder.join(&file.name)).map_or(0, |there| there.len());
        let missing: u64 = manifest.files.iter().map(|file| file.bytes.saturating_sub(present(file))).sum();
        let (need, free) = (missing + SNAPSHOT_SPACE_LEFT, free_bytes(&folder).map_err(io_error(&folder))?);
        if free < need { Err(NotTaken::Space { need, free }) } else { Ok(()) }
    }

    fn fetch_file(
        &self,
        leader: NodeId,
        path: &Path,
        file: &SnapshotFile,
        of_file: &dyn Fn(u64) -> SnapshotRequest,
        pace: &mut Pace<'_>,
    ) -> Result<(), NotTaken> {
        let mut open = OpenOptions::new();
        let mut out = open.create(true).append(true).open(path).map_err(io_error(path))?;
        // Only whole pieces are appended, but a full disk may leave half of one.
        let there = out.metadata().map_err(io_error(path))?.len();
        let mut offset = match there {
            _ if there == file.bytes => there,
            _ if there > file.bytes => 0,
            _ => there - there % SNAPSHOT_PIECE_BYTES as u64,
        };
        out.set_len(offset).map_err(io_error(path))?;
        pace.skip(offset);
        while offset < file.bytes {
            let piece = self.ask(leader, of_file(offset))?;
            let expected = (file.bytes - offset).min(SNAPSHOT_PIECE_BYTES as u64);
            if piece.len() as u64 != expected {
                return Err(NotTaken::Gone);
            }
            out.write_all(&piece).map_err(io_error(path))?;
            offset += expected;
            pace.wait(expected);
        }
        out.sync_all().map_err(io_error(path))?;
        check_file(path, file).inspect_err(|_| {
            let removed = fs::remove_file(path);
            removed.unwrap_or_else(|error| tracing::warn!(%error, path = %path.display(), "a file cannot be removed"));
        })?;
        Ok(())
    }

    /// A request and its answer, tried again a few times: a connection may be made anew meanwhile.
    fn ask(&self, leader: NodeId, request: SnapshotRequest) -> Result<Bytes, NotTaken> {
        let mut bytes = vec![self.kind];
        bytes.append(&mut request.encode());
        let bytes = Bytes::from(bytes);
        let mut tries = 0;
        loop {
            let (done, answer) = bounded(1);
            let peers = self.peers.get().and_then(Weak::upgrade).ok_or(NotTaken::Stops)?;
            let done = Box::new(move |result| drop(done.send(result)));
            peers.call_then(leader, bytes.clone(), SNAPSHOT_PIECE_DEADLINE, done);
            drop(peers);
            match answer.recv().unwrap_or(Err(CallFailed::Unknown)) {
                Ok(answer) if answer.is_empty() => return Err(NotTaken::Gone),
                Ok(answer) => return Ok(answer),
                Err(error) if tries == SNAPSHOT_TRIES_MAX => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
            tries += 1;
        }
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> NotTaken + '_ {
    |source| NotTaken::Io { path: path.to_owned(), source }
}

/// The manifest of what is being fetched.
const WANTED: &str = "WANTED";
