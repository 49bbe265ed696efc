//! `sealkv selftest [--vectors FILE]`: the known answers of every start, and every vector of a file.
//!
//! One line for each failure, then `N passed, N failed`. With a file only its vectors are counted as passed, without one
//! the known answers are one; whatever fails is counted.

use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::crypto::elastickv::vectors;
use crate::crypto::elastickv::vectors::Report;
use crate::crypto::elastickv::vectors::VectorsError;
use crate::crypto::selftest::known_answers;
use crate::exit::chain;

/// Runs the known answers and, if given, every vector of the file (may be gzipped); prints to standard output.
///
/// Success only if nothing failed and the result could be printed.
#[must_use]
pub fn run(vectors: Option<&Path>) -> ExitCode {
    match print(vectors, &mut io::stdout().lock()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::FAILURE,
    }
}

/// Prints the result to `out` and returns how many failed.
///
/// # Errors
/// What `out` says.
pub fn print(vectors: Option<&Path>, out: &mut impl Write) -> io::Result<usize> {
    let mut report = match vectors.map(|path| (path, run_file(path))) {
        None => Report::default(),
        Some((_, Ok(report))) => report,
        Some((path, Err(error))) => {
            Report { passed: 0, failed: 1, lines: vec![format!("{}: {}", path.display(), chain(&error))] }
        }
    };
    match known_answers() {
        Ok(()) => report.passed += usize::from(vectors.is_none()),
        Err(error) => {
            report.failed += 1;
            report.lines.push(error.to_string());
        }
    }
    for line in &report.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{} passed, {} failed", report.passed, report.failed)?;
    out.flush()?;
    Ok(report.failed)
}

fn run_file(path: &Path) -> Result<Report, VectorsError> {
    vectors::run(File::open(path).map_err(VectorsError::Read)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(vectors: Option<&Path>) -> (usize, String) {
        let mut out = Vec::new();
        let failed = print(vectors, &mut out).unwrap();
        (failed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn selftest_counts_the_vectors_of_the_file() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/elastickv-envelopes.json");
        assert_eq!(printed(Some(&path)), (0, "81 passed, 0 failed\n".into()));
        assert_eq!(printed(None), (0, "1 passed, 0 failed\n".into()));
    }

    #[test]
    fn selftest_names_what_failed_and_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors.json");
        let (failed, text) = printed(Some(&path));
        assert_eq!(failed, 1);
        assert!(text.ends_with("0 passed, 1 failed\n") && text.contains("vectors.json: read vectors: "));
        std::fs::write(&path, r#"{"vectors": [], "node_ids": [{"raft_id": "n1", "node_id": 1, "node_id16": 1}]}"#)
            .unwrap();
        assert_eq!(printed(Some(&path)), (1, "n1: node id differs\n0 passed, 1 failed\n".into()));
    }
}
