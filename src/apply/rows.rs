//! Opening stored rows with the keys of the applied keyring: what the state's readers are given.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::envelope::OpenError;
use crate::crypto::stored::open_value;
use crate::fsm::reader::ReadError;
use crate::fsm::reader::RowCipher;
use crate::keys::keyring::ClearRows;
use crate::keys::ring::Ring;

/// Opens rows under the keys of a [`Ring`].
pub struct RingRows {
    ring: Arc<Ring>,
}

impl RingRows {
    /// A cipher that always uses the newest applied keyring.
    #[must_use]
    pub fn new(ring: Arc<Ring>) -> RingRows {
        RingRows { ring }
    }
}

impl RowCipher for RingRows {
    fn accepts_clear_rows(&self) -> bool {
        self.ring.view().keyring().is_none_or(|keyring| keyring.clear_rows() == ClearRows::Allowed)
    }

    fn open(&self, key: &[u8], row: Vec<u8>) -> Result<Bytes, ReadError> {
        if self.ring.keks().is_empty() {
            return Err(ReadError::NoCipher);
        }
        let view = self.ring.view();
        open_value(view.keys(), key, &row).map(Bytes::from).map_err(|error| match error {
            OpenError::UnknownKey { key_id } => ReadError::UnknownKey { key_id: key_id.value() },
            OpenError::ReservedKey => ReadError::UnknownKey { key_id: 0 },
            OpenError::Unauthentic { .. } => ReadError::Unauthentic,
            OpenError::EntryFrame { .. }
            | OpenError::EnvelopeShort { .. }
            | OpenError::EnvelopeVersion { .. }
            | OpenError::EnvelopeFlag { .. } => ReadError::Envelope,
        })
    }
}

impl fmt::Debug for RingRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingRows").finish_non_exhaustive()
    }
}
