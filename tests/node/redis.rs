//! A redis-server of a test's own.

use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::harness::free_port;

/// On a free port, without files.
pub struct Redis {
    child: Child,
    pub port: u16,
}

impl Redis {
    /// `None` where there is none, which is no choice in CI.
    pub fn start() -> Option<Redis> {
        let port = free_port();
        let port_text = port.to_string();
        // On a busy machine it would find commands slow, which no other server has to.
        let quiet = ["--slowlog-log-slower-than", "-1"];
        let arguments =
            ["--port", &port_text, "--save", "", "--appendonly", "no", "--dir", "/tmp"].into_iter().chain(quiet);
        let Ok(child) = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn() else {
            assert!(std::env::var_os("CI").is_none(), "scripts/test installs redis-server");
            println!("SKIPPED: there is no redis-server");
            return None;
        };
        let redis = Redis { child, port };
        let began = Instant::now();
        while Client::try_connect(port).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
