//! What the metrics say of snapshots.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::node::families::Families;

/// Counters of both sides since this process began.
#[derive(Debug, Default)]
pub(crate) struct SnapshotNumbers {
    /// Made for members that lag.
    pub(crate) made: AtomicU64,
    /// Of pieces that were read for them.
    pub(super) given_bytes: AtomicU64,
    /// Of pieces that came.
    pub(super) fetched_bytes: AtomicU64,
    /// Of the snapshot that is being fetched: what is there, and all of it. Zero if none is.
    pub(super) present_bytes: AtomicU64,
    pub(super) expected_bytes: AtomicU64,
    /// Transfers that ended before everything was there.
    pub(crate) cut_off: AtomicU64,
    /// Snapshots or files that were not what their manifest says.
    pub(super) refused: AtomicU64,
}

impl SnapshotNumbers {
    /// Adds the families.
    pub(crate) fn show(&self, out: &mut Families) {
        let load = |number: &AtomicU64| number.load(Relaxed);
        out.counter("sealkv_snapshot_made_total", "Snapshots made for members that lag", load(&self.made));
        let given = load(&self.given_bytes);
        out.counter("sealkv_snapshot_given_bytes_total", "Bytes of snapshots given to members", given);
        let fetched = load(&self.fetched_bytes);
        out.counter("sealkv_snapshot_fetched_bytes_total", "Bytes of snapshots fetched from a leader", fetched);
        let present = load(&self.present_bytes);
        out.gauge("sealkv_snapshot_present_bytes", "Bytes that are here of a snapshot being fetched", present);
        let expected = load(&self.expected_bytes);
        out.gauge(
            "sealkv_snapshot_expected_bytes",
            "Bytes of the snapshot that is being fetched, 0 if none is",
            expected,
        );
        out.counter("sealkv_snapshot_cut_off_total", "Fetches that ended before all was there", load(&self.cut_off));
        out.counter("sealkv_snapshot_refused_total", "Snapshots or files that were refused", load(&self.refused));
    }
}
