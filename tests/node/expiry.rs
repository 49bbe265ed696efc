//! Expired keys that nobody touches are gone from the state, without a client.

use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::operator::http;

/// Rows in the state, whether past due or not.
fn rows(client: &mut Client) -> i64 {
    let Reply::Array(fields) = client.words("SEALKV ENCRYPTION SCAN") else { panic!("a map") };
    let numbers = fields.iter().map(|field| if let Reply::Integer(number) = field { *number } else { 0 });
    numbers.sum()
}

fn info(client: &mut Client, section: &str) -> String {
    let Reply::Bulk(text) = client.words(&format!("INFO {section}")) else { panic!("INFO is a text") };
    String::from_utf8(text).unwrap()
}

fn set_many(client: &mut Client, count: usize, ttl_ms: u64) {
    let ttl = ttl_ms.to_string();
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        for number in chunk {
            let key = format!("key:{number}");
            client.send(&encode(&[b"SET", key.as_bytes(), b"some value", b"PX", ttl.as_bytes()])).unwrap();
        }
        for _ in chunk {
            assert_eq!(client.reply().unwrap(), Reply::ok());
        }
    }
}

/// `SEALKV_EXPIRY_KEYS` sets another number of keys.
#[test]
fn expired_keys_that_nobody_touches_leave_the_state() {
    let count = std::env::var("SEALKV_EXPIRY_KEYS").map_or(20_000, |text| text.parse().unwrap());
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("SET stays v"), Reply::ok());
    assert_eq!(client.words("SET stays-longer v EX 1000"), Reply::ok());
    set_many(&mut client, count, 1000);
    let begin = Instant::now();
    // Looked at by the metric, which touches no key.
    let removed = || {
        let (_, metrics) = http(node.admin_port, "/metrics");
        let metrics = String::from_utf8(metrics).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("sealkv_expired_keys_total ")).unwrap();
        line.parse::<f64>().unwrap() as usize
    };
    while removed() < count {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} of {count} after a minute", removed());
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{count} keys were gone {:.1} s after the last was set", begin.elapsed().as_secs_f64());
    assert_eq!(rows(&mut client), 2);
    assert_eq!(client.words("DBSIZE"), Reply::Integer(2));
    // The walk that met the last of them may have counted others of them before their time.
    let mut keyspace = info(&mut client, "keyspace");
    while !keyspace.contains("db0:keys=2,expires=1,") {
        assert!(begin.elapsed() < Duration::from_secs(90), "{keyspace}");
        std::thread::sleep(Duration::from_millis(100));
        keyspace = info(&mut client, "keyspace");
    }
    let ttl = keyspace.trim().split("avg_ttl=").nth(1).unwrap().parse::<u64>().unwrap();
    assert!((900_000..1_000_000).contains(&ttl), "{keyspace}");
    assert!(node.stop().success());
}
