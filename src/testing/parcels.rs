//! Questions and answers between nodes of one process that are no messages of raft. They take their time, get lost and meet
//! partitions as those do ([`crate::testing::net`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;

use crate::testing::net::Network;

/// What is under way.
#[derive(Clone, Debug)]
pub(super) enum ParcelBody {
    /// A question, by the number that its sender gave it.
    Ask(u64, Bytes),
    /// And the answer to it.
    Answer(u64, Bytes),
}

/// With its ends.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) body: ParcelBody,
}

/// The way of parcels. A clone is the same way.
#[derive(Clone)]
pub(super) struct Parcels {
    network: Network,
    under_way: Arc<Mutex<BTreeMap<(u64, u64), Parcel>>>,
}

debug_fields!(self: Parcels { under_way: self.lock().len() });

impl Parcels {
    /// Over that network.
    pub(super) fn new(network: Network) -> Parcels {
        Parcels { network, under_way: Arc::default() }
    }

    /// Sends one, or loses it.
    pub(super) fn send(&self, parcel: Parcel) {
        let Some(arrival) = self.network.arrival() else { return };
        let mut under_way = self.lock();
        let last = under_way.range((arrival, 0)..=(arrival, u64::MAX)).next_back();
        let number = last.map_or(0, |((_, number), _)| number + 1);
        under_way.insert((arrival, number), parcel);
    }

    /// What has arrived at `node`. What meets a partition now is lost.
    pub(super) fn take(&self, node: u64) -> Vec<Parcel> {
        let now = self.network.now_ms();
        let arrived: Vec<Parcel> = {
            let mut under_way = self.lock();
            under_way.extract_if(..=(now, u64::MAX), |_, parcel| parcel.to == node).map(|(_, parcel)| parcel).collect()
        };
        arrived.into_iter().filter(|parcel| self.network.reaches(parcel.from, parcel.to)).collect()
    }

    /// The process of a node ends, and its connections with it.
    pub(super) fn forget(&self, node: u64) {
        self.lock().retain(|_, parcel| parcel.from != node && parcel.to != node);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Parcel>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
