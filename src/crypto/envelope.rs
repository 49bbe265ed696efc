//! The bytes around sealed text: entry frames, envelope headers and what is authenticated beside it.
//!
//! ```text
//! entry frame     0x01 | proposal_id(8) | payload
//!
//! envelope        off   size  field
//!                 0     1     version   1 elastickv's entries and stored values, 2 entry, 3 control entry
//!                 1     1     flag      0
//!                 2     4     key_id    big-endian, never 0
//!                 6     12    nonce
//!                 18    N     ciphertext
//!                 18+N  16    GCM tag
//!
//! AAD             entry, version 1  'R' | 0x01 | key_id(4)
//!                 entry, version 2  'R' | 0x02 | flag | key_id(4) | term(8) | index(8) | proposal_id(8)
//!                 control entry     'C' | 0x03 | flag | key_id(4) | term(8) | index(8) | proposal_id(8)
//!                 stored value      0x01 | flag | key_id(4) | value_header(9) | store_key
//! ```
//!
//! The frame is decoded first, the envelope is inside it (DECODE-FIRST), so a proposal id can always be read. The AADs
//! of two kinds never agree (LAYERS-APART); that of an entry holds its place (PLACE-BOUND).

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::ProposalId;

/// Bytes before the payload of an entry frame.
pub const FRAME_HEADER_LEN: usize = 9;
/// Bytes before the ciphertext of an envelope.
pub const ENVELOPE_HEADER_LEN: usize = 18;
/// Bytes that an envelope adds to what it holds.
pub const ENVELOPE_OVERHEAD: usize = ENVELOPE_HEADER_LEN + TAG_LEN;
/// Bytes of a stored value's clear header.
pub const VALUE_HEADER_LEN: usize = 9;
/// Bytes of the AAD of entries (version 2) and control entries (version 3).
pub const PLACE_AAD_LEN: usize = 31;

const FRAME_VERSION: u8 = 0x01;
const FLAG_NONE: u8 = 0x00;
const _: () = assert!(ENVELOPE_OVERHEAD == 34);

/// Why something did not open. No bytes of it were given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not `0x01 | proposal_id(8) | payload`.
    #[error("{bytes} bytes that are not an entry frame")]
    EntryFrame {
        /// Length of the entry's data.
        bytes: usize,
    },
    /// Shorter than an envelope without text.
    #[error("an envelope of {bytes} bytes is too short")]
    EnvelopeShort {
        /// Length of what should be an envelope (with the value header, for a stored value).
        bytes: usize,
    },
    /// A version that is not accepted here.
    #[error("envelope version {version:#04x} is not accepted")]
    EnvelopeVersion {
        /// The version byte.
        version: u8,
    },
    /// A flag byte other than 0.
    #[error("envelope flag {flag:#04x} is not accepted")]
    EnvelopeFlag {
        /// The flag byte.
        flag: u8,
    },
    /// Key id 0, which no key has.
    #[error("envelope names the reserved key id 0")]
    ReservedKey,
    /// No key of that id for this purpose, or an entry of another term than the newest opener's.
    #[error("no key {key_id} for this envelope")]
    UnknownKey {
        /// The id in the envelope.
        key_id: KeyId,
    },
    /// The tag is wrong: another key, another place, or changed bytes.
    #[error("the envelope under key {key_id} is not authentic")]
    Unauthentic {
        /// The id in the envelope.
        key_id: KeyId,
    },
}

/// The data of a normal entry, taken apart; borrows from it (the nil path copies nothing).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntryFrame<'a> {
    /// Chosen by the proposing node.
    pub proposal_id: ProposalId,
    /// A command, or an envelope around one.
    pub payload: &'a [u8],
}

impl<'a> EntryFrame<'a> {
    /// Takes entry data apart.
    ///
    /// # Errors
    /// [`OpenError::EntryFrame`] if it is shorter than 9 bytes or does not begin with 0x01.
    #[inline]
    pub fn decode(data: &'a [u8]) -> Result<EntryFrame<'a>, OpenError> {
        match data.split_first_chunk::<FRAME_HEADER_LEN>() {
            Some(([FRAME_VERSION, id @ ..], payload)) => {
                Ok(EntryFrame { proposal_id: ProposalId(u64::from_be_bytes(*id)), payload })
            }
            _ => Err(OpenError::EntryFrame { bytes: data.len() }),
        }
    }

    /// The entry data of a clear payload: one allocation, one copy.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut data = BytesMut::with_capacity(FRAME_HEADER_LEN + self.payload.len());
        data.put_slice(&frame_header(self.proposal_id));
        data.put_slice(self.payload);
        data.freeze()
    }
}

debug_fields!(self: EntryFrame<'_> { proposal_id: self.proposal_id, payload_bytes: self.payload.len() });

/// The first 9 bytes of entry data, for who builds the payload behind them in place.
#[must_use]
pub fn frame_header(proposal_id: ProposalId) -> [u8; FRAME_HEADER_LEN] {
    let mut header = [FRAME_VERSION; FRAME_HEADER_LEN];
    header[1..].copy_from_slice(&proposal_id.0.to_be_bytes());
    header
}

/// What an envelope's first byte says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Version {
    /// elastickv's entries (library and vectors only), and stored values.
    One = 1,
    /// An entry, sealed under a leadership key.
    Entry = 2,
    /// A control entry, sealed under a control key.
    Control = 3,
}

impl Version {
    /// The version of that byte, if it is one.
    #[must_use]
    pub fn of(byte: u8) -> Option<Version> {
        match byte {
            1 => Some(Version::One),
            2 => Some(Version::Entry),
            3 => Some(Version::Control),
            _ => None,
        }
    }

    /// The version that a payload claims, before anything is opened: runs are cut by it. `None` if it is no envelope.
    #[must_use]
    pub fn peek(payload: &[u8]) -> Option<Version> {
        payload.first().copied().and_then(Version::of)
    }
}

/// An envelope taken apart; borrows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What it is.
    pub version: Version,
    /// Which DEK's keys sealed it.
    pub key_id: KeyId,
    /// As it stands there.
    pub nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag, at least 16 bytes.
    pub sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes an envelope of any known version apart.
    ///
    /// # Errors
    /// In this order: [`OpenError::EnvelopeShort`] below 34 bytes, [`OpenError::EnvelopeVersion`],
    /// [`OpenError::EnvelopeFlag`], [`OpenError::ReservedKey`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Envelope<'a>, OpenError> {
        let (header, sealed) = match bytes.split_first_chunk::<ENVELOPE_HEADER_LEN>() {
            Some((header, sealed)) if sealed.len() >= TAG_LEN => (header, sealed),
            _ => return Err(OpenError::EnvelopeShort { bytes: bytes.len() }),
        };
        let [version, flag, id @ .., _, _, _, _, _, _, _, _, _, _, _, _] = *header;
        let version = Version::of(version).ok_or(OpenError::EnvelopeVersion { version })?;
        if flag != FLAG_NONE {
            return Err(OpenError::EnvelopeFlag { flag });
        }
        let key_id = KeyId::new(u32::from_be_bytes(id)).ok_or(OpenError::ReservedKey)?;
        let nonce = header[6..].try_into().expect("18 - 6 = 12 bytes");
        Ok(Envelope { version, key_id, nonce, sealed })
    }

    /// The same, refusing every version but one.
    ///
    /// # Errors
    /// As [`Envelope::parse`].
    #[inline]
    pub fn parse_version(bytes: &'a [u8], version: Version) -> Result<Envelope<'a>, OpenError> {
        let envelope = Envelope::parse(bytes)?;
        if envelope.version != version {
            return Err(OpenError::EnvelopeVersion { version: envelope.version as u8 });
        }
        Ok(envelope)
    }
}

/// The first 18 bytes of an envelope.
#[must_use]
pub fn envelope_header(version: Version, key_id: KeyId, nonce: &[u8; NONCE_LEN]) -> [u8; ENVELOPE_HEADER_LEN] {
    let mut header = [0; ENVELOPE_HEADER_LEN];
    header[0] = version as u8;
    header[1] = FLAG_NONE;
    header[2..6].copy_from_slice(&key_id.to_bytes());
    header[6..].copy_from_slice(nonce);
    header
}

/// AAD of an entry: nobody can move it to another position or give it another proposal id.
#[must_use]
pub fn entry_aad(key_id: KeyId, position: Position, proposal_id: ProposalId) -> [u8; PLACE_AAD_LEN] {
    place_aad(b'R', Version::Entry, key_id, position, proposal_id)
}

/// AAD of a control entry.
#[must_use]
pub fn control_aad(key_id: KeyId, position: Position, proposal_id: ProposalId) -> [u8; PLACE_AAD_LEN] {
    place_aad(b'C', Version::Control, key_id, position, proposal_id)
}

fn place_aad(
    kind: u8,
    version: Version,
    key_id: KeyId,
    position: Position,
    proposal_id: ProposalId,
) -> [u8; PLACE_AAD_LEN] {
    let mut aad = [0; PLACE_AAD_LEN];
    aad[0] = kind;
    aad[1] = version as u8;
    aad[2] = FLAG_NONE;
    aad[3..7].copy_from_slice(&key_id.to_bytes());
    aad[7..15].copy_from_slice(&position.term.0.to_be_bytes());
    aad[15..23].copy_from_slice(&position.index.0.to_be_bytes());
    aad[23..].copy_from_slice(&proposal_id.0.to_be_bytes());
    aad
}

/// Appends the AAD of a stored value, which binds it to its row and its clear header.
pub fn push_value_aad(out: &mut Vec<u8>, key_id: KeyId, header: &[u8; VALUE_HEADER_LEN], store_key: &[u8]) {
    out.extend_from_slice(&[Version::One as u8, FLAG_NONE]);
    out.extend_from_slice(&key_id.to_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(store_key);
}
