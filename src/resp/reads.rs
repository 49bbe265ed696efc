//! The seam to the state for reads that follow a ReadIndex: what a client may see, and what is past due.

use bytes::Bytes;

use crate::fsm::command::Read;
use crate::fsm::command::Reply;

/// What a read found.
#[derive(Debug)]
pub struct ReadAnswer {
    /// The answer by the applied stamp.
    pub reply: Reply,
    /// Keys that are there by the applied stamp and past due by the clock given: the answer must not be used before
    /// their removal is applied (design 2, Time).
    pub past_due: Vec<Bytes>,
}

/// Reads the applied state. Called from the threads of the network; may touch the disk.
pub trait Reads: Send + Sync {
    /// Runs `read` on the state as it is applied now; `now_ms` is the leader's clock.
    ///
    /// `reply_bytes_max` bounds what the answer may hold: beyond it the reply is an error.
    ///
    /// # Errors
    /// A reply with Redis' words for what the client may be told: the state cannot be read, or a value does not open.
    fn read(&self, read: &Read, now_ms: u64, reply_bytes_max: usize) -> Result<ReadAnswer, Reply>;
}
