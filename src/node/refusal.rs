//! Why a node does not start, in one line that says what happened and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::apply::load::LoadError;
use crate::crypto::aead::TierError;
use crate::crypto::selftest::SelfTestError;
use crate::exit::Blame;
use crate::fsm::base::BaseError;
use crate::keys::kek::KekError;
use crate::node::agree::Disagreement;
use crate::node::datadir::DataDirError;
use crate::node::end::NodeFailure;
use crate::wal::WalError;

/// A node that does not start. Nothing was changed, unless it was its first start or the replay had begun.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Operator: the tier cannot be had here; damage: it gives wrong answers.
    #[error("aead-tier")]
    Tier(#[source] TierError),
    /// Damage: the code or the machine computes wrong answers.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    /// Operator: the KEK.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// Operator: the password file.
    #[error("requirepass-file {}: {why}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Operator: no descriptor is left for a client. A node that runs out of them could not open a table of its own state.
    #[error(
        "open files are limited to {allowed}, the node needs {own} and one for each client: raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)"
    )]
    Descriptors {
        /// How many the process may open.
        allowed: u64,
        /// How many it needs itself.
        own: u64,
    },
    /// Operator: an address cannot be taken.
    #[error("{name} {address}: {reason}{}: give another --{name}", hint(reason))]
    Address {
        /// The setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// The kernel's reason.
        reason: io::Error,
    },
    /// The directory; see the source.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The log; see the source.
    #[error("log")]
    Log(#[from] WalError),
    /// Device: the log of a first start cannot be made. The next start removes what there is of it.
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
    Base(#[from] BaseError),
    /// The state record cannot be used.
    #[error("state/")]
    Load(#[from] LoadError),
    /// Identity, log and state do not belong together.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// Device: a directory, a thread or a listener cannot be made.
    #[error("{what}")]
    Make {
        /// Which, and that it cannot be made.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The replay halted, or agreement cannot begin.
    #[error(transparent)]
    Failure(#[from] NodeFailure),
}

impl Refusal {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Refusal::Tier(TierError::Wrong { .. }) | Refusal::SelfTest(_) => Blame::Damage,
            Refusal::Tier(_) | Refusal::Password { .. } | Refusal::Descriptors { .. } | Refusal::Address { .. } => {
                Blame::Config
            }
            Refusal::Kek(error) => error.blame(),
            Refusal::Directory(error) => error.blame(),
            Refusal::Log(error) | Refusal::MakeLog { source: error, .. } => error.blame(),
            Refusal::Load(error) => error.blame(),
            Refusal::Disagreement(error) => error.blame(),
            Refusal::Failure(failure) => failure.blame(),
            Refusal::Base(_) | Refusal::Make { .. } => Blame::Damage,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process has it; is this node running already?)",
        io::ErrorKind::AddrNotAvailable => " (not an address of this machine)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need the right to bind them)",
        _ => "",
    }
}
