//! Whole nodes, children of this process, in directories of their own: one nil, one sealed, asked in turn.

use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::cli::bench::cell::Cell;
use crate::cli::bench::cell::OwnPlace;
use crate::cli::bench::cell::Sample;
use crate::cli::bench::client::KEYS;
use crate::cli::bench::client::PipelineClient;
use crate::cli::say;

/// A running node, stopped when it goes.
struct ChildNode {
    child: Child,
    address: String,
    /// Why plain system calls write its log.
    uring_refusal: Option<String>,
    _place: OwnPlace,
}

struct NodeCell {
    name: String,
    node: Rc<ChildNode>,
    is_set: bool,
    clients: u64,
    pipeline: usize,
}

pub(super) fn cells(directory: &Path) -> Result<Vec<Box<dyn Cell>>, String> {
    let mut cells: Vec<Box<dyn Cell>> = Vec::new();
    for cipher in ["nil", "sealed"] {
        let node = Rc::new(ChildNode::start(directory, cipher)?);
        if let Some(refusal) = node.uring_refusal.as_ref().filter(|_| cells.is_empty()) {
            say(&format!(
                "sealkv: bench node: io_uring does not work here ({refusal}): plain system calls write the log"
            ));
        }
        node.fill()?;
        for (clients, pipeline) in SHAPES {
            for is_set in [true, false] {
                let word = if is_set { "SET" } else { "GET" };
                let name = format!("{word} {cipher} {clients} clients, pipeline {pipeline}");
                cells.push(Box::new(NodeCell { name, node: Rc::clone(&node), is_set, clients, pipeline }));
            }
        }
    }
    Ok(cells)
}

impl ChildNode {
    fn start(directory: &Path, cipher: &str) -> Result<ChildNode, String> {
        let place = OwnPlace::new(directory, cipher)?;
        let binary = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(&binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--log-slots", "8", "--log-slot-bytes", "40M"]).arg("--data-dir").arg(place.0.join("data"));
        if cipher == "nil" {
            command.args(["--encryption", "off"]);
        } else {
            let kek = place.0.join("kek");
            let made = Command::new(&binary).arg("keygen").arg(&kek).stdout(Stdio::null()).status();
            made.map_err(|error| format!("keygen: {error}"))?;
            command.arg("--kek-file").arg(&kek);
        }
        // Settings of the caller's environment are not those of these nodes.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEALKV_")) {
            command.env_remove(name);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut node = ChildNode { child, address: String::new(), uring_refusal: None, _place: place };
        node.wait_for_address(lines)?;
        Ok(node)
    }

    fn wait_for_address(
        &mut self,
        mut lines: impl Iterator<Item = std::io::Result<String>> + Send + 'static,
    ) -> Result<(), String> {
        let mut last = String::new();
        while let Some(Ok(line)) = lines.next() {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            if value["message"] == "log engine: plain" {
                self.uring_refusal = Some(format!("{}: {}", word("why"), word("error")));
            }
            if value["message"] == "clients" {
                self.address = word("address");
                // Nobody reads its lines from here on, and its pipe must not fill.
                thread::spawn(move || lines.for_each(drop));
                return Ok(());
            }
            last = line;
        }
        Err(format!("the node does not start: {last}"))
    }

    /// Every key is there before anything is measured.
    fn fill(&self) -> Result<(), String> {
        let mut client = PipelineClient::connect(&self.address, 0).map_err(|error| error.to_string())?;
        for _ in 0..KEYS.div_ceil(FILL) {
            client.pipeline(true, FILL as usize).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cell for NodeCell {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn measure(&mut self, time: Duration) -> Result<Sample, String> {
        let waits = Mutex::new(Ok(Vec::new()));
        let begin = Instant::now();
        thread::scope(|scope| {
            for number in 0..self.clients {
                let waits = &waits;
                let (address, is_set, pipeline) = (&self.node.address, self.is_set, self.pipeline);
                scope.spawn(move || {
                    let one = client(address, number, (is_set, pipeline), begin + time);
                    let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
                    match (one, waits.as_mut()) {
                        (Ok(one), Ok(all)) => all.extend(one),
                        (Err(error), _) => *waits = Err(error.to_string()),
                        (Ok(_), Err(_)) => {}
                    }
                });
            }
        });
        let waits: Vec<Duration> = waits.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(Sample { count: (waits.len() * self.pipeline) as u64, took: begin.elapsed(), waits })
    }
}

fn client(
    address: &str,
    number: u64,
    (is_set, pipeline): (bool, usize),
    end: Instant,
) -> std::io::Result<Vec<Duration>> {
    let mut client = PipelineClient::connect(address, number)?;
    let mut waits = Vec::new();
    while waits.is_empty() || Instant::now() < end {
        waits.push(client.pipeline(is_set, pipeline)?);
    }
    Ok(waits)
}

/// Clients and requests of each that are sent together.
const SHAPES: [(u64, usize); 2] = [(16, 16), (16, 1)];
const FILL: u64 = 100;
