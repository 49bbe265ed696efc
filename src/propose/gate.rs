//! What may be proposed next: N2, N3, and the keys that a cluster needs before its first client command.
//!
//! Nothing before the empty entry of this term is applied here; then, in this order and each applied before the next:
//! the bootstrap, the cutover, the opener of this term; then clients. What is due follows from the keyring alone, so a
//! control entry that was dropped, lost or refused is simply due again, and made anew with fresh randomness.

use std::time::Duration;

use crate::crypto::nonce::ENTRY_DELTA_RENEW;
use crate::ids::Index;
use crate::ids::Term;
use crate::keys::ring::View;
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

/// A control entry that must come before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Bootstrap { is_cutover: bool },
    Cutover,
    Opener,
}

/// What may be proposed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing but raft's own entries.
    Wait,
    Control(Due),
    Clients,
}

/// The control entry under way, if any. Lives on the raft thread.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pending: Option<(Term, Index, Due)>,
    failed: Option<(Due, Duration)>,
}

impl Gate {
    pub(super) fn next(&mut self, mode: Mode, view: &LeaderView, keys: &View, facts: Facts, now: Duration) -> Next {
        if !view.own_term_applied {
            return Next::Wait;
        }
        let due = due(mode, view, keys, facts);
        if let Some((term, index, proposed)) = self.pending
            && term == view.term
        {
            if view.applied.index < index {
                return Next::Wait;
            }
            self.pending = None;
            if due == Some(proposed) {
                tracing::error!(entry = ?proposed, %index, "a control entry was applied without effect");
                self.failed = Some((proposed, now + PAUSE));
            }
        }
        match due {
            None => Next::Clients,
            Some(due) if self.failed.is_some_and(|(failed, until)| failed == due && now < until) => Next::Wait,
            Some(due) => Next::Control(due),
        }
    }

    /// A control entry stands at `index`.
    pub(super) fn placed(&mut self, term: Term, index: Index, due: Due) {
        self.pending = Some((term, index, due));
    }

    /// One could not be made, or raft gave it back.
    pub(super) fn pause(&mut self, due: Due, now: Duration) {
        self.failed = Some((due, now + PAUSE));
    }
}

/// Replicated facts beside the keyring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) cutover: Index,
    pub(super) has_client_commands: bool,
}

fn due(mode: Mode, view: &LeaderView, keys: &View, facts: Facts) -> Option<Due> {
    if facts.cutover != Index::NEVER {
        let opener = keys.keyring().and_then(|keyring| keyring.opener());
        // Renewed long before the 40 bits of a nonce are filled (N4).
        let serves = opener.is_some_and(|opener| {
            opener.term == view.term && view.last_index.0.saturating_sub(opener.index.0) < ENTRY_DELTA_RENEW
        });
        return if serves { None } else { Some(Due::Opener) };
    }
    match (mode, keys.keyring()) {
        (Mode::Off, _) | (Mode::Ready, Some(_)) => None,
        (Mode::On, None) => Some(Due::Bootstrap { is_cutover: !facts.has_client_commands }),
        (Mode::Ready, None) => Some(Due::Bootstrap { is_cutover: false }),
        (Mode::On, Some(_)) => Some(Due::Cutover),
    }
}
