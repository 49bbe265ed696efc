//! SEALKV: what this node has beyond Redis. ENCRYPTION turns sealing on, shows where it stands, and rotates keys.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::fsm::walk::WalkError;
use crate::propose::ControlError;
use crate::propose::ControlRequest;
use crate::propose::Purpose;
use crate::resp::Operator;
use crate::resp::OperatorFact;
use crate::resp::RowCounts;
use crate::resp::StateDigest;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::SYNTAX;
use crate::resp::local::client::write_help;
use crate::resp::local::members::member_command;
use crate::resp::local::subcommand::Subcommand;
use crate::resp::membership::MemberKnown;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
use crate::resp::upstream::TRY_AGAIN;
use crate::resp::upstream::Upstream;

/// SEALKV ENCRYPTION ENABLE|STATUS|ROTATE|SCAN, SEALKV MEMBER, SEALKV DIGEST, SEALKV HELP.
pub(super) async fn sealkv_command(
    shared: &ServerShared,
    upstream: &Upstream,
    sub: &Subcommand<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), ErrorLine> {
    if sub.is("help") {
        sub.exactly(0)?;
        write_help(&HELP, encoder);
        return Ok(());
    }
    if sub.is("digest") {
        sub.exactly(0)?;
        let StateDigest { applied, digest } = state_digest(shared, upstream).await?;
        encoder.map(2);
        encoder.bulk(b"applied");
        encoder.integer(i64::try_from(applied).unwrap_or(i64::MAX));
        encoder.bulk(b"digest");
        encoder.bulk(hex::encode(digest).as_bytes());
        return Ok(());
    }
    if sub.is("member") {
        return member_command(shared, sub, encoder).await;
    }
    if !sub.is("encryption") {
        return Err(sub.unknown());
    }
    if sub.count() == 0 {
        return Err(sub.arity());
    }
    let is = |name: &str, count: usize| sub.slice(0).eq_ignore_ascii_case(name.as_bytes()) && sub.count() == count;
    if is("status", 1) {
        // A status from before the end of the log would deny what was done: only without a leader it is shown.
        let reached = timeout(STATUS_PATIENCE, upstream.reach_read_point()).await;
        let is_current = matches!(reached, Ok(Ok(())));
        let mut facts = shared.operator.status();
        facts.push(("up_to_date", OperatorFact::Text(if is_current { "yes" } else { "no" }.to_owned())));
        write_status(&facts, encoder);
    } else if is("enable", 1) {
        change(shared, upstream, ControlRequest::Enable).await?;
        encoder.simple("OK");
    } else if is("rotate", 2) {
        change(shared, upstream, rotation(sub.slice(1))?).await?;
        encoder.simple("OK");
    } else if is("scan", 1) {
        let counts = scan_rows(shared, upstream).await?;
        encoder.map(2);
        for (name, count) in [("clear_rows", counts.clear), ("sealed_rows", counts.sealed)] {
            encoder.bulk(name.as_bytes());
            encoder.integer(i64::try_from(count).unwrap_or(i64::MAX));
        }
    } else if is("retire", 2) {
        return Err(NO_RETIRE);
    } else if is("help", 1) {
        write_help(&HELP, encoder);
    } else {
        return Err(ErrorLine::made(format!(
            "ERR syntax error in SEALKV ENCRYPTION {}. Try SEALKV HELP.",
            String::from_utf8_lossy(&sub.slice(0)[..sub.slice(0).len().min(64)]),
        )));
    }
    Ok(())
}

async fn change(shared: &ServerShared, upstream: &Upstream, request: ControlRequest) -> Result<(), ErrorLine> {
    let (sender, receiver) = oneshot::channel();
    let done = Box::new(move |result| {
        // The connection may have gone; then nobody wants to know.
        let _ = sender.send(result);
    });
    shared.operator.ask(request, done);
    let outcome = timeout(shared.bounds.outcome_deadline, receiver).await;
    match outcome.unwrap_or(Ok(Err(ControlError::Unknown))).unwrap_or(Err(ControlError::Unknown)) {
        Ok(_) => Ok(()),
        Err(ControlError::TryAgain | ControlError::Busy) => Err(ErrorLine::fixed(TRY_AGAIN)),
        Err(ControlError::NotLeader(leader)) => Err(elsewhere(shared, upstream, leader)),
        Err(ControlError::Unknown) => Err(UNKNOWN),
        Err(refused) => Err(ErrorLine::made(format!("ERR {}", refused.reason()))),
    }
}

/// Another node leads: which one, and where it is.
fn elsewhere(shared: &ServerShared, upstream: &Upstream, leader: Option<u64>) -> ErrorLine {
    let known = shared.operator.membership().map(|membership| membership.known()).unwrap_or_default();
    match known.iter().find(|member| Some(member.node) == leader && member.client_port != 0) {
        Some(MemberKnown { node, host, client_port, .. }) => ErrorLine::made(format!(
            "READONLY This node does not lead, ask the leader: node {node} at {host}:{client_port}"
        )),
        None => ErrorLine::fixed(upstream.not_leader(leader, NOT_LEADER)),
    }
}

/// Off the network threads, in turn with other commands that walk every row.
async fn scan_rows(shared: &ServerShared, upstream: &Upstream) -> Result<RowCounts, ErrorLine> {
    upstream.reach_read_point().await.map_err(ErrorLine::fixed)?;
    long_work(shared, |operator, is_wanted| operator.scan(is_wanted)).await?.map_err(|error| {
        add(&shared.stats.read_errors_total, 1);
        unreadable(&error)
    })
}

/// The same way.
async fn state_digest(shared: &ServerShared, upstream: &Upstream) -> Result<StateDigest, ErrorLine> {
    upstream.reach_read_point().await.map_err(ErrorLine::fixed)?;
    let digest = long_work(shared, |operator, is_wanted| operator.digest(is_wanted)).await?;
    digest.map_err(|why| ErrorLine::made(format!("ERR {why}")))
}

/// What takes long and blocks, on a thread of its own once it is its turn. It is told once nobody waits for it any more: the
/// client is gone, or the deadline has come.
pub(super) async fn long_work<T: Send + 'static>(
    shared: &ServerShared,
    work: impl FnOnce(&dyn Operator, &dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<T, ErrorLine> {
    let turns = Arc::clone(&shared.operator_turns);
    let Ok(Ok(turn)) = timeout(shared.bounds.read_deadline, turns.acquire_owned()).await else {
        return Err(ErrorLine::fixed(TRY_AGAIN));
    };
    let (operator, waits) = (Arc::clone(&shared.operator), Waits::default());
    let is_over = Arc::clone(&waits.0);
    let working = tokio::task::spawn_blocking(move || {
        let done = work(&*operator, &|| !is_over.load(Relaxed));
        drop(turn);
        done
    });
    match timeout(shared.bounds.walk_deadline, working).await {
        Ok(done) => done.map_err(|_| ErrorLine::fixed(TRY_AGAIN)),
        Err(_) => Err(TOO_LONG),
    }
}

/// Dropped when nobody waits any more.
#[derive(Default)]
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Whether a command reads every row: it is for a client that stays.
pub(crate) fn reads_every_row(arguments: Arguments<'_>) -> bool {
    let is = |position: usize, word: &str| {
        arguments.len() > position && arguments.slice(position).eq_ignore_ascii_case(word.as_bytes())
    };
    is(0, "sealkv") && (is(1, "digest") || (is(1, "encryption") && is(2, "scan")))
}

fn unreadable(error: &WalkError) -> ErrorLine {
    tracing::error!(%error, "the rows cannot be counted");
    ErrorLine::fixed("ERR the stored rows cannot be read, see the log of the node")
}

fn rotation(word: &[u8]) -> Result<ControlRequest, ErrorLine> {
    if word.eq_ignore_ascii_case(b"entry") {
        Ok(ControlRequest::Rotate(Purpose::Entry))
    } else if word.eq_ignore_ascii_case(b"value") {
        Ok(ControlRequest::Rotate(Purpose::Value))
    } else {
        Err(SYNTAX)
    }
}

fn write_status(facts: &[(&'static str, OperatorFact)], encoder: &mut Encoder<'_>) {
    encoder.map(facts.len());
    for (name, fact) in facts {
        encoder.bulk(name.as_bytes());
        match fact {
            OperatorFact::Text(text) => encoder.bulk(text.as_bytes()),
            OperatorFact::Number(number) => encoder.integer(i64::try_from(*number).unwrap_or(i64::MAX)),
            OperatorFact::Nothing => encoder.null(),
        }
    }
}

const TOO_LONG: ErrorLine =
    ErrorLine::fixed("ERR it took too long and was given up: ask a stopped node or a copy, `sealkv state digest`");
const HELP: [&str; 27] = [
    "SEALKV <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCRYPTION ENABLE",
    "    Seal every entry and value that is written from now on. There is no way back.",
    "ENCRYPTION STATUS",
    "    Mode, cutover, active keys, their ages in log entries and the ages at which they are renewed.",
    "    Without a leader it is what this node knows: up_to_date is no.",
    "ENCRYPTION ROTATE ENTRY|VALUE",
    "    Make a new key for log entries, or for stored values. Older keys still open what they sealed.",
    "ENCRYPTION SCAN",
    "    Count the stored rows in the clear and the sealed ones, as applied on this node. Reads every row.",
    "DIGEST",
    "    The applied index and a digest of all rows there. Reads every row for a client that stays; it fails while rows are written.",
    "    `sealkv state digest` gives the same for a node that is stopped.",
    "ENCRYPTION RETIRE <key id>",
    "    Not there yet: keys that were active once are kept.",
    "MEMBER LIST",
    "    Who belongs to the cluster, who leads, and how many entries each is behind.",
    "MEMBER ADD <node> <host:port>, MEMBER PROMOTE <node>",
    "    Take a node in: first as a learner, which has no vote, then as a voter once it has caught up.",
    "MEMBER REMOVE <node>",
    "    Take a node out. A leader hands its leadership over first.",
    "MEMBER REPLACE <old> <new>",
    "    A learner takes the place of a voter, in one step.",
    "MEMBER TRANSFER [<node>]",
    "    Another voter leads.",
    "HELP",
    "    Print this help.",
];
const NO_RETIRE: ErrorLine = ErrorLine::fixed(
    "ERR keys cannot be retired yet: stored values may need them until all were rewritten, and nothing rewrites them yet",
);
/// How long a status waits for what is committed to be applied here.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);
const NOT_LEADER: &str = "READONLY This node does not lead, ask the leader.";
const UNKNOWN: ErrorLine =
    ErrorLine::fixed("ERR it is not known yet whether this was done, SEALKV ENCRYPTION STATUS tells");
