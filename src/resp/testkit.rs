//! For benches: the parser alone. The codec itself stays private.

use bytes::BytesMut;

use crate::resp::codec::arguments::Received;
use crate::resp::codec::request::Parser;
use crate::resp::codec::request::ProtocolError;
use crate::resp::codec::request::Sender;

/// Parses what is complete in `inbox`, as a connection does after one read; how many commands that were.
///
/// # Errors
/// The words that a client would get.
pub fn parse(inbox: &mut BytesMut) -> Result<usize, String> {
    let mut batch = Received::default();
    let parsed: Result<(), ProtocolError> = Parser::default().parse(inbox, Sender::Authenticated, &mut batch);
    parsed.map_err(|error| error.to_string())?;
    Ok(batch.len())
}
