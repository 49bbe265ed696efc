//! elastickv's own sealing, byte for byte: for its vectors and for who reads its data. A node never calls it.
//!
//! Keys are DEKs themselves. Its entries say nothing of their place (design 3.1 says what that costs).

use crate::crypto::aead::NONCE_LEN;
use crate::crypto::envelope::OpenError;
use crate::crypto::envelope::VALUE_HEADER_LEN;
use crate::crypto::keystore::Dek;
use crate::ids::KeyId;

/// The envelope (version 1) of an entry.
#[must_use]
pub fn seal_entry(dek: &Dek, key_id: KeyId, nonce: [u8; NONCE_LEN], payload: &[u8]) -> Vec<u8> {
    let _ = (dek, key_id, nonce, payload);
    todo!()
}

/// Opens the envelope of an entry; `key_id` is the id of the one key there is.
///
/// # Errors
/// [`OpenError`].
pub fn open_entry(dek: &Dek, key_id: KeyId, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
    let _ = (dek, key_id, envelope);
    todo!()
}

/// The envelope of a stored value (without its header).
#[must_use]
pub fn seal_value(
    dek: &Dek,
    key_id: KeyId,
    nonce: [u8; NONCE_LEN],
    header: &[u8; VALUE_HEADER_LEN],
    store_key: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let _ = (dek, key_id, nonce, header, store_key, body);
    todo!()
}

/// Opens the envelope of a stored value; `key_id` is the id of the one key there is.
///
/// # Errors
/// [`OpenError`].
pub fn open_value(
    dek: &Dek,
    key_id: KeyId,
    header: &[u8; VALUE_HEADER_LEN],
    store_key: &[u8],
    envelope: &[u8],
) -> Result<Vec<u8>, OpenError> {
    let _ = (dek, key_id, header, store_key, envelope);
    todo!()
}
