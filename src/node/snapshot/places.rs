//! Where the parts of a state and of its snapshots lie.

use std::path::PathBuf;

use crate::node::datadir::DataDir;

/// The folders that snapshots are made in, received in and installed from. All are in one folder.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotPlaces {
    /// The state.
    pub(crate) state: PathBuf,
    /// A snapshot that is being received.
    pub(crate) incoming: PathBuf,
    /// A snapshot that members fetch.
    pub(crate) outgoing: PathBuf,
    /// The state before an install.
    pub(crate) old: PathBuf,
}

impl SnapshotPlaces {
    /// Those of a data directory.
    pub(crate) fn of(directory: &DataDir) -> SnapshotPlaces {
        let (state, incoming) = (directory.state(), directory.incoming());
        SnapshotPlaces { state, incoming, outgoing: directory.outgoing(), old: directory.old() }
    }
}
