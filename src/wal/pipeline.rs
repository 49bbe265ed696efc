//! Requests in flight: frames that are written and then synced, freed slots that are zeroed. Acknowledges in order.
//!
//! A sync covers only writes whose completion was seen before it was submitted, and there is one at a time. Any failure
//! is final (SYNC-FATAL): the caller stops using this. A short write is finished once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::AlignedBuffer;
use crate::disk::Completion;
use crate::disk::Disk;
use crate::disk::Done;
use crate::disk::Engine;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::wal::error::During;
use crate::wal::error::WalError;
use crate::wal::pulse::Pulse;
use crate::world::Clock;
use crate::world::Standstill;

/// The disk, and every request that has not come back.
pub(crate) struct Pipeline {
    disk: Box<dyn Disk>,
    clock: Arc<dyn Clock>,
    pulse: Arc<Pulse>,
    slow_sync: Duration,
    hung: Duration,
    ops: u64,
    syncs: u64,
    frames: VecDeque<Flight>,
    sync: Option<SyncFlight>,
    zeroing: Option<Zeroing>,
    /// Longest sync since the last call of `take_slowest`.
    slowest: Option<Duration>,
    standstill: Standstill,
}

/// Something that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Every frame up to this number is durable.
    Durable(u64),
    /// The slot's headers are zero, durably.
    Zeroed(SlotId),
}

#[derive(Debug)]
struct Flight {
    frame: u64,
    write: WriteFlight,
    durable: bool,
}

#[derive(Debug)]
struct SyncFlight {
    op: OpId,
    slot: SlotId,
    up_to: u64,
    since: Duration,
}

#[derive(Debug)]
struct Zeroing {
    write: WriteFlight,
    sync: Option<(OpId, Duration)>,
}

#[derive(Debug)]
struct WriteFlight {
    op: OpId,
    slot: SlotId,
    /// Of the part that is being written.
    offset: u64,
    from: usize,
    to: usize,
    done: bool,
    was_short: bool,
    retries: u32,
    since: Duration,
}

impl Pipeline {
    pub(crate) fn new(disk: Box<dyn Disk>, clock: Arc<dyn Clock>, slow_sync: Duration, hung: Duration) -> Pipeline {
        Pipeline {
            disk,
            clock,
            pulse: Arc::default(),
            slow_sync,
            hung,
            ops: 0,
            syncs: 0,
            frames: VecDeque::new(),
            sync: None,
            zeroing: None,
            slowest: None,
            standstill: Standstill::default(),
        }
    }

    /// The disk, for everything that is done at once: reading, buffers, growth.
    pub(crate) fn disk(&mut self) -> &mut dyn Disk {
        self.disk.as_mut()
    }

    pub(crate) fn into_disk(self) -> Box<dyn Disk> {
        self.disk
    }

    pub(crate) fn engine(&self) -> Engine {
        self.disk.engine()
    }

    pub(crate) fn slot_count(&self) -> u32 {
        self.disk.slot_count()
    }

    /// How long a request may take.
    pub(crate) fn hung(&self) -> Duration {
        self.hung
    }

    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    pub(crate) fn frames_in_flight(&self) -> usize {
        self.frames.len()
    }

    /// Syncs of frames that ended, and writes of frames that were durable by themselves.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(crate) fn is_zeroing(&self) -> bool {
        self.zeroing.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.sync.is_none() && self.zeroing.is_none()
    }

    pub(crate) fn take_slowest(&mut self) -> Option<Duration> {
        self.slowest.take()
    }

    /// Submits a frame; numbers ascend, and all in flight are in one slot.
    pub(crate) fn write_frame(
        &mut self,
        frame: u64,
        slot: SlotId,
        offset: u64,
        buffer: AlignedBuffer,
        bytes: usize,
    ) -> Result<(), WalError> {
        assert!(self.frames.back().is_none_or(|last| last.frame < frame && last.write.slot == slot));
        let write = self.submit_write(slot, offset, buffer, 0, bytes)?;
        self.frames.push_back(Flight { frame, write, durable: false });
        Ok(())
    }

    /// Submits the zeroing of a slot's first `bytes`; one at a time.
    pub(crate) fn zero(&mut self, slot: SlotId, bytes: usize) -> Result<(), WalError> {
        assert!(self.zeroing.is_none(), "one slot is zeroed at a time");
        let mut buffer = self.disk.take_buffer(bytes);
        buffer[..bytes].fill(0);
        let write = self.submit_write(slot, 0, buffer, 0, bytes)?;
        self.zeroing = Some(Zeroing { write, sync: None });
        Ok(())
    }

    /// Syncs a slot and waits for it; nothing else may be in flight.
    pub(crate) fn sync_now(&mut self, slot: SlotId) -> Result<(), WalError> {
        assert!(self.is_empty(), "nothing else is in flight");
        let (op, since) = (self.next_op(), self.clock.monotonic());
        self.submit_sync(op, slot)?;
        loop {
            match self.wait(slot, self.hung)? {
                Some(completion) => {
                    assert!(completion.op == op, "nothing else was in flight");
                    let during = During::Sync;
                    return completion.result.map(|_| ()).map_err(|source| WalError::Disk { slot, during, source });
                }
                None => self.check_hung(slot, During::Sync, since)?,
            }
        }
    }

    /// Waits until everything in flight is done.
    pub(crate) fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), WalError> {
        while !self.is_empty() {
            self.poll(self.hung, events)?;
        }
        Ok(())
    }

    /// Takes one completion, waiting at most `wait` for it, and those that have come with it, and submits the sync that they
    /// call for: one for all of them.
    pub(crate) fn poll(&mut self, wait: Duration, events: &mut Vec<Event>) -> Result<(), WalError> {
        let Some(slot) = self.a_slot_in_flight() else {
            return Ok(());
        };
        if let Some(completion) = self.wait(slot, wait)? {
            self.complete(completion, events)?;
            while let Some(completion) = self.disk.ready() {
                self.complete(completion, events)?;
            }
            self.sync_what_is_written()?;
        }
        self.check_all_hung()
    }

    fn complete(&mut self, completion: Completion, events: &mut Vec<Event>) -> Result<(), WalError> {
        let op = completion.op;
        if self.sync.as_ref().is_some_and(|sync| sync.op == op) {
            let sync = self.sync.take().expect("looked at right above");
            let slot = sync.slot;
            let during = During::Sync;
            completion.result.map_err(|source| WalError::Disk { slot, during, source })?;
            self.note_sync(sync.since);
            for flight in self.frames.iter_mut().take_while(|flight| flight.frame <= sync.up_to) {
                flight.durable = true;
            }
            self.acknowledge(events);
        } else if self.zeroing.as_ref().is_some_and(|zeroing| zeroing.is(op)) {
            self.complete_zeroing(completion, events)?;
        } else if let Some(at) = self.frames.iter().position(|flight| flight.write.op == op) {
            let mut flight = self.frames.remove(at).expect("just found");
            let durable = self.complete_write(&mut flight.write, completion, During::Write)?;
            if durable {
                self.note_sync(flight.write.since);
            }
            flight.durable = durable;
            self.frames.insert(at, flight);
            self.acknowledge(events);
        }
        Ok(())
    }

    fn complete_zeroing(&mut self, completion: Completion, events: &mut Vec<Event>) -> Result<(), WalError> {
        let mut zeroing = self.zeroing.take().expect("the caller matched its op");
        let slot = zeroing.write.slot;
        if zeroing.sync.is_some() {
            let during = During::Zero;
            completion.result.map_err(|source| WalError::Disk { slot, during, source })?;
            events.push(Event::Zeroed(slot));
            return Ok(());
        }
        let durable = self.complete_write(&mut zeroing.write, completion, During::Zero)?;
        if durable {
            events.push(Event::Zeroed(slot));
            return Ok(());
        }
        if zeroing.write.done {
            let op = self.next_op();
            zeroing.sync = Some((op, self.clock.monotonic()));
            self.submit_sync(op, slot)?;
        }
        self.zeroing = Some(zeroing);
        Ok(())
    }

    /// Judges a write's completion; submits the rest of a short one. True if all of it is durable already.
    fn complete_write(
        &mut self,
        write: &mut WriteFlight,
        completion: Completion,
        during: During,
    ) -> Result<bool, WalError> {
        assert!(!write.done, "a write completes once");
        let slot = write.slot;
        let failed = |source| WalError::Disk { slot, during, source };
        let buffer =
            completion.buffer.ok_or_else(|| failed(io::Error::other("a write came back without its buffer")))?;
        match completion.result {
            Ok(Done::Written { bytes, durable }) if bytes == write.to - write.from => {
                write.done = true;
                self.disk.return_buffer(buffer);
                // A part that was finished later does not show how the first part was written.
                return Ok(durable && !write.was_short);
            }
            Ok(Done::Written { bytes, .. }) if !write.was_short && bytes < write.to - write.from => {
                write.was_short = true;
                let whole = bytes / self.disk.block_bytes() * self.disk.block_bytes();
                write.from += whole;
                write.offset += whole as u64;
            }
            Ok(_) => return Err(failed(io::ErrorKind::WriteZero.into())),
            Err(error) if is_transient(&error) && write.retries < RETRIES_MAX => write.retries += 1,
            Err(error) => return Err(failed(error)),
        }
        let again = self.submit_write(slot, write.offset, buffer, write.from, write.to)?;
        write.op = again.op;
        Ok(false)
    }

    fn acknowledge(&mut self, events: &mut Vec<Event>) {
        let mut newest = None;
        while let Some(flight) = self.frames.pop_front_if(|flight| flight.durable) {
            newest = Some(flight.frame);
        }
        events.extend(newest.map(Event::Durable));
    }

    /// One sync at a time, over the prefix of frames whose writes were seen to complete.
    fn sync_what_is_written(&mut self) -> Result<(), WalError> {
        if self.sync.is_some() {
            return Ok(());
        }
        let written = self.frames.iter().take_while(|flight| flight.write.done).last();
        let Some((up_to, slot)) = written.map(|flight| (flight.frame, flight.write.slot)) else {
            return Ok(());
        };
        let first = self.frames.front().map(|flight| flight.write.slot);
        assert_eq!(first, Some(slot), "frames in flight are in one slot: one sync covers them");
        let (op, since) = (self.next_op(), self.clock.monotonic());
        self.sync = Some(SyncFlight { op, slot, up_to, since });
        self.submit_sync(op, slot)
    }

    fn submit_write(
        &mut self,
        slot: SlotId,
        offset: u64,
        buffer: AlignedBuffer,
        from: usize,
        to: usize,
    ) -> Result<WriteFlight, WalError> {
        let (op, since) = (self.next_op(), self.clock.monotonic());
        self.pulse.begin(slot, since);
        let submitted = self.disk.submit_write(WriteRequest { op, slot, offset, buffer, from, to });
        self.pulse.end();
        submitted.map_err(|source| WalError::Disk { slot, during: During::Write, source })?;
        Ok(WriteFlight { op, slot, offset, from, to, done: false, was_short: false, retries: 0, since })
    }

    fn submit_sync(&mut self, op: OpId, slot: SlotId) -> Result<(), WalError> {
        self.pulse.begin(slot, self.clock.monotonic());
        let submitted = self.disk.submit_sync(op, slot);
        self.pulse.end();
        submitted.map_err(|source| WalError::Disk { slot, during: During::Sync, source })
    }

    fn wait(&mut self, slot: SlotId, wait: Duration) -> Result<Option<Completion>, WalError> {
        let wait = wait.min(STEP_WAIT);
        let waited = self.disk.wait(wait);
        self.standstill.look(self.clock.monotonic(), wait);
        waited.map_err(|source| WalError::Disk { slot, during: During::Wait, source })
    }

    fn note_sync(&mut self, since: Duration) {
        self.syncs += 1;
        let took = self.clock.monotonic().saturating_sub(since);
        self.slowest = self.slowest.max(Some(took));
        if took > self.slow_sync {
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(took_ms, "log sync is slow");
        }
    }

    fn a_slot_in_flight(&self) -> Option<SlotId> {
        let frame = self.frames.front().map(|flight| flight.write.slot);
        frame.or(self.zeroing.as_ref().map(|zeroing| zeroing.write.slot))
    }

    fn check_all_hung(&self) -> Result<(), WalError> {
        if let Some(sync) = &self.sync {
            self.check_hung(sync.slot, During::Sync, sync.since)?;
        }
        if let Some(flight) = self.frames.iter().find(|flight| !flight.write.done) {
            self.check_hung(flight.write.slot, During::Write, flight.write.since)?;
        }
        if let Some(zeroing) = &self.zeroing {
            let since = zeroing.sync.map_or(zeroing.write.since, |(_, since)| since);
            self.check_hung(zeroing.write.slot, During::Zero, since)?;
        }
        Ok(())
    }

    fn check_hung(&self, slot: SlotId, during: During, since: Duration) -> Result<(), WalError> {
        let waited = self.standstill.waited(since, self.clock.monotonic());
        if waited >= self.hung {
            return Err(WalError::Hung { slot, during, waited });
        }
        Ok(())
    }

    fn next_op(&mut self) -> OpId {
        self.ops += 1;
        OpId(self.ops)
    }
}

impl Zeroing {
    fn is(&self, op: OpId) -> bool {
        self.sync.map_or(self.write.op, |(sync, _)| sync) == op
    }
}

debug_fields!(self: Pipeline { disk: self.disk, frames: self.frames });

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// EINTR and EAGAIN before a byte: tried again, but not for ever.
const RETRIES_MAX: u32 = 100;

/// Longest wait for one completion: hangs are looked for after each, and a standstill is seen if it is clearly longer.
pub(super) const STEP_WAIT: Duration = Duration::from_secs(1);
