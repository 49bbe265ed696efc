//! A round of reads of one connection: its replies go straight into the output buffer, and what they hold is taken from the
//! memory of all clients.

use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::fsm::command::KeyReply;
use crate::fsm::command::ReadCommand;
use crate::fsm::name::Database;
use crate::limits::CLIENT_HOLD_FREE_BYTES;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::limits::WRITE_BATCH_BYTES;
use crate::resp::close::Close;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::Protocol;
use crate::resp::codec::reply::reply_bytes;
use crate::resp::group::Weaver;
use crate::resp::lookups::Lookup;
use crate::resp::memory::Hold;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
use crate::resp::upstream::REMOVALS_MAX;
use crate::resp::upstream::ReadsDone;
use crate::resp::upstream::ShownReply;
use crate::resp::upstream::TRY_AGAIN;
use crate::resp::upstream::Upstream;
use crate::resp::wire::Wire;

/// A connection at reads that no write precedes.
pub(crate) struct ReadTurn<'a> {
    pub(crate) shared: &'a ServerShared,
    pub(crate) upstream: &'a Upstream,
    pub(crate) protocol: Protocol,
    pub(crate) reads: &'a [(Database, ReadCommand)],
    pub(crate) appetite: &'a mut Appetite,
}

/// How much the newest reads of a connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appetite {
    /// It has read nothing yet.
    Unknown,
    /// It need not wait for those who read much.
    Little,
    /// It has to take what it may read first.
    Much,
}

impl ReadTurn<'_> {
    /// Answers the reads in order, each from a state at or after that of the one before. `Err`: what every place that is left
    /// is answered with.
    ///
    /// # Errors
    /// Why the connection ends.
    pub(crate) async fn run<S>(
        mut self,
        weaver: &mut Weaver,
        wire: &mut Wire<S>,
    ) -> Result<Result<(), &'static str>, Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Err(line) = self.upstream.reach_read_point().await {
            return Ok(Err(line));
        }
        let mut now_ms = self.upstream.clock_ms();
        let (mut next, mut rounds, mut turn) = (0, 0, None);
        let mut was_too_large = false;
        while next < self.reads.len() {
            let bytes = self.bytes_before(&self.reads[next].1, std::mem::take(&mut was_too_large));
            let taken = match bytes {
                0 => None,
                _ => wire.take(bytes, Instant::now() + self.shared.bounds.read_deadline).await?,
            };
            if taken.is_none() && bytes > 0 {
                self.refuse(weaver, wire);
                next += 1;
                continue;
            }
            let (before, mark) = (wire.outbox.len(), weaver.mark());
            let most = if taken.is_some() { usize::MAX } else { self.shared.memory.left().max(CLIENT_HOLD_FREE_BYTES) };
            let answered = self.some(next, now_ms, most, weaver, wire).await;
            let Some((done, counts)) = answered.filter(|_| self.hold(wire.outbox.len() - before, taken, wire)) else {
                // It is read again once there is memory to hold it: what it may take is taken first then.
                wire.outbox.truncate(before);
                wire.outbox.shrink_to(CLIENT_HOLD_FREE_BYTES);
                (was_too_large, *self.appetite) = (true, Appetite::Much);
                weaver.go_back(mark);
                continue;
            };
            self.shared.stats.count_lookups(counts);
            next += done.answered;
            wire.drain_if_large().await?;
            if !done.past_due.is_empty() {
                rounds = if done.answered == 0 { rounds + 1 } else { 1 };
                let removed = match rounds {
                    0..=REMOVALS_MAX => self.upstream.remove(done.past_due, now_ms).await,
                    _ => Err(TRY_AGAIN),
                };
                match removed {
                    Ok(settled_ms) => now_ms = settled_ms,
                    Err(line) => return Ok(Err(line)),
                }
            }
            // A value that is opened keeps a thread of the network busy, however short the answer: others come between.
            // The first time it only looks at the clock, for most rounds have ended by then.
            if next < self.reads.len() && turn.get_or_insert_with(Instant::now).elapsed() >= READ_TURN {
                yield_now().await;
                turn = None;
            }
        }
        Ok(Ok(()))
    }

    /// Answers the first of the reads that are left, or more of them; the hits and misses that the replies tell of. `None` if a
    /// value is larger than `most`, which is seen before it is copied.
    async fn some<S>(
        &self,
        next: usize,
        now_ms: u64,
        most: usize,
        weaver: &mut Weaver,
        wire: &mut Wire<S>,
    ) -> Option<(ReadsDone, (u64, u64))>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut lookups = self.reads[next..].iter().map(|(_, read)| Lookup::of(read));
        let (mut counts, mut fits) = ((0, 0), true);
        let outbox = &mut wire.outbox;
        let show = &mut |reply: ShownReply<'_>| {
            fits = fits && !matches!(reply, ShownReply::OfKey(KeyReply::Bulk(value)) if value.len() > most);
            if !fits {
                return false;
            }
            weaver.advance(outbox);
            let (hits, misses) = reply.count(lookups.next().unwrap_or(Lookup::Nothing));
            counts = (counts.0 + hits, counts.1 + misses);
            if reply.is_error() {
                add(&self.shared.stats.error_replies_total, 1);
            }
            match reply {
                ShownReply::OfKey(reply) => Encoder::new(outbox, self.protocol).key_reply(reply),
                ShownReply::Whole(reply) => {
                    // A buffer that doubles as it grows would hold twice as much.
                    outbox.reserve_exact(reply_bytes(reply));
                    Encoder::new(outbox, self.protocol).reply(reply);
                }
            }
            outbox.len() < WRITE_BATCH_BYTES
        };
        let done = self.upstream.read_first(&self.reads[next..], now_ms, show).await;
        fits.then_some((done, counts))
    }

    /// What has to be taken before a read: while memory is tight, one who read much takes all that it may answer with. So does
    /// one whose answer was more than what was left: else it would read the same again and again.
    fn bytes_before(&self, read: &ReadCommand, was_too_large: bool) -> usize {
        match most_bytes(read) {
            0 if was_too_large => OUTPUT_BYTES_MAX,
            most if was_too_large => most,
            most if self.may_read_much(read) && self.shared.memory.is_tight() => most,
            _ => 0,
        }
    }

    /// A value of one key is seen to be large before it is copied; those of many keys are not.
    fn may_read_much(&self, read: &ReadCommand) -> bool {
        match self.appetite {
            Appetite::Unknown => !read.is_of_one_key(),
            Appetite::Little => false,
            Appetite::Much => true,
        }
    }

    /// Whether the connection may hold replies of `bytes`; if so, they are taken from the memory of all.
    fn hold<S>(&mut self, bytes: usize, taken: Option<Hold>, wire: &mut Wire<S>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if bytes <= CLIENT_HOLD_FREE_BYTES {
            *self.appetite = Appetite::Little;
            return true;
        }
        *self.appetite = Appetite::Much;
        let Some(mut hold) = taken.or_else(|| self.shared.memory.try_take(bytes)) else { return false };
        hold.set(bytes);
        wire.adopt(hold);
        true
    }

    fn refuse<S>(&self, weaver: &mut Weaver, wire: &mut Wire<S>) {
        weaver.advance(&mut wire.outbox);
        for counter in [&self.shared.stats.error_replies_total, &self.shared.stats.try_again_total] {
            add(counter, 1);
        }
        Encoder::new(&mut wire.outbox, self.protocol).error(NO_MEMORY);
    }
}

/// What the answer to a read may take at most.
pub(crate) fn most_bytes(read: &ReadCommand) -> usize {
    match read {
        ReadCommand::GetMany { .. } | ReadCommand::Keys { .. } => OUTPUT_BYTES_MAX,
        ReadCommand::Get { .. }
        | ReadCommand::Range { .. }
        | ReadCommand::Dump { .. }
        | ReadCommand::CommonSubsequence { .. } => VALUE_BYTES_MAX + WRITE_BATCH_BYTES,
        _ => 0,
    }
}

/// How long one connection reads before others get the thread.
const READ_TURN: Duration = Duration::from_millis(1);
const NO_MEMORY: &str = "TRYAGAIN the memory of all clients is used up, nothing was read";
