//! MULTI, EXEC and WATCH of the running node: all or nothing, beside Redis itself.

use std::time::Duration;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::redis::Redis;

/// The reproduction of a transaction that was half done: its commands were run although MULTI was refused.
#[test]
fn a_transaction_sent_as_one_pipeline_is_done_whole_or_not_at_all() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    client.send(b"MULTI\r\nSET a 1\r\nINCR a\r\nEXEC\r\nGET a\r\n").unwrap();
    let queued = Reply::Simple("QUEUED".to_owned());
    let executed = Reply::Array(vec![Reply::ok(), Reply::Integer(2)]);
    for expected in [Reply::ok(), queued.clone(), queued.clone(), executed, Reply::bulk("2")] {
        assert_eq!(client.reply().unwrap(), expected);
    }
    client.send(b"MULTI\r\nSET a 5\r\nLPUSH l x\r\nSET b 1\r\nEXEC\r\nMGET a b\r\n").unwrap();
    let replies: Vec<Reply> = (0..6).map(|_| client.reply().unwrap()).collect();
    assert!(matches!(&replies[2], Reply::Error(words) if words.starts_with("ERR unknown command 'LPUSH'")));
    let aborted = "EXECABORT Transaction discarded because of previous errors.".to_owned();
    assert_eq!(replies[4], Reply::Error(aborted));
    assert_eq!(replies[5], Reply::Array(vec![Reply::bulk("2"), Reply::Null]));
}

/// Eight clients move a counter by WATCH, GET, MULTI, SET, EXEC until each has done it fifty times.
#[test]
fn no_increment_under_watch_is_lost_and_a_kill_leaves_whole_transactions() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = node.client();
                let mut done = 0;
                while done < 50 {
                    assert_eq!(client.words("WATCH n"), Reply::ok());
                    let number = match client.words("GET n") {
                        Reply::Null => 0,
                        Reply::Bulk(digits) => String::from_utf8(digits).unwrap().parse::<u32>().unwrap(),
                        other => panic!("{other:?}"),
                    };
                    client
                        .send(format!("MULTI\r\nSET n {0}\r\nSET twin {0}\r\nEXEC\r\n", number + 1).as_bytes())
                        .unwrap();
                    (0..3).for_each(|_| drop(client.reply().unwrap()));
                    // The client reads the null array of a transaction that did not run as an empty one.
                    done += u32::from(client.reply().unwrap() == Reply::Array(vec![Reply::ok(), Reply::ok()]));
                }
            });
        }
    });
    assert_eq!(node.client().words("MGET n twin"), Reply::Array(vec![Reply::bulk("400"), Reply::bulk("400")]));
    let mut writer = node.client();
    let mut acknowledged = 0_u32;
    std::thread::scope(|scope| {
        let count = &mut acknowledged;
        scope.spawn(move || {
            for number in 0_u32.. {
                let sent = writer.send(format!("MULTI\r\nSET n {number}\r\nSET twin {number}\r\nEXEC\r\n").as_bytes());
                if sent.is_err() || (0..4).any(|_| writer.reply().is_err()) {
                    break;
                }
                *count = number;
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        node.kill();
    });
    let node = Node::start(&site.sealed());
    let Reply::Array(values) = node.client().words("MGET n twin") else { panic!("an array is owed") };
    assert_eq!(values[0], values[1], "both or neither");
    let Reply::Bulk(found) = &values[0] else { panic!("{values:?}") };
    let found = String::from_utf8_lossy(found).parse::<u32>().unwrap();
    assert!(acknowledged > 0 && (acknowledged..=acknowledged + 1).contains(&found), "{acknowledged} {found}");
}

/// Method: two connections to each server, one random command after another on one of them, each reply compared. Times are
/// left out: the servers' clocks differ.
#[test]
fn random_transactions_are_answered_as_redis_answers_them() {
    let Some(redis) = Redis::start() else { return };
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut ours = [node.client(), node.client()];
    let mut theirs = [Client::connect(redis.port), Client::connect(redis.port)];
    let seed = std::env::var("SEALKV_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128_u64);
    println!("SEALKV_SEED={seed}");
    let mut draw = seed;
    let mut pick = |list: &[&'static str]| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        list[usize::try_from(draw >> 33).unwrap() % list.len()]
    };
    let mut executed = 0;
    for step in 0..12_000 {
        let which = if pick(&["1", "1", "2"]) == "1" { 0 } else { 1 };
        let line = pick(COMMANDS).replace('K', pick(&["a", "b", "c"])).replace('V', pick(&["1", "x", "-7", "2.5"]));
        let (our, their) = (ours[which].words(&line), theirs[which].words(&line));
        assert_eq!(our, their, "step {step}, connection {which}, {line:?}");
        executed += u32::from(matches!(&our, Reply::Array(replies) if replies.len() > 1));
    }
    assert!(executed > 150, "vacuous: {executed} arrays");
}

const COMMANDS: &[&str] = &[
    "MULTI",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH K",
    "WATCH K",
    "WATCH a b",
    "UNWATCH",
    "SET K V",
    "SET K V",
    "SET K V NX",
    "SET K V XX GET",
    "GET K",
    "GET K",
    "DEL K",
    "DEL a b",
    "INCR K",
    "INCRBYFLOAT K V",
    "APPEND K V",
    "MSET a V b V",
    "MSET a V b",
    "MGET a b c",
    "STRLEN K",
    "EXISTS a b K",
    "GETDEL K",
    "GETSET K V",
    "SETRANGE K 2 V",
    "TTL K",
    "PERSIST K",
    "TYPE K",
    "DECRBY K 3",
    "MSETNX K V c V",
    "PING",
    "ECHO V",
    "SETNX K V",
    "GETRANGE K 0 1",
    "GET",
    "NOSUCH K",
    "SET K V EX x",
    "INCRBY K V",
    "FLUSHALL",
    "RESET",
    "WATCH",
    "EXEC now",
    "CLIENT GETNAME",
    "SELECT 0",
    "GETEX K PERSIST",
];
