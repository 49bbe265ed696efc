//! The library's log lines as tracing events: the message only. Its key-value pairs hold entries and are dropped.

use std::convert::Infallible;

use slog::Drain;
use slog::Level;
use slog::Logger;
use slog::OwnedKVList;
use slog::Record;

/// Forwards to tracing.
pub(super) fn forward() -> Logger {
    Logger::root(Forward, slog::o!())
}

/// Drops everything: for scratch nodes.
pub(super) fn discard() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

struct Forward;

impl Drain for Forward {
    type Ok = ();
    type Err = Infallible;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Infallible> {
        let message = record.msg();
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "sealkv::raft", "{message}"),
            Level::Warning => tracing::warn!(target: "sealkv::raft", "{message}"),
            // The library says at info what etcd says at debug; elections are reported by our own status line.
            Level::Info | Level::Debug => tracing::debug!(target: "sealkv::raft", "{message}"),
            Level::Trace => tracing::trace!(target: "sealkv::raft", "{message}"),
        }
        Ok(())
    }
}
