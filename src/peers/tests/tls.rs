//! Who comes in over TLS and who does not: each wrong certificate is refused with words that say what is wrong with it, and
//! not one message of its holder is taken.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::kit::*;
use crate::ids::ClusterId;
use crate::keys::file::write_new;
use crate::peers::frame::FrameKind;
use crate::peers::frame::frame_of;
use crate::peers::hello::Hello;
use crate::peers::hello::Lane;
use crate::peers::*;
use crate::raft::Transport;
use crate::tls::Authority;
use crate::tls::Issued;
use crate::tls::TlsFiles;
use crate::tls::Validity;
use crate::tls::node_name;
use crate::world::Clock;
use crate::world::SystemClock;

fn today() -> Validity {
    Validity::days(SystemClock::default().wall_ms() / 1000, 1)
}

/// A CA, a folder with its certificate, and nodes with certificates of it.
struct Cluster {
    authority: Authority,
    ca: Issued,
    folder: TempDir,
}

impl Cluster {
    fn new(cluster: ClusterId) -> Cluster {
        let (authority, ca) = Authority::new(cluster, today());
        let folder = tempfile::tempdir().unwrap();
        write_new(&folder.path().join("ca.crt"), ca.certificate.as_bytes()).unwrap();
        Cluster { authority, ca, folder }
    }

    fn issue(&self, id: u64) -> Issued {
        self.authority.node(node(id), &[], today()).unwrap()
    }

    /// Writes what is issued, over what was there.
    fn write(&self, id: u64, issued: &Issued) -> TlsFiles {
        let path = |end: &str| self.folder.path().join(format!("node-{id}.{end}"));
        let files = TlsFiles { certificate: path("crt"), key: path("key"), ca: self.folder.path().join("ca.crt") };
        replace(&files.certificate, &issued.certificate);
        replace(&files.key, &issued.key);
        files
    }

    fn started(&self, id: u64, members: &[(u64, SocketAddr)]) -> (Peers, Arc<Node>) {
        started_with(id, members, Security::MutualTls(self.write(id, &self.issue(id))))
    }
}

fn replace(path: &Path, text: &str) {
    let _ = fs::remove_file(path);
    write_new(path, text.as_bytes()).unwrap();
}

/// A hello of node 2 to node 1, and a heartbeat right behind it.
fn hello_and_heartbeat(cluster: ClusterId) -> Vec<u8> {
    let hello = Hello { lane: Lane::Fast, cluster, from: node(2), to: node(1), facts: Bytes::new() };
    let mut heartbeat = Vec::new();
    message(7, 2, 1, b"").put_head(&mut heartbeat);
    [frame_of(FrameKind::Hello, &hello.to_bytes()), frame_of(FrameKind::Message, &heartbeat)].concat()
}

/// A stranger that trusts `ca` and shows `issued`.
fn client(ca: &Issued, issued: Option<&Issued>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match issued {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// Dials `name` at `address`, says `bytes`, and waits until the node ends the connection. Returns the words of its refusal.
fn speak(address: SocketAddr, config: ClientConfig, name: &str, bytes: &[u8]) -> String {
    let mut tls = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(answer.get(12..).unwrap_or_default()).into_owned()
}

#[test]
fn nodes_of_one_ca_reach_each_other() {
    let cluster = Cluster::new(CLUSTER);
    let (two, behind) = cluster.started(2, &[]);
    let (one, _) = cluster.started(1, &[(2, two.local_address())]);
    until("it is connected", || one.status()[0].is_connected);
    let sent = [message(7, 1, 2, b""), message(1, 1, 2, &vec![9; 3 << 20])];
    sent.iter().for_each(|message| one.transport().send(message.clone()));
    until("both are there", || behind.messages.lock().unwrap().len() == 2);
    assert!(sent.iter().all(|message| behind.messages.lock().unwrap().contains(message)));
}

#[test]
fn every_wrong_certificate_is_refused_with_words_and_no_message_is_taken() {
    let (cluster, other) = (Cluster::new(CLUSTER), Cluster::new(ClusterId([8; 16])));
    let (one, behind) = cluster.started(1, &[]);
    let address = one.local_address();
    let name = node_name(CLUSTER, node(1));
    let bytes = hello_and_heartbeat(CLUSTER);
    let good = cluster.issue(2);
    let expired = cluster.authority.node(node(2), &[], Validity { from: 1_000_000_000, until: 1_100_000_000 }).unwrap();
    let (from, until) = (today().until + 1000, today().until + 2000);
    let later = cluster.authority.node(node(2), &[], Validity { from, until }).unwrap();
    let of_client = cluster.authority.client("worker", today()).unwrap();
    let cases = [
        (None, "it shows no certificate"),
        (Some(other.issue(2)), "its certificate is not signed by the CA that this node knows"),
        (Some(expired), "its certificate has expired"),
        (Some(later), "its certificate is not valid yet"),
        (Some(cluster.issue(3)), "its certificate is not for node-2.0909"),
        (Some(of_client), "its certificate is not for node-2.0909"),
    ];
    for (issued, words) in cases {
        refused_once(&one, words, || speak(address, client(&cluster.ca, issued.as_ref()), &name, &bytes));
    }
    assert!(one.refusals().newest.unwrap().contains("it names [\"DnsName(\\\"client-worker"), "{:?}", one.refusals());
    let other_cluster = hello_and_heartbeat(ClusterId([8; 16]));
    let of_other = || speak(address, client(&cluster.ca, Some(&good)), &name, &other_cluster);
    let said = refused_once(&one, "it is of cluster 0808", of_other);
    assert!(said.starts_with("it is of cluster 0808"), "{said}");
    let other_name = node_name(ClusterId([8; 16]), node(1));
    let for_other = || speak(address, client(&cluster.ca, Some(&good)), &other_name, &bytes);
    refused_once(&one, "it looks for \"node-1.0808", for_other);
    assert!(behind.messages.lock().unwrap().is_empty());
    assert!(behind.met.lock().unwrap().is_empty());
    // The same, with nothing wrong.
    let peer = std::thread::spawn(move || speak(address, client(&cluster.ca, Some(&good)), &name, &bytes));
    super::kit::until("the message is there", || behind.messages.lock().unwrap().len() == 1);
    drop(one);
    peer.join().unwrap();
}

/// What `speak` does is the next refusal, and the only one: the words of the one before it are no sign of it.
fn refused_once(peers: &Peers, words: &str, speak: impl FnOnce() -> String) -> String {
    let before = peers.refusals().count;
    let said = speak();
    until(words, || peers.refusals().count > before);
    let RefusedPeers { count, newest } = peers.refusals();
    assert_eq!(count, before + 1, "{newest:?}");
    assert!(newest.as_ref().is_some_and(|newest| newest.starts_with(words)), "{newest:?}, and not {words}");
    said
}

/// Of peers that go on trying.
fn refused(peers: &Peers, words: &str) {
    until(words, || peers.refusals().newest.is_some_and(|newest| newest.starts_with(words)));
}

#[test]
fn an_older_tls_and_none_at_all_are_refused_with_words() {
    let cluster = Cluster::new(CLUSTER);
    let (one, behind) = cluster.started(1, &[]);
    let said = said_to(one.local_address(), &hello_and_heartbeat(CLUSTER));
    assert_eq!(said, "this node speaks TLS, and the peer does not");
    refused(&one, "it speaks without TLS, and peers of this node do not");
    said_to(one.local_address(), &hello_of_tls_12());
    refused(&one, "it does not speak TLS 1.3");
    said_to(one.local_address(), b"GET / HTTP/1.1\r\n\r\n");
    refused(&one, "it does not speak TLS");
    assert!(behind.messages.lock().unwrap().is_empty());
    // And the other way round.
    let (plain, _) = started(2, &[(1, one.local_address())]);
    until("it knows why", || {
        let error = plain.status()[0].last_error.clone();
        error.is_some_and(|error| error == "it refuses this node: this node speaks TLS, and the peer does not")
    });
    let (encrypted, _) = cluster.started(3, &[(2, plain.local_address())]);
    until("it knows why", || encrypted.status()[0].last_error.is_some());
    refused(&plain, "it speaks TLS, and peers of this node do not");
}

/// What a client that knows TLS 1.2 only begins with (RFC 5246).
fn hello_of_tls_12() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported groups: secp256r1
        0, 11, 0, 2, 1, 0, // point formats: uncompressed
        0, 13, 0, 4, 0, 2, 4, 3, // signature algorithms: ecdsa_secp256r1_sha256
    ];
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2b, 1, 0]); // no session, ECDHE-ECDSA-AES128-GCM-SHA256, no compression
    hello.extend_from_slice(&[0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend_from_slice(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat()
}

#[test]
fn an_address_that_leads_to_another_node_is_not_believed() {
    let cluster = Cluster::new(CLUSTER);
    let (three, behind) = cluster.started(3, &[]);
    let (one, _) = cluster.started(1, &[(2, three.local_address())]);
    until("it knows why", || one.status()[0].last_error.is_some());
    refused(&three, "it looks for \"node-2.0909");
    assert!(!one.status()[0].is_connected && behind.met.lock().unwrap().is_empty());
}

#[test]
fn a_node_with_a_certificate_that_its_peers_would_refuse_does_not_start() {
    let (cluster, other) = (Cluster::new(CLUSTER), Cluster::new(CLUSTER));
    let load = |issued: &Issued| {
        let files = cluster.write(1, issued);
        let refused = crate::tls::PeerTls::load(&files, CLUSTER, node(1)).map(drop).unwrap_err();
        refused.to_string().replace(cluster.folder.path().to_str().unwrap(), "")
    };
    let expired = cluster.authority.node(node(1), &[], Validity { from: 1_000_000_000, until: 1_100_000_000 }).unwrap();
    assert_eq!(load(&expired), "certificate /node-1.crt cannot be used: its certificate has expired");
    let words = load(&other.issue(1));
    assert_eq!(
        words,
        "certificate /node-1.crt cannot be used: its certificate is not signed by the CA that this node knows"
    );
    assert!(load(&cluster.issue(2)).contains("its certificate is not for node-1.0909"));
    let mixed = Issued { certificate: cluster.issue(1).certificate, key: cluster.issue(1).key };
    assert_eq!(load(&mixed), "certificate /node-1.crt cannot be used: keys may not be consistent: KeyMismatch");
    let empty = Issued { certificate: String::new(), ..cluster.issue(1) };
    let words = load(&empty);
    assert_eq!(
        words,
        "certificate /node-1.crt holds no certificate in PEM that can be used: there is no section CERTIFICATE"
    );
    let files = cluster.write(1, &cluster.issue(1));
    fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let words = crate::tls::PeerTls::load(&files, CLUSTER, node(1)).map(drop).unwrap_err().to_string();
    assert!(words.contains("node-1.key has mode 0644"), "{words}");
    fs::remove_file(&files.ca).unwrap();
    assert!(crate::tls::PeerTls::load(&files, CLUSTER, node(1)).unwrap_err().to_string().contains("private key"));
}

#[test]
fn new_certificates_are_taken_without_a_connection_being_dropped() {
    let cluster = Cluster::new(CLUSTER);
    let (two, _) = cluster.started(2, &[]);
    let (one, behind) = cluster.started(1, &[(2, two.local_address())]);
    until("it is connected", || one.status()[0].is_connected);
    // Bad ones change nothing.
    cluster.write(1, &Issued { certificate: String::new(), ..cluster.issue(1) });
    assert!(one.reload().is_err());
    // Those of another CA: who has none of it does not come in any more.
    let next = Cluster::new(CLUSTER);
    replace(&cluster.folder.path().join("ca.crt"), &next.ca.certificate);
    cluster.write(1, &next.issue(1));
    one.reload().unwrap();
    let (stranger, _) = Cluster::new(CLUSTER).started(3, &[(1, one.local_address())]);
    until("it is refused", || stranger.status()[0].last_error.is_some());
    // It would go on trying, and each of its refusals is the newest for a while.
    drop(stranger);
    let old = client(&next.ca, Some(&cluster.issue(2)));
    let words = "its certificate is not signed by the CA that this node knows";
    until(words, || {
        speak(one.local_address(), old.clone(), &node_name(CLUSTER, node(1)), &hello_and_heartbeat(CLUSTER));
        one.refusals().newest.is_some_and(|newest| newest.starts_with(words))
    });
    assert!(one.status()[0].is_connected && one.status()[0].connects_total == 2, "{:?}", one.status());
    assert!(behind.messages.lock().unwrap().is_empty());
}
