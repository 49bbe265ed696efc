//! SCAN of the running node: what is there all the time is met, whatever happens between two calls.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;

/// The next cursor and the keys.
fn scan(client: &mut Client, cursor: &str) -> (String, Vec<String>) {
    let Reply::Array(parts) = client.words(&format!("SCAN {cursor} COUNT 40")) else { panic!("a cursor and keys") };
    let [Reply::Bulk(next), Reply::Array(keys)] = &parts[..] else { panic!("{parts:?}") };
    let text = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    (String::from_utf8(next.clone()).unwrap(), keys.iter().map(text).collect())
}

/// Method: keys that stay, keys that come and go, and between the calls of one scan a write to every stable key (which moves
/// its row up again), a clean restart (which flushes) and a kill (which replays).
#[test]
fn a_scan_across_writes_flushes_restarts_and_kills_meets_every_key_that_stays() {
    let site = Site::new();
    let mut node = Node::start(&site.sealed());
    let stable: BTreeSet<String> = (0..2000).map(|number| format!("stable:{number}")).collect();
    let line: String = stable.iter().map(|key| format!(" {key} v")).collect();
    let mut client = node.client();
    assert_eq!(client.words(&format!("MSET{line}")), Reply::ok());
    let (mut cursor, mut met, mut calls) = ("0".to_owned(), BTreeSet::new(), 0);
    loop {
        let (next, keys) = scan(&mut client, &cursor);
        met.extend(keys);
        calls += 1;
        if next == "0" {
            break;
        }
        cursor = next;
        assert_eq!(client.words(&format!("SET passing:{calls} v")), Reply::ok());
        client.words(&format!("DEL passing:{}", calls / 2));
        match calls % 20 {
            5 => assert_eq!(client.words(&format!("MSET{line}")), Reply::ok()),
            10 => {
                drop(client);
                node.stop();
                node = Node::start(&site.sealed());
                client = node.client();
            }
            15 => {
                drop(client);
                node.kill();
                node = Node::start(&site.sealed());
                client = node.client();
            }
            _ => {}
        }
    }
    assert!(calls >= 50, "{calls}");
    let missed: Vec<&String> = stable.difference(&met).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(met.iter().all(|key| key.starts_with("stable:") || key.starts_with("passing:")));
}
