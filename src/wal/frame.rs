//! The frame: the unit of writing and sealing. Begins on a block, padded with zeros to the next.
//!
//! ```text
//! off   size  field
//! 0     4     CRC32C of bytes 4..length, seeded with the first 4 bytes of the salt
//! 4     4     length: header, body, tag; without padding
//! 8     4     kind: bit 0 entries, 1 trim, 2 reset, 3 hard state, 4 cutover, 5 peer marks, 6 idle; bit 31 sealed
//! 12    4     random
//! 16    8     frame number, without gaps over the whole log; GCM nonce = bytes 12..24
//! 24    8     zero
//! 32    8     durable watermark: the highest frame known durable when this one was built
//! 40    8     segment number
//! 48    16    tag of the previous frame
//! 64          body, sealed: for each bit of kind in this order
//!               hard state   term(8) vote(8) commit(8)
//!               trim, reset  index(8) term(8); never both
//!               cutover      index(8)
//!               peer marks   count(4), each node(8) frame(8) tag(16)
//!               entries      first index(8) count(4), each term(8) length(4) kind(4); then the entries' bytes
//! end   16    tag; AAD = bytes 4..64
//! ```
//!
//! In a log without a key bit 31 is clear and the tag is the CRC32C of bytes 4..end, same seed, zero-extended to 16
//! bytes: it orders frames, it does not protect them. A body has nothing behind its last record.

use bytes::BufMut;
use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::LOG_NUMBER_MAX;
use crate::limits::PEER_MARKS_MAX;
use crate::wal::HardState;
use crate::wal::error::Reason;
use crate::wal::seal::SegmentSeal;

/// Tag of a frame; the next one carries it.
pub type Tag = [u8; TAG_LEN];

/// Bytes before the body.
pub(crate) const HEAD_LEN: usize = 64;
/// Bytes before an entry's own, in the table of entries.
pub(crate) const ENTRY_HEAD_LEN: usize = 16;
/// Longest frame around one entry, less the entry's bytes: head, every record but peer marks, entry table, tag.
pub(crate) const FRAME_OVERHEAD_MAX: usize = HEAD_LEN + 24 + 16 + 8 + 12 + ENTRY_HEAD_LEN + TAG_LEN;

/// Kind bits.
pub(crate) mod kind {
    pub(crate) const ENTRIES: u32 = 1;
    pub(crate) const TRIM: u32 = 1 << 1;
    pub(crate) const RESET: u32 = 1 << 2;
    pub(crate) const HARD_STATE: u32 = 1 << 3;
    pub(crate) const CUTOVER: u32 = 1 << 4;
    pub(crate) const PEER_MARKS: u32 = 1 << 5;
    pub(crate) const IDLE: u32 = 1 << 6;
    pub(crate) const SEALED: u32 = 1 << 31;
    pub(crate) const ALL: u32 = ENTRIES | TRIM | RESET | HARD_STATE | CUTOVER | PEER_MARKS | IDLE | SEALED;
}

/// The fields of a frame outside its seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Header, body, tag, in bytes; without padding.
    pub length: u32,
    /// Which records follow, and bit 31: sealed.
    pub kind: u32,
    /// Part of the nonce.
    pub random: [u8; 4],
    /// Without gaps over the whole log.
    pub number: u64,
    /// Every frame up to this number was durable when this one was built.
    pub watermark: u64,
    /// The segment it was written in.
    pub segment: u64,
    /// Tag of the frame before.
    pub previous: Tag,
}

/// The highest frame that a peer has acknowledged: a peer that comes back with less has lost some of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerMark {
    /// The peer.
    pub node: u64,
    /// Highest frame that it has acknowledged.
    pub frame: u64,
    /// That frame's tag.
    pub tag: Tag,
}

/// The contents of a frame beside entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Raft's hard state from here on.
    pub hard_state: Option<HardState>,
    /// Entries up to here are no longer needed.
    pub trim: Option<Position>,
    /// The log begins anew behind this.
    pub reset: Option<Position>,
    /// The cutover, known from here on.
    pub cutover: Option<Index>,
    /// How far peers have come.
    pub peer_marks: Vec<PeerMark>,
    /// Nothing but the watermark.
    pub idle: bool,
}

/// The inside of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// All but the entries.
    pub records: Records,
    /// Consecutive.
    pub entries: Vec<LogEntry>,
}

impl FrameHead {
    /// Reads the fields, right or wrong.
    pub(crate) fn parse(bytes: &[u8; HEAD_LEN]) -> FrameHead {
        let behind_crc = &mut Reader::new(&bytes[4..]);
        FrameHead::read(behind_crc).expect("a head holds every field")
    }

    fn read(reader: &mut Reader<'_>) -> Result<FrameHead, CodecError> {
        let (length, kind, random) = (reader.u32("length")?, reader.u32("kind")?, reader.array("random")?);
        let (number, _zero) = (reader.u64("number")?, reader.u64("zero")?);
        let (watermark, segment) = (reader.u64("watermark")?, reader.u64("segment")?);
        Ok(FrameHead { length, kind, random, number, watermark, segment, previous: reader.array("previous tag")? })
    }

    /// The length, if a frame of at most `space` bytes can have it.
    pub(crate) fn plausible_length(&self, space: usize) -> Option<usize> {
        let length = usize::try_from(self.length).ok()?;
        (HEAD_LEN + TAG_LEN..=space).contains(&length).then_some(length)
    }
}

impl Records {
    fn kind(&self) -> u32 {
        let bit = |present: bool, bit: u32| if present { bit } else { 0 };
        bit(self.trim.is_some(), kind::TRIM)
            | bit(self.reset.is_some(), kind::RESET)
            | bit(self.hard_state.is_some(), kind::HARD_STATE)
            | bit(self.cutover.is_some(), kind::CUTOVER)
            | bit(!self.peer_marks.is_empty(), kind::PEER_MARKS)
            | bit(self.idle, kind::IDLE)
    }

    fn len(&self) -> usize {
        let size = |present: bool, bytes: usize| if present { bytes } else { 0 };
        size(self.hard_state.is_some(), 24)
            + size(self.trim.is_some(), 16)
            + size(self.reset.is_some(), 16)
            + size(self.cutover.is_some(), 8)
            + size(!self.peer_marks.is_empty(), 4 + PEER_MARK_LEN * self.peer_marks.len())
    }
}

/// Bytes that a frame with these contents has, without padding.
pub(crate) fn frame_len(records: &Records, entries: &[LogEntry]) -> usize {
    let table = if entries.is_empty() { 0 } else { 12 };
    let entries: usize = entries.iter().map(|entry| ENTRY_HEAD_LEN + entry.data.len()).sum();
    HEAD_LEN + records.len() + table + entries + TAG_LEN
}

/// Draws a frame at the front of `out`, which is zeroed to its end, and returns its tag. `length` and `kind` of `head`
/// are filled in here.
///
/// # Panics
/// If `out` is shorter than the frame, or both trim and reset are given.
pub(crate) fn encode(
    head: &FrameHead,
    records: &Records,
    entries: &[LogEntry],
    seal: &SegmentSeal,
    out: &mut [u8],
) -> Tag {
    assert!(records.trim.is_none() || records.reset.is_none(), "trim and reset go in frames of their own");
    let length = frame_len(records, entries);
    let mut kind = records.kind();
    kind |= if entries.is_empty() { 0 } else { kind::ENTRIES };
    kind |= if seal.is_sealed() { kind::SEALED } else { 0 };
    let (frame, padding) = out.split_at_mut(length);
    padding.fill(0);
    frame[4..8].copy_from_slice(&u32::try_from(length).expect("a frame is far below 4 GiB").to_be_bytes());
    frame[8..12].copy_from_slice(&kind.to_be_bytes());
    frame[12..16].copy_from_slice(&head.random);
    frame[16..24].copy_from_slice(&head.number.to_be_bytes());
    frame[24..32].fill(0);
    frame[32..40].copy_from_slice(&head.watermark.to_be_bytes());
    frame[40..48].copy_from_slice(&head.segment.to_be_bytes());
    frame[48..64].copy_from_slice(&head.previous);
    let mut body = &mut frame[HEAD_LEN..length - TAG_LEN];
    put_records(&mut body, records);
    put_entries(&mut body, entries);
    assert!(body.is_empty(), "frame_len counts what is put");
    let (head, text) = frame.split_at_mut(HEAD_LEN);
    seal.seal(nonce(head), &head[4..], text);
    let tag = text[text.len() - TAG_LEN..].try_into().expect("16 bytes at the end");
    let crc = seal.crc(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_be_bytes());
    tag
}

/// Whether the checksum of a whole frame is right.
pub(crate) fn crc_is_right(frame: &[u8], seal: &SegmentSeal) -> bool {
    frame[..4] == seal.crc(&frame[4..]).to_be_bytes()
}

/// The tag at the end of a frame.
pub(crate) fn tag_of(frame: &[u8]) -> Tag {
    frame[frame.len() - TAG_LEN..].try_into().expect("plausible lengths hold a tag")
}

/// Opens a frame whose checksum is right.
///
/// # Errors
/// A bad seal, kind or body behind a good checksum (rule 3 of recovery).
pub(crate) fn open(frame: &[u8], seal: &SegmentSeal) -> Result<Body, Reason> {
    let (head, text) = frame.split_at(HEAD_LEN);
    let kind = u32::from_be_bytes(head[8..12].try_into().expect("4 bytes of the head"));
    match (kind & kind::SEALED != 0, seal.is_sealed()) {
        (false, true) => return Err(Reason::NotSealed),
        (true, false) => return Err(Reason::Sealed),
        _ => {}
    }
    let mut text = text.to_vec();
    if !seal.open(nonce(head), &head[4..], &mut text) {
        return Err(Reason::Forged);
    }
    text.truncate(text.len() - TAG_LEN);
    if kind & !kind::ALL != 0 || head[24..32] != [0; 8] {
        return Err(Reason::Malformed);
    }
    parse_body(kind, &Bytes::from(text)).map_err(|_| Reason::Malformed)
}

fn nonce(head: &[u8]) -> [u8; NONCE_LEN] {
    head[12..24].try_into().expect("12 bytes of the head")
}

fn put_records(body: &mut impl BufMut, records: &Records) {
    if let Some(state) = records.hard_state {
        body.put_u64(state.term.0);
        body.put_u64(state.vote);
        body.put_u64(state.commit.0);
    }
    for position in [records.trim, records.reset].into_iter().flatten() {
        body.put_u64(position.index.0);
        body.put_u64(position.term.0);
    }
    if let Some(cutover) = records.cutover {
        body.put_u64(cutover.0);
    }
    if !records.peer_marks.is_empty() {
        assert!(records.peer_marks.len() <= PEER_MARKS_MAX);
        body.put_u32(u32::try_from(records.peer_marks.len()).expect("few"));
        for mark in &records.peer_marks {
            body.put_u64(mark.node);
            body.put_u64(mark.frame);
            body.put_slice(&mark.tag);
        }
    }
}

fn put_entries(body: &mut impl BufMut, entries: &[LogEntry]) {
    let Some(first) = entries.first() else { return };
    body.put_u64(first.index.0);
    body.put_u32(u32::try_from(entries.len()).expect("a frame holds few entries"));
    for entry in entries {
        body.put_u64(entry.term.0);
        body.put_u32(u32::try_from(entry.data.len()).expect("an entry is far below 4 GiB"));
        body.put_u32(entry.kind as u32);
    }
    for entry in entries {
        body.put_slice(&entry.data);
    }
}

fn parse_body(kind: u32, body: &Bytes) -> Result<Body, CodecError> {
    let mut reader = Reader::new(body);
    let mut records = Records { idle: kind & kind::IDLE != 0, ..Records::default() };
    if kind & kind::TRIM != 0 && kind & kind::RESET != 0 {
        return Err(CodecError::Field { field: "kind" });
    }
    if kind & kind::HARD_STATE != 0 {
        let (term, vote) = (Term(number(&mut reader, "term")?), reader.u64("vote")?);
        records.hard_state = Some(HardState { term, vote, commit: Index(number(&mut reader, "commit")?) });
    }
    if kind & (kind::TRIM | kind::RESET) != 0 {
        let index = Index(number(&mut reader, "position's index")?);
        let position = Position { index, term: Term(number(&mut reader, "position's term")?) };
        let record = if kind & kind::TRIM != 0 { &mut records.trim } else { &mut records.reset };
        *record = Some(position);
    }
    if kind & kind::CUTOVER != 0 {
        records.cutover = Some(Index(reader.u64("cutover")?));
    }
    if kind & kind::PEER_MARKS != 0 {
        records.peer_marks = parse_peer_marks(&mut reader)?;
    }
    let entries = if kind & kind::ENTRIES != 0 { parse_entries(&mut reader, body)? } else { Vec::new() };
    reader.end()?;
    Ok(Body { records, entries })
}

fn parse_peer_marks(reader: &mut Reader<'_>) -> Result<Vec<PeerMark>, CodecError> {
    let count = reader.count(PEER_MARK_LEN, "peer marks")? as usize;
    if count == 0 || count > PEER_MARKS_MAX {
        return Err(CodecError::Field { field: "peer marks" });
    }
    let mark = |reader: &mut Reader<'_>| {
        Ok(PeerMark { node: reader.u64("node")?, frame: reader.u64("frame")?, tag: reader.array("tag")? })
    };
    (0..count).map(|_| mark(reader)).collect()
}

/// The entries share the memory of `body`, which `reader` reads.
fn parse_entries(reader: &mut Reader<'_>, body: &Bytes) -> Result<Vec<LogEntry>, CodecError> {
    let first = number(reader, "first index")?;
    let count = reader.count(ENTRY_HEAD_LEN, "entries")? as usize;
    if count == 0 || first == 0 {
        return Err(CodecError::Field { field: "entries" });
    }
    let mut table = Reader::new(reader.slice(count * ENTRY_HEAD_LEN, "entry table")?);
    let mut entries = Vec::with_capacity(count);
    for index in (first..).map(Index).take(count) {
        let (term, length) = (Term(number(&mut table, "term")?), table.u32("length")?);
        let kind = EntryKind::from_number(table.u32("kind")?).ok_or(CodecError::Field { field: "kind" })?;
        let data = body.slice_ref(reader.slice(length as usize, "entry")?);
        entries.push(LogEntry { term, index, kind, data });
    }
    Ok(entries)
}

/// A number that the log counts with.
fn number(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, CodecError> {
    let number = reader.u64(field)?;
    if number > LOG_NUMBER_MAX { Err(CodecError::Field { field }) } else { Ok(number) }
}

/// Bytes of a peer mark.
const PEER_MARK_LEN: usize = 32;
