//! What a node's connections are started with, and why they cannot be.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::limits::ADDRESS_BYTES_MAX;
use crate::tls::TlsFiles;
use crate::tls::TlsRefused;

/// One node's place among its peers.
#[derive(Clone, Debug)]
pub struct PeersConfig {
    /// This node.
    pub node: NodeId,
    /// Its cluster: nobody of another one comes in.
    pub cluster: ClusterId,
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// Where the others are. This node may be among them, and is left out.
    pub members: Vec<(NodeId, PeerAddress)>,
    /// How the sides know each other.
    pub security: Security,
    /// Threads that move bytes: one is enough for one disk.
    pub threads: usize,
    /// Bytes that may wait for one connection; one message that is longer passes when nothing else waits.
    pub queue_bytes_max: usize,
}

/// How both sides of a connection know each other.
#[derive(Clone, Debug)]
pub enum Security {
    /// TLS 1.3; each side shows a certificate of the cluster's CA that names its node.
    MutualTls(TlsFiles),
    /// Not at all: everybody who reaches the address is believed. Loopback only, unless the operator insists.
    InsecurePlain {
        /// The operator's word for an address that others reach.
        beyond_loopback: bool,
    },
}

/// `HOST:PORT` of a member. The name is resolved each time that the member is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress(String);

/// Not an address of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected HOST:PORT with a host name or an address and a port from 1 to 65535, as db1.example:7379 or [::1]:7379"
)]
pub struct NotAnAddress;

impl PeerAddress {
    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PeerAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<PeerAddress, NotAnAddress> {
        let is_numeric = text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
        let is_named = || {
            let (host, port) = text.rsplit_once(':')?;
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            let is_host = !host.is_empty() && host.bytes().all(is_letter);
            let is_port =
                port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
            Some(is_host && is_port)
        };
        let is_short = text.len() <= ADDRESS_BYTES_MAX;
        (is_short && (is_numeric || is_named() == Some(true))).then(|| PeerAddress(text.to_owned())).ok_or(NotAnAddress)
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> PeerAddress {
        PeerAddress(address.to_string())
    }
}

/// Why a node cannot listen for its peers.
#[derive(Debug, thiserror::Error)]
pub enum PeersRefused {
    /// Operator: give certificates, or insist.
    #[error("peer-listen is {address}, which others reach, and peers would not be authenticated: give certificates")]
    Insecure {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// Operator: other certificates.
    #[error("TLS between peers")]
    Tls(#[from] TlsRefused),
    /// Operator: the address cannot be taken.
    #[error("cannot listen for peers at {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The machine has no thread left.
    #[error("cannot make the threads of the peers")]
    Threads(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7379", "[::1]:1", "db1:65535", "db-1.example.org:7379"] {
            assert_eq!(good.parse::<PeerAddress>().unwrap().as_str(), good);
        }
        let long = format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX));
        for bad in ["", "db1", "db1:", ":7379", "db1:0", "db1:65536", "db1:+1", "a b:1", "::1:1", "127.0.0.1:0", &long]
        {
            assert_eq!(bad.parse::<PeerAddress>(), Err(NotAnAddress), "{bad}");
        }
    }
}
