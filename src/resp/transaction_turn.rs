//! MULTI, EXEC, DISCARD, WATCH and UNWATCH of one connection: what they do and answer.

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::fsm::codec::Condition;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::kv::words;
use crate::limits::CLIENT_READ_BYTES;
use crate::limits::KEY_BYTES_MAX;
use crate::propose::Outcome;
use crate::propose::RequestSlot;
use crate::resp::close::Close;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Local;
use crate::resp::delivery::ProposedEnd;
use crate::resp::group::answer_bytes;
use crate::resp::local::LocalContext;
use crate::resp::memory::Hold;
use crate::resp::read_turn::most_bytes;
use crate::resp::stats::add;
use crate::resp::transaction::Exec;
use crate::resp::transaction::Queued;
use crate::resp::transaction::Transaction;
use crate::resp::transaction::TransactionEntry;
use crate::resp::upstream::READ_ONLY;
use crate::resp::upstream::TRY_AGAIN;
use crate::resp::upstream::Upstream;
use crate::resp::wire::Wire;

/// A connection at one of these commands; everything before it in the pipeline is done.
pub(crate) struct TransactionTurn<'a> {
    pub(crate) context: LocalContext<'a>,
    pub(crate) transaction: &'a mut Transaction,
}

impl TransactionTurn<'_> {
    /// Runs one command and writes its reply.
    ///
    /// # Errors
    /// Why the connection ends.
    pub(crate) async fn run<S>(
        mut self,
        local: Local,
        arguments: Arguments<'_>,
        wire: &mut Wire<S>,
    ) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let done = match local {
            Local::Multi => self.transaction.begin(self.context.client.database()),
            Local::Discard => self.transaction.discard(),
            Local::Watch => self.watch(arguments).await,
            Local::Exec => return self.exec(wire).await,
            _ => {
                self.transaction.unwatch();
                Ok(())
            }
        };
        match done {
            Ok(()) => self.encoder(wire).simple("OK"),
            Err(refusal) => self.refuse(&refusal, wire),
        }
        Ok(())
    }

    /// The last change of each key is read at a read point that is taken now: EXEC compares it.
    async fn watch(&mut self, arguments: Arguments<'_>) -> Result<(), ErrorLine> {
        let keys = (1..arguments.len()).map(|position| arguments.shared(position)).collect::<Vec<_>>();
        if keys.iter().any(|key| key.len() > KEY_BYTES_MAX) {
            return Err(ErrorLine::made(format!("ERR key is longer than the limit of {KEY_BYTES_MAX}")));
        }
        let database = self.context.client.database();
        self.transaction.may_watch(database, &keys)?;
        let read = ReadCommand::LastChanges { keys: keys.clone() };
        let read = self.context.upstream.read_alone(database, read).await;
        match read.map_err(ErrorLine::fixed)? {
            Reply::Array(changes) => {
                assert_eq!(changes.len(), keys.len(), "one change for each key");
                for (key, change) in keys.iter().zip(changes) {
                    let Reply::Integer(change) = change else { unreachable!("a change is a number") };
                    self.transaction.watch(database, key, u64::try_from(change).expect("an index is not negative"));
                }
                Ok(())
            }
            Reply::Error(line) => Err(ErrorLine::fixed(line)),
            other => unreachable!("a read of changes answers them or an error: {other:?}"),
        }
    }

    async fn exec<S>(&mut self, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (queued, conditions) = match self.transaction.exec() {
            Exec::Refused(refusal) => {
                self.refuse(&refusal, wire);
                return Ok(());
            }
            Exec::Run { queued, conditions } => (queued, conditions),
        };
        match self.propose(&queued, conditions, wire).await? {
            Executed::Replies(replies, hold) => {
                wire.reply(hold);
                let written = self.write(queued, replies, wire).await;
                wire.reply(None);
                written
            }
            Executed::Changed => {
                self.encoder(wire).null_array();
                Ok(())
            }
            Executed::Refused(refusal) => {
                if refusal.0 == TRY_AGAIN {
                    add(&self.context.shared.stats.try_again_total, 1);
                }
                self.refuse(&refusal, wire);
                Ok(())
            }
        }
    }

    /// Has all of it made one entry, and waits until that is applied.
    async fn propose<S>(
        &self,
        queued: &[Queued],
        conditions: Vec<Condition>,
        wire: &mut Wire<S>,
    ) -> Result<Executed, Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(entry) = TransactionEntry::of(queued, !conditions.is_empty()) else {
            return Ok(Executed::Replies(Vec::new(), None));
        };
        let count = entry.slots.len();
        let is_tight = self.context.shared.memory.is_tight();
        let most = |slot: &RequestSlot| match slot {
            RequestSlot::Write(_, write) => answer_bytes(write),
            // While there is much, apply asks how much is left when it runs them.
            RequestSlot::Read(_, read) => most_bytes(read) * usize::from(is_tight),
        };
        let bytes = entry.slots.iter().map(most).sum::<usize>().min(CLIENT_READ_BYTES);
        let proposed = self.context.upstream.propose_for(wire, conditions, entry.slots, bytes).await?;
        let ProposedEnd { outcome, hold } = proposed;
        Ok(match outcome {
            Outcome::Replies(replies) if replies.len() == count => match replies.first() {
                Some(Reply::Error(words::CONDITION_FAILED)) => Executed::Changed,
                _ => Executed::Replies(replies.into_iter().skip(usize::from(entry.has_filler)).collect(), hold),
            },
            Outcome::Replies(_) | Outcome::Unknown => {
                add(&self.context.shared.stats.outcomes_unknown_total, 1);
                return Err(Close::Unknown);
            }
            Outcome::TryAgain => Executed::refused(TRY_AGAIN),
            Outcome::NotLeader(leader) => Executed::refused(self.context.upstream.not_leader(leader, READ_ONLY)),
            Outcome::TooLarge => Executed::refused(TOO_LARGE),
            Outcome::Malformed(words) => Executed::Refused(ErrorLine::made(Upstream::malformed(&words))),
        })
    }

    /// Writes the replies in the order of the commands; those of this connection run now.
    async fn write<S>(&mut self, queued: Vec<Queued>, replies: Vec<Reply>, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut replies = replies.into_iter();
        self.encoder(wire).array(queued.len());
        for command in queued {
            match command {
                Queued::Write(..) | Queued::Read(..) => {
                    let reply = replies.next().expect("counted: one reply for each command of the entry");
                    if matches!(reply, Reply::Error(_)) {
                        add(&self.context.shared.stats.error_replies_total, 1);
                    }
                    wire.write_reply(reply, self.context.login.protocol()).await?;
                }
                Queued::Wrong(refusal) => self.refuse(&refusal, wire),
                Queued::Local(local, kept) => {
                    self.context.run(local, kept.arguments(), &mut wire.outbox).await?;
                }
            }
            wire.drain_if_large().await?;
        }
        Ok(())
    }

    fn refuse<S>(&self, refusal: &ErrorLine, wire: &mut Wire<S>) {
        add(&self.context.shared.stats.error_replies_total, 1);
        self.encoder(wire).error(&refusal.0);
    }

    fn encoder<'w, S>(&self, wire: &'w mut Wire<S>) -> Encoder<'w> {
        Encoder::new(&mut wire.outbox, self.context.login.protocol())
    }
}

/// How an EXEC ended that was allowed.
enum Executed {
    /// Applied: one reply for each command of the entry, and what they hold.
    Replies(Vec<Reply>, Option<Hold>),
    /// A watched key has changed: nothing was run.
    Changed,
    /// Certainly not run.
    Refused(ErrorLine),
}

impl Executed {
    fn refused(line: &'static str) -> Executed {
        Executed::Refused(ErrorLine::fixed(line))
    }
}

const TOO_LARGE: &str = "EXECABORT Transaction discarded because of: commands and watched keys are too large for one log entry (8388608 bytes)";
