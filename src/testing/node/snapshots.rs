//! Both sides of snapshots at a simulated node: the real ones, stepped by hand instead of by threads.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::Receiver;

use crate::ids::NodeId;
use crate::ids::Position;
use crate::limits::SNAPSHOT_LOOK_EVERY;
use crate::limits::SNAPSHOT_PIECE_DEADLINE;
use crate::node::end::End;
use crate::node::snapshot::Snapshots;
use crate::node::snapshot::fetch::FetchStep;
use crate::node::snapshot::fetch::SnapshotFetch;
use crate::node::snapshot::giver::SnapshotRequest;
use crate::peers::CallFailed;
use crate::raft::SnapshotOffer;
use crate::testing::parcels::Parcel;
use crate::testing::parcels::ParcelBody;
use crate::testing::parcels::Parcels;
use crate::testing::seed::Seeded;
use crate::world::Clock;

/// See the head of this file.
pub(super) struct SimSnapshots {
    node: NodeId,
    parcels: Parcels,
    clock: Arc<dyn Clock>,
    desk: SnapshotDesk,
    ended: Receiver<End>,
    kept: Kept,
    fetch: Option<SimFetch>,
    last_number: u64,
}

/// What raft's loop asks of snapshots. A clone is the same desk.
#[derive(Clone)]
pub(super) struct SnapshotDesk {
    both: Snapshots,
    asked: Arc<Mutex<AskedOfSnapshots>>,
}

#[derive(Default)]
struct AskedOfSnapshots {
    is_wanted: bool,
    offered: Option<(SnapshotOffer, SnapshotFetch)>,
}

/// What is there for others. Times are by the node's clock.
enum Kept {
    Nothing,
    /// Looked at again then.
    Snapshot {
        at: Position,
        look_at: Duration,
    },
    /// It could not be made: tried again from then on.
    Resting {
        until: Duration,
    },
}

/// A fetch under way.
struct SimFetch {
    offer: SnapshotOffer,
    fetch: SnapshotFetch,
    waits: FetchWaits,
}

/// What a fetch waits for.
#[derive(Clone, Copy)]
enum FetchWaits {
    Answer { number: u64, until: Duration },
    Pause { request: SnapshotRequest, until: Duration },
}

impl SnapshotDesk {
    /// See [`Ports::snapshot_wanted`](crate::raft::Ports::snapshot_wanted).
    pub(super) fn wanted(&self) {
        if self.both.giver.begins() {
            self.asked().is_wanted = true;
        }
    }

    /// See [`Ports::snapshot_offered`](crate::raft::Ports::snapshot_offered).
    pub(super) fn offered(&self, offer: SnapshotOffer) {
        if let Some(fetch) = self.both.taker.begin(offer) {
            self.asked().offered = Some((offer, fetch));
        }
    }

    fn asked(&self) -> MutexGuard<'_, AskedOfSnapshots> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimSnapshots {
    /// Of a node whose life begins. `ended` hears what `both` reports.
    pub(super) fn new(
        node: NodeId,
        both: Snapshots,
        ended: Receiver<End>,
        parcels: Parcels,
        clock: Arc<dyn Clock>,
    ) -> SimSnapshots {
        let desk = SnapshotDesk { both, asked: Arc::default() };
        SimSnapshots { node, parcels, clock, desk, ended, kept: Kept::Nothing, fetch: None, last_number: 0 }
    }

    /// For raft's loop.
    pub(super) fn desk(&self) -> SnapshotDesk {
        self.desk.clone()
    }

    /// Whether a snapshot is being fetched.
    pub(super) fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// One turn. Why the node ends, if it does.
    pub(super) fn step(&mut self, chance: &Seeded) -> Option<End> {
        for Parcel { from, body, .. } in self.parcels.take(self.node.value()) {
            match body {
                ParcelBody::Ask(number, request) => self.answer(from, number, &request),
                ParcelBody::Answer(number, answer) => self.answered(number, answer),
            }
        }
        // Threads of their own: they have their turns sooner or later.
        if chance.one_in(2) {
            self.give();
        }
        if chance.one_in(2) {
            self.fetch();
        }
        self.ended.try_recv().ok()
    }

    fn answer(&self, from: u64, number: u64, request: &[u8]) {
        let member = NodeId::new(from).expect("a node of the cluster");
        let answer = self.desk.both.giver.answer(member, request).into();
        self.parcels.send(Parcel { from: self.node.value(), to: from, body: ParcelBody::Answer(number, answer) });
    }

    fn give(&mut self) {
        let (giver, now) = (&self.desk.both.giver, self.clock.monotonic());
        if std::mem::take(&mut self.desk.asked().is_wanted) {
            let look_at = now + SNAPSHOT_LOOK_EVERY;
            self.kept = match giver.make_now() {
                Some(at) => Kept::Snapshot { at, look_at },
                None => Kept::Resting { until: look_at },
            };
            return;
        }
        match self.kept {
            Kept::Snapshot { at, look_at } if look_at <= now => {
                let look_at = now + SNAPSHOT_LOOK_EVERY;
                self.kept = if giver.keeps(at) { Kept::Snapshot { at, look_at } } else { Kept::Nothing };
            }
            Kept::Resting { until } if until <= now => {
                giver.rested();
                self.kept = Kept::Nothing;
            }
            _ => {}
        }
    }

    fn fetch(&mut self) {
        let offered = self.desk.asked().offered.take();
        if let Some((offer, fetch)) = offered {
            let waits = FetchWaits::Pause { request: fetch.first(), until: Duration::ZERO };
            self.fetch = Some(SimFetch { offer, fetch, waits });
        }
        let now = self.clock.monotonic();
        match self.fetch.as_ref().map(|fetch| fetch.waits) {
            Some(FetchWaits::Pause { request, until }) if until <= now => self.ask(request),
            Some(FetchWaits::Answer { until, .. }) if until <= now => self.take(Err(CallFailed::Unknown)),
            _ => {}
        }
    }

    fn ask(&mut self, request: SnapshotRequest) {
        let Some(fetch) = &mut self.fetch else { return };
        self.last_number += 1;
        let (number, until) = (self.last_number, self.clock.monotonic() + SNAPSHOT_PIECE_DEADLINE);
        fetch.waits = FetchWaits::Answer { number, until };
        let leader = fetch.offer.leader;
        self.post(leader, number, request);
    }

    fn post(&self, to: NodeId, number: u64, request: SnapshotRequest) {
        let body = ParcelBody::Ask(number, request.encode().into());
        self.parcels.send(Parcel { from: self.node.value(), to: to.value(), body });
    }

    fn answered(&mut self, answered: u64, answer: Bytes) {
        let waits = self.fetch.as_ref().map(|fetch| fetch.waits);
        if matches!(waits, Some(FetchWaits::Answer { number, .. }) if number == answered) {
            self.take(Ok(answer));
        }
    }

    fn take(&mut self, answer: Result<Bytes, CallFailed>) {
        let Some(mut under_way) = self.fetch.take() else { return };
        let outcome = match under_way.fetch.take(answer) {
            Ok(FetchStep::Ask { request, pause }) => {
                let until = self.clock.monotonic() + pause;
                under_way.waits = FetchWaits::Pause { request, until };
                self.fetch = Some(under_way);
                return;
            }
            Ok(FetchStep::Complete { bytes }) => Ok(bytes),
            Err(error) => Err(error),
        };
        if let Some(refusal) = self.desk.both.taker.ended(under_way.offer, outcome) {
            self.last_number += 1;
            self.post(under_way.offer.leader, self.last_number, refusal);
        }
    }
}
