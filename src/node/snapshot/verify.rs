//! Whether a snapshot may become the state of this node. The same checks twice: when it was received, and once more before
//! the log begins anew behind it.
//!
//! ```text
//! manifest   of this cluster; it knows the cutover that is known here; with a KEK it brings a keyring
//! files      exactly those of the manifest, each with its length and digest
//! state      opens, its record is authentic, its applied row and cutover are those of the manifest
//! MAC        of the manifest, under the MAC key that the keyring in the state holds
//! ```

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::apply::load::LoadError;
use crate::apply::load::load;
use crate::codec::CodecError;
use crate::exit::Blame;
use crate::fsm::base::BaseError;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::keys::node_keys::NodeKeys;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::snapshot::manifest::SnapshotFile;
use crate::node::snapshot::manifest::SnapshotManifest;
use crate::node::snapshot::manifest::digest_of;
use crate::node::snapshot::manifest::names_in;

/// Why a snapshot is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotRefused {
    /// Damage, or a newer version.
    #[error("its manifest {0}")]
    Malformed(#[from] CodecError),
    /// Of another cluster.
    #[error("it is of cluster {offered}, this node is in {known}")]
    OtherCluster {
        /// In the manifest.
        offered: ClusterId,
        /// This node's.
        known: ClusterId,
    },
    /// The cutover that is known here is another, or not in it (NO-WAY-DOWN).
    #[error("it knows cutover {offered}, this node knows {known}")]
    OtherCutover {
        /// In the manifest.
        offered: Index,
        /// Known here.
        known: Index,
    },
    /// Nothing authenticates it, which a node with a KEK does not take.
    #[error("it brings no keyring, and this node has a KEK")]
    WithoutKeys,
    /// Damage or forgery.
    #[error("the MAC of its manifest is wrong")]
    Unauthentic,
    /// Damage: a file is not the one of the manifest.
    #[error("{name} is not what its manifest says")]
    File {
        /// Which.
        name: String,
    },
    /// Damage: the state in its files is another one.
    #[error("its state is at {state}, its manifest at {manifest}, or they differ otherwise")]
    OtherState {
        /// Applied index of the state.
        state: Index,
        /// Applied index in the manifest.
        manifest: Index,
    },
    /// The state in its files.
    #[error("its state cannot be opened")]
    Base(#[from] BaseError),
    /// The record of that state.
    #[error("its state")]
    Load(#[from] LoadError),
    /// The disk.
    #[error("{}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl SnapshotRefused {
    /// Whether this node lacks a key: no other snapshot would help.
    #[must_use]
    pub fn is_lack_of_a_key(&self) -> bool {
        matches!(self, SnapshotRefused::Load(error @ LoadError::Key(_)) if error.blame() == Blame::Config)
    }
}

/// What a node knows before it gets a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownHere<'a> {
    /// Its keys; they stay as they are.
    pub(super) node_keys: &'a NodeKeys,
    /// [`Index::NEVER`] if it knows none.
    pub(super) cutover: Index,
}

impl KnownHere<'_> {
    /// What can be said before any file is there.
    pub(super) fn check_manifest(&self, manifest: &SnapshotManifest) -> Result<(), SnapshotRefused> {
        let (offered, known) = (manifest.applied.cluster, self.node_keys.cluster());
        if offered != known {
            return Err(SnapshotRefused::OtherCluster { offered, known });
        }
        let (offered, known) = (manifest.cutover, self.cutover);
        if known != Index::NEVER && offered != known {
            return Err(SnapshotRefused::OtherCutover { offered, known });
        }
        let keys = self.node_keys.current();
        if keys.has_kek() && manifest.applied.keyring_digest.is_none() {
            return Err(SnapshotRefused::WithoutKeys);
        }
        // The MAC key of a cluster never changes. Who joins has none yet: it is in the state that comes.
        match keys.mac_key() {
            Ok(Some(mac)) if !manifest.is_authentic(&mac) => Err(SnapshotRefused::Unauthentic),
            _ => Ok(()),
        }
    }

    /// The state in `folder`, once all files are there.
    pub(super) fn check_state(
        &self,
        disk: &dyn SnapshotDisk,
        folder: &Path,
        manifest: &SnapshotManifest,
    ) -> Result<(), SnapshotRefused> {
        let base = disk.look_at(folder)?;
        let untouched = self.node_keys.untouched();
        let record = load(&*base, &untouched)?;
        if record.applied != manifest.applied || untouched.cutover() != manifest.cutover {
            let (state, manifest) = (record.applied.position.index, manifest.applied.position.index);
            return Err(SnapshotRefused::OtherState { state, manifest });
        }
        match &record.mac {
            Some(mac) if !manifest.is_authentic(mac) => Err(SnapshotRefused::Unauthentic),
            _ => Ok(()),
        }
    }
}

/// Whether `folder` holds exactly the files of the manifest.
pub(super) fn check_files(
    disk: &dyn SnapshotDisk,
    folder: &Path,
    manifest: &SnapshotManifest,
) -> Result<(), SnapshotRefused> {
    check_names(disk, folder, manifest)?;
    manifest.files.iter().try_for_each(|file| check_file(disk, &folder.join(&file.name), file))
}

/// Whether `folder` holds nothing but files of the manifest.
pub(super) fn check_names(
    disk: &dyn SnapshotDisk,
    folder: &Path,
    manifest: &SnapshotManifest,
) -> Result<(), SnapshotRefused> {
    let names = names_in(disk, folder).map_err(|source| SnapshotRefused::Io { path: folder.to_owned(), source })?;
    let is_listed = |name: &String| manifest.files.iter().any(|file| file.name == *name);
    names.into_iter().find(|name| !is_listed(name)).map_or(Ok(()), |name| Err(SnapshotRefused::File { name }))
}

/// Whether the file at `path` is that one.
pub(super) fn check_file(disk: &dyn SnapshotDisk, path: &Path, file: &SnapshotFile) -> Result<(), SnapshotRefused> {
    match digest_of(disk, path) {
        Ok(found) if found == (file.bytes, file.digest) => Ok(()),
        Ok(_) => Err(SnapshotRefused::File { name: file.name.clone() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SnapshotRefused::File { name: file.name.clone() }),
        Err(source) => Err(SnapshotRefused::Io { path: path.to_owned(), source }),
    }
}
