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
use crate::node::remedy::PUT_BACK;
use crate::node::remedy::by_cause;
use crate::node::snapshot::SnapshotRefused;
use crate::peers::PeersRefused;
use crate::tls::TlsRefused;
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
    #[error("{setting} {}: {why}", path.display())]
    Password {
        /// Whose file it is.
        setting: &'static str,
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
    /// Operator: fewer threads than the node needs.
    #[error(
        "only {made} threads can be made, the node needs {need}: raise the limit of processes (ulimit -u, TasksMax=, the pids limit of the container) or of address space (ulimit -v)"
    )]
    Threads {
        /// How many could be made.
        made: usize,
        /// How many it needs.
        need: usize,
    },
    /// Operator: too little address space.
    #[error(
        "the address space is limited to {limit} bytes, the node needs {need}: raise the limit (ulimit -v, LimitAS=)"
    )]
    AddressSpace {
        /// What the process may have.
        limit: u64,
        /// What it needs.
        need: u64,
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
    #[error("the log, {need_bytes} bytes in {}, cannot be made: smaller --log-slots and --log-slot-bytes need less", path.display())]
    MakeLog {
        /// Its directory.
        path: PathBuf,
        /// What it takes.
        need_bytes: u64,
        /// Why.
        source: WalError,
    },
    /// Damage: the state cannot be read.
    #[error("state/ cannot be opened")]
    Base(#[from] BaseError),
    /// The disk or the operator: RocksDB would fail at its first write, and leave a file more at each start.
    #[error("nothing can be written in {}", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state record cannot be used.
    #[error("state/")]
    Load(#[from] LoadError),
    /// Operator: a received snapshot cannot be verified without a key.
    #[error("the snapshot in incoming/ cannot be installed")]
    Snapshot(#[source] SnapshotRefused),
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
    /// Operator: the address for the peers, or their certificates.
    #[error("peer-listen")]
    Peers(#[from] PeersRefused),
    /// Operator: the certificates for clients.
    #[error("tls-listen")]
    ClientTls(#[source] TlsRefused),
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
            Refusal::Tier(_)
            | Refusal::Password { .. }
            | Refusal::Descriptors { .. }
            | Refusal::Threads { .. }
            | Refusal::AddressSpace { .. }
            | Refusal::Peers(_)
            | Refusal::ClientTls(_)
            | Refusal::Snapshot(_)
            | Refusal::Address { .. } => Blame::Config,
            Refusal::Kek(error) => error.blame(),
            Refusal::Directory(error) => error.blame(),
            Refusal::Log(error) | Refusal::MakeLog { source: error, .. } => error.blame(),
            Refusal::Load(error) => error.blame(),
            Refusal::Disagreement(error) => error.blame(),
            Refusal::Failure(failure) => failure.blame(),
            Refusal::Base(_) | Refusal::Unwritable { .. } | Refusal::Make { .. } => Blame::Damage,
        }
    }

    /// What the operator does about it, where the error itself does not say.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        let by_kind = match self {
            Refusal::Kek(_) | Refusal::Password { .. } | Refusal::Address { .. } => return None,
            Refusal::Log(WalError::WrongKey { .. } | WalError::Foreign { .. }) => {
                Some("put back the log/ that belongs to this IDENTITY")
            }
            Refusal::Log(
                WalError::Refused { .. }
                | WalError::SlotMissing { .. }
                | WalError::NoSegment
                | WalError::NoEntry { .. },
            )
            | Refusal::Base(_)
            | Refusal::Load(_)
            | Refusal::Directory(DataDirError::WithoutIdentity { .. } | DataDirError::Missing { .. })
            | Refusal::Disagreement(
                Disagreement::StateBehindLog { .. }
                | Disagreement::StateAheadOfLog { .. }
                | Disagreement::OtherHistory { .. }
                | Disagreement::ClientsBeforeKeys { .. }
                | Disagreement::Cutover { .. },
            ) if self.blame() == Blame::Damage || matches!(self, Refusal::Disagreement(_)) => Some(PUT_BACK),
            _ => None,
        };
        by_cause(self).or(by_kind)
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
