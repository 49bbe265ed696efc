//! Opening stored rows with the keys of the applied keyring: what the state's readers are given.

use std::sync::Arc;

use crate::crypto::names::NameKey;
use crate::crypto::open::OpenArena;
use crate::crypto::stored::StoredRow;
use crate::crypto::stored::add_value;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowCipher;
use crate::keys::keyring::ClearRows;
use crate::keys::node_keys::NodeKeys;

/// Opens rows under the keys of a [`NodeKeys`].
pub struct SealedRows {
    node_keys: Arc<NodeKeys>,
}

impl SealedRows {
    /// A cipher that always uses the newest applied keyring.
    #[must_use]
    pub fn new(node_keys: Arc<NodeKeys>) -> SealedRows {
        SealedRows { node_keys }
    }
}

impl RowCipher for SealedRows {
    fn accepts_clear_rows(&self) -> bool {
        self.node_keys.current().keyring().is_none_or(|keyring| keyring.clear_rows() == ClearRows::Allowed)
    }

    fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        self.node_keys.current().name_key().cloned().map_err(|_| ReadError::NoCipher)
    }

    fn add(&self, name: &RowName, row: &[u8], arena: &mut OpenArena) -> Result<(), ReadError> {
        let current = self.node_keys.current();
        if !current.has_kek() {
            return Err(ReadError::NoCipher);
        }
        add_value(current.keys(), &StoredRow { store_key: name.as_bytes(), row }, arena);
        Ok(())
    }
}

debug_fields!(self: SealedRows {});
