//! What an outsider may hold: connections, descriptors, places, key ids. Nothing of it ends the node or keeps others out.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::text;

/// One request over HTTP: the status line and what follows.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

#[test]
fn silent_admin_connections_take_neither_descriptors_nor_the_place_of_a_probe() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert!(get(node.admin_port, "/").contains("/metrics"), "a wrong path lists the right ones");
    let before = descriptors(&node);
    let mut held: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(("127.0.0.1", node.admin_port)).unwrap()).collect();
    // Two empty lines end no request: none has begun.
    let said: [&[u8]; 3] = [b"", b"GET /metrics HTTP/1.1\r\nHost", b"\r\n\r\n"];
    held.iter_mut().zip(said.iter().cycle()).for_each(|(stream, said)| drop(stream.write_all(said)));
    std::thread::sleep(Duration::from_millis(300));
    assert!(descriptors(&node) <= before + 66, "{} after {before}", descriptors(&node));
    let began = Instant::now();
    assert!(get(node.admin_port, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(node.admin_port, "/readyz").contains("\"ready\":true"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // What was held is given up at its deadline.
    let limit = Instant::now() + Duration::from_secs(20);
    while descriptors(&node) > before + 2 {
        assert!(Instant::now() < limit, "{} after {before}", descriptors(&node));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(node.client().words("SET k v"), Reply::ok());
}

/// Idle, half-way, waiting for a password, not reading: the four ways to be connected without an end.
#[test]
fn sigterm_ends_the_node_within_eight_seconds_whatever_clients_do() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut good = node.client();
    assert_eq!(good.call(&[b"SET", b"big", &vec![b'v'; 4 << 20]]), Reply::ok());
    let idle: Vec<Client> = (0..50).map(|_| node.client()).collect();
    let mut half: Vec<Client> = (0..50).map(|_| node.client()).collect();
    half.iter_mut().for_each(|client| client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nabc").unwrap());
    let mut deaf: Vec<Client> = (0..8).map(|_| node.client()).collect();
    deaf.iter_mut().for_each(|client| client.send(&b"GET big\r\n".repeat(20)).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    let status = node.stop();
    println!("stopped after {:?}", began.elapsed());
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop((idle, half, deaf));
}

#[test]
fn clients_without_work_do_not_delay_the_end_and_a_hangup_is_a_stop() {
    let site = Site::new();
    let mut node = Node::start(&site.sealed());
    let mut half: Vec<Client> = (0..50).map(|_| node.client()).collect();
    half.iter_mut().for_each(|client| client.send(b"*2\r\n$3\r\nGET\r\n").unwrap());
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    node.signal("-HUP");
    assert_eq!(node.wait(Duration::from_secs(8)).code(), Some(0), "{}", node.log());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_loop_of_rotations_is_refused_and_operators_have_a_password_of_their_own() {
    let site = Site::new();
    let mut args = site.sealed();
    args.extend(["--requirepass-file".to_owned(), text(&site.make_secret("password", b"clients\n"))]);
    args.extend(["--adminpass-file".to_owned(), text(&site.make_secret("adminpass", b"operators\n"))]);
    let node = Node::start(&args);
    let mut client = node.client();
    assert_eq!(client.words("AUTH clients"), Reply::ok());
    assert_eq!(client.words("SET k v"), Reply::ok());
    let refused = client.words("SEALKV ENCRYPTION ROTATE ENTRY");
    assert!(matches!(&refused, Reply::Error(words) if words.starts_with("NOPERM")), "{refused:?}");
    assert_eq!(client.words("AUTH admin operators"), Reply::ok());
    let mut done = 0;
    for _ in 0..50 {
        for which in ["ENTRY", "VALUE"] {
            match client.words(&format!("SEALKV ENCRYPTION ROTATE {which}")) {
                Reply::Error(words) => assert!(words.contains("it must be 60 s old to be rotated"), "{words}"),
                answer => done += u32::from(answer == Reply::ok()),
            }
        }
    }
    assert_eq!(done, 2, "each key once");
    // One refusal of the client, the login of the operator, a line for what was asked and one for its end, a line for each rotation that was refused.
    // They are written by a thread of their own, so they come a little later than the replies.
    let expected = 1 + 1 + 2 * 2 + 98;
    for words in
        ["the KEK is read", "the key of the log is made", "data keys are unwrapped", "the keys that seal, as of"]
    {
        assert!(node.says(words), "{words}:\n{}", node.log());
    }
    // Each rotation unwraps its key and names it.
    let is_of_operators = |line: &&str| {
        let others = ["the KEK is read", "the key of the log", "data keys are unwrapped", "the keys that seal, as of"];
        line.contains("\"target\":\"audit\"") && !others.iter().any(|words| line.contains(words))
    };
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        let lines = node.log();
        let audit = lines.lines().filter(is_of_operators).count();
        if audit == expected {
            break;
        }
        assert!(Instant::now() < limit, "each use of a key is said: {audit} lines, {expected} expected:\n{lines}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
