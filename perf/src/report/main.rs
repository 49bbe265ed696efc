//! `scripts/bench overhead`, `scale`, `steady`, `compare` and `report`: runs what measures, keeps records, draws them.
//!
//! ```text
//! run        programs that are run to their end; ../watch: CPU time of processes, and how much others took meanwhile
//! facts      the machine: CPU class and tier, disk, kernel, commit
//! overhead   the stages of an entry, sealed minus nil, from the benches of the crate; then scenarios with running nodes
//! goals      what a record of overhead says about each goal of the project
//! scale      the same node as values, keys, clients and pipelines grow
//! steady     a node that is written to until its merging is steady; samples: its numbers once a second
//! contest    a node beside Redis and Valkey; trio: three of them beside three of etcd; rivals: how those are started
//! beside     their records as tables
//! profile    CPU profiles of a node under load, nil and sealed: flame graphs, and where the difference is
//! compare    two records: what changed beyond the noise
//! page       one record as HTML with charts, as Markdown, and as the picture of the README
//! ```

mod beside;
mod chart;
mod compare;
mod contest;
mod facts;
mod flame;
mod goals;
mod index;
#[cfg(test)]
mod kept;
mod markdown;
mod nodes;
mod overhead;
mod page;
mod pprof;
mod profile;
mod rivals;
mod run;
mod sampled;
mod samples;
mod scale;
mod scenarios;
mod statistics;
mod steady;
mod stopped;
mod summary;
mod table;
mod trio;
#[path = "../watch.rs"]
mod watch;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::watch::place_of;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["overhead", rest @ ..] => overhead::run(&Options::of(rest)),
        ["scale", rest @ ..] => scale::run(&Options::of(rest)),
        ["steady", rest @ ..] => steady::run(&Options::of(rest)),
        ["profile", rest @ ..] => profile::run(&Options::of(rest)),
        ["peers", "node", rest @ ..] => contest::run(&Options::of(rest)),
        ["peers", "cluster", rest @ ..] => trio::run(&Options::of(rest)),
        ["compare", rest @ ..] => compare::run(rest),
        ["index", directory] => index::run(Path::new(directory)),
        ["render", record] => render(Path::new(record), &Path::new(record).with_extension("")),
        ["render", record, out] => render(Path::new(record), Path::new(out)),
        _ => Err("expected overhead, scale, steady, profile, peers node, peers cluster, compare A B [--across], render RECORD [OUT] or index DIRECTORY".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// `--name value` pairs.
pub struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn of(words: &[&'a str]) -> Options<'a> {
        Options(words.chunks(2).map(|pair| (pair[0], pair.get(1).copied().unwrap_or_default())).collect())
    }

    /// The value of `--name`.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The same as a number.
    pub fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().map_err(|_| format!("{name} {text}: expected a number"))
    }

    /// The same as a path that must be given.
    pub fn path(&self, name: &str) -> Result<PathBuf, String> {
        self.text(name).map(PathBuf::from).ok_or(format!("{name} is missing"))
    }

    /// Where a record goes, if it was said: the folder has to be there before anything is measured.
    pub fn place(&self, name: &str) -> Result<Option<PathBuf>, String> {
        let Some(place) = self.text(name).map(PathBuf::from) else { return Ok(None) };
        let above = place.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if above.is_dir() {
            Ok(Some(place))
        } else {
            Err(format!("{name} {}: there is no such folder", place.display()))
        }
    }

    /// An option that is not among these is a mistake.
    pub fn only(&self, names: &[&str]) -> Result<(), String> {
        match self.0.iter().find(|(name, _)| !names.contains(name)) {
            Some((name, _)) => Err(format!("unknown option {name}: expected {}", names.join(", "))),
            None => Ok(()),
        }
    }
}

/// Reads a record.
pub fn read_record(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|problem| format!("{}: {problem}", path.display()))?;
    serde_json::from_str(&text).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// Writes a record, and the pages of it beside it: `OUT.json`, `OUT.html`, `OUT.md`, `OUT.svg`. Of a busy machine `OUT-busy.json`.
pub fn keep(record: &Value, out: &Path) -> Result<(), String> {
    let out = place_of(out, record["busy"] == true);
    if record["busy"] == true {
        eprintln!(
            "BUSY: other processes took {:.2} CPUs meanwhile, so times are worth little; the record says so in its name",
            record["foreign_cpus"].as_f64().unwrap_or(f64::NAN)
        );
    }
    let json = out.with_extension("json");
    write(&json, &format!("{record:#}\n"))?;
    render(&json, &out)
}

/// Prints a record as Markdown, and keeps it if somebody said where.
pub fn keep_or_print(record: &Value, out: Option<PathBuf>) -> Result<(), String> {
    println!("{}", markdown::text(record));
    out.map_or(Ok(()), |out| keep(record, &out.with_extension("")))
}

fn render(json: &Path, out: &Path) -> Result<(), String> {
    let record = read_record(json)?;
    let page = page::html(&record)?;
    write(&out.with_extension("html"), &page)?;
    write(&out.with_extension("md"), &markdown::text(&record))?;
    if let Some(picture) = page::picture(&record) {
        write(&out.with_extension("svg"), &picture)?;
    }
    eprintln!("report: {}", out.with_extension("html").display());
    Ok(())
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let new = path.with_extension("new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(|problem| format!("{}: {problem}", path.display()))
}
