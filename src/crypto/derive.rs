//! HKDF-SHA256 and HMAC-SHA256: how one key becomes many, each with its own label, and how records are authenticated.
//!
//! Notation of [`crate::design`]: `HKDF(key, salt, label, parts..)`, where the parts are appended to the label as info. Parts
//! have fixed lengths at every call, so the concatenation is unambiguous.

use hkdf::Hkdf;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;
use zeroize::Zeroize;
use zeroize::Zeroizing;

/// Bytes of an HMAC-SHA256.
pub const MAC_LEN: usize = 32;
/// Bytes of a check value: enough to tell keys apart, too few to say anything about one.
pub const CHECK_LEN: usize = 8;

/// Derives `N` bytes: HKDF-SHA256 with info = `label` followed by `parts`. At most 8160 bytes (255 blocks).
///
/// Cost: about six SHA-256 blocks; keep what it returns, do not call it per entry.
///
/// Sources: RFC 5869.
#[must_use]
pub fn derive<const N: usize>(key: &[u8], salt: &[u8], label: &str, parts: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32) };
    let mut info = Vec::with_capacity(label.len() + parts.iter().map(|part| part.len()).sum::<usize>());
    info.extend_from_slice(label.as_bytes());
    for part in parts {
        info.extend_from_slice(part);
    }
    let mut out = Zeroizing::new([0; N]);
    let (mut extracted, hkdf) = Hkdf::<Sha256>::extract(Some(salt), key);
    extracted.as_mut_slice().zeroize();
    hkdf.expand(&info, out.as_mut()).expect("N is at most 255 blocks, checked above");
    out
}

/// HMAC-SHA256 over the parts, one after another.
#[must_use]
pub fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    mac_over(key, parts).finalize().into_bytes().into()
}

/// Whether `expected` is the HMAC-SHA256 over the parts; compared in constant time.
#[must_use]
pub fn hmac_verify(key: &[u8; 32], parts: &[&[u8]], expected: &[u8; MAC_LEN]) -> bool {
    mac_over(key, parts).verify_slice(expected).is_ok()
}

fn mac_over(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}
