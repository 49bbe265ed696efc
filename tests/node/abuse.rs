//! Hostile clients in numbers: what they make the node hold, and what others notice of it.
//!
//! The numbers of one run are percents of the full ones (`scripts/slow hostile PERCENT`). Every abuse prints the memory of the node
//! before, at its peak and afterwards, and how long small commands of a good client took meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use sealkv::testing::seed::runs;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::limits::memory_bytes;
use crate::operator::http;

/// What clients may hold in these tests.
const CLIENT_MEMORY: u64 = 256 << 20;
/// What else may come during an abuse: threads, tables of rows that are written, RocksDB's blocks, pages not given back.
const SLACK: u64 = 192 << 20;
/// Small commands of a good client under any abuse, on a machine that does nothing else.
const GOOD_P99_MAX: Duration = Duration::from_secs(2);

#[test]
fn hostile_clients_cost_what_is_stated_and_good_ones_go_on() {
    let percent = usize::try_from(runs(2)).unwrap();
    raise_descriptors();
    let mut failed = 0;
    for (name, abuse) in ABUSES {
        let ran = catch_unwind(AssertUnwindSafe(|| run(name, *abuse, percent)));
        failed += usize::from(ran.is_err());
    }
    println!("{} tried, {failed} failed", ABUSES.len());
    assert_eq!(failed, 0);
}

type Abuse = fn(&Node, Share);

/// The part of the full numbers that is tried.
#[derive(Clone, Copy)]
struct Share(usize);

impl Share {
    fn of(self, full: usize) -> usize {
        (full * self.0 / 100).max(2)
    }
}

const ABUSES: &[(&str, Abuse)] = &[
    ("idle connections", idle),
    ("a byte now and then", drips),
    ("askers of 60 MB that never read", deaf),
    ("askers behind a write that never read", deaf_behind_writes),
    ("half-sent bulks of 16 MB", half_sent),
    ("a million pipelined commands", pipelined),
    ("a million pipelined commands whose replies nobody reads", pipelined_unread),
    ("a storm of connections", storm),
    ("64 APPENDs and SETRANGEs of 8 MB values in one entry", rewrites),
];

fn run(name: &str, abuse: Abuse, percent: usize) {
    let site = Site::new();
    let mut args = site.sealed();
    let settings = [
        ("--memory-bytes", "768M"),
        ("--client-memory-bytes", "256M"),
        ("--block-cache-bytes", "32M"),
        ("--maxclients", "20000"),
    ];
    for (flag, value) in settings {
        args.extend([flag.to_owned(), value.to_owned()]);
    }
    let node = Node::start(&args);
    let mut client = node.client();
    let value = vec![b'v'; 8_000_000];
    for number in 0..8 {
        assert_eq!(client.call(&[b"SET", format!("big{number}").as_bytes(), &value]), Reply::ok());
    }
    assert_eq!(client.words("SET small value"), Reply::ok());
    let before = memory_bytes(node.pid(), "VmRSS:");
    let quiet = GoodClient::start(&node, 300).end();
    let good = GoodClient::start(&node, usize::MAX);
    let (began, ticks) = (Instant::now(), Ticks::now(&node));
    abuse(&node, Share(percent));
    let took = began.elapsed();
    let busy = good.end();
    let slowed = Ticks::now(&node).slowed_since(&ticks);
    let after = memory_bytes(node.pid(), "VmRSS:");
    println!(
        "{name}: {took:.1?}; RSS {} MiB before, {} at most, {} after; small commands: {} of them, p99 {:.1?} (quiet {:.1?}), longest {:.1?}, {} refused; others slowed the machine {slowed:.1} times",
        before >> 20,
        busy.peak >> 20,
        after >> 20,
        busy.micros.len(),
        busy.p99(),
        quiet.p99(),
        busy.longest(),
        busy.refused,
    );
    assert!(busy.peak < before + CLIENT_MEMORY + CLIENT_MEMORY / 10 + SLACK, "{name}: {} MiB", busy.peak >> 20);
    assert!(busy.p99() < GOOD_P99_MAX.mul_f64(slowed), "{name}: p99 {:?}, slowed {slowed:.1} times", busy.p99());
    let page = |path| String::from_utf8(http(node.admin_port, path).1).unwrap();
    assert!(page("/readyz").contains("\"ready\":true"), "{name}");
    assert!(page("/metrics").contains("sealkv_client_memory_limit_bytes 268435456"), "{name}");
    assert_eq!(node.client().words("GET small"), Reply::bulk("value"), "{name}");
    assert_eq!(node.stop().code(), Some(0), "{name}");
}

fn many(node: &Node, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let stream = TcpStream::connect(("127.0.0.1", node.client_port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    (0..count).map(connect).collect()
}

/// Sends as much as the socket takes now; how much that was.
fn push(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

fn idle(node: &Node, share: Share) {
    let held = many(node, share.of(10_000));
    std::thread::sleep(Duration::from_secs(2));
    drop(held);
}

/// Each sends the next byte of a command that never ends.
fn drips(node: &Node, share: Share) {
    let held = many(node, share.of(10_000));
    for byte in b"*2\r\n$3\r\n" {
        held.iter().for_each(|stream| _ = push(stream, &[*byte]));
        std::thread::sleep(Duration::from_millis(10 * share.0 as u64));
    }
}

fn deaf(node: &Node, share: Share) {
    let ask = b"MGET big0 big1 big2 big3 big4 big5 big6\r\n".repeat(3);
    let held = many(node, share.of(2000));
    held.iter().for_each(|stream| _ = push(stream, &ask));
    std::thread::sleep(Duration::from_secs(8));
    drop(held);
}

/// The reads ride with a write, so the apply thread answers them.
fn deaf_behind_writes(node: &Node, share: Share) {
    let ask = [&b"SET small value\r\n"[..], &b"GET big0\r\nGET big1\r\nGET big2\r\nGET big3\r\n".repeat(2)].concat();
    let held = many(node, share.of(2000));
    held.iter().for_each(|stream| _ = push(stream, &ask));
    std::thread::sleep(Duration::from_secs(8));
    drop(held);
}

fn half_sent(node: &Node, share: Share) {
    let mut half = b"*3\r\n$3\r\nSET\r\n$1\r\nh\r\n$16000000\r\n".to_vec();
    half.resize(half.len() + 12_000_000, b'h');
    let held = many(node, share.of(200).max(40));
    let mut sent = vec![0; held.len()];
    for _ in 0..80 {
        for (stream, sent) in held.iter().zip(&mut sent) {
            *sent += push(stream, &half[*sent..]);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(held);
}

fn pipelined(node: &Node, share: Share) {
    let count = share.of(1_000_000);
    let mut client = node.client();
    let mut sender = client.clone_stream();
    let sending = std::thread::spawn(move || {
        let some = b"SET small value\r\n".repeat(1000);
        (0..count.div_ceil(1000)).for_each(|_| sender.write_all(&some).unwrap());
    });
    for _ in 0..count.div_ceil(1000) * 1000 {
        assert_eq!(client.reply().unwrap(), Reply::ok());
    }
    sending.join().unwrap();
}

fn pipelined_unread(node: &Node, share: Share) {
    let count = share.of(1_000_000).div_ceil(16);
    let ask = b"GET small\r\n".repeat(count);
    let held = many(node, 16);
    let mut sent = [0; 16];
    for _ in 0..40 {
        for (stream, sent) in held.iter().zip(&mut sent) {
            *sent += push(stream, &ask[*sent..]);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(held);
}

fn storm(node: &Node, share: Share) {
    for _ in 0..share.of(50_000) {
        let mut stream = TcpStream::connect(("127.0.0.1", node.client_port)).unwrap();
        let _ = stream.write(b"PING\r\n");
    }
}

fn rewrites(node: &Node, share: Share) {
    let ranges = (0..32).map(|at| format!("SETRANGE big{} {at} x\r\n", at % 8));
    let pipeline: String = ranges.chain((0..32).map(|at| format!("APPEND big{} x\r\n", at % 8))).collect();
    // Two at once, again and again. Such an entry rewrites 64 MB, which are flushed, so others wait some 0.4 s for it; those of
    // more clients come one after another, and nothing can be said of a small command behind all of them.
    for _ in 0..share.of(20).div_ceil(2) {
        let senders: Vec<JoinHandle<()>> = (0..2)
            .map(|_| {
                let (mut client, pipeline) = (node.client(), pipeline.clone());
                std::thread::spawn(move || {
                    client.send(pipeline.as_bytes()).unwrap();
                    for _ in 0..64 {
                        assert!(matches!(client.reply().unwrap(), Reply::Integer(8_000_000..)));
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }
}

/// One that sends a small command after the other and takes the time of each. It watches the node's memory, too.
struct GoodClient {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Experience>,
}

#[derive(Default)]
struct Experience {
    micros: Vec<u128>,
    refused: u32,
    peak: u64,
}

impl GoodClient {
    fn start(node: &Node, most: usize) -> GoodClient {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, mut client, pid) = (Arc::clone(&is_over), node.client(), node.pid());
        assert_eq!(client.words("GET small"), Reply::bulk("value"));
        let thread = std::thread::spawn(move || {
            let mut lived = Experience::default();
            while lived.micros.len() < most && !over.load(Relaxed) {
                lived.peak = lived.peak.max(memory_bytes(pid, "VmRSS:"));
                let command = if lived.micros.len() % 4 == 0 { "SET small value" } else { "GET small" };
                let began = Instant::now();
                let answer = client.words(command);
                lived.micros.push(began.elapsed().as_micros());
                match answer {
                    Reply::Error(words) => {
                        assert!(words.starts_with("TRYAGAIN"), "{words}");
                        lived.refused += 1;
                    }
                    answer => assert!(answer == Reply::ok() || answer == Reply::bulk("value"), "{answer:?}"),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            lived
        });
        GoodClient { is_over, thread }
    }

    fn end(self) -> Experience {
        // One that has its number ends by itself.
        if !self.thread.is_finished() {
            std::thread::sleep(Duration::from_millis(400));
        }
        self.is_over.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// CPU time in ticks: of the machine, and of the node and this test together.
struct Ticks {
    all: u64,
    own: u64,
}

impl Ticks {
    fn now(node: &Node) -> Ticks {
        let sum = |path: String, places: &[usize]| {
            let text = std::fs::read_to_string(path).unwrap();
            // The second field of a process is its name, which may hold spaces.
            let numbers = text.rsplit_once(')').map_or(text.as_str(), |(_, behind)| behind);
            let fields: Vec<&str> = numbers.lines().next().unwrap().split_whitespace().collect();
            places.iter().map(|place| fields[*place].parse::<u64>().unwrap()).sum::<u64>()
        };
        let of = |process: String| sum(format!("/proc/{process}/stat"), &[11, 12]);
        // User, nice, system, interrupts, and what the host gave to others; idle and waiting are between them.
        let all = sum("/proc/stat".to_owned(), &[1, 2, 3, 6, 7, 8]);
        Ticks { all, own: of(node.pid().to_string()) + of("self".to_owned()) }
    }

    /// How many times longer everything took since, because others had the processors.
    fn slowed_since(&self, before: &Ticks) -> f64 {
        let (all, own) = (self.all - before.all, self.own - before.own);
        (all as f64 / own.max(1) as f64).max(1.0)
    }
}

impl Experience {
    fn p99(&self) -> Duration {
        let mut micros = self.micros.clone();
        micros.sort_unstable();
        Duration::from_micros(micros[micros.len() * 99 / 100].try_into().unwrap())
    }

    fn longest(&self) -> Duration {
        Duration::from_micros((*self.micros.iter().max().unwrap()).try_into().unwrap())
    }
}

fn raise_descriptors() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
}
