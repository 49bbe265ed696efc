//! BOUNDED: the memory of a node does not follow the amount of its data.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use sealkv::testing::seed::runs;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::refused_start;
use crate::limits::incompressible;
use crate::limits::memory_bytes;
use crate::operator::metrics;

/// The least that the setting takes.
const LEAST: u64 = 416 << 20;
/// MiB of values: many times the 64 MiB that tables may take. `SEALKV_RUNS` says how many.
const CI_MIB: u64 = 192;
/// As many as the least that clients may hold lets in at once.
const VALUE_BYTES: usize = 4 << 10;
const PIPELINE: u64 = 64;
/// `scripts/slow rss` says how many.
const CI_ROUNDS: u64 = 6;
/// After so many nothing grows any more: the cache of blocks is full, each thread has what it keeps. And as many are looked at in
/// the end.
const ROUNDS_LOOKED_AT: usize = 3;
/// Half of a table: the allocator gives pages back a moment after they are free. Twenty rounds show what grows by a MiB in each.
const GIVEN_BACK_LATER: u64 = 16 << 20;
/// 16 MiB of them in each round: the tables are frozen more than once.
const ROUND_VALUES: u64 = 4_000;

/// Goal: values of several times the bound of the tables, then as many small keys, then all of it read back: neither what the
/// node counts nor what the kernel counts goes beyond the setting. The same at the start behind a kill, with a log to replay.
#[test]
fn more_data_than_memory_does_not_move_the_memory() {
    let site = Site::new();
    let args = with_memory(&site, "416M");
    let node = Node::start(&args);
    let values = runs(CI_MIB) * 256;
    let watched = Watched::begin(&node);
    write(&mut node.client(), "value", values, VALUE_BYTES);
    write(&mut node.client(), "small", values, 16);
    read(&mut node.client(), "value", values);
    let (held, counted) = watched.end(&node);
    println!("{values} values and as many small keys: {} MiB at most, {} counted", held >> 20, counted >> 20);
    assert!(counted > 24 << 20 && counted < LEAST, "{counted} bytes are counted");
    assert!(held < LEAST + LEAST / 10, "{held} bytes are held");
    node.kill();
    let node = Node::start(&args);
    let held = memory_bytes(node.pid(), "VmHWM:");
    println!("{} MiB at most at the start behind a kill", held >> 20);
    assert!(held < LEAST + LEAST / 10, "{held} bytes are held at a start");
    let mut client = node.client();
    assert_eq!(client.words(&format!("STRLEN value{}", values - 1)), Reply::Integer(VALUE_BYTES as i64));
    assert_eq!(node.stop().code(), Some(0));
    println!("{values} tried, 0 failed");
}

/// Goal: a load that comes again and again holds no more memory than the first times. Each round writes, reads, changes, lets
/// expire, flushes and removes everything; clients come and go.
#[test]
fn the_same_load_again_and_again_holds_no_more_memory() {
    let rounds = runs(CI_ROUNDS);
    let site = Site::new();
    let args = with_memory(&site, "416M");
    let node = Node::start(&args);
    let held: Vec<u64> = (0..rounds).map(|_| held_after_a_round(&node)).collect();
    println!("MiB after each round: {:?}", held.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>());
    // Each number is that of a moment, at which more or less is about to be given back.
    let settled = held.iter().take(ROUNDS_LOOKED_AT).max().unwrap();
    let mut newest = held[held.len() - ROUNDS_LOOKED_AT..].to_vec();
    newest.sort_unstable();
    let last = newest[ROUNDS_LOOKED_AT / 2];
    let allowed = settled + settled / 10 + GIVEN_BACK_LATER;
    assert!(last <= allowed, "{last} bytes after {rounds} rounds, {settled} after {ROUNDS_LOOKED_AT}");
    assert_eq!(node.stop().code(), Some(0));
    println!("{rounds} tried, 0 failed");
}

/// What the kernel counts once everything of a round is removed and given back.
fn held_after_a_round(node: &Node) -> u64 {
    let mut client = node.client();
    write(&mut client, "value", ROUND_VALUES, VALUE_BYTES);
    read(&mut client, "value", ROUND_VALUES);
    write(&mut client, "small", 4 * ROUND_VALUES, 16);
    assert_eq!(client.words("SAVE"), Reply::ok());
    read(&mut client, "value", ROUND_VALUES);
    for number in 0..ROUND_VALUES / 4 {
        let mut other = node.client();
        assert_eq!(other.words(&format!("APPEND small{number} more")), Reply::Integer(20));
        assert_eq!(other.words(&format!("PEXPIRE value{number} 1")), Reply::Integer(1));
        assert_eq!(other.words(&format!("DEL small{}", ROUND_VALUES + number)), Reply::Integer(1));
    }
    assert_eq!(client.words("SAVE"), Reply::ok());
    assert_eq!(client.words("FLUSHALL"), Reply::ok());
    assert_eq!(client.words("SAVE"), Reply::ok());
    wait_until_quiet(|| {
        let metrics = metrics(node.admin_port);
        let dropping = metric(&metrics, "sealkv_memory_bytes{part=\"dropping\"}");
        (dropping > 0).then(|| format!("what was removed is not given back:\n{metrics}"))
    });
    memory_bytes(node.pid(), "VmRSS:")
}

#[test]
fn less_than_the_parts_need_is_78_with_the_least_that_would_do() {
    let site = Site::new();
    for (more, words) in [
        (vec!["--memory-bytes", "64M"], "memory-bytes is 64M, expected at least 416M"),
        (vec!["--memory-bytes", "512M", "--client-memory-bytes", "512M"], "at least 736M"),
        (vec!["--memory-bytes", "512M", "--block-cache-bytes", "256M"], "the cache of blocks 256M"),
        (vec!["--memory-bytes", "much"], "expected bytes"),
    ] {
        let args: Vec<String> = site.sealed().into_iter().chain(more.into_iter().map(str::to_owned)).collect();
        let refusal = refused_start(&args);
        assert_eq!(refusal.status, 78, "{}", refusal.output);
        assert!(refusal.output.contains(words), "{}", refusal.output);
        assert!(!site.data().exists());
    }
}

#[test]
fn what_each_part_holds_is_in_info_and_in_the_metrics() {
    let site = Site::new();
    let args = with_memory(&site, "1G");
    let node = Node::start(&args);
    let mut client = node.client();
    write(&mut client, "value", 1000, VALUE_BYTES);
    let info = match client.words("INFO memory") {
        Reply::Bulk(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    };
    let number = |name: &str| -> u64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name} in {info}")).trim().parse().unwrap()
    };
    let parts = ["table", "frozen_table", "kept_rows", "dropping", "cache", "rocksdb", "clients", "entries"];
    let sum: u64 = parts.iter().map(|part| number(&format!("memory_{part}_bytes"))).sum();
    assert_eq!(number("memory_counted_bytes"), sum);
    assert_eq!(number("memory_limit_bytes"), 1 << 30);
    assert_eq!(number("maxmemory"), 0, "the data has no limit");
    assert!(number("memory_table_bytes") > 1000 * VALUE_BYTES as u64, "{info}");
    assert!(number("memory_clients_bytes") > 0 && number("memory_cache_bytes") > 0, "{info}");
    let metrics = metrics(node.admin_port);
    let shares = ["fixed", "tables", "kept", "cache", "clients", "entries"];
    let share = |part| metric(&metrics, &format!("sealkv_memory_part_limit_bytes{{part=\"{part}\"}}"));
    assert_eq!(shares.into_iter().map(share).sum::<u64>(), 1 << 30);
    assert_eq!(metric(&metrics, "sealkv_memory_limit_bytes"), 1 << 30);
    let of_part = |part| metric(&metrics, &format!("sealkv_memory_bytes{{part=\"{part}\"}}"));
    let sum: u64 =
        ["table", "frozen", "kept", "dropping", "cache", "rocksdb", "clients", "entries"].map(of_part).iter().sum();
    assert_eq!(metric(&metrics, "sealkv_memory_counted_bytes"), sum);
    assert_eq!(node.stop().code(), Some(0));
}

/// Goal: a node that was started anew reads a row from the disk once, and holds no more of them than their part.
#[test]
fn what_a_node_has_read_since_its_start_it_reads_from_memory() {
    let site = Site::new();
    let args = with_memory(&site, "2G");
    let node = Node::start(&args);
    write(&mut node.client(), "value", 1000, VALUE_BYTES);
    assert_eq!(node.stop().code(), Some(0));
    let node = Node::start(&args);
    let kept = || metric(&metrics(node.admin_port), "sealkv_memory_bytes{part=\"kept\"}");
    assert_eq!(kept(), 0, "nothing was read yet");
    read(&mut node.client(), "value", 500);
    let once = kept();
    assert!(once > 500 * VALUE_BYTES as u64, "{once}");
    read(&mut node.client(), "value", 500);
    assert_eq!(kept(), once);
    assert_eq!(node.client().words("FLUSHALL"), Reply::ok());
    // It is answered before its run is merged.
    wait_until_quiet(|| (kept() > 0).then(|| format!("{} bytes are kept", kept())));
    assert_eq!(node.client().words("GET value1"), Reply::Null);
    assert_eq!(node.stop().code(), Some(0));
}

/// Goal: what a FLUSHALL drops goes back to the machine, also where nobody asks anything of the node any more.
#[test]
fn an_idle_node_gives_back_what_it_has_dropped() {
    let site = Site::new();
    let args = with_memory(&site, "2G");
    let node = Node::start(&args);
    let before = memory_bytes(node.pid(), "VmRSS:");
    write(&mut node.client(), "value", 64_000, VALUE_BYTES);
    let full = memory_bytes(node.pid(), "VmRSS:");
    assert!(full > before + 60_000 * VALUE_BYTES as u64, "{full} bytes are held");
    assert_eq!(node.client().words("FLUSHALL"), Reply::ok());
    wait_until_quiet(|| {
        let held = memory_bytes(node.pid(), "VmRSS:");
        let is_held = held >= before + (full - before) / 3;
        is_held.then(|| format!("{held} bytes are held, {full} at most, {before} before"))
    });
    assert_eq!(node.stop().code(), Some(0));
}

fn with_memory(site: &Site, memory: &str) -> Vec<String> {
    let mut args = site.sealed();
    args.extend(["--memory-bytes", memory].map(str::to_owned));
    args
}

/// Waits until there is nothing to complain of any more, half a minute at most.
fn wait_until_quiet(mut complaint: impl FnMut() -> Option<String>) {
    let began = Instant::now();
    while let Some(complaint) = complaint() {
        assert!(began.elapsed() < Duration::from_secs(30), "{complaint}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Looks at a node's numbers all the time.
struct Watched {
    is_over: Arc<AtomicBool>,
    counted: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Watched {
    fn begin(node: &Node) -> Watched {
        let (is_over, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, most, port) = (Arc::clone(&is_over), Arc::clone(&counted), node.admin_port);
        let thread = std::thread::spawn(move || {
            while !over.load(Relaxed) {
                let metrics = metrics(port);
                most.fetch_max(metric(&metrics, "sealkv_memory_counted_bytes"), Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Watched { is_over, counted, thread }
    }

    /// The most that the kernel counted, and that the node did.
    fn end(self, node: &Node) -> (u64, u64) {
        self.is_over.store(true, Relaxed);
        self.thread.join().unwrap();
        (memory_bytes(node.pid(), "VmHWM:"), self.counted.load(Relaxed))
    }
}

fn metric(metrics: &str, name: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse::<f64>().unwrap() as u64
}

/// So many values of random bytes.
pub fn write(client: &mut Client, name: &str, count: u64, bytes: usize) {
    for first in (0..count).step_by(PIPELINE as usize) {
        let numbers = first..count.min(first + PIPELINE);
        let mut pipeline = Vec::new();
        for number in numbers.clone() {
            let value = incompressible(number as u32, bytes);
            pipeline.extend(encode(&[b"SET", format!("{name}{number}").as_bytes(), &value]));
        }
        client.send(&pipeline).unwrap();
        for _ in numbers {
            assert_eq!(client.reply().unwrap(), Reply::ok());
        }
    }
}

fn read(client: &mut Client, name: &str, count: u64) {
    for first in (0..count).step_by(PIPELINE as usize) {
        let numbers = first..count.min(first + PIPELINE);
        let keys: Vec<String> = numbers.clone().map(|number| format!("{name}{number}")).collect();
        let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(String::as_bytes)).collect();
        let Reply::Array(values) = client.call(&words) else { panic!("MGET answers an array") };
        for (number, value) in numbers.zip(values) {
            assert!(value == Reply::Bulk(incompressible(number as u32, VALUE_BYTES)), "{name}{number}");
        }
    }
}
