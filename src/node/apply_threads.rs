//! The threads of apply: the one that flushes, which begins before the replay, and the one that applies, unless that rides on
//! raft's.

use std::io;
use std::sync::Arc;
use std::thread::available_parallelism;

use crossbeam_channel::Receiver;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::flush_thread::FlushThread;
use crate::apply::flush_thread::OnHalt;
use crate::apply::thread;
use crate::apply::thread::Handle;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::refusal::Refusal;
use crate::raft::Committed;
use crate::raft::thread::Rider;

/// The one that flushes runs.
pub(super) struct ApplyThreads {
    flush: FlushThread,
    on_halt: OnHalt,
}

debug_fields!(self: ApplyThreads { flush: self.flush });

impl ApplyThreads {
    /// Begins to flush for `apply`.
    pub(super) fn begin(apply: &mut ApplyLoop, ends: &Ends) -> Result<ApplyThreads, Refusal> {
        let ends = ends.clone();
        let on_halt: OnHalt = Arc::new(move |halt| ends.fail(NodeFailure::Halt(halt)));
        let flush = FlushThread::spawn(apply, Arc::clone(&on_halt)).map_err(none)?;
        Ok(ApplyThreads { flush, on_halt })
    }

    /// The thread that flushes.
    pub(super) fn flush(&self) -> &FlushThread {
        &self.flush
    }

    /// From now on `apply` takes what is committed.
    pub(super) fn go_on(
        self,
        mut apply: ApplyLoop,
        committed: Receiver<Vec<Committed>>,
        is_alone: bool,
    ) -> Result<(Handle, Option<Box<dyn Rider>>), Refusal> {
        let ApplyThreads { flush, on_halt } = self;
        // A rider of several would hold up votes and appends of others while it opens a large run.
        let is_small = available_parallelism().is_ok_and(|cores| cores.get() <= CORES_SHARED_MAX);
        if is_small {
            apply.share_cores();
        }
        if is_small && is_alone {
            let (handle, rider) = thread::ride(apply, flush, committed, on_halt);
            return Ok((handle, Some(rider)));
        }
        Ok((thread::spawn(apply, flush, committed, on_halt).map_err(none)?, None))
    }
}

fn none(source: io::Error) -> Refusal {
    Refusal::Make { what: "threads cannot be made".to_owned(), source }
}

/// Up to so many cores those threads that serve clients take all of them; raft and apply share one, on a node that is alone.
const CORES_SHARED_MAX: usize = 2;
