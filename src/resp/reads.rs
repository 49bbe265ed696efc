//! The seam to the state for reads at a read point: what a client may see, and what is past due.

use crate::fsm::command::ReadCommand;
use crate::fsm::kv::KeyAnswer;
use crate::fsm::kv::NamedRead;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;

/// Reads the applied state. Called from the threads of the network; may touch the disk.
pub trait ClientReads: Send + Sync {
    /// The names of the keys of a read. To be asked once its read point is reached.
    ///
    /// # Errors
    /// [`ReadError::NoCipher`] if this node cannot unwrap what names are made with.
    fn names(&self, database: Database, read: &ReadCommand) -> Result<Vec<RowName>, ReadError>;

    /// Runs `read` on the state as it is applied now; `clock_ms` is the leader's clock, which tells what is past due.
    ///
    /// # Errors
    /// [`ReadError`] if the state cannot be read or a value does not open.
    fn read(&self, read: NamedRead<'_>, clock_ms: u64) -> Result<ReadAnswer, ReadError>;

    /// Answers the first of several reads of one key each, as [`read_keys_as_leader`](crate::fsm::kv::read_keys_as_leader)
    /// does.
    ///
    /// # Errors
    /// [`ReadError`] if the state cannot be read; then nothing was answered.
    fn read_keys(
        &self,
        reads: &[(Database, ReadCommand)],
        clock_ms: u64,
        visit: &mut dyn FnMut(KeyAnswer<'_>) -> bool,
    ) -> Result<(), ReadError>;
}
