//! The other end of [`crate::turns`]: starts a contestant's process and asks it for turns.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use crate::run::Cell;
use crate::run::Measured;

/// A process that waits for its turn; it ends when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Process {
    /// `program` with `arguments`, once it has said its name.
    pub fn start(program: &Path, arguments: &[&str]) -> Process {
        let mut command = Command::new(program);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let (to, from) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("piped")));
        let mut process = Process { name: String::new(), child, to, from };
        process.name = process.line();
        process
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One turn.
    pub fn measure(&mut self, cell: Cell, seconds: f64) -> Measured {
        let turn = format!("{} {} {} {seconds}\n", cell.entry_bytes, cell.group, cell.in_flight);
        self.to.as_mut().expect("open until dropped").write_all(turn.as_bytes()).expect("a process that listens");
        let numbers: Vec<f64> = self.line().split(' ').map(|word| word.parse().expect("a number")).collect();
        let [entries_per_second, p50_micros, p99_micros, cpu_micros_per_entry, syncs_per_group] = numbers[..] else {
            panic!("{}: five numbers expected, not {numbers:?}", self.name)
        };
        Measured { entries_per_second, p50_micros, p99_micros, cpu_micros_per_entry, syncs_per_group }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line in UTF-8");
        assert!(line.ends_with('\n'), "{} ended, see above", self.name);
        line.trim_end().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.to.take());
        drop(self.child.wait());
    }
}

/// An endless loop on the core that this process has: what a busy neighbour is.
pub struct Neighbour(Child);

impl Neighbour {
    pub fn start(program: &Path) -> Neighbour {
        Neighbour(Command::new(program).arg("spin").spawn().expect("a process"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
