//! The cluster's MAC key: authenticates the state record and the manifests of snapshots, so that nobody without a KEK can
//! write one.
//!
//! ```text
//! applied row   HMAC-SHA256 under HKDF(MAC key, "", "sealkv applied")
//! manifest      HMAC-SHA256 under HKDF(MAC key, "", "sealkv manifest")
//! ```

use zeroize::Zeroizing;

use crate::crypto::aead::KEY_LEN;
use crate::crypto::derive::MAC_LEN;
use crate::crypto::derive::derive;
use crate::crypto::derive::hmac_sha256;
use crate::crypto::derive::hmac_verify;
use crate::crypto::keystore::Dek;

/// What is derived from the MAC key. Wiped on drop, never printed.
pub struct MacKey {
    applied: Zeroizing<[u8; KEY_LEN]>,
    manifest: Zeroizing<[u8; KEY_LEN]>,
}

impl MacKey {
    /// Derives the keys of its uses.
    #[must_use]
    pub fn new(key: &Dek) -> MacKey {
        let of = |label| derive(key.expose(), b"", label, &[]);
        MacKey { applied: of("sealkv applied"), manifest: of("sealkv manifest") }
    }

    /// The MAC of an applied row.
    #[must_use]
    pub fn tag_applied(&self, row: &[u8]) -> [u8; MAC_LEN] {
        hmac_sha256(&self.applied, &[row])
    }

    /// Whether that is the MAC of an applied row; compared in constant time.
    #[must_use]
    pub fn is_applied(&self, row: &[u8], tag: &[u8; MAC_LEN]) -> bool {
        hmac_verify(&self.applied, &[row], tag)
    }

    /// The MAC of a manifest.
    #[must_use]
    pub fn tag_manifest(&self, body: &[u8]) -> [u8; MAC_LEN] {
        hmac_sha256(&self.manifest, &[body])
    }

    /// Whether that is the MAC of a manifest; compared in constant time.
    #[must_use]
    pub fn is_manifest(&self, body: &[u8], tag: &[u8; MAC_LEN]) -> bool {
        hmac_verify(&self.manifest, &[body], tag)
    }
}

debug_fields!(self: MacKey {});
