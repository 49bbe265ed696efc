//! ACK-DURABLE: what a client was told survives SIGKILL under load and every restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;

/// Times a node is killed, for each engine.
const KILLS: u32 = 50;
pub const CONNECTIONS: usize = 8;
const PIPELINE: u64 = 16;

/// What one connection knows when its node is gone.
pub struct Ledger {
    pub connection: usize,
    /// Sequence numbers up to this one were acknowledged.
    pub acknowledged: u64,
    /// Sequence numbers up to this one were sent.
    sent: u64,
}

/// Goal: count acknowledged writes against found ones over many kills. Each connection writes its sequence under a new
/// key and increments its counter, pipelined; after the kill both must cover what was acknowledged and not exceed
/// what was sent (exactly once).
fn kills_lose_nothing_acknowledged(engine: &str) {
    let site = Site::new();
    let mut args = site.sealed();
    args.extend(["--log-engine".to_owned(), engine.to_owned()]);
    let mut totals: HashMap<usize, u64> = HashMap::new();
    let mut acknowledged_in_all = 0;
    let mut node = Node::start(&args);
    for kill in 0..KILLS {
        let load = Load::start(node.client_port, CONNECTIONS, &totals);
        std::thread::sleep(Duration::from_millis(60 + u64::from(kill * 37 % 140)));
        node.kill();
        let ledgers = load.ledgers();
        node = Node::start(&args);
        let mut client = node.client();
        for ledger in ledgers {
            let found = verify(&mut client, &ledger, totals.get(&ledger.connection).copied().unwrap_or(0), kill);
            acknowledged_in_all +=
                ledger.acknowledged.saturating_sub(totals.insert(ledger.connection, found).unwrap_or(0));
        }
    }
    println!("{engine}: {KILLS} kills, {acknowledged_in_all} acknowledged, 0 lost");
    assert!(acknowledged_in_all > u64::from(KILLS) * 100, "vacuous: only {acknowledged_in_all} writes acknowledged");
}

/// Connections that write at the same time.
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Ledger>>,
}

impl Load {
    /// Each goes on behind what `totals` has for it.
    pub fn start(port: u16, connections: usize, totals: &HashMap<usize, u64>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = (0..connections).map(|connection| {
            let (stop, from) = (Arc::clone(&stop), totals.get(&connection).copied().unwrap_or(0));
            std::thread::spawn(move || load(port, connection, from, &stop))
        });
        Load { workers: workers.collect(), stop }
    }

    /// They begin nothing more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops, and says what each knows.
    pub fn ledgers(self) -> Vec<Ledger> {
        self.stop();
        self.workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    }
}

/// Writes until it is stopped or the node is gone. A node whose disk fails may still say what it has not executed.
fn load(port: u16, connection: usize, from: u64, stop: &AtomicBool) -> Ledger {
    let mut ledger = Ledger { connection, acknowledged: from, sent: from };
    let Ok(mut client) = Client::try_connect(port) else { return ledger };
    while !stop.load(Ordering::Relaxed) {
        let mut pipeline = Vec::new();
        for sequence in ledger.sent + 1..=ledger.sent + PIPELINE {
            let key = format!("c{connection}:{sequence}");
            pipeline.extend(encode(&[b"SET", key.as_bytes(), sequence.to_string().as_bytes()]));
            pipeline.extend(encode(&[b"INCR", format!("counter:{connection}").as_bytes()]));
        }
        ledger.sent += PIPELINE;
        if client.send(&pipeline).is_err() {
            return ledger;
        }
        for sequence in ledger.acknowledged + 1..=ledger.sent {
            let (Ok(set), Ok(counted)) = (client.reply(), client.reply()) else {
                return ledger;
            };
            let is_refused = |reply: &Reply| matches!(reply, Reply::Error(words) if words.starts_with("TRYAGAIN"));
            if is_refused(&set) || is_refused(&counted) {
                return ledger;
            }
            assert_eq!(set, Reply::ok());
            assert_eq!(counted, Reply::Integer(i64::try_from(sequence).unwrap()), "each increment runs exactly once");
            ledger.acknowledged = sequence;
        }
    }
    ledger
}

/// The number of writes that are there, after checking that they are a prefix that covers the acknowledged ones.
pub fn verify(client: &mut Client, ledger: &Ledger, from: u64, kill: u32) -> u64 {
    let name = ledger.connection;
    let counter = match client.call(&[b"GET", format!("counter:{name}").as_bytes()]) {
        Reply::Bulk(digits) => String::from_utf8(digits).unwrap().parse::<u64>().unwrap(),
        Reply::Null => 0,
        other => panic!("GET counter answered {other:?}"),
    };
    assert!(counter >= ledger.acknowledged, "kill {kill}: {} acknowledged, only {counter} found", ledger.acknowledged);
    assert!(counter <= ledger.sent, "kill {kill}: {} sent, {counter} found", ledger.sent);
    let sequences: Vec<u64> = (from + 1..=counter).collect();
    for chunk in sequences.chunks(256) {
        let keys: Vec<String> = chunk.iter().map(|sequence| format!("c{name}:{sequence}")).collect();
        let mut args: Vec<&[u8]> = vec![b"MGET"];
        args.extend(keys.iter().map(String::as_bytes));
        let expected = chunk.iter().map(|sequence| Reply::bulk(sequence.to_string())).collect();
        assert_eq!(client.call(&args), Reply::Array(expected), "kill {kill}");
    }
    counter
}

#[test]
fn fifty_kills_under_pipelined_load_lose_nothing_acknowledged_with_io_uring() {
    kills_lose_nothing_acknowledged("uring");
}

#[test]
fn fifty_kills_under_pipelined_load_lose_nothing_acknowledged_with_plain_system_calls() {
    kills_lose_nothing_acknowledged("plain");
}

#[test]
fn a_restart_keeps_everything_and_sigterm_ends_with_zero() {
    for sealed in [true, false] {
        let site = Site::new();
        let args = if sealed { site.sealed() } else { site.clear() };
        let node = Node::start(&args);
        let mut client = node.client();
        assert_eq!(client.words("SET kept value"), Reply::ok());
        assert_eq!(client.words("SET brief value PX 1"), Reply::ok());
        assert_eq!(client.words("SET gone value"), Reply::ok());
        assert_eq!(client.words("DEL gone"), Reply::Integer(1));
        assert_eq!(node.stop().code(), Some(0));
        let node = Node::start(&args);
        let mut client = node.client();
        assert_eq!(client.words("GET kept"), Reply::bulk("value"));
        assert_eq!(client.words("GET brief"), Reply::Null, "an expired key does not come back");
        assert_eq!(client.words("GET gone"), Reply::Null);
        assert_eq!(node.stop().code(), Some(0));
    }
}

#[test]
fn both_engines_open_each_others_log() {
    let site = Site::new();
    for (round, engine) in ["uring", "plain", "uring", "plain"].into_iter().enumerate() {
        let mut args = site.sealed();
        args.extend(["--log-engine".to_owned(), engine.to_owned()]);
        let node = Node::start(&args);
        let mut client = node.client();
        assert_eq!(client.words("INCR rounds"), Reply::Integer(i64::try_from(round).unwrap() + 1));
        node.kill();
    }
}
