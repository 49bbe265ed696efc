//! What apply needs from the rooms around it, as questions it asks and things it tells. The node wires them.

use crate::fsm::state::Applied;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::rules::RuleError;

/// What apply needs of the log. Calls must not block, but for one.
pub trait ApplyLog: Send + Sync {
    /// Returns once the log's own record of the cutover is on stable storage, before the step of the store that makes it
    /// true. The same cutover again is no error: a crash repeats it.
    ///
    /// # Errors
    /// [`CutoverNotDurable`]: the log is poisoned or closed, or names another cutover.
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable>;

    /// The state holds everything up to here durably: the log may drop it.
    fn trim(&self, flushed: Position);

    /// While it is held, clients' entries wait outside of the log: apply has no memory for what they would do.
    fn hold(&self, _is_held: bool) {}

    /// Bytes of the log's slots that this process has used up, with all padding; never decreases. One load.
    fn bytes_used(&self) -> u64;

    /// Bytes of all slots together; may grow. One load.
    fn pool_bytes(&self) -> u64;
}

/// The log did not take the cutover record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log did not take the cutover record")]
pub struct CutoverNotDurable;

/// Who wants to know what is applied: raft (`Applied`), waiting reads, what is due in the proposer.
pub trait AppliedPort: Send {
    /// The record that is in the store now; the waiters of everything up to it are answered. Must not block.
    fn applied(&mut self, record: &Applied);

    /// What became of the control entry at `position`. Called before [`AppliedPort::applied`] names its index.
    fn control(&mut self, _position: Position, _outcome: Result<(), RuleError>) {}
}
