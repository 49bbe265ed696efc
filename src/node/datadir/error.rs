//! Why a data directory is refused, and who must act.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::exit::Blame;
use crate::keys::file::FileKind;
use crate::keys::identity::IdentityError;

/// Why a start ends at its data directory. Nothing but LOCK was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Operator: it cannot be made or opened.
    #[error("data directory {} cannot be used", path.display())]
    Unusable {
        /// The directory, or LOCK in it.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Operator: something else has that name.
    #[error("data directory {} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Operator: two nodes cannot share a directory.
    #[error("data directory {} is in use by another process{holder}", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process id, in words, if it is known.
        holder: String,
    },
    /// Operator: probably the wrong path.
    #[error("data directory {} holds {} and no IDENTITY: it is not a data directory of sealkv, give another --data-dir", path.display(), name.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the names that do not belong there.
        name: PathBuf,
    },
    /// Operator: there is nothing to look at.
    #[error("data directory {} holds no node", path.display())]
    NoNode {
        /// The directory.
        path: PathBuf,
    },
    /// Damage: the identity is lost.
    #[error("data directory {} has a {} but no IDENTITY, without which they cannot be opened", path.display(), name.display())]
    WithoutIdentity {
        /// The directory.
        path: PathBuf,
        /// What was found of a node.
        name: PathBuf,
    },
    /// Damage: a part of a node is gone.
    #[error("data directory {} has an IDENTITY but no {name}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        name: &'static str,
    },
    /// Damage: a node whose IDENTITY bears the name of an unfinished one. Making it again would wipe it.
    #[error("data directory {} has an IDENTITY.new beside {found}, more than a first start leaves: it holds a node, and `mv IDENTITY.new IDENTITY` makes it one again", path.display())]
    NotUnfinished {
        /// The directory.
        path: PathBuf,
        /// What was found of the node.
        found: String,
    },
    /// Damage: IDENTITY is no regular file.
    #[error("{} is {kind}, expected a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
    /// See the source.
    #[error("data directory {}", path.display())]
    Identity {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// Damage, or a device that fails.
    #[error("{} cannot be {action}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

impl DataDirError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            DataDirError::Unusable { source, .. } if is_device(source) => Blame::Damage,
            DataDirError::Unusable { .. }
            | DataDirError::NotADirectory { .. }
            | DataDirError::Locked { .. }
            | DataDirError::NoNode { .. }
            | DataDirError::Foreign { .. } => Blame::Config,
            DataDirError::Identity { source, .. } => source.blame(),
            DataDirError::WithoutIdentity { .. }
            | DataDirError::NotUnfinished { .. }
            | DataDirError::Missing { .. }
            | DataDirError::NotAFile { .. }
            | DataDirError::Io { .. } => Blame::Damage,
        }
    }
}

/// Whether the disk is the reason, not the operator.
fn is_device(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::NOSPC | Errno::DQUOT | Errno::NXIO))
}
