//! Cutting the stream of committed entries into runs: consecutive entries that are applied with one step of the store.
//!
//! A control entry or a membership change is a run by itself, so nothing inside a run can change the cutover, the
//! keyring or the members. Where a run of commands ends otherwise is a matter of size only: the result of
//! applying does not depend on it.

use std::collections::VecDeque;

use crate::apply::hook::is_sealed;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Version;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::limits::OVERLAY_BYTES_MAX;
use crate::limits::RUN_BYTES_MAX;
use crate::limits::RUN_ENTRIES_MAX;
use crate::raft::Committed;

/// What a run consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// Any number of command entries and of raft's own empty ones.
    Commands,
    /// One control entry.
    Control,
    /// One membership change.
    Membership,
}

/// Entries that are applied together.
#[derive(Debug)]
pub(crate) struct Run {
    /// What it consists of.
    pub(crate) kind: RunKind,
    /// At least one; consecutive.
    pub(crate) entries: Vec<Committed>,
}

/// How long a run may become; smaller than the limits only in tests.
#[derive(Clone, Copy, Debug)]
pub struct RunBounds {
    /// Entries of one run, at least 1.
    pub entries_max: usize,
    /// Bytes of entry data of one run; one entry may exceed it alone.
    pub bytes_max: usize,
    /// Bytes of plaintext that a run holds before it is cut between two entries; one entry may exceed it alone.
    pub overlay_bytes_max: u64,
}

impl Default for RunBounds {
    fn default() -> Self {
        RunBounds { entries_max: RUN_ENTRIES_MAX, bytes_max: RUN_BYTES_MAX, overlay_bytes_max: OVERLAY_BYTES_MAX }
    }
}

/// Takes the next run off the front of `queue`, as long as `bounds` allow; `None` if the queue is empty.
///
/// `cutover` is the one in force: every control entry up to here was applied.
pub(crate) fn take_run(queue: &mut VecDeque<Committed>, cutover: Index, bounds: RunBounds) -> Option<Run> {
    let kind = kind_of(&queue.front()?.entry, cutover);
    let count = match kind {
        RunKind::Commands => count_commands(queue, cutover, bounds),
        RunKind::Control | RunKind::Membership => 1,
    };
    let entries: Vec<Committed> = queue.drain(..count).collect();
    Some(Run { kind, entries })
}

/// How many entries at the front of `queue` make one run of commands, if the first is one.
pub(crate) fn count_commands(queue: &VecDeque<Committed>, cutover: Index, bounds: RunBounds) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for committed in queue.iter().take(bounds.entries_max.max(1)) {
        bytes += committed.entry.data.len();
        let fits = count == 0 || bytes <= bounds.bytes_max;
        if !fits || kind_of(&committed.entry, cutover) != RunKind::Commands {
            break;
        }
        count += 1;
    }
    count
}

/// Which kind of run `entry` belongs to. Bytes that make no sense belong to the commands, where they halt at their place.
pub(crate) fn kind_of(entry: &LogEntry, cutover: Index) -> RunKind {
    match entry.kind {
        EntryKind::ConfChange | EntryKind::ConfChangeV2 => RunKind::Membership,
        EntryKind::Normal if is_control(entry, cutover) => RunKind::Control,
        EntryKind::Normal => RunKind::Commands,
    }
}

/// Told from clear bytes alone: above the cutover by the envelope's version, at or below it by the kind of the payload.
fn is_control(entry: &LogEntry, cutover: Index) -> bool {
    let Ok(frame) = EntryFrame::decode(&entry.data) else {
        return false;
    };
    if is_sealed(entry.index, cutover) {
        Version::peek(frame.payload) == Some(Version::Control)
    } else {
        frame.payload.first() == Some(&PAYLOAD_KIND_CONTROL)
    }
}

/// First byte of a control entry's payload, as drawn in `fsm/codec`.
const PAYLOAD_KIND_CONTROL: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::codec::encode_control;

    #[test]
    fn the_kind_byte_of_a_control_payload_is_the_codecs() {
        let mut payload = Vec::new();
        encode_control(b"change", &mut payload).unwrap();
        assert_eq!(payload[0], PAYLOAD_KIND_CONTROL);
    }
}
