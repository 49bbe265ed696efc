//! `sealkv state digest`: what the state of a node that does not run comes to, in one line.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::cli;
use crate::exit::Blame;
use crate::exit::chain;
use crate::node::stopped::StoppedNode;

/// Prints the applied index and the digest of all rows there, as one JSON object. Nodes of one cluster have the same digest at the
/// same index; `SEALKV DIGEST` is that of a node that runs.
#[must_use]
pub fn digest(data_dir: &Path, kek_file: Option<&Path>) -> ExitCode {
    let node = match StoppedNode::open(data_dir, kek_file) {
        Ok(node) => node,
        Err(error) => {
            cli::say(&format!("sealkv: {}", chain(&error)));
            return error.blame().into();
        }
    };
    let line = match node.digest() {
        Ok((applied, digest)) => json!({"applied": applied.0, "digest": hex::encode(digest)}),
        Err(why) => {
            cli::say(&format!("sealkv: {why}"));
            return Blame::Damage.into();
        }
    };
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::say(&format!("sealkv: standard output: {error}"));
            Blame::Damage.into()
        }
    }
}
