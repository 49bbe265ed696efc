//! A node whose threads run, and the two ways in which it ends.

use std::sync::Arc;
use std::thread::Builder;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;

use crate::apply;
use crate::apply::thread::NotEnded;
use crate::exit::chain;
use crate::limits::APPLY_END_DEADLINE;
use crate::limits::THREAD_END_DEADLINE;
use crate::node::datadir::DataDir;
use crate::node::end::NodeFailure;
use crate::node::expiry::ExpiryThread;
use crate::node::hand_over::HandOver;
use crate::node::numbers::NodeNumbers;
use crate::peers::Peers;
use crate::propose::Gateway;
use crate::propose::ReadPoints;
use crate::propose::Waiters;
use crate::raft::Input;
use crate::resp::ClientReads;
use crate::resp::Operator;
use crate::wal::thread::LogThread;
use crate::world::join_within;

/// A node whose threads run.
pub struct RunningNode {
    /// Where clients' requests go.
    pub gateway: Arc<dyn Gateway>,
    /// Clients' reads.
    pub reads: Arc<dyn ClientReads>,
    /// An operator's requests through clients' connections.
    pub operator: Arc<dyn Operator>,
    /// Its numbers.
    pub numbers: Arc<NodeNumbers>,
    /// Its threads, to be ended.
    pub(crate) threads: NodeThreads,
}

/// The threads and what must outlive them.
pub(crate) struct NodeThreads {
    pub(crate) raft: Sender<Input>,
    pub(crate) raft_thread: JoinHandle<()>,
    pub(crate) apply_thread: apply::thread::Handle,
    pub(crate) expiry: ExpiryThread,
    pub(crate) log: Arc<LogThread>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) read_points: Arc<ReadPoints>,
    /// Of a node of several.
    pub(crate) peers: Option<Arc<Peers>>,
    /// Held to the end.
    pub(crate) _directory: DataDir,
}

impl RunningNode {
    /// What gives the leadership away.
    pub(crate) fn hand_over(&self) -> HandOver {
        HandOver::new(self.threads.raft.clone(), Arc::clone(&self.numbers))
    }

    /// Ends in order: raft hands back its waiting proposals, apply finishes and flushes, the log writes what it was handed, the
    /// state is closed. Nothing is waited for without a bound, since a disk may hang at any of it.
    ///
    /// # Errors
    /// [`NodeFailure::Hangs`]: a thread did not end, and goes with the process.
    pub fn stop(self) -> Result<(), NodeFailure> {
        let RunningNode { threads, reads, operator, .. } = self;
        // A thread that is gone already has reported why.
        drop(threads.raft.send_timeout(Input::Stop, THREAD_END_DEADLINE));
        // Before raft's thread is waited for: apply may ride on it, and wait for a flush.
        threads.apply_thread.interrupt();
        let within = if threads.apply_thread.rides() { APPLY_END_DEADLINE } else { THREAD_END_DEADLINE };
        let raft = join_within(threads.raft_thread, within);
        let apply = threads.apply_thread.join();
        threads.waiters.close();
        threads.read_points.close();
        threads.peers.iter().for_each(|peers| peers.stop());
        let expiry = threads.expiry.join();
        threads.log.close();
        let hangs = |part, why| NodeFailure::Hangs { part, why };
        let ended = raft.map_err(|why| hangs("raft", why)).and(match apply {
            Err(NotEnded::Apply(why)) => Err(hangs("apply", why)),
            Ok(()) | Err(NotEnded::Flush(_)) => Ok(()),
        });
        let ended = ended.and(expiry.map_err(|why| hangs("the removal of expired keys", why)));
        if ended.is_err() || apply.is_err() {
            if let Err(why @ NotEnded::Flush(_)) = apply {
                tracing::warn!(why = chain(&why), "a flush is left behind: the next start replays it from the log");
            }
            // A thread still uses the state: see `abandon`.
            std::mem::forget((reads, operator));
            return ended;
        }
        // RocksDB ends its own threads first, which may hang on the disk.
        let close = Builder::new().name("close".to_owned()).spawn(move || drop((reads, operator)));
        close.map_or(Ok(()), |close| join_within(close, THREAD_END_DEADLINE).map_err(|why| hangs("the state", why)))
    }

    /// Ends at once: every waiter learns that its outcome is unknown.
    pub fn abandon(self) {
        self.threads.waiters.close();
        self.threads.read_points.close();
        // Threads may hang on the disk: they go with the process. So must the store: one that another thread closes while
        // the process exits uses what the exit has destroyed already, which is an abort instead of an exit status.
        std::mem::forget(self.threads.log);
        std::mem::forget(self.reads);
    }
}
