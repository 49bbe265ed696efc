//! For benches: the parser and the writer of replies alone. The codec itself stays private.

use bytes::BytesMut;

use crate::fsm::command::KeyReply;
use crate::resp::codec::arguments::Received;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::Protocol;
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

/// Writes `count` replies that are this value, as GETs of a pipeline answer.
pub fn reply_bulks(value: &[u8], count: usize, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(out, Protocol::Resp2);
    for _ in 0..count {
        encoder.key_reply(KeyReply::Bulk(value));
    }
}
