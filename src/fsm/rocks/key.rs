//! The keys of RocksDB below the table, as drawn in `base.rs`.

use crate::fsm::base::StateRow;
use crate::fsm::name::Database;

/// Where a row of the state record is.
pub(crate) fn state_key(row: StateRow) -> [u8; 2] {
    match row {
        StateRow::Applied => [0x00, 0x01],
        StateRow::Keyring => [0x00, 0x02],
    }
}

/// The lowest key that a database can have.
pub(crate) fn database_start(database: Database) -> [u8; 1] {
    [1 + database.number()]
}

/// Behind all keys of a database.
pub(crate) fn database_end(database: Database) -> [u8; 1] {
    [2 + database.number()]
}
