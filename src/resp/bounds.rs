//! What an operator may set about clients, with the defaults.

use std::time::Duration;

use crate::limits::AUTH_DEADLINE;
use crate::limits::CLIENT_MEMORY_BYTES_MAX;
use crate::limits::CLIENT_QUEUE_DEADLINE;
use crate::limits::CLIENTS_MAX;
use crate::limits::COMMAND_DEADLINE;
use crate::limits::DRAIN_DEADLINE;
use crate::limits::OPERATOR_WALK_DEADLINE;
use crate::limits::OUTCOME_DEADLINE;
use crate::limits::READ_DEADLINE;
use crate::limits::WRITE_DEADLINE;
use crate::resp::Password;

/// Bounds and deadlines of client connections.
#[derive(Debug)]
pub struct ClientBounds {
    /// Connections at once; more get an error and are closed.
    pub clients_max: usize,
    /// What AUTH must present; `None` lets everybody in.
    pub password: Option<Password>,
    /// What AUTH must present as the user `admin`, for commands of operators. Where a password is set and this is not,
    /// nobody may use them.
    pub admin_password: Option<Password>,
    /// Whether FLUSHALL and FLUSHDB are commands of operators.
    pub is_flush_for_admin: bool,
    /// A client that has not authenticated by then is closed.
    pub auth_deadline: Duration,
    /// A client that sends nothing for so long is closed; zero: never (Redis' `timeout`).
    pub idle_timeout: Duration,
    /// A command that has begun to arrive must be complete by then.
    pub command_deadline: Duration,
    /// Replies must be taken at this pace: so long, and a second more for every 64 KiB.
    pub write_deadline: Duration,
    /// How long a request waits for space in the queue before its clients get `-TRYAGAIN`.
    pub queue_deadline: Duration,
    /// A request without an outcome by then has an unknown one; the proposer's own deadline is shorter.
    pub outcome_deadline: Duration,
    /// A read that is not served by then is to be tried again.
    pub read_deadline: Duration,
    /// What reads every row for an operator is given up then.
    pub walk_deadline: Duration,
    /// How long connections may take to finish when the node stops.
    pub drain_deadline: Duration,
    /// Bytes that all clients together may hold in buffers.
    pub memory_bytes_max: usize,
}

impl Default for ClientBounds {
    fn default() -> Self {
        ClientBounds {
            clients_max: CLIENTS_MAX,
            password: None,
            admin_password: None,
            is_flush_for_admin: false,
            auth_deadline: AUTH_DEADLINE,
            idle_timeout: Duration::ZERO,
            command_deadline: COMMAND_DEADLINE,
            write_deadline: WRITE_DEADLINE,
            queue_deadline: CLIENT_QUEUE_DEADLINE,
            outcome_deadline: OUTCOME_DEADLINE,
            read_deadline: READ_DEADLINE,
            walk_deadline: OPERATOR_WALK_DEADLINE,
            drain_deadline: DRAIN_DEADLINE,
            memory_bytes_max: CLIENT_MEMORY_BYTES_MAX,
        }
    }
}
