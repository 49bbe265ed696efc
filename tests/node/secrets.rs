//! NO-SECRETS-OUT: values are found nowhere in the data directory, nor in the node's own lines.

use std::fs;
use std::path::Path;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;

/// Goal: plant values nobody else writes, make the node log, flush, restart and recycle, then search every byte.
#[test]
fn values_are_found_nowhere_in_the_data_directory_and_keys_are() {
    let site = Site::new();
    let canaries: Vec<String> = (0..64).map(|i| format!("canary-{i:03}-{:032x}", fresh())).collect();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    for (i, canary) in canaries.iter().enumerate() {
        assert_eq!(client.words(&format!("SET visible-key-{i:03} {canary}")), Reply::ok());
        assert_eq!(client.words(&format!("APPEND visible-key-{i:03} {canary}")), Reply::Integer(86));
    }
    assert!(client.words(&format!("EXPIRE visible-key-000 {}", canaries[0])) != Reply::Integer(1));
    let admin = metrics(node.admin_port);
    let log = node.log();
    assert_eq!(node.stop().code(), Some(0));
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("GET visible-key-001"), Reply::bulk(format!("{0}{0}", canaries[1])));
    let second_log = node.log();
    node.kill();

    let mut keys_seen = false;
    for (path, bytes) in files(&site.data()) {
        for canary in &canaries {
            assert!(!contains(&bytes, canary.as_bytes()), "a value stands in the clear in {}", path);
        }
        keys_seen |= path.contains("/state/") && contains(&bytes, b"visible-key-");
    }
    assert!(keys_seen, "keys are in the clear in state/, as the threat table says");
    for canary in &canaries {
        assert!(!log.contains(canary) && !second_log.contains(canary) && !admin.contains(canary));
    }
}

#[test]
fn without_encryption_the_same_search_finds_the_values() {
    // The search itself is worth nothing if it cannot find anything.
    let site = Site::new();
    let node = Node::start(&site.clear());
    let canary = format!("canary-{:032x}", fresh());
    assert_eq!(node.client().words(&format!("SET k {canary}")), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    assert!(files(&site.data()).iter().any(|(_, bytes)| contains(bytes, canary.as_bytes())));
}

fn metrics(port: u16) -> String {
    use std::io::Read;
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
    text
}

pub fn fresh() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    u128::from_be_bytes(bytes)
}

pub fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found
}

pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
