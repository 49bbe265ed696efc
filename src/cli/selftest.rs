//! `sealkv selftest [--vectors FILE]`: the known answers of every start, and every vector of a file.

use std::path::Path;
use std::process::ExitCode;

/// Runs the known answers and, if given, every vector of the file (may be gzipped); prints to standard output.
///
/// One line per failing vector, then `N passed, N failed`. Success only if nothing failed.
#[must_use]
pub fn run(vectors: Option<&Path>) -> ExitCode {
    let _ = vectors;
    todo!()
}
