//! The seam to the state for reads that follow a ReadIndex: what a client may see, and what is past due.

use crate::fsm::command::ReadCommand;
use crate::fsm::kv::NamedRead;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;

/// Reads the applied state. Called from the threads of the network; may touch the disk.
pub trait ClientReads: Send + Sync {
    /// The names of the keys of several reads, one after another. To be asked once their read point is reached.
    ///
    /// # Errors
    /// [`ReadError::NoCipher`] if this node cannot unwrap what names are made with.
    fn names(&self, reads: &[(Database, ReadCommand)]) -> Result<Vec<RowName>, ReadError>;

    /// Runs `read` on the state as it is applied now; `clock_ms` is the leader's clock, which tells what is past due.
    ///
    /// # Errors
    /// [`ReadError`] if the state cannot be read or a value does not open.
    fn read(&self, read: NamedRead<'_>, clock_ms: u64) -> Result<ReadAnswer, ReadError>;
}
