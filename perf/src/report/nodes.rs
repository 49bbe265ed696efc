//! Nodes of the release binary in directories of their own, and the load generator against them.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::Options;
use crate::rivals::exchange;
use crate::rivals::free_port;
use crate::run::output_of;
use crate::watch::own_seconds;
use crate::watch::process_seconds;

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
    /// How it writes its log.
    pub engine: String,
}

/// Programs and the directory for files.
pub struct Tools {
    pub sealkv: PathBuf,
    pub load: PathBuf,
    pub work: PathBuf,
}

/// The files of nodes go with it.
impl Drop for Tools {
    fn drop(&mut self) {
        clean(&self.work);
    }
}

impl Tools {
    /// `--sealkv PATH --load PATH`, and a directory that is made for this run.
    pub fn of(options: &Options<'_>) -> Result<Tools, String> {
        Ok(Tools { sealkv: options.path("--sealkv")?, load: options.path("--load")?, work: work_directory()? })
    }

    /// Fifty clients that ask a server in pipelines of 16, for some seconds.
    pub fn ask(&self, address: &str, op: &str, seconds: u64) -> Result<Child, String> {
        Command::new(&self.load)
            .args(["--address", address, "--op", op, "--clients", "50", "--pipeline", "16"])
            .args(["--seconds", &seconds.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|problem| format!("{}: {problem}", self.load.display()))
    }

    pub fn start(&self, scenario: &Scenario, number: usize) -> Result<RunningNode, String> {
        self.start_with(scenario, number, &[])
    }

    /// Ends a node and starts it again with its files.
    pub fn start_again(&self, node: &mut RunningNode, scenario: &Scenario, number: usize) -> Result<(), String> {
        node.end();
        *node = self.start(scenario, number)?;
        Ok(())
    }

    /// The same as [`Tools::start`] with more flags.
    pub fn start_with(&self, scenario: &Scenario, number: usize, more: &[&str]) -> Result<RunningNode, String> {
        let home = self.work.join(format!("node-{number}"));
        fs::create_dir_all(&home).map_err(|problem| format!("{}: {problem}", home.display()))?;
        let mut command = self.plain_command();
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
        command.arg("--data-dir").arg(home.join("data")).args(scenario.flags).args(more);
        if scenario.has_kek {
            let kek = home.join("kek");
            if !kek.exists() {
                output_of(self.plain_command().arg("keygen").arg(&kek))?;
            }
            command.arg("--kek-file").arg(kek);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|problem| problem.to_string())?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut last = String::new();
        let mut node = RunningNode { child, address: String::new(), admin: String::new(), engine: String::new() };
        for line in lines.by_ref().map_while(Result::ok) {
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = value["address"].as_str().unwrap_or_default().to_owned();
            let words = [&value["message"], &value["error"]].into_iter().filter_map(Value::as_str);
            last = words.collect::<Vec<_>>().join(": ");
            if last.is_empty() {
                last = line;
            }
            if value["message"].as_str().is_some_and(|message| message.starts_with("log engine")) {
                node.engine = value["engine"].as_str().unwrap_or("unknown").to_owned();
            } else if value["message"] == "admin" {
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

    /// Three nodes of one cluster, each of which answers; nil nodes have neither keys nor a hook.
    pub fn start_three(&self, is_sealed: bool) -> Result<Vec<RunningNode>, String> {
        let kek = self.work.join("three.kek");
        if is_sealed {
            output_of(self.plain_command().arg("keygen").arg(&kek))?;
        }
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect::<Result<_, _>>()?;
        let list: Vec<String> = (1..).zip(&ports).map(|(id, port)| format!("{id}=127.0.0.1:{port}")).collect();
        let list = list.join(",");
        let start = |number: usize| {
            let (id, peer) = ((number + 1).to_string(), format!("127.0.0.1:{}", ports[number]));
            let kek = kek.to_string_lossy();
            let keys = if is_sealed { ["--kek-file", &kek] } else { ["--encryption", "off"] };
            let more = ["--node-id", &id, "--peer-listen", &peer, "--initial-cluster", &list, keys[0], keys[1]];
            self.start_with(&MEMBER, 10 * (1 + usize::from(is_sealed)) + number, &more)
        };
        // None of them gets on without another one.
        let nodes: Vec<RunningNode> = std::thread::scope(|scope| {
            let started = [0, 1, 2].map(|number| scope.spawn(move || start(number)));
            started.into_iter().map(|one| one.join().expect("a start does not panic")).collect::<Result<_, _>>()
        })?;
        let begin = Instant::now();
        let mut last = Vec::new();
        while begin.elapsed() < FORMING {
            last = exchange(&nodes[0].address, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n").unwrap_or_default();
            if last.starts_with(b"+OK") {
                return Ok(nodes);
            }
        }
        Err(format!("three nodes form no cluster: {}", String::from_utf8_lossy(&last)))
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
        self.load_at(&node.address, node.pid(), arguments)
    }

    /// The same at any address; 0 is the process of nobody.
    pub fn load_at(&self, address: &str, pid: u32, arguments: &[&str]) -> Result<Value, String> {
        let before = process_seconds(pid);
        let (begin, own) = (Instant::now(), own_seconds());
        let text = output_of(Command::new(&self.load).args(["--address", address]).args(arguments))?;
        let mut line: Value = serde_json::from_str(text.trim())
            .map_err(|problem| format!("the load generator said {text:?}: {problem}"))?;
        let replies = line["replies"].as_f64().unwrap_or(0.0).max(1.0);
        let used = process_seconds(pid) - before;
        line["cpu_micros_per_request"] = (used * 1e6 / replies).into();
        line["server_cpus"] = (used / begin.elapsed().as_secs_f64()).into();
        line["load_cpus"] = ((own_seconds() - own) / begin.elapsed().as_secs_f64()).into();
        Ok(line)
    }
}

impl RunningNode {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Says so where it does not write its log with io_uring, for its record to say it too.
    pub fn without_uring(&self) -> Option<String> {
        if self.engine == "uring" {
            return None;
        }
        let words = format!(
            "io_uring: it is refused here (sealkv doctor says why), the log was written with engine {}",
            self.engine
        );
        eprintln!("MISSING: {words}");
        Some(words)
    }

    /// A number of its metrics.
    pub fn metric(&self, name: &str) -> Option<f64> {
        metric(&self.admin, name)
    }
}

/// A number of the metrics that somebody serves over HTTP as text of Prometheus.
pub fn metric(address: &str, name: &str) -> Option<f64> {
    value_of(&metrics(address)?, name)
}

/// The page of metrics that somebody serves.
pub fn metrics(address: &str) -> Option<String> {
    let bytes = get(address, "/metrics", Duration::from_secs(10)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number of such a page.
pub fn value_of(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The body of a page.
pub fn get(address: &str, path: &str, patience: Duration) -> Result<Vec<u8>, String> {
    let io = |problem: std::io::Error| problem.to_string();
    let mut stream = TcpStream::connect(address).map_err(io)?;
    stream.set_read_timeout(Some(patience)).map_err(io)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").map_err(io)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(io)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no answer of HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer.split_off(end + 4);
    if head.starts_with("HTTP/1.1 200") {
        Ok(body)
    } else {
        Err(format!("{}: {}", head.lines().next().unwrap_or(""), String::from_utf8_lossy(&body)))
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.end();
    }
}

/// A directory below `TMPDIR`, else `/var/tmp`, for the files of nodes. What runs that were ended have left there goes.
fn work_directory() -> Result<PathBuf, String> {
    let above = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    for entry in fs::read_dir(&above).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            clean(&entry.path());
        }
    }
    let work = above.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&work).map_err(|problem| format!("{}: {problem}", work.display()))?;
    Ok(work)
}

/// Removes it.
fn clean(work: &Path) {
    let _ = fs::remove_dir_all(work);
}

/// A member of a cluster: its flags are given with it.
const MEMBER: Scenario = Scenario { name: "member", words: "one of three", flags: &[], has_kek: false };
/// How long three nodes may take to be a cluster.
const FORMING: Duration = Duration::from_secs(60);
const PREFIX: &str = "sealkv-bench.";
