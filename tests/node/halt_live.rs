//! A halt while clients are connected: whoever waits for an entry from the halt on is told nothing, and surely not "failed".
//!
//! The method: a stored value is damaged in the state of a stopped node, as a bad disk does. The node starts, since nobody
//! reads the row; a client's read-modify-write of it is committed, and cannot be applied.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use sealkv::testing::picture::Picture;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::halt::open;
use crate::halt::row_name;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::refused_start;

/// The row of a key, changed in the state on the disk; returns what was there.
fn change_row(site: &Site, key: &[u8], changed: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let opened = open(site, Some(site.kek()));
    let name = row_name(&opened, key);
    let good = Picture::of_base(&*opened.base).rows.remove(&name).expect("the row is there");
    let mut row = good.clone();
    changed(&mut row);
    let mut file = opened.base.begin_file(&opened.record.encode()).unwrap();
    file.put(&name, &row).unwrap();
    file.finish().unwrap().ingest().unwrap();
    good
}

/// Everything that comes until the connection is closed: whole replies only, and the kind of its end.
fn replies_to_the_end(client: &mut Client) -> Vec<Reply> {
    let mut replies = Vec::new();
    loop {
        match client.reply() {
            Ok(reply) => replies.push(reply),
            Err(error) => {
                use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
                assert!(matches!(error.kind(), UnexpectedEof | ConnectionReset), "closed, not silent: {error}");
                return replies;
            }
        }
    }
}

/// Every number in the line "apply halted at index N term N".
fn halted_at(output: &str) -> Vec<u64> {
    let (_, rest) = output.split_once("apply halted at index ").unwrap_or_else(|| panic!("no halt in {output}"));
    rest.split([' ', ':']).filter_map(|word| word.parse().ok()).take(2).collect()
}

#[test]
fn state_machine_halts_the_node_with_74_and_its_clients_see_a_closed_connection() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("MSET sick 41 well 1"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    let good = change_row(&site, b"sick", |row| *row.last_mut().unwrap() ^= 1);

    let mut node = Node::start(&site.sealed());
    let (mut idle, mut writer) = (node.client(), node.client());
    assert_eq!(idle.words("GET well"), Reply::bulk("1"), "what nobody asks for harms nobody");
    assert_eq!(writer.words("SET before 1"), Reply::ok());
    // A read of it fails alone; a plain SET of another key goes on.
    assert!(matches!(idle.words("GET sick"), Reply::Error(_)));
    assert_eq!(writer.words("SET before 2"), Reply::ok());
    let pipeline: [&[&[u8]]; 3] = [&[b"SET", b"with", b"1"], &[b"INCR", b"sick"], &[b"SET", b"behind", b"1"]];
    writer.send(&pipeline.map(encode).concat()).unwrap();
    assert_eq!(replies_to_the_end(&mut writer), [], "neither an answer nor an error: the entry is committed");
    assert_eq!(replies_to_the_end(&mut idle), []);
    assert_eq!(node.wait(Duration::from_secs(20)).code(), Some(74));
    let log = node.log();
    for word in ["key 1", "state_machine", "keep a copy of the whole directory"] {
        assert!(log.contains(word), "{word:?} is not in {log}");
    }
    let place = halted_at(&log);

    // It halts there again, whatever the entry behind it is.
    let ended = refused_start(&site.sealed());
    assert_eq!((ended.status, halted_at(&ended.output)), (74, place.clone()), "{}", ended.output);
    let opened = open(&site, Some(site.kek()));
    assert_eq!(opened.record.applied.position.index.0 + 1, place[0], "everything before it is applied and flushed");
    let rows = Picture::of_base(&*opened.base).rows;
    assert!(!rows.contains_key(&row_name(&opened, b"with")), "no half of the entry");
    assert!(!rows.contains_key(&row_name(&opened, b"behind")));
    drop(opened);

    // The row is put back: the entry is applied as it was committed, once.
    change_row(&site, b"sick", |row| row.clone_from(&good));
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    for (key, value) in [("sick", "42"), ("with", "1"), ("behind", "1"), ("before", "2"), ("well", "1")] {
        assert_eq!(client.words(&format!("GET {key}")), Reply::bulk(value), "{key}");
    }
    assert_eq!(node.stop().code(), Some(0));
}

#[test]
fn of_many_clients_at_a_halt_none_is_told_that_a_committed_write_failed() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET sick 41"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    let good = change_row(&site, b"sick", |row| *row.last_mut().unwrap() ^= 1);

    let node = Node::start(&site.sealed());
    let halts = AtomicBool::new(false);
    let outcomes: Vec<(u64, Vec<String>)> = std::thread::scope(|scope| {
        let halts = &halts;
        let node = &node;
        let writers: Vec<_> =
            (0..4).map(|writer| scope.spawn(move || write_until_closed(node, writer, halts))).collect();
        std::thread::sleep(Duration::from_millis(300));
        halts.store(true, SeqCst);
        let mut client = node.client();
        client.send(&encode(&[b"INCR", b"sick"])).unwrap();
        assert_eq!(replies_to_the_end(&mut client), []);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    drop(node);
    change_row(&site, b"sick", |row| row.clone_from(&good));
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("GET sick"), Reply::bulk("42"));
    let mut acknowledged = 0;
    for (writer, (count, refused)) in outcomes.iter().enumerate() {
        acknowledged += count;
        for n in 0..*count {
            assert_eq!(client.words(&format!("GET w{writer}-{n}")), Reply::bulk("v"), "an acknowledged write is there");
        }
        for key in refused {
            assert_eq!(client.words(&format!("GET {key}")), Reply::Null, "told \"not executed\", and it was");
        }
    }
    assert!(acknowledged > 20, "clients were really at work: {acknowledged}");
    assert_eq!(node.stop().code(), Some(0));
}

/// Sets one key after another until the connection is closed: how many were acknowledged, and which were refused.
fn write_until_closed(node: &Node, writer: usize, halts: &AtomicBool) -> (u64, Vec<String>) {
    let mut client = node.client();
    let mut refused = Vec::new();
    for n in 0.. {
        let key = format!("w{writer}-{n}");
        match client.try_call(&[b"SET", key.as_bytes(), b"v"]) {
            Ok(Reply::Simple(word)) => assert_eq!(word, "OK"),
            Ok(Reply::Error(line)) => {
                // Not proposed at all, since the node is ending: true, if the key is not there after the restart.
                assert!(line.starts_with("TRYAGAIN"), "{line}");
                refused.push(key);
                return (n, refused);
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => {
                assert!(halts.load(SeqCst), "closed before anything happened");
                return (n, refused);
            }
        }
    }
    unreachable!("numbers do not end")
}
