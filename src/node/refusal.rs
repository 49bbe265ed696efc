//! Why a node does not start, in one line that says what happened and what to do.

use std::io;
use std::path::PathBuf;

use crate::fsm::state::StateError;
use crate::fsm::store::StoreError;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::keys::codec::CodecError;
use crate::keys::kek::KekError;
use crate::keys::ring::InstallError;
use crate::keys::ring::KeyLack;
use crate::node::datadir::DataDirError;
use crate::node::exit::ExitStatus;
use crate::node::exit::Fatal;
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
    /// Damage: the state cannot be read.
    #[error("state/ cannot be opened: put it back, or replace this node by one with an empty directory")]
    Store(#[from] StoreError),
    /// Damage: the state has no record.
    #[error("state/ holds no applied position: put it back, or replace this node by one with an empty directory")]
    NoAppliedRow,
    /// The record, before its MAC could be checked.
    #[error("state/: the applied row {0}")]
    AppliedRow(#[source] CodecError),
    /// The keyring's bytes.
    #[error("state/: the keyring row {0}")]
    KeyringRow(#[source] CodecError),
    /// The record does not verify.
    #[error("state/")]
    State(#[from] StateError),
    /// Operator or damage: a key that the state needs.
    #[error("state/")]
    Key(#[from] KeyLack),
    /// The keyring cannot be used.
    #[error("state/")]
    Install(#[from] InstallError),
    /// Operator: directories were mixed.
    #[error("state/ belongs to cluster {state}, this node to {node}: put the node's own state/ back")]
    OtherCluster {
        /// Whose the state is.
        state: ClusterId,
        /// Whose the node is.
        node: ClusterId,
    },
    /// Damage: the state is too old for the log.
    #[error(
        "state/ is behind the log: applied {applied}, but the log begins behind {compacted}; an older state/ was put back"
    )]
    StateBehind {
        /// What the state holds.
        applied: Index,
        /// What the log no longer has.
        compacted: Index,
    },
    /// Damage: the log is too old for the state.
    #[error("state/ is ahead of the log: applied {applied}, but the log ends at {last}; its end was lost or put back")]
    StateAhead {
        /// What the state holds.
        applied: Index,
        /// The end of the log.
        last: Index,
    },
    /// Operator: log and state tell different stories.
    #[error("the keyring's cutover is {state}, the log's is {log}: log/ and state/ are not of one node and time")]
    Cutover {
        /// The keyring's; all ones = none.
        state: Index,
        /// The log's; all ones = none.
        log: Index,
    },
    /// Device: a part of a first start cannot be made.
    #[error("{path} cannot be made")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Fatal for Refusal {
    fn exit_status(&self) -> ExitStatus {
        match self {
            Refusal::Kek(error) => error.exit_status(),
            Refusal::Directory(error) => error.exit_status(),
            Refusal::Log(error) if error.is_configuration() => ExitStatus::Config,
            Refusal::State(error) => error.exit_status(),
            Refusal::Key(error) => error.exit_status(),
            Refusal::Install(error) => error.exit_status(),
            Refusal::AppliedRow(CodecError::Version { .. }) | Refusal::KeyringRow(CodecError::Version { .. }) => {
                ExitStatus::Config
            }
            Refusal::OtherCluster { .. } | Refusal::Cutover { .. } => ExitStatus::Config,
            Refusal::Log(_)
            | Refusal::Store(_)
            | Refusal::NoAppliedRow
            | Refusal::AppliedRow(_)
            | Refusal::KeyringRow(_)
            | Refusal::StateBehind { .. }
            | Refusal::StateAhead { .. }
            | Refusal::Make { .. } => ExitStatus::Damage,
        }
    }
}
