//! Old kernels and sandboxes: each system call that may be missing or forbidden, denied one by one by a filter of the kernel.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;
use std::process::Stdio;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::command;
use crate::harness::refused;
use crate::operator::CONFIG;
use crate::operator::DAMAGE;
use crate::operator::http;

/// The binary under `deny.py`.
fn sealkv_without(rules: &str) -> Command {
    let mut command = command("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/deny.py")).args([rules, "--"]);
    command.arg(env!("CARGO_BIN_EXE_sealkv"));
    command
}

/// A node under it.
fn denied(site: &Site, rules: &str) -> Command {
    let mut command = sealkv_without(rules);
    command.args(site.sealed());
    command
}

fn can_filter() -> bool {
    let can = cfg!(target_arch = "x86_64") && Command::new("python3").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !can {
        println!("skipped: needs x86-64 and python3");
    }
    can
}

#[test]
fn a_bench_says_that_io_uring_is_forbidden_and_measures_the_rest() {
    if !can_filter() {
        return;
    }
    let site = Site::new();
    for subject in ["log", "node"] {
        let mut command = sealkv_without("io_uring_setup:EPERM");
        command.args(["bench", subject, "--seconds", "1", "--json", "--directory"]).arg(site.path());
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{err}");
        let said: Vec<&str> = err.lines().filter(|line| line.contains("plain system calls")).collect();
        assert!(matches!(said[..], [line] if line.contains("not permitted")), "{subject}: {err}");
        assert!(out.lines().count() >= 4 && !out.contains("uring"), "{subject}: {out}");
    }
}

/// What a node cannot do without a call, and the way round it: a first start, a write, an end, and all of it again.
#[test]
fn system_calls_that_are_missing_or_forbidden_have_a_way_round_one_by_one() {
    if !can_filter() {
        return;
    }
    let calls = [
        "statx",
        "pwritev2",
        "fallocate",
        "copy_file_range",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "mlock,madvise",
        "prctl",
        "getrandom",
        "fadvise64,sync_file_range",
        "pidfd_open,pidfd_getfd",
        "statfs,fstatfs",
        "setrlimit,prlimit64",
        "close_range,membarrier,rseq",
        "sched_getaffinity",
        "umask",
    ];
    let mut tried = 0;
    for call in calls {
        for error in ["EPERM", "ENOSYS"] {
            let site = Site::new();
            let rules: Vec<String> = call.split(',').map(|name| format!("{name}:{error}")).collect();
            let rules = rules.join(",");
            println!("{rules}");
            for life in 0..2 {
                let node = Node::start_with(denied(&site, &rules));
                assert_eq!(node.client().words(&format!("SET k{life} v")), Reply::ok(), "{rules}");
                assert_eq!(node.client().words("GET k0"), Reply::bulk("v"), "{rules}");
                assert_eq!(node.stop().code(), Some(0), "{rules}");
            }
            tried += 1;
        }
    }
    assert_eq!(tried, 34);
}

/// Without a sync nothing can be durable: there is no way round, so there is one clear line and nothing is acknowledged.
#[test]
fn a_system_that_cannot_sync_is_refused_with_one_line() {
    if !can_filter() {
        return;
    }
    let site = Site::new();
    let refusal = refused(denied(&site, "fdatasync:ENOSYS,io_uring_setup:ENOSYS,pwritev2:ENOSYS"));
    assert_eq!(refusal.status, DAMAGE, "{}", refusal.output);
    assert!(refusal.output.contains("not implemented"), "{}", refusal.output);
}

/// 512 descriptors, no locked memory, no root.
#[test]
fn few_descriptors_and_no_locked_memory_lower_what_is_offered_and_not_what_works() {
    let site = Site::new();
    let mut command = command("bash");
    let script = "ulimit -l 0; ulimit -n 900; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_sealkv")]).args(site.sealed());
    let node = Node::start_with(command);
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert!(node.says("maxclients is lowered"), "{}", node.log());
    assert_eq!(node.stop().code(), Some(0));
    let mut command = crate::harness::command("bash");
    command.args(["-c", "ulimit -n 512; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sealkv")]).args(site.sealed());
    let refusal = refused(command);
    assert!(refusal.status == CONFIG && refusal.output.contains("ulimit -n"), "{}", refusal.output);
}

/// A11: RocksDB would abort the process without a line.
#[test]
fn too_few_threads_or_too_little_address_space_is_78_and_a_line() {
    let site = Site::reachable();
    let mut command = command("bash");
    command.args(["-c", "ulimit -v 400000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sealkv")]).args(site.sealed());
    let refusal = refused(command);
    assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
    assert!(refusal.output.contains("ulimit -v"), "{}", refusal.output);
    assert!(!site.data().exists());
    if Command::new("id").arg("-u").output().unwrap().stdout != b"0\n" {
        return;
    }
    // Root has no limit of processes: the node runs as a user that nobody else is.
    let mut command = crate::harness::command("bash");
    let script = "ulimit -u 8; exec setpriv --reuid 54323 --regid 54323 --clear-groups \"$0\" \"$@\"";
    fs::create_dir(site.data()).unwrap();
    for path in [site.path().to_owned(), site.data(), site.kek()] {
        chown(path, Some(54_323), Some(54_323)).unwrap();
    }
    command.args(["-c", script]).arg(site.path().join("sealkv")).args(site.sealed());
    let refusal = refused(command);
    assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
    assert!(refusal.output.contains("thread"), "{}", refusal.output);
}

/// A12: the kernel's answer to a file that grows too large is a signal that ends the process, unless it is taken.
#[test]
fn a_limit_of_file_sizes_is_74_and_a_line() {
    let site = Site::new();
    let mut command = command("bash");
    command.args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sealkv")]).args(site.sealed());
    let refusal = refused(command);
    assert_eq!(refusal.status, DAMAGE, "{}", refusal.output);
    assert!(refusal.output.contains("File too large") && refusal.output.contains("ulimit -f"), "{}", refusal.output);
}

/// A7: closing the terminal stops the node as SIGTERM does, and `nohup` keeps it.
#[test]
fn sighup_drains_and_nohup_is_respected() {
    let site = Site::new();
    // Under nohup this process hands on that the signal is ignored.
    let mut command = command("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_sealkv")]).args(site.sealed());
    let mut node = Node::start_with(command);
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    node.signal("-HUP");
    assert_eq!(node.wait(std::time::Duration::from_secs(8)).code(), Some(0));
    let mut command = crate::harness::command("bash");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sealkv")]).args(site.sealed());
    let node = Node::start_with(command);
    node.signal("-HUP");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(node.client().words("GET k"), Reply::bulk("v"));
    assert_eq!(node.stop().code(), Some(0));
}

/// A1: each start on a full disk left one more file in `state/`, and one in a directory of another user rewrote one.
#[test]
fn a_start_that_cannot_write_the_state_changes_nothing() {
    let site = Site::new();
    let Some(mount) = crate::limits::SmallDisk::mount(&site.path().join("disk"), 200) else {
        return;
    };
    let data = mount.path.join("data");
    let args = site.sealed_in(&data);
    let node = Node::start(&args);
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    crate::limits::fill(&mount.path.join("ballast"));
    let before = crate::harness::fingerprint(&data);
    for _ in 0..3 {
        let refusal = crate::harness::refused_start(&args);
        assert_eq!(refusal.status, DAMAGE, "{}", refusal.output);
        assert!(refusal.output.contains("free space") && !refusal.output.contains("empty"), "{}", refusal.output);
        assert!(before == crate::harness::fingerprint(&data), "a refused start changed the directory");
    }
    fs::remove_file(mount.path.join("ballast")).unwrap();
    assert_eq!(Node::start(&args).client().words("GET k"), Reply::bulk("v"));
}

/// A1, of a first start: whatever part of it there is no space for, the advice is space, and nothing half-made stays behind.
#[test]
fn a_first_start_without_space_says_so_and_leaves_nothing() {
    let site = Site::new();
    let Some(mount) = crate::limits::SmallDisk::mount(&site.path().join("disk"), 200) else {
        return;
    };
    let (data, ballast) = (mount.path.join("data"), mount.path.join("ballast"));
    let args = site.sealed_in(&data);
    crate::limits::fill(&ballast);
    let all = fs::metadata(&ballast).unwrap().len();
    // The log takes 132 MiB. From nothing at all to too little for the state behind it.
    let log = 4 * 34_603_008;
    let mut refused = 0;
    for left in [0, 64 << 10, 20 << 20, log - (1 << 20), log + (64 << 10), log + (128 << 10), log + (256 << 10)] {
        fs::File::options().write(true).open(&ballast).unwrap().set_len(all - left).unwrap();
        let started = Node::try_start_with({
            let mut command = crate::harness::sealkv();
            command.args(&args);
            command
        });
        let Err((status, log)) = started else {
            fs::remove_dir_all(&data).unwrap();
            continue;
        };
        refused += 1;
        assert_eq!(status.code(), Some(DAMAGE), "{log}");
        assert!(log.contains("free space") && !log.contains("empty"), "{log}");
        let names =
            fs::read_dir(&data).map_or_else(|_| Vec::new(), |found| found.map(|it| it.unwrap().file_name()).collect());
        assert!(names.iter().all(|name| name == "LOCK"), "{left} bytes left: {names:?} stay behind");
    }
    assert!(refused >= 4, "vacuous: {refused} refused");
    fs::remove_file(&ballast).unwrap();
    let node = Node::start(&args);
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
}

/// A start answers at the admin address before the log is replayed, and says that it is not ready.
#[test]
fn the_admin_address_answers_while_the_node_starts() {
    let site = Site::new();
    let port = crate::harness::free_port();
    let mut args = site.sealed();
    let at = args.iter().position(|a| a == "--admin-listen").unwrap();
    args[at + 1] = format!("127.0.0.1:{port}");
    // A large log takes a while to make.
    let at = args.iter().position(|a| a == "--log-slots").unwrap();
    args[at + 1] = "16".to_owned();
    let mut child = crate::harness::sealkv().args(&args).stdout(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(std::time::Instant::now() < deadline, "nobody listens");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let mut said = Vec::new();
    loop {
        let (head, body) = http(port, "/readyz");
        assert!(http(port, "/livez").0.starts_with("HTTP/1.1 200"));
        if head.starts_with("HTTP/1.1 200") {
            break;
        }
        said.push(String::from_utf8(body).unwrap());
        assert!(std::time::Instant::now() < deadline, "{said:?}");
    }
    assert!(said.iter().any(|body| body.contains("making the log: ")), "{said:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
