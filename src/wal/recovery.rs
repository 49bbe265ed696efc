//! Reading a log back: the eight rules of the log, see [`crate::design`]. Changes nothing on disk.
//!
//! The heart is rule 4: an end that was never acknowledged is dropped, everything else that is not readable is damage
//! and refused (TORN-TAIL-ONLY). The proof that something was acknowledged is a watermark in a later frame, or a later
//! segment, which is only begun when everything before it is durable.

use std::collections::VecDeque;

use crate::disk::Disk;
use crate::disk::SlotId;
use crate::entry::LogEntry;
use crate::wal::config::Sizes;
use crate::wal::contents::LogContents;
use crate::wal::contents::WholeFrame;
use crate::wal::error::Reason;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::Body;
use crate::wal::header::SegmentHeader;
use crate::wal::scan;
use crate::wal::scan::FoundSegment;
use crate::wal::scan::Headers;
use crate::wal::seal::SegmentKeys;
use crate::wal::segments::Segments;
use crate::wal::state::LogState;
use crate::wal::window::Window;

/// A log as it was found.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) sizes: Sizes,
    pub(crate) contents: LogContents,
    pub(crate) segments: Segments,
    pub(crate) entries: Vec<LogEntry>,
    /// Where an unfinished end was dropped.
    pub(crate) torn: Option<TornEnd>,
    pub(crate) frames: u64,
}

/// Where the unfinished end of the log began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornEnd {
    /// Number of the newest segment.
    pub segment: u64,
    /// Its slot.
    pub slot: SlotId,
    /// Bytes from the start of the slot.
    pub offset: u64,
}

/// Reads the whole log.
///
/// # Errors
/// Every refusal of [`WalError`]; `Disk` if a slot cannot be read.
pub(crate) fn recover(disk: &mut dyn Disk, key: &SegmentKeys, entry_bytes_max: usize) -> Result<Replayed, WalError> {
    let headers = scan::read_headers(disk, key)?;
    let newest = headers.run.last().ok_or(WalError::NoSegment)?;
    let sizes = Sizes::new(newest.header.segment_bytes, entry_bytes_max, newest.header.block_bytes as usize)?;
    check_slot_sizes(disk, &headers, &sizes)?;
    let mut replay = Replay::begin(disk, key, sizes, &headers)?;
    for at in 0..headers.run.len() {
        replay.segment(&headers.run[at], headers.run.get(at + 1))?;
    }
    replay.prove_unfinished(&headers.unfinished)?;
    replay.finish(headers)
}

fn check_slot_sizes(disk: &dyn Disk, headers: &Headers, sizes: &Sizes) -> Result<(), WalError> {
    for slot in (0..disk.slot_count()).map(SlotId) {
        let found = headers.run.iter().find(|found| found.slot == slot);
        let claimed = found.map_or(sizes.slot, |found| found.header.segment_bytes);
        if disk.slot_bytes(slot) != Some(sizes.slot) || claimed != sizes.slot {
            let segment = found.map_or(0, |found| found.header.segment);
            return Err(WalError::Refused { segment, slot, offset: 0, reason: Reason::SlotSize });
        }
    }
    Ok(())
}

struct Replay<'a> {
    disk: &'a mut dyn Disk,
    key: &'a SegmentKeys,
    window: Window,
    sizes: Sizes,
    contents: LogContents,
    segments: Segments,
    /// Those from the state's `low` on.
    entries: VecDeque<LogEntry>,
    torn: Option<TornEnd>,
    frames: u64,
}

impl<'a> Replay<'a> {
    fn begin(
        disk: &'a mut dyn Disk,
        key: &'a SegmentKeys,
        sizes: Sizes,
        headers: &Headers,
    ) -> Result<Replay<'a>, WalError> {
        let first = headers.run.first().ok_or(WalError::NoSegment)?;
        let state = LogState::before_segment(&first.header);
        Ok(Replay {
            window: Window::new(disk.block_bytes()),
            disk,
            key,
            sizes,
            contents: LogContents::new(state),
            segments: Segments::default(),
            entries: VecDeque::new(),
            torn: None,
            frames: 0,
        })
    }

    /// Rules 3 and 4 for one segment of the run.
    fn segment(&mut self, found: &FoundSegment, successor: Option<&FoundSegment>) -> Result<(), WalError> {
        let header = &found.header;
        if header.first_frame != self.contents.state().frame + 1 || header.chain_in != self.contents.state().chain {
            return Err(found.refused(0, Reason::GapBeforeSegment));
        }
        if header.next_index != self.contents.state().next {
            return Err(found.refused(0, Reason::MalformedHeader));
        }
        let seal = self.key.segment(header.segment, &header.salt);
        self.segments.begin(header.segment, found.slot, seal);
        let mut offset = self.sizes.headers();
        loop {
            let expected = self.contents.state().frame + 1;
            if let Some(successor) = successor.filter(|it| it.header.first_frame <= expected) {
                // The rest of the segment is dead: never acknowledged, or dropped by an earlier recovery.
                return ends_at(found, successor, self.contents.state());
            }
            match self.frame(found, offset)? {
                Some(length) => offset += length,
                None if successor.is_some() => return Err(found.refused(offset, Reason::AcknowledgedDamaged)),
                None => return self.end(found, offset),
            }
        }
    }

    /// Takes in the frame at `offset` and returns its padded length; `None` if there is no frame.
    fn frame(&mut self, found: &FoundSegment, offset: u64) -> Result<Option<u64>, WalError> {
        let segment = self.segments.newest().expect("the segment being read was begun");
        let (disk, sizes, seal) = (&mut *self.disk, &self.sizes, segment.seal());
        let Some((head, bytes)) = self.window.frame(disk, found.slot, sizes, seal, offset)? else {
            return Ok(None);
        };
        let expected = self.contents.state().frame + 1;
        let reason = if head.segment != found.header.segment {
            Some(Reason::OtherSegment)
        } else if head.number != expected || head.watermark >= expected {
            Some(Reason::OutOfOrder)
        } else if head.previous != self.contents.state().chain {
            Some(Reason::ChainBroken)
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(found.refused(offset, reason));
        }
        let tag = frame::tag_of(bytes);
        let body = frame::open(bytes, seal).map_err(|reason| found.refused(offset, reason))?;
        let (length, records, entries) = (head.length, &body.records, &body.entries);
        let taken = self.contents.frame_taken(segment, WholeFrame { offset, length, tag, records, entries });
        taken.map_err(|reason| found.refused(offset, reason))?;
        self.frames += 1;
        self.keep(head.segment, body);
        Ok(Some((length as usize).next_multiple_of(self.sizes.block) as u64))
    }

    /// Recovered frames are durable, so entries that the frame replaced or dropped are forgotten at once.
    fn keep(&mut self, segment: u64, body: Body) {
        if body.records.reset.is_some() {
            self.segments.forget_entries_before(segment);
            self.entries.clear();
        }
        if let Some(first) = body.entries.first() {
            while self.entries.back().is_some_and(|entry| entry.index >= first.index) {
                self.entries.pop_back();
            }
            self.entries.extend(body.entries);
        }
        let compacted = self.contents.state().compacted.index;
        while self.entries.front().is_some_and(|entry| entry.index <= compacted) {
            self.entries.pop_front();
        }
    }

    /// Rule 4 for the newest segment: nothing readable at `offset`; is that an unfinished end, or damage?
    fn end(&mut self, found: &FoundSegment, offset: u64) -> Result<(), WalError> {
        let missing = self.contents.state().frame + 1;
        let torn = TornEnd { segment: found.header.segment, slot: found.slot, offset };
        let segment = self.segments.newest().expect("the segment being read was begun");
        // A head that names this segment is ours: frames of the slot's earlier lives name theirs.
        let begun = self.window.head(self.disk, found.slot, &self.sizes, offset)?;
        self.torn = begun.filter(|head| head.segment == found.header.segment).map(|_| torn);
        let mut further = offset + self.sizes.block as u64;
        while further + self.sizes.block as u64 <= self.sizes.slot {
            let (disk, sizes) = (&mut *self.disk, &self.sizes);
            let head = self.window.head(disk, found.slot, sizes, further)?;
            if head.is_some_and(|head| head.segment == found.header.segment) {
                let frame = self.window.frame(disk, found.slot, sizes, segment.seal(), further)?;
                if let Some((head, _)) = frame {
                    self.torn = Some(torn);
                    if head.watermark >= missing {
                        return Err(found.refused(offset, Reason::AcknowledgedDamaged));
                    }
                }
            }
            further += self.sizes.block as u64;
        }
        Ok(())
    }

    /// Rule 1, the rest: a slot whose headers are unreadable is an unfinished first write, unless a chain of two
    /// frames in it proves that the missing frame was acknowledged. The chain needs no salt, which lay in the headers.
    fn prove_unfinished(&mut self, unfinished: &[SlotId]) -> Result<(), WalError> {
        let missing = self.contents.state().frame + 1;
        for slot in unfinished.iter().copied() {
            let found = scan::chained_frame(self.disk, &mut self.window, slot, &self.sizes, missing)?;
            if let Some(head) = found {
                let reason = Reason::AcknowledgedDamaged;
                return Err(WalError::Refused { segment: head.segment, slot, offset: 0, reason });
            }
        }
        Ok(())
    }

    fn finish(self, headers: Headers) -> Result<Replayed, WalError> {
        let first = headers.run.first().ok_or(WalError::NoSegment)?;
        if self.contents.state().low.0 > self.contents.state().compacted.index.0 + 1 {
            let segment = first.header.segment.saturating_sub(1);
            let reason = Reason::EntriesMissing;
            return Err(WalError::Refused { segment, slot: first.slot, offset: 0, reason });
        }
        let mut segments = self.segments;
        segments.add_dirty(headers.stale.into_iter().chain(headers.unfinished));
        headers.free.into_iter().for_each(|slot| segments.add_free(slot));
        let entries = Vec::from(self.entries);
        let contiguous =
            entries.iter().zip(self.contents.state().compacted.index.0 + 1..).all(|(it, at)| it.index.0 == at);
        assert!(
            contiguous
                && entries.len() as u64 == self.contents.state().next.0 - self.contents.state().compacted.index.0 - 1
        );
        Ok(Replayed {
            sizes: self.sizes,
            contents: self.contents,
            segments,
            entries,
            torn: self.torn,
            frames: self.frames,
        })
    }
}

fn ends_at(found: &FoundSegment, successor: &FoundSegment, state: &LogState) -> Result<(), WalError> {
    let header: &SegmentHeader = &successor.header;
    if header.first_frame < found.header.first_frame {
        return Err(successor.refused(0, Reason::OutOfOrder));
    }
    // Fewer frames than the successor counts were handled by reading on; more cannot be, since we stop in time.
    if header.chain_in != state.chain {
        return Err(successor.refused(0, Reason::GapBeforeSegment));
    }
    Ok(())
}
