//! A network of a test's own: a namespace for each node, so that nodes can be parted while clients still reach all of them.
//!
//! ```text
//! node's namespace    peers <-> port p1 of bridge <n>p    the other nodes; a port can be taken down, or kept from others
//!                     clients <-> port of bridge <n>c     the test, at .254
//! ```
//!
//! A port that is down or kept apart drops what comes without a word, as a broken switch does: no connection is reset.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::harness::command as harness_command;
use crate::trio::IDS;

/// Removed when it is dropped.
pub struct Nets {
    name: String,
    subnet: u8,
}

impl Nets {
    /// Its namespaces and bridges.
    ///
    /// # Errors
    /// Why this machine has none.
    pub fn make() -> Result<Nets, String> {
        if !Path::new("/proc/self/ns/net").exists() || !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let process = std::process::id() % 10_000;
        let subnet = 100 + u8::try_from(process % 100).unwrap();
        let nets = Nets { name: format!("sk{process}"), subnet };
        let name = &nets.name;
        for bridge in ["p", "c"] {
            ip(&format!("link add {name}{bridge} type bridge"))?;
            ip(&format!("link set {name}{bridge} up"))?;
        }
        ip(&format!("addr add {}/24 dev {name}c", nets.address('c', 254)))?;
        for id in IDS {
            ip(&format!("netns add {name}n{id}"))?;
            ip(&format!("-n {name}n{id} link set lo up"))?;
            for (bridge, inside) in [('p', "peers"), ('c', "clients")] {
                let port = nets.port(bridge, id);
                ip(&format!("link add {port} type veth peer name {inside} netns {name}n{id}"))?;
                ip(&format!("link set {port} master {name}{bridge} up"))?;
                ip(&format!("-n {name}n{id} addr add {}/24 dev {inside}", nets.address(bridge, id)))?;
                ip(&format!("-n {name}n{id} link set {inside} up"))?;
            }
        }
        Ok(nets)
    }

    /// Where a node is reached by the others.
    pub fn peers(&self, id: u64, port: u16) -> SocketAddr {
        format!("{}:{port}", self.address('p', id)).parse().unwrap()
    }

    /// Where a node is reached by clients.
    pub fn clients(&self, id: u64, port: u16) -> SocketAddr {
        format!("{}:{port}", self.address('c', id)).parse().unwrap()
    }

    /// A command that runs in the namespace of a node, in the process that is spawned for it.
    pub fn enter(&self, id: u64, command: &Command) -> Command {
        let mut entered = harness_command("ip");
        entered.args(["netns", "exec", &format!("{}n{id}", self.name)]);
        entered.arg(command.get_program()).args(command.get_args());
        entered
    }

    /// A node hears none of the others, and none of them hears it.
    pub fn cut_off(&self, id: u64) {
        ip(&format!("link set {} down", self.port('p', id))).unwrap();
    }

    /// Two nodes do not hear each other; the third one hears both.
    pub fn part(&self, one: u64, other: u64) {
        for id in [one, other] {
            run("bridge", &format!("link set dev {} isolated on", self.port('p', id))).unwrap();
        }
    }

    /// Everybody hears everybody again.
    pub fn heal(&self) {
        for id in IDS {
            ip(&format!("link set {} up", self.port('p', id))).unwrap();
            run("bridge", &format!("link set dev {} isolated off", self.port('p', id))).unwrap();
        }
    }

    fn port(&self, bridge: char, id: u64) -> String {
        format!("{}{bridge}{id}", self.name)
    }

    fn address(&self, bridge: char, last: u64) -> String {
        format!("10.{}.{}.{last}", self.subnet, if bridge == 'p' { 1 } else { 2 })
    }
}

impl Drop for Nets {
    fn drop(&mut self) {
        let name = &self.name;
        // What was not made cannot be removed.
        for id in IDS {
            let _ = ip(&format!("netns del {name}n{id}"));
        }
        for bridge in ["p", "c"] {
            let _ = ip(&format!("link del {name}{bridge}"));
        }
    }
}

fn ip(words: &str) -> Result<(), String> {
    run("ip", words)
}

fn run(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program).args(words.split(' ')).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
