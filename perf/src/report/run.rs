//! Programs that are run to their end.

use std::process::Command;
use std::process::Stdio;

/// Runs a program to its end; its standard output. Its standard error goes to ours.
pub fn output_of(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::inherit()).output().map_err(|problem| format!("{name}: {problem}"))?;
    if !output.status.success() {
        return Err(format!("{name} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{name} printed no text"))
}
