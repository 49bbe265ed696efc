//! The leader's side: makes a snapshot when raft wants one, answers requests for its pieces, and removes it when nobody asks
//! any more.
//!
//! ```text
//! request   kind(1): 1 manifest, 2 piece, 3 refused | term(8) index(8) | of a piece: number of the file(4) offset(8)
//! answer    the manifest, or the bytes of the piece; nothing if that snapshot is not here any more
//! ```
//!
//! As long as there is one, the log keeps what follows it, where it has space ([`TrimHold`]).

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRow;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::base::BasePlace;
use crate::fsm::rocks::base::RocksBase;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::file::unless_absent;
use crate::keys::keyring::Keyring;
use crate::keys::lack::KeyLack;
use crate::keys::node_keys::NodeKeys;
use crate::limits::SNAPSHOT_IDLE_MAX;
use crate::limits::SNAPSHOT_PIECE_BYTES;
use crate::limits::SNAPSHOT_PROGRESS_EVERY;
use crate::node::retention::TrimHold;
use crate::node::snapshot::manifest::SnapshotManifest;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::raft::Input;
use crate::raft::SnapshotPoint;

/// See the head of this file.
pub(crate) struct SnapshotGiver {
    /// Only borrowed: a stop closes the state.
    base: Weak<dyn RowBase>,
    rocks: RocksOptions,
    place: BasePlace,
    node_keys: Arc<NodeKeys>,
    hold: Arc<TrimHold>,
    numbers: Arc<SnapshotNumbers>,
    raft: Sender<Input>,
    given: Mutex<Given>,
}

debug_fields!(self: SnapshotGiver { place: self.place });

#[derive(Default)]
struct Given {
    is_making: bool,
    manifest: Option<Arc<SnapshotManifest>>,
    asked: Option<Instant>,
    /// How often it was refused by those who fetched it.
    refusals: u32,
    takers: BTreeMap<NodeId, Progress>,
}

/// Of a member that fetches it.
struct Progress {
    bytes: u64,
    said: Instant,
}

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SnapshotRequest {
    Manifest(Position),
    Piece { of: Position, file: u32, offset: u64 },
    Refused(Position),
}

/// No snapshot was made.
#[derive(Debug, thiserror::Error)]
enum NotMade {
    #[error("{0}")]
    Base(#[from] crate::fsm::base::BaseError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the state record: {0}")]
    Record(#[from] CodecError),
    #[error("{0}")]
    Key(#[from] KeyLack),
    #[error("the state has no record")]
    NoRecord,
    #[error("the node stops")]
    Stops,
}

impl SnapshotGiver {
    /// `base` is the state. Snapshots are made in `place.state`, which is not there.
    pub(crate) fn new(
        base: Weak<dyn RowBase>,
        rocks: RocksOptions,
        place: BasePlace,
        node_keys: Arc<NodeKeys>,
        (hold, numbers): (Arc<TrimHold>, Arc<SnapshotNumbers>),
        raft: Sender<Input>,
    ) -> Arc<SnapshotGiver> {
        Arc::new(SnapshotGiver { base, rocks, place, node_keys, hold, numbers, raft, given: Mutex::default() })
    }

    /// Makes a snapshot of now, on a thread of its own, unless one is being made. Never waits.
    pub(crate) fn want(self: &Arc<SnapshotGiver>) {
        if std::mem::replace(&mut self.lock().is_making, true) {
            return;
        }
        let giver = Arc::clone(self);
        let spawned = thread::Builder::new().name("snapshot".to_owned()).spawn(move || giver.make_and_keep());
        if let Err(error) = spawned {
            self.lock().is_making = false;
            tracing::warn!(%error, "no thread for a snapshot");
        }
    }

    /// The answer to a request of a member; reads from the disk.
    pub(crate) fn answer(&self, from: NodeId, request: &[u8]) -> Vec<u8> {
        let Ok(request) = SnapshotRequest::read(request) else { return Vec::new() };
        let (SnapshotRequest::Manifest(of) | SnapshotRequest::Piece { of, .. } | SnapshotRequest::Refused(of)) =
            request;
        let manifest = {
            let mut given = self.lock();
            given.asked = Some(Instant::now());
            given.manifest.clone().filter(|manifest| manifest.position() == of)
        };
        let Some(manifest) = manifest else { return Vec::new() };
        match request {
            SnapshotRequest::Manifest(_) => {
                let (node, index, bytes) = (from.value(), of.index.0, manifest.bytes());
                tracing::info!(node, index, bytes, "a member fetches a snapshot");
                self.lock().takers.insert(from, Progress { bytes: 0, said: Instant::now() });
                manifest.encode()
            }
            SnapshotRequest::Piece { file, offset, .. } => match self.piece(&manifest, file, offset) {
                Ok(piece) => {
                    self.numbers.given_bytes.fetch_add(piece.len() as u64, Relaxed);
                    self.lock().gave(from, piece.len() as u64, manifest.bytes());
                    piece
                }
                Err(error) => {
                    tracing::warn!(%error, "a piece of a snapshot cannot be read");
                    Vec::new()
                }
            },
            SnapshotRequest::Refused(_) => {
                self.refused(from, of);
                Vec::new()
            }
        }
    }

    /// What is damaged where it lies would be refused for ever: the second time another one is made.
    fn refused(&self, from: NodeId, of: Position) {
        tracing::warn!(node = from.value(), index = of.index.0, "a member refuses a snapshot of this node");
        let mut given = self.lock();
        given.refusals += 1;
        if given.refusals >= REFUSALS_MAX {
            given.manifest = None;
            drop(given);
            drop(self.raft.send(Input::Snapshot(None)));
        }
    }

    fn piece(&self, manifest: &SnapshotManifest, file: u32, offset: u64) -> io::Result<Vec<u8>> {
        let Some(file) = manifest.files.get(file as usize) else { return Ok(Vec::new()) };
        let left = file.bytes.saturating_sub(offset).min(SNAPSHOT_PIECE_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(left).expect("at most a piece")];
        File::open(self.place.state.join(&file.name))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn make_and_keep(&self) {
        let began = Instant::now();
        match self.make() {
            Ok((manifest, point)) => {
                let (at, bytes, files) = (point.position, manifest.bytes(), manifest.files.len());
                let ms = began.elapsed().as_millis();
                tracing::info!(index = at.index.0, bytes, files, ms, "made a snapshot for a member that lags");
                self.numbers.made.fetch_add(1, Relaxed);
                let (manifest, asked) = (Some(Arc::new(manifest)), Some(Instant::now()));
                *self.lock() = Given { manifest, asked, ..Given::default() };
                drop(self.raft.send(Input::Snapshot(Some(point))));
                self.keep(at);
            }
            Err(NotMade::Stops) => {}
            Err(error) => {
                self.hold.release();
                tracing::warn!("no snapshot: {error}");
                // Raft asks again at the next heartbeat: not at once.
                thread::sleep(PAUSE);
                self.lock().is_making = false;
            }
        }
    }

    fn make(&self) -> Result<(SnapshotManifest, SnapshotPoint), NotMade> {
        self.lock().manifest = None;
        self.hold.hold_all();
        self.remove();
        let outgoing = &self.place.state;
        self.base.upgrade().ok_or(NotMade::Stops)?.checkpoint(outgoing)?;
        let (row, keyring) = {
            let made = RocksBase::open_read_only(&self.place, &self.rocks)?;
            // Verified when this node started; whoever gets it verifies it again.
            let row = made.flushed_state(StateRow::Applied)?.ok_or(NotMade::NoRecord)?;
            (row, made.flushed_state(StateRow::Keyring)?)
        };
        let cutover = match &keyring {
            Some(keyring) => Keyring::decode(keyring)?.cutover(),
            None => Index::NEVER,
        };
        // The MAC key of a cluster never changes: it is the one of the keyring in the checkpoint.
        let mac = if keyring.is_some() { self.node_keys.current().mac_key()? } else { None };
        let manifest = SnapshotManifest::of(outgoing, row, cutover, mac.as_deref())?;
        let (position, members) = (manifest.position(), manifest.applied.members.clone());
        self.hold.hold_above(position.index);
        Ok((manifest, SnapshotPoint { position, members }))
    }

    /// Until nobody has asked for a while, another one takes its place, or the node stops.
    fn keep(&self, at: Position) {
        loop {
            thread::sleep(PAUSE);
            let mut given = self.lock();
            let is_mine = given.manifest.as_ref().is_some_and(|manifest| manifest.position() == at);
            if given.is_making || self.base.strong_count() == 0 {
                return;
            }
            if !is_mine || given.asked.is_none_or(|asked| asked.elapsed() > SNAPSHOT_IDLE_MAX) {
                *given = Given::default();
                // With the lock: nobody begins another one meanwhile.
                self.remove();
                self.hold.release();
                drop(given);
                drop(self.raft.send(Input::Snapshot(None)));
                return;
            }
        }
    }

    fn remove(&self) {
        let outgoing = &self.place.state;
        if let Err(error) = unless_absent(fs::remove_dir_all(outgoing)) {
            tracing::warn!(%error, path = %outgoing.display(), "a snapshot cannot be removed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    /// A piece went to a member, of a snapshot of `all` bytes.
    fn gave(&mut self, to: NodeId, piece: u64, all: u64) {
        let Some(progress) = self.takers.get_mut(&to) else { return };
        progress.bytes += piece;
        let (node, bytes) = (to.value(), progress.bytes);
        if bytes >= all {
            self.takers.remove(&to);
            tracing::info!(node, bytes, "a member has fetched a snapshot");
        } else if progress.said.elapsed() >= SNAPSHOT_PROGRESS_EVERY {
            progress.said = Instant::now();
            tracing::info!(node, bytes, of = all, "a member fetches a snapshot");
        }
    }
}

impl SnapshotRequest {
    /// The bytes drawn above.
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, of) = match self {
            SnapshotRequest::Manifest(of) => (1, of),
            SnapshotRequest::Piece { of, .. } => (2, of),
            SnapshotRequest::Refused(of) => (3, of),
        };
        let mut out = vec![kind];
        out.extend_from_slice(&of.term.0.to_be_bytes());
        out.extend_from_slice(&of.index.0.to_be_bytes());
        if let SnapshotRequest::Piece { file, offset, .. } = self {
            out.extend_from_slice(&file.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
        }
        out
    }

    fn read(bytes: &[u8]) -> Result<SnapshotRequest, CodecError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8("kind")?;
        let of = Position { term: Term(reader.u64("term")?), index: Index(reader.u64("index")?) };
        let request = match kind {
            1 => SnapshotRequest::Manifest(of),
            2 => SnapshotRequest::Piece { of, file: reader.u32("file")?, offset: reader.u64("offset")? },
            3 => SnapshotRequest::Refused(of),
            _ => return Err(CodecError::Field { field: "kind" }),
        };
        reader.end()?;
        Ok(request)
    }
}

/// Between two looks at whether somebody still asks, and after a snapshot that could not be made.
const PAUSE: Duration = Duration::from_secs(1);
/// So often may a snapshot be refused before another one is made: the first time something else may have been wrong.
const REFUSALS_MAX: u32 = 2;
