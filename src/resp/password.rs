//! The password of `--requirepass-file`: only its SHA-256 is kept, and compared in constant time.

use sha2::Digest;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What AUTH must present. Comparing digests hides both where two passwords differ and how long the right one is.
pub struct Password {
    digest: Zeroizing<[u8; 32]>,
}

impl Password {
    /// Takes the password; its bytes are wiped when `secret` goes.
    #[must_use]
    pub fn new(secret: &Zeroizing<Vec<u8>>) -> Password {
        Password { digest: digest(secret) }
    }

    /// True if both are one password.
    #[must_use]
    pub fn is_same(&self, other: &Password) -> bool {
        self.digest.ct_eq(&*other.digest).into()
    }

    /// True if `candidate` is the password.
    pub(crate) fn matches(&self, candidate: &[u8]) -> bool {
        self.digest.ct_eq(&*digest(candidate)).into()
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

fn digest(bytes: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::digest(bytes).into())
}
