//! Servers of others, each in a directory of its own and told to sync every write before it answers.

use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// A server that speaks the protocol of Redis.
pub struct Kind {
    /// As rows of records name it.
    pub name: &'static str,
    program: &'static str,
    /// How it is installed.
    pub install: &'static str,
}

pub const REDIS: Kind = Kind { name: "redis", program: "redis-server", install: "apt-get install redis-server" };
pub const VALKEY: Kind = Kind {
    name: "valkey",
    program: "valkey-server",
    install: "apt-get install valkey-server, from Debian 13 on; else https://valkey.io/download",
};

/// A running server, ended when it goes.
pub struct Rival {
    child: Child,
    /// For clients.
    pub address: String,
}

impl Kind {
    pub fn is_installed(&self) -> bool {
        is_installed(self.program)
    }

    /// With its append-only file synced always.
    pub fn start(&self, work: &Path) -> Result<Rival, String> {
        self.start_at(free_port()?, work)
    }

    fn start_at(&self, port: u16, work: &Path) -> Result<Rival, String> {
        let home = work.join(self.name);
        let mut command = Command::new(self.program);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ]);
        command.args(["--save", "", "--dir"]).arg(&home);
        Rival::start(&mut command, &home, format!("127.0.0.1:{port}"), |address, pid| {
            let answer = exchange(address, b"INFO server\r\n").unwrap_or_default();
            // Another one may have the port, with other settings.
            String::from_utf8_lossy(&answer).contains(&format!("process_id:{pid}\r"))
        })
    }
}

impl Rival {
    /// Starts it, with what it says in a file, and waits until it answers: `answers` is asked with its address and its process id.
    pub fn start(
        command: &mut Command,
        home: &Path,
        address: String,
        answers: impl Fn(&str, u32) -> bool,
    ) -> Result<Rival, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        fs::create_dir_all(home).map_err(|problem| format!("{}: {problem}", home.display()))?;
        let said = home.join("said");
        let file = File::create(&said).map_err(|problem| format!("{}: {problem}", said.display()))?;
        let errors = file.try_clone().map_err(|problem| problem.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let mut rival = Rival { child: child.map_err(|problem| format!("{name}: {problem}"))?, address };
        let begin = Instant::now();
        let mut answered = 0;
        // Not every server says who it is: one that cannot have its port has ended after some more looks.
        while answered < LOOKS {
            let has_ended = rival.child.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || begin.elapsed() > START {
                let text = fs::read_to_string(&said).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(3).collect();
                return Err(format!("{name} does not answer at {}: {}", rival.address, last.join(" / ")));
            }
            if answers(&rival.address, rival.pid()) {
                answered += 1;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(rival)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn is_installed(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// A port that nobody has now. Somebody may take it before the server does: then that says so and ends.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|problem| format!("no port is free: {problem}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|problem| problem.to_string())
}

/// Sends a request and reads what comes in one piece.
pub fn exchange(address: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(request)?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// Calls of fsync and fdatasync a second of a process that is under load, as strace counts them for two seconds; nothing
/// where there is no strace or no right to use it.
pub fn syncs_by_strace(pid: u32) -> Option<f64> {
    let output = Command::new("timeout")
        .args(["-s", "INT", "2", "strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // % time, seconds, usecs/call, calls, [errors,] syscall
    let calls = text.lines().filter(|line| line.trim_end().ends_with("sync"));
    let calls: Vec<f64> = calls.filter_map(|line| line.split_whitespace().nth(3)?.parse().ok()).collect();
    (!calls.is_empty()).then(|| calls.iter().sum::<f64>() / 2.0)
}

/// Long enough for a slow disk.
const START: Duration = Duration::from_secs(30);
const LOOKS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_whose_port_somebody_else_has_is_not_taken_for_started() {
        if !REDIS.is_installed() {
            println!("NOT RUN: there is no redis-server here ({})", REDIS.install);
            return;
        }
        let work = std::env::temp_dir().join(format!("sealkv-rivals-{}", std::process::id()));
        let (first, second) = (work.join("first"), work.join("second"));
        let holder = REDIS.start(&first).unwrap();
        let port = holder.address.rsplit_once(':').unwrap().1.parse().unwrap();
        let problem = REDIS.start_at(port, &second).map(|_| ()).unwrap_err();
        assert!(problem.contains("Address already in use") && problem.contains(&holder.address), "{problem}");
        drop(holder);
        fs::remove_dir_all(&work).unwrap();
    }
}
