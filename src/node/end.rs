//! Why a running node ends. The first reason that is reported counts, and the main thread acts on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::apply::halt::Halt;
use crate::exit::Blame;
use crate::keys::kek_facts::NoKekInCommon;
use crate::limits::ENDS_MAX;
use crate::node::book::Lost;
use crate::node::snapshot::SnapshotRefused;
use crate::raft::RaftFatal;
use crate::wal::WalError;
use crate::world::NotJoined;

/// A reason to end.
#[derive(Debug)]
pub enum End {
    /// SIGTERM or SIGINT: finish what is in flight.
    Signal,
    /// A snapshot is there to be installed: stop in order and start anew.
    Install,
    /// A part of the node cannot continue.
    Failure(NodeFailure),
}

/// A part of the node that cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum NodeFailure {
    /// The log is poisoned (SYNC-FATAL).
    #[error("log")]
    Log(#[source] WalError),
    /// Apply stands at an entry that it cannot apply.
    #[error(transparent)]
    Halt(Arc<Halt>),
    /// The disk of the state does not answer.
    #[error("the disk under {} has not answered for {} s", path.display(), waited.as_secs())]
    StateHung {
        /// Where it was asked.
        path: PathBuf,
        /// For how long.
        waited: Duration,
    },
    /// A thread does not end at a stop.
    #[error("the node cannot stop in order, {part}: {why}; everything that was acknowledged is in the log")]
    Hangs {
        /// Which.
        part: &'static str,
        /// What is wrong with it.
        why: NotJoined,
    },
    /// Operator: this node was given another KEK than most of its cluster.
    #[error("{others} of {voters} voters have no KEK in common with this node")]
    NoKekInCommon {
        /// Voters that have shown others.
        others: usize,
        /// All voters.
        voters: usize,
        /// What they show.
        source: NoKekInCommon,
    },
    /// Operator: the others remember more of this node than it has.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// Operator: a snapshot cannot be verified without a key that this node lacks.
    #[error("the snapshot that this node needs cannot be verified")]
    Snapshot(#[source] Arc<SnapshotRefused>),
    /// Agreement cannot continue.
    #[error("raft")]
    Raft(#[source] RaftFatal),
}

impl NodeFailure {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            NodeFailure::Halt(halt) => halt.blame(),
            NodeFailure::NoKekInCommon { .. } | NodeFailure::Lost(_) | NodeFailure::Snapshot(_) => Blame::Config,
            NodeFailure::Log(_) | NodeFailure::StateHung { .. } | NodeFailure::Hangs { .. } | NodeFailure::Raft(_) => {
                Blame::Damage
            }
        }
    }
}

/// Where ends are reported. The first one counts; later ones follow from it.
#[derive(Clone, Debug)]
pub struct Ends(Sender<End>);

impl Ends {
    /// The two sides.
    #[must_use]
    pub fn new() -> (Ends, Receiver<End>) {
        let (sender, receiver) = bounded(ENDS_MAX);
        (Ends(sender), receiver)
    }

    /// Reports `end`. Never blocks.
    pub fn end(&self, end: End) {
        if let Err(error) = self.0.try_send(end) {
            tracing::debug!(end = ?error.into_inner(), "one more end of a node that is ending");
        }
    }

    /// Reports that a part of the node cannot continue. Never blocks.
    pub fn fail(&self, failure: NodeFailure) {
        self.end(End::Failure(failure));
    }
}
