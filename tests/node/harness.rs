//! Runs the real binary: starts it, reads its log lines, talks RESP to it, kills it.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;

/// Slots this small make a first start cheap (4 x 33 MiB of zeros).
pub const SMALL_LOG: [&str; 4] = ["--log-slots", "4", "--log-slot-bytes", "34603008"];

/// A directory with a KEK beside the data directory, removed at the end.
pub struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Site {
        let dir = tempfile::Builder::new().prefix("node-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let site = Site { dir };
        site.make_kek("kek", 0x5a);
        site
    }

    /// In a place that every user can reach, with a binary of its own: the target directory may be in root's home.
    pub fn reachable() -> Site {
        let dir = tempfile::Builder::new().prefix("sealkv-node-").tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_sealkv"), dir.path().join("sealkv")).unwrap();
        let site = Site { dir };
        site.make_kek("kek", 0x5a);
        site
    }

    pub fn make_kek(&self, name: &str, byte: u8) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, [byte; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Makes the KEK one that is found nowhere by chance.
    pub fn make_random_kek(&self) {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        fs::write(self.kek(), bytes).unwrap();
    }

    /// A file of the site that only its owner reads.
    pub fn make_secret(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn kek(&self) -> PathBuf {
        self.dir.path().join("kek")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The arguments of a sealed node on this site.
    pub fn sealed(&self) -> Vec<String> {
        self.sealed_in(&self.data())
    }

    /// The arguments of a sealed node whose data is in `data` instead.
    pub fn sealed_in(&self, data: &Path) -> Vec<String> {
        let mut args = self.base_in(data);
        args.extend(["--kek-file".to_owned(), text(&self.kek())]);
        args
    }

    /// The arguments of a node that is made for encryption and waits for an operator to turn it on.
    pub fn ready(&self) -> Vec<String> {
        let mut args = self.sealed();
        args.extend(["--encryption", "ready"].map(str::to_owned));
        args
    }

    /// The arguments of a node without encryption on this site.
    pub fn clear(&self) -> Vec<String> {
        let mut args = self.base();
        args.extend(["--encryption", "off"].map(str::to_owned));
        args
    }

    /// The arguments of a node on this site that say nothing about encryption.
    pub fn base(&self) -> Vec<String> {
        self.base_in(&self.data())
    }

    fn base_in(&self, data: &Path) -> Vec<String> {
        let mut args: Vec<String> = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
            .into_iter()
            .chain(["--log-format", "json"])
            .chain(SMALL_LOG)
            .map(str::to_owned)
            .collect();
        args.extend(["--data-dir".to_owned(), text(data)]);
        args
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

pub fn sealkv() -> Command {
    command(env!("CARGO_BIN_EXE_sealkv"))
}

/// A program without the tests' own variables: the binary at its end would take them for settings and refuse them.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEALKV_")) {
        command.env_remove(name);
    }
    command
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    // Below the ports that the kernel gives to connections and to whoever asks for any: one that is free now stays so. Each is
    // given once, and another process of tests begins elsewhere.
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let given = || std::process::id().wrapping_add(GIVEN.fetch_add(1, Relaxed)) % u32::from(PORTS);
    let next = || FIRST_PORT + u16::try_from(given()).unwrap();
    std::iter::repeat_with(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Ports that tests give to nodes before they start.
const FIRST_PORT: u16 = 11_000;
const PORTS: u16 = 20_000;

/// A running node; killed when dropped.
pub struct Node {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: [JoinHandle<()>; 2],
    pub client_port: u16,
    pub admin_port: u16,
}

impl Node {
    /// Starts a node and waits until it serves clients.
    pub fn start(args: &[String]) -> Node {
        let mut command = sealkv();
        command.args(args);
        Node::start_with(command)
    }

    /// The same with a command of the caller's, which ends in the binary.
    pub fn start_with(command: Command) -> Node {
        Node::try_start_with(command)
            .unwrap_or_else(|(status, log)| panic!("the node ended with {status} before it served:\n{log}"))
    }

    /// The same; a node that ends before it serves clients is no failure of the test: its exit status and its lines.
    pub fn try_start_with(mut command: Command) -> Result<Node, (ExitStatus, String)> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sink, also) = (Arc::clone(&lines), Arc::clone(&lines));
        let of_stdout = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let of_stderr = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                also.lock().unwrap().push(line);
            }
        });
        let mut node = Node { child, lines, readers: [of_stdout, of_stderr], client_port: 0, admin_port: 0 };
        node.admin_port = node.wait_for_port("admin").map_err(|status| (status, node.log()))?;
        node.client_port = node.wait_for_port("clients").map_err(|status| (status, node.log()))?;
        Ok(node)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.client_port)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap().success());
    }

    /// SIGTERM, and its exit status.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.wait(Duration::from_secs(30))
    }

    /// Its exit status, if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        if status.is_some() {
            self.read_to_the_end();
        }
        status
    }

    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            assert!(Instant::now() < deadline, "the node did not end in {limit:?}; its lines:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// True as soon as the node has said this; false after 10 s without. A thread of its own writes the node's lines, so a
    /// line comes some time after what it tells of.
    pub fn says(&self, words: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(words) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Waits for the threads that read the node's lines; they end with the pipes, unless a child of the node holds one.
    fn read_to_the_end(&self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_for_port(&mut self, message: &str) -> Result<u16, ExitStatus> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            for line in self.lines.lock().unwrap().iter() {
                let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                if value["message"] == message {
                    let address = value["address"].as_str().unwrap();
                    return Ok(address.rsplit(':').next().unwrap().parse().unwrap());
                }
            }
            if let Some(status) = self.status() {
                return Err(status);
            }
            assert!(Instant::now() < deadline, "no line {message:?} in 60 s:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What the node said is most of what can be known about a failure that comes once in hundreds of rounds.
        if std::thread::panicking() {
            match ended {
                Ok(None) => println!("the node still ran when the test failed; its newest lines:"),
                ended => println!("the node had ended before the test failed: {ended:?}; its newest lines:"),
            }
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(LINES_SHOWN)..].iter().for_each(|line| println!("  {line}"));
        }
    }
}

/// Of a node whose test failed.
const LINES_SHOWN: usize = 30;

/// A start that must be refused.
pub struct Refusal {
    pub status: i32,
    pub output: String,
}

/// Runs a start to its end; fails if it takes longer than 5 s.
pub fn refused_start(args: &[String]) -> Refusal {
    let mut command = sealkv();
    command.args(args);
    refused(command)
}

/// The same with a command of the caller's.
pub fn refused(command: Command) -> Refusal {
    refused_within(command, Duration::from_secs(5))
}

/// The same with more patience: what waits for a disk.
pub fn refused_within(mut command: Command, patience: Duration) -> Refusal {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > patience {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("the start was not refused within {patience:?}: {}", String::from_utf8_lossy(&output.stdout));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Refusal { status: output.status.code().expect("an exit status, not a signal"), output: text }
}

/// Every file below `dir` but LOCK, with its bytes' digest, for "nothing on disk changed".
pub fn fingerprint(dir: &Path) -> Vec<(PathBuf, u64, u32)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.push((path.clone(), 0, 0));
                open.push(path);
            } else if path.file_name().unwrap() != "LOCK" {
                let bytes = fs::read(&path).unwrap();
                found.push((path, bytes.len() as u64, crc32c::crc32c(&bytes)));
            }
        }
    }
    found.sort();
    found
}
