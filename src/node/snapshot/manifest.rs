//! What a snapshot consists of. The bytes, big-endian:
//!
//! ```text
//! version(1), 1
//! cutover(8), the largest number if there is none
//! length(4) of the applied row, the row as drawn in `fsm/state.rs`: cluster, position, members, digest of the keyring
//! count(4), of each file: length of name(1) name, bytes(8), SHA-256 over its pieces(32)
//! with a keyring: HMAC-SHA256 (32) over all before it, as drawn in `keys/mac.rs`
//! ```
//!
//! Files lie in one directory; a name has letters, digits, dots, hyphens and underscores, and does not begin with a dot. The
//! applied row is the one that is in the files. So keyring and rows are of one index, and both are named here.

use std::io;
use std::path::Path;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::derive::MAC_LEN;
use crate::crypto::digest::ContentDigest;
use crate::fsm::state::Applied;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::mac::MacKey;
use crate::limits::LOG_NUMBER_MAX;
use crate::limits::SNAPSHOT_FILE_BYTES_MAX;
use crate::limits::SNAPSHOT_FILES_MAX;
use crate::limits::SNAPSHOT_NAME_BYTES_MAX;
use crate::limits::SNAPSHOT_PIECE_BYTES;
use crate::limits::SNAPSHOT_ROW_BYTES_MAX;
use crate::node::snapshot::disk::SnapshotDisk;

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotManifest {
    /// [`Index::NEVER`] if there is none.
    pub(crate) cutover: Index,
    /// Everything up to its position is in the files.
    pub(crate) applied: Applied,
    /// In the order of their names.
    pub(crate) files: Vec<SnapshotFile>,
    row: Vec<u8>,
    tag: Option<[u8; MAC_LEN]>,
}

/// One of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) digest: [u8; 32],
}

impl SnapshotManifest {
    /// Of the files in `folder`, which are read whole. `row` is the applied row in them, `mac` the cluster's key if that row
    /// names a keyring.
    ///
    /// # Errors
    /// The kernel's, and something in it that no snapshot has.
    pub(crate) fn of(
        disk: &dyn SnapshotDisk,
        folder: &Path,
        row: Vec<u8>,
        cutover: Index,
        mac: Option<&MacKey>,
    ) -> io::Result<SnapshotManifest> {
        let mut files = Vec::new();
        for name in names_in(disk, folder)? {
            let (bytes, digest) = digest_of(disk, &folder.join(&name))?;
            files.push(SnapshotFile { name, bytes, digest });
        }
        let applied = Applied::decode(&row).map_err(io::Error::other)?;
        assert_eq!(applied.keyring_digest.is_some(), mac.is_some(), "a keyring brings its MAC key");
        let mut manifest = SnapshotManifest { cutover, applied, files, row, tag: None };
        manifest.tag = mac.map(|mac| mac.tag_manifest(&manifest.body()));
        Ok(manifest)
    }

    /// Everything up to here is in the files.
    pub(crate) fn position(&self) -> Position {
        self.applied.position
    }

    /// All bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether `mac` is the key that authenticated it.
    pub(crate) fn is_authentic(&self, mac: &MacKey) -> bool {
        self.tag.as_ref().is_some_and(|tag| mac.is_manifest(&self.body(), tag))
    }

    /// The bytes drawn above.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        self.tag.iter().for_each(|tag| out.extend_from_slice(tag));
        out
    }

    fn body(&self) -> Vec<u8> {
        let count = |count: usize| u32::try_from(count).expect("bounded where it is made").to_be_bytes();
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.cutover.0.to_be_bytes());
        out.extend_from_slice(&count(self.row.len()));
        out.extend_from_slice(&self.row);
        out.extend_from_slice(&count(self.files.len()));
        for file in &self.files {
            out.push(u8::try_from(file.name.len()).expect("checked where it is made"));
            out.extend_from_slice(file.name.as_bytes());
            out.extend_from_slice(&file.bytes.to_be_bytes());
            out.extend_from_slice(&file.digest);
        }
        out
    }

    /// Reads them. Nothing is authenticated yet.
    ///
    /// # Errors
    /// [`CodecError`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<SnapshotManifest, CodecError> {
        let mut reader = Reader::new(bytes);
        let found = reader.u8("version of a manifest")?;
        if found != VERSION {
            return Err(CodecError::Version { found: u32::from(found), expected: u32::from(VERSION) });
        }
        let cutover = Index(reader.u64("cutover")?);
        let length = reader.u32("length of the applied row")? as usize;
        if length > SNAPSHOT_ROW_BYTES_MAX {
            return Err(CodecError::Field { field: "length of the applied row" });
        }
        let row = reader.slice(length, "applied row")?.to_vec();
        let applied = Applied::decode(&row)?;
        if applied.position.term.0 > LOG_NUMBER_MAX || applied.position.index.0 > LOG_NUMBER_MAX {
            return Err(CodecError::Field { field: "position" });
        }
        let files = take_files(&mut reader)?;
        let tag = match applied.keyring_digest {
            Some(_) => Some(reader.array("MAC of a manifest")?),
            None => None,
        };
        reader.end()?;
        Ok(SnapshotManifest { cutover, applied, files, row, tag })
    }
}

fn take_files(reader: &mut Reader<'_>) -> Result<Vec<SnapshotFile>, CodecError> {
    let count = reader.count(42, "files")? as usize;
    if count > SNAPSHOT_FILES_MAX {
        return Err(CodecError::Field { field: "files" });
    }
    let mut files: Vec<SnapshotFile> = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::from(reader.u8("length of a name")?);
        let name = String::from_utf8_lossy(reader.slice(length, "name")?).into_owned();
        let is_behind = files.last().is_none_or(|before| before.name < name);
        if !is_name(&name) || !is_behind {
            return Err(CodecError::Field { field: "name" });
        }
        let bytes = reader.u64("bytes of a file")?;
        if bytes > SNAPSHOT_FILE_BYTES_MAX {
            return Err(CodecError::Field { field: "bytes of a file" });
        }
        files.push(SnapshotFile { name, bytes, digest: reader.array("digest")? });
    }
    Ok(files)
}

/// The names of the files in a folder, in their order.
///
/// # Errors
/// The kernel's; a name that no file of a snapshot has; too many.
pub(super) fn names_in(disk: &dyn SnapshotDisk, folder: &Path) -> io::Result<Vec<String>> {
    let mut names = disk.names(folder)?;
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        return Err(io::Error::other(format!("{name:?} cannot be a file of a snapshot")));
    }
    if names.len() > SNAPSHOT_FILES_MAX {
        return Err(io::Error::other(format!("{} files are too many for a snapshot", names.len())));
    }
    names.sort_unstable();
    Ok(names)
}

/// Length and digest of a file, read piece by piece.
pub(super) fn digest_of(disk: &dyn SnapshotDisk, path: &Path) -> io::Result<(u64, [u8; 32])> {
    let (mut digest, mut bytes) = (ContentDigest::default(), 0);
    loop {
        let piece = disk.read(path, bytes, SNAPSHOT_PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok((bytes, digest.finish()));
        }
        bytes += piece.len() as u64;
        digest.add(&piece);
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !name.is_empty() && name.len() <= SNAPSHOT_NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(is_letter)
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::crypto::keystore::Dek;
    use crate::fsm::rocks::RocksOptions;
    use crate::ids::NodeId;
    use crate::ids::Term;
    use crate::keys::tests::kit::CLEAR_NAMES;
    use crate::keys::tests::kit::CLUSTER;
    use crate::members::Members;
    use crate::node::snapshot::files::SnapshotFiles;
    use crate::testing::seed::Seeded;

    fn applied(keyring_digest: Option<[u8; 32]>) -> Applied {
        let founders = Members::founders(&[1, 2, 3].map(|id| NodeId::new(id).unwrap()));
        let mut applied = Applied::founding(CLUSTER, CLEAR_NAMES, founders, Vec::new());
        applied.position = Position { term: Term(3), index: Index(99) };
        applied.keyring_digest = keyring_digest;
        applied
    }

    fn disk() -> SnapshotFiles {
        SnapshotFiles::new(RocksOptions::default())
    }

    fn manifest() -> (tempfile::TempDir, MacKey, SnapshotManifest) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("000007.sst"), vec![1; 3 << 20]).unwrap();
        fs::write(folder.path().join("CURRENT"), "MANIFEST-000001\n").unwrap();
        let mac = MacKey::new(&Dek::new(&[9; 32]));
        let row = applied(Some([1; 32])).encode(Some(&mac));
        let manifest = SnapshotManifest::of(&disk(), folder.path(), row, Index(7), Some(&mac)).unwrap();
        (folder, mac, manifest)
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_and_knows_every_byte() {
        let (folder, mac, manifest) = manifest();
        assert_eq!(SnapshotManifest::decode(&manifest.encode()), Ok(manifest.clone()));
        assert_eq!(manifest.bytes(), (3 << 20) + 16);
        fs::write(folder.path().join("CURRENT"), "MANIFEST-000002\n").unwrap();
        let other = SnapshotManifest::of(&disk(), folder.path(), manifest.row.clone(), Index(7), Some(&mac)).unwrap();
        assert_ne!(other, manifest);
    }

    #[test]
    fn a_manifest_without_a_keyring_has_no_mac() {
        let folder = tempfile::tempdir().unwrap();
        let row = applied(None).encode(None);
        let manifest = SnapshotManifest::of(&disk(), folder.path(), row, Index::NEVER, None).unwrap();
        assert_eq!(SnapshotManifest::decode(&manifest.encode()), Ok(manifest.clone()));
        assert!(!manifest.is_authentic(&MacKey::new(&Dek::new(&[9; 32]))));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let (_, _, manifest) = manifest();
        for bad in ["../x", "a/b", ".hidden", "", "x y", &"n".repeat(65)] {
            let mut manifest = manifest.clone();
            manifest.files[1].name = bad.to_owned();
            assert_eq!(SnapshotManifest::decode(&manifest.encode()), Err(CodecError::Field { field: "name" }), "{bad}");
        }
    }

    #[test]
    fn changed_bytes_of_a_manifest_are_refused() {
        let (_, mac, manifest) = manifest();
        let good = manifest.encode();
        assert!(manifest.is_authentic(&mac));
        assert!(!manifest.is_authentic(&MacKey::new(&Dek::new(&[8; 32]))), "of another cluster");
        let chance = Seeded::fresh();
        for _ in 0..5000 {
            let mut bytes = good.clone();
            bytes.truncate(1 + chance.below(bytes.len() as u64) as usize);
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] = chance.below(256) as u8;
            if let Ok(read) = SnapshotManifest::decode(&bytes) {
                assert_eq!(read.encode(), bytes);
                assert_eq!(read.is_authentic(&mac), bytes == good);
            }
        }
    }
}
