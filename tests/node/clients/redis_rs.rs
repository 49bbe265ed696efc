//! redis-rs against a node at the port in the first argument. Ends with an error at the first difference.
use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

use redis::Commands;
use redis::Connection;
use redis::RedisResult;
use redis::Value;

fn main() -> RedisResult<()> {
    let port = std::env::args().nth(1).expect("a port");
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/6"))?;
    let (mut one, mut two) = (client.get_connection()?, client.get_connection()?);
    redis::cmd("FLUSHDB").exec(&mut one)?;
    strings(&mut one)?;
    expiry(&mut one)?;
    pipeline(&mut one)?;
    transactions(&mut one, &mut two)?;
    let found: HashSet<String> = one.scan_match("p*")?.collect::<RedisResult<_>>()?;
    assert_eq!(found.len(), 200, "SCAN");
    println!("redis-rs");
    Ok(())
}

fn strings(one: &mut Connection) -> RedisResult<()> {
    let bytes: Vec<u8> = (0..=255).collect();
    let (): () = one.set("bytes", &bytes)?;
    assert_eq!(one.get::<_, Vec<u8>>("bytes")?, bytes);
    assert_eq!(one.get::<_, Option<String>>("absent")?, None);
    assert!(!one.set_nx::<_, _, bool>("bytes", "x")?);
    let counts: [i64; 3] = [one.incr("n", 1)?, one.incr("n", 1)?, one.incr("n", 10)?];
    assert_eq!(counts, [1, 2, 12]);
    let (): () = one.mset(&[("a", "1"), ("b", "2")])?;
    let got: Vec<Option<String>> = one.mget(&["a", "b", "absent"])?;
    assert_eq!(got, [Some("1".to_owned()), Some("2".to_owned()), None]);
    Ok(())
}

fn expiry(one: &mut Connection) -> RedisResult<()> {
    let (): () = one.pset_ex("soon", "x", 1000)?;
    assert!((1..=1000).contains(&one.pttl::<_, i64>("soon")?));
    let (): () = one.expire("a", 100)?;
    assert_eq!(one.ttl::<_, i64>("a")?, 100);
    assert!(one.persist::<_, bool>("a")?);
    assert_eq!(one.ttl::<_, i64>("a")?, -1);
    sleep(Duration::from_millis(1100));
    assert_eq!(one.get::<_, Option<String>>("soon")?, None);
    Ok(())
}

fn pipeline(one: &mut Connection) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    for i in 0..200 {
        pipe.set(format!("p{i}"), i).ignore().get(format!("p{i}"));
    }
    let got: Vec<i64> = pipe.query(one)?;
    assert_eq!(got, (0..200).collect::<Vec<_>>());
    Ok(())
}

fn transactions(one: &mut Connection, two: &mut Connection) -> RedisResult<()> {
    redis::cmd("WATCH").arg("a").exec(one)?;
    let won: (i64, String) = redis::pipe().atomic().incr("a", 1).get("b").query(one)?;
    assert_eq!(won, (2, "2".to_owned()));
    redis::cmd("WATCH").arg("a").exec(one)?;
    let (): () = two.set("a", "of another")?;
    let lost: Value = redis::pipe().atomic().set("a", "lost").query(one)?;
    assert_eq!(lost, Value::Nil, "a transaction whose key was changed");
    assert_eq!(one.get::<_, String>("a")?, "of another");
    Ok(())
}
