//! Who is connected: what CLIENT LIST shows and CLIENT KILL ends.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::fsm::name::Database;
use crate::resp::commands::COMMANDS;
use crate::resp::stats::Stats;

/// One connection as others may see it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    /// Number of its socket.
    pub(crate) descriptor: i32,
    pub(crate) address: SocketAddr,
    pub(crate) local_address: SocketAddr,
    pub(crate) since: Instant,
    /// Milliseconds after `since` at which it last sent something.
    pub(crate) active_ms: AtomicU64,
    pub(crate) protocol: AtomicU8,
    /// Number of the database that it has selected.
    database: AtomicU8,
    pub(crate) is_authenticated: AtomicBool,
    /// It takes what is applied here for an answer (READONLY).
    pub(crate) reads_stale: AtomicBool,
    pub(crate) inbox_bytes: AtomicUsize,
    pub(crate) outbox_bytes: AtomicUsize,
    pub(crate) names: Mutex<Names>,
    /// Number of its last command in the table.
    pub(crate) last_command: AtomicUsize,
    /// Commands that wait for EXEC; -1 outside MULTI.
    queued: AtomicI64,
    is_killed: AtomicBool,
    kill: Notify,
    /// What serves it.
    task: OnceLock<AbortHandle>,
}

/// What a client calls itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) name: String,
    pub(crate) library: String,
    pub(crate) library_version: String,
    /// The word behind its last container command, with that command's number.
    pub(crate) subcommand: Option<(usize, String)>,
}

impl Client {
    pub(crate) fn new(id: u64, descriptor: i32, address: SocketAddr, local_address: SocketAddr) -> Client {
        Client {
            id,
            descriptor,
            address,
            local_address,
            since: Instant::now(),
            active_ms: AtomicU64::new(0),
            protocol: AtomicU8::new(2),
            database: AtomicU8::new(Database::FIRST.number()),
            is_authenticated: AtomicBool::new(false),
            reads_stale: AtomicBool::new(false),
            inbox_bytes: AtomicUsize::new(0),
            outbox_bytes: AtomicUsize::new(0),
            names: Mutex::default(),
            last_command: AtomicUsize::new(usize::MAX),
            queued: AtomicI64::new(-1),
            is_killed: AtomicBool::new(false),
            kill: Notify::new(),
            task: OnceLock::new(),
        }
    }

    /// Ends the connection at its next await.
    fn kill(&self) {
        self.is_killed.store(true, Ordering::Release);
        // All of them: a connection listens for its whole life, and again where it waits for something.
        self.kill.notify_waiters();
    }

    /// Notes what serves it.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        let was_set = self.task.set(task);
        assert!(was_set.is_ok(), "one task serves a connection");
    }

    /// True once somebody killed it.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::Acquire)
    }

    /// Returns once somebody kills it.
    pub(crate) async fn killed(&self) {
        // Made before the look: it hears of a kill from here on.
        let notified = self.kill.notified();
        if !self.is_killed() {
            notified.await;
        }
    }

    /// Notes that it sent something.
    pub(crate) fn touch(&self, now: Instant) {
        let since = now.saturating_duration_since(self.since);
        let elapsed = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.active_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Notes the word behind a container command, as far as CLIENT LIST can show it.
    pub(crate) fn show_subcommand(&self, word: &[u8]) {
        let shown =
            word.iter().take(SUBCOMMAND_SHOWN_MAX).filter(|byte| byte.is_ascii_alphanumeric() || **byte == b'-');
        let shown = shown.map(|byte| char::from(byte.to_ascii_lowercase())).collect();
        lock(&self.names).subcommand = Some((self.last_command.load(Ordering::Relaxed), shown));
    }

    /// The database that its next command works on.
    pub(crate) fn database(&self) -> Database {
        Database::new(self.database.load(Ordering::Relaxed)).expect("only databases are selected")
    }

    /// SELECT.
    pub(crate) fn select(&self, database: Database) {
        self.database.store(database.number(), Ordering::Relaxed);
    }

    /// Notes how many commands wait for EXEC, if MULTI was said.
    pub(crate) fn show_queued(&self, queued: Option<usize>) {
        let shown = queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
        self.queued.store(shown, Ordering::Relaxed);
    }

    /// Its line in CLIENT LIST, in Redis' form.
    pub(crate) fn describe(&self, line: &mut String) {
        let age = self.since.elapsed();
        let idle = age.as_secs().saturating_sub(self.active_ms.load(Ordering::Relaxed) / 1000);
        let inbox = self.inbox_bytes.load(Ordering::Relaxed);
        let outbox = self.outbox_bytes.load(Ordering::Relaxed);
        let queued = self.queued.load(Ordering::Relaxed);
        let flags = if queued >= 0 { "x" } else { "N" };
        let names = lock(&self.names);
        let number = self.last_command.load(Ordering::Relaxed);
        let command = COMMANDS.get(number).map_or("NULL", |command| command.name);
        let word = names.subcommand.as_ref().filter(|(of, _)| *of == number).map(|(_, word)| word.as_str());
        let (bar, word) = word.map_or(("", ""), |word| ("|", word));
        let written = writeln!(
            line,
            "id={} addr={} laddr={} fd={} name={} age={} idle={idle} flags={flags} db={} sub=0 psub=0 ssub=0 multi={queued} \
             qbuf={inbox} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={outbox} oll=0 omem=0 tot-mem={} \
             events=r cmd={command}{bar}{word} user=default redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.address,
            self.local_address,
            self.descriptor,
            names.name,
            age.as_secs(),
            self.database().number(),
            inbox + outbox,
            self.protocol.load(Ordering::Relaxed),
            names.library,
            names.library_version,
        );
        written.expect("writing to a String does not fail");
    }
}

/// The connections, by id. The gauges of `stats` follow it.
#[derive(Debug)]
pub(crate) struct Registry {
    table: Mutex<ClientTable>,
    next_id: AtomicU64,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct ClientTable {
    clients: BTreeMap<u64, Arc<Client>>,
    /// Those that have yet to show the password.
    strangers: BTreeSet<u64>,
}

impl Registry {
    pub(crate) fn new(stats: Arc<Stats>) -> Registry {
        Registry { table: Mutex::default(), next_id: AtomicU64::new(0), stats }
    }

    /// Adds a connection under the next id.
    pub(crate) fn enter(&self, descriptor: i32, address: SocketAddr, local_address: SocketAddr) -> Arc<Client> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client::new(id, descriptor, address, local_address));
        self.change(|table| table.clients.insert(id, Arc::clone(&client)));
        client
    }

    /// Removes a connection, if it has not left already.
    pub(crate) fn leave(&self, id: u64) {
        self.change(|table| {
            table.strangers.remove(&id);
            table.clients.remove(&id);
        });
    }

    /// Ends a connection at its next await. From now on it is neither shown nor counted.
    pub(crate) fn kill(&self, client: &Client) {
        client.kill();
        self.leave(client.id);
    }

    /// Ends a connection wherever it is: one that does not read would keep its socket for as long as a write may take, and
    /// nobody counts it any more.
    pub(crate) fn evict(&self, client: &Client) {
        self.kill(client);
        client.task.get().into_iter().for_each(AbortHandle::abort);
    }

    /// Notes whether a connection has yet to show the password.
    pub(crate) fn set_stranger(&self, id: u64, is_stranger: bool) {
        self.change(|table| match is_stranger && table.clients.contains_key(&id) {
            true => table.strangers.insert(id),
            false => table.strangers.remove(&id),
        });
    }

    /// The connection that has waited longest without showing the password.
    pub(crate) fn oldest_stranger(&self) -> Option<Arc<Client>> {
        let table = lock(&self.table);
        table.strangers.first().and_then(|oldest| table.clients.get(oldest)).cloned()
    }

    /// Everybody, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.table).clients.values().cloned().collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut ClientTable) -> T) {
        let mut table = lock(&self.table);
        change(&mut table);
        assert!(table.strangers.len() <= table.clients.len(), "a stranger is a client");
        self.stats.connected_clients.store(table.clients.len(), Ordering::Relaxed);
        self.stats.unauthenticated_clients.store(table.strangers.len(), Ordering::Relaxed);
    }
}

/// The guard, also after a panic of another holder: what is locked here is valid after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longer than every subcommand.
const SUBCOMMAND_SHOWN_MAX: usize = 32;
