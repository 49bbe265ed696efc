//! The frame around everything that goes over a connection. Big-endian:
//!
//! ```text
//! off   size  field
//! 0     2     "sp"
//! 2     1     kind: 1 hello, 2 welcome, 3 refusal, 4 message, 5 request, 6 answer
//! 3     1     zero
//! 4     4     length of the body
//! 8     4     CRC32C of bytes 0..8 and the body
//! 12          body
//! ```
//!
//! The checksum finds accidents where there is no TLS. This head is the same in every wire version, so that a node of a later
//! one can be refused with words. A length is compared with the bound of its kind before anything is allocated, and a buffer
//! grows only as bytes come in.

use std::io;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;

use crate::codec::CodecError;
use crate::limits::PEER_ANSWER_BYTES_MAX;
use crate::limits::PEER_FRAME_BYTES_MAX;
use crate::limits::PEER_HELLO_BYTES_MAX;
use crate::limits::PEER_READ_BYTES;
use crate::limits::PEER_REQUEST_BYTES_MAX;
use crate::limits::PEER_WORDS_BYTES_MAX;

/// Bytes before the body.
pub(super) const FRAME_HEAD_LEN: usize = 12;
/// Bytes of the head that the checksum covers.
const CHECKED_LEN: usize = 8;
/// How every frame begins.
pub(super) const FRAME_MAGIC: [u8; 2] = *b"sp";
/// First byte of a record with which TLS begins.
const TLS_HANDSHAKE: u8 = 22;
/// Bytes before those of a request or an answer: its number, and how it ended.
const CALL_HEAD_LEN: usize = 9;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Who dials.
    Hello = 1,
    /// Who was dialled.
    Welcome = 2,
    /// Why the connection ends, in words.
    Refusal = 3,
    /// A message of raft.
    Message = 4,
    /// Number and bytes of a request.
    Request = 5,
    /// Number, outcome and bytes of its answer.
    Answer = 6,
}

impl FrameKind {
    const ALL: [FrameKind; 6] = [
        FrameKind::Hello,
        FrameKind::Welcome,
        FrameKind::Refusal,
        FrameKind::Message,
        FrameKind::Request,
        FrameKind::Answer,
    ];

    fn from_number(number: u8) -> Option<FrameKind> {
        FrameKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Bytes that its body may have.
    fn bytes_max(self) -> usize {
        match self {
            FrameKind::Hello | FrameKind::Welcome => PEER_HELLO_BYTES_MAX,
            FrameKind::Refusal => PEER_WORDS_BYTES_MAX,
            FrameKind::Message => PEER_FRAME_BYTES_MAX,
            FrameKind::Request => PEER_REQUEST_BYTES_MAX + CALL_HEAD_LEN,
            FrameKind::Answer => PEER_ANSWER_BYTES_MAX + CALL_HEAD_LEN,
        }
    }
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameFault {
    /// The other side ended the connection.
    #[error("the connection was closed")]
    Closed,
    /// It broke.
    #[error("{0}")]
    Io(io::Error),
    /// The other side speaks TLS.
    #[error("it speaks TLS, and peers of this node do not")]
    Tls,
    /// It speaks something else.
    #[error("it does not speak the protocol of peers (first bytes {first:02x?})")]
    Foreign {
        /// What came first.
        first: [u8; 2],
    },
    /// A kind that this version does not know, or that does not belong here.
    #[error("a frame of kind {kind} does not belong here")]
    Kind {
        /// Its number.
        kind: u8,
    },
    /// Longer than any of its kind.
    #[error("a frame of kind {kind} announces {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// Its number.
        kind: u8,
        /// As announced.
        bytes: u32,
        /// The bound.
        bytes_max: usize,
    },
    /// Not the bytes that were sent.
    #[error("a frame has another checksum than its bytes")]
    Checksum,
    /// Not what a member writes.
    #[error("a frame of kind {kind}: {error}")]
    Body {
        /// Its number.
        kind: u8,
        /// What is wrong.
        error: CodecError,
    },
}

impl From<io::Error> for FrameFault {
    /// With TLS a process that dies says no goodbye, and the library's words for that are of no help.
    fn from(error: io::Error) -> FrameFault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => FrameFault::Closed,
            _ => FrameFault::Io(error),
        }
    }
}

/// Appends the head of a frame whose body is `parts`, one behind another.
///
/// # Panics
/// If the body is longer than its kind allows: who makes it knows the bound.
pub(super) fn put_frame_head<'a>(kind: FrameKind, parts: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
    let length: usize = parts.clone().map(<[u8]>::len).sum();
    assert!(length <= kind.bytes_max(), "BOUNDED: a body of {length} bytes in a frame of kind {kind:?}");
    let begin = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&[kind as u8, 0]);
    out.extend_from_slice(&u32::try_from(length).expect("checked above").to_be_bytes());
    let of_head = crc32c::crc32c(&out[begin..]);
    let checksum = parts.fold(of_head, crc32c::crc32c_append);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// A whole frame with a short body.
pub(super) fn frame_of(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEAD_LEN + body.len());
    put_frame_head(kind, std::iter::once(body), &mut out);
    out.extend_from_slice(body);
    out
}

/// The length of the body behind this head, if a frame of `kinds` may have it.
fn body_len(head: &[u8; FRAME_HEAD_LEN], kinds: &[FrameKind]) -> Result<(FrameKind, usize), FrameFault> {
    let [first, second, number, zero, length @ ..] = *head;
    if [first, second] != FRAME_MAGIC {
        let is_tls = first == TLS_HANDSHAKE && second == 3;
        return Err(if is_tls { FrameFault::Tls } else { FrameFault::Foreign { first: [first, second] } });
    }
    let bytes = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    let Some(kind) = FrameKind::from_number(number).filter(|kind| zero == 0 && kinds.contains(kind)) else {
        return Err(FrameFault::Kind { kind: number });
    };
    if bytes as usize > kind.bytes_max() {
        return Err(FrameFault::TooLong { kind: number, bytes, bytes_max: kind.bytes_max() });
    }
    Ok((kind, bytes as usize))
}

/// Reads frames off a stream.
#[derive(Debug, Default)]
pub(super) struct FramesIn {
    buffer: BytesMut,
}

impl FramesIn {
    /// The next frame, if it is one of `kinds`. May be dropped between two frames only.
    ///
    /// # Errors
    /// [`FrameFault`]: nothing that comes behind can be understood.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        kinds: &[FrameKind],
    ) -> Result<(FrameKind, Bytes), FrameFault> {
        self.fill(stream, FRAME_HEAD_LEN).await?;
        let head = self.buffer.first_chunk().expect("filled above");
        let (kind, length) = body_len(head, kinds)?;
        self.fill(stream, FRAME_HEAD_LEN + length).await?;
        let frame = self.buffer.split_to(FRAME_HEAD_LEN + length).freeze();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[..CHECKED_LEN]), &frame[FRAME_HEAD_LEN..]);
        if checksum.to_be_bytes() != frame[CHECKED_LEN..FRAME_HEAD_LEN] {
            return Err(FrameFault::Checksum);
        }
        Ok((kind, frame.slice(FRAME_HEAD_LEN..)))
    }

    /// Whether nothing came in beyond the last frame.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads until there are `length` bytes. The buffer is never more than one step ahead of what came in.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin), length: usize) -> Result<(), FrameFault> {
        while self.buffer.len() < length {
            let missing = length - self.buffer.len();
            // A long frame doubles its buffer, so that it is copied a few times at most.
            let step = missing.min(self.buffer.len().max(PEER_READ_BYTES));
            if self.buffer.capacity() - self.buffer.len() < step.min(missing) {
                self.buffer.reserve(step.max(PEER_READ_BYTES));
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(FrameFault::Closed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::seed::Seeded;
    use crate::testing::seed::runs;

    /// Reads the first frame of `bytes`.
    fn first(bytes: &[u8], kinds: &[FrameKind]) -> Result<(FrameKind, Bytes), FrameFault> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(FramesIn::default().next(&mut &*bytes, kinds))
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        for kind in FrameKind::ALL {
            for length in [0, 1, 511] {
                let body = vec![7; length];
                assert_eq!(first(&frame_of(kind, &body), &FrameKind::ALL).unwrap(), (kind, body.into()));
            }
        }
    }

    #[test]
    fn four_gib_are_refused_with_words_and_nothing_is_allocated_for_them() {
        let mut head = frame_of(FrameKind::Message, b"");
        head[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let refused = first(&head, &FrameKind::ALL).unwrap_err().to_string();
        assert_eq!(refused, "a frame of kind 4 announces 4294967295 bytes, at most 16777216 are allowed");
    }

    #[test]
    fn what_is_no_frame_is_refused_by_what_it_is() {
        let tls = first(&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 9], &FrameKind::ALL).unwrap_err();
        assert_eq!(tls.to_string(), "it speaks TLS, and peers of this node do not");
        let http = first(b"GET / HTTP/1.1\r\n", &FrameKind::ALL).unwrap_err();
        assert_eq!(http.to_string(), "it does not speak the protocol of peers (first bytes [47, 45])");
        let message = first(&frame_of(FrameKind::Message, b"x"), &[FrameKind::Hello]).unwrap_err();
        assert_eq!(message.to_string(), "a frame of kind 4 does not belong here");
        let unknown = first(&[b's', b'p', 9, 0, 0, 0, 0, 0, 0, 0, 0, 0], &FrameKind::ALL).unwrap_err();
        assert_eq!(unknown.to_string(), "a frame of kind 9 does not belong here");
    }

    #[test]
    fn every_changed_byte_of_a_frame_is_found() {
        let good = frame_of(FrameKind::Answer, b"the body of a frame");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(first(&bytes, &FrameKind::ALL).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(matches!(first(&good[..length], &FrameKind::ALL), Err(FrameFault::Closed)), "{length} bytes");
        }
    }

    // Any bytes at all: a frame, or a fault. The buffer stays within a step of what came in.
    #[test]
    fn random_bytes_never_panic_and_never_take_more_than_the_bound() {
        let chance = Seeded::fresh();
        for _ in 0..runs(5000) {
            let mut bytes = frame_of(FrameKind::Message, &vec![1; chance.below(300) as usize]);
            bytes.extend((0..chance.below(40)).map(|_| chance.below(256) as u8));
            for _ in 0..chance.below(4) {
                let at = chance.below(bytes.len() as u64) as usize;
                bytes[at] = chance.below(256) as u8;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut reader = FramesIn::default();
            let mut stream = &bytes[..];
            while runtime.block_on(reader.next(&mut stream, &FrameKind::ALL)).is_ok() {}
            assert!(reader.buffer.capacity() <= 2 * PEER_READ_BYTES);
        }
    }
}
