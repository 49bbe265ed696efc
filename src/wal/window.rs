//! Reading a slot through a window of bounded size, so that recovery needs no memory for a whole segment.

use crate::disk::AlignedBuffer;
use crate::disk::Disk;
use crate::disk::SlotId;
use crate::disk::padded;
use crate::wal::config::Sizes;
use crate::wal::error::During;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::HEAD_LEN;
use crate::wal::seal::SegmentSeal;

/// A piece of one slot in memory.
#[derive(Debug)]
pub(crate) struct Window {
    buffer: AlignedBuffer,
    slot: Option<SlotId>,
    start: u64,
    len: usize,
}

impl Window {
    pub(crate) fn new(block: usize) -> Window {
        Window { buffer: AlignedBuffer::new(padded(WINDOW_BYTES, block), block), slot: None, start: 0, len: 0 }
    }

    /// `len` bytes at `offset`, which is on a block; read if need be, together with the bytes behind them.
    ///
    /// # Panics
    /// If they do not end within `slot_bytes`.
    pub(crate) fn bytes(
        &mut self,
        disk: &mut dyn Disk,
        slot: SlotId,
        slot_bytes: u64,
        offset: u64,
        len: usize,
    ) -> Result<&[u8], WalError> {
        let held =
            self.slot == Some(slot) && offset >= self.start && offset + len as u64 <= self.start + self.len as u64;
        if !held {
            let block = disk.block_bytes();
            let need = padded(len, block);
            assert!(offset + need as u64 <= slot_bytes, "callers stay within the slot");
            if need > self.buffer.len() {
                self.buffer = AlignedBuffer::new(need, block);
            }
            let left = usize::try_from(slot_bytes - offset).unwrap_or(usize::MAX);
            let take = left.min(self.buffer.len()) / block * block;
            self.slot = None;
            let read = disk.read(slot, offset, &mut self.buffer, take);
            read.map_err(|source| WalError::Disk { slot, during: During::Read, source })?;
            (self.slot, self.start, self.len) = (Some(slot), offset, take);
        }
        let from = usize::try_from(offset - self.start).expect("within the buffer");
        Ok(&self.buffer[from..from + len])
    }

    /// `len` bytes at `offset`, a multiple of the block, and nothing more; the window holds nothing afterwards.
    pub(crate) fn bytes_exactly(
        &mut self,
        disk: &mut dyn Disk,
        slot: SlotId,
        offset: u64,
        len: usize,
    ) -> Result<&[u8], WalError> {
        self.slot = None;
        if len > self.buffer.len() {
            self.buffer = AlignedBuffer::new(len, disk.block_bytes());
        }
        let read = disk.read(slot, offset, &mut self.buffer, len);
        read.map_err(|source| WalError::Disk { slot, during: During::Read, source })?;
        Ok(&self.buffer[..len])
    }

    /// The bytes at `offset` as the head of a frame, if a frame within the slot could have it.
    pub(crate) fn head(
        &mut self,
        disk: &mut dyn Disk,
        slot: SlotId,
        sizes: &Sizes,
        offset: u64,
    ) -> Result<Option<FrameHead>, WalError> {
        if offset + sizes.block as u64 > sizes.slot {
            return Ok(None);
        }
        let bytes = self.bytes(disk, slot, sizes.slot, offset, sizes.block)?;
        let head = FrameHead::parse(bytes.first_chunk::<HEAD_LEN>().expect("a block holds a head"));
        let space = usize::try_from(sizes.slot - offset).unwrap_or(usize::MAX).min(sizes.frame_max);
        Ok(head.plausible_length(space).map(|_| head))
    }

    /// The frame at `offset`, if there is one whose checksum is right.
    pub(crate) fn frame(
        &mut self,
        disk: &mut dyn Disk,
        slot: SlotId,
        sizes: &Sizes,
        seal: &SegmentSeal,
        offset: u64,
    ) -> Result<Option<(FrameHead, &[u8])>, WalError> {
        let Some(head) = self.head(disk, slot, sizes, offset)? else {
            return Ok(None);
        };
        let bytes = self.bytes(disk, slot, sizes.slot, offset, head.length as usize)?;
        Ok(frame::crc_is_right(bytes, seal).then_some((head, bytes)))
    }
}

/// Large enough for full speed of sequential direct reads.
const WINDOW_BYTES: usize = 1 << 20;
