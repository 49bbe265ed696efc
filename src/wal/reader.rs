//! Reading the frames of a slot one after another: in large direct reads, and opened in parallel while the next read is
//! under way. Memory is bounded by two chunks, whatever the slot holds.

use std::io;

use rayon::prelude::*;

use crate::disk::AlignedBuffer;
use crate::disk::Disk;
use crate::disk::SlotId;
use crate::disk::padded;
use crate::wal::config::Sizes;
use crate::wal::error::During;
use crate::wal::error::Reason;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::Body;
use crate::wal::frame::FrameHead;
use crate::wal::frame::HEAD_LEN;
use crate::wal::frame::Tag;
use crate::wal::seal::SegmentSeal;

/// A frame whose checksum is right; its place in the log and its seal are for the caller to judge.
#[derive(Debug)]
pub(crate) struct ReadFrame {
    /// Bytes from the start of the slot.
    pub(crate) offset: u64,
    pub(crate) head: FrameHead,
    pub(crate) tag: Tag,
    /// An error if the seal, or what is in it, is not right.
    pub(crate) body: Result<Body, Reason>,
}

/// Frames that follow each other, as many as one read held.
#[derive(Debug)]
pub(crate) struct ReadFrames {
    pub(crate) frames: Vec<ReadFrame>,
    /// Where no frame with a right checksum follows; `None` if more may.
    pub(crate) ends_at: Option<u64>,
}

/// The memory of a reader, kept from slot to slot.
#[derive(Debug)]
pub(crate) struct ReadBuffers {
    front: AlignedBuffer,
    /// What is read while the front is opened.
    back: AlignedBuffer,
}

/// Reads one slot.
pub(crate) struct FrameReader<'a> {
    disk: &'a mut dyn Disk,
    buffers: &'a mut ReadBuffers,
    sizes: Sizes,
    slot: SlotId,
    segment: u64,
    seal: SegmentSeal,
    /// Of the next frame.
    offset: u64,
    /// The back buffer was read from there on.
    ahead: Option<io::Result<()>>,
}

impl ReadBuffers {
    pub(crate) fn new(sizes: &Sizes) -> ReadBuffers {
        let most = usize::try_from(sizes.slot).unwrap_or(usize::MAX);
        let bytes = CHUNK_BYTES.max(padded(sizes.frame_max, sizes.block)).min(most);
        let buffer = || AlignedBuffer::new(bytes, sizes.block);
        ReadBuffers { front: buffer(), back: buffer() }
    }
}

impl<'a> FrameReader<'a> {
    /// A reader of the frames of `segment` in `slot`, which are sealed with `seal`, from the first one on.
    pub(crate) fn new(
        disk: &'a mut dyn Disk,
        buffers: &'a mut ReadBuffers,
        sizes: Sizes,
        slot: SlotId,
        (segment, seal): (u64, SegmentSeal),
    ) -> FrameReader<'a> {
        FrameReader { disk, buffers, sizes, slot, segment, seal, offset: sizes.headers(), ahead: None }
    }

    /// The next frames.
    ///
    /// # Errors
    /// If the slot cannot be read.
    pub(crate) fn next(&mut self) -> Result<ReadFrames, WalError> {
        let start = self.offset;
        let length = self.chunk_len(start);
        if length < self.sizes.block {
            return Ok(ReadFrames { frames: Vec::new(), ends_at: Some(start) });
        }
        let read = match self.ahead.take() {
            Some(read) => {
                std::mem::swap(&mut self.buffers.front, &mut self.buffers.back);
                read
            }
            None => self.disk.read(self.slot, start, &mut self.buffers.front, length),
        };
        read.map_err(|source| WalError::Disk { slot: self.slot, during: During::Read, source })?;
        let (found, is_last) = self.walk(start, length);
        self.offset = start + found.last().map_or(0, |(at, head)| (at + self.padded_len(head)) as u64);
        let next = (self.offset, self.chunk_len(self.offset));
        let opened = if is_last || next.1 < self.sizes.block {
            open(&self.buffers.front[..length], &found, &self.seal)
        } else {
            self.open_and_read_ahead(&found, next)
        };
        let mut frames = Vec::with_capacity(found.len());
        for ((at, head), opened) in found.into_iter().zip(opened) {
            let offset = start + at as u64;
            let Some((tag, body)) = opened else {
                return Ok(ReadFrames { frames, ends_at: Some(offset) });
            };
            frames.push(ReadFrame { offset, head, tag, body });
        }
        Ok(ReadFrames { frames, ends_at: is_last.then_some(self.offset) })
    }

    /// The heads in the front buffer of frames that are whole in it; true if nothing that could be a frame follows the last.
    fn walk(&self, start: u64, length: usize) -> (Vec<(usize, FrameHead)>, bool) {
        let mut found = Vec::new();
        let mut at = 0;
        while at + self.sizes.block <= length {
            let bytes = &self.buffers.front[at..length];
            let head = FrameHead::parse(bytes.first_chunk::<HEAD_LEN>().expect("a block holds a head"));
            let left = usize::try_from(self.sizes.slot - start - at as u64).unwrap_or(usize::MAX);
            let Some(frame_len) = head.plausible_length(left.min(self.sizes.frame_max)) else {
                return (found, true);
            };
            if frame_len > bytes.len() {
                return (found, false);
            }
            found.push((at, head));
            at += self.padded_len(&head);
            // A frame of the slot's earlier life, or one that is refused: nothing behind it is read.
            if head.segment != self.segment {
                return (found, true);
            }
        }
        (found, start + at as u64 + self.sizes.block as u64 > self.sizes.slot)
    }

    /// Opens frames in the front buffer, and meanwhile reads so many bytes from an offset into the back buffer.
    fn open_and_read_ahead(
        &mut self,
        found: &[(usize, FrameHead)],
        (offset, length): (u64, usize),
    ) -> Vec<Option<Opened>> {
        let FrameReader { disk, buffers: ReadBuffers { front, back }, slot, seal, .. } = self;
        let mut read = || disk.read(*slot, offset, back, length);
        let open = || open(front, found, seal);
        let (read, opened) = if length < PARALLEL_BYTES_MIN { (read(), open()) } else { rayon::join(read, open) };
        self.ahead = Some(read);
        opened
    }

    fn chunk_len(&self, offset: u64) -> usize {
        usize::try_from(self.sizes.slot - offset).unwrap_or(usize::MAX).min(self.buffers.front.len())
    }

    fn padded_len(&self, head: &FrameHead) -> usize {
        padded(head.length as usize, self.sizes.block)
    }
}

debug_fields!(self: FrameReader<'_> { slot: self.slot, segment: self.segment, offset: self.offset });

/// Tag and inside of a frame.
type Opened = (Tag, Result<Body, Reason>);

/// Opens the frames at these places of a chunk; `None` for each whose checksum is wrong.
fn open(chunk: &[u8], found: &[(usize, FrameHead)], seal: &SegmentSeal) -> Vec<Option<Opened>> {
    let open = |(at, head): &(usize, FrameHead)| {
        let bytes = &chunk[*at..*at + head.length as usize];
        frame::crc_is_right(bytes, seal).then(|| (frame::tag_of(bytes), frame::open(bytes, seal)))
    };
    let bytes: usize = found.iter().map(|(_, head)| head.length as usize).sum();
    match bytes < PARALLEL_BYTES_MIN {
        true => found.iter().map(open).collect(),
        false => found.par_iter().map(open).collect(),
    }
}

/// Large enough that several cores have work while the next chunk is read.
const CHUNK_BYTES: usize = 4 << 20;
/// Less is opened on the caller's thread: waking others takes longer.
const PARALLEL_BYTES_MIN: usize = 128 << 10;
