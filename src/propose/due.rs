//! What may be proposed next: N2, N3, the keys that a cluster needs before its first client command, and renewals (N4).
//!
//! Nothing before the empty entry of this term is applied here; then, in this order and each applied before the next:
//! the bootstrap, the cutover, the opener of this term; keys whose nonces have used up half of their field; the request
//! of an operator; then clients. What is due follows from the keyring alone, so a control entry that was dropped, lost
//! or refused is due again, and made anew with fresh randomness.

use std::time::Duration;

use crate::crypto::keystore::Purpose;
use crate::crypto::nonce::ENTRY_DELTA_RENEW;
use crate::crypto::nonce::VALUE_DELTA_RENEW;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::keys::change::BootstrapKind;
use crate::keys::keyring::Keyring;
use crate::keys::node_keys::KeysAt;
use crate::keys::rules::RuleError;
use crate::propose::control::ControlDone;
use crate::propose::control::ControlError;
use crate::propose::control::ControlRequest;
use crate::propose::control::ControlResult;
use crate::propose::facts::AppliedFacts;
use crate::propose::orders::Order;
use crate::propose::orders::Orders;
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

/// Distances in the log at which keys are renewed, far below the capacity of a nonce's field (N4). Smaller only in tests.
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
    /// What rows are named with, for several founders without keys.
    Names,
    Bootstrap(BootstrapKind),
    Cutover,
    Opener,
    Rotate(Purpose),
}

/// What may be proposed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing but raft's own entries.
    Wait,
    /// A control entry.
    Control {
        /// Which.
        due: Due,
        /// For the operator's request under way; otherwise it is due by itself.
        is_ordered: bool,
    },
    /// Clients' requests.
    Clients,
}

/// A control entry that was proposed here and is not known to be applied.
#[derive(Clone, Copy, Debug)]
struct Proposed {
    at: Position,
    due: Due,
}

/// An operator's request under way.
struct Underway {
    order: Order,
    /// Where its own entry, cutover or rotation, was placed last.
    stands: Option<Position>,
    is_applied: bool,
    error: Option<ControlError>,
}

/// The control entry and the operator's request under way, if any. Lives on the raft thread.
#[derive(Default)]
pub(super) struct ControlQueue {
    proposed: Option<Proposed>,
    paused: Option<(Due, Duration)>,
    underway: Option<Underway>,
}

/// The facts that decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) mode: Mode,
    pub(super) view: &'a LeaderView,
    pub(super) keys: &'a KeysAt,
    pub(super) cutover: Index,
    /// An entry of client commands was applied.
    pub(super) has_client_commands: bool,
    /// This node can wrap keys.
    pub(super) has_kek: bool,
    /// What rows are named with is not drawn yet.
    pub(super) lacks_clear_names: bool,
    pub(super) limits: RenewLimits,
    pub(super) now: Duration,
}

impl ControlQueue {
    /// Decides. Takes up the next of `orders` when none is under way, and answers those that are done with.
    pub(super) fn next(&mut self, scene: &Scene<'_>, orders: &Orders, applied: &AppliedFacts) -> Next {
        loop {
            self.take_up(orders);
            if !scene.view.own_term_applied {
                return Next::Wait;
            }
            let must = scene.must();
            let renewal = scene.renewal();
            if let Some(proposed) = self.proposed {
                // Of an earlier term: whatever of it stands in the log is applied by now (N2).
                if proposed.at.term == scene.view.term && scene.view.applied.index < proposed.at.index {
                    return Next::Wait;
                }
                self.proposed = None;
                let is_due_again = must.or(renewal.map(|renewal| renewal.due)) == Some(proposed.due);
                self.learn(proposed, applied.control_outcome(proposed.at), is_due_again, scene);
            }
            assert!(self.proposed.is_none(), "N3: nothing is due behind an entry that is not applied");
            if let Some(due) = must {
                return self.unless_paused(due, false, scene.now);
            }
            match renewal {
                Some(renewal) if !self.is_paused(renewal.due, scene.now) => {
                    return Next::Control { due: renewal.due, is_ordered: false };
                }
                // It has just failed. There is space for as much again, so clients go on for a while.
                Some(renewal) if renewal.is_overdue => return Next::Wait,
                Some(_) | None => {}
            }
            match self.underway.as_ref().map(|underway| underway.next_entry(scene)) {
                None => return Next::Clients,
                // Clients wait until it is answered.
                Some(Ok(due)) => return self.unless_paused(due, true, scene.now),
                Some(Err(result)) => self.answer(result),
            }
        }
    }

    fn take_up(&mut self, orders: &Orders) {
        if self.underway.is_none() {
            let order = orders.pop();
            self.underway = order.map(|order| Underway { order, stands: None, is_applied: false, error: None });
        }
    }

    fn unless_paused(&self, due: Due, is_ordered: bool, now: Duration) -> Next {
        if self.is_paused(due, now) { Next::Wait } else { Next::Control { due, is_ordered } }
    }

    fn is_paused(&self, due: Due, now: Duration) -> bool {
        self.paused.is_some_and(|(paused, until)| paused == due && now < until)
    }

    /// A control entry stands at `at`.
    pub(super) fn placed(&mut self, at: Position, due: Due, is_ordered: bool) {
        assert!(self.proposed.is_none(), "N3: one control entry at a time");
        self.proposed = Some(Proposed { at, due });
        if let Some(underway) = self.underway.as_mut().filter(|_| is_ordered && !matches!(due, Due::Bootstrap(_))) {
            underway.stands = Some(at);
        }
    }

    /// One could not be made, or raft gave it back.
    pub(super) fn pause(&mut self, due: Due, now: Duration) {
        self.paused = Some((due, now + PAUSE));
        assert!(self.is_paused(due, now), "it is not made again at once");
    }

    /// The entry of the operator's request could not be made.
    pub(super) fn fail(&mut self, error: ControlError) {
        assert!(self.underway.is_some(), "an ordered entry has its order under way");
        self.underway.iter_mut().for_each(|underway| underway.error = Some(error));
    }

    /// Gives the operator's request up once its deadline has passed.
    pub(super) fn expire(&mut self, now: Duration) {
        if self.underway.as_ref().is_some_and(|underway| underway.order.deadline <= now) {
            self.give_up(ControlError::TryAgain);
        }
        assert!(self.underway.as_ref().is_none_or(|it| it.order.deadline > now), "nobody waits beyond a deadline");
    }

    /// Gives the operator's request up: whether a placed entry will be applied is not known.
    pub(super) fn give_up(&mut self, if_not_placed: ControlError) {
        let stands = self.underway.as_ref().is_some_and(|underway| underway.stands.is_some());
        self.answer(Err(if stands { ControlError::Unknown } else { if_not_placed }));
        assert!(self.underway.is_none(), "what was given up is not under way");
    }

    /// On a node that does not lead: answers the operator's request if its entry was applied here, and gives it up if none
    /// was placed and another node leads. A placed entry may yet be applied, so its request waits, like a client's.
    pub(super) fn not_leading(&mut self, leader: Option<u64>, keyring: Option<&Keyring>, applied: &AppliedFacts) {
        let stands = self.underway.as_ref().and_then(|underway| underway.stands);
        match self.control_result(keyring, applied) {
            Some(result) => self.answer(result),
            None if leader.is_some() && stands.is_none() => self.answer(Err(ControlError::NotLeader(leader))),
            None => {}
        }
    }

    /// How the operator's request ended, if its entry was applied here.
    fn control_result(&self, keyring: Option<&Keyring>, applied: &AppliedFacts) -> Option<ControlResult> {
        let (underway, keyring) = (self.underway.as_ref()?, keyring?);
        Some(match (applied.control_outcome(underway.stands?)?, underway.order.request) {
            (Err(refusal), _) => Err(refusal.into()),
            (Ok(()), ControlRequest::Rotate(purpose)) => {
                Ok(ControlDone::Rotated { key_id: active(keyring, purpose).0 })
            }
            // The next leader's opener completes it.
            (Ok(()), ControlRequest::Enable) if keyring.opener().is_none() => return None,
            (Ok(()), ControlRequest::Enable) => Ok(ControlDone::Enabled { cutover: keyring.cutover() }),
        })
    }

    fn answer(&mut self, result: ControlResult) {
        self.underway.take().into_iter().for_each(|underway| underway.order.answer(result));
    }

    fn learn(
        &mut self,
        proposed: Proposed,
        outcome: Option<Result<(), RuleError>>,
        is_due_again: bool,
        scene: &Scene<'_>,
    ) {
        assert!(self.proposed.is_none(), "an entry whose outcome is learned is not waited for any more");
        if let Some(underway) = self.underway.as_mut().filter(|underway| underway.stands == Some(proposed.at)) {
            match outcome {
                Some(Ok(())) => underway.is_applied = true,
                Some(Err(refusal)) => underway.error = Some(refusal.into()),
                // Another entry stands there: it was dropped with its term.
                None => underway.stands = None,
            }
        } else if is_due_again && proposed.at.term == scene.view.term {
            tracing::error!(entry = ?proposed.due, index = %proposed.at.index, ?outcome, "a control entry was applied without effect");
            self.pause(proposed.due, scene.now);
        }
    }
}

impl Underway {
    /// The entry that it needs next, or how it ended.
    fn next_entry(&self, scene: &Scene<'_>) -> Result<Due, ControlResult> {
        if let Some(error) = self.error {
            return Err(Err(error));
        }
        let (cutover, keyring) = (scene.cutover, scene.keys.keyring());
        match self.order.request {
            ControlRequest::Enable if cutover != Index::NEVER && self.is_applied => {
                Err(Ok(ControlDone::Enabled { cutover }))
            }
            ControlRequest::Enable if cutover != Index::NEVER => Err(Err(ControlError::IsOn { cutover })),
            ControlRequest::Rotate(purpose) if self.is_applied => {
                let keyring = keyring.ok_or(Err(RuleError::NotBootstrapped.into()))?;
                Err(Ok(ControlDone::Rotated { key_id: active(keyring, purpose).0 }))
            }
            _ if !scene.has_kek => Err(Err(ControlError::NoKek)),
            ControlRequest::Enable if keyring.is_none() => Ok(Due::Bootstrap(scene.bootstrap())),
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
        if self.cutover != Index::NEVER {
            let opener = self.keys.keyring().and_then(|keyring| keyring.opener());
            let serves = opener.is_some_and(|opener| {
                opener.term == self.view.term && self.distance(opener.index) < self.limits.entry_delta
            });
            return if serves { None } else { Some(Due::Opener) };
        }
        match (self.mode, self.keys.keyring()) {
            (Mode::Off, None) if self.lacks_clear_names && !self.has_client_commands => Some(Due::Names),
            (Mode::Off, _) | (Mode::Ready, Some(_)) => None,
            (Mode::On, None) if !self.has_client_commands => Some(Due::Bootstrap(BootstrapKind::Cutover)),
            (Mode::On | Mode::Ready, None) => Some(Due::Bootstrap(self.bootstrap())),
            (Mode::On, Some(_)) => Some(Due::Cutover),
        }
    }

    /// A bootstrap that is no cutover. Rows that clients wrote before are found by the names that they have.
    fn bootstrap(&self) -> BootstrapKind {
        if self.has_client_commands { BootstrapKind::ClearNames } else { BootstrapKind::SecretNames }
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
