//! A node whose threads run, and the two ways in which it ends.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;

use crate::apply;
use crate::node::datadir::DataDir;
use crate::node::expiry::ExpiryThread;
use crate::node::numbers::NodeNumbers;
use crate::propose::Gateway;
use crate::propose::ReadPoints;
use crate::propose::Waiters;
use crate::raft::Input;
use crate::resp::ClientReads;
use crate::resp::Operator;
use crate::wal::thread::LogThread;

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
    /// Held to the end.
    pub(crate) _directory: DataDir,
}

impl RunningNode {
    /// Ends in order: raft hands back its waiting proposals, apply finishes and flushes, the log writes what it was handed.
    pub fn stop(self) {
        let threads = self.threads;
        // A thread that is gone already has reported why.
        drop(threads.raft.send(Input::Stop));
        if threads.raft_thread.join().is_err() {
            tracing::error!("the raft thread panicked");
        }
        threads.apply_thread.interrupt();
        if threads.apply_thread.join().is_err() {
            tracing::error!("the apply thread panicked");
        }
        threads.waiters.close();
        threads.read_points.close();
        threads.expiry.join();
        threads.log.close();
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
