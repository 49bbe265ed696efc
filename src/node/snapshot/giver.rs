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
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRow;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::keyring::Keyring;
use crate::keys::lack::KeyLack;
use crate::keys::node_keys::NodeKeys;
use crate::limits::SNAPSHOT_IDLE_MAX;
use crate::limits::SNAPSHOT_LOOK_EVERY;
use crate::limits::SNAPSHOT_PIECE_BYTES;
use crate::limits::SNAPSHOT_PROGRESS_EVERY;
use crate::node::retention::TrimHold;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::snapshot::manifest::SnapshotManifest;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::node::snapshot::parts::SnapshotParts;
use crate::raft::Input;
use crate::raft::SnapshotPoint;
use crate::world::Clock;

/// See the head of this file.
pub(crate) struct SnapshotGiver {
    /// Only borrowed: a stop closes the state.
    base: Weak<dyn RowBase>,
    disk: Arc<dyn SnapshotDisk>,
    outgoing: PathBuf,
    node_keys: Arc<NodeKeys>,
    hold: Arc<TrimHold>,
    numbers: Arc<SnapshotNumbers>,
    raft: Sender<Input>,
    clock: Arc<dyn Clock>,
    given: Mutex<Given>,
}

debug_fields!(self: SnapshotGiver { outgoing: self.outgoing });

#[derive(Default)]
struct Given {
    is_making: bool,
    manifest: Option<Arc<SnapshotManifest>>,
    /// By the monotonic clock, as every time here.
    asked: Option<Duration>,
    /// How often it was refused by those who fetched it.
    refusals: u32,
    takers: BTreeMap<NodeId, Progress>,
}

/// Of a member that fetches it.
struct Progress {
    bytes: u64,
    said: Duration,
}

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotRequest {
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
    /// `parts.base` is the state. Snapshots are made in `parts.places.outgoing`, which is not there.
    pub(crate) fn new(parts: &SnapshotParts<'_>) -> SnapshotGiver {
        SnapshotGiver {
            base: Arc::downgrade(parts.base),
            disk: Arc::clone(parts.disk),
            outgoing: parts.places.outgoing.clone(),
            node_keys: Arc::clone(parts.node_keys),
            hold: Arc::clone(parts.hold),
            numbers: Arc::clone(parts.numbers),
            raft: parts.raft.clone(),
            clock: Arc::clone(parts.clock),
            given: Mutex::default(),
        }
    }

    /// Makes a snapshot of now, on a thread of its own, unless one is being made. Never waits.
    pub(crate) fn want(self: &Arc<SnapshotGiver>) {
        if !self.begins() {
            return;
        }
        let giver = Arc::clone(self);
        let make_and_keep = move || match giver.make_now() {
            Some(at) => {
                while giver.keeps(at) {
                    thread::sleep(SNAPSHOT_LOOK_EVERY);
                }
            }
            None => {
                // Raft asks again at the next heartbeat: not at once.
                thread::sleep(SNAPSHOT_LOOK_EVERY);
                giver.rested();
            }
        };
        let spawned = thread::Builder::new().name("snapshot".to_owned()).spawn(make_and_keep);
        if let Err(error) = spawned {
            self.rested();
            tracing::warn!(%error, "no thread for a snapshot");
        }
    }

    /// Whether one is to be made now: none is being made. Then [`SnapshotGiver::make_now`] has to follow.
    pub(crate) fn begins(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_making, true)
    }

    /// Another one may be made.
    pub(crate) fn rested(&self) {
        self.lock().is_making = false;
    }

    /// The answer to a request of a member; reads from the disk.
    pub(crate) fn answer(&self, from: NodeId, request: &[u8]) -> Vec<u8> {
        let Ok(request) = SnapshotRequest::read(request) else { return Vec::new() };
        let (SnapshotRequest::Manifest(of) | SnapshotRequest::Piece { of, .. } | SnapshotRequest::Refused(of)) =
            request;
        let manifest = {
            let mut given = self.lock();
            given.asked = Some(self.clock.monotonic());
            given.manifest.clone().filter(|manifest| manifest.position() == of)
        };
        let Some(manifest) = manifest else { return Vec::new() };
        match request {
            SnapshotRequest::Manifest(_) => {
                let (node, index, bytes) = (from.value(), of.index.0, manifest.bytes());
                tracing::info!(node, index, bytes, "a member fetches a snapshot");
                self.lock().takers.insert(from, Progress { bytes: 0, said: self.clock.monotonic() });
                manifest.encode()
            }
            SnapshotRequest::Piece { file, offset, .. } => match self.piece(&manifest, file, offset) {
                Ok(piece) => {
                    self.numbers.given_bytes.fetch_add(piece.len() as u64, Relaxed);
                    self.lock().gave(from, piece.len() as u64, manifest.bytes(), self.clock.monotonic());
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
        let bytes = usize::try_from(left).expect("at most a piece");
        self.disk.read(&self.outgoing.join(&file.name), offset, bytes)
    }

    /// Makes one and offers it. Where it ends; [`SnapshotGiver::keeps`] is to be asked of it once in a while. Without one, raft asks
    /// again behind [`SnapshotGiver::rested`].
    pub(crate) fn make_now(&self) -> Option<Position> {
        let began = self.clock.monotonic();
        match self.make() {
            Ok((manifest, point)) => {
                let (at, bytes, files) = (point.position, manifest.bytes(), manifest.files.len());
                let ms = self.clock.monotonic().saturating_sub(began).as_millis();
                tracing::info!(index = at.index.0, bytes, files, ms, "made a snapshot for a member that lags");
                self.numbers.made.fetch_add(1, Relaxed);
                let (manifest, asked) = (Some(Arc::new(manifest)), Some(self.clock.monotonic()));
                *self.lock() = Given { manifest, asked, ..Given::default() };
                drop(self.raft.send(Input::Snapshot(Some(point))));
                Some(at)
            }
            Err(NotMade::Stops) => None,
            Err(error) => {
                self.hold.release();
                tracing::warn!("no snapshot: {error}");
                None
            }
        }
    }

    fn make(&self) -> Result<(SnapshotManifest, SnapshotPoint), NotMade> {
        self.lock().manifest = None;
        self.hold.hold_all();
        self.remove();
        let outgoing = &self.outgoing;
        self.disk.checkpoint(&*self.base.upgrade().ok_or(NotMade::Stops)?, outgoing)?;
        let (row, keyring) = {
            let made = self.disk.look_at(outgoing)?;
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
        let manifest = SnapshotManifest::of(&*self.disk, outgoing, row, cutover, mac.as_deref())?;
        let (position, members) = (manifest.position(), manifest.applied.members.clone());
        self.hold.hold_above(position.index);
        Ok((manifest, SnapshotPoint { position, members }))
    }

    /// Whether the snapshot that ends there stays. It goes when nobody has asked for it for a while, and with the node; another
    /// one that is being made takes its place.
    pub(crate) fn keeps(&self, at: Position) -> bool {
        let mut given = self.lock();
        let is_mine = given.manifest.as_ref().is_some_and(|manifest| manifest.position() == at);
        if given.is_making || self.base.strong_count() == 0 {
            return false;
        }
        let now = self.clock.monotonic();
        if is_mine && given.asked.is_some_and(|asked| now.saturating_sub(asked) <= SNAPSHOT_IDLE_MAX) {
            return true;
        }
        *given = Given::default();
        // With the lock: nobody begins another one meanwhile.
        self.remove();
        self.hold.release();
        drop(given);
        drop(self.raft.send(Input::Snapshot(None)));
        false
    }

    fn remove(&self) {
        let outgoing = &self.outgoing;
        if let Err(error) = self.disk.remove_folder(outgoing) {
            tracing::warn!(%error, path = %outgoing.display(), "a snapshot cannot be removed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    /// A piece went to a member, of a snapshot of `all` bytes.
    fn gave(&mut self, to: NodeId, piece: u64, all: u64, now: Duration) {
        let Some(progress) = self.takers.get_mut(&to) else { return };
        progress.bytes += piece;
        let (node, bytes) = (to.value(), progress.bytes);
        if bytes >= all {
            self.takers.remove(&to);
            tracing::info!(node, bytes, "a member has fetched a snapshot");
        } else if now.saturating_sub(progress.said) >= SNAPSHOT_PROGRESS_EVERY {
            progress.said = now;
            tracing::info!(node, bytes, of = all, "a member fetches a snapshot");
        }
    }
}

impl SnapshotRequest {
    /// The bytes drawn above.
    pub(crate) fn encode(self) -> Vec<u8> {
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

/// So often may a snapshot be refused before another one is made: the first time something else may have been wrong.
const REFUSALS_MAX: u32 = 2;
