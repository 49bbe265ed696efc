//! What the tests share: nodes that keep what comes in, messages, and a stranger.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::limits::PEER_QUEUE_BYTES_MIN;
use crate::peers::hello::Hello;
use crate::peers::*;
use crate::raft::PeerMessage;

pub(super) const CLUSTER: ClusterId = ClusterId([9; 16]);
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps what comes in. A request `echo...` is answered with itself, `never` is not, everything else did not run.
#[derive(Default)]
pub(super) struct Node {
    pub(super) messages: Mutex<Vec<PeerMessage>>,
    pub(super) undialled: Mutex<Vec<NodeId>>,
    pub(super) unreachable: Mutex<Vec<NodeId>>,
    pub(super) met: Mutex<Vec<(NodeId, Vec<u8>)>>,
    /// Words for everybody.
    pub(super) unwanted: Mutex<Option<String>>,
}

impl PeerHandler for Node {
    fn message(&self, message: PeerMessage) {
        self.messages.lock().unwrap().push(message);
    }

    fn undialled(&self, node: NodeId) {
        self.undialled.lock().unwrap().push(node);
    }

    fn unreachable(&self, node: NodeId) {
        self.unreachable.lock().unwrap().push(node);
    }

    fn facts(&self) -> Vec<u8> {
        b"facts".to_vec()
    }

    fn meet(&self, node: NodeId, facts: &[u8]) -> Result<(), String> {
        self.met.lock().unwrap().push((node, facts.to_vec()));
        self.unwanted.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn call(&self, _from: NodeId, request: Bytes) -> CallFuture {
        Box::pin(async move {
            match &request[..] {
                b"never" => std::future::pending().await,
                bytes if bytes.starts_with(b"echo") => CallAnswer::Done(request),
                _ => CallAnswer::NotRun,
            }
        })
    }
}

pub(super) fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(super) fn started(id: u64, members: &[(u64, SocketAddr)]) -> (Peers, Arc<Node>) {
    started_with(id, members, Security::InsecurePlain { beyond_loopback: false })
}

pub(super) fn started_with(id: u64, members: &[(u64, SocketAddr)], security: Security) -> (Peers, Arc<Node>) {
    let config = PeersConfig {
        node: node(id),
        cluster: CLUSTER,
        listen: "127.0.0.1:0".parse().unwrap(),
        members: members_of(members),
        security,
        threads: 1,
        queue_bytes_max: PEER_QUEUE_BYTES_MIN,
    };
    let behind = Arc::new(Node::default());
    (start(config, Arc::clone(&behind) as Arc<dyn PeerHandler>).unwrap(), behind)
}

pub(super) fn members_of(members: &[(u64, SocketAddr)]) -> Vec<(NodeId, PeerAddress)> {
    members.iter().map(|(id, address)| (node(*id), PeerAddress::from(*address))).collect()
}

/// Two nodes that are connected both ways.
pub(super) fn pair() -> [(Peers, Arc<Node>); 2] {
    let one = started(1, &[]);
    let two = started(2, &[(1, one.0.local_address())]);
    one.0.set_members(&members_of(&[(2, two.0.local_address())]));
    for (peers, _) in [&one, &two] {
        until("both are connected", || peers.status()[0].is_connected);
    }
    [one, two]
}

pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "not so: {what}");
        sleep(Duration::from_millis(2));
    }
}

/// A message of `kind` (see `raft/wire.rs`) with one entry if it is an append.
pub(super) fn message(kind: u8, from: u64, to: u64, data: &[u8]) -> PeerMessage {
    let mut bytes = vec![kind, 0];
    bytes.extend_from_slice(&to.to_be_bytes());
    bytes.extend_from_slice(&from.to_be_bytes());
    bytes.extend_from_slice(&[0; 58]);
    if kind == 1 {
        bytes.extend_from_slice(&1_u32.to_be_bytes());
        bytes.extend_from_slice(&[0; 17]);
        bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
    } else {
        bytes.extend_from_slice(&[0; 4]);
    }
    PeerMessage::read(&bytes.into()).unwrap()
}

pub(super) fn call(peers: &Peers, to: u64, request: &[u8], patience: Duration) -> Result<Bytes, CallFailed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(peers.call(node(to), Bytes::copy_from_slice(request), patience))
}

pub(super) fn read_hello(stream: &mut TcpStream) -> Hello {
    Hello::read(&read_frame(stream).into()).unwrap()
}

/// The body of the next frame.
pub(super) fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; u32::from_be_bytes(head[4..8].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

/// What the node says to a stranger that sends this: the words of its refusal, or nothing.
pub(super) fn said_to(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(answer.get(12..).unwrap_or_default()).into_owned()
}
