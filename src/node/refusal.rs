//! Why a node does not start, in one line that says what happened and what to do.

use std::io;
use std::path::PathBuf;

use crate::apply::load::LoadError;
use crate::exit::Blame;
use crate::fsm::store::StoreError;
use crate::keys::kek::KekError;
use crate::node::agree::Disagreement;
use crate::node::datadir::DataDirError;
use crate::wal::WalError;

/// A start that ends before it began.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Operator: the KEK.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// The directory; see the source.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The log; see the source.
    #[error("log")]
    Log(#[from] WalError),
    /// Device: the log of a first start cannot be made. What there is of it is removed by the next one.
    #[error("the log, {need_bytes} bytes in {}, cannot be made: free space or choose smaller --log-slots and --log-slot-bytes, then start again", path.display())]
    MakeLog {
        /// Its directory.
        path: PathBuf,
        /// What it takes.
        need_bytes: u64,
        /// Why.
        source: WalError,
    },
    /// Damage: the state cannot be read.
    #[error("state/ cannot be opened: put it back, or replace this node by one with an empty directory")]
    Store(#[from] StoreError),
    /// The state record cannot be used.
    #[error("state/")]
    Load(#[from] LoadError),
    /// Identity, log and state do not belong together.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// Device: a part of a first start cannot be made.
    #[error("{path} cannot be made")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Refusal {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Refusal::Kek(error) => error.blame(),
            Refusal::Directory(error) => error.blame(),
            Refusal::Log(error) | Refusal::MakeLog { source: error, .. } => error.blame(),
            Refusal::Load(error) => error.blame(),
            Refusal::Disagreement(error) => error.blame(),
            Refusal::Store(_) | Refusal::Make { .. } => Blame::Damage,
        }
    }
}
