//! `scripts/bench overhead`: the stages of an entry, sealed minus nil, the hook in instructions, then scenarios of a running node.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::Options;
use crate::facts::machine;
use crate::facts::record;
use crate::keep;
use crate::nodes::Tools;
use crate::read_record;
use crate::run::output_of;
use crate::scenarios;
use crate::scenarios::Plan;
use crate::watch::FOREIGN_MAX;
use crate::watch::Watch;

/// `--rooms PATH --sealkv PATH --load PATH --out PATH [--rounds N] [--seconds N] [--sizes ..] [--batches ..] [--rate N] [--profile N]`.
pub fn run(options: &Options<'_>) -> Result<(), String> {
    options.only(&[
        "--rooms",
        "--sealkv",
        "--load",
        "--out",
        "--rounds",
        "--seconds",
        "--sizes",
        "--batches",
        "--rate",
        "--profile",
    ])?;
    // Many short rounds: of fifteen, the interval leaves out the three worst and the three best.
    let plan = Plan {
        rounds: options.number("--rounds", 15)?.max(1),
        seconds: options.number("--seconds", 1)?,
        rate: options.number("--rate", 10_000)?,
        profile_seconds: options.number("--profile", 5)?,
    };
    let out = options.place("--out")?.ok_or("--out is missing")?;
    let mut missing: Vec<String> = Vec::new();
    let begun = Watch::new(&[]);
    let rooms = options.path("--rooms")?;
    let tools = Tools::of(options)?;
    let measured = stages(&rooms, options, &mut missing).and_then(|stages| {
        let hook = hook(&rooms, &tools.work, &mut missing);
        let stages_foreign = begun.foreign_cpus();
        Ok((stages, hook, stages_foreign, scenarios::run(&tools, &plan)?))
    });
    let facts = machine(&tools.work);
    let (stages, hook, stages_foreign, nodes) = measured?;
    missing.extend(nodes.missing);
    let profiles = nodes.profiles.unwrap_or_else(|problem| {
        missing.push(format!("profiles: {problem}"));
        Value::Null
    });
    let foreign = stages_foreign.max(nodes.foreign_cpus);
    let measured = json!({
        "foreign_cpus": foreign, "busy": foreign > FOREIGN_MAX, "missing": missing, "complete": missing.is_empty(),
        "rounds": plan.rounds, "seconds": plan.seconds, "rate": plan.rate, "stages": stages, "scenarios": nodes.rows,
        "profiles": profiles, "hook": hook,
    });
    keep(&record("overhead", facts, &[measured]), &out)
}

/// What the gate of the nil-cipher hook counts; nothing without valgrind.
fn hook(rooms: &Path, work: &Path, missing: &mut Vec<String>) -> Value {
    let file = work.join("gates.json");
    let mut command = Command::new(rooms);
    command.args(["gates", "--record"]).arg(&file);
    // A gate that is exceeded is no reason to have no record: what it counted is in the file.
    let said = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let gates = read_record(&file).unwrap_or_default();
    let all = gates["gates"].as_array().map_or(&[][..], Vec::as_slice);
    match all.iter().find(|gate| gate["name"] == "nil-cipher hook") {
        Some(gate) => json!({"instructions": gate["instructions"], "limit": gate["limit"]}),
        None => {
            missing.push(format!("instructions of the hook: {}", said.trim()));
            Value::Null
        }
    }
}

/// The cells that `rooms stages` prints, one line each.
fn stages(rooms: &Path, options: &Options<'_>, missing: &mut Vec<String>) -> Result<Vec<Value>, String> {
    let mut command = Command::new(rooms);
    command.arg("stages");
    for name in ["--sizes", "--batches"] {
        if let Some(value) = options.text(name) {
            command.args([name, value]);
        }
    }
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if has_valgrind {
        command.args(["--instructions", "aesni"]);
    } else {
        eprintln!("valgrind is missing (apt-get install valgrind libc6-dbg): instructions are not counted");
        missing.push("instructions: valgrind is not installed".to_owned());
    }
    let text = output_of(&mut command)?;
    let read = |line| serde_json::from_str(line).map_err(|problem| format!("{line}: {problem}"));
    let stages: Vec<Value> = text.lines().map(read).collect::<Result<_, _>>()?;
    if has_valgrind && stages.iter().any(|stage| stage["instructions"].is_null()) {
        missing.push("instructions: valgrind failed, what it said is above".to_owned());
    }
    Ok(stages)
}

/// Whether a file is there, for messages before anything is measured.
pub fn is_there(path: &Path) -> Result<(), String> {
    fs::metadata(path).map(drop).map_err(|problem| format!("{}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn gates_that_cannot_be_counted_are_missing_with_what_they_say() {
        let work = std::env::temp_dir().join(format!("sealkv-hook-{}", std::process::id()));
        fs::create_dir_all(&work).unwrap();
        let rooms = work.join("rooms");
        fs::write(&rooms, "#!/bin/sh\necho 'gates were NOT checked: valgrind is missing'\nexit 1\n").unwrap();
        fs::set_permissions(&rooms, fs::Permissions::from_mode(0o755)).unwrap();
        let mut missing = Vec::new();
        assert_eq!(hook(&rooms, &work, &mut missing), Value::Null);
        assert_eq!(missing, ["instructions of the hook: gates were NOT checked: valgrind is missing"]);
        fs::remove_dir_all(&work).unwrap();
    }
}
