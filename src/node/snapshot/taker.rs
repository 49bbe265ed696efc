//! The follower's side: fetches the snapshot that its leader offers. What was fetched stays for the next try of this process,
//! as far as the next snapshot has the same files.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use bytes::Bytes;
use crossbeam_channel::bounded;

use crate::exit::chain;
use crate::ids::NodeId;
use crate::limits::SNAPSHOT_PIECE_DEADLINE;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::snapshot::fetch::FetchParts;
use crate::node::snapshot::fetch::FetchStep;
use crate::node::snapshot::fetch::NotTaken;
use crate::node::snapshot::fetch::SnapshotFetch;
use crate::node::snapshot::giver::SnapshotRequest;
use crate::node::snapshot::parts::SnapshotParts;
use crate::peers::CallFailed;
use crate::peers::Peers;
use crate::raft::SnapshotOffer;

/// See the head of this file.
pub(crate) struct SnapshotTaker {
    fetch: FetchParts,
    ends: Ends,
    /// The kind of the requests among those of peers.
    kind: u8,
    /// Set once they stand.
    pub(crate) peers: OnceLock<Weak<Peers>>,
    is_busy: AtomicBool,
}

debug_fields!(self: SnapshotTaker { is_busy: self.is_busy.load(Relaxed) });

impl SnapshotTaker {
    /// Fetches into `parts.places.incoming`; reports a snapshot that is complete as an end of this process's life.
    pub(crate) fn new(parts: &SnapshotParts<'_>, kind: u8) -> SnapshotTaker {
        let fetch = FetchParts {
            incoming: parts.places.incoming.clone(),
            disk: Arc::clone(parts.disk),
            node_keys: Arc::clone(parts.node_keys),
            numbers: Arc::clone(parts.numbers),
            clock: Arc::clone(parts.clock),
        };
        let (peers, is_busy) = (OnceLock::new(), AtomicBool::new(false));
        SnapshotTaker { fetch, ends: parts.ends.clone(), kind, peers, is_busy }
    }

    /// Begins to fetch, on a thread of its own, unless that is under way. Never waits.
    pub(crate) fn offered(self: &Arc<SnapshotTaker>, offer: SnapshotOffer) {
        let Some(fetch) = self.begin(offer) else { return };
        let taker = Arc::clone(self);
        let fetch_all = move || {
            let outcome = taker.fetch_all(offer.leader, fetch);
            if let Some(refusal) = taker.ended(offer, outcome) {
                let _ = taker.ask(offer.leader, refusal);
            }
        };
        if let Err(error) = thread::Builder::new().name("snapshot".to_owned()).spawn(fetch_all) {
            self.is_busy.store(false, SeqCst);
            tracing::warn!(%error, "no thread for a snapshot");
        }
    }

    /// Begins to fetch, unless that is under way. Then [`SnapshotTaker::ended`] has to follow.
    pub(crate) fn begin(&self, offer: SnapshotOffer) -> Option<SnapshotFetch> {
        if self.is_busy.swap(true, SeqCst) {
            return None;
        }
        let (leader, at) = (offer.leader, offer.position);
        tracing::info!(leader = leader.value(), index = at.index.0, "this log lacks entries: fetching a snapshot");
        Some(SnapshotFetch::new(self.fetch.clone(), at))
    }

    /// What a fetch came to. Its giver is told of a refusal: it makes another snapshot if this one is damaged there.
    pub(crate) fn ended(&self, offer: SnapshotOffer, outcome: Result<u64, NotTaken>) -> Option<SnapshotRequest> {
        let index = offer.position.index.0;
        let error = match outcome {
            // It stays busy: this process fetches no other.
            Ok(bytes) => {
                tracing::info!(index, bytes, "the snapshot is complete: the node starts anew to install it");
                self.ends.end(End::Install);
                return None;
            }
            Err(NotTaken::Refused(refused)) if refused.is_lack_of_a_key() => {
                self.ends.fail(NodeFailure::Snapshot(Arc::new(refused)));
                return None;
            }
            Err(error) => error,
        };
        let numbers = &self.fetch.numbers;
        numbers.cut_off.fetch_add(1, Relaxed);
        tracing::warn!(index, error = chain(&error), "a snapshot is not complete yet");
        self.is_busy.store(false, SeqCst);
        let is_refused = matches!(error, NotTaken::Refused(_));
        numbers.refused.fetch_add(is_refused.into(), Relaxed);
        is_refused.then_some(SnapshotRequest::Refused(offer.position))
    }

    fn fetch_all(&self, leader: NodeId, mut fetch: SnapshotFetch) -> Result<u64, NotTaken> {
        let mut request = fetch.first();
        loop {
            let answer = self.ask(leader, request)?;
            match fetch.take(answer)? {
                FetchStep::Complete { bytes } => return Ok(bytes),
                FetchStep::Ask { request: next, pause } => {
                    thread::sleep(pause);
                    request = next;
                }
            }
        }
    }

    /// A request and its answer.
    fn ask(&self, leader: NodeId, request: SnapshotRequest) -> Result<Result<Bytes, CallFailed>, NotTaken> {
        let mut bytes = vec![self.kind];
        bytes.append(&mut request.encode());
        let (done, answer) = bounded(1);
        let peers = self.peers.get().and_then(Weak::upgrade).ok_or(NotTaken::Stops)?;
        let done = Box::new(move |result| drop(done.send(result)));
        peers.call_then(leader, bytes.into(), SNAPSHOT_PIECE_DEADLINE, done);
        drop(peers);
        Ok(answer.recv().unwrap_or(Err(CallFailed::Unknown)))
    }
}
