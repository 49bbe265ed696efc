//! What clients of Redis expect beside the commands on keys: each test is the reproduction of a difference that was found.

use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;

fn error(words: &str) -> Reply {
    Reply::Error(words.to_owned())
}

fn text(reply: Reply) -> String {
    let Reply::Bulk(bytes) = reply else { panic!("a text is owed: {reply:?}") };
    String::from_utf8(bytes).unwrap()
}

fn count(reply: Reply) -> i64 {
    let Reply::Integer(number) = reply else { panic!("a number is owed: {reply:?}") };
    number
}

#[test]
fn a_killed_client_is_neither_listed_nor_counted() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut killer = node.client();
    for _ in 0..20 {
        let mut victim = node.client();
        let id = count(victim.words("CLIENT ID"));
        assert_eq!(killer.words(&format!("CLIENT KILL ID {id}")), Reply::Integer(1));
        let list = text(killer.words("CLIENT LIST"));
        assert!(!list.contains(&format!("id={id} ")), "{list}");
        assert!(text(killer.words("INFO clients")).contains("connected_clients:1\r\n"));
        assert!(victim.is_closed());
    }
}

#[test]
fn client_list_shows_the_subcommand_and_the_descriptor() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let line = text(node.client().words("CLIENT LIST"));
    assert!(line.contains(" cmd=client|list "), "{line}");
    assert!(!line.contains("fd=-1"), "{line}");
    let mut client = node.client();
    assert_eq!(client.words("GET none"), Reply::Null);
    assert!(text(node.client().words("CLIENT LIST")).contains(" cmd=get "));
    assert!(text(client.words("CLIENT INFO")).contains(" cmd=client|info "));
}

/// The kernel shows a timer of kind 2 for a connection that it will ask for a sign of life.
#[test]
fn the_kernel_asks_a_silent_client_whether_it_is_there() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("PING"), Reply::Simple("PONG".to_owned()));
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", node.pid())).unwrap();
    let port = format!(":{:04X}", node.client_port);
    let rows = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[1].ends_with(&port) && fields[3] == "01").then(|| fields[5].to_owned())
    });
    let timers: Vec<String> = rows.collect();
    assert!(!timers.is_empty() && timers.iter().all(|timer| timer.starts_with("02:")), "{timers:?}");
    let Reply::Array(set) = client.words("CONFIG GET tcp-keepalive") else { panic!("a map is owed") };
    assert_eq!(set[1], Reply::bulk("300"));
}

#[test]
fn too_many_arguments_are_an_error_reply_and_the_connection_lives() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    for (name, arguments) in [("MGET", 131_073), ("DEL", 200_000), ("MSET", 131_074)] {
        let words: Vec<&[u8]> =
            std::iter::once(name.as_bytes()).chain(std::iter::repeat_n(&b"k"[..], arguments)).collect();
        client.send(&encode(&words)).unwrap();
        assert_eq!(client.reply().unwrap(), error("ERR a command may have 131073 arguments"), "{name}");
        assert_eq!(client.words("EXISTS k"), Reply::Integer(0));
    }
    let mut words: Vec<&[u8]> = vec![b"MSET"];
    let value = vec![b'v'; 8_000_000];
    (0..5).for_each(|_| words.extend([&b"k"[..], &value]));
    client.send(&encode(&words)).unwrap();
    assert_eq!(client.reply().unwrap(), error("ERR a command may take 33554432 bytes"));
    assert_eq!(client.words("EXISTS k"), Reply::Integer(0));
}

#[test]
fn reset_keeps_the_library_and_unknown_users_and_getex_answer_as_redis_does() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("CLIENT SETINFO LIB-NAME foo"), Reply::ok());
    assert_eq!(client.words("CLIENT SETNAME me"), Reply::ok());
    assert_eq!(client.words("RESET"), Reply::Simple("RESET".to_owned()));
    let info = text(client.words("CLIENT INFO"));
    assert!(info.contains(" lib-name=foo ") && info.contains(" name= "), "{info}");
    assert_eq!(client.words("CLIENT KILL USER nobody"), error("ERR No such user 'nobody'"));
    let integer = error("ERR value is not an integer or out of range");
    let expiry = error("ERR invalid expire time in 'getex' command");
    for wrong in ["EX 0", "PX abc", "EX -1", "EX 9223372036854775807", "PXAT 0"] {
        assert_eq!(client.words(&format!("GETEX nokey {wrong}")), Reply::Null, "{wrong}");
    }
    assert_eq!(client.words("SET k v"), Reply::ok());
    assert_eq!(client.words("GETEX k EX 0"), expiry);
    assert_eq!(client.words("GETEX k EX 9223372036854775807"), expiry);
    assert_eq!(client.words("GETEX k PX abc"), integer);
    assert_eq!(client.words("TTL k"), Reply::Integer(-1));
}

#[test]
fn each_container_has_its_help_and_wrong_words_are_told_where_it_is() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    for container in ["CLIENT", "COMMAND", "CONFIG", "FUNCTION", "SEALKV"] {
        let Reply::Array(lines) = client.words(&format!("{container} HELP")) else { panic!("{container} HELP") };
        assert!(lines.len() > 2, "{container}");
        let Reply::Error(words) = client.words(&format!("{container} NOSUCH")) else { panic!("{container}") };
        assert!(words.ends_with(&format!("Try {container} HELP.")), "{words}");
    }
    assert_eq!(client.words("FUNCTION LIST"), Reply::Array(Vec::new()));
    let Reply::Error(words) = client.words("SEALKV ENCRYPTION FOO") else { panic!("an error is owed") };
    assert!(words.contains("FOO") && words.ends_with("Try SEALKV HELP."), "{words}");
    let Reply::Error(words) = client.words("CONFIG SET maxmemory-policy allkeys-lru") else {
        panic!("an error is owed")
    };
    assert!(words.ends_with("sealkv never evicts"), "{words}");
}

/// A thousand strangers who say nothing, and one who knows the password.
#[test]
fn strangers_who_say_nothing_keep_nobody_out_and_wrong_passwords_are_counted_and_said() {
    let site = Site::new();
    let file = site.make_secret("password", b"correct horse\n");
    let mut args = site.sealed();
    args.extend(["--requirepass-file".to_owned(), crate::harness::text(&file)]);
    let node = Node::start(&args);
    let mut stranger = node.client();
    stranger.send(b"*1\r\n$100000000\r\n").unwrap();
    assert_eq!(stranger.reply().unwrap(), error("ERR Protocol error: unauthenticated bulk length"));
    let strangers: Vec<Client> = (0..1200).filter_map(|_| Client::try_connect(node.client_port).ok()).collect();
    let began = Instant::now();
    let mut known = node.client();
    assert_eq!(known.call(&[b"AUTH", b"correct horse"]), Reply::ok());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(known.words("SET k v"), Reply::ok());
    drop(strangers);
    let mut guesser = node.client();
    (0..5).for_each(|_| assert!(matches!(guesser.words("AUTH wrong"), Reply::Error(_))));
    assert!(text(known.words("INFO stats")).contains("acl_access_denied_auth:5\r\n"));
    assert!(node.says("wrong passwords"), "{}", node.log());
    let lines = node.log();
    let said = lines.lines().filter(|line| line.contains("wrong passwords")).count();
    assert_eq!(said, 1, "{lines}");
}

#[test]
fn info_has_what_dashboards_show_first() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    for _ in 0..20 {
        assert_eq!(client.words("SET k v"), Reply::ok());
        assert_eq!(client.words("GET k"), Reply::bulk("v"));
        assert_eq!(client.words("GET none"), Reply::Null);
    }
    let info = text(client.words("INFO everything"));
    let number = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name} in {info}")).parse().unwrap()
    };
    assert_eq!([number("keyspace_hits"), number("keyspace_misses"), number("evicted_keys")], [20.0, 20.0, 0.0]);
    assert!(number("used_memory_peak") >= number("used_memory") / 2.0);
    assert!(number("total_system_memory") > number("used_memory"));
    assert!(number("used_cpu_user") + number("used_cpu_sys") > 0.0);
    for name in ["instantaneous_ops_per_sec", "instantaneous_input_kbps", "instantaneous_output_kbps", "expired_keys"] {
        assert!(number(name) >= 0.0, "{name}");
    }
    for name in ["run_id:", "master_replid:"] {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert_eq!(line.len(), 40, "{name}{line}");
    }
    assert!(info.contains("cmdstat_get:calls=40,usec="), "{info}");
    assert!(!text(client.words("INFO")).contains("cmdstat_"), "what is long is shown where it is asked for");
    let metrics = String::from_utf8(crate::operator::http(node.admin_port, "/metrics").1).unwrap();
    for line in
        ["sealkv_keyspace_hits_total 20", "sealkv_commands_total{command=\"get\"} 40", "sealkv_evicted_keys_total 0"]
    {
        assert!(metrics.contains(line), "{line}:\n{metrics}");
    }
    for name in ["sealkv_batch_seconds_bucket", "sealkv_command_seconds_total", "sealkv_active_key_age_entries"] {
        assert!(metrics.contains(name), "{name}");
    }
}
