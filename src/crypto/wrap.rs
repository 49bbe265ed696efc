//! Keys wrapped by the key-encryption key: the only form in which a DEK or a log key is ever written.
//!
//! ```text
//! off  size  field
//! 0    8     kek_id
//! 8    12    nonce, kernel-random
//! 20   32    ciphertext
//! 52   16    GCM tag; AAD = label | kek_id | parts, such as "sealkv dek" | kek_id | cluster(16) | key_id(4) | purpose(1)
//! ```

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::crypto::aead;
use crate::crypto::aead::Aead;
use crate::crypto::aead::KEY_LEN;
use crate::crypto::aead::Message;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::Verdict;
use crate::crypto::derive::CHECK_LEN;
use crate::crypto::derive::derive;
use crate::crypto::keystore::Dek;
use crate::ids::ClusterId;

/// Bytes of a wrapped key.
pub const WRAPPED_LEN: usize = KEK_ID_LEN + NONCE_LEN + KEY_LEN + TAG_LEN;
/// Bytes of a KEK's id.
pub const KEK_ID_LEN: usize = 8;

/// Names a KEK; a node can hold several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KekId(pub [u8; KEK_ID_LEN]);

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A wrapped key does not unwrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// Operator: give the node the KEK that wrapped it.
    #[error("wrapped by key-encryption key {wrapped_by}, this is {kek_id}")]
    OtherKek {
        /// The KEK that is needed.
        wrapped_by: KekId,
        /// The KEK that was tried.
        kek_id: KekId,
    },
    /// Changed bytes, another place, or another KEK under the same id.
    #[error("the wrapped key is not authentic")]
    Unauthentic,
}

/// A key-encryption key. Its bytes stand in memory once, as a [`Dek`] does; it is expanded for each use, which is rare, and
/// that is wiped at once. Never printed.
pub struct Kek {
    id: KekId,
    bytes: Dek,
}

impl Kek {
    /// Copies 32 bytes; the caller wipes its own copy.
    #[must_use]
    pub fn new(id: KekId, bytes: &[u8; KEY_LEN]) -> Kek {
        Kek { id, bytes: Dek::new(bytes) }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KekId {
        self.id
    }

    /// Shows other members that this node holds the KEK: `HKDF(KEK, "", "sealkv kek check", cluster)`.
    #[must_use]
    pub fn check(&self, cluster: ClusterId) -> [u8; CHECK_LEN] {
        *derive(self.bytes.expose(), b"", "sealkv kek check", &[&cluster.0])
    }

    /// Wraps a key; `nonce` is 12 kernel-random bytes, drawn for it.
    #[must_use]
    pub fn wrap(&self, nonce: [u8; NONCE_LEN], label: &str, parts: &[&[u8]], key: &Dek) -> [u8; WRAPPED_LEN] {
        let mut wrapped = [0; WRAPPED_LEN];
        wrapped[..KEK_ID_LEN].copy_from_slice(&self.id.0);
        wrapped[KEK_ID_LEN..NONCE_END].copy_from_slice(&nonce);
        wrapped[NONCE_END..NONCE_END + KEY_LEN].copy_from_slice(key.expose());
        let aad = self.aad(label, parts);
        let text_inout = &mut wrapped[NONCE_END..];
        self.expanded().seal_batch(&mut [Message { nonce, aad: &aad, text_inout }]);
        wrapped
    }

    /// Unwraps a key under the same label and parts.
    ///
    /// # Errors
    /// [`WrapError`]: by another KEK, or not authentic.
    pub fn unwrap(&self, label: &str, parts: &[&[u8]], wrapped: &[u8; WRAPPED_LEN]) -> Result<Dek, WrapError> {
        let (wrapped_by, rest) = wrapped.split_first_chunk::<KEK_ID_LEN>().expect("68 bytes");
        let wrapped_by = KekId(*wrapped_by);
        if wrapped_by != self.id {
            return Err(WrapError::OtherKek { wrapped_by, kek_id: self.id });
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().expect("60 bytes");
        let mut text = Zeroizing::new([0; KEY_LEN + TAG_LEN]);
        text.copy_from_slice(sealed);
        let aad = self.aad(label, parts);
        let mut verdicts = [Verdict::Unauthentic];
        self.expanded().open_batch(&mut [Message { nonce: *nonce, aad: &aad, text_inout: &mut *text }], &mut verdicts);
        match verdicts {
            [Verdict::Authentic] => Ok(Dek::new(text.first_chunk().expect("48 bytes"))),
            _ => Err(WrapError::Unauthentic),
        }
    }

    fn expanded(&self) -> Arc<dyn Aead> {
        aead::key(self.bytes.expose())
    }

    fn aad(&self, label: &str, parts: &[&[u8]]) -> Vec<u8> {
        let mut aad = [label.as_bytes(), &self.id.0].concat();
        for part in parts {
            aad.extend_from_slice(part);
        }
        aad
    }
}

debug_fields!(self: Kek { id: self.id });

const NONCE_END: usize = KEK_ID_LEN + NONCE_LEN;
const _: () = assert!(WRAPPED_LEN == 68);
