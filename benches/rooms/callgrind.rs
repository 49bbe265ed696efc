//! Counts instructions: runs this binary under valgrind's callgrind and reads what that wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Command;
use std::process::Stdio;

use crate::stages::Grid;

/// What one bench took, by function.
pub struct Counted {
    /// Instructions in all, of one run of the work.
    pub instructions: u64,
    /// Of each function alone, without what it called.
    pub functions: BTreeMap<String, u64>,
}

/// Counts one run of each bench, in the order of `names`, with the AEAD tier of that name. They are benches of the rooms, or
/// stages of `grid`.
///
/// Valgrind has no VAES: a tier that needs it is not there under it. Counts do not depend on how busy the machine is.
///
/// # Errors
/// If valgrind is not installed or fails, and if it wrote anything else than expected.
pub fn count(tier: &str, grid: &Grid, names: &[&str]) -> io::Result<Vec<Counted>> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("out");
    let measured = "rooms::bench::measured";
    let valgrind = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args([format!("--toggle-collect={measured}"), format!("--dump-after={measured}")])
        .arg(std::env::current_exe()?)
        .args(["count", tier])
        .args(grid.words())
        .args(names)
        .stdout(Stdio::null())
        .output();
    let ended = valgrind.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => strange("valgrind is missing: apt-get install valgrind libc6-dbg".to_owned()),
        _ => error,
    })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        return Err(strange(format!("valgrind ended with {}: {}", ended.status, said.trim())));
    }
    let file = |number: usize| fs::read_to_string(format!("{}.{number}", out.display()));
    let counted = (1..=names.len()).map(|number| Ok(parse(&file(number)?)));
    let counted: Vec<Counted> = counted.collect::<io::Result<_>>()?;
    match counted.iter().zip(names).find(|(counted, _)| counted.instructions == 0) {
        Some((_, name)) => Err(strange(format!("{name}: callgrind counted nothing"))),
        None => Ok(counted),
    }
}

/// The format: `fn=NAME`, then `LINE COST` lines of the function itself; the line behind `calls=` is what it called.
fn parse(text: &str) -> Counted {
    let mut functions: BTreeMap<String, u64> = BTreeMap::new();
    let mut function = String::new();
    let mut is_call = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = without_hash(name);
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || first == '+' || first == '-' || first == '*')
        {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            if !std::mem::take(&mut is_call) {
                *functions.entry(function.clone()).or_default() += cost;
            }
        }
    }
    Counted { instructions: functions.values().sum(), functions }
}

/// `path::to::function::h0123456789abcdef` without its end, which changes with every build.
fn without_hash(name: &str) -> String {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path.to_owned(),
        _ => name.to_owned(),
    }
}

fn strange(words: String) -> io::Error {
    io::Error::other(words)
}
