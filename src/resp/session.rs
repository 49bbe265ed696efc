//! One connection's commands in their order: what goes into one entry, what reads where, what is answered here.
//!
//! A pipeline has the effect and the replies of its commands run one after another. At most one group is
//! in `propose` at a time, so the order of effects is the order of groups; inside a group it is that of the slots. Reads
//! without a write before them in the group get a ReadIndex taken after they arrived, when all earlier entries are
//! applied. No command is ever sent twice: the client gets `-TRYAGAIN` and decides.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::fsm::command::Reply;
use crate::limits::ARGUMENTS_MAX;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::limits::QUERY_BYTES_MAX;
use crate::propose::Outcome;
use crate::propose::RequestSlot;
use crate::resp::calls::BatchCalls;
use crate::resp::close::Close;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::arguments::Oversize;
use crate::resp::codec::arguments::Received;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::reply_bytes;
use crate::resp::codec::request::Sender;
use crate::resp::commands;
use crate::resp::commands::Action;
use crate::resp::commands::CommandSpec;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Kind;
use crate::resp::commands::Local;
use crate::resp::delivery::ProposedEnd;
use crate::resp::group::CommandGroup;
use crate::resp::group::GroupWork;
use crate::resp::group::Weaver;
use crate::resp::local::LocalContext;
use crate::resp::local::reads_every_row;
use crate::resp::login::Login;
use crate::resp::lookups::Lookup;
use crate::resp::read_turn::Appetite;
use crate::resp::read_turn::ReadTurn;
use crate::resp::registry::Client;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
use crate::resp::transaction::Transaction;
use crate::resp::transaction_turn::TransactionTurn;
use crate::resp::upstream::READ_ONLY;
use crate::resp::upstream::TRY_AGAIN;
use crate::resp::upstream::Upstream;
use crate::resp::wire::Wire;

/// What is to be done with a command.
enum Resolved {
    /// It waits for EXEC.
    Queued,
    /// Now.
    Action(Action),
}

/// What one connection is, between its commands.
pub(crate) struct Session {
    shared: Arc<ServerShared>,
    client: Arc<Client>,
    login: Login,
    upstream: Upstream,
    group: CommandGroup,
    transaction: Transaction,
    /// Commands of the batch under way.
    calls: BatchCalls,
    appetite: Appetite,
}

impl Session {
    pub(crate) fn new(shared: Arc<ServerShared>, client: Arc<Client>) -> Session {
        Session {
            login: Login::new(Arc::clone(&shared), Arc::clone(&client)),
            upstream: Upstream::new(Arc::clone(&shared), Arc::clone(&client)),
            shared,
            client,
            group: CommandGroup::default(),
            transaction: Transaction::default(),
            calls: BatchCalls::default(),
            appetite: Appetite::Unknown,
        }
    }

    /// Which bounds its next command has.
    pub(crate) fn sender(&self) -> Sender {
        self.login.sender()
    }

    /// When it has to have authenticated; `None` once it has.
    pub(crate) fn auth_deadline(&self) -> Option<Instant> {
        self.login.deadline()
    }

    /// Runs the commands of a batch, in order; their replies are in the wire's output buffer or sent.
    ///
    /// # Errors
    /// Why the connection ends; replies of what was done before are in the output buffer.
    pub(crate) async fn run<S>(&mut self, batch: &mut Received, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        add(&self.shared.stats.commands_total, batch.len());
        let began = wire.begin();
        let ran = self.run_all(batch, wire).await;
        self.shared.stats.calls.count(&mut self.calls, began.elapsed());
        ran
    }

    async fn run_all<S>(&mut self, batch: &mut Received, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for position in 0..batch.len() {
            match batch.oversize(position) {
                None => self.take(batch.command(position), wire).await?,
                Some(oversize) => self.refuse_oversize(oversize, wire).await?,
            }
        }
        // Others can have the buffer while this connection waits: what the last group needs of it, it holds.
        batch.clear();
        self.finish(wire).await?;
        wire.keep(self.transaction.bytes());
        Ok(())
    }

    async fn take<S>(&mut self, arguments: Arguments<'_>, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.resolve(arguments) {
            Err(refusal) => {
                add(&self.shared.stats.error_replies_total, 1);
                self.answer(wire, |encoder| encoder.error(&refusal.0));
            }
            Ok(Resolved::Queued) => self.answer(wire, |encoder| encoder.simple("QUEUED")),
            Ok(Resolved::Action(Action::Write(write))) => {
                if !self.group.admits_write(&write) || !self.may_gather() {
                    self.finish(wire).await?;
                }
                self.group.push_write(self.client.database(), write);
            }
            Ok(Resolved::Action(Action::Read(read))) => {
                // What rides is answered on the apply thread, where nobody waits for memory.
                let may_ride = self.group.is_empty() || !self.shared.memory.is_tight();
                if !self.group.admits_read(&read) || !may_ride || !self.may_gather() {
                    self.finish(wire).await?;
                }
                self.group.push_read(self.client.database(), read);
            }
            Ok(Resolved::Action(Action::Local(Local::Ping))) if arguments.len() == 1 => {
                self.answer(wire, |encoder| encoder.simple("PONG"));
            }
            Ok(Resolved::Action(Action::Local(Local::Ping | Local::Echo))) => {
                self.answer(wire, |encoder| encoder.bulk(arguments.slice(1)));
            }
            Ok(Resolved::Action(Action::Local(local))) => {
                self.finish(wire).await?;
                self.run_local(local, arguments, wire).await?;
            }
        }
        wire.drain_if_large().await
    }

    /// Whether one more command may join the group; otherwise it is sent first.
    fn may_gather(&self) -> bool {
        self.group.len() < GATHERED_ALWAYS || self.group.len() < self.shared.memory.group_commands()
    }

    /// A command that was dropped as it arrived: an ordinary error, the stream has kept its frame.
    async fn refuse_oversize<S>(&mut self, oversize: Oversize, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let line = match oversize {
            Oversize::Arguments => format!("ERR a command may have {ARGUMENTS_MAX} arguments"),
            Oversize::Bytes => format!("ERR a command may take {QUERY_BYTES_MAX} bytes"),
            Oversize::Memory => NO_MEMORY_FOR_COMMAND.to_owned(),
        };
        let refusal = self.transaction.spoiled_by(b"", ErrorLine::made(line));
        add(&self.shared.stats.error_replies_total, 1);
        self.answer(wire, |encoder| encoder.error(&refusal.0));
        wire.drain_if_large().await
    }

    async fn run_local<S>(&mut self, local: Local, arguments: Arguments<'_>, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if local == Local::Reset {
            self.transaction.clear();
            self.client.reads_stale.store(false, Ordering::Relaxed);
        }
        let mut context = LocalContext {
            shared: &self.shared,
            client: &self.client,
            login: &mut self.login,
            upstream: &self.upstream,
        };
        if local.is_of_transactions() {
            let turn = TransactionTurn { context, transaction: &mut self.transaction };
            turn.run(local, arguments, wire).await?;
        } else if reads_every_row(arguments) {
            let mut out = Vec::new();
            tokio::select! {
                ran = context.run(local, arguments, &mut out) => ran?,
                close = wire.ended() => return Err(close),
            }
            wire.outbox.extend_from_slice(&out);
        } else {
            context.run(local, arguments, &mut wire.outbox).await?;
        }
        self.client.show_queued(self.transaction.queued());
        Ok(())
    }

    /// What is to be done with a command now.
    fn resolve(&mut self, arguments: Arguments<'_>) -> Result<Resolved, ErrorLine> {
        let command =
            self.admit(arguments).map_err(|refusal| self.transaction.spoiled_by(arguments.slice(0), refusal))?;
        let lead_ms = self.shared.gateway.lead_ms();
        let waits = command.local().is_none_or(|local| !local.is_never_queued());
        if !(self.transaction.is_open() && waits) {
            return command.parse(arguments, self.client.database(), lead_ms).map(Resolved::Action);
        }
        if command.is_refused_in_transactions() {
            let refusal = ErrorLine::fixed("ERR Command not allowed inside a transaction");
            return Err(self.transaction.spoiled_by(arguments.slice(0), refusal));
        }
        self.transaction.queue(command, arguments, lead_ms)?;
        self.client.show_queued(self.transaction.queued());
        Ok(Resolved::Queued)
    }

    /// The command, if it is one and this client may use it.
    fn admit(&mut self, arguments: Arguments<'_>) -> Result<&'static CommandSpec, ErrorLine> {
        let Some((number, command)) = commands::find(arguments.slice(0)) else {
            return Err(commands::unknown(arguments));
        };
        self.client.last_command.store(number, Ordering::Relaxed);
        let admitted = self.may_run(command, arguments);
        match admitted {
            Ok(()) => {
                if command.removes_all() {
                    self.shared.stats.say_flush(self.client.address.ip(), command.name);
                }
                self.calls.add(number);
            }
            Err(_) => self.shared.stats.calls.refuse(number),
        }
        admitted.map(|()| command)
    }

    fn may_run(&self, command: &CommandSpec, arguments: Arguments<'_>) -> Result<(), ErrorLine> {
        if !command.admits(arguments.len()) {
            return Err(ErrorLine::arity(command.name));
        }
        if self.login.deadline().is_some() && command.kind != Kind::LocalWithoutAuth {
            return Err(ErrorLine::fixed("NOAUTH Authentication required."));
        }
        if !self.login.is_admin() && command.is_for_operators(arguments, self.shared.bounds.is_flush_for_admin) {
            self.shared.stats.count_refused_operator(self.client.address.ip(), command.name);
            let way = match self.shared.bounds.admin_password {
                Some(_) => "AUTH admin <password> with the password of --adminpass-file, then send it again",
                None => NO_ADMIN_PASSWORD,
            };
            return Err(ErrorLine::made(format!("NOPERM '{}' is a command of operators: {way}", command.name)));
        }
        Ok(())
    }

    /// A reply that is known now: sent in its place.
    fn answer<S>(&mut self, wire: &mut Wire<S>, encode: impl FnOnce(&mut Encoder<'_>)) {
        let protocol = self.login.protocol();
        if self.group.is_empty() {
            encode(&mut Encoder::new(&mut wire.outbox, protocol));
        } else {
            self.group.hold(|held| encode(&mut Encoder::new(held, protocol)));
        }
    }

    /// Sends the group to `propose`, waits for its outcome, and writes its replies.
    async fn finish<S>(&mut self, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answer_bytes = self.group.answer_bytes();
        let (work, mut weaver) = self.group.take();
        let reads = match work {
            GroupWork::Nothing => return Ok(()),
            GroupWork::Entry(slots) => {
                let count = slots.len();
                let lookups = lookups(&slots);
                let proposed = self.upstream.propose_for(wire, Vec::new(), slots, answer_bytes).await?;
                if let Outcome::Replies(replies) = &proposed.outcome {
                    self.count_lookups(lookups.into_iter().zip(replies));
                }
                self.write_outcome(proposed, count, &mut weaver, wire).await?;
                Vec::new()
            }
            GroupWork::ReadRound(reads) => {
                let turn = ReadTurn {
                    shared: &self.shared,
                    upstream: &self.upstream,
                    protocol: self.login.protocol(),
                    reads: &reads,
                    appetite: &mut self.appetite,
                };
                if let Err(line) = turn.run(&mut weaver, wire).await? {
                    self.write_rest(line, &mut weaver, wire);
                }
                reads
            }
        };
        let is_left = weaver.advance(&mut wire.outbox);
        assert!(!is_left, "every command of a group has its answer");
        self.group.reuse(reads, weaver);
        Ok(())
    }

    async fn write_outcome<S>(
        &mut self,
        ProposedEnd { outcome, hold }: ProposedEnd,
        count: usize,
        weaver: &mut Weaver,
        wire: &mut Wire<S>,
    ) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let line = match outcome {
            Outcome::Replies(replies) if replies.len() == count => {
                wire.reply(hold);
                let written = self.write(replies, weaver, wire).await;
                wire.reply(None);
                return written;
            }
            Outcome::Replies(_) | Outcome::Unknown => {
                add(&self.shared.stats.outcomes_unknown_total, 1);
                return Err(Close::Unknown);
            }
            Outcome::Malformed(words) => {
                self.write_rest(&Upstream::malformed(&words), weaver, wire);
                return Ok(());
            }
            Outcome::TryAgain => TRY_AGAIN,
            Outcome::NotLeader(leader) => self.upstream.not_leader(leader, READ_ONLY),
            Outcome::TooLarge => TOO_LARGE,
        };
        self.write_rest(line, weaver, wire);
        Ok(())
    }

    /// Writes answers into their places.
    async fn write<S>(&mut self, replies: Vec<Reply>, weaver: &mut Weaver, wire: &mut Wire<S>) -> Result<(), Close>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for reply in replies {
            weaver.advance(&mut wire.outbox);
            if reply_bytes(&reply) > OUTPUT_BYTES_MAX {
                return Err(Close::Bound("output buffer"));
            }
            if matches!(reply, Reply::Error(_)) {
                add(&self.shared.stats.error_replies_total, 1);
            }
            wire.write_reply(reply, self.login.protocol()).await?;
        }
        Ok(())
    }

    fn count_lookups<'r>(&self, answered: impl Iterator<Item = (Lookup, &'r Reply)>) {
        let counts = answered.map(|(lookup, reply)| lookup.count(reply));
        self.shared.stats.count_lookups(counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1)));
    }

    /// Writes one error into every place that is left.
    fn write_rest<S>(&mut self, line: &str, weaver: &mut Weaver, wire: &mut Wire<S>) {
        if line == TRY_AGAIN {
            add(&self.shared.stats.try_again_total, 1);
        }
        while weaver.advance(&mut wire.outbox) {
            add(&self.shared.stats.error_replies_total, 1);
            Encoder::new(&mut wire.outbox, self.login.protocol()).error(line);
        }
    }
}

/// What the replies of an entry will tell; nothing is made for one without reads.
fn lookups(slots: &[RequestSlot]) -> Vec<Lookup> {
    if slots.iter().all(|slot| matches!(slot, RequestSlot::Write(..))) {
        return Vec::new();
    }
    let lookup = |slot: &RequestSlot| match slot {
        RequestSlot::Read(_, read) => Lookup::of(read),
        RequestSlot::Write(..) => Lookup::Nothing,
    };
    slots.iter().map(lookup).collect()
}

const NO_MEMORY_FOR_COMMAND: &str =
    "TRYAGAIN the memory of all clients is used up, the command was dropped as it arrived";
/// Commands that go on together whatever others hold.
const GATHERED_ALWAYS: usize = 16;
const TOO_LARGE: &str = "ERR command is too large for one log entry (8388608 bytes, 65536 writes)";
const NO_ADMIN_PASSWORD: &str = "this node has no password for them. Write one into a file of mode 0600, start the node with \
     --adminpass-file FILE (SEALKV_ADMINPASS_FILE), then send AUTH admin <password>";
