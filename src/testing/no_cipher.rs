//! How a node without keys opens rows.

use std::sync::Arc;
use std::sync::OnceLock;

use crate::crypto::names::ClearNameKey;
use crate::crypto::names::NameKey;
use crate::crypto::open::OpenArena;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowCipher;
use crate::ids::ClusterId;

/// The cipher of a node without keys: clear rows are fine, sealed ones cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCipher;

impl RowCipher for NoCipher {
    fn accepts_clear_rows(&self) -> bool {
        true
    }

    fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        static CLEAR: OnceLock<Arc<NameKey>> = OnceLock::new();
        Ok(Arc::clone(CLEAR.get_or_init(|| Arc::new(NameKey::clear(&ClearNameKey([0; 32]), ClusterId([0; 16]))))))
    }

    fn add(&self, _name: &RowName, _row: &[u8], _arena: &mut OpenArena) -> Result<(), ReadError> {
        Err(ReadError::NoCipher)
    }
}
