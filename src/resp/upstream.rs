//! Requests, read points, reads and removals of expired keys: a session asks for one and waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::fsm::codec::Condition;
use crate::fsm::command::KeyReply;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::kv::KeyAnswer;
use crate::fsm::kv::NamedRead;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::limits::CLIENT_HOLD_FREE_BYTES;
use crate::limits::GROUP_WRITES_MAX;
use crate::propose::ClientRequest;
use crate::propose::Outcome;
use crate::propose::ReadDone;
use crate::propose::ReadOutcome;
use crate::propose::RequestDone;
use crate::propose::RequestSlot;
use crate::propose::Wakeup;
use crate::resp::close::Close;
use crate::resp::delivery::Deliveries;
use crate::resp::delivery::ProposedEnd;
use crate::resp::delivery::Undelivered;
use crate::resp::lookups::Lookup;
use crate::resp::memory::ClientMemory;
use crate::resp::memory::Hold;
use crate::resp::patience::Patience;
use crate::resp::registry::Client;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
use crate::resp::wire::Wire;

/// The rooms under the session, for one connection.
pub(crate) struct Upstream {
    shared: Arc<ServerShared>,
    client: Arc<Client>,
    /// For outcomes.
    patience: Patience,
}

impl Upstream {
    pub(crate) fn new(shared: Arc<ServerShared>, client: Arc<Client>) -> Upstream {
        Upstream { shared, client, patience: Patience::default() }
    }

    /// Takes the memory that the writes of a request may answer with, then proposes it. Without as much in time nothing was
    /// proposed.
    ///
    /// # Errors
    /// The client is gone meanwhile; then nothing was proposed either.
    pub(crate) async fn propose_for<S>(
        &self,
        wire: &mut Wire<S>,
        conditions: Vec<Condition>,
        slots: Vec<RequestSlot>,
        answer_bytes: usize,
    ) -> Result<ProposedEnd, Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut taken = None;
        if answer_bytes > 0 {
            taken = wire.take(answer_bytes, Instant::now() + self.shared.bounds.queue_deadline).await?;
            if taken.is_none() {
                return Ok(Outcome::TryAgain.into());
            }
        }
        Ok(self.propose(conditions, slots, taken).await)
    }

    /// Proposes once, with patience for a full queue only: then nothing was proposed. `taken` is what its writes may answer with.
    async fn propose(&self, conditions: Vec<Condition>, slots: Vec<RequestSlot>, taken: Option<Hold>) -> ProposedEnd {
        assert!(slots.iter().any(|slot| matches!(slot, RequestSlot::Write(..))), "an entry has a write");
        let (sender, receiver) = oneshot::channel();
        let (deliveries, memory) = (Arc::clone(&self.shared.deliveries), Arc::clone(&self.shared.memory));
        let done = Box::new(ReplyTaker { sender, deliveries, memory, taken });
        let mut request = ClientRequest { conditions, slots, done };
        let (mut began, mut pause) = (None, QUEUE_PAUSE_MIN);
        while let Err(back) = self.shared.gateway.propose(request) {
            let waited = began.get_or_insert_with(Instant::now).elapsed();
            if waited >= self.shared.bounds.queue_deadline || self.client.is_killed() {
                return Outcome::TryAgain.into();
            }
            request = back;
            sleep(pause).await;
            pause = (pause * 2).min(QUEUE_PAUSE_MAX);
        }
        add(&self.shared.stats.requests_total, 1);
        match self.patience.wait(self.shared.bounds.outcome_deadline, receiver).await {
            Some(Ok(proposed)) => proposed,
            Some(Err(_)) | None => Outcome::Unknown.into(),
        }
    }

    /// Answers the first of several reads, or more of them if each is of one key; `show` puts a reply in its place, and says
    /// whether more may come before what is there is written.
    ///
    /// Answers behind a key that is past due are not used: they would be from an earlier state than the one that is read
    /// after its removal.
    pub(crate) async fn read_first(
        &self,
        reads: &[(Database, ReadCommand)],
        now_ms: u64,
        show: &mut (dyn FnMut(ShownReply<'_>) -> bool + Send),
    ) -> ReadsDone {
        let (database, read) = &reads[0];
        if read.is_of_one_key() {
            let alike = reads.iter().take_while(|(_, read)| read.is_of_one_key()).count();
            return self.read_keys(&reads[..alike], now_ms, show);
        }
        let mut done = ReadsDone::default();
        match self.read_one(*database, read, now_ms).await {
            ReadAnswer::Reply(reply) => {
                show(ShownReply::Whole(&reply));
                done.answered = 1;
            }
            ReadAnswer::PastDue(names) => done.past_due = names,
        }
        done.past_due.truncate(GROUP_WRITES_MAX);
        done
    }

    fn read_keys(
        &self,
        reads: &[(Database, ReadCommand)],
        now_ms: u64,
        show: &mut (dyn FnMut(ShownReply<'_>) -> bool + Send),
    ) -> ReadsDone {
        let mut done = ReadsDone::default();
        let read = self.shared.reads.read_keys(reads, now_ms, &mut |answer| {
            let reply = match answer {
                KeyAnswer::PastDue(name) => {
                    done.past_due.push(name);
                    return true;
                }
                _ if !done.past_due.is_empty() => return true,
                KeyAnswer::Reply(reply) => reply,
                KeyAnswer::Failed(error) => KeyReply::Error(self.unreadable(&error)),
            };
            done.answered += 1;
            show(ShownReply::OfKey(reply))
        });
        match read {
            Ok(()) => done,
            Err(error) if reads.len() == 1 => {
                show(ShownReply::OfKey(KeyReply::Error(self.unreadable(&error))));
                ReadsDone { answered: 1, past_due: Vec::new() }
            }
            // What cannot be read may be the row of another read.
            Err(_) => self.read_keys(&reads[..1], now_ms, show),
        }
    }

    /// One read at a read point of its own, with the removals that it needs first.
    pub(crate) async fn read_alone(&self, database: Database, read: ReadCommand) -> Result<Reply, &'static str> {
        self.reach_read_point().await?;
        let mut now_ms = self.clock_ms();
        for _ in 0..REMOVALS_MAX {
            match self.read_one(database, &read, now_ms).await {
                ReadAnswer::Reply(reply) => return Ok(reply),
                ReadAnswer::PastDue(mut names) => {
                    names.truncate(GROUP_WRITES_MAX);
                    now_ms = self.remove(names, now_ms).await?;
                }
            }
        }
        Err(TRY_AGAIN)
    }

    async fn read_one(&self, database: Database, read: &ReadCommand, now_ms: u64) -> ReadAnswer {
        let names = match self.shared.reads.names(database, read) {
            Ok(names) => names,
            Err(error) => return ReadAnswer::Reply(Reply::Error(self.unreadable(&error))),
        };
        let result = if read.is_long() || read.opens() > READ_KEYS_HERE_MAX {
            self.read_aside(database, read, names, now_ms).await
        } else {
            Some(self.shared.reads.read(NamedRead { read, database, names: &names }, now_ms))
        };
        match result {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => ReadAnswer::Reply(Reply::Error(self.unreadable(&error))),
            None => ReadAnswer::Reply(Reply::Error(TRY_AGAIN)),
        }
    }

    fn unreadable(&self, error: &ReadError) -> &'static str {
        add(&self.shared.stats.read_errors_total, 1);
        tracing::error!(error = error as &dyn std::error::Error, "a stored value cannot be read");
        UNREADABLE
    }

    /// A read that walks many rows: off the network threads, a few at a time. `None` if that cannot be had in time.
    async fn read_aside(
        &self,
        database: Database,
        read: &ReadCommand,
        names: Vec<RowName>,
        now_ms: u64,
    ) -> Option<Result<ReadAnswer, ReadError>> {
        let _turn = timeout(self.shared.bounds.read_deadline, self.shared.long_reads.acquire()).await.ok()?.ok()?;
        let (reads, read) = (Arc::clone(&self.shared.reads), read.clone());
        let blocking = move || reads.read(NamedRead { read: &read, database, names: &names }, now_ms);
        tokio::task::spawn_blocking(blocking).await.ok()
    }

    /// Has the removal of keys that are past due at `now_ms` replicated and applied. The time by which to read again: where
    /// another node leads, its clock has decided.
    pub(crate) async fn remove(&self, mut names: Vec<RowName>, now_ms: u64) -> Result<u64, &'static str> {
        names.sort_unstable();
        names.dedup();
        add(&self.shared.stats.past_due_total, names.len());
        let removal = vec![RequestSlot::Write(Database::FIRST, WriteCommand::RemoveExpired { names })];
        match self.propose(Vec::new(), removal, None).await.outcome {
            Outcome::Replies(_) if self.shared.gateway.settled_ms().is_none() => Ok(now_ms),
            // It is applied where it was proposed; this node has it behind the next read point.
            Outcome::Replies(_) => {
                self.reach_read_point().await?;
                Ok(self.shared.gateway.settled_ms().unwrap_or(now_ms))
            }
            // A removal that happened or not: the read itself changed nothing and may be tried again.
            Outcome::TryAgain | Outcome::TooLarge | Outcome::Malformed(_) | Outcome::Unknown => Err(TRY_AGAIN),
            Outcome::NotLeader(leader) => Err(self.not_leader(leader, TRY_AGAIN)),
        }
    }

    /// Waits until what was committed when this began is applied here; asks again while it may. A node that leads alone is
    /// there already: no thread but this one has to run.
    pub(crate) async fn reach_read_point(&self) -> Result<(), &'static str> {
        if self.reads_stale() {
            return Ok(());
        }
        if self.shared.gateway.is_read_point() {
            add(&self.shared.stats.reads_at_once_total, 1);
            return Ok(());
        }
        let deadline = Instant::now() + self.shared.bounds.read_deadline;
        let mut pause = QUEUE_PAUSE_MIN;
        loop {
            add(&self.shared.stats.read_rounds_total, 1);
            let (sender, receiver) = oneshot::channel();
            let deliveries = Arc::clone(&self.shared.deliveries);
            self.shared.gateway.read_index(Box::new(PointTaker { sender, deliveries }));
            match timeout_at(deadline, receiver).await {
                Ok(Ok(ReadOutcome::Ready(_))) => return Ok(()),
                Ok(Ok(ReadOutcome::TryAgain) | Err(_)) => {}
                Err(_) => return Err(TRY_AGAIN),
            }
            if Instant::now() + pause >= deadline || self.client.is_killed() {
                return Err(TRY_AGAIN);
            }
            sleep(pause).await;
            pause = (pause * 2).min(QUEUE_PAUSE_MAX);
        }
    }

    /// The time by which a read calls keys past due. A stale one goes by the stamp of what is applied: it proposes nothing.
    pub(crate) fn clock_ms(&self) -> u64 {
        if self.reads_stale() { 0 } else { self.shared.gateway.now_ms() }
    }

    fn reads_stale(&self) -> bool {
        self.client.reads_stale.load(Ordering::Relaxed)
    }

    /// What to say when the node that leads does not understand a request.
    pub(crate) fn malformed(words: &str) -> String {
        format!("ERR the node that leads does not understand this command, nothing was executed: {words}")
    }

    /// What to say when this node does not lead: a sole voter is only starting.
    pub(crate) fn not_leader(&self, leader: Option<u64>, with_leader: &'static str) -> &'static str {
        match leader {
            _ if self.shared.facts.voters() <= 1 => TRY_AGAIN,
            Some(_) => with_leader,
            None => NO_LEADER,
        }
    }
}

/// Counts what the replies of a request hold from the moment on at which they are there.
struct ReplyTaker {
    sender: oneshot::Sender<ProposedEnd>,
    deliveries: Arc<Deliveries>,
    memory: Arc<ClientMemory>,
    /// For what its writes answer with.
    taken: Option<Hold>,
}

impl RequestDone for ReplyTaker {
    fn reply_bytes_max(&self) -> usize {
        self.memory.left() + self.taken.as_ref().map_or(0, Hold::bytes)
    }

    fn done(self: Box<Self>, outcome: Outcome) -> Wakeup {
        let ReplyTaker { sender, deliveries, memory, taken } = *self;
        let bytes = match &outcome {
            Outcome::Replies(replies) => replies.iter().map(Reply::value_bytes).sum(),
            _ => 0,
        };
        let hold = (bytes > CLIENT_HOLD_FREE_BYTES).then(|| {
            let mut hold = taken.unwrap_or_else(|| memory.hold(0));
            hold.set(bytes);
            hold
        });
        deliveries.put(Undelivered::Proposed(sender, ProposedEnd { outcome, hold }));
        Wakeup::of(deliveries)
    }
}

struct PointTaker {
    sender: oneshot::Sender<ReadOutcome>,
    deliveries: Arc<Deliveries>,
}

impl ReadDone for PointTaker {
    fn done(self: Box<Self>, outcome: ReadOutcome) -> Wakeup {
        self.deliveries.put(Undelivered::Read(self.sender, outcome));
        Wakeup::of(self.deliveries)
    }
}

/// A reply on its way to the output buffer.
pub(crate) enum ShownReply<'a> {
    /// To a read of one key.
    OfKey(KeyReply<'a>),
    /// To any other.
    Whole(&'a Reply),
}

impl ShownReply<'_> {
    /// Hits and misses that it tells of.
    pub(crate) fn count(&self, lookup: Lookup) -> (u64, u64) {
        match self {
            ShownReply::OfKey(reply) => lookup.count_key(*reply),
            ShownReply::Whole(reply) => lookup.count(reply),
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, ShownReply::OfKey(KeyReply::Error(_)) | ShownReply::Whole(Reply::Error(_)))
    }
}

/// How many reads of some are answered, and the rows that are past due behind those.
#[derive(Default)]
pub(crate) struct ReadsDone {
    pub(crate) answered: usize,
    pub(crate) past_due: Vec<RowName>,
}

/// Nothing was executed; the client decides whether to send it again.
pub(crate) const TRY_AGAIN: &str = "TRYAGAIN The command was not executed, send it again";
const NO_LEADER: &str = "CLUSTERDOWN No leader";
const UNREADABLE: &str = "ERR the stored value cannot be read, see the log of the node";
/// This node does not lead, another one does.
pub(crate) const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
/// Rounds of removal for one read: what its largest form can name, in pieces of a group.
pub(crate) const REMOVALS_MAX: u32 = 64;
/// Keys that one read may name and be answered on a thread of the network; any of them may be of the largest values.
const READ_KEYS_HERE_MAX: usize = 64;
const QUEUE_PAUSE_MIN: Duration = Duration::from_millis(1);
const QUEUE_PAUSE_MAX: Duration = Duration::from_millis(50);
