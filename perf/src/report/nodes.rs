//! Nodes of the release binary in directories of their own, and the load generator against them.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use crate::run::output_of;
use crate::run::process_seconds;

/// How a node is set up: a name, and flags beside those that all have.
pub struct Scenario {
    pub name: &'static str,
    pub words: &'static str,
    flags: &'static [&'static str],
    has_kek: bool,
}

/// What encryption costs, taken apart.
pub const SCENARIOS: [Scenario; 5] = [
    Scenario { name: "off", words: "no keys, no hook", flags: &["--encryption", "off"], has_kek: false },
    Scenario { name: "ready", words: "frames sealed, entries clear", flags: &["--encryption", "ready"], has_kek: true },
    Scenario { name: "on", words: "everything sealed", flags: &[], has_kek: true },
    Scenario {
        name: "on, library tier",
        words: "without SIMD lanes",
        flags: &["--aead-tier", "library"],
        has_kek: true,
    },
    Scenario { name: "on, plain", words: "without io_uring", flags: &["--log-engine", "plain"], has_kek: true },
];

/// A running node, ended when it goes.
pub struct RunningNode {
    child: Child,
    /// For clients.
    pub address: String,
    /// For pages.
    pub admin: String,
}

/// Programs and the directory for files.
pub struct Tools {
    pub sealkv: PathBuf,
    pub load: PathBuf,
    pub work: PathBuf,
}

impl Tools {
    pub fn start(&self, scenario: &Scenario, number: usize) -> Result<RunningNode, String> {
        self.start_with(scenario, number, &[])
    }

    /// The same with more flags.
    pub fn start_with(&self, scenario: &Scenario, number: usize, more: &[&str]) -> Result<RunningNode, String> {
        let home = self.work.join(format!("node-{number}"));
        fs::create_dir_all(&home).map_err(|problem| format!("{}: {problem}", home.display()))?;
        let mut command = self.plain_command();
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
        command.arg("--data-dir").arg(home.join("data")).args(scenario.flags).args(more);
        if scenario.has_kek {
            output_of(self.plain_command().arg("keygen").arg(home.join("kek")))?;
            command.arg("--kek-file").arg(home.join("kek"));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|problem| problem.to_string())?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut last = String::new();
        let mut node = RunningNode { child, address: String::new(), admin: String::new() };
        for line in lines.by_ref().map_while(Result::ok) {
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = value["address"].as_str().unwrap_or_default().to_owned();
            last = line;
            if value["message"] == "admin" {
                node.admin = address;
            } else if value["message"] == "clients" {
                node.address = address;
                break;
            }
        }
        if node.address.is_empty() {
            return Err(format!("the node of scenario {:?} does not start: {last}", scenario.name));
        }
        // Somebody has to take its lines for as long as it runs.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(node)
    }

    /// A node refuses variables of its prefix that are no settings.
    fn plain_command(&self) -> Command {
        let mut command = Command::new(&self.sealkv);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEALKV_")) {
            command.env_remove(name);
        }
        command
    }

    /// One run of the load generator: its line of JSON, and the node's CPU time for a request in microseconds.
    pub fn load(&self, node: &RunningNode, arguments: &[&str]) -> Result<Value, String> {
        let before = node.cpu_seconds();
        let text = output_of(Command::new(&self.load).args(["--address", &node.address]).args(arguments))?;
        let mut line: Value = serde_json::from_str(text.trim())
            .map_err(|problem| format!("the load generator said {text:?}: {problem}"))?;
        let replies = line["replies"].as_f64().unwrap_or(0.0).max(1.0);
        line["cpu_micros_per_request"] = ((node.cpu_seconds() - before) * 1e6 / replies).into();
        Ok(line)
    }
}

impl RunningNode {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn cpu_seconds(&self) -> f64 {
        process_seconds(self.pid())
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory below `TMPDIR`, else `/var/tmp`, for the files of nodes.
pub fn work_directory() -> Result<PathBuf, String> {
    let above = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let work = above.join(format!("sealkv-bench.{}", std::process::id()));
    fs::create_dir(&work).map_err(|problem| format!("{}: {problem}", work.display()))?;
    Ok(work)
}

/// Removes it.
pub fn clean(work: &Path) {
    let _ = fs::remove_dir_all(work);
}
