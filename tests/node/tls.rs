//! Clients over TLS: redis-cli and redis-py as users have them, certificates that are wrong, strangers that say nothing.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use sealkv::limits::CLIENT_MEMORY_BYTES_MIN;
use sealkv::limits::TLS_CONNECTION_BYTES;
use sealkv::limits::TLS_HANDSHAKE_DEADLINE;
use sealkv::tls::OperatorTls;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::free_port;
use crate::harness::refused_start;
use crate::harness::sealkv;
use crate::harness::text;
use crate::operator::metrics;

/// A node with a listener for TLS, and the certificates around it.
struct Secured {
    site: Site,
    port: u16,
    more: Vec<String>,
}

impl Secured {
    fn new(more: &[&str]) -> Secured {
        let secured =
            Secured { site: Site::new(), port: free_port(), more: more.iter().map(|arg| (*arg).to_owned()).collect() };
        secured.cert("own", &["ca"]);
        secured.cert("own", &["node", "1"]);
        secured
    }

    fn file(&self, folder: &str, name: &str) -> String {
        text(&self.folder(folder).join(name))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.site.path().join(name)
    }

    /// `sealkv cert` in a folder of its own.
    fn cert(&self, folder: &str, words: &[&str]) {
        let folder = self.folder(folder);
        fs::create_dir_all(&folder).unwrap();
        let list = ["--dir", &text(&folder), "--initial-cluster", "1=127.0.0.1:7379"];
        let made = sealkv().arg("cert").args(words).args(list).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn args(&self) -> Vec<String> {
        let mut args = self.site.sealed();
        let listen = format!("127.0.0.1:{}", self.port);
        let (certificate, key) = (self.file("own", "node-1.crt"), self.file("own", "node-1.key"));
        args.extend(["--tls-listen", &listen, "--tls-cert", &certificate, "--tls-key", &key].map(str::to_owned));
        args.extend(self.more.iter().map(|arg| match arg.as_str() {
            "CA" => self.file("own", "ca.crt"),
            other => other.to_owned(),
        }));
        args
    }

    /// redis-cli over TLS: what it says on either way. `None` where there is none.
    fn cli(&self, options: &[&str], words: &[&str], input: &[u8]) -> Option<String> {
        let port = self.port.to_string();
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &port, "--tls"]).args(options).args(words);
        let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
            assert!(std::env::var_os("CI").is_none(), "scripts/test installs redis-cli");
            println!("SKIPPED: there is no redis-cli");
            return None;
        };
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        Some(String::from_utf8(all).unwrap().trim().to_owned())
    }

    fn trusting(&self) -> [String; 2] {
        ["--cacert".to_owned(), self.file("own", "ca.crt")]
    }

    /// The same as a client with the certificate in `folder`.
    fn shown(&self, folder: &str) -> Vec<String> {
        let mut options: Vec<String> = self.trusting().into();
        for (option, name) in [("--cert", "client-c.crt"), ("--key", "client-c.key")] {
            options.extend([option.to_owned(), self.file(folder, name)]);
        }
        options
    }
}

fn borrowed(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn redis_cli_reads_and_writes_over_tls_what_plain_clients_see() {
    let secured = Secured::new(&[]);
    let node = Node::start(&secured.args());
    let trusting = secured.trusting();
    let cli = |words: &[&str], input: &[u8]| secured.cli(&borrowed(&trusting), words, input);
    let Some(said) = cli(&["SET", "k", "v"], b"") else { return };
    assert_eq!(said, "OK");
    assert_eq!(node.client().words("GET k"), Reply::bulk("v"));
    // Larger than every buffer on the way, in both directions.
    let large = "0123456789abcdef".repeat(300 << 10);
    assert_eq!(cli(&["-x", "SET", "large"], large.as_bytes()).unwrap(), "OK");
    assert_eq!(node.client().words("GET large"), Reply::bulk(&large));
    assert_eq!(cli(&["GET", "large"], b"").unwrap(), large);
    assert_eq!(cli(&["CONFIG", "GET", "tls-port"], b"").unwrap(), format!("tls-port\n{}", secured.port));
    secured.cert("other", &["ca"]);
    let other = ["--cacert".to_owned(), secured.file("other", "ca.crt")];
    let distrusting = secured.cli(&borrowed(&other), &["GET", "k"], b"").unwrap();
    assert!(distrusting.contains("certificate verify failed"), "{distrusting}");
    // Who speaks the plain protocol reads why that does not do.
    let mut plain = Client::connect(secured.port);
    plain.send(&encode(&[b"GET", b"k"])).unwrap();
    assert_eq!(plain.reply().unwrap(), Reply::Error("ERR this port takes TLS only".to_owned()));
    assert!(node.says("clients do not get through the handshake of TLS"));
    assert_eq!(node.stop().code(), Some(0));
}

#[test]
fn what_tls_itself_holds_is_memory_of_clients() {
    let secured = Secured::new(&[]);
    let node = Node::start(&secured.args());
    let held = || {
        let Reply::Bulk(text) = node.client().words("INFO memory") else { panic!("no INFO") };
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("mem_clients_normal:"));
        line.unwrap().trim().parse::<usize>().unwrap()
    };
    let until = |what: &str, is_so: &dyn Fn(usize) -> bool| {
        let limit = Instant::now() + Duration::from_secs(20);
        while !is_so(held()) {
            assert!(Instant::now() < limit, "{what}: {}", held());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let tls = OperatorTls { ca: secured.folder("own").join("ca.crt"), shown: None };
    let connect = |_| {
        let stream = TcpStream::connect(("127.0.0.1", secured.port)).unwrap();
        tls.over("127.0.0.1", stream).unwrap().unwrap()
    };
    let connections: Vec<_> = (0..20).map(connect).collect();
    until("each is counted", &|held| held >= 20 * TLS_CONNECTION_BYTES);
    drop(connections);
    until("all is given back", &|held| held < TLS_CONNECTION_BYTES);
    assert_eq!(node.stop().code(), Some(0));
}

/// Goal: who comes while others hold the memory of clients waits, and is closed within the bound of a handshake, which a line and
/// the metrics say. Who is in goes on, and who comes once there is memory is served.
#[test]
fn a_client_with_tls_for_which_there_is_no_memory_is_refused_and_a_line_says_so() {
    // The soft limit may be 1024. Where it cannot be raised, the connections say so.
    let own = std::process::id().to_string();
    let _ = Command::new("prlimit").args(["--pid", &own, "--nofile=8192:"]).status();
    let secured = Secured::new(&["--client-memory-bytes", "192M"]);
    let node = Node::start(&secured.args());
    let tls = OperatorTls { ca: secured.folder("own").join("ca.crt"), shown: None };
    let connect = || tls.over("127.0.0.1", TcpStream::connect(("127.0.0.1", secured.port)).unwrap()).unwrap();
    let ping = |connection: &mut dyn ReadWrite| {
        connection.write_all(&encode(&[b"PING"])).unwrap();
        let mut answer = [0; 7];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
    };
    let most = CLIENT_MEMORY_BYTES_MIN / TLS_CONNECTION_BYTES;
    let mut connections = Vec::new();
    let (error, waited) = loop {
        let began = Instant::now();
        match connect() {
            Ok(connection) => connections.push(connection),
            Err(error) => break (error, began.elapsed()),
        }
        assert!(connections.len() < most, "they hold more than clients may");
    };
    println!("{} connections are in, the next one waited for {waited:?}: {error}", connections.len());
    assert!(connections.len() > most / 4, "{} are in", connections.len());
    assert!(waited > TLS_HANDSHAKE_DEADLINE / 2, "it does not wait for memory: {waited:?}");
    assert!(node.says("clients do not get through the handshake of TLS"));
    assert!(node.says("no memory of clients was left for it within 5 s"));
    let metrics = metrics(node.admin_port);
    for counted in ["sealkv_connections_rejected_total 1", "sealkv_handshakes_failed_total 1"] {
        assert!(metrics.contains(counted), "{counted}");
    }
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    ping(connections.last_mut().unwrap());
    connections.truncate(connections.len() - 8);
    ping(&mut connect().unwrap());
    drop(connections);
    assert_eq!(node.stop().code(), Some(0));
}

/// Both halves of a connection.
trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

// An operator whose node takes TLS only where others reach it.
#[test]
fn an_operator_asks_over_tls_and_is_told_why_a_node_is_not_believed() {
    let secured = Secured::new(&["--tls-ca", "CA"]);
    secured.cert("own", &["client", "c"]);
    secured.cert("other", &["ca"]);
    let password = secured.site.path().join("adminpass");
    secured.site.make_secret("adminpass", b"secret-of-operators\n");
    let mut args = secured.args();
    args.extend(["--adminpass-file".to_owned(), text(&password)]);
    let node = Node::start(&args);
    let admin = |words: &[&str], host: &str, options: &[String]| {
        let to = format!("{host}:{}", secured.port);
        let access = ["--to", &to, "--adminpass-file", &text(&password)].map(str::to_owned);
        let output = sealkv().arg("admin").args(words).args(access).args(options).output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(all).unwrap())
    };
    let knows = |folder: &str| ["--tls".to_owned(), "--tls-ca".to_owned(), secured.file(folder, "ca.crt")];
    let shows = ["--tls-cert", "--tls-key"].iter().zip(["client-c.crt", "client-c.key"]);
    let shows: Vec<String> =
        shows.flat_map(|(option, name)| [(*option).to_owned(), secured.file("own", name)]).collect();
    let both = |folder: &str| [&knows(folder)[..], &shows].concat();
    let (status, said) = admin(&["compare"], "127.0.0.1", &both("own"));
    assert!(status == 0 && said.contains("the same"), "{status} {said}");
    for (host, options, words) in [
        ("127.0.0.1", knows("own").to_vec(), "CertificateRequired"),
        ("127.0.0.1", both("other"), "invalid peer certificate"),
        ("localhost", both("own"), "not valid for name"),
        ("127.0.0.1", Vec::new(), "this port takes TLS only"),
        ("127.0.0.1", both("nowhere"), "cannot be read"),
    ] {
        let (status, said) = admin(&["member", "list"], host, &options);
        assert!(status != 0 && said.contains(words), "{words}: {status} {said}");
    }
    let alone = sealkv().args(["admin", "compare", "--tls"]).output().unwrap();
    assert!(String::from_utf8(alone.stderr).unwrap().contains("--tls-ca"));
    assert_eq!(node.stop().code(), Some(0));
}

#[test]
fn redis_py_speaks_tls_with_pipelines_and_checks_the_name() {
    let secured = Secured::new(&[]);
    let _node = Node::start(&secured.args());
    let script = "\
import sys, redis
port, ca = int(sys.argv[1]), sys.argv[2]
r = redis.Redis(host='127.0.0.1', port=port, ssl=True, ssl_ca_certs=ca, ssl_check_hostname=True)
with r.pipeline(transaction=False) as p:
    for n in range(20000):
        p.set('k%d' % n, 'x' * (n % 300))
    assert all(p.execute())
with r.pipeline(transaction=False) as p:
    for n in range(20000):
        p.get('k%d' % n)
    assert p.execute() == [b'x' * (n % 300) for n in range(20000)]
with r.pipeline(transaction=True) as p:
    p.incr('n'); p.incr('n')
    assert p.execute() == [1, 2]
print('done')
";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script, &secured.port.to_string(), &secured.file("own", "ca.crt")])
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: there is no Python");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("No module named 'redis'") {
        assert!(std::env::var_os("CI").is_none(), "scripts/test installs redis-py");
        println!("SKIPPED: there is no redis-py");
        return;
    }
    assert!(output.stdout.starts_with(b"done"), "{errors}");
}

/// Goal: where clients must show who they are, each wrong certificate is refused with a line that says what is wrong, and new
/// files are taken at a hangup.
#[test]
fn clients_without_a_good_certificate_are_refused_and_new_ones_are_read_at_a_hangup() {
    let secured = Secured::new(&["--tls-ca", "CA"]);
    secured.cert("own", &["client", "c"]);
    secured.cert("other", &["ca"]);
    secured.cert("other", &["client", "c"]);
    let ping = |options: &[String]| secured.cli(&borrowed(options), &["PING"], b"");
    let refused = |options: &[String], words: &str| {
        // A node of its own for each: the line comes once a minute.
        let node = Node::start(&secured.args());
        let said = ping(options)?;
        assert!(!said.contains("PONG"), "{said}");
        assert!(node.says(words), "{words}: {}", node.log());
        assert_eq!(node.stop().code(), Some(0));
        Some(())
    };
    if refused(&secured.trusting(), "it shows no certificate").is_none() {
        return;
    }
    refused(&secured.shown("other"), "its certificate is not signed by the CA that this node knows");
    let node = Node::start(&secured.args());
    assert_eq!(ping(&secured.shown("own")).unwrap(), "PONG");
    let certificate = secured.folder("own").join("node-1.crt");
    let before = fs::read(&certificate).unwrap();
    fs::write(&certificate, "no certificate").unwrap();
    node.signal("-HUP");
    assert!(node.says("the certificates for clients stay as they were"));
    assert_eq!(ping(&secured.shown("own")).unwrap(), "PONG");
    fs::write(&certificate, before).unwrap();
    fs::copy(secured.folder("other").join("ca.crt"), secured.folder("own").join("ca.crt")).unwrap();
    node.signal("-HUP");
    assert!(node.says("certificates for clients are read again"));
    let insecure = |folder: &str| {
        let mut options = vec!["--insecure".to_owned()];
        options.extend(secured.shown(folder).drain(2..));
        ping(&options).unwrap()
    };
    assert_eq!(insecure("other"), "PONG");
    assert!(!insecure("own").contains("PONG"));
    assert_eq!(node.stop().code(), Some(0));
}

#[test]
fn bounded_strangers_that_say_nothing_make_place_and_are_closed() {
    let secured = Secured::new(&["--maxclients", "3"]);
    let node = Node::start(&secured.args());
    let connect = || TcpStream::connect(("127.0.0.1", secured.port)).unwrap();
    let mut silent: Vec<TcpStream> = (0..3).map(|_| connect()).collect();
    let trusting = secured.trusting();
    if let Some(said) = secured.cli(&borrowed(&trusting), &["PING"], b"") {
        assert_eq!(said, "PONG", "the oldest of them has gone");
    }
    let began = Instant::now();
    // The deadline of a handshake is 5 s.
    silent.push(connect());
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(node.client().words("PING"), Reply::Simple("PONG".to_owned()));
}

#[test]
fn settings_of_tls_that_cannot_do_are_refused_with_78() {
    let secured = Secured::new(&[]);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut args = secured.args();
        change(&mut args);
        refused_start(&args)
    };
    let set = |name: &'static str, value: String| {
        move |args: &mut Vec<String>| {
            let at = args.iter().position(|arg| arg == name).unwrap();
            args[at + 1] = value.clone();
        }
    };
    let open = format!("0.0.0.0:{}", secured.port);
    let client = secured.file("own", "ca.key");
    for (refused, words) in [
        (with(&set("--tls-listen", open)), "clients that show who they are"),
        (with(&set("--tls-cert", "/nowhere".to_owned())), "certificate /nowhere cannot be read"),
        (with(&set("--tls-key", client)), "cannot be used"),
        (with(&|args| args.extend(["--tls-auth-clients", "yes"].map(str::to_owned))), "tls-ca is missing"),
    ] {
        assert_eq!(refused.status, 78, "{}", refused.output);
        assert!(refused.output.contains(words), "{words}: {}", refused.output);
    }
}
