//! elastickv's envelopes (version 1). Keys are DEKs themselves, and entries say nothing of their place: whoever can write
//! to the disk can swap, repeat or move whole sealed entries, and every tag still verifies.

use crate::crypto::aead;
use crate::crypto::aead::Message;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::Verdict;
use crate::crypto::envelope::ENVELOPE_HEADER_LEN;
use crate::crypto::envelope::ENVELOPE_OVERHEAD;
use crate::crypto::envelope::Envelope;
use crate::crypto::envelope::OpenError;
use crate::crypto::envelope::VALUE_HEADER_LEN;
use crate::crypto::envelope::Version;
use crate::crypto::envelope::envelope_header;
use crate::crypto::envelope::push_value_aad;
use crate::crypto::keystore::Dek;
use crate::ids::KeyId;

/// The envelope (version 1) of an entry.
#[must_use]
pub fn seal_entry(dek: &Dek, key_id: KeyId, nonce: [u8; NONCE_LEN], payload: &[u8]) -> Vec<u8> {
    seal(dek, key_id, nonce, &unplaced_aad(key_id), payload)
}

/// Opens the envelope of an entry; `key_id` is the id of the one key there is.
///
/// # Errors
/// [`OpenError`].
pub fn open_entry(dek: &Dek, key_id: KeyId, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
    open(dek, key_id, envelope, &unplaced_aad(key_id))
}

/// A stored value's clear neighbours, which its seal covers.
#[derive(Clone, Copy, Debug)]
pub struct ValuePlace<'a> {
    /// Flags and expiry before the envelope.
    pub header: &'a [u8; VALUE_HEADER_LEN],
    /// The row's key.
    pub store_key: &'a [u8],
}

impl ValuePlace<'_> {
    /// The AAD.
    #[must_use]
    pub fn aad(&self, key_id: KeyId) -> Vec<u8> {
        let mut aad = Vec::new();
        push_value_aad(&mut aad, key_id, self.header, self.store_key);
        aad
    }
}

/// The envelope of a stored value (without its header).
#[must_use]
pub fn seal_value(dek: &Dek, key_id: KeyId, nonce: [u8; NONCE_LEN], place: ValuePlace<'_>, body: &[u8]) -> Vec<u8> {
    seal(dek, key_id, nonce, &place.aad(key_id), body)
}

/// Opens the envelope of a stored value; `key_id` is the id of the one key there is.
///
/// # Errors
/// [`OpenError`].
pub fn open_value(dek: &Dek, key_id: KeyId, place: ValuePlace<'_>, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
    open(dek, key_id, envelope, &place.aad(key_id))
}

/// AAD of an entry: it says nothing of its place.
#[must_use]
pub fn unplaced_aad(key_id: KeyId) -> [u8; 6] {
    let mut aad = [b'R', Version::One as u8, 0, 0, 0, 0];
    aad[2..].copy_from_slice(&key_id.to_bytes());
    aad
}

fn seal(dek: &Dek, key_id: KeyId, nonce: [u8; NONCE_LEN], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut envelope = Vec::with_capacity(ENVELOPE_OVERHEAD + text.len());
    envelope.extend_from_slice(&envelope_header(Version::One, key_id, &nonce));
    envelope.extend_from_slice(text);
    envelope.extend_from_slice(&[0; TAG_LEN]);
    let text_inout = &mut envelope[ENVELOPE_HEADER_LEN..];
    aead::key(dek.expose()).seal_batch(&mut [Message { nonce, aad, text_inout }]);
    envelope
}

fn open(dek: &Dek, key_id: KeyId, envelope: &[u8], aad: &[u8]) -> Result<Vec<u8>, OpenError> {
    let envelope = Envelope::parse_version(envelope, Version::One)?;
    if envelope.key_id != key_id {
        return Err(OpenError::UnknownKey { key_id: envelope.key_id });
    }
    let mut text = envelope.sealed.to_vec();
    let mut verdicts = [Verdict::Unauthentic];
    let message = Message { nonce: envelope.nonce, aad, text_inout: &mut text };
    aead::key(dek.expose()).open_batch(&mut [message], &mut verdicts);
    if verdicts != [Verdict::Authentic] {
        return Err(OpenError::Unauthentic { key_id });
    }
    text.truncate(text.len() - TAG_LEN);
    Ok(text)
}
