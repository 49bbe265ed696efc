//! Bytes between queues and streams.

use std::io;

use bytes::Buf;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use crate::peers::counters::Traffic;
use crate::peers::frame::FrameFault;
use crate::peers::outgoing::Outgoing;
use crate::peers::outgoing::Pieces;
use crate::peers::outgoing::QueueOut;

/// Writes what comes into the queue, as much as there is with each call, until the stream breaks. `is_wanted` is asked right
/// before something is written.
pub(super) async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    queue: &mut QueueOut,
    is_wanted: impl Fn(&Outgoing) -> bool,
    written: &Traffic,
) -> FrameFault {
    let mut items = Vec::new();
    let mut pieces = Pieces::default();
    while queue.take(&mut items).await {
        let wanted = items.drain(..).filter(&is_wanted).map(|item| pieces.put(&item)).count();
        pieces.finish();
        written.add(wanted, pieces.remaining());
        if let Err(error) = write(stream, &mut pieces).await {
            return error.into();
        }
    }
    FrameFault::Closed
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), pieces: &mut Pieces) -> io::Result<()> {
    stream.write_all_buf(pieces).await?;
    stream.flush().await
}
