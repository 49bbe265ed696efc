//! NO-SECRETS-OUT: users' keys and values are found nowhere in the data directory, nor in the node's own lines.

use std::fs;
use std::path::Path;

use sealkv::node::config::Config;
use sealkv::node::open;
use sealkv::node::settings::Settings;
use sealkv::world::World;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::planted::Planted;

/// Goal: plant keys and values nobody else writes, make the node log, flush, restart and recycle, then search every byte.
#[test]
fn keys_and_values_are_found_nowhere_in_the_data_directory() {
    let site = Site::new();
    let canaries: Vec<String> = (0..64).map(|i| format!("canary-{i:03}-{:032x}", fresh())).collect();
    let keys: Vec<String> = (0..64).map(|i| format!("key-{i:03}-{:032x}", fresh())).collect();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    for (key, canary) in keys.iter().zip(&canaries) {
        assert_eq!(client.words(&format!("SET {key} {canary}")), Reply::ok());
        assert_eq!(client.words(&format!("APPEND {key} {canary}")), Reply::Integer(86));
    }
    assert!(client.words(&format!("EXPIRE {} {}", keys[0], canaries[0])) != Reply::Integer(1));
    assert_eq!(client.words(&format!("EXPIRE {} 1000", keys[2])), Reply::Integer(1));
    assert_eq!(client.words(&format!("DEL {}", keys[3])), Reply::Integer(1));
    let admin = metrics(node.admin_port);
    let log = node.log();
    assert_eq!(node.stop().code(), Some(0));
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words(&format!("GET {}", keys[1])), Reply::bulk(format!("{0}{0}", canaries[1])));
    let second_log = node.log();
    node.kill();

    for (path, bytes) in files(&site.data()) {
        for canary in canaries.iter().chain(&keys) {
            assert!(!contains(&bytes, canary.as_bytes()), "{canary} stands in the clear in {path}");
        }
    }
    for canary in canaries.iter().chain(&keys) {
        assert!(!log.contains(canary) && !second_log.contains(canary) && !admin.contains(canary));
    }
}

#[test]
fn without_encryption_the_same_search_finds_keys_and_values() {
    // The search itself is worth nothing if it cannot find anything.
    let site = Site::new();
    let node = Node::start(&site.clear());
    let [key, canary] = ["key", "canary"].map(|word| format!("{word}-{:032x}", fresh()));
    assert_eq!(node.client().words(&format!("SET {key} {canary}")), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    for word in [key, canary] {
        for directory in ["/state/", "/log/"] {
            let is_there =
                |(path, bytes): &(String, Vec<u8>)| path.contains(directory) && contains(bytes, word.as_bytes());
            assert!(files(&site.data()).iter().any(is_there), "{word} in {directory}");
        }
    }
}

/// Goal: everything that a node says of itself at its most talkative, under load that goes right and wrong in every way
/// that a client can choose, holds no byte of a key and no value.
#[test]
fn no_secrets_out_of_a_node_at_trace_level_under_load() {
    let site = Site::new();
    site.make_random_kek();
    let (canary, password) = (format!("canary{:032x}", fresh()), format!("{:032x}", fresh()));
    let password_file = site.make_secret("password", format!("{password}\n").as_bytes());
    let mut args = site.sealed();
    args.extend(["--log-level".to_owned(), "trace".to_owned(), "--requirepass-file".to_owned()]);
    args.push(password_file.to_str().unwrap().to_owned());
    let mut said = String::new();
    for life in 0..2 {
        let node = Node::start(&args);
        let mut client = node.client();
        client.words(&format!("AUTH {canary}"));
        assert_eq!(client.words(&format!("AUTH {password}")), Reply::ok());
        for n in 0..300 {
            assert_eq!(client.words(&format!("SET {life}-{n} {canary}")), Reply::ok());
            client.words(&format!("APPEND {life}-{n} {canary}"));
            client.words(&format!("INCR {life}-{n}"));
            client.words(&format!("EXPIRE {life}-{n} {canary}"));
            client.words(&format!("SETRANGE {life}-{n} 9999999 {canary}"));
            client.words(&format!("MGET {life}-{n} 0-0"));
            client.words(&format!("{canary} {canary} {canary}"));
        }
        client.send(format!("SET p {canary}\r\nGET p\r\nGETDEL p\r\n").repeat(50).as_bytes()).unwrap();
        (0..150).for_each(|_| drop(client.reply().unwrap()));
        for broken in [format!("*1\r\n${canary}\r\n"), format!("*{canary}\r\n"), format!("SET \"{canary}\r\n")] {
            let mut other = node.client();
            other.words(&format!("AUTH {password}"));
            other.send(broken.as_bytes()).unwrap();
            drop(other.reply());
        }
        said.push_str(&metrics(node.admin_port));
        for words in ["INFO", "CONFIG GET *", "CLIENT LIST", "COMMAND COUNT"] {
            said.push_str(&format!("{:?}", client.words(words)));
        }
        assert!(node.says("\"TRACE\"") && node.says("client connection ends"), "it is at trace level");
        said.push_str(&node.log());
        assert_eq!(node.stop().code(), Some(0));
    }
    let settings = Settings { data_dir: Some(site.data()), kek_file: Some(site.kek()), ..Settings::default() };
    let world = World::real();
    let opened = open::open(&Config::check(settings).unwrap(), &world).map_err(|refusal| refusal.to_string()).unwrap();
    let mut planted = Planted::keys_of(&site, &opened);
    planted.add("value", canary.as_bytes());
    planted.add("password", password.as_bytes());
    planted.assert_absent("what the node said", said);
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
