//! Three real processes that are one cluster, on loopback, and clients that write while nodes die.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::SMALL_LOG;
use crate::harness::Site;
use crate::harness::free_port;
use crate::harness::sealkv;
use crate::harness::text;
use crate::netns::Nets;

pub const IDS: [u64; 3] = [1, 2, 3];

/// A cluster of three. What its nodes have on disk goes with it.
pub struct Trio {
    pub site: Site,
    /// `--initial-cluster`.
    pub list: String,
    peers: [SocketAddr; 5],
    clients: [SocketAddr; 5],
    encryption: Vec<String>,
    has_certificates: bool,
    /// `--peer-addresses`.
    moved: Option<String>,
    nodes: [Option<Node>; 5],
    /// A node that has its data elsewhere, and where.
    elsewhere: Option<(u64, PathBuf)>,
    /// A network of its own; its nodes end before it.
    pub nets: Option<Nets>,
}

impl Trio {
    /// All nodes listen elsewhere from their next start on.
    pub fn move_all(&mut self) {
        self.peers = [(); 5].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        self.moved = Some(list_of(&self.peers));
    }

    /// Nobody runs yet.
    pub fn new() -> Trio {
        let site = Site::new();
        site.make_secret("adminpass", b"secret-of-operators\n");
        let encryption = vec!["--kek-file".to_owned(), text(&site.kek())];
        let address = |()| SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (peers, clients) = ([(); 5].map(address), [(); 5].map(address));
        let (list, nodes) = (list_of(&peers), [const { None }; 5]);
        Trio {
            site,
            list,
            peers,
            clients,
            encryption,
            has_certificates: false,
            moved: None,
            nodes,
            elsewhere: None,
            nets: None,
        }
    }

    /// Without encryption.
    pub fn clear() -> Trio {
        Trio { encryption: ["--encryption", "off"].map(str::to_owned).into(), ..Trio::new() }
    }

    /// Made for encryption, which waits for an operator to turn it on.
    pub fn ready() -> Trio {
        let mut trio = Trio::new();
        trio.encryption.extend(["--encryption", "ready"].map(str::to_owned));
        trio
    }

    /// Its leader reads by a lease.
    pub fn leased() -> Trio {
        let mut trio = Trio::new();
        trio.encryption.extend(["--read-lease-drift-ppm", "1000"].map(str::to_owned));
        trio
    }

    /// Its nodes know each other by certificates that `sealkv cert` made.
    pub fn certified() -> Trio {
        Trio::new().with_certificates()
    }

    /// The same, each in a namespace of the network.
    pub fn apart(nets: Nets) -> Trio {
        let mut trio = Trio::new();
        for id in IDS {
            let at = place(id);
            trio.peers[at] = nets.peers(id, trio.peers[at].port());
            trio.clients[at] = nets.clients(id, trio.clients[at].port());
        }
        trio.list = list_of(&trio.peers);
        Trio { nets: Some(nets), ..trio }.with_certificates()
    }

    fn with_certificates(self) -> Trio {
        let trio = Trio { has_certificates: true, ..self };
        trio.cert(&["ca"]);
        IDS.iter().for_each(|id| trio.cert(&["node", &id.to_string()]));
        trio
    }

    /// Runs `sealkv cert` in the folder of the certificates.
    pub fn cert(&self, args: &[&str]) {
        let folder = text(self.site.path());
        let list = ["--dir", &folder, "--initial-cluster", &self.list];
        let made = sealkv().arg("cert").args(args).args(list).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// All three run, and one leads.
    pub fn running(mut self) -> Trio {
        IDS.iter().for_each(|id| self.start(*id));
        self.leader();
        self
    }

    pub fn args(&self, id: u64) -> Vec<String> {
        let at = place(id);
        let data = self.data(id);
        let listen = self.clients[at].to_string();
        let mut args: Vec<String> =
            ["serve", "--admin-listen", "127.0.0.1:0", "--log-format", "json", "--listen"].map(str::to_owned).into();
        args.extend([listen, "--data-dir".to_owned(), text(&data)]);
        args.extend(SMALL_LOG.map(str::to_owned));
        args.extend(["--adminpass-file".to_owned(), text(&self.site.path().join("adminpass"))]);
        args.extend(["--node-id".to_owned(), id.to_string()]);
        args.extend(["--peer-listen".to_owned(), self.peers[at].to_string()]);
        args.extend(self.nets.iter().map(|_| "--insecure-listen".to_owned()));
        args.extend(["--initial-cluster".to_owned(), self.list.clone()]);
        args.extend(self.encryption.iter().cloned());
        if self.has_certificates {
            let file = |name: &str| text(&self.site.path().join(name));
            args.extend(["--peer-ca".to_owned(), file("ca.crt")]);
            args.extend(["--peer-cert".to_owned(), file(&format!("node-{id}.crt"))]);
            args.extend(["--peer-key".to_owned(), file(&format!("node-{id}.key"))]);
        }
        if !IDS.contains(&id) {
            args.push("--join".to_owned());
        }
        if let Some(moved) = &self.moved {
            args.extend(["--peer-addresses".to_owned(), moved.clone()]);
        }
        args
    }

    pub fn data(&self, id: u64) -> PathBuf {
        match &self.elsewhere {
            Some((node, data)) if *node == id => data.clone(),
            _ => self.site.path().join(format!("data{id}")),
        }
    }

    /// A node that has not been started has its data there.
    pub fn put_elsewhere(&mut self, id: u64, data: PathBuf) {
        self.elsewhere = Some((id, data));
    }

    pub fn start(&mut self, id: u64) {
        self.start_by(id, self.command(id));
    }

    /// The same by a command of the caller's, which ends in the binary.
    pub fn start_by(&mut self, id: u64, command: Command) {
        self.nodes[place(id)] = Some(Node::start_with(command));
    }

    /// Waits until a node has ended by itself; its exit status, and its lines.
    pub fn ended(&mut self, id: u64) -> (Option<i32>, String) {
        let mut node = self.nodes[place(id)].take().unwrap();
        let status = node.wait(Duration::from_secs(60));
        (status.code(), node.log())
    }

    /// What starts a node.
    pub fn command(&self, id: u64) -> Command {
        let mut command = sealkv();
        command.args(self.args(id));
        match &self.nets {
            Some(nets) => nets.enter(id, &command),
            None => command,
        }
    }

    pub fn kill(&mut self, id: u64) {
        self.nodes[place(id)].take().unwrap().kill();
    }

    pub fn stop(&mut self, id: u64) {
        assert_eq!(self.nodes[place(id)].take().unwrap().stop().code(), Some(0));
    }

    pub fn node(&self, id: u64) -> &Node {
        self.nodes[place(id)].as_ref().unwrap()
    }

    pub fn client(&self, id: u64) -> Client {
        self.try_client(id).unwrap()
    }

    fn try_client(&self, id: u64) -> io::Result<Client> {
        Client::try_connect_to(self.clients[place(id)])
    }

    /// Of the founders, for clients.
    pub fn addresses(&self) -> [SocketAddr; 3] {
        *self.clients.first_chunk().unwrap()
    }

    /// Of the founders.
    pub fn ports(&self) -> [u16; 3] {
        self.addresses().map(|address| address.port())
    }

    pub fn client_port(&self, id: u64) -> u16 {
        self.clients[place(id)].port()
    }

    pub fn peer_address(&self, id: u64) -> String {
        self.peers[place(id)].to_string()
    }

    /// `sealkv admin`, asked at a node.
    pub fn admin(&self, at: u64, words: &[&str]) -> (i32, String) {
        let to = self.clients[place(at)].to_string();
        let password = text(&self.site.path().join("adminpass"));
        let output =
            sealkv().arg("admin").args(words).args(["--to", &to, "--adminpass-file", &password]).output().unwrap();
        let all = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), all)
    }

    /// A connection of an operator.
    pub fn operator(&self, id: u64) -> Client {
        let mut client = self.client(id);
        assert_eq!(client.words("AUTH admin secret-of-operators"), Reply::ok());
        client
    }

    pub fn running_ids(&self) -> Vec<u64> {
        (1..=5).filter(|id| self.nodes[place(*id)].is_some()).collect()
    }

    /// Who leads, by what it says itself, as soon as somebody does.
    pub fn leader(&self) -> u64 {
        self.until("a leader", |trio| {
            trio.running_ids().into_iter().find(|id| trio.info(*id, "replication", "role") == "master")
        })
    }

    pub fn info(&self, id: u64, section: &str, name: &str) -> String {
        let Ok(mut client) = self.try_client(id) else { return String::new() };
        let Ok(Reply::Bulk(text)) = client.try_call(&[b"INFO", section.as_bytes()]) else { return String::new() };
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }

    /// All that run have applied the same, and hold the same; what it comes to.
    pub fn digest(&self) -> (String, String) {
        // Walking all rows takes long on a busy machine.
        self.within(Duration::from_secs(180), "one digest at one index", |trio| {
            let mut digests: BTreeSet<Option<(String, String)>> =
                trio.running_ids().into_iter().map(|id| trio.digest_of(id)).collect();
            if digests.len() == 1 { digests.pop_first().flatten() } else { None }
        })
    }

    fn digest_of(&self, id: u64) -> Option<(String, String)> {
        let mut client = self.try_client(id).ok()?;
        client.try_call(&[b"AUTH", b"admin", b"secret-of-operators"]).ok()?;
        let Reply::Array(parts) = client.try_call(&[b"SEALKV", b"DIGEST"]).ok()? else { return None };
        let [_, Reply::Integer(applied), _, Reply::Bulk(digest)] = parts.as_slice() else { return None };
        Some((applied.to_string(), String::from_utf8(digest.clone()).unwrap()))
    }

    pub fn until<T>(&self, what: &str, is_so: impl Fn(&Trio) -> Option<T>) -> T {
        self.within(Duration::from_secs(40), what, is_so)
    }

    fn within<T>(&self, patience: Duration, what: &str, is_so: impl Fn(&Trio) -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = is_so(self) {
                return found;
            }
            let logs = || self.running_ids().iter().map(|id| self.node(*id).log()).collect::<Vec<_>>().join("\n\n");
            assert!(Instant::now() < deadline, "{what}: not in {patience:?}\n{}", logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn list_of(peers: &[SocketAddr; 5]) -> String {
    let founders: Vec<String> = IDS.iter().zip(peers).map(|(id, address)| format!("{id}={address}")).collect();
    founders.join(",")
}

fn place(id: u64) -> usize {
    usize::try_from(id).unwrap() - 1
}

/// Writers that have the addresses of all nodes and go on with another one when theirs is gone.
pub struct Writers {
    stop: Arc<AtomicBool>,
    /// Of all writers.
    acknowledged: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Vec<u64>>>,
}

impl Writers {
    pub fn start(addresses: [SocketAddr; 3], count: usize) -> Writers {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let workers = (0..count).map(|writer| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            std::thread::spawn(move || write(addresses, writer, &stop, &acknowledged))
        });
        Writers { workers: workers.collect(), stop, acknowledged }
    }

    /// How many writes were acknowledged.
    pub fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// How long it takes from now until something is acknowledged that was sent after now.
    pub fn outage(&self, limit: Duration) -> Duration {
        let (begin, before) = (Instant::now(), self.acknowledged.load(Ordering::SeqCst));
        // One acknowledgement may have been on its way.
        while self.acknowledged.load(Ordering::SeqCst) < before + 1 + self.workers.len() as u64 {
            assert!(begin.elapsed() < limit, "nothing is acknowledged for {:?}", begin.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        begin.elapsed()
    }

    /// Stops them. Which numbers of each writer were acknowledged.
    pub fn acknowledged(self) -> Vec<Vec<u64>> {
        self.stop.store(true, Ordering::SeqCst);
        self.workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    }
}

fn write(addresses: [SocketAddr; 3], writer: usize, stop: &AtomicBool, acknowledged: &AtomicU64) -> Vec<u64> {
    let (mut done, mut number, mut at) = (Vec::new(), 0_u64, writer);
    let mut client = None;
    while !stop.load(Ordering::SeqCst) {
        let connected = match client.take() {
            Some(connected) => Some(connected),
            None => {
                at += 1;
                Client::try_connect_to(addresses[at % addresses.len()]).ok()
            }
        };
        let Some(mut connected) = connected else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        number += 1;
        let (key, value) = (format!("w{writer}:{number}"), number.to_string());
        match connected.try_call(&[b"SET", key.as_bytes(), value.as_bytes()]) {
            Ok(Reply::Simple(_)) => {
                done.push(number);
                acknowledged.fetch_add(1, Ordering::SeqCst);
                client = Some(connected);
            }
            Ok(Reply::Error(words)) => {
                let is_not_executed = words.starts_with("TRYAGAIN") || words.starts_with("CLUSTERDOWN");
                assert!(is_not_executed, "{words}");
                client = Some(connected);
            }
            Ok(other) => panic!("SET answered {other:?}"),
            // Nobody knows: the next one has another number.
            Err(_) => {}
        }
    }
    done
}

/// Everything that was acknowledged is there.
pub fn verify(client: &mut Client, acknowledged: &[Vec<u64>]) -> usize {
    for (writer, numbers) in acknowledged.iter().enumerate() {
        for chunk in numbers.chunks(256) {
            let keys: Vec<String> = chunk.iter().map(|number| format!("w{writer}:{number}")).collect();
            let mut args: Vec<&[u8]> = vec![b"MGET"];
            args.extend(keys.iter().map(String::as_bytes));
            let expected = chunk.iter().map(|number| Reply::bulk(number.to_string())).collect();
            assert_eq!(client.call(&args), Reply::Array(expected), "writer {writer}: lost");
        }
    }
    acknowledged.iter().map(Vec::len).sum()
}
