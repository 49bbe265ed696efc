//! What may be proposed next: N2, N3, the keys that a cluster needs before its first client command, and renewals (N4).
//!
//! Nothing before the empty entry of this term is applied here; then, in this order and each applied before the next:
//! the bootstrap, the cutover, the opener of this term; keys whose nonces have used up half of their field; what an
//! operator asked for; then clients. What is due follows from the keyring alone, so a control entry that was dropped,
//! lost or refused is simply due again, and made anew with fresh randomness.

use std::time::Duration;

use crate::crypto::keystore::Purpose;
use crate::crypto::nonce::ENTRY_DELTA_RENEW;
use crate::crypto::nonce::VALUE_DELTA_RENEW;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::keys::keyring::Keyring;
use crate::keys::ring::View;
use crate::keys::rules::RuleError;
use crate::propose::operator::ControlDone;
use crate::propose::operator::ControlError;
use crate::propose::operator::ControlRequest;
use crate::propose::operator::ControlResult;
use crate::propose::stamp::AppliedFacts;
use crate::raft::LeaderView;

/// Before a control entry that was applied without effect is made again.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether, and from when on, entries are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No KEK: everything is in the clear. On a cluster with a cutover nothing is proposed.
    Off,
    /// The first leader makes the keys; entries are in the clear until an operator asks for the cutover.
    Ready,
    /// The bootstrap is the cutover if it can be; no client command before it.
    On,
}

/// Distances in the log at which keys are renewed, far below what a nonce's field holds (N4). Smaller only in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewLimits {
    /// From the index where the value DEK became active.
    pub value_delta: u64,
    /// From the index where the entry DEK became active, and from the opener's.
    pub entry_delta: u64,
}

impl Default for RenewLimits {
    fn default() -> Self {
        RenewLimits { value_delta: VALUE_DELTA_RENEW, entry_delta: ENTRY_DELTA_RENEW }
    }
}

/// A control entry to be proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Bootstrap { is_cutover: bool },
    Cutover,
    Opener,
    Rotate(Purpose),
}

/// What may be proposed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing but raft's own entries.
    Wait,
    /// Due by itself.
    Control(Due),
    /// Asked for by the operator whose request is under way.
    Ordered(Due),
    /// That request is done with.
    Answer(ControlResult),
    Clients,
}

/// A control entry that was proposed here and is not known to be applied.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at: Position,
    due: Due,
}

/// An operator's request under way.
#[derive(Clone, Copy, Debug)]
struct Progress {
    request: ControlRequest,
    /// Where its own entry, cutover or rotation, was placed last.
    stands: Option<Position>,
    is_applied: bool,
    error: Option<ControlError>,
}

/// The control entry under way, if any. Lives on the raft thread.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pending: Option<Pending>,
    failed: Option<(Due, Duration)>,
    order: Option<Progress>,
}

/// Replicated facts beside the keyring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) cutover: Index,
    pub(super) has_client_commands: bool,
}

/// What the gate decides from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) mode: Mode,
    pub(super) view: &'a LeaderView,
    pub(super) keys: &'a View,
    pub(super) facts: Facts,
    /// This node can wrap keys.
    pub(super) has_kek: bool,
    pub(super) limits: RenewLimits,
    pub(super) now: Duration,
}

impl Gate {
    pub(super) fn next(&mut self, scene: &Scene<'_>, applied: &AppliedFacts) -> Next {
        if !scene.view.own_term_applied {
            return Next::Wait;
        }
        let must = scene.must();
        let renewal = scene.renewal();
        if let Some(pending) = self.pending {
            // Of an earlier term: whatever of it stands in the log is applied by now (N2).
            if pending.at.term == scene.view.term && scene.view.applied.index < pending.at.index {
                return Next::Wait;
            }
            self.pending = None;
            let is_due_again = must.or(renewal.map(|renewal| renewal.due)) == Some(pending.due);
            self.learn(pending, applied.control_outcome(pending.at), is_due_again, scene);
        }
        if let Some(due) = must {
            return if self.is_paused(due, scene.now) { Next::Wait } else { Next::Control(due) };
        }
        match renewal {
            Some(renewal) if !self.is_paused(renewal.due, scene.now) => Next::Control(renewal.due),
            // It was just tried in vain. There is space for as much again, so clients go on for a while.
            Some(renewal) if renewal.is_overdue => Next::Wait,
            Some(_) | None => self.ordered(scene),
        }
    }

    /// A control entry stands at `at`.
    pub(super) fn placed(&mut self, at: Position, due: Due, is_ordered: bool) {
        self.pending = Some(Pending { at, due });
        if let Some(order) = self.order.as_mut().filter(|_| is_ordered && !matches!(due, Due::Bootstrap { .. })) {
            order.stands = Some(at);
        }
    }

    /// One could not be made, or raft gave it back.
    pub(super) fn pause(&mut self, due: Due, now: Duration) {
        self.failed = Some((due, now + PAUSE));
    }

    /// Takes up an operator's request.
    pub(super) fn begin(&mut self, request: ControlRequest) {
        self.order = Some(Progress { request, stands: None, is_applied: false, error: None });
    }

    /// The entry of the operator's request could not be made.
    pub(super) fn fail(&mut self, error: ControlError) {
        if let Some(order) = &mut self.order {
            order.error = Some(error);
        }
    }

    /// Gives the operator's request up: what may be said about it without knowing more.
    pub(super) fn give_up(&mut self, if_not_placed: ControlError) -> ControlError {
        let order = self.order.take();
        if order.is_some_and(|order| order.stands.is_some()) { ControlError::Unknown } else { if_not_placed }
    }

    /// Whether an entry of the operator's request was placed and may yet be applied.
    pub(super) fn stands(&self) -> bool {
        self.order.is_some_and(|order| order.stands.is_some())
    }

    /// How the operator's request ended on a node that leads no more: its entry may be applied all the same.
    pub(super) fn settled(&mut self, keyring: Option<&Keyring>, applied: &AppliedFacts) -> Option<ControlResult> {
        let order = self.order?;
        let keyring = keyring?;
        let result = match (applied.control_outcome(order.stands?)?, order.request) {
            (Err(refusal), _) => Err(refusal.into()),
            (Ok(()), ControlRequest::Rotate(purpose)) => {
                Ok(ControlDone::Rotated { key_id: active(keyring, purpose).0 })
            }
            // The next leader's opener completes it.
            (Ok(()), ControlRequest::Enable) if keyring.opener().is_none() => return None,
            (Ok(()), ControlRequest::Enable) => Ok(ControlDone::Enabled { cutover: keyring.cutover() }),
        };
        self.order = None;
        Some(result)
    }

    fn learn(
        &mut self,
        pending: Pending,
        outcome: Option<Result<(), RuleError>>,
        is_due_again: bool,
        scene: &Scene<'_>,
    ) {
        if let Some(order) = self.order.as_mut().filter(|order| order.stands == Some(pending.at)) {
            match outcome {
                Some(Ok(())) => order.is_applied = true,
                Some(Err(refusal)) => order.error = Some(refusal.into()),
                // Another entry stands there: it was dropped with its term.
                None => order.stands = None,
            }
        } else if is_due_again && pending.at.term == scene.view.term {
            tracing::error!(entry = ?pending.due, index = %pending.at.index, ?outcome, "a control entry was applied without effect");
            self.pause(pending.due, scene.now);
        }
    }

    fn is_paused(&self, due: Due, now: Duration) -> bool {
        self.failed.is_some_and(|(failed, until)| failed == due && now < until)
    }

    /// The operator's request, which closes the gate for clients until it is answered.
    fn ordered(&mut self, scene: &Scene<'_>) -> Next {
        let Some(order) = self.order else {
            return Next::Clients;
        };
        match order.step(scene) {
            Ok(due) if self.is_paused(due, scene.now) => Next::Wait,
            Ok(due) => Next::Ordered(due),
            Err(result) => {
                self.order = None;
                Next::Answer(result)
            }
        }
    }
}

impl Progress {
    /// The entry that it needs next, or how it ended.
    fn step(&self, scene: &Scene<'_>) -> Result<Due, ControlResult> {
        if let Some(error) = self.error {
            return Err(Err(error));
        }
        let keyring = scene.keys.keyring();
        match self.request {
            ControlRequest::Enable if scene.facts.cutover != Index::NEVER => {
                let cutover = scene.facts.cutover;
                Err(if self.is_applied {
                    Ok(ControlDone::Enabled { cutover })
                } else {
                    Err(ControlError::IsOn { cutover })
                })
            }
            ControlRequest::Rotate(purpose) if self.is_applied => {
                let keyring = keyring.ok_or(Err(RuleError::NotBootstrapped.into()))?;
                Err(Ok(ControlDone::Rotated { key_id: active(keyring, purpose).0 }))
            }
            _ if !scene.has_kek => Err(Err(ControlError::NoKek)),
            ControlRequest::Enable if keyring.is_none() => Ok(Due::Bootstrap { is_cutover: false }),
            ControlRequest::Enable => Ok(Due::Cutover),
            ControlRequest::Rotate(_) if keyring.is_none() => Err(Err(RuleError::NotBootstrapped.into())),
            ControlRequest::Rotate(purpose) => Ok(Due::Rotate(purpose)),
        }
    }
}

/// A key that should be replaced, although it can still be used.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    due: Due,
    is_overdue: bool,
}

impl Scene<'_> {
    /// What must be applied before anything else is proposed.
    fn must(&self) -> Option<Due> {
        if self.facts.cutover != Index::NEVER {
            let opener = self.keys.keyring().and_then(|keyring| keyring.opener());
            let serves = opener.is_some_and(|opener| {
                opener.term == self.view.term && self.distance(opener.index) < self.limits.entry_delta
            });
            return if serves { None } else { Some(Due::Opener) };
        }
        match (self.mode, self.keys.keyring()) {
            (Mode::Off, _) | (Mode::Ready, Some(_)) => None,
            (Mode::On, None) => Some(Due::Bootstrap { is_cutover: !self.facts.has_client_commands }),
            (Mode::Ready, None) => Some(Due::Bootstrap { is_cutover: false }),
            (Mode::On, Some(_)) => Some(Due::Cutover),
        }
    }

    fn renewal(&self) -> Option<Renewal> {
        let keyring = self.keys.keyring()?;
        let limits = [(Purpose::Value, self.limits.value_delta), (Purpose::Entry, self.limits.entry_delta)];
        limits.into_iter().find_map(|(purpose, limit)| {
            let distance = self.distance(active(keyring, purpose).1);
            let is_overdue = distance >= limit + limit / 2;
            (distance >= limit).then_some(Renewal { due: Due::Rotate(purpose), is_overdue })
        })
    }

    fn distance(&self, from: Index) -> u64 {
        self.view.last_index.0.saturating_sub(from.0)
    }
}

/// The active DEK of a purpose, and since when.
fn active(keyring: &Keyring, purpose: Purpose) -> (KeyId, Index) {
    let dek = match purpose {
        Purpose::Entry => keyring.active_entry(),
        Purpose::Value => keyring.active_value(),
    };
    (dek.id, dek.active_from)
}
