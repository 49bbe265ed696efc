//! The gate between the log and a state machine: the pre-apply hook as a library.
//!
//! It decides, entry by entry and strictly in order, what the state machine gets: nothing for raft's own empty entries,
//! the payload as it stands for entries at or below the cutover, the opened payload above it. At the first entry that
//! does not open or is malformed it stops: the state machine has then seen exactly the entries before it.
//!
//! The gate knows no store, no waiters, no clock; what it does depends on the entries, the keys and the cutover alone.
//!
//! [`Hook`] is what an embedder holds: it shares the cutover with the proposer's half, `propose::seal`, and may stand in
//! front of any state machine. [`crate::seam`] has an example from the proposal to the applied command.
//!
//! What a state machine is given is borrowed for the call, whether it was sealed or not, so it cannot be kept:
//!
//! ```compile_fail,E0521
//! use sealkv::apply::hook::Delivery;
//! use sealkv::apply::hook::StateMachine;
//! use sealkv::apply::hook::Stop;
//!
//! struct Keeper(Vec<&'static [u8]>);
//!
//! impl StateMachine for Keeper {
//!     fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), Stop> {
//!         self.0.push(delivery.payload); // a copy, `delivery.payload.to_vec()`, may be kept
//!         Ok(())
//!     }
//! }
//! ```

use std::fmt;
use std::sync::Arc;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::open::Openings;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Envelope;
use crate::crypto::envelope::OpenError;
use crate::crypto::open::EntryKeys;
use crate::crypto::open::OpenJob;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Cutover;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::ProposalId;

/// Whether the entry at `index` is sealed: strictly above the cutover (CUTOVER-STRICT). The whole nil-cipher hook.
#[inline]
#[must_use]
pub fn is_sealed(index: Index, cutover: Index) -> bool {
    index > cutover
}

/// One entry as the state machine gets it; borrowed for the call, sealed or not: it cannot be kept.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// Place in the log.
    pub position: Position,
    /// Chosen by the proposing node.
    pub proposal_id: ProposalId,
    /// Plaintext: of a clear entry the log's own bytes, not a copy.
    pub payload: &'a [u8],
    /// The GCM tag of the entry, if it was sealed.
    pub entry_tag: Option<[u8; TAG_LEN]>,
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Delivery");
        shown.field("position", &self.position).field("payload_bytes", &self.payload.len()).finish_non_exhaustive()
    }
}

/// What applies opened entries. Called for every non-empty normal entry, in the order of the log, never for two at once.
pub trait StateMachine {
    /// Applies one entry wholly, or not at all.
    ///
    /// # Errors
    /// A [`Stop`]: the entry has had no effect and the log halts here.
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), Stop>;

    /// An entry that does nothing: raft's own, the first of a term.
    fn skip(&mut self, _position: Position) {}

    /// Whether the pass should end before the next entry, since what was done so far takes much memory.
    fn is_full(&self) -> bool {
        false
    }
}

/// Why an entry goes no further.
#[derive(Debug)]
pub struct Stop {
    /// Why.
    pub cause: HaltCause,
    /// A stored value's key, where that is what was missing; an entry's own key is added by the gate.
    pub key_id: Option<u32>,
}

impl<C: Into<HaltCause>> From<C> for Stop {
    fn from(cause: C) -> Stop {
        Stop { cause: cause.into(), key_id: None }
    }
}

/// Where a pass ended early: `at` entries went through, the next one is the halt's.
#[derive(Debug, thiserror::Error)]
#[error("halted behind {at} entries")]
pub struct Halted {
    /// How many entries were delivered.
    pub at: usize,
    /// The entry behind them.
    #[source]
    pub halt: Halt,
}

/// The pre-apply hook: a cutover that an entry may set, and the arenas to open in. By default it is inert.
#[derive(Default)]
pub struct Hook {
    cutover: Arc<Cutover>,
    openings: Openings,
}

impl Hook {
    /// A hook with its own `cutover`, which the proposer may share, and what opens the entries above it.
    #[must_use]
    pub fn new(cutover: Arc<Cutover>, openings: Openings) -> Hook {
        Hook { cutover, openings }
    }

    /// Hands committed entries to `machine`, opened with `keys` where they are sealed.
    ///
    /// If `machine` sets the cutover by an entry, the entries behind it are judged by the new one; any other thread may
    /// set it only between calls. Keys that the machine puts in place are for the next call, so an entry that does that
    /// should be the last of a call. Returns how many entries went through: all, unless the machine said that it is full.
    ///
    /// # Errors
    /// [`Halted`] at the first entry that cannot be applied: everything before it is, nothing from it on.
    ///
    /// # Panics
    /// If an entry is a membership change: those are no business of a state machine.
    pub fn apply(
        &mut self,
        entries: &[LogEntry],
        keys: Option<&EntryKeys>,
        machine: &mut impl StateMachine,
    ) -> Result<usize, Halted> {
        let mut done = 0;
        while done < entries.len() {
            let planned = self.cutover.load();
            let mut watched = Watched { cutover: &self.cutover, planned, machine: &mut *machine };
            let count = pass(entries[done..].iter(), planned, keys, &mut self.openings, &mut watched)
                .map_err(|halted| Halted { at: done + halted.at, ..halted })?;
            done += count;
            if machine.is_full() {
                break;
            }
        }
        Ok(done)
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("cutover", &self.cutover.load()).finish_non_exhaustive()
    }
}

/// Ends a pass where the cutover is not the one that it was planned with: what lies behind was not opened for it.
struct Watched<'a, M> {
    cutover: &'a Cutover,
    planned: Index,
    machine: &'a mut M,
}

impl<M: StateMachine> StateMachine for Watched<'_, M> {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), Stop> {
        self.machine.apply(delivery)
    }

    fn skip(&mut self, position: Position) {
        self.machine.skip(position);
    }

    fn is_full(&self) -> bool {
        self.machine.is_full() || self.cutover.load() != self.planned
    }
}

/// Opens what is sealed among `entries` and hands them to `machine` in order.
///
/// `keys` are those of the run, `None` = no cipher; `cutover` the index above which entries are sealed, strictly. Both
/// are constant here, so a control entry must not be followed by others in one call (`run` cuts so). Returns how many
/// entries went through: all, unless the machine said that it is full.
///
/// # Errors
/// [`Halted`] at the first entry that cannot be applied.
///
/// # Panics
/// If an entry is a membership change: those are no business of a state machine.
pub fn pass<'e, I>(
    entries: I,
    cutover: Index,
    keys: Option<&EntryKeys>,
    openings: &mut Openings,
    machine: &mut impl StateMachine,
) -> Result<usize, Halted>
where
    I: Iterator<Item = &'e LogEntry> + Clone,
{
    open_sealed(entries.clone(), cutover, keys, openings);
    deliver(entries, cutover, keys.is_some(), openings, machine)
}

/// The first half: plan, then open everything that is sealed, in parallel.
pub(crate) fn open_sealed<'e, I>(
    entries: I,
    cutover: Index,
    keys: Option<&EntryKeys>,
    openings: &mut Openings,
) -> Opened
where
    I: Iterator<Item = &'e LogEntry> + Clone,
{
    openings.clear();
    let Some(keys) = keys else {
        return Opened::default();
    };
    let sealed = || entries.clone().filter(|entry| needs_opening(entry, cutover));
    // Counted first, so that a run costs one allocation for its plan, however long it is, and none if nothing is sealed.
    let mut jobs = Vec::with_capacity(sealed().count());
    jobs.extend(sealed().map(open_job));
    openings.open(keys, &jobs);
    Opened { entries: jobs.len() as u64, bytes: jobs.iter().map(|job| job.data.len() as u64).sum() }
}

/// The second half: strictly in order, up to the first entry that cannot be applied.
pub(crate) fn deliver<'e, I>(
    entries: I,
    cutover: Index,
    has_keys: bool,
    openings: &Openings,
    machine: &mut impl StateMachine,
) -> Result<usize, Halted>
where
    I: Iterator<Item = &'e LogEntry>,
{
    let mut results = openings.results();
    let mut count = 0;
    for entry in entries {
        if count > 0 && machine.is_full() {
            break;
        }
        assert_eq!(entry.kind, EntryKind::Normal, "membership changes are cut out of runs");
        let position = entry.position();
        if entry.data.is_empty() {
            machine.skip(position);
            count += 1;
            continue;
        }
        let outcome = if is_sealed(entry.index, cutover) {
            let opened = if has_keys { results.next() } else { None };
            deliver_sealed(entry, position, opened, machine)
        } else {
            deliver_clear(entry, position, machine)
        };
        outcome.map_err(|stop| Halted { at: count, halt: describe(entry, position, cutover, stop) })?;
        count += 1;
    }
    Ok(count)
}

/// How much was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opened {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Above the cutover, not empty, not a membership change.
#[inline]
fn needs_opening(entry: &LogEntry, cutover: Index) -> bool {
    is_sealed(entry.index, cutover) && !entry.data.is_empty() && entry.kind == EntryKind::Normal
}

fn open_job(entry: &LogEntry) -> OpenJob<'_> {
    OpenJob { position: entry.position(), data: &entry.data }
}

fn deliver_clear(entry: &LogEntry, position: Position, machine: &mut impl StateMachine) -> Result<(), Stop> {
    let frame = EntryFrame::decode(&entry.data)?;
    machine.apply(Delivery { position, proposal_id: frame.proposal_id, payload: frame.payload, entry_tag: None })
}

fn deliver_sealed(
    entry: &LogEntry,
    position: Position,
    opened: Option<Result<&[u8], OpenError>>,
    machine: &mut impl StateMachine,
) -> Result<(), Stop> {
    let frame = EntryFrame::decode(&entry.data)?;
    let payload = opened.ok_or(HaltCause::NoCipher)??;
    let entry_tag = entry.data.last_chunk().copied();
    debug_assert!(entry_tag.is_some(), "what opened has a tag");
    machine.apply(Delivery { position, proposal_id: frame.proposal_id, payload, entry_tag })
}

/// Adds to a stop what the entry's clear bytes say: its proposal, and the key of its envelope.
pub(crate) fn describe(entry: &LogEntry, position: Position, cutover: Index, stop: Stop) -> Halt {
    let frame = EntryFrame::decode(&entry.data).ok();
    let envelope = frame.filter(|_| is_sealed(entry.index, cutover)).map(|frame| Envelope::parse(frame.payload));
    let entry_key = envelope.and_then(Result::ok).map(|envelope| envelope.key_id.value());
    Halt {
        position,
        proposal_id: frame.map(|frame| frame.proposal_id),
        key_id: stop.key_id.or(entry_key),
        cause: stop.cause,
    }
}
