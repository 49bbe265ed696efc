//! Reading a log back: the eight rules of the log, see [`crate::design`]. Changes nothing on disk.
//!
//! The heart is rule 4: an end that was never acknowledged is dropped, everything else that is not readable is damage
//! and refused (TORN-TAIL-ONLY). The proof that something was acknowledged is a watermark in a later frame, or a later
//! segment, which is only begun when everything before it is durable.

use std::io;

use crate::disk::Disk;
use crate::disk::SlotId;
use crate::disk::slot_name;
use crate::ids::Index;
use crate::wal::config::Sizes;
use crate::wal::contents::LogContents;
use crate::wal::contents::WholeFrame;
use crate::wal::error::During;
use crate::wal::error::Reason;
use crate::wal::error::WalError;
use crate::wal::frame::Body;
use crate::wal::frame::FrameHead;
use crate::wal::header::SegmentHeader;
use crate::wal::kept::KeptEntries;
use crate::wal::reader::FrameReader;
use crate::wal::reader::ReadBuffers;
use crate::wal::reader::ReadFrame;
use crate::wal::reader::ReadFrames;
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
    /// Those above the compacted position.
    pub(crate) entries: KeptEntries,
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

/// A part of the log, in the order in which it was written.
#[derive(Debug)]
pub enum LogPart<'a> {
    /// A segment begins.
    Segment {
        /// File name of its slot, without a directory.
        file: &'a str,
        /// Its header.
        header: &'a SegmentHeader,
        /// Segments before it.
        at: usize,
        /// Segments in all.
        of: usize,
    },
    /// A frame whose checksum is right.
    Frame {
        /// File name of its slot, without a directory.
        file: &'a str,
        /// Bytes from the start of the slot.
        offset: u64,
        /// The part outside the seal.
        head: &'a FrameHead,
        /// The sealed part, or why the log is refused here.
        body: Result<&'a Body, Reason>,
        /// Entries above this index are sealed, as far as the log knows; `Index::NEVER` if none.
        cutover: Index,
    },
}

/// What stays in memory of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The newest entries that count, up to so many bytes of data, at least one and all above the commit, and where each lies.
    Entries {
        /// See [`LogConfig::kept_bytes_max`](crate::wal::LogConfig::kept_bytes_max).
        bytes_max: usize,
    },
    /// Nothing but the newest state.
    Nothing,
}

/// Reads the whole log, and shows each part of it to `watch` once it was judged.
///
/// # Errors
/// Every refusal of [`WalError`]; `Disk` if a slot cannot be read, or `watch` fails.
pub(crate) fn recover(
    disk: &mut dyn Disk,
    key: &SegmentKeys,
    entry_bytes_max: usize,
    keep: Keep,
    watch: &mut dyn FnMut(LogPart<'_>) -> io::Result<()>,
) -> Result<Replayed, WalError> {
    let headers = scan::read_headers(disk, key)?;
    let first = headers.run.first().ok_or(WalError::NoSegment)?;
    let newest = headers.run.last().ok_or(WalError::NoSegment)?;
    let sizes = Sizes::new(newest.header.segment_bytes, entry_bytes_max, newest.header.block_bytes as usize)?;
    check_slot_sizes(disk, &headers, &sizes)?;
    let log = Replayed::new(sizes, LogState::before_segment(&first.header), Segments::default());
    let mut replay = Replay { buffers: ReadBuffers::new(&sizes), disk, key, log, keep, watch };
    for (at, found) in headers.run.iter().enumerate() {
        let (file, header, of) = (&*slot_name(found.slot), &found.header, headers.run.len());
        (replay.watch)(LogPart::Segment { file, header, at, of }).map_err(|source| not_shown(found.slot, source))?;
        replay.segment(found, headers.run.get(at + 1))?;
    }
    replay.prove_unfinished(&headers.unfinished)?;
    let log = replay.log.finish(headers)?;
    if keep != Keep::Nothing {
        let (state, kept) = (log.contents.state(), &log.entries);
        let first = state.compacted.index.next();
        assert!(kept.have_no_gaps(), "entries have no gaps");
        assert_eq!(kept.first().unwrap_or(first), first, "every entry that counts was kept, or its term");
        assert_eq!(kept.last().map_or(first, Index::next), state.next, "up to the newest");
    }
    Ok(log)
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
    buffers: ReadBuffers,
    key: &'a SegmentKeys,
    log: Replayed,
    keep: Keep,
    watch: &'a mut dyn FnMut(LogPart<'_>) -> io::Result<()>,
}

impl Replay<'_> {
    /// Rules 3 and 4 for one segment of the run.
    fn segment(&mut self, found: &FoundSegment, successor: Option<&FoundSegment>) -> Result<(), WalError> {
        let header = &found.header;
        if header.first_frame != self.log.expected() || header.chain_in != self.log.contents.state().chain {
            return Err(found.refused(0, Reason::GapBeforeSegment));
        }
        if header.next_index != self.log.contents.state().next {
            return Err(found.refused(0, Reason::MalformedHeader));
        }
        let seal = self.key.segment(header.segment, &header.salt);
        self.log.segments.begin(header.segment, found.slot, seal.clone());
        let (sizes, place) = (self.log.sizes, (header.segment, seal));
        let mut reader = FrameReader::new(self.disk, &mut self.buffers, sizes, found.slot, place);
        let file = slot_name(found.slot);
        loop {
            let ReadFrames { frames, ends_at } = reader.next()?;
            for frame in frames {
                if let Some(successor) = successor.filter(|it| it.header.first_frame <= self.log.expected()) {
                    // The rest of the segment is dead: never acknowledged, or dropped by an earlier recovery.
                    return continues(found, successor, self.log.contents.state());
                }
                let ReadFrame { offset, head, .. } = frame;
                let judged = self.log.judge(header.segment, &frame);
                let body = judged.and_then(|()| frame.body.as_ref().map_err(|reason| *reason));
                let cutover = self.log.contents.state().cutover;
                let shown = (self.watch)(LogPart::Frame { file: &file, offset, head: &head, body, cutover });
                shown.map_err(|source| not_shown(found.slot, source))?;
                let body = judged.and(frame.body).map_err(|reason| found.refused(offset, reason))?;
                self.log.keep(header.segment, body, self.keep);
            }
            match (ends_at, successor) {
                (None, _) => {}
                (Some(_), Some(successor)) if successor.header.first_frame <= self.log.expected() => {
                    return continues(found, successor, self.log.contents.state());
                }
                (Some(offset), Some(_)) => return Err(found.refused(offset, Reason::AcknowledgedDamaged)),
                (Some(offset), None) => return self.end(found, offset),
            }
        }
    }

    /// Rule 4 for the newest segment: nothing readable at `offset`; is that an unfinished end, or damage?
    fn end(&mut self, found: &FoundSegment, offset: u64) -> Result<(), WalError> {
        let (missing, sizes) = (self.log.expected(), self.log.sizes);
        let torn = TornEnd { segment: found.header.segment, slot: found.slot, offset };
        let seal = self.key.segment(found.header.segment, &found.header.salt);
        let mut window = Window::new(sizes.block);
        // A head that names this segment is ours: frames of the slot's earlier lives name theirs.
        let begun = window.head(self.disk, found.slot, &sizes, offset)?;
        self.log.torn = begun.filter(|head| head.segment == found.header.segment).map(|_| torn);
        let mut further = offset + sizes.block as u64;
        while further + sizes.block as u64 <= sizes.slot {
            let head = window.head(self.disk, found.slot, &sizes, further)?;
            if head.is_some_and(|head| head.segment == found.header.segment) {
                let frame = window.frame(self.disk, found.slot, &sizes, &seal, further)?;
                if let Some((head, _)) = frame {
                    self.log.torn = Some(torn);
                    if head.watermark >= missing {
                        return Err(found.refused(offset, Reason::AcknowledgedDamaged));
                    }
                }
            }
            further += sizes.block as u64;
        }
        Ok(())
    }

    /// Rule 1, the rest: a slot whose headers are unreadable is an unfinished first write, unless a chain of two
    /// frames in it proves that the missing frame was acknowledged. The chain needs no salt, which lay in the headers.
    fn prove_unfinished(&mut self, unfinished: &[SlotId]) -> Result<(), WalError> {
        let (missing, sizes) = (self.log.expected(), self.log.sizes);
        let mut window = Window::new(sizes.block);
        for slot in unfinished.iter().copied() {
            let found = scan::chained_frame(self.disk, &mut window, slot, &sizes, missing)?;
            if let Some(head) = found {
                let reason = Reason::AcknowledgedDamaged;
                return Err(WalError::Refused { segment: head.segment, slot, offset: 0, reason });
            }
        }
        Ok(())
    }
}

impl Replayed {
    /// A log in this state, of which no frame was read.
    pub(crate) fn new(sizes: Sizes, state: LogState, segments: Segments) -> Replayed {
        let (contents, entries) = (LogContents::new(state), KeptEntries::default());
        Replayed { sizes, contents, segments, entries, torn: None, frames: 0 }
    }

    /// Number of the frame that comes next.
    fn expected(&self) -> u64 {
        self.contents.state().frame + 1
    }

    /// Rule 3: whether this frame may come next in a segment; if so the log's state is the one after it.
    fn judge(&mut self, segment: u64, frame: &ReadFrame) -> Result<(), Reason> {
        let ReadFrame { offset, head, tag, body } = frame;
        let expected = self.expected();
        let reason = if head.segment != segment {
            Some(Reason::OtherSegment)
        } else if head.number != expected || head.watermark >= expected {
            Some(Reason::OutOfOrder)
        } else if head.previous != self.contents.state().chain {
            Some(Reason::ChainBroken)
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(reason);
        }
        let Body { records, entries } = body.as_ref().map_err(|reason| *reason)?;
        let segment = self.segments.newest().expect("the segment being read was begun");
        let (offset, length, tag) = (*offset, head.length, *tag);
        self.contents.frame_taken(segment, WholeFrame { offset, length, tag, records, entries })?;
        self.frames += 1;
        Ok(())
    }

    /// Recovered frames are durable, so entries that the frame replaced or dropped are forgotten at once.
    fn keep(&mut self, segment: u64, body: Body, keep: Keep) {
        if body.records.reset.is_some() {
            self.segments.forget_entries_before(segment);
            self.entries.clear();
        }
        let Keep::Entries { bytes_max } = keep else {
            return self.contents.forget_places();
        };
        let state = self.contents.state();
        self.entries.push(body.entries);
        self.entries.trim(state.compacted.index);
        self.entries.cut(bytes_max, state.hard_state.commit);
    }

    /// Rule 5, and the slots beside the run.
    fn finish(mut self, headers: Headers) -> Result<Replayed, WalError> {
        let state = self.contents.state();
        if state.low.0 > state.compacted.index.0 + 1 {
            let first = headers.run.first().ok_or(WalError::NoSegment)?;
            let segment = first.header.segment.saturating_sub(1);
            let reason = Reason::EntriesMissing;
            return Err(WalError::Refused { segment, slot: first.slot, offset: 0, reason });
        }
        self.segments.add_dirty(headers.stale.into_iter().chain(headers.unfinished));
        headers.free.into_iter().for_each(|slot| self.segments.add_free(slot));
        Ok(self)
    }
}

fn not_shown(slot: SlotId, source: io::Error) -> WalError {
    WalError::Disk { slot, during: During::Show, source }
}

/// Whether the successor continues what was read of a segment.
fn continues(found: &FoundSegment, successor: &FoundSegment, state: &LogState) -> Result<(), WalError> {
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
