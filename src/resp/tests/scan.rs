//! SCAN, KEYS and RANDOMKEY as a client sees them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::resp::tests::double::House;
use crate::resp::tests::double::Talker;
use crate::resp::tests::double::array;

/// Cursor and keys of one SCAN.
fn scan(client: &mut Talker, line: &str) -> (String, Vec<String>) {
    let reply = client.ask(line);
    let mut lines = reply.split("\r\n");
    assert_eq!((lines.next(), lines.next().map(|line| &line[..1])), (Some("*2"), Some("$")), "{line}: {reply}");
    let cursor = lines.next().unwrap().to_owned();
    let keys = lines.skip(1).skip(1).step_by(2).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    (cursor, keys)
}

fn scan_all(client: &mut Talker, options: &str) -> (usize, Vec<String>) {
    let (mut cursor, mut keys, mut calls) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let (next, some) = scan(client, &format!("SCAN {cursor} {options}"));
        assert!(next.parse::<u64>().unwrap() < 1 << 53, "every client's numbers hold it");
        keys.extend(some);
        calls += 1;
        if next == "0" {
            return (calls, keys);
        }
        cursor = next;
    }
}

#[test]
fn a_scan_meets_every_key_once_whatever_it_is_asked_for_at_once() {
    let house = House::open();
    let mut client = house.client();
    assert_eq!(scan_all(&mut client, ""), (1, vec![]));
    let expected: BTreeSet<String> = (0..300).map(|number| format!("key:{number}")).collect();
    let line: String = expected.iter().map(|key| format!(" {key} v")).collect();
    assert_eq!(client.ask(&format!("MSET{line}")), "+OK\r\n");
    for (options, calls_at_least) in [("", 29), ("COUNT 1", 299), ("COUNT 7", 42), ("COUNT 100000", 1)] {
        let (calls, keys) = scan_all(&mut client, options);
        assert!((calls_at_least..=calls_at_least + 2).contains(&calls), "{options}: {calls}");
        assert_eq!(keys.len(), 300, "{options}");
        assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), expected, "{options}");
    }
    let (_, keys) = scan_all(&mut client, "MATCH key:1? COUNT 50 TYPE string");
    assert_eq!(keys.len(), 10);
    assert_eq!(scan_all(&mut client, "TYPE list"), (1, vec![]));
    assert_eq!(scan(&mut client, "SCAN 18446744073709551615"), ("0".to_owned(), vec![]));
    assert_eq!(scan(&mut client, "SCAN -7"), ("0".to_owned(), vec![]));
    assert_eq!(client.ask("KEYS key:29?").matches("key:29").count(), 10);
    assert_eq!(client.ask("KEYS *").split("\r\n").next(), Some("*300"));
    let random: BTreeSet<String> = (0..50).map(|_| client.ask("RANDOMKEY")).collect();
    assert!(random.len() > 10, "{random:?}");
    assert!(random.iter().all(|reply| reply.contains("\r\nkey:")));
}

#[test]
fn what_is_past_due_gone_or_elsewhere_is_not_met() {
    let house = House::open();
    let mut client = house.client();
    for line in ["SET a 1", "SET b 1 PX 100", "SET c 1", "DEL c", "SELECT 1", "SET d 1", "SELECT 0"] {
        assert!(!client.ask(line).starts_with('-'), "{line}");
    }
    house.below.wall_ms.fetch_add(1000, Ordering::Relaxed);
    assert_eq!(scan_all(&mut client, "COUNT 1").1, ["a"]);
    assert_eq!(client.ask("KEYS *"), "*1\r\n$1\r\na\r\n");
    assert_eq!(client.ask("RANDOMKEY"), "$1\r\na\r\n");
    assert_eq!(client.ask("SELECT 1"), "+OK\r\n");
    assert_eq!(client.ask("KEYS *"), "*1\r\n$1\r\nd\r\n");
    assert_eq!(client.ask("FLUSHDB"), "+OK\r\n");
    assert_eq!(client.ask("RANDOMKEY"), "$-1\r\n");
    assert_eq!(client.ask("KEYS *"), "*0\r\n");
}

/// Inside a transaction a walk sees what the commands before it did, and stays short: others wait behind it.
#[test]
fn a_walk_inside_a_transaction_sees_its_writes_and_is_bounded() {
    let house = House::open();
    let mut client = house.client();
    for line in ["MSET a 1 b 1", "MULTI", "DEL a", "SET c 1", "KEYS *", "SCAN 0", "FLUSHDB", "SET d 1", "KEYS *"] {
        assert!(!client.ask(line).starts_with('-'), "{line}");
    }
    let reply = client.ask("EXEC");
    let keys = |reply: &str| reply.split("\r\n").filter(|line| ["a", "b", "c", "d"].contains(line)).count();
    assert_eq!(keys(&reply), 5, "{reply}");
    assert!(reply.ends_with("*1\r\n$1\r\nd\r\n"), "{reply}");
    let line: String = (0..5000).map(|number| format!(" k{number} v")).collect();
    assert_eq!(client.ask(&format!("MSET{line}")), "+OK\r\n");
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("KEYS *"), "+QUEUED\r\n");
    let words = "*1\r\n-ERR KEYS inside a transaction looks at 4096 keys at most, use SCAN\r\n";
    assert_eq!(client.ask("EXEC"), words);
    let slow = format!("k{}", "a".repeat(60_000));
    client.ask(&format!("SET {slow} v"));
    let pattern = format!("*{}b", "a".repeat(1000));
    for line in ["MULTI".to_owned(), "FLUSHDB".to_owned(), format!("SET {slow} v"), format!("KEYS {pattern}")] {
        assert!(!client.ask(&line).starts_with('-'), "{line}");
    }
    client.ask(&format!("SCAN 0 MATCH {pattern}"));
    let words = "-ERR the pattern takes too long to match\r\n";
    assert_eq!(client.ask("EXEC"), format!("*4\r\n+OK\r\n+OK\r\n{words}{words}"));
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    (0..16).for_each(|_| assert_eq!(client.ask("SCAN 0"), "+QUEUED\r\n"));
    assert_eq!(client.ask("RANDOMKEY"), "-ERR a transaction may have 16 DBSIZE, KEYS, LCS, RANDOMKEY and SCAN\r\n");
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
}

#[test]
fn wrong_cursors_options_and_patterns_are_refused() {
    let house = House::open();
    let mut client = house.client();
    for (line, words) in [
        ("SCAN", "ERR wrong number of arguments for 'scan' command"),
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN 1x", "ERR invalid cursor"),
        ("SCAN 18446744073709551616", "ERR invalid cursor"),
        ("SCAN 0 COUNT", "ERR syntax error"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        ("SCAN 0 COUNT -1", "ERR syntax error"),
        ("SCAN 0 COUNT x", "ERR value is not an integer or out of range"),
        ("SCAN 0 NOVALUES", "ERR syntax error"),
        ("SCAN 0 LIMIT 5", "ERR syntax error"),
        ("KEYS", "ERR wrong number of arguments for 'keys' command"),
        ("RANDOMKEY 1", "ERR wrong number of arguments for 'randomkey' command"),
    ] {
        assert_eq!(client.ask(line), format!("-{words}\r\n"), "{line}");
    }
    assert_eq!(client.ask("SET k v"), "+OK\r\n");
    let stars = b"*".repeat(64 << 10);
    client.send(&array(&[b"KEYS", &stars]));
    assert_eq!(client.reply(), "*1\r\n$1\r\nk\r\n");
    let long = b"a?".repeat(2 << 10);
    client.send(&array(&[b"SCAN", b"0", b"MATCH", &long]));
    assert_eq!(client.reply(), "-ERR a pattern may have 1024 bytes\r\n");
    // On the thread of many clients, too.
    for words in [&[&b"CONFIG"[..], b"GET"][..], &[b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN"]] {
        client.send(&array(&[words, &[&long[..]]].concat()));
        assert_eq!(client.reply(), "-ERR a pattern may have 1024 bytes\r\n");
    }
    client.send(&array(&[&[&b"CONFIG"[..], b"GET"][..], &[&b"port"[..]; 65]].concat()));
    assert_eq!(client.reply(), "-ERR CONFIG GET may have 64 patterns\r\n");
    client.send(&array(&[b"KEYS", b"\\**"]));
    assert_eq!(client.reply(), "*0\r\n", "an escaped star is not a star");
}
