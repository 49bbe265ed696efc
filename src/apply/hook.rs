//! The hook between the log and a state machine: what an embedder holds, and what a node runs.
//!
//! It decides, entry by entry and strictly in order, what the state machine gets: nothing for raft's own empty entries,
//! the payload as it stands for entries at or below the cutover, the opened payload above it. At the first entry that
//! does not open or is malformed it stops: the state machine has then seen exactly the entries before it.
//!
//! The hook knows no store, no waiters, no clock; what it does depends on the entries, the keys and the cutover alone.
//!
//! [`Hook`] shares the cutover with the proposer's half, `propose::seal`, and stands in front of any state machine.
//! [`crate::seam`] has an example from the proposal to the applied command.
//!
//! What a state machine is given is borrowed for the call, whether it was sealed or not, so it cannot be kept:
//!
//! ```compile_fail,E0521
//! use sealkv::apply::halt::HaltCause;
//! use sealkv::apply::hook::Delivery;
//! use sealkv::apply::hook::StateMachine;
//!
//! struct Keeper(Vec<&'static [u8]>);
//!
//! impl StateMachine for Keeper {
//!     fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
//!         self.0.push(delivery.payload); // a copy, `delivery.payload.to_vec()`, may be kept
//!         Ok(())
//!     }
//! }
//! ```

use std::sync::Arc;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::open::Openings;
use crate::apply::open::count_reaching;
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

debug_fields!(self: Delivery<'_> { position: self.position, payload_bytes: self.payload.len() });

/// What applies opened entries. Called for every non-empty normal entry, in the order of the log, never for two at once.
pub trait StateMachine {
    /// The next entries are going to be opened, if there is a cipher. A long run comes in parts.
    fn open(&mut self) {}

    /// The sealed ones of the next entries are opened; [`StateMachine::apply`] and [`StateMachine::skip`] follow.
    fn begin(&mut self, _opened: OpenedCount) {}

    /// The payloads that [`StateMachine::apply`] is about to get, up to the first that will not reach it: for work that is
    /// cheaper done for many at once. They have had no effect yet, and some may have none for now, should the call end early;
    /// then they come again.
    fn look_ahead(&mut self, _payloads: &mut dyn Iterator<Item = &[u8]>) {}

    /// Applies one entry wholly, or not at all.
    ///
    /// # Errors
    /// A [`HaltCause`]: the entry has had no effect and the log halts here.
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause>;

    /// An entry that does nothing: raft's own, the first of a term.
    fn skip(&mut self, _position: Position) {}

    /// Whether the call should end before the next entry, because the entries so far take much memory.
    fn is_full(&self) -> bool {
        false
    }
}

/// How much was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenedCount {
    /// Entries.
    pub entries: u64,
    /// Bytes of their envelopes and entry frames.
    pub bytes: u64,
}

/// The pre-apply hook: a cutover that an entry may set, and the arenas to open in. By default it is inert.
#[derive(Default)]
pub struct Hook {
    cutover: Arc<Cutover>,
    opened: OpenedEntries,
}

impl Hook {
    /// A hook with its own `cutover`, which the proposer may share, and what opens the entries above it.
    #[must_use]
    pub fn new(cutover: Arc<Cutover>, openings: Openings) -> Hook {
        Hook { cutover, opened: OpenedEntries::new(openings) }
    }

    /// Hands committed, consecutive entries to `machine`, opened with `keys` where they are sealed (`None`: no cipher).
    ///
    /// If `machine` sets the cutover by an entry, the entries behind it are judged by the new one; any other thread may
    /// set it only between calls. Keys that the machine puts in place are for the next call, so an entry that does that
    /// should be the last of a call. Returns how many entries went through: all, unless the machine said that it is full.
    ///
    /// # Errors
    /// [`Halt`] at the first entry that cannot be applied: everything before it is, nothing from it on.
    ///
    /// # Panics
    /// If an entry is a membership change: those are no business of a state machine.
    pub fn open_and_deliver<'e, I>(
        &mut self,
        entries: I,
        keys: Option<&EntryKeys>,
        machine: &mut impl StateMachine,
    ) -> Result<usize, Halt>
    where
        I: IntoIterator<Item = &'e LogEntry>,
        I::IntoIter: Clone + ExactSizeIterator,
    {
        let mut rest = entries.into_iter();
        let part_bytes = keys.and_then(|_| self.opened.part_bytes(rest.clone()));
        let mut done = 0;
        while rest.len() > 0 {
            let lengths = rest.clone().map(|entry| entry.data.len());
            let len = part_bytes.map_or(rest.len(), |bytes| count_reaching(bytes, lengths));
            // Whole where it is, because to count down what is left costs an entry in the clear as much as the rest of the hook.
            let count = match len == rest.len() {
                true => self.open_and_deliver_part(rest.clone(), keys, machine)?,
                false => self.open_and_deliver_part(rest.clone().take(len), keys, machine)?,
            };
            assert!(count > 0, "the first entry goes through or halts");
            done += count;
            rest.nth(count - 1);
            if machine.is_full() {
                break;
            }
        }
        Ok(done)
    }

    /// See [`Openings::share_cores`].
    #[cfg(feature = "node")]
    pub(super) fn share_cores(&mut self) {
        self.opened.share_cores();
    }

    fn open_and_deliver_part<'e>(
        &mut self,
        part: impl Clone + ExactSizeIterator<Item = &'e LogEntry>,
        keys: Option<&EntryKeys>,
        machine: &mut impl StateMachine,
    ) -> Result<usize, Halt> {
        machine.open();
        self.opened.open(part.clone(), self.cutover.load(), keys);
        machine.begin(self.opened.count);
        machine.look_ahead(&mut self.opened.payloads(part.clone()));
        deliver(part, &self.opened, &self.cutover, machine)
    }

    /// The same for entries that are opened already, by the keys and the cutover that hold now.
    ///
    /// # Panics
    /// If another cutover holds.
    #[cfg(feature = "node")]
    pub(super) fn deliver_opened<'e>(
        &self,
        entries: impl ExactSizeIterator<Item = &'e LogEntry>,
        opened: &OpenedEntries,
        machine: &mut impl StateMachine,
    ) -> Result<usize, Halt> {
        assert_eq!(opened.planned, self.cutover.load(), "a run of commands sets no cutover");
        machine.begin(opened.count);
        deliver(entries, opened, &self.cutover, machine)
    }
}

debug_fields!(self: Hook { cutover: self.cutover.load() });

/// Entries with what came out of them, and what they were opened by.
#[derive(Default)]
pub(super) struct OpenedEntries {
    openings: Openings,
    /// The cutover that they were opened for.
    planned: Index,
    has_keys: bool,
    count: OpenedCount,
}

impl OpenedEntries {
    /// None yet.
    pub(super) fn new(openings: Openings) -> OpenedEntries {
        OpenedEntries { openings, ..OpenedEntries::default() }
    }

    /// See [`Openings::share_cores`].
    #[cfg(feature = "node")]
    pub(super) fn share_cores(&mut self) {
        self.openings.share_cores();
    }

    /// Opens everything that is sealed, in parallel. `cutover` is the index above which entries are sealed, strictly.
    pub(super) fn open<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e LogEntry> + Clone,
        cutover: Index,
        keys: Option<&EntryKeys>,
    ) {
        self.openings.clear();
        (self.planned, self.has_keys, self.count) = (cutover, keys.is_some(), OpenedCount::default());
        let Some(keys) = keys else {
            return;
        };
        let sealed = || entries.clone().filter(|entry| needs_opening(entry, cutover));
        // Counted first, so that a run costs one allocation for its plan, however long it is, and none if nothing is sealed.
        let mut jobs = Vec::with_capacity(sealed().count());
        jobs.extend(sealed().map(|entry| OpenJob { position: entry.position(), data: &entry.data }));
        self.openings.open(keys, &jobs);
        let bytes = jobs.iter().map(|job| job.data.len() as u64).sum();
        self.count = OpenedCount { entries: jobs.len() as u64, bytes };
    }

    /// What [`deliver`] will hand over of the same entries, up to the first that cannot be.
    pub(super) fn payloads<'o, 'e: 'o>(
        &'o self,
        entries: impl Iterator<Item = &'e LogEntry>,
    ) -> impl Iterator<Item = &'o [u8]> {
        let mut results = self.openings.results();
        entries.filter(|entry| !entry.data.is_empty()).map_while(move |entry| {
            let frame = EntryFrame::decode(&entry.data).ok()?;
            if is_sealed(entry.index, self.planned) { results.next()?.ok() } else { Some(frame.payload) }
        })
    }

    /// See [`Openings::part_bytes`].
    fn part_bytes<'e>(&self, entries: impl Iterator<Item = &'e LogEntry>) -> Option<usize> {
        self.openings.part_bytes(entries.map(|entry| &entry.data[..]))
    }

    /// Whether these entries take so long to open that another thread should do it.
    #[cfg(feature = "node")]
    pub(super) fn is_worth_a_thread<'e>(&self, entries: impl Iterator<Item = &'e LogEntry>) -> bool {
        self.openings.is_worth_a_thread(entries.map(|entry| &entry.data[..]))
    }

    /// There are no results any more, and what was opened is wiped.
    #[cfg(feature = "node")]
    pub(super) fn release(&mut self) {
        self.openings.release();
    }
}

/// Hands the entries over strictly in order, up to the first one that cannot be applied, that finds the machine full, or that
/// is sealed by a cutover which the machine has set meanwhile: it was not opened for that.
///
/// Without a cipher an entry costs what `scripts/bench gates` counts: the cutover is read and compared.
fn deliver<'e>(
    mut entries: impl ExactSizeIterator<Item = &'e LogEntry>,
    opened: &OpenedEntries,
    cutover: &Cutover,
    machine: &mut impl StateMachine,
) -> Result<usize, Halt> {
    let mut results = opened.openings.results();
    let all = entries.len();
    while let Some(entry) = entries.next() {
        assert_eq!(entry.kind, EntryKind::Normal, "membership changes are cut out of runs");
        // Before the entry is looked at: what is read of it then stays in registers.
        let now = cutover.load();
        let position = entry.position();
        if entry.data.is_empty() {
            machine.skip(position);
        } else {
            let outcome = if is_sealed(entry.index, now) {
                if now != opened.planned {
                    return Ok(all - entries.len() - 1);
                }
                let next = if opened.has_keys { results.next() } else { None };
                deliver_sealed(entry, next, machine)
            } else {
                let Ok(EntryFrame { proposal_id, payload }) = EntryFrame::decode(&entry.data) else {
                    return Err(no_frame(entry, now));
                };
                machine.apply(Delivery { position, proposal_id, payload, entry_tag: None })
            };
            outcome.map_err(|cause| halt_at(entry, now, cause))?;
        }
        if machine.is_full() {
            break;
        }
    }
    Ok(all - entries.len())
}

/// Above the cutover, not empty, not a membership change.
#[inline]
fn needs_opening(entry: &LogEntry, cutover: Index) -> bool {
    is_sealed(entry.index, cutover) && !entry.data.is_empty() && entry.kind == EntryKind::Normal
}

fn deliver_sealed(
    entry: &LogEntry,
    opened: Option<Result<&[u8], OpenError>>,
    machine: &mut impl StateMachine,
) -> Result<(), HaltCause> {
    let frame = EntryFrame::decode(&entry.data)?;
    let payload = opened.ok_or(HaltCause::NoCipher)??;
    let entry_tag = entry.data.last_chunk().copied();
    debug_assert!(entry_tag.is_some(), "an entry that opened has a tag");
    let position = entry.position();
    machine.apply(Delivery { position, proposal_id: frame.proposal_id, payload, entry_tag })
}

/// The halt at a clear entry that is no entry frame.
#[cold]
fn no_frame(entry: &LogEntry, cutover: Index) -> Halt {
    let error = EntryFrame::decode(&entry.data).expect_err("it was tried before");
    halt_at(entry, cutover, error.into())
}

/// A halt at `entry`. Its clear bytes name the proposal, and the key unless `cause` is about another one.
#[cold]
pub(crate) fn halt_at(entry: &LogEntry, cutover: Index, cause: HaltCause) -> Halt {
    let frame = EntryFrame::decode(&entry.data).ok();
    let envelope = frame.filter(|_| is_sealed(entry.index, cutover)).map(|frame| Envelope::parse(frame.payload));
    let entry_key = envelope.and_then(Result::ok).map(|envelope| envelope.key_id.value());
    Halt {
        position: entry.position(),
        proposal_id: frame.map(|frame| frame.proposal_id),
        key_id: cause.key_id().or(entry_key),
        cause,
    }
}
