//! What an operator meets at three in the morning, on the real binary: each trouble has its status and its words, and ends as soon
//! as its cause does.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::failing_disk::FailingDisk;
use crate::failing_disk::Fault;
use crate::failing_disk::Kind;
use crate::failing_disk::Plan;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::refused_start;
use crate::harness::refused_within;
use crate::harness::sealkv;
use crate::limits::SmallDisk;
use crate::limits::fill;
use crate::limits::incompressible;
use crate::operator::CONFIG;
use crate::operator::DAMAGE;
use crate::operator::http;

/// W7: the disk of the state hangs, that of the log does not. Within seconds the node is not ready, and says why; it ends with 74.
#[test]
fn a_state_whose_disk_hangs_makes_the_node_not_ready_and_then_ends_it() {
    let site = Site::new();
    let Some(disk) = SmallDisk::mount(&site.path().join("disk"), 260) else { return };
    let data = disk.path.join("data");
    let args = site.sealed_in(&data);
    assert_eq!(Node::start(&args).stop().code(), Some(0));
    let Some(_log) = Elsewhere::move_out(&data.join("log"), &site.path().join("log")) else { return };
    let mut node = Node::start(&args);
    let mut client = node.client();
    assert_eq!(client.words("SET k v"), Reply::ok());
    let Some(frozen) = Frozen::begin(&disk.path) else { return };
    // The probe is sent while clients ask something.
    let began = Instant::now();
    let not_ready = loop {
        assert!(began.elapsed() < Duration::from_secs(9), "it is ready still:\n{}", node.log());
        assert_eq!(client.words("SET k v"), Reply::ok(), "the log goes on");
        let (head, body) = http(node.admin_port, "/readyz");
        if head.starts_with("HTTP/1.1 503") {
            break String::from_utf8(body).unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    println!("not ready {:.1?} after the disk hung: {not_ready}", began.elapsed());
    assert!(not_ready.contains("disk") && not_ready.contains("state"), "{not_ready}");
    assert!(http(node.admin_port, "/livez").0.starts_with("HTTP/1.1 200"));
    let limit = Instant::now() + Duration::from_secs(20);
    while !node.log().contains("has not answered for 10 s") {
        assert!(Instant::now() < limit, "it hangs for ever:\n{}", node.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    // A process with a request in a frozen file system is gone only when that is thawed.
    drop(frozen);
    assert_eq!(node.wait(Duration::from_secs(30)).code(), Some(DAMAGE), "{}", node.log());
    let node = Node::start(&args);
    assert_eq!(node.client().words("GET k"), Reply::bulk("v"));
    assert_eq!(node.stop().code(), Some(0));
}

/// A9: whatever of the directory the disk fails at, it is the disk that failed, and no setting.
#[test]
fn a_disk_that_fails_at_the_directory_or_its_lock_is_74() {
    let site = Site::new();
    let Some(disk) = FailingDisk::mount(site.path()) else { return };
    let mut failed = 0;
    for nth in 0..4 {
        let data = disk.path.join(format!("data{nth}"));
        disk.plan(Plan { kind: Kind::Directory, nth, fault: Fault::Error(EIO) });
        let refusal = refused_start(&site.sealed_in(&data));
        failed += u32::from(disk.failed_at().is_some());
        assert_eq!(refusal.status, DAMAGE, "request {nth}: {}", refusal.output);
        assert!(refusal.output.contains("Input/output error"), "request {nth}: {}", refusal.output);
        assert!(refusal.output.contains("the disk fails"), "request {nth}: {}", refusal.output);
    }
    assert_eq!(failed, 4);
}

/// A9: the trial of a forced engine meets a disk that takes seconds for a block. That is no setting; with `auto` the node serves.
#[test]
fn a_disk_too_slow_for_the_forced_engine_is_74_and_none_for_the_automatic_choice() {
    let site = Site::new();
    let Some(disk) = FailingDisk::mount(site.path()) else { return };
    let args = |engine: &str| {
        let mut args = site.sealed_in(&disk.path.join("data"));
        args.extend(["--log-engine", engine].map(str::to_owned));
        args
    };
    assert_eq!(Node::start(&args("auto")).stop().code(), Some(0));
    // The block of the trial is written into a nameless slot that is being made, then synced.
    let slow = Plan { kind: Kind::Growth, nth: 1, fault: Fault::Slow(Duration::from_secs(7)) };
    disk.plan(slow);
    let mut command = sealkv();
    command.args(args("uring"));
    let began = Instant::now();
    let refusal = refused_within(command, Duration::from_secs(20));
    if !refusal.output.contains("writing and syncing a block") {
        println!("SKIPPED: no io_uring here: {}", refusal.output);
        return;
    }
    println!("refused after {:.1?}: {}", began.elapsed(), refusal.output.lines().last().unwrap_or_default());
    assert!(disk.failed_at().is_some());
    assert_eq!(refusal.status, DAMAGE, "{}", refusal.output);
    assert!(refusal.output.contains("timed out") && refusal.output.contains("--log-engine auto"), "{}", refusal.output);
    disk.plan(slow);
    let node = Node::start(&args("auto"));
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
}

/// A10: a key in another form than raw bytes is told from no key at all.
#[test]
fn a_kek_that_is_written_as_text_is_refused_with_what_it_is_and_how_it_becomes_one() {
    let site = Site::new();
    assert_eq!(Node::start(&site.sealed()).stop().code(), Some(0));
    let key = [0x5a; 32];
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=";
    let newline = [&key[..], b"\n"].concat();
    let cases: [(Vec<u8>, &str); 5] = [
        (hex.clone().into_bytes(), "64 hexadecimal digits (`xxd -r -p`"),
        (format!("{hex}\n").into_bytes(), "64 hexadecimal digits"),
        (base64.into(), "44 characters of base64 (`base64 -d`"),
        (format!("{base64}\n").into_bytes(), "44 characters of base64"),
        (newline, "32 bytes and a newline"),
    ];
    for (bytes, words) in cases {
        fs::write(site.kek(), &bytes).unwrap();
        let refusal = refused_start(&site.sealed());
        assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
        assert!(refusal.output.contains(words) && refusal.output.contains("32 raw bytes"), "{}", refusal.output);
    }
    fs::write(site.kek(), key).unwrap();
    assert_eq!(Node::start(&site.sealed()).stop().code(), Some(0));
}

/// A18: what is of another kind than it should be is named, with what it is and what was expected.
#[test]
fn a_part_of_another_kind_is_named_with_what_it_is() {
    let site = Site::new();
    assert_eq!(Node::start(&site.sealed()).stop().code(), Some(0));
    let aside = site.path().join("aside");
    let fifo = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let link = |path: &Path| std::os::unix::fs::symlink("/dev/null", path).unwrap();
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    type Make<'a> = &'a dyn Fn(&Path);
    let kinds: [(&str, Make<'_>); 3] = [("pipe", &fifo), ("link", &link), ("directory", &directory)];
    for part in ["LOCK", "IDENTITY", "log/slot-0001.wal"] {
        let path = site.data().join(part);
        for (kind, make) in kinds {
            fs::rename(&path, &aside).unwrap();
            make(&path);
            let refusal = refused_start(&site.sealed());
            let remove = if kind == "directory" { fs::remove_dir } else { fs::remove_file };
            remove(&path).unwrap();
            fs::rename(&aside, &path).unwrap();
            assert!([CONFIG, DAMAGE].contains(&refusal.status), "{part}, a {kind}: {}", refusal.output);
            let name = part.rsplit('/').next().unwrap();
            assert!(refusal.output.contains(name), "{part}, a {kind}: {}", refusal.output);
            assert!(!refusal.output.contains("invalid input parameter"), "{part}, a {kind}: {}", refusal.output);
        }
    }
    let identity = site.data().join("IDENTITY");
    let good = fs::read(&identity).unwrap();
    fs::write(&identity, [&good[..], b"x"].concat()).unwrap();
    let refusal = refused_start(&site.sealed());
    assert!(refusal.status == DAMAGE && !refusal.output.contains("1 bytes"), "{}", refusal.output);
    fs::write(&identity, good).unwrap();
    assert_eq!(Node::start(&site.sealed()).stop().code(), Some(0));
}

/// A18: registered files hold their file system a moment longer than their process lives, and no more than a moment.
#[test]
fn the_disk_of_a_node_that_ended_can_be_unmounted_at_once() {
    let site = Site::new();
    for engine in ["uring", "plain"] {
        let Some(disk) = SmallDisk::mount(&site.path().join(engine), 260) else { return };
        let mut args = site.sealed_in(&disk.path.join("data"));
        args.extend(["--log-engine", if engine == "plain" { "plain" } else { "auto" }].map(str::to_owned));
        let node = Node::start(&args);
        assert_eq!(node.client().words("SET k v"), Reply::ok());
        assert_eq!(node.stop().code(), Some(0));
        let began = Instant::now();
        while !disk.unmount() {
            assert!(
                began.elapsed() < UNMOUNTED_WITHIN,
                "{engine}: its file system is busy {:?} later",
                began.elapsed()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("{engine}: unmounted {:.1?} after the end", began.elapsed());
    }
}

/// Goal: on a disk that is really full FLUSHALL is taken, gives space back, and everything goes on, with no start in between.
/// Both where memory is full first, and where the log is.
#[test]
fn flushall_on_a_full_disk_is_taken_and_makes_space() {
    for (memory, left) in [("416M", 0), ("2G", 256 << 10)] {
        let site = Site::new();
        let Some(disk) = SmallDisk::mount(&site.path().join("disk"), 420) else { return };
        let (data, ballast) = (disk.path.join("data"), disk.path.join("ballast"));
        let mut args = site.sealed_in(&data);
        args.extend(["--memory-bytes", memory].map(str::to_owned));
        let node = Node::start(&args);
        let mut client = node.client();
        for round in 0..9 {
            write(&mut client, round, 160);
            assert_eq!(client.words("SAVE"), Reply::ok());
        }
        settled(&data.join("state"));
        let before = bytes_of(&data.join("state"));
        assert!(before > 64 << 20, "{before} bytes of state");
        fill(&ballast);
        let filled = fs::metadata(&ballast).unwrap().len();
        fs::File::options().write(true).open(&ballast).unwrap().set_len(filled - left).unwrap();
        let mut round = 100;
        let refusal = loop {
            match try_write(&mut client, round) {
                Ok(()) => round += 1,
                Err(words) => break words,
            }
            assert!(round < 10_000, "a full disk takes everything");
        };
        println!("{memory}: {} values more, then {refusal}", round - 100);
        assert!(refusal.starts_with("TRYAGAIN"), "{refusal}");
        assert!(matches!(client.words("STRLEN k0-0"), Reply::Integer(65_536)), "reads go on");
        let (began, full) = (Instant::now(), bytes_of(&data.join("state")));
        assert_eq!(client.words("FLUSHALL"), Reply::ok(), "{memory}:\n{}", node.log());
        // The ballast stays: what was given back has to do. The newest files go only when they are merged.
        while client.words("SET after v") != Reply::ok() || bytes_of(&data.join("state")) + (8 << 20) > full {
            assert!(began.elapsed() < Duration::from_secs(60), "{memory}: no space came back:\n{}", node.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        println!(
            "{memory}: {:.1?} after FLUSHALL the state has {} MiB of {}",
            began.elapsed(),
            bytes_of(&data.join("state")) >> 20,
            full >> 20
        );
        assert_eq!(client.words("DBSIZE"), Reply::Integer(1));
        for more in 0..4 {
            write(&mut client, more, 20);
        }
        assert_eq!(client.words("SAVE"), Reply::ok(), "{}", node.log());
        assert_eq!(node.stop().code(), Some(0));
        let node = Node::start(&args);
        assert_eq!(node.client().words("GET after"), Reply::bulk("v"));
        assert_eq!(node.client().words("DBSIZE"), Reply::Integer(81));
        assert_eq!(node.stop().code(), Some(0));
    }
}

/// A walk for an operator ends with its client, and others do not wait for it.
#[test]
fn a_digest_that_nobody_waits_for_ends_and_holds_up_nobody() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    crate::memory::write(&mut client, "k", 8_000, 100);
    assert_eq!(client.words("SAVE"), Reply::ok());
    let read = |client: &mut Client| {
        let began = Instant::now();
        assert!(matches!(client.words("KEYS k7-19?"), Reply::Array(_)));
        assert!(matches!(client.words("DBSIZE"), Reply::Integer(8_000)));
        began.elapsed()
    };
    let quiet = read(&mut client);
    for _ in 0..16 {
        let mut gone = node.client();
        gone.send(b"SEALKV DIGEST\r\n").unwrap();
    }
    let busy = read(&mut client);
    let Reply::Array(digest) = client.words("SEALKV DIGEST") else { panic!("a digest for a client that stays") };
    assert_eq!(digest.len(), 4);
    println!("KEYS and DBSIZE took {busy:.1?} beside digests, {quiet:.1?} without");
    assert!(busy < 4 * quiet + Duration::from_secs(2), "{busy:?} and {quiet:?}");
    assert_eq!(node.stop().code(), Some(0));
}

/// A17: a log that is larger than what a start may hold is read as it is applied, and how far that is can be asked at once.
#[test]
fn a_start_with_more_log_than_memory_holds_no_more_than_it_may_and_says_how_far_it_is() {
    let site = Site::new();
    let mut args = site.sealed();
    let (port, clients) = (crate::harness::free_port(), crate::harness::free_port());
    for (flag, value) in [
        ("--log-slots", "70".to_owned()),
        ("--memory-bytes", "416M".to_owned()),
        ("--listen", format!("127.0.0.1:{clients}")),
        ("--admin-listen", format!("127.0.0.1:{port}")),
    ] {
        match args.iter().position(|arg| arg == flag) {
            Some(at) => args[at + 1] = value,
            None => args.extend([flag.to_owned(), value]),
        }
    }
    let node = Node::start(&args);
    let mut client = node.client();
    // The same keys again and again: the table stays small, so that nothing is flushed before a quarter of the pool is written.
    let mut live = 0_u64;
    for round in 0.. {
        write(&mut client, 0, 100);
        live += 100 * 65_536;
        if live > LIVE_LOG {
            println!("{} MiB of log in {} rounds", live >> 20, round + 1);
            break;
        }
    }
    node.kill();
    let began = Instant::now();
    let mut command = sealkv();
    let mut child = command.args(&args).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut said: Vec<(Duration, String)> = Vec::new();
    loop {
        assert!(began.elapsed() < Duration::from_secs(120), "{said:?}");
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        let (head, body) = http(port, "/readyz");
        if head.starts_with("HTTP/1.1 200") {
            break;
        }
        said.push((began.elapsed(), String::from_utf8(body).unwrap()));
        std::thread::sleep(Duration::from_millis(5));
    }
    let held = crate::limits::memory_bytes(i32::try_from(child.id()).unwrap(), "VmHWM:");
    println!("{:.1?} and {} MiB for {} MiB of log", began.elapsed(), held >> 20, live >> 20);
    let first = said.iter().find(|(_, body)| body.contains("the log"));
    assert!(first.is_some_and(|(at, _)| *at < Duration::from_secs(1)), "{said:?}");
    for work in ["reading the log: ", "replaying the log: "] {
        assert!(said.iter().any(|(_, body)| body.contains(work)), "{work}: {said:?}");
    }
    assert!(held < (416 << 20) / 10 * 11, "{} MiB", held >> 20);
    let mut client = Client::connect(clients);
    assert_eq!(client.words("STRLEN k0-99"), Reply::Integer(65_536));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// More than all the memory, of which a start holds 180 MiB of the log, and less than a quarter of the pool.
const LIVE_LOG: u64 = 440 << 20;
const EIO: i32 = 5;
/// The kernel takes a ring apart behind the end of its process: 50 ms on a quiet machine.
const UNMOUNTED_WITHIN: Duration = Duration::from_secs(2);
const PIPELINE: usize = 20;

/// `count` values of 64 KiB.
fn write(client: &mut Client, round: usize, count: usize) {
    for first in (0..count).step_by(PIPELINE) {
        let numbers = first..count.min(first + PIPELINE);
        let mut pipeline = Vec::new();
        for number in numbers.clone() {
            let value = incompressible((round * 1000 + number) as u32, 65_536);
            pipeline.extend(encode(&[b"SET", format!("k{round}-{number}").as_bytes(), &value]));
        }
        client.send(&pipeline).unwrap();
        for _ in numbers {
            assert_eq!(client.reply().unwrap(), Reply::ok());
        }
    }
}

fn try_write(client: &mut Client, round: usize) -> Result<(), String> {
    let value = incompressible(round as u32, 65_536);
    match client.call(&[b"SET", format!("more{round}").as_bytes(), &value]) {
        Reply::Simple(_) => Ok(()),
        Reply::Error(words) => Err(words),
        other => panic!("{other:?}"),
    }
}

fn bytes_of(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).unwrap().filter_map(|file| file.ok()?.metadata().ok());
    files.map(|found| found.len()).sum()
}

/// Waits until files are no longer merged.
fn settled(state: &Path) {
    let names = || {
        let mut names: Vec<_> = fs::read_dir(state).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let limit = Instant::now() + Duration::from_secs(60);
    let mut before = names();
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = names();
        if now == before {
            return;
        }
        assert!(Instant::now() < limit, "merging does not end");
        before = now;
    }
}

/// A directory on another file system under its old name; moved back by nobody.
struct Elsewhere(std::path::PathBuf);

impl Elsewhere {
    fn move_out(from: &Path, to: &Path) -> Option<Elsewhere> {
        let run = |program: &str, words: &[&Path]| Command::new(program).args(words).status().unwrap().success();
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
        if !run("mount", &[Path::new("--bind"), to, from]) {
            println!("SKIPPED: a bind mount needs root");
            return None;
        }
        Some(Elsewhere(from.to_owned()))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        for _ in 0..50 {
            if Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A file system that takes no write until this is dropped.
struct Frozen(std::path::PathBuf);

impl Frozen {
    fn begin(path: &Path) -> Option<Frozen> {
        if Command::new("fsfreeze").arg("-f").arg(path).status().is_ok_and(|status| status.success()) {
            return Some(Frozen(path.to_owned()));
        }
        println!("SKIPPED: this file system cannot be frozen");
        None
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
    }
}
