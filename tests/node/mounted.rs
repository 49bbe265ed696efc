//! Keys, directories and variables as they are mounted: secrets of an orchestrator, fresh file systems, odd modes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::command;
use crate::harness::refused;
use crate::harness::refused_start;
use crate::harness::sealkv;
use crate::harness::text;
use crate::operator::CONFIG;
use crate::operator::DAMAGE;

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn is_root() -> bool {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        println!("skipped: needs root");
    }
    is_root
}

/// A Kubernetes secret: a link to a link to a file of root, mode 0440, in the group of `fsGroup`; the node is not root.
#[test]
fn a_secret_that_is_mounted_for_a_group_is_taken_by_a_process_in_that_group_only() {
    if !is_root() {
        return;
    }
    const USER: u32 = 54_321;
    const GROUP: u32 = 54_322;
    let site = Site::reachable();
    let secret = site.path().join("..2026");
    fs::create_dir(&secret).unwrap();
    fs::copy(site.kek(), secret.join("kek")).unwrap();
    fs::set_permissions(secret.join("kek"), fs::Permissions::from_mode(0o440)).unwrap();
    chown(secret.join("kek"), Some(0), Some(GROUP)).unwrap();
    symlink("..2026", site.path().join("..data")).unwrap();
    symlink("..data/kek", site.path().join("mounted")).unwrap();
    fs::create_dir(site.data()).unwrap();
    chown(site.data(), Some(USER), Some(GROUP)).unwrap();
    let started = |groups: &str| {
        let mut command = command("setpriv");
        command.args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), groups]);
        command.arg(site.path().join("sealkv")).args(site.base());
        command.args(["--kek-file", &text(&site.path().join("mounted"))]);
        command
    };
    let node = Node::start_with(started(&format!("--groups={GROUP}")));
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    assert_eq!(refused(started("--clear-groups")).status, CONFIG, "it cannot even be opened");
    fs::set_permissions(secret.join("kek"), fs::Permissions::from_mode(0o444)).unwrap();
    let refusal = refused(started(&format!("--groups={GROUP}")));
    assert_eq!(refusal.status, CONFIG);
    assert!(refusal.output.contains("has mode 0444") && refusal.output.contains("chmod 0400"), "{}", refusal.output);
}

#[test]
fn a_password_file_that_others_can_read_is_refused_with_78() {
    let site = Site::new();
    let file = site.make_secret("password", b"secret\n");
    let mut args = site.sealed();
    args.extend(["--requirepass-file".to_owned(), text(&file)]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refusal = refused_start(&args);
    assert_eq!(refusal.status, CONFIG);
    assert!(refusal.output.contains("mode 0644") && !site.data().exists(), "{}", refusal.output);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(Node::start(&args).stop().code(), Some(0));
    // The operators' file is named by its own setting, and must hold another password.
    for (operators, words) in [("nofile", "adminpass-file"), ("password", "expected one that clients do not know")] {
        let mut args = args.clone();
        args.extend(["--adminpass-file".to_owned(), text(&site.path().join(operators))]);
        let refusal = refused_start(&args);
        assert_eq!(refusal.status, CONFIG);
        assert!(
            refusal.output.contains(words) && !refusal.output.contains("ERROR\",\"message\":\"requirepass"),
            "{}",
            refusal.output
        );
    }
}

#[test]
fn what_a_node_makes_is_its_users_alone_under_any_umask_and_what_was_widened_is_said() {
    let site = Site::new();
    let mut command = command("sh");
    command.args(["-c", "umask 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_sealkv")]).args(site.sealed());
    let node = Node::start_with(command);
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    let mut seen = 0;
    for part in [site.data(), site.data().join("log"), site.data().join("state")] {
        assert_eq!(mode_of(&part), 0o700, "{}", part.display());
        for entry in fs::read_dir(&part).unwrap() {
            let path = entry.unwrap().path();
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode_of(&path), wanted, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 8, "vacuous: {seen}");
    let node = Node::start(&site.sealed());
    assert!(!node.log().contains("others can reach"), "{}", node.log());
    assert_eq!(node.stop().code(), Some(0));
    fs::set_permissions(site.data().join("log/slot-0001.wal"), fs::Permissions::from_mode(0o666)).unwrap();
    let node = Node::start(&site.sealed());
    let log = node.log();
    assert!(log.contains("others can reach") && log.contains("chmod -R go-rwx"), "{log}");
}

#[test]
fn a_fresh_file_system_with_lost_and_found_is_an_empty_data_directory() {
    let site = Site::new();
    fs::create_dir_all(site.data().join("lost+found")).unwrap();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    assert!(site.data().join("lost+found").is_dir());
    // A file of that name is somebody's.
    let site = Site::new();
    fs::create_dir_all(site.data()).unwrap();
    fs::write(site.data().join("lost+found"), "x").unwrap();
    assert_eq!(refused_start(&site.sealed()).status, CONFIG);
}

#[test]
fn variables_that_an_orchestrator_sets_for_a_service_of_our_name_are_ignored_with_one_line() {
    let site = Site::new();
    let mut command = sealkv();
    command.args(site.sealed()).env("SEALKV_PORT", "tcp://10.0.0.1:6379").env("SEALKV_SERVICE_HOST", "10.0.0.1");
    command.env("SEALKV_PORT_6379_TCP_ADDR", "10.0.0.1").env("SEALKV_SERVICE_PORT", "6379");
    let node = Node::start_with(command);
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("are ignored")).collect();
    assert!(lines.len() == 1 && lines[0].contains("SEALKV_PORT SEALKV_PORT_6379_TCP_ADDR"), "{log}");
    assert_eq!(node.stop().code(), Some(0));
    let mut command = sealkv();
    command.args(site.sealed()).env("SEALKV_PORT", "6379");
    let refusal = refused(command);
    assert!(refusal.status == CONFIG && refusal.output.contains("SEALKV_PORT"), "{}", refusal.output);
}

#[test]
fn without_a_kek_nothing_starts_unless_it_was_said_and_the_two_commands_that_are_shown_work() {
    let site = Site::new();
    let refusal = refused_start(&site.base());
    assert_eq!(refusal.status, CONFIG);
    assert!(refusal.output.contains("--encryption off") && !site.data().exists(), "{}", refusal.output);
    let commands: Vec<&str> = refusal.output.split('`').filter(|part| part.starts_with("sealkv ")).collect();
    assert_eq!(commands.len(), 2, "{}", refusal.output);
    let kek = text(&site.path().join("made"));
    let words = |command: &str| -> Vec<String> {
        command.replace("KEKFILE", &kek).split(' ').skip(1).map(str::to_owned).collect()
    };
    let made = sealkv().args(words(commands[0])).output().unwrap();
    assert_eq!(made.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&made.stdout).contains("Keep a copy elsewhere"));
    let mut args = site.base();
    args.extend(words(commands[1]).into_iter().skip(1));
    assert_eq!(Node::start(&args).stop().code(), Some(0));
    // A directory with data gets other words: a new key would open nothing there.
    let refusal = refused_start(&site.base());
    assert!(refusal.output.contains("holds a node") && !refusal.output.contains("keygen"), "{}", refusal.output);
    let other = site.make_kek("other", 0x33);
    let mut args = site.base();
    args.extend(["--kek-file".to_owned(), text(&other)]);
    let refusal = refused_start(&args);
    assert!(refusal.status == CONFIG && refusal.output.contains("the one that is given is"), "{}", refusal.output);
}

/// L1, L3: the KEK stands in memory once, in a page that is locked and never dumped, and nowhere in a descriptor.
#[test]
fn the_kek_is_in_one_locked_page_and_its_descriptor_is_closed() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    site.make_random_kek();
    let kek = fs::read(site.kek()).unwrap();
    let mut command = command("bash");
    command.args(["-c", "exec \"$0\" \"$@\" --kek-fd 9 9<\"$KEK\"", env!("CARGO_BIN_EXE_sealkv")]);
    command.args(site.base()).env("KEK", site.kek());
    let node = Node::start_with(command);
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    for entry in fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        assert_ne!(target, site.kek(), "the KEK is open");
    }
    let places = places_in_memory(node.pid(), &kek);
    assert_eq!(places.len(), 1, "{places:x?}");
    let flags = flags_of(node.pid(), places[0]);
    assert!(flags.contains(" dd"), "it is left out of dumps: {flags}");
    assert!(flags.contains(" lo"), "it is locked: {flags}");
}

/// Where `bytes` stand in the memory of the process. In Python, because a search without optimization takes minutes.
fn places_in_memory(pid: i32, bytes: &[u8]) -> Vec<u64> {
    let script = r#"
import sys
pid, wanted = sys.argv[1], bytes.fromhex(sys.argv[2])
memory = open(f"/proc/{pid}/mem", "rb", 0)
for line in open(f"/proc/{pid}/maps"):
    begin, end = (int(part, 16) for part in line.split()[0].split("-"))
    if not line.split()[1].startswith("rw"):
        continue
    for at in range(begin, end, 1 << 24):
        try:
            memory.seek(at)
            chunk = memory.read(min((1 << 24) + len(wanted) - 1, end - at))
        except OSError:
            continue
        found = chunk.find(wanted)
        while found >= 0:
            print(at + found)
            found = chunk.find(wanted, found + 1)
"#;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = command("python3").args(["-c", script, &pid.to_string(), &hex]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut places: Vec<u64> =
        String::from_utf8(output.stdout).unwrap().lines().map(|at| at.parse().unwrap()).collect();
    places.dedup();
    places
}

/// The line VmFlags of the mapping that holds `address`.
fn flags_of(pid: i32, address: u64) -> String {
    let mut is_it = false;
    for line in fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap().lines() {
        let range = line.split(' ').next().unwrap().split_once('-');
        if let Some((from, to)) = range
            && let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16))
        {
            is_it = from <= address && address < to;
        } else if is_it && line.starts_with("VmFlags:") {
            return line.to_owned();
        }
    }
    panic!("no mapping holds {address:x}");
}

/// D1: the name of one file must not decide whether a node is wiped.
#[test]
fn a_node_whose_identity_bears_the_name_of_an_unfinished_one_is_refused_with_74_and_not_wiped() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    let (right, wrong) = (site.data().join("IDENTITY"), site.data().join("IDENTITY.new"));
    fs::rename(&right, &wrong).unwrap();
    let before = crate::harness::fingerprint(&site.data());
    let other = site.make_kek("other", 0x33);
    let mut other_kek = site.base();
    other_kek.extend(["--kek-file".to_owned(), text(&other)]);
    for args in [site.sealed(), other_kek, site.clear()] {
        let refusal = refused_start(&args);
        assert_eq!(refusal.status, DAMAGE, "{}", refusal.output);
        assert!(refusal.output.contains("mv IDENTITY.new IDENTITY"), "{}", refusal.output);
        assert!(before == crate::harness::fingerprint(&site.data()), "a refused start changed the directory");
    }
    fs::rename(&wrong, &right).unwrap();
    assert_eq!(Node::start(&site.sealed()).client().words("GET k"), Reply::bulk("v"));
}

/// A14, B17: what a later start does not use is said, and sizes are written as people write them.
#[test]
fn a_log_size_that_is_not_used_is_said_and_sizes_have_units() {
    let site = Site::new();
    let sized = |slots: &str, bytes: &str| {
        let mut args: Vec<String> =
            ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]
                .map(str::to_owned)
                .to_vec();
        args.extend(["--data-dir".to_owned(), text(&site.data()), "--kek-file".to_owned(), text(&site.kek())]);
        args.extend(["--log-slots", slots, "--log-slot-bytes", bytes].map(str::to_owned));
        args
    };
    let node = Node::start(&sized("4", "33M"));
    assert_eq!(fs::metadata(site.data().join("log/slot-0000.wal")).unwrap().len(), 33 << 20);
    assert!(!node.log().contains("not used"));
    assert_eq!(node.stop().code(), Some(0));
    let node = Node::start(&sized("12", "64MiB"));
    assert!(node.says("are not used: this directory has 4 slots of 33M"), "{}", node.log());
    assert_eq!(node.stop().code(), Some(0));
    let refusal = refused_start(&sized("4", "32M"));
    assert!(refusal.status == CONFIG && refusal.output.contains("is 32M, expected 33M to"), "{}", refusal.output);
    let refusal = refused_start(&sized("many", "33M"));
    assert!(refusal.output.contains("expected a number, found \"many\""), "{}", refusal.output);
}
