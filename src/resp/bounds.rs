//! What an operator may set about clients, with the defaults.

use std::time::Duration;

use crate::limits::CLIENT_MEMORY_BYTES_MAX;
use crate::limits::CLIENTS_MAX;
use crate::resp::Password;

/// Bounds and deadlines of client connections.
#[derive(Debug)]
pub struct ClientBounds {
    /// Connections at once; more are told so and closed.
    pub clients_max: usize,
    /// What AUTH must present; `None` lets everybody in.
    pub password: Option<Password>,
    /// A client that has not authenticated by then is closed.
    pub auth_deadline: Duration,
    /// A client that sends nothing for so long is closed; zero: never (Redis' `timeout`).
    pub idle_timeout: Duration,
    /// A command that has begun to arrive must be complete by then.
    pub command_deadline: Duration,
    /// Replies must be taken at this pace: so long, and a second more for every 64 KiB.
    pub write_deadline: Duration,
    /// How long a request waits for room in the queue before its clients are told to try again.
    pub queue_deadline: Duration,
    /// A request without an outcome by then has an unknown one; the proposer's own deadline is shorter.
    pub outcome_deadline: Duration,
    /// A read that is not served by then is to be tried again.
    pub read_deadline: Duration,
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
            auth_deadline: Duration::from_secs(10),
            idle_timeout: Duration::ZERO,
            command_deadline: Duration::from_secs(120),
            write_deadline: Duration::from_secs(30),
            queue_deadline: Duration::from_secs(5),
            outcome_deadline: Duration::from_secs(60),
            read_deadline: Duration::from_secs(10),
            drain_deadline: Duration::from_secs(10),
            memory_bytes_max: CLIENT_MEMORY_BYTES_MAX,
        }
    }
}
