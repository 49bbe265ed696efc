//! `sealkv admin`: the members of a cluster, who leads it, and whether its nodes hold the same.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli;
pub use crate::cli::talk::OperatorAccess;
use crate::cli::talk::Talk;
use crate::cli::talk::TalkError;
use crate::exit::Blame;
use crate::exit::chain;

/// Which node is asked, and how the answer looks.
#[derive(Clone, Debug)]
pub struct AdminPlace {
    /// Client addresses; the first that answers is asked. All of them for a comparison.
    pub to: Vec<String>,
    /// How they are asked.
    pub access: OperatorAccess,
    /// One JSON value instead of a table.
    pub is_json: bool,
}

impl AdminPlace {
    fn any(&self) -> Result<Talk, TalkError> {
        let mut last = None;
        for address in &self.to {
            match Talk::connect(address, &self.access) {
                Ok(talk) => return Ok(talk),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| TalkError::Refused("no address was given".to_owned())))
    }
}

/// Shows the members.
#[must_use]
pub fn list(place: &AdminPlace) -> ExitCode {
    match place.any().and_then(|mut talk| talk.ask(&["SEALKV", "MEMBER", "LIST"])) {
        Ok(Value::Array(members)) => {
            let rows: Vec<Map<String, Value>> = members.iter().map(record).collect();
            show(place, &["node", "address", "role", "vote", "state", "behind"], &rows);
            ExitCode::SUCCESS
        }
        Ok(other) => refused(&TalkError::Refused(format!("no list: {other}"))),
        Err(error) => refused(&error),
    }
}

/// Has a change made: `words` are those behind SEALKV MEMBER.
#[must_use]
pub fn change(place: &AdminPlace, words: &[&str]) -> ExitCode {
    let command: Vec<&str> = ["SEALKV", "MEMBER"].iter().chain(words).copied().collect();
    match place.any().and_then(|mut talk| talk.ask(&command)) {
        Ok(_) => {
            say(if place.is_json { "{\"done\":true}" } else { "done" });
            ExitCode::SUCCESS
        }
        Err(error) => refused(&error),
    }
}

/// Compares what all nodes hold at one applied index. 0 = the same, 74 = not, or it cannot be told.
#[must_use]
pub fn compare(place: &AdminPlace) -> ExitCode {
    let until = Instant::now() + COMPARE_PATIENCE;
    loop {
        let rows: Vec<Map<String, Value>> = place.to.iter().map(|address| digest(place, address)).collect();
        let of = |name: &str| rows.iter().map(|row| row.get(name).cloned()).collect::<Vec<_>>();
        let has_all = rows.iter().all(|row| !row.contains_key("error"));
        let indexes: BTreeSet<String> = of("applied").iter().map(|index| format!("{index:?}")).collect();
        let digests: BTreeSet<String> = of("digest").iter().map(|digest| format!("{digest:?}")).collect();
        let is_comparable = has_all && indexes.len() == 1;
        if !is_comparable && Instant::now() < until {
            // Something is written, or a node lags.
            sleep(COMPARE_PAUSE);
            continue;
        }
        show(place, &["address", "applied", "digest", "error"], &rows);
        return match (is_comparable, digests.len()) {
            (true, 1) => {
                cli::say("the same");
                ExitCode::SUCCESS
            }
            (true, _) => {
                cli::say("NOT the same: at one applied index these nodes hold different rows");
                Blame::Damage.into()
            }
            (false, _) => {
                cli::say("cannot be compared: not all nodes were at one index while nothing was written");
                Blame::Damage.into()
            }
        };
    }
}

fn digest(place: &AdminPlace, address: &str) -> Map<String, Value> {
    let asked = Talk::connect(address, &place.access).and_then(|mut talk| talk.ask(&["SEALKV", "DIGEST"]));
    let mut row = match &asked {
        Ok(pairs) => record(pairs),
        Err(error) => Map::from_iter([("error".to_owned(), Value::String(chain(error)))]),
    };
    row.insert("address".to_owned(), Value::String(address.to_owned()));
    row
}

/// A map as RESP2 sends it: names and values in turn.
fn record(pairs: &Value) -> Map<String, Value> {
    let parts = pairs.as_array().map_or(&[][..], Vec::as_slice);
    let pair = |pair: &[Value]| Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.clone()));
    parts.chunks(2).filter_map(pair).collect()
}

fn show(place: &AdminPlace, names: &[&str], rows: &[Map<String, Value>]) {
    if place.is_json {
        return say(&json!(rows).to_string());
    }
    let cell = |row: &Map<String, Value>, name: &str| match row.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let shown: Vec<&&str> = names.iter().filter(|name| rows.iter().any(|row| row.contains_key(**name))).collect();
    let width = |name: &str| rows.iter().map(|row| cell(row, name).len()).chain([name.len()]).max().unwrap_or(0);
    let line = |cells: Vec<String>| {
        let padded = shown.iter().zip(cells).map(|(name, cell)| format!("{cell:<width$}", width = width(name)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    say(&line(shown.iter().map(|name| name.to_uppercase()).collect()));
    rows.iter().for_each(|row| say(&line(shown.iter().map(|name| cell(row, name)).collect())));
}

fn refused(error: &TalkError) -> ExitCode {
    cli::say(&format!("sealkv: {}", chain(error)));
    match error {
        TalkError::Connect { .. } | TalkError::Broken { .. } => Blame::Damage.into(),
        TalkError::Password { .. } | TalkError::Tls(_) | TalkError::Refused(_) => Blame::Config.into(),
    }
}

/// A closed stdout is no reason for another status.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

const COMPARE_PATIENCE: Duration = Duration::from_secs(20);
const COMPARE_PAUSE: Duration = Duration::from_millis(200);
