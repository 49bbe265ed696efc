//! Turning encryption on later: the online cutover, rotations, what an operator sees; under load and under kills.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::secrets::contains;
use crate::secrets::files;
use crate::secrets::fresh;

const ENABLE: &str = "SEALKV ENCRYPTION ENABLE";

/// The status as a map; numbers and absent ones as words.
struct Status(BTreeMap<String, String>);

impl Status {
    fn of(client: &mut Client) -> Status {
        let Reply::Array(members) = client.words("SEALKV ENCRYPTION STATUS") else { panic!("no status") };
        let word = |reply: &Reply| match reply {
            Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Reply::Integer(number) => number.to_string(),
            Reply::Null => "none".to_owned(),
            other => panic!("{other:?}"),
        };
        Status(members.chunks(2).map(|pair| (word(&pair[0]), word(&pair[1]))).collect())
    }

    fn word(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    fn number(&self, name: &str) -> u64 {
        self.word(name).parse().unwrap_or_else(|_| panic!("{name} in {:?}", self.0))
    }

    fn is_sealing(&self) -> bool {
        self.word("sealing") == "yes"
    }
}

fn scan(client: &mut Client) -> (i64, i64) {
    match client.words("SEALKV ENCRYPTION SCAN") {
        Reply::Array(pairs) => match &pairs[..] {
            [_, Reply::Integer(clear), _, Reply::Integer(sealed)] => (*clear, *sealed),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn canary(name: &str) -> String {
    format!("canary-{name}-{:032x}", fresh())
}

fn error_of(reply: Reply) -> String {
    match reply {
        Reply::Error(line) => line,
        other => panic!("an error was expected: {other:?}"),
    }
}

/// A client that keeps pipelines of writes under way, each to a key of its own, until it is told to stop or cut off.
struct Writer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, String>>,
}

impl Writer {
    fn start(port: u16, name: &str) -> Writer {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, name) = (Arc::clone(&is_over), format!("{name}-{:08x}", fresh() as u32));
        // Before the node may be killed.
        let mut client = Client::connect(port);
        let thread = std::thread::spawn(move || {
            let mut acknowledged = BTreeMap::new();
            for round in 0.. {
                let pairs: Vec<(String, String)> =
                    (0..16).map(|i| (format!("{name}-{round}-{i}"), format!("value-{name}-{round}-{i}"))).collect();
                let bytes: Vec<u8> =
                    pairs.iter().flat_map(|(k, v)| encode(&[b"SET", k.as_bytes(), v.as_bytes()])).collect();
                if over.load(Relaxed) || client.send(&bytes).is_err() {
                    break;
                }
                for pair in pairs {
                    match client.reply() {
                        Ok(Reply::Simple(_)) => acknowledged.extend([pair]),
                        Ok(Reply::Error(line)) => assert!(line.starts_with("TRYAGAIN"), "{line}"),
                        Ok(other) => panic!("{other:?}"),
                        // Killed: nobody knows about the rest.
                        Err(_) => return acknowledged,
                    }
                }
            }
            acknowledged
        });
        Writer { is_over, thread }
    }

    /// What was acknowledged.
    fn stop(self) -> BTreeMap<String, String> {
        self.is_over.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

fn must_have(client: &mut Client, pairs: &BTreeMap<String, String>) {
    let all: Vec<(&String, &String)> = pairs.iter().collect();
    for chunk in all.chunks(256) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|(key, _)| encode(&[b"GET", key.as_bytes()])).collect();
        client.send(&bytes).unwrap();
        for (key, value) in chunk {
            assert_eq!(client.reply().unwrap(), Reply::bulk(value), "{key} was acknowledged");
        }
    }
}

// Goal: what was written before stays readable, what is written after is found nowhere on the disk, nobody's write is lost.
#[test]
fn the_online_cutover_under_load_seals_what_comes_after_and_loses_nothing() {
    let site = Site::new();
    let node = Node::start(&site.ready());
    let mut client = node.client();
    let key = |word: &str, i: usize| format!("{word}-{i}-{:032x}", fresh());
    let before: BTreeMap<String, String> = (0..50).map(|i| (key("before", i), canary("before"))).collect();
    for (key, value) in &before {
        assert_eq!(client.words(&format!("SET {key} {value}")), Reply::ok());
    }
    assert!(!Status::of(&mut client).is_sealing());
    assert_eq!(scan(&mut client), (50, 0));
    let writers: Vec<Writer> = (0..4).map(|i| Writer::start(node.client_port, &format!("load{i}"))).collect();
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    assert_eq!(client.words(ENABLE), Reply::ok());
    let took = begun.elapsed();
    let status = Status::of(&mut client);
    assert!(status.is_sealing());
    assert!(status.number("cutover_index") < status.number("opener_index"));
    let after: BTreeMap<String, String> = (0..50).map(|i| (key("after", i), canary("after"))).collect();
    for (key, value) in &after {
        assert_eq!(client.words(&format!("SET {key} {value}")), Reply::ok());
    }
    std::thread::sleep(Duration::from_millis(200));
    let load: BTreeMap<String, String> = writers.into_iter().flat_map(Writer::stop).collect();
    println!("{} writes acknowledged around a cutover that took {took:?}", load.len());
    for pairs in [&before, &after, &load] {
        must_have(&mut client, pairs);
    }
    let (clear, sealed) = scan(&mut client);
    assert_eq!(usize::try_from(clear + sealed).unwrap(), 100 + load.len());
    assert!(clear >= 50 && sealed >= 50, "{clear} clear, {sealed} sealed");
    assert_eq!(client.words(&format!("SET {} anew", before.keys().next().unwrap())), Reply::ok());
    assert_eq!(scan(&mut client), (clear - 1, sealed + 1), "a value that is written again is sealed");
    assert!(error_of(client.words(ENABLE)).contains(&format!("since index {}", status.number("cutover_index"))));
    assert_eq!(node.stop().code(), Some(0));

    let mut is_before_seen = false;
    for (path, bytes) in files(&site.data()) {
        for word in after.iter().flat_map(|(key, value)| [key, value]) {
            assert!(!contains(&bytes, word.as_bytes()), "{word}, written after the cutover, stands in {path}");
        }
        let is_there = |word: &String| contains(&bytes, word.as_bytes());
        let (keys, values) = (before.keys().any(is_there), before.values().any(is_there));
        assert!(!(keys || values) || path.contains("/state/"), "the log's frames are sealed from the start: {path}");
        is_before_seen |= keys && values;
    }
    assert!(is_before_seen, "what was written before stands in the clear in state/, as the threat table says");

    // NO-WAY-DOWN: ready again does not mean "in the clear again".
    for args in [site.ready(), site.sealed()] {
        let node = Node::start(&args);
        let mut client = node.client();
        let again = Status::of(&mut client);
        assert!(again.is_sealing());
        assert_eq!(again.word("cutover_index"), status.word("cutover_index"));
        must_have(&mut client, &after);
        must_have(&mut client, &load);
        let late = canary("late");
        assert_eq!(client.words(&format!("SET late {late}")), Reply::ok());
        assert_eq!(node.stop().code(), Some(0));
        assert!(files(&site.data()).iter().all(|(_, bytes)| !contains(bytes, late.as_bytes())));
    }
}

// A fresh directory each round, since there is one cutover in a directory's life.
#[test]
fn kills_at_random_moments_of_enable_leave_one_or_the_other() {
    let (mut on, mut off) = (0, 0);
    let mut usual = Duration::from_millis(10);
    for round in 0..24 {
        let site = Site::new();
        let node = Node::start(&site.ready());
        let writer = Writer::start(node.client_port, "load");
        let mut client = node.client();
        std::thread::sleep(Duration::from_millis(20));
        client.send(b"SEALKV ENCRYPTION ENABLE\r\n").unwrap();
        let mut was_told = false;
        if round < 2 {
            let begun = Instant::now();
            assert_eq!(client.reply().unwrap(), Reply::ok());
            (usual, was_told) = (begun.elapsed(), true);
        } else {
            std::thread::sleep(usual.mul_f64((fresh() % 1300) as f64 / 1000.0));
        }
        node.kill();
        let load = writer.stop();
        let node = Node::start(&site.ready());
        let mut client = node.client();
        must_have(&mut client, &load);
        let is_on = Status::of(&mut client).is_sealing();
        assert!(is_on || !was_told, "round {round}: told yes, found off");
        if is_on {
            on += 1
        } else {
            off += 1
        };
        let reply = client.words(ENABLE);
        if is_on {
            assert!(error_of(reply).contains("encryption is on since index"));
        } else {
            assert_eq!(reply, Reply::ok());
        }
        let after = canary("after");
        assert_eq!(client.words(&format!("SET after {after}")), Reply::ok());
        assert_eq!(scan(&mut client).1.min(1), 1);
        must_have(&mut client, &load);
        assert_eq!(node.stop().code(), Some(0));
        assert!(files(&site.data()).iter().all(|(_, bytes)| !contains(bytes, after.as_bytes())), "round {round}");
    }
    println!("24 kills around ENABLE ({usual:?} long): {on} found it on, {off} off");
}

#[test]
fn kills_at_random_moments_of_rotate_leave_a_node_that_goes_on() {
    let site = Site::new();
    let mut all = BTreeMap::new();
    let (mut keys_before, mut done, mut usual) = (2, 0, Duration::from_millis(5));
    for round in 0..24 {
        let node = Node::start(&site.sealed());
        let mut client = node.client();
        // Taken when the node has its keys, and after everything that the last life left in the log.
        assert_eq!(client.words("SET k v"), Reply::ok());
        let keys = Status::of(&mut client).number("keys_made");
        assert!(keys == keys_before || keys == keys_before + 1, "round {round}: {keys} after {keys_before}");
        done += keys - keys_before;
        let writer = Writer::start(node.client_port, "load");
        std::thread::sleep(Duration::from_millis(20));
        let which = ["ENTRY", "VALUE"][round % 2];
        let begun = Instant::now();
        if round < 2 {
            assert_eq!(client.words(&format!("SEALKV ENCRYPTION ROTATE {which}")), Reply::ok());
            usual = begun.elapsed();
        } else {
            client.send(format!("SEALKV ENCRYPTION ROTATE {which}\r\n").as_bytes()).unwrap();
            std::thread::sleep(usual.mul_f64((fresh() % 1300) as f64 / 1000.0));
        }
        node.kill();
        keys_before = keys;
        all.extend(writer.stop());
    }
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    must_have(&mut client, &all);
    assert_eq!(scan(&mut client).0, 0);
    let last = Status::of(&mut client);
    println!("24 kills around ROTATE ({usual:?} long): {done} rotations took effect, {} writes found again", all.len());
    assert_eq!(last.number("entry_key_id").max(last.number("value_key_id")), last.number("keys_made"));
    assert_eq!(node.stop().code(), Some(0));
}

#[test]
fn rotated_keys_seal_and_older_ones_still_open_after_a_restart() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("SET old 1"), Reply::ok());
    let first = Status::of(&mut client);
    assert_eq!((first.number("entry_key_id"), first.number("value_key_id")), (1, 2));
    assert_eq!(client.words("SEALKV ENCRYPTION ROTATE ENTRY"), Reply::ok());
    assert_eq!(client.words("SEALKV ENCRYPTION ROTATE VALUE"), Reply::ok());
    assert_eq!(client.words("SET new 2"), Reply::ok());
    let check = |client: &mut Client| {
        let status = Status::of(client);
        assert_eq!((status.number("entry_key_id"), status.number("value_key_id")), (3, 4));
        assert!(status.number("entry_key_active_from") < status.number("value_key_active_from"));
        assert_eq!(client.words("GET old"), Reply::bulk("1"));
        assert_eq!(client.words("GET new"), Reply::bulk("2"));
    };
    check(&mut client);
    // Replayed from the log, then from the state.
    node.kill();
    let node = Node::start(&site.sealed());
    check(&mut node.client());
    assert_eq!(node.stop().code(), Some(0));
    let node = Node::start(&site.sealed());
    check(&mut node.client());
    assert!(error_of(node.client().words("SEALKV ENCRYPTION RETIRE 1")).contains("cannot be retired yet"));
}

#[test]
fn status_says_mode_cutover_keys_ages_and_limits() {
    let site = Site::new();
    let node = Node::start(&site.ready());
    let mut client = node.client();
    assert_eq!(client.words("SET k v"), Reply::ok());
    let status = Status::of(&mut client);
    for (name, word) in [
        ("mode", "ready"),
        ("sealing", "no"),
        ("cutover_index", "none"),
        ("clear_rows", "allowed"),
        ("entry_key_id", "1"),
        ("value_key_id", "2"),
        ("opener_term", "none"),
        ("opener_index", "none"),
        ("opener_age", "none"),
        ("keys_made", "2"),
        ("keys_max", "4096"),
        ("missing_key", "none"),
        ("up_to_date", "yes"),
    ] {
        assert_eq!(status.word(name), word, "{name}");
    }
    assert_eq!(status.number("entry_key_age_limit"), 1 << 39);
    assert_eq!(status.number("value_key_age_limit"), 1 << 35);
    assert_eq!(status.number("opener_age_limit"), 1 << 39);
    let age = status.number("applied_index") - status.number("entry_key_active_from");
    assert_eq!((status.number("entry_key_age"), status.number("value_key_age")), (age, age));
    assert_eq!(node.stop().code(), Some(0));

    // The bootstrap was the cutover: no row may be in the clear, ever.
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("SET k v"), Reply::ok());
    let status = Status::of(&mut client);
    assert_eq!((status.word("mode"), status.word("sealing"), status.word("clear_rows")), ("on", "yes", "none"));
    assert_eq!(status.word("cutover_index"), status.word("entry_key_active_from"));
    assert_eq!(status.number("opener_age"), status.number("applied_index") - status.number("opener_index"));
}

#[test]
fn a_ready_directory_started_with_on_takes_no_client_command_before_its_cutover() {
    let site = Site::new();
    let node = Node::start(&site.ready());
    assert_eq!(node.client().words("SET old 1"), Reply::ok());
    let before = Status::of(&mut node.client()).number("applied_index");
    assert_eq!(node.stop().code(), Some(0));
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    let first = canary("first");
    assert_eq!(client.words(&format!("SET new {first}")), Reply::ok(), "the first command of this life");
    let status = Status::of(&mut client);
    assert!(status.number("cutover_index") > before);
    assert_eq!(status.word("clear_rows"), "allowed");
    assert_eq!(scan(&mut client), (1, 1));
    assert_eq!(client.words("GET old"), Reply::bulk("1"));
    assert_eq!(node.stop().code(), Some(0));
    assert!(files(&site.data()).iter().all(|(_, bytes)| !contains(bytes, first.as_bytes())));
    // And one that was never written to: then the bootstrap is behind it already, so the cutover is an entry of its own.
    let site = Site::new();
    assert_eq!(Node::start(&site.ready()).stop().code(), Some(0));
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert!(Status::of(&mut node.client()).is_sealing());
}

#[test]
fn a_node_without_a_kek_refuses_enable_and_says_what_to_do() {
    let site = Site::new();
    let node = Node::start(&site.clear());
    let mut client = node.client();
    assert_eq!(client.words("SET k v"), Reply::ok());
    for line in [ENABLE, "SEALKV ENCRYPTION ROTATE VALUE"] {
        let error = error_of(client.words(line));
        assert!(error.starts_with("ERR ") && error.contains("KEK") && error.contains("kek-file"), "{error}");
    }
    let status = Status::of(&mut client);
    assert_eq!((status.word("mode"), status.word("sealing"), status.word("entry_key_id")), ("off", "no", "none"));
    assert_eq!(scan(&mut client), (1, 0));
    assert_eq!(client.words("GET k"), Reply::bulk("v"));
    assert!(matches!(client.words("SEALKV HELP"), Reply::Array(lines) if lines.len() > 8));
}
