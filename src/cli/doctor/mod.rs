//! `sealkv doctor`: whether a node would do well on this machine and in this directory, and with which settings.
//!
//! ```text
//! facts      what the machine says of itself: /proc, /sys, limits, a trial of the log's engine in the directory itself
//! findings   each fact judged: ok, warn or fail, with what to do
//! advice     the settings that follow, and why; as a file if that is asked for
//! ```
//!
//! It leaves nothing behind and starts no node. Facts are read once, so that judging them is a function that tests can call.

mod advice;
mod facts;
mod findings;
mod order;
mod trial;

use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use crate::cli;
use crate::cli::doctor::advice::Advice;
use crate::cli::doctor::facts::MachineFacts;
use crate::cli::doctor::findings::Finding;
use crate::cli::doctor::findings::Level;
pub use crate::cli::doctor::order::DoctorOrder;
use crate::exit::Blame;

/// Prints one line a finding, then the settings. 0 = fit, 1 = something fails, 78 = the file of settings cannot be written.
#[must_use]
pub fn run(order: &DoctorOrder) -> ExitCode {
    let facts = MachineFacts::of(&order.data_dir, order.kek_file.as_deref());
    let findings = findings::judge(&facts);
    let advice = Advice::for_machine(&facts, order);
    // A closed stdout is no reason for another status.
    let _ = print(&findings, &advice);
    if let Some(path) = &order.write_config
        && let Err(error) = write_new(path, &advice.as_file())
    {
        cli::say(&format!("sealkv: {}: {error}", path.display()));
        return Blame::Config.into();
    }
    let is_fit = findings.iter().all(|finding| finding.level != Level::Fail);
    if is_fit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(findings: &[Finding], advice: &Advice) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    writeln!(out, "{} ok, {} warn, {} fail", count(Level::Ok), count(Level::Warn), count(Level::Fail))?;
    writeln!(out, "\nSettings for this machine:\n")?;
    out.write_all(advice.as_file().as_bytes())?;
    out.flush()
}

/// A file that is there is never touched: it may be somebody's work.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_settings_that_is_there_is_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealkv.toml");
        write_new(&path, "a = 1\n").unwrap();
        assert_eq!(write_new(&path, "b = 2\n").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a = 1\n");
    }
}
