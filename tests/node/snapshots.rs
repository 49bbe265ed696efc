//! A node that was away until the log no longer holds what it lacks comes back by a snapshot, and so does one that joins late.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::client::Reply;
use crate::harness::command;
use crate::limits::SmallDisk;
use crate::operator::http;
use crate::operator::metrics;
use crate::trio::IDS;
use crate::trio::Trio;
use crate::trio::Writers;
use crate::trio::verify;

const FETCHES: &str = "this log lacks entries: fetching a snapshot";
const COMPLETE: &str = "the snapshot is complete";
const INSTALLED: &str = "a snapshot is installed";

/// MiB that make a log of [`crate::harness::SMALL_LOG`] drop what was before.
const ENOUGH: usize = 90;

/// Kills a follower and writes until the others have dropped what it lacks.
fn left_behind(trio: &mut Trio) -> u64 {
    let leader = trio.leader();
    let away = IDS.into_iter().find(|id| *id != leader).unwrap();
    assert_eq!(trio.client(leader).call(&[b"SET", b"before", b"x"]), Reply::ok());
    trio.digest();
    trio.kill(away);
    write(trio, "a", ENOUGH);
    away
}

/// Values of 1 MiB under a few names that begin with `prefix`.
fn write(trio: &Trio, prefix: &str, count: usize) {
    let mut client = trio.client(trio.leader());
    for number in 0..count {
        let (key, value) = (format!("{prefix}{}", number % 4), vec![b'v'; 1 << 20]);
        // A machine that does other things as well may see another leader meanwhile.
        while client.try_call(&[b"SET", key.as_bytes(), &value]).ok() != Some(Reply::ok()) {
            client = trio.client(trio.leader());
        }
    }
}

/// Waits longer than a node's line usually takes: the others make a snapshot first.
fn says(trio: &Trio, id: u64, words: &str) {
    trio.until(words, |trio| trio.node(id).log().contains(words).then_some(()));
}

/// It holds what the others hold, and goes on as any other, also after another start.
fn is_whole(trio: &mut Trio, away: u64) {
    trio.digest();
    assert_eq!(trio.client(away).call(&[b"GET", b"before"]), Reply::bulk("x"));
    write(trio, "b", 3);
    trio.digest();
    trio.stop(away);
    trio.start(away);
    write(trio, "c", 3);
    trio.digest();
    for left in ["incoming", "old"] {
        assert!(!trio.data(away).join(left).exists(), "{left} is left at node {away}");
    }
}

#[test]
fn a_node_that_was_away_for_long_comes_back_by_a_snapshot() {
    for trio in [Trio::new(), Trio::clear()] {
        let mut trio = trio.running();
        let away = left_behind(&mut trio);
        trio.start(away);
        says(&trio, away, FETCHES);
        says(&trio, away, INSTALLED);
        is_whole(&mut trio, away);
    }
}

#[test]
fn a_node_that_joins_after_the_log_was_trimmed_gets_a_snapshot() {
    let mut trio = Trio::new().running();
    assert_eq!(trio.client(1).call(&[b"SET", b"before", b"x"]), Reply::ok());
    write(&trio, "a", ENOUGH);
    trio.start(4);
    let (status, words) = trio.admin(1, &["member", "add", "4", &trio.peer_address(4)]);
    assert_eq!(status, 0, "{words}");
    says(&trio, 4, INSTALLED);
    is_whole(&mut trio, 4);
    let (status, words) = trio.admin(1, &["member", "promote", "4"]);
    assert_eq!(status, 0, "{words}");
    is_whole(&mut trio, 4);
}

/// Goal: kills at every stage of the way back, of the node that comes back and of the one that gives. `SEALKV_RUNS` rounds.
#[test]
fn a_kill_in_the_middle_of_a_transfer_or_an_install_changes_nothing() {
    let rounds = std::env::var("SEALKV_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let mut trio = Trio::new().running();
    for _ in 0..rounds {
        let away = left_behind(&mut trio);
        let writers = Writers::start(trio.addresses(), 2);
        // Killed at the second, it has all of it, and the third installs at once.
        for words in [FETCHES, COMPLETE, INSTALLED] {
            trio.start(away);
            says(&trio, away, words);
            trio.kill(away);
        }
        trio.start(away);
        let acknowledged = writers.acknowledged();
        is_whole(&mut trio, away);
        let count = verify(&mut trio.client(away), &acknowledged);
        assert!(count > 10, "vacuous: {count} acknowledged");
        let away = left_behind(&mut trio);
        trio.start(away);
        says(&trio, away, FETCHES);
        let leader = trio.leader();
        trio.kill(leader);
        trio.start(leader);
        // Who leads now may have the entries in its log yet: then there is nothing to install.
        let goal = applied(&trio, trio.leader());
        trio.until("it installs or catches up", |trio| {
            (trio.node(away).log().contains("\"stopped\"") || applied(trio, away) >= goal).then_some(())
        });
        trio.kill(away);
        trio.start(away);
        is_whole(&mut trio, away);
        assert_eq!(trio.client(1).words("FLUSHALL"), Reply::ok());
    }
    println!("{rounds} tried, 0 failed");
}

/// As of the node itself; 0 where it does not answer.
fn applied(trio: &Trio, id: u64) -> u64 {
    trio.info(id, "replication", "master_repl_offset").parse().unwrap_or(0)
}

/// A table of the snapshot that the leader gives.
fn given_table(trio: &Trio, leader: u64) -> PathBuf {
    says(trio, leader, "made a snapshot for a member that lags");
    let tables = fs::read_dir(trio.data(leader).join("outgoing")).unwrap().map(|entry| entry.unwrap().path());
    tables.filter(|path| path.extension().is_some_and(|end| end == "sst")).max().unwrap()
}

// A byte of the snapshot is changed where it lies. Its file is named, nobody halts, and another snapshot is made.
#[test]
fn a_snapshot_with_a_changed_byte_is_refused_by_name_and_fetched_again() {
    let mut trio = Trio::new().running();
    let away = left_behind(&mut trio);
    let leader = trio.leader();
    trio.start(away);
    let table = given_table(&trio, leader);
    // The state has the same file under another name: it must not change.
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&table).unwrap();
    fs::write(&table, bytes).unwrap();
    let name = table.file_name().unwrap().to_str().unwrap();
    says(&trio, away, &format!("{name} is not what its manifest says"));
    says(&trio, leader, "a member refuses a snapshot of this node");
    says(&trio, away, INSTALLED);
    let (_, metrics) = http(trio.node(leader).admin_port, "/metrics");
    assert!(String::from_utf8(metrics).unwrap().contains("sealkv_snapshot_made_total 2"));
    is_whole(&mut trio, away);
    assert_eq!(trio.running_ids(), IDS, "nobody ended");
}

// Keys are turned while a node is away, and sealing is turned on: both come with the snapshot, and its KEK unwraps them.
#[test]
fn a_snapshot_brings_the_keys_that_were_made_meanwhile() {
    let mut trio = Trio::ready().running();
    let away = left_behind(&mut trio);
    let leader = trio.leader();
    let mut operator = trio.operator(leader);
    for words in ["SEALKV ENCRYPTION ENABLE", "SEALKV ENCRYPTION ROTATE VALUE", "SEALKV ENCRYPTION ROTATE ENTRY"] {
        assert_eq!(operator.words(words), Reply::ok(), "{words}");
    }
    write(&trio, "sealed", ENOUGH);
    trio.start(away);
    says(&trio, away, INSTALLED);
    is_whole(&mut trio, away);
    let cutover = |id| trio.info(id, "sealkv", "cutover_index");
    assert_eq!(cutover(away), cutover(leader));
    assert!(!cutover(away).is_empty());
}

/// Goal: a node whose disk is too small for a snapshot says how much it needs, goes on, and changes nothing for the others; freed
/// space is enough.
#[test]
fn a_snapshot_for_which_there_is_no_space_is_refused_with_a_line_until_there_is() {
    let folder = tempfile::tempdir().unwrap();
    // It outlives the node on it. 512 MiB must stay free, and the log takes 132.
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 1000) else { return };
    let mut trio = Trio::new();
    trio.put_elsewhere(4, disk.path.join("data"));
    let mut trio = trio.running();
    assert_eq!(trio.client(1).call(&[b"SET", b"before", b"x"]), Reply::ok());
    write(&trio, "a", ENOUGH);
    trio.start(4);
    let filler = disk.path.join("filler");
    let made = Command::new("fallocate").args(["-l", "400M"]).arg(&filler).status().unwrap();
    assert!(made.success(), "{made}");
    let (status, words) = trio.admin(1, &["member", "add", "4", &trio.peer_address(4)]);
    assert_eq!(status, 0, "{words}");
    says(&trio, 4, "a snapshot is not complete yet");
    says(&trio, 4, "bytes of free space, there are");
    let refused = trio.node(4).log();
    let line = refused.lines().find(|line| line.contains("bytes of free space")).unwrap();
    println!("{line}");
    assert!(line.contains("it needs ") && line.contains("free space on that disk"), "{line}");
    let incoming = trio.data(4).join("incoming/state");
    assert_eq!(fs::read_dir(&incoming).map_or(0, Iterator::count), 0, "nothing of it is fetched");
    let cut_off = metrics(trio.node(4).admin_port);
    assert!(!cut_off.contains("sealkv_snapshot_cut_off_total 0"), "it is counted");
    assert_eq!(trio.client(4).words("PING"), Reply::Simple("PONG".to_owned()), "the node goes on");
    write(&trio, "b", 3);
    fs::remove_file(&filler).unwrap();
    says(&trio, 4, INSTALLED);
    is_whole(&mut trio, 4);
    trio.stop(4);
}

/// A descriptor is read once: the process cannot start itself again to install.
#[test]
fn a_node_with_its_kek_from_a_descriptor_ends_with_75_to_be_started_again_and_then_installs() {
    let mut trio = Trio::new().running();
    let away = left_behind(&mut trio);
    trio.start_by(away, by_descriptor(&trio, away));
    let (status, log) = trio.ended(away);
    assert_eq!(status, Some(75), "{log}");
    assert!(log.contains(FETCHES) && log.contains(COMPLETE) && !log.contains(INSTALLED), "{log}");
    assert!(log.contains("start the node again: its KEK came from a descriptor"), "{log}");
    assert!(trio.data(away).join("incoming/COMPLETE").exists(), "all of it is there");
    trio.start_by(away, by_descriptor(&trio, away));
    says(&trio, away, INSTALLED);
    is_whole(&mut trio, away);
}

/// Starts a node that reads its KEK from a descriptor instead of a file.
fn by_descriptor(trio: &Trio, id: u64) -> Command {
    let mut args = trio.args(id);
    let at = args.iter().position(|arg| arg == "--kek-file").unwrap();
    args.drain(at..at + 2);
    let mut command = command("bash");
    command.args(["-c", "exec \"$0\" \"$@\" --kek-fd 9 9<\"$KEK\"", env!("CARGO_BIN_EXE_sealkv")]);
    command.args(args).env("KEK", trio.site.kek());
    command
}
