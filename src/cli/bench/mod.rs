//! `sealkv bench`: what this machine does with this binary, in half a minute, for whoever is about to deploy it.
//!
//! ```text
//! crypto  seal and open, by tier and size, 64 messages together, on one core
//! log     groups of entries made durable in a log of its own, nil and sealed, by each engine
//! apply   runs opened and handed over in order by the hook, nil and sealed
//! node    a node of its own on a free port, nil and sealed: SET and GET in pipelines
//! ```
//!
//! Each takes its cells in turn, several times, so that a slow moment meets all; what is printed is the median. Numbers of one
//! run compare with each other. `scripts/bench` of the repository measures more and keeps records.

mod apply;
mod cell;
mod client;
mod crypto;
mod log;
mod node;
#[cfg(test)]
mod tests;

use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;

use crate::cli;
use crate::cli::bench::cell::Cell;
use crate::cli::bench::cell::Sample;
use crate::exit::Blame;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchSubject {
    /// See the head of this file, as the others.
    Crypto,
    /// Groups of entries.
    Log,
    /// The hook.
    Apply,
    /// A whole node.
    Node,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct BenchOrder {
    /// What is measured.
    pub subject: BenchSubject,
    /// How long it may take in all, in seconds.
    pub seconds: u64,
    /// Lines of JSON instead of a table.
    pub json: bool,
    /// Where logs and nodes of its own are made: on the disk that is asked about.
    pub directory: PathBuf,
}

/// A finished row.
#[derive(Debug)]
struct BenchRow {
    name: String,
    per_second: f64,
    waits: Option<[Duration; 2]>,
}

/// Measures and prints. 0; 78 if the directory or the machine does not let it.
#[must_use]
pub fn run(order: &BenchOrder) -> ExitCode {
    let rows = cells(order).and_then(|mut cells| in_turns(&mut cells, order));
    match rows {
        Ok(rows) => {
            // A closed stdout is no reason for another status.
            let _ = print(&rows, order);
            ExitCode::SUCCESS
        }
        Err(problem) => {
            cli::say(&format!("sealkv: bench {}: {problem}", order.subject.word()));
            Blame::Config.into()
        }
    }
}

impl FromStr for BenchSubject {
    type Err = String;

    fn from_str(word: &str) -> Result<BenchSubject, String> {
        let all = [BenchSubject::Crypto, BenchSubject::Log, BenchSubject::Apply, BenchSubject::Node];
        let found = all.into_iter().find(|subject| subject.word() == word);
        found.ok_or_else(|| "expected crypto, log, apply or node".to_owned())
    }
}

impl BenchSubject {
    fn word(self) -> &'static str {
        match self {
            BenchSubject::Crypto => "crypto",
            BenchSubject::Log => "log",
            BenchSubject::Apply => "apply",
            BenchSubject::Node => "node",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            BenchSubject::Crypto => "messages/s",
            BenchSubject::Log | BenchSubject::Apply => "entries/s",
            BenchSubject::Node => "requests/s",
        }
    }
}

fn cells(order: &BenchOrder) -> Result<Vec<Box<dyn Cell>>, String> {
    match order.subject {
        BenchSubject::Crypto => Ok(crypto::cells()),
        BenchSubject::Apply => Ok(apply::cells()),
        BenchSubject::Log => log::cells(&order.directory),
        BenchSubject::Node => node::cells(&order.directory),
    }
}

fn in_turns(cells: &mut [Box<dyn Cell>], order: &BenchOrder) -> Result<Vec<BenchRow>, String> {
    let turns = cells.len() as u32 * ROUNDS;
    let time = Duration::from_secs(order.seconds) / turns.max(1);
    let mut bar = Bar::new(turns);
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); cells.len()];
    for _ in 0..ROUNDS {
        for (cell, samples) in cells.iter_mut().zip(&mut samples) {
            let sample = cell.measure(time).map_err(|problem| format!("{}: {problem}", cell.name()))?;
            samples.push(sample);
            bar.step();
        }
    }
    bar.end();
    Ok(cells.iter().zip(samples).map(|(cell, samples)| BenchRow::of(cell.name(), samples)).collect())
}

impl BenchRow {
    fn of(name: String, samples: Vec<Sample>) -> BenchRow {
        let rate = |sample: &Sample| sample.count as f64 / sample.took.as_secs_f64().max(1e-9);
        let mut rates: Vec<f64> = samples.iter().map(rate).collect();
        rates.sort_by(f64::total_cmp);
        let mut waits: Vec<Duration> = samples.into_iter().flat_map(|sample| sample.waits).collect();
        waits.sort_unstable();
        let at = |part: usize| waits[(waits.len() - 1) * part / 100];
        let waits = (!waits.is_empty()).then(|| [at(50), at(99)]);
        BenchRow { name, per_second: rates[rates.len() / 2], waits }
    }
}

fn print(rows: &[BenchRow], order: &BenchOrder) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    if !order.json {
        write!(out, "{:width$}  {:>14}  {:>12}", "", order.subject.unit(), "ns each")?;
        let waits = if rows.iter().any(|row| row.waits.is_some()) { &["p50 us", "p99 us"][..] } else { &[] };
        for word in waits {
            write!(out, "  {word:>9}")?;
        }
        writeln!(out)?;
    }
    for row in rows {
        let nanoseconds = 1e9 / row.per_second;
        if order.json {
            let micros = row.waits.map(|waits| waits.map(|wait| wait.as_secs_f64() * 1e6));
            let line = json!({
                "bench": order.subject.word(), "row": row.name, "unit": order.subject.unit(), "per_second": row.per_second,
                "nanoseconds": nanoseconds, "p50_micros": micros.map(|it| it[0]), "p99_micros": micros.map(|it| it[1]),
            });
            writeln!(out, "{line}")?;
            continue;
        }
        write!(out, "{:width$}  {:>14.0}  {nanoseconds:>12.1}", row.name, row.per_second)?;
        for wait in row.waits.into_iter().flatten() {
            write!(out, "  {:>9.0}", wait.as_secs_f64() * 1e6)?;
        }
        writeln!(out)?;
    }
    out.flush()
}

/// How far it is, on standard error if a person looks at it.
struct Bar {
    done: u32,
    of: u32,
    is_shown: bool,
}

impl Bar {
    fn new(of: u32) -> Bar {
        Bar { done: 0, of, is_shown: io::stderr().is_terminal() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.is_shown {
            let filled = (self.done * BAR_WIDTH / self.of) as usize;
            let bar = "#".repeat(filled) + &".".repeat(BAR_WIDTH as usize - filled);
            let _ = write!(io::stderr(), "\r[{bar}] {} of {}", self.done, self.of);
        }
    }

    fn end(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}

const ROUNDS: u32 = 3;
const BAR_WIDTH: u32 = 40;
