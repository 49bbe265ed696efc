//! `sealkv dump`, `load`, `state digest` and `status`: the data of a stopped node, copied and compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::fingerprint;
use crate::harness::free_port;
use crate::harness::sealkv;
use crate::harness::text;

/// A tool on a stopped node's directory; nothing in it may change.
fn tool(site: &Site, words: &[&str], sealed: bool) -> Output {
    let before = fingerprint(site.path());
    let mut command = sealkv();
    command.args(words).args(["--data-dir", &text(&site.data())]);
    if sealed {
        command.args(["--kek-file", &text(&site.kek())]);
    }
    let output = command.output().unwrap();
    assert!(before == fingerprint(site.path()), "{words:?} changed the directory");
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn load(node: &Node, dump: &[u8]) -> Output {
    load_with(node, dump, &[])
}

fn load_with(node: &Node, dump: &[u8], flags: &[&str]) -> Output {
    let mut command = sealkv();
    command.args(["load", "--to", &format!("127.0.0.1:{}", node.client_port)]).args(flags);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A load that is refused does not read to the end.
    let _ = child.stdin.take().unwrap().write_all(dump);
    child.wait_with_output().unwrap()
}

/// Rows of every kind: small, large, binary, with a deadline, overwritten, deleted.
fn write_rows(client: &mut Client) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    for number in 0..600_u32 {
        let key = [b"key-\r\n\0", &number.to_be_bytes()[..]].concat();
        let value = vec![(number % 251) as u8; (number as usize * 37) % 5000];
        assert_eq!(client.call(&[b"SET", &key, &value]), Reply::ok());
        rows.insert(key, value);
    }
    let large = vec![b'l'; 3_000_000];
    assert_eq!(client.call(&[b"SET", b"large", &large]), Reply::ok());
    rows.insert(b"large".to_vec(), large);
    assert_eq!(client.words("SET short later PX 1"), Reply::ok());
    assert_eq!(client.words("SET deleted x"), Reply::ok());
    assert_eq!(client.words("DEL deleted"), Reply::Integer(1));
    assert_eq!(client.words("SET until x PXAT 4102444800000"), Reply::ok());
    rows.insert(b"until".to_vec(), b"x".to_vec());
    rows
}

#[test]
fn a_dump_of_a_stopped_or_killed_node_is_loaded_into_another_one_row_by_row() {
    for (sealed, is_killed) in [(true, false), (true, true), (false, true)] {
        let site = Site::new();
        let node = Node::start(&if sealed { site.sealed() } else { site.clear() });
        let rows = write_rows(&mut node.client());
        std::thread::sleep(Duration::from_millis(50));
        // A killed node has its newest rows in the log alone.
        if is_killed {
            node.kill()
        } else {
            assert_eq!(node.stop().code(), Some(0))
        }
        let dumped = tool(&site, &["dump"], sealed);
        assert_eq!(dumped.status.code(), Some(0), "{}", stderr(&dumped));
        let other = Site::new();
        let node = Node::start(&other.sealed());
        let loaded = load(&node, &dumped.stdout);
        assert_eq!(loaded.status.code(), Some(0), "{}", stderr(&loaded));
        assert!(stderr(&loaded).contains(&format!("loaded {} rows, 0 errors", rows.len())), "{}", stderr(&loaded));
        let mut client = node.client();
        assert_eq!(client.words("DBSIZE"), Reply::Integer(rows.len() as i64));
        for (key, value) in &rows {
            assert_eq!(client.call(&[b"GET", key]), Reply::bulk(value));
        }
        assert_eq!(client.words("PEXPIRETIME until"), Reply::Integer(4_102_444_800_000));
        assert_eq!(client.words("PTTL large"), Reply::Integer(-1));
    }
}

#[test]
fn a_dump_without_the_kek_is_refused_and_a_load_says_what_is_wrong() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    let running = tool_output(&site, &["dump"]);
    assert_eq!(running.status.code(), Some(78), "the node runs: {}", stderr(&running));
    let wrong = load(&node, b"SET k v\r\n");
    assert_eq!(wrong.status.code(), Some(78));
    assert!(stderr(&wrong).contains("expected *"), "{}", stderr(&wrong));
    let errors = load(&node, b"*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n");
    assert_eq!(errors.status.code(), Some(74));
    assert!(stderr(&errors).contains("not an integer"), "{}", stderr(&errors));
    for (cut, expected) in [(&b""[..], 74), (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", 74)] {
        let loaded = load(&node, cut);
        assert_eq!(loaded.status.code(), Some(expected), "{}", stderr(&loaded));
        assert!(stderr(&loaded).contains("no whole dump"), "{}", stderr(&loaded));
        assert_eq!(load_with(&node, cut, &["--without-end"]).status.code(), Some(0));
    }
    assert_eq!(node.stop().code(), Some(0));
    let nobody = sealkv().args(["status", "--admin", "nonsense"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(78), "{}", stderr(&nobody));
    let flags = sealkv().args(["log", "verify"]).output().unwrap();
    assert!(stderr(&flags).contains("(see sealkv log verify -h)"), "{}", stderr(&flags));
    let below = sealkv().args(["serve", "--drain-seconds", "-1"]).output().unwrap();
    assert!(stderr(&below).contains("invalid value '-1' for '--drain-seconds'"), "{}", stderr(&below));
    let without = tool(&site, &["dump"], false);
    assert_eq!(without.status.code(), Some(78), "{}", stderr(&without));
    assert!(without.stdout.is_empty());
    let nowhere = sealkv().args(["load", "--to", &format!("127.0.0.1:{}", free_port())]).stdin(Stdio::null()).output();
    assert_eq!(nowhere.unwrap().status.code(), Some(78));
}

fn tool_output(site: &Site, words: &[&str]) -> Output {
    let (data, kek) = (text(&site.data()), text(&site.kek()));
    sealkv().args(words).args(["--data-dir", &data, "--kek-file", &kek]).output().unwrap()
}

#[test]
fn what_still_opens_of_a_damaged_state_is_dumped_and_what_does_not_is_named() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let rows = write_rows(&mut node.client());
    assert_eq!(node.stop().code(), Some(0));
    // The largest table has most of the rows.
    let tables = fs::read_dir(site.data().join("state")).unwrap().map(|entry| entry.unwrap().path());
    let tables = tables.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let table = tables.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    let at = bytes.len() / 7;
    bytes[at] ^= 0x10;
    fs::write(&table, &bytes).unwrap();
    let dumped = tool(&site, &["dump"], true);
    let said = stderr(&dumped);
    assert_eq!(dumped.status.code(), Some(74), "{said}");
    assert!(said.contains("cannot be read") && said.contains("checksum"), "the rows and the reason are named: {said}");
    let other = Site::new();
    let node = Node::start(&other.sealed());
    let loaded = load(&node, &dumped.stdout);
    assert_eq!(loaded.status.code(), Some(74), "the load knows that rows are missing");
    assert!(stderr(&loaded).contains("could not be read, its other rows are loaded"), "{}", stderr(&loaded));
    let mut client = node.client();
    let Reply::Integer(kept) = client.words("DBSIZE") else { panic!("a number") };
    println!("{kept} of {} rows were kept", rows.len());
    assert!(kept < rows.len() as i64 && kept > rows.len() as i64 * 8 / 10, "{kept} of {}: {said}", rows.len());
    for (key, value) in &rows {
        let found = client.call(&[b"GET", key]);
        assert!(found == Reply::Null || found == Reply::bulk(value), "a row is whole or not there");
    }
    let digest = tool(&site, &["state", "digest"], true);
    assert_eq!(digest.status.code(), Some(74), "{}", stderr(&digest));
    assert!(digest.stdout.is_empty());
}

#[test]
fn the_digest_of_a_running_node_is_that_of_its_stopped_state() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    write_rows(&mut node.client());
    let mut client = node.client();
    let digest_of = |reply: Reply| match reply {
        Reply::Array(parts) => match &parts[..] {
            [_, Reply::Integer(applied), _, Reply::Bulk(digest)] => {
                (*applied, String::from_utf8(digest.clone()).unwrap())
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    // Its removal is replicated before the answer: behind that nothing changes by itself.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(client.words("GET short"), Reply::Null);
    let (applied, digest) = digest_of(client.words("SEALKV DIGEST"));
    assert_eq!(client.words("SET one more"), Reply::ok());
    let (later, other) = digest_of(client.words("SEALKV DIGEST"));
    assert!(later > applied && other != digest);
    node.kill();
    // What the kernel was asked for before the end may still reach a file.
    std::thread::sleep(Duration::from_millis(200));
    let stopped = tool(&site, &["state", "digest"], true);
    assert_eq!(stopped.status.code(), Some(0), "{}", stderr(&stopped));
    let line: serde_json::Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert!(line["applied"].as_i64().unwrap() >= later, "{line}");
    assert_eq!(line["digest"], other.as_str(), "the log above the state is in it");
}

#[test]
fn status_says_whether_a_node_is_ready_and_74_where_none_is() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let status = |port: u16| sealkv().args(["status", "--admin", &format!("127.0.0.1:{port}")]).output().unwrap();
    let ready = status(node.admin_port);
    assert_eq!(ready.status.code(), Some(0), "{}", stderr(&ready));
    let words = String::from_utf8(ready.stdout).unwrap();
    assert!(words.contains("\"ready\":true") && words.contains("sealkv_raft_applied_index"), "{words}");
    assert_eq!(status(node.client_port).status.code(), Some(74), "clients are not the admin");
    let port = node.admin_port;
    assert_eq!(node.stop().code(), Some(0));
    assert_eq!(status(port).status.code(), Some(74));
}
