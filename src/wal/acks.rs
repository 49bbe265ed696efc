//! Acknowledgement: which frames are durable, which tickets that completes, which segments it frees.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::Index;
use crate::wal::frame::Records;
use crate::wal::state::LogState;

/// The frames that were written, and the tickets and segments that depend on each.
#[derive(Debug)]
pub(super) struct Acks {
    /// Number of the newest frame that was written.
    written: u64,
    newest_is_idle: bool,
    durable: u64,
    durable_since: Duration,
    /// Frame that makes it durable, ticket.
    tickets: VecDeque<(u64, u64)>,
    releases: VecDeque<Release>,
}

/// Entries that are needless once a frame is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release {
    frame: u64,
    /// Entries up to here.
    pub(super) compacted: Index,
    /// Every entry of the segments before this one, which holds a reset.
    pub(super) reset_in: Option<u64>,
}

impl Acks {
    /// Everything up to `durable` is durable, and nothing is owed.
    pub(super) fn new(durable: u64, now: Duration) -> Acks {
        Acks {
            written: durable,
            newest_is_idle: false,
            durable,
            durable_since: now,
            tickets: VecDeque::new(),
            releases: VecDeque::new(),
        }
    }

    /// Number of the newest frame that is durable together with all before it.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether every frame that was written is durable.
    pub(super) fn all_durable(&self) -> bool {
        self.durable == self.written
    }

    /// The frame that led to `state` was written into `segment`.
    pub(super) fn frame_written(&mut self, records: &Records, segment: u64, state: &LogState) {
        assert_eq!(state.frame, self.written + 1, "frames are numbered without gaps");
        self.written = state.frame;
        self.newest_is_idle = records.idle;
        if records.reset.is_some() || records.trim.is_some() {
            let reset_in = records.reset.map(|_| segment);
            self.releases.push_back(Release { frame: state.frame, compacted: state.compacted.index, reset_in });
        }
    }

    /// The newest frame that was written makes this ticket durable.
    pub(super) fn ticket(&mut self, ticket: u64) {
        assert!(self.tickets.back().is_none_or(|(_, last)| *last < ticket), "tickets increase");
        self.tickets.push_back((self.written, ticket));
    }

    /// Every frame up to `frame` is durable.
    pub(super) fn frames_durable(&mut self, frame: u64, now: Duration) {
        assert!(frame > self.durable && frame <= self.written, "frames become durable in order");
        (self.durable, self.durable_since) = (frame, now);
    }

    /// Takes the releases that are due, oldest first.
    pub(super) fn take_releases(&mut self) -> impl Iterator<Item = Release> {
        std::iter::from_fn(|| self.releases.pop_front_if(|release| release.frame <= self.durable))
    }

    /// The newest ticket that is durable, if it was not taken before.
    pub(super) fn take_ticket(&mut self) -> Option<u64> {
        let mut newest = None;
        while let Some((_, ticket)) = self.tickets.pop_front_if(|(frame, _)| *frame <= self.durable) {
            newest = Some(ticket);
        }
        newest
    }

    /// When the newest frame became durable, if no later frame attests that; `None` if one does, or it is not durable.
    pub(super) fn unwitnessed_since(&self) -> Option<Duration> {
        (self.all_durable() && !self.newest_is_idle).then_some(self.durable_since)
    }
}
