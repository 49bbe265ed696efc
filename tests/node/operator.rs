//! What the README tells a newcomer and an operator to type, and how the node answers it: words, numbers, exit statuses.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::process::Output;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::command;
use crate::harness::refused;
use crate::harness::refused_start;
use crate::harness::sealkv;
use crate::harness::text;
use crate::limits::SmallDisk;

pub const DAMAGE: i32 = 74;
pub const CONFIG: i32 = 78;

pub fn run(args: &[&str]) -> Output {
    sealkv().args(args).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The metrics of a node.
pub fn metrics(admin_port: u16) -> String {
    String::from_utf8(http(admin_port, "/metrics").1).unwrap()
}

/// Status line, headers and body of a GET.
pub fn http(port: u16, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

#[test]
fn the_kek_comes_from_a_file_or_a_pipe_at_a_descriptor_and_from_nothing_else() {
    let site = Site::new();
    let shell = |script: &str| {
        let mut command = command("bash");
        let script = format!("exec \"$0\" \"$@\" --kek-fd 3 {script}");
        command.args(["-c", &script]).arg(env!("CARGO_BIN_EXE_sealkv")).args(site.base());
        command.env("KEK", site.kek());
        command
    };
    for script in ["3<\"$KEK\"", "3< <(cat \"$KEK\")"] {
        let node = Node::start_with(shell(script));
        assert_eq!(node.client().words("SET k v"), Reply::ok());
        let Reply::Bulk(info) = node.client().words("INFO sealkv") else { panic!("INFO gave no text") };
        assert!(String::from_utf8_lossy(&info).contains("encryption:on"), "{script}");
        assert_eq!(node.stop().code(), Some(0), "{script}");
    }
    // A here-string ends in a newline; one of 31 characters would be a KEK of text, which nobody should have.
    for (script, words) in [
        ("3<<<\"$(printf %032d 7)\"", "32 bytes and a newline, expected exactly 32 raw bytes"),
        // Closed: it must not be one that the node itself has opened meanwhile.
        ("3<&-", "expected one that the parent process left open"),
        ("3</dev/zero", "is a device"),
        ("3< <(sleep 9)", "no end within"),
    ] {
        let refusal = refused(shell(script));
        assert_eq!(refusal.status, CONFIG, "{script}: {}", refusal.output);
        assert!(refusal.output.contains(words), "{script}: {}", refusal.output);
    }
}

#[test]
fn file_environment_and_flags_reach_the_node_and_later_ones_win() {
    let site = Site::new();
    let file = site.path().join("sealkv.toml");
    let lines = format!(
        "data_dir = {:?}\nkek_file = {:?}\nlisten = \"localhost:0\"\nadmin_listen = \"127.0.0.1:0\"\nlog_slots = 4\n\
         log_slot_bytes = 34603008\nlog_format = \"json\"\nmaxclients = 11\ntimeout = 12\nlog_engine = \"plain\"\n\
         log_frames_in_flight = 4\n",
        text(&site.data()),
        text(&site.kek())
    );
    fs::write(&file, lines).unwrap();
    let mut command = sealkv();
    command.args(["serve", "--timeout", "33"]).env("SEALKV_CONFIG", &file);
    command.env("SEALKV_MAXCLIENTS", "22").env("SEALKV_TIMEOUT", "22");
    let node = Node::start_with(command);
    let mut client = node.client();
    let mut is = |name: &str, value: &str| {
        let expected = Reply::Array(vec![Reply::bulk(name), Reply::bulk(value)]);
        assert_eq!(client.words(&format!("CONFIG GET {name}")), expected);
    };
    is("maxclients", "22");
    is("timeout", "33");
    // Answered once the cutover is applied.
    assert_eq!(client.words("SET k v"), Reply::ok());
    let Reply::Bulk(info) = client.words("INFO sealkv") else { panic!("INFO gave no text") };
    let info = String::from_utf8(info).unwrap();
    assert!(info.contains("log_engine:plain") && info.contains("encryption:on"), "{info}");
}

#[test]
fn what_is_wrong_in_flags_variables_and_files_is_one_line_and_78() {
    let site = Site::new();
    let file = site.path().join("sealkv.toml");
    fs::write(&file, "data_dir = \"/nowhere\"\nmax_clients = 3\n").unwrap();
    let config = text(&file);
    type Case<'a> = (&'a [&'a str], Option<(&'a str, &'a str)>, &'a str);
    let cases: [Case<'_>; 8] = [
        (&["--data-dri", "x"], None, "--data-dri"),
        (&["--data-dir"], None, "--data-dir"),
        (&["--log-slots", "many"], None, "many"),
        (&["--listen", "example.org:1"], None, "127.0.0.1:6379"),
        (&[], Some(("SEALKV_LOG_SLOTS", "many")), "many"),
        (&[], Some(("SEALKV_LOGSLOTS", "4")), "SEALKV_LOGSLOTS"),
        (&["--config", &config], None, "line 2: unknown field `max_clients`"),
        (
            &["--data-dir", "/nowhere", "--listen", "[::1]:7", "--admin-listen", "[::1]:7", "--encryption", "off"],
            None,
            "a port each",
        ),
    ];
    for (args, variable, words) in cases {
        let mut command = sealkv();
        command.arg("serve").args(args).envs(variable);
        let refusal = refused(command);
        assert_eq!(refusal.status, CONFIG, "{args:?}: {}", refusal.output);
        assert_eq!(refusal.output.lines().count(), 1, "{args:?}: {}", refusal.output);
        assert!(refusal.output.contains(words), "{args:?}: {}", refusal.output);
    }
}

#[test]
fn check_config_reads_the_kek_and_changes_nothing() {
    let site = Site::new();
    let mut args = site.sealed();
    args.push("--check-config".to_owned());
    let output = sealkv().args(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    fs::remove_file(site.kek()).unwrap();
    let refusal = refused_start(&args);
    assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
    assert!(refusal.output.contains("KEK file"), "{}", refusal.output);
    assert!(!site.data().exists());
}

#[test]
fn a_port_that_is_taken_is_refused_with_78_before_anything_is_made() {
    let site = Site::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin-listen"] {
        let mut args = site.sealed();
        let at = args.iter().position(|arg| arg == flag).unwrap();
        args[at + 1] = taken.clone();
        let refusal = refused_start(&args);
        assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
        assert!(refusal.output.contains(&format!("{} {taken}", &flag[2..])), "{}", refusal.output);
        assert!(!site.data().exists(), "{}", refusal.output);
    }
}

/// The binary under a limit of `prlimit`, with these arguments.
fn limited(limit: &str, args: &[String]) -> Command {
    let mut command = command("prlimit");
    command.arg(limit).arg(env!("CARGO_BIN_EXE_sealkv")).args(args);
    command
}

#[test]
fn few_open_files_lower_maxclients_and_too_few_are_refused_with_78() {
    let site = Site::new();
    let refusal = refused(limited("--nofile=512:512", &site.sealed()));
    assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
    assert!(refusal.output.contains("open files are limited to 512"), "{}", refusal.output);
    assert!(!site.data().exists());
    let node = Node::start_with(limited("--nofile=764:764", &site.sealed()));
    assert!(node.says("maxclients is lowered"), "{}", node.log());
    let mut client = node.client();
    assert_eq!(client.words("CONFIG GET maxclients"), Reply::Array(vec![Reply::bulk("maxclients"), Reply::bulk("60")]));
    let mut others: Vec<Client> = (0..100).map(|_| Client::connect(node.client_port)).collect();
    // Those beyond are told so, and the node has descriptors left for its own work.
    let last = others.last_mut().unwrap();
    assert_eq!(last.reply().unwrap(), Reply::Error("ERR max number of clients reached".to_owned()));
    assert_eq!(client.words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    // A soft limit below the hard one is raised.
    let node = Node::start_with(limited("--nofile=256:20000", &site.sealed()));
    assert!(!node.log().contains("maxclients is lowered"), "{}", node.log());
}

#[test]
fn a_node_listens_on_ipv6() {
    let site = Site::new();
    let mut args = site.sealed();
    let at = args.iter().position(|arg| arg == "--listen").unwrap();
    args[at + 1] = "[::1]:0".to_owned();
    let node = Node::start(&args);
    let mut stream = TcpStream::connect(("::1", node.client_port)).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_signal_during_the_first_start_ends_it_at_once_and_the_next_start_begins_again() {
    for signal in ["-INT", "-TERM"] {
        let site = Site::new();
        let mut args = site.sealed();
        let at = args.iter().position(|arg| arg == "--log-slots").unwrap();
        args[at + 1] = "40".to_owned();
        let mut child = sealkv().args(&args).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !site.data().join("log").exists() {
            assert!(Instant::now() < deadline, "the log was not begun");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let signalled = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(signalled.elapsed() < Duration::from_secs(3), "{signal} did not end the start");
            std::thread::sleep(Duration::from_millis(1));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        assert!(stdout(&output).contains("stopped before the start was done"), "{}", stdout(&output));
        assert!(!site.data().join("IDENTITY").exists());
        let node = Node::start(&site.sealed());
        assert_eq!(node.client().words("SET k v"), Reply::ok());
    }
}

#[test]
fn the_first_sigterm_waits_for_a_client_and_the_second_does_not() {
    let site = Site::new();
    let mut node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.call(&[b"SET", b"k", &vec![b'v'; 4 << 20]]), Reply::ok());
    // Replies that nobody reads: the connection cannot finish.
    let stuck = Client::connect(node.client_port);
    let mut sender = stuck.clone_stream();
    for _ in 0..16 {
        sender.write_all(&encode(&[b"GET", b"k"])).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    node.signal("-TERM");
    std::thread::sleep(Duration::from_millis(500));
    let second = Instant::now();
    node.signal("-TERM");
    let status = node.wait(Duration::from_secs(3));
    assert_eq!(status.code(), Some(143), "it had ended at the first one, or not by the second: {}", node.log());
    assert!(second.elapsed() < Duration::from_secs(2));
    assert!(node.says("\"stopping\""), "{}", node.log());
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("STRLEN k"), Reply::Integer(4 << 20));
}

#[test]
fn a_first_start_on_a_full_disk_says_what_it_needs_and_a_later_one_with_room_works() {
    let site = Site::new();
    let Some(disk) = SmallDisk::mount(&site.path().join("disk"), 200) else {
        return;
    };
    let args = site.sealed_in(&disk.path.join("data"));
    let ballast = disk.path.join("ballast");
    fs::write(&ballast, vec![1; 120 << 20]).unwrap();
    for _ in 0..2 {
        let refusal = refused_start(&args);
        assert_eq!(refusal.status, DAMAGE, "{}", refusal.output);
        for words in ["138412032 bytes", "No space left on device", "--log-slot"] {
            assert!(refusal.output.contains(words), "{words:?} is not in: {}", refusal.output);
        }
    }
    fs::remove_file(&ballast).unwrap();
    let node = Node::start(&args);
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
}

#[test]
fn save_flushes_the_state_so_that_the_next_start_replays_nothing_of_it() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    for key in 0..100 {
        assert_eq!(client.words(&format!("SET k{key} v")), Reply::ok());
    }
    let replay = |log: &str, word: &str| -> u64 {
        let line = log.lines().find(|line| line.contains("log replayed")).unwrap();
        line.split_once(&format!("\"{word}\":\"")).unwrap().1.split('"').next().unwrap().parse().unwrap()
    };
    node.kill();
    let node = Node::start(&site.sealed());
    assert!(replay(&node.log(), "to") >= replay(&node.log(), "behind") + 100, "{}", node.log());
    let mut client = node.client();
    assert_eq!(client.words("SET more v"), Reply::ok());
    assert_eq!(client.words("SAVE"), Reply::ok());
    node.kill();
    let node = Node::start(&site.sealed());
    assert_eq!(replay(&node.log(), "to"), replay(&node.log(), "behind"), "{}", node.log());
    assert_eq!(node.client().words("GET more"), Reply::bulk("v"));
}

#[test]
fn cpu_profiles_are_off_unless_asked_for_and_one_at_a_time() {
    const PATH: &str = "/debug/pprof/profile";
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let (head, body) = http(node.admin_port, PATH);
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(String::from_utf8_lossy(&body).contains("--profiling"));
    assert!(http(node.admin_port, "/debug/heap").0.starts_with("HTTP/1.1 404"), "the same for the heap");
    assert_eq!(node.stop().code(), Some(0));

    let mut args = site.sealed();
    args.push("--profiling".to_owned());
    let node = Node::start(&args);
    for wrong in ["?seconds=0", "?seconds=61", "?seconds=x"] {
        assert!(http(node.admin_port, &format!("{PATH}{wrong}")).0.starts_with("HTTP/1.1 400"), "{wrong}");
    }
    let port = node.admin_port;
    let first = std::thread::spawn(move || http(port, &format!("{PATH}?seconds=2")));
    std::thread::sleep(Duration::from_millis(500));
    assert!(http(port, &format!("{PATH}?seconds=1")).0.starts_with("HTTP/1.1 409"));
    // Work to be seen, and answered while SIGPROF interrupts the system calls below it.
    let mut client = node.client();
    for i in 0..2000_u32 {
        assert_eq!(client.call(&[b"SET", &i.to_be_bytes(), &[7; 512]]), Reply::ok());
    }
    let (head, body) = first.join().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut profile = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut profile).unwrap();
    let found = |word: &str| profile.windows(word.len()).any(|bytes| bytes == word.as_bytes());
    assert!(found("samples") && found("sealkv"), "{} bytes without a function of ours", profile.len());

    // What the values above took is among what the allocator counts.
    let (head, body) = http(port, "/debug/heap");
    assert!(head.starts_with("HTTP/1.1 200") && body.len() < 1 << 20, "{head}");
    let heap: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let held = heap["process"]["rss_current"].as_u64().or(heap["committed"]["current"].as_u64());
    assert!(held.is_some_and(|bytes| bytes > 1 << 20), "{heap}");
}
