//! What the nodes of a simulated cluster share.

use crate::testing::net::Network;
use crate::testing::parcels::Parcels;
use crate::testing::record::Record;
use crate::testing::sealings::Sealings;

/// See the head of this file. A clone is the same.
#[derive(Clone, Debug)]
pub struct SharedBySimNodes {
    /// The way of raft's messages.
    pub(in crate::testing) network: Network,
    /// The way of what else they ask each other.
    pub(in crate::testing) parcels: Parcels,
    /// What they sealed.
    pub(in crate::testing) sealings: Sealings,
    /// What they did.
    pub(in crate::testing) record: Record,
}

impl SharedBySimNodes {
    /// For a new cluster.
    #[must_use]
    pub fn over(network: Network) -> SharedBySimNodes {
        let (parcels, sealings) = (Parcels::new(network.clone()), Sealings::default());
        SharedBySimNodes { parcels, network, sealings, record: Record::default() }
    }
}
