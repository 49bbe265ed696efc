//! Log lines on their way out: a bounded queue, and a thread that writes to standard output.
//!
//! Whoever logs never waits, never fails and never ends for it. A reader that does not read, a pipe without a reader, a full
//! disk: lines are dropped and counted, and the first line that can be written again is followed by one that says how many.
//!
//! A lost line of the target `audit` would be a use of a key that nobody sees. Such lines have places of their own in the
//! queue, so that they wait where others are dropped. They are few: operators ask rarely, and refusals of outsiders are
//! gathered for a minute.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::limits::AUDIT_LINES_MAX;
use crate::limits::LOG_LINE_BYTES_MAX;
use crate::limits::LOG_LINES_DEADLINE;
use crate::limits::LOG_LINES_MAX;

/// Starts the thread that writes. Lines that were offered before are dropped.
///
/// # Errors
/// No thread could be made.
pub(crate) fn start() -> io::Result<()> {
    let (sender, receiver) = bounded(LOG_LINES_MAX + AUDIT_LINES_MAX);
    thread::Builder::new().name("log-lines".to_owned()).spawn(move || write_all(&receiver))?;
    // A second start in one process would only make a second thread, which ends with its queue.
    let _ = QUEUE.set(sender);
    Ok(())
}

/// Lines that were dropped so far.
#[must_use]
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Logs with `say`, then waits, up to a deadline, until everything is written. Lines of other threads come no more: what
/// `say` logs is the last line of the process.
pub(crate) fn last(say: impl FnOnce()) {
    IS_CLOSED.store(true, Relaxed);
    IS_LAST.set(true);
    say();
    IS_LAST.set(false);
    finish();
}

/// Waits, up to a deadline, until everything that was logged is written.
pub(crate) fn finish() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = bounded(0);
    if queue.send_timeout(LinePiece::Mark { _done: done }, LOG_LINES_DEADLINE).is_ok() {
        // The sender is dropped when its turn comes: that is the answer.
        let _ = written.recv_timeout(LOG_LINES_DEADLINE);
    }
}

/// Where the subscriber writes: each write is one line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ToLogLines {
    is_audit: bool,
}

impl MakeWriter<'_> for ToLogLines {
    type Writer = ToLogLines;

    fn make_writer(&self) -> ToLogLines {
        ToLogLines { is_audit: false }
    }

    fn make_writer_for(&self, line: &Metadata<'_>) -> ToLogLines {
        ToLogLines { is_audit: line.target() == AUDIT }
    }
}

impl io::Write for ToLogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(own) = OWN.take() {
            OWN.set(Some([&own, line].concat()));
        } else if !offer(line, self.is_audit) {
            DROPPED.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One thing for the thread to do.
enum LinePiece {
    /// Write this.
    Line(Vec<u8>),
    /// Drop this: everything before it is written.
    Mark {
        /// Its other side waits for that.
        _done: Sender<()>,
    },
}

/// Whether the line is in the queue.
fn offer(line: &[u8], is_audit: bool) -> bool {
    let Some(queue) = QUEUE.get().filter(|_| line.len() <= LOG_LINE_BYTES_MAX) else {
        return false;
    };
    if IS_LAST.get() {
        return queue.send_timeout(LinePiece::Line(line.to_vec()), LOG_LINES_DEADLINE).is_ok();
    }
    has_place(queue.len(), is_audit)
        && !IS_CLOSED.load(Relaxed)
        && queue.try_send(LinePiece::Line(line.to_vec())).is_ok()
}

/// Whether a line may join `waiting` others.
fn has_place(waiting: usize, is_audit: bool) -> bool {
    waiting < LOG_LINES_MAX + if is_audit { AUDIT_LINES_MAX } else { 0 }
}

fn write_all(pieces: &Receiver<LinePiece>) {
    let mut output = Output { is_torn: false };
    let (mut said, mut said_at) = (0, None::<Instant>);
    for piece in pieces {
        let LinePiece::Line(line) = piece else { continue };
        if output.write(&line).is_err() {
            DROPPED.fetch_add(1, Relaxed);
            continue;
        }
        let dropped = dropped();
        // Not more often: under a flood of lines this one would be every second line.
        if dropped > said && said_at.is_none_or(|at| at.elapsed() >= SAY_DROPPED_EVERY) {
            let line = own_line(|| {
                tracing::warn!(lines = dropped - said, "log lines were dropped: nobody took them from standard output");
            });
            if output.write(&line).is_ok() {
                (said, said_at) = (dropped, Some(Instant::now()));
            }
        }
    }
}

/// What `say` logs, as bytes: the queue may be full again.
fn own_line(say: impl FnOnce()) -> Vec<u8> {
    OWN.set(Some(Vec::new()));
    say();
    OWN.take().unwrap_or_default()
}

/// Standard output, without a buffer and without the lock of the standard library: a write that hangs holds up nobody.
struct Output {
    /// The newest line ended in its middle.
    is_torn: bool,
}

impl Output {
    fn write(&mut self, line: &[u8]) -> Result<(), Errno> {
        if self.is_torn {
            self.write_bytes(b"\n")?;
            self.is_torn = false;
        }
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match rustix::io::write(rustix::stdio::stdout(), bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_until_writable()?,
                Err(error) => {
                    self.is_torn |= bytes.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn wait_until_writable() -> Result<(), Errno> {
    let stdout = rustix::stdio::stdout();
    match rustix::event::poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

thread_local! {
    /// Whether this thread logs the last line.
    static IS_LAST: Cell<bool> = const { Cell::new(false) };
    /// Where this thread's lines go instead of the queue.
    static OWN: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

static QUEUE: OnceLock<Sender<LinePiece>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);
static IS_CLOSED: AtomicBool = AtomicBool::new(false);
const SAY_DROPPED_EVERY: Duration = Duration::from_secs(1);
/// The target of lines about operators, keys and passwords.
pub(crate) const AUDIT: &str = "audit";
/// The target of the line that says why the process ends.
pub(crate) const END: &str = "end";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_other_lines_leaves_the_places_of_audit_lines() {
        let place = |waiting| (has_place(waiting, false), has_place(waiting, true));
        assert_eq!(place(LOG_LINES_MAX - 1), (true, true));
        assert_eq!(place(LOG_LINES_MAX), (false, true));
        assert_eq!(place(LOG_LINES_MAX + AUDIT_LINES_MAX), (false, false));
    }
}
