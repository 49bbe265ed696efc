//! How an operator sees and changes this node's encryption, for the `SEALKV` commands.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

use crate::apply::metrics::Metrics;
use crate::apply::thread::FlushAsker;
use crate::fsm::name::Database;
use crate::fsm::reader::RowReader;
use crate::fsm::value::BodyState;
use crate::fsm::walk::WalkError;
use crate::ids::Index;
use crate::keys::keyring::ClearRows;
use crate::keys::keyring::Keyring;
use crate::keys::keyring::WrappedDek;
use crate::keys::node_keys::NodeKeys;
use crate::limits::KEYRING_KEYS_MAX;
use crate::limits::LOG_FILTER_BYTES_MAX;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::membership::NodeMembership;
use crate::node::process;
use crate::node::rotation_guard::RotationGuard;
use crate::node::settings::Encryption;
use crate::node::stopped;
use crate::node::words::LogFilter;
use crate::propose::ControlCallback;
use crate::propose::ControlError;
use crate::propose::ControlRequest;
use crate::propose::ControlResult;
use crate::propose::ProposeHandle;
use crate::propose::RenewLimits;
use crate::resp::ClusterMembers;
use crate::resp::Operator;
use crate::resp::OperatorFact;
use crate::resp::RowCounts;
use crate::resp::StateDigest;
use crate::world::Clock;

/// A node's answers to its operator.
pub struct NodeOperator {
    /// As configured.
    pub mode: Encryption,
    /// When keys are renewed.
    pub limits: RenewLimits,
    /// The keys.
    pub node_keys: Arc<NodeKeys>,
    /// Reads the state.
    pub reader: RowReader,
    /// How far apply is.
    pub apply: Arc<Metrics>,
    /// Takes requests for control entries.
    pub proposer: ProposeHandle,
    /// Time, for the age of keys.
    pub clock: Arc<dyn Clock>,
    /// Where the end of the node is reported.
    pub ends: Ends,
    /// The members.
    pub(crate) membership: Arc<NodeMembership>,
    /// Which rotations were let through.
    pub(crate) rotations: Arc<RotationGuard>,
    /// Asks for flushes of the state.
    pub(crate) flushes: FlushAsker,
}

impl Operator for NodeOperator {
    fn ask(&self, request: ControlRequest, done: ControlCallback) {
        let keys_made = self.node_keys.current().keyring().map_or(0, |keyring| keyring.deks().count());
        if let Err(error) = self.rotations.admit(&request, self.clock.monotonic(), keys_made) {
            tracing::warn!(target: "audit", ?request, %error, "an operator's request is refused");
            return done(Err(error));
        }
        tracing::info!(target: "audit", ?request, "an operator asks");
        let (asked, rotations) = (format!("{request:?}"), Arc::clone(&self.rotations));
        let answered = move |result: ControlResult| {
            match &result {
                Ok(outcome) => tracing::info!(target: "audit", request = asked, ?outcome, "done"),
                Err(error) => {
                    // After this error alone it may yet happen.
                    if *error != ControlError::Unknown {
                        rotations.forget(&request);
                    }
                    tracing::warn!(target: "audit", request = asked, %error, "not done");
                }
            }
            done(result);
        };
        self.proposer.control(request, Box::new(answered));
    }

    fn membership(&self) -> Option<&dyn ClusterMembers> {
        Some(&*self.membership)
    }

    fn ask_flush(&self) {
        self.flushes.ask();
    }

    fn flush(&self) -> Result<(), String> {
        self.flushes.flush_within(SAVE_WITHIN).map_err(|why| format!("the state is not flushed: {why}"))
    }

    fn shut_down(&self) {
        tracing::info!(target: "audit", "an operator ends the node");
        self.ends.end(End::Signal);
    }

    fn status(&self) -> Vec<(&'static str, OperatorFact)> {
        let view = self.node_keys.current();
        let applied = Index(self.apply.applied_index.load(Relaxed));
        let keyring = view.keyring();
        let cutover = keyring.map(Keyring::cutover).filter(|cutover| *cutover != Index::NEVER);
        let mut facts = vec![
            ("mode", text(self.mode.word())),
            ("sealing", text(if cutover.is_some() { "yes" } else { "no" })),
            ("cutover_index", number(cutover.map(|index| index.0))),
            ("applied_index", number(Some(applied.0))),
            ("clear_rows", text(clear_rows(keyring))),
        ];
        facts.extend(key(ENTRY_KEY, keyring.map(Keyring::active_entry), applied, self.limits.entry_delta));
        facts.extend(key(VALUE_KEY, keyring.map(Keyring::active_value), applied, self.limits.value_delta));
        let opener = keyring.and_then(Keyring::opener);
        facts.extend([
            ("opener_term", number(opener.map(|opener| opener.term.0))),
            ("opener_index", number(opener.map(|opener| opener.index.0))),
            ("opener_age", number(opener.map(|opener| age(applied, opener.index)))),
            ("opener_age_limit", number(Some(self.limits.entry_delta))),
            ("keys_made", number(Some(keyring.map_or(0, |keyring| keyring.deks().count() as u64)))),
            ("keys_max", number(Some(KEYRING_KEYS_MAX as u64))),
            ("missing_key", view.needs().map_or(OperatorFact::Nothing, |lack| OperatorFact::Text(lack.to_string()))),
        ]);
        facts
    }

    fn digest(&self, is_wanted: &dyn Fn() -> bool) -> Result<StateDigest, String> {
        for _ in 0..DIGEST_ROUNDS {
            let (view, flushes) = (self.reader.views().load(), self.apply.flushes.load(Relaxed));
            let generation = view.generation;
            let is_newest = || self.reader.views().load().generation == generation;
            // An old view keeps its tables in memory, and its digest is of no use.
            let mut goes_on = every(ROWS_BETWEEN_LOOKS, || is_wanted() && is_newest());
            let digest = stopped::digest(&self.reader, &view, &mut goes_on)?;
            if let Some(digest) = digest
                && is_newest()
                && self.apply.flushes.load(Relaxed) == flushes
            {
                return Ok(StateDigest { applied: view.position.index.0, digest });
            }
            if !is_wanted() {
                return Err("nobody waits for it any more".to_owned());
            }
            drop(view);
            // What is being written may be the last of it.
            sleep(DIGEST_PAUSE);
        }
        Err("the state changed while it was read, ask again while nothing is written".to_owned())
    }

    fn log_filter(&self) -> String {
        process::log_filter().as_str().to_owned()
    }

    fn log_by(&self, filter: &str, is_set: bool) -> Result<(), String> {
        if filter.len() > LOG_FILTER_BYTES_MAX {
            return Err(format!("the filter has {} bytes, expected at most {LOG_FILTER_BYTES_MAX}", filter.len()));
        }
        let filter: LogFilter = filter.parse()?;
        if filter.names_audit() {
            return Err(
                "lines about keys, operators and passwords go on while the node runs: expected no target audit"
                    .to_owned(),
            );
        }
        if is_set {
            process::change_log_filter(&filter)?;
            tracing::info!(target: "audit", filter = filter.as_str(), "other log lines are written from now on");
        }
        Ok(())
    }

    fn scan(&self, is_wanted: &dyn Fn() -> bool) -> Result<RowCounts, WalkError> {
        let views = self.reader.views();
        let mut counts = RowCounts::default();
        let mut goes_on = every(ROWS_BETWEEN_LOOKS, is_wanted);
        for database in Database::all() {
            views.walk_headers(database, &mut |_, header| {
                match header.state {
                    BodyState::Clear => counts.clear += 1,
                    BodyState::Sealed => counts.sealed += 1,
                }
                goes_on()
            })?;
        }
        Ok(counts)
    }
}

/// Asks at every `nth` call, and says yes in between.
fn every(nth: u32, mut ask: impl FnMut() -> bool) -> impl FnMut() -> bool {
    let mut calls = 0_u32;
    move || {
        calls = calls.wrapping_add(1);
        !calls.is_multiple_of(nth) || ask()
    }
}

/// Rows between two looks whether it is worth to go on: about a millisecond.
const ROWS_BETWEEN_LOOKS: u32 = 1024;
/// Between two readings for a digest.
const DIGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often the rows are read for a digest before it is said that they change.
const DIGEST_ROUNDS: u32 = 3;

/// Before any keyring every row is in the clear.
fn clear_rows(keyring: Option<&Keyring>) -> &'static str {
    match keyring.map_or(ClearRows::Allowed, Keyring::clear_rows) {
        ClearRows::Allowed => "allowed",
        ClearRows::None => "none",
    }
}

/// The names of the facts of an active key.
type KeyWords = [&'static str; 4];

fn key(words: KeyWords, dek: Option<&WrappedDek>, applied: Index, limit: u64) -> [(&'static str, OperatorFact); 4] {
    let [id, active_from, key_age, age_limit] = words;
    [
        (id, number(dek.map(|dek| u64::from(dek.id.value())))),
        (active_from, number(dek.map(|dek| dek.active_from.0))),
        (key_age, number(dek.map(|dek| age(applied, dek.active_from)))),
        (age_limit, number(Some(limit))),
    ]
}

/// In entries of the log.
fn age(applied: Index, from: Index) -> u64 {
    applied.0.saturating_sub(from.0)
}

fn text(word: &str) -> OperatorFact {
    OperatorFact::Text(word.to_owned())
}

fn number(number: Option<u64>) -> OperatorFact {
    number.map_or(OperatorFact::Nothing, OperatorFact::Number)
}

const ENTRY_KEY: KeyWords = ["entry_key_id", "entry_key_active_from", "entry_key_age", "entry_key_age_limit"];
const VALUE_KEY: KeyWords = ["value_key_id", "value_key_active_from", "value_key_age", "value_key_age_limit"];

/// How long SAVE waits for its flush: the largest table on a slow disk.
const SAVE_WITHIN: Duration = Duration::from_secs(60);
