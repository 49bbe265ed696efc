//! Why a running node ends: whoever finds out says so once, and the main thread acts on the first that comes.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::apply::halt::Halt;
use crate::exit::Blame;
use crate::exit::chain;
use crate::limits::ENDS_MAX;
use crate::raft::RaftFatal;
use crate::wal::WalError;

/// A reason to end.
#[derive(Debug)]
pub enum End {
    /// SIGTERM or SIGINT: finish what is in flight.
    Signal,
    /// The log is poisoned (SYNC-FATAL).
    Log(WalError),
    /// Apply stands at an entry that it cannot apply.
    Halt(Arc<Halt>),
    /// Agreement cannot go on.
    Raft(RaftFatal),
}

impl End {
    /// Who must act and one line, for every end but a signal's.
    #[must_use]
    pub fn status(&self) -> Option<(Blame, String)> {
        match self {
            End::Signal => None,
            End::Log(error) => Some((Blame::Damage, format!("log: {}", chain(error)))),
            End::Halt(halt) => Some((halt.blame(), chain(&**halt))),
            End::Raft(fatal) => Some((Blame::Damage, format!("raft: {}", chain(fatal)))),
        }
    }
}

/// Where ends are said. The first one counts; later ones follow from it.
#[derive(Clone, Debug)]
pub struct Ends(Sender<End>);

impl Ends {
    /// The two sides.
    #[must_use]
    pub fn new() -> (Ends, Receiver<End>) {
        let (sender, receiver) = bounded(ENDS_MAX);
        (Ends(sender), receiver)
    }

    /// Says it. Never blocks.
    pub fn end(&self, end: End) {
        if let Err(error) = self.0.try_send(end) {
            tracing::debug!(end = ?error.into_inner(), "one more end of a node that is ending");
        }
    }
}
