//! `sealkv status`: whether a node that runs is ready, as its admin listener says it.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::net::ToSocketAddrs as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli;
use crate::exit::Blame;
use crate::exit::chain;

/// Prints what `/readyz` of the admin listener at `address` answers, and the node's numbers that an operator looks at first.
/// 0 = ready, 1 = it runs and is not ready, 74 = nobody answers, 78 = `address` is none.
#[must_use]
pub fn run(address: &str) -> ExitCode {
    match look(address) {
        Ok(status) => {
            // A closed stdout is no reason for another status.
            let _ = write!(io::stdout(), "{}", status.words);
            if status.is_ready { ExitCode::SUCCESS } else { ExitCode::from(NOT_READY) }
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            cli::say(&format!("sealkv: --admin {address}: {}, expected HOST:PORT", chain(&error)));
            Blame::Config.into()
        }
        Err(error) => {
            cli::say(&format!("sealkv: no node answers at {address}: {}", chain(&error)));
            Blame::Damage.into()
        }
    }
}

struct NodeStatus {
    is_ready: bool,
    words: String,
}

fn look(address: &str) -> io::Result<NodeStatus> {
    let ready = get(address, "/readyz")?;
    let mut words = body(&ready).trim_end().to_owned() + "\n";
    let metrics = get(address, "/metrics")?;
    for line in body(&metrics).lines().filter(|line| SHOWN.iter().any(|name| line.starts_with(name))) {
        words += &format!("{line}\n");
    }
    Ok(NodeStatus { is_ready: ready.starts_with("HTTP/1.1 200"), words })
}

fn get(address: &str, path: &str) -> io::Result<String> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the address has no host");
    let socket = address.to_socket_addrs()?.next().ok_or_else(unknown)?;
    let mut stream = TcpStream::connect_timeout(&socket, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let is_http = answer.starts_with("HTTP/1.1 ");
    if is_http { Ok(answer) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "this is no admin listener")) }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

const NOT_READY: u8 = 1;
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Lines of the metrics that begin so.
const SHOWN: [&str; 12] = [
    "sealkv_build_info",
    "sealkv_encryption_info",
    "sealkv_raft_is_leader",
    "sealkv_raft_term",
    "sealkv_raft_committed_index",
    "sealkv_raft_applied_index",
    "sealkv_raft_flushed_index",
    "sealkv_connected_clients",
    "sealkv_client_memory_bytes",
    "sealkv_memory_counted_bytes",
    "sealkv_memory_limit_bytes",
    "sealkv_disk_free_bytes",
];
