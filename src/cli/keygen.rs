//! `sealkv keygen FILE`: a fresh KEK in a new file that only its owner can read. Never overwrites.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::crypto::aead::KEY_LEN;
use crate::crypto::wrap::KekId;
use crate::keys::file::write_new;
use crate::keys::kek::from_bytes;
use crate::world::Entropy;

/// No KEK file was made.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// There is something under that name; it is untouched.
    #[error("{} is there already and was not touched: a KEK that is overwritten takes its data with it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("KEK file {} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

/// Writes 32 random bytes to a new file, mode 0600, durable with its name; returns the id of the KEK.
///
/// # Errors
/// [`KeygenError`]: no file was made, an existing one was not touched.
pub fn run(path: &Path, entropy: &dyn Entropy) -> Result<KekId, KeygenError> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    entropy.fill(&mut bytes[..]);
    write_new(path, &bytes[..]).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeygenError::Exists { path: path.to_owned() },
        _ => KeygenError::Write { path: path.to_owned(), source },
    })?;
    Ok(from_bytes(&bytes).id())
}

#[cfg(test)]
mod tests;
