//! The state record as a start finds it: both rows, verified, and the keyring installed in the node's keys.

use crate::codec::CodecError;
use crate::exit::Blame;
use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRow;
use crate::fsm::state::Applied;
use crate::fsm::state::StateError;
use crate::fsm::state::StateRecord;
use crate::keys::keyring::Keyring;
use crate::keys::lack::KeyLack;
use crate::keys::node_keys::InstallError;
use crate::keys::node_keys::NodeKeys;

/// Why a state cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The base.
    #[error("state record")]
    Base(#[from] BaseError),
    /// Damage: there is no applied row, so this is no state.
    #[error("the state has no applied row")]
    NoRecord,
    /// Damage or forgery: the applied row.
    #[error("state record")]
    Record(#[from] StateError),
    /// Damage or forgery: the keyring row.
    #[error("the keyring row of the state is malformed")]
    Keyring(#[from] CodecError),
    /// Operator: the record cannot be verified without this key.
    #[error("the state record cannot be verified")]
    Key(#[from] KeyLack),
    /// Another cluster's keyring, or one without the cutover that is known here.
    #[error("the keyring of the state is refused")]
    Install(#[from] InstallError),
}

impl LoadError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            LoadError::Record(error) => error.blame(),
            LoadError::Key(error) => error.blame(),
            LoadError::Install(error) => error.blame(),
            LoadError::Keyring(CodecError::Version { .. }) => Blame::Config,
            LoadError::Keyring(_) | LoadError::Base(_) | LoadError::NoRecord => Blame::Damage,
        }
    }
}

/// Reads the state record, verifies it and installs its keyring in `node_keys`.
///
/// # Errors
/// [`LoadError`].
pub fn load(base: &dyn RowBase, node_keys: &NodeKeys) -> Result<StateRecord, LoadError> {
    let row = base.flushed_state(StateRow::Applied)?.ok_or(LoadError::NoRecord)?;
    let Some(keyring_row) = base.flushed_state(StateRow::Keyring)? else {
        let applied = Applied::open(&row, None, None)?;
        node_keys.found(&applied.clear_names)?;
        return Ok(StateRecord { applied, keyring_row: None, mac: None });
    };
    let keyring = Keyring::decode(&keyring_row)?;
    let mac = node_keys.mac_key_of(&keyring)?;
    let applied = Applied::open(&row, Some(&keyring_row), Some(&mac))?;
    node_keys.found(&applied.clear_names)?;
    node_keys.install(keyring)?;
    Ok(StateRecord { applied, keyring_row: Some(keyring_row.into()), mac: Some(mac) })
}
