//! Why a connection ends.

use std::io;

use crate::resp::codec::request::ProtocolError;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Close {
    /// The client asked, and has its reply.
    Asked,
    /// The client ended its side while something was done for it. It may still read what was answered before.
    Ended,
    /// The client ended the stream, or it broke.
    Gone(io::Error),
    /// The stream has lost its frame.
    Protocol(ProtocolError),
    /// A bound or a deadline, by name.
    Bound(&'static str),
    /// Nobody knows whether its commands were executed: no error reply says that, an end of the connection does.
    Unknown,
    /// Another client's CLIENT KILL.
    Killed,
    /// The node stops.
    Stopping,
}
