//! Replies and errors in the words of Redis 7.0.15, which clients compare.

use crate::resp::commands::COMMANDS;
use crate::resp::tests::double::House;
use crate::resp::tests::double::array;

#[test]
fn errors_are_those_of_redis() {
    let house = House::open();
    let mut client = house.client();
    let cases = [
        ("nosuch", "ERR unknown command 'nosuch', with args beginning with: "),
        ("NoSuch a 'b c'", "ERR unknown command 'NoSuch', with args beginning with: 'a' 'b c' "),
        ("EXEC", "ERR EXEC without MULTI"),
        ("DISCARD", "ERR DISCARD without MULTI"),
        ("WATCH", "ERR wrong number of arguments for 'watch' command"),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("gEt a b", "ERR wrong number of arguments for 'get' command"),
        ("MSET a", "ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("PING a b", "ERR wrong number of arguments for 'ping' command"),
        ("CLIENT", "ERR wrong number of arguments for 'client' command"),
        ("CLIENT SETNAME", "ERR wrong number of arguments for 'client|setname' command"),
        ("CLIENT MAINT_NOTIFICATIONS ON", "ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP."),
        ("CONFIG NONE", "ERR unknown subcommand 'NONE'. Try CONFIG HELP."),
        ("FUNCTION NONE", "ERR unknown subcommand 'NONE'. Try FUNCTION HELP."),
        ("SET a b c", "ERR syntax error"),
        ("SET a b NX XX", "ERR syntax error"),
        ("SET a b EX", "ERR syntax error"),
        ("SET a b EX 1 PX 1", "ERR syntax error"),
        ("SET a b EX 1 KEEPTTL", "ERR syntax error"),
        ("SET a b EX x", "ERR value is not an integer or out of range"),
        ("SET a b EX 0", "ERR invalid expire time in 'set' command"),
        ("SET a b PX 9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("SETEX a -1 b", "ERR invalid expire time in 'setex' command"),
        ("PSETEX a 0 b", "ERR invalid expire time in 'psetex' command"),
        ("GETEX a PERSIST EX 1", "ERR syntax error"),
        ("EXPIRE a x", "ERR value is not an integer or out of range"),
        ("EXPIRE a 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("PEXPIRE a 9223372036854775807", "ERR invalid expire time in 'pexpire' command"),
        ("EXPIRE a 1 ZZ", "ERR Unsupported option ZZ"),
        ("EXPIRE a 1 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE a 1 GT LT", "ERR GT and LT options at the same time are not compatible"),
        ("INCRBY a 1.5", "ERR value is not an integer or out of range"),
        ("DECRBY a -9223372036854775808", "ERR decrement would overflow"),
        ("SETRANGE a -1 b", "ERR offset is out of range"),
        ("SETRANGE a 536870912 b", "ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("GETRANGE a x 1", "ERR value is not an integer or out of range"),
        ("SELECT 16", "ERR DB index is out of range"),
        ("SELECT -1", "ERR DB index is out of range"),
        ("SELECT 4294967296", "ERR DB index is out of range"),
        ("SELECT x", "ERR value is not an integer or out of range"),
        ("FLUSHALL NOW", "ERR syntax error"),
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 NONE", "ERR Syntax error in HELLO option 'NONE'"),
        ("CLIENT SETNAME \"a b\"", "ERR Client names cannot contain spaces, newlines or special characters."),
        ("CLIENT KILL 1.2.3.4:5", "ERR No such client"),
        ("CLIENT KILL", "ERR wrong number of arguments for 'client|kill' command"),
        ("CLIENT KILL ID x", "ERR client-id should be greater than 0"),
        ("CLIENT LIST ID x", "ERR Invalid client ID"),
        ("CLIENT LIST TYPE foo", "ERR Unknown client type 'foo'"),
        ("FUNCTION FLUSH NOW", "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
        (
            "FUNCTION FLUSH SYNC x",
            "ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP.",
        ),
        ("COMMAND GETKEYS PING", "ERR wrong number of arguments for 'command|getkeys' command"),
        ("COMMAND GETKEYS GET x y", "ERR Invalid number of arguments specified for command"),
        ("CONFIG SET timeout 1 maxclients", "ERR syntax error"),
        (
            "CONFIG SET timeout -1",
            "ERR CONFIG SET failed (possibly related to argument 'timeout') - argument must be between 0 and 2147483647 \
             inclusive",
        ),
        ("COMMAND GETKEYS PING x", "ERR The command has no key arguments"),
        ("CONFIG SET nothing 1", "ERR Unknown option or number of arguments for CONFIG SET - 'nothing'"),
        (
            "CONFIG SET appendonly no",
            "ERR CONFIG SET failed (possibly related to argument 'appendonly') - can't set immutable config",
        ),
        (
            "AUTH x",
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(client.ask(command), format!("-{expected}\r\n"), "{command}");
    }
    assert_eq!(client.ask("PING"), "+PONG\r\n", "none of them closes the connection");
}

#[test]
fn strings_and_keys_answer_as_redis_does() {
    let house = House::open();
    let mut client = house.client();
    let cases = [
        ("SET a 1", "+OK\r\n"),
        ("SET a 2 XX GET", "$1\r\n1\r\n"),
        ("SET a 3 NX", "$-1\r\n"),
        ("SETNX a 3", ":0\r\n"),
        ("GETSET a 10", "$1\r\n2\r\n"),
        ("INCRBYFLOAT a 0.5", "$4\r\n10.5\r\n"),
        ("APPEND a x", ":5\r\n"),
        ("STRLEN a", ":5\r\n"),
        ("SUBSTR a 0 1", "$2\r\n10\r\n"),
        ("INCR a", "-ERR value is not an integer or out of range\r\n"),
        ("TYPE a", "+string\r\n"),
        ("TTL a", ":-1\r\n"),
        ("EXPIRE a 100 XX LT", ":0\r\n"),
        ("EXPIRE a 100", ":1\r\n"),
        ("TTL a", ":100\r\n"),
        ("EXPIRETIME a", ":1700000100\r\n"),
        ("GETEX a PERSIST", "$5\r\n10.5x\r\n"),
        ("PTTL a", ":-1\r\n"),
        ("TTL none", ":-2\r\n"),
        ("MSET b 1 c 2", "+OK\r\n"),
        ("TOUCH a b none", ":2\r\n"),
        ("UNLINK a b none", ":2\r\n"),
        ("DBSIZE", ":1\r\n"),
        ("FLUSHALL ASYNC", "+OK\r\n"),
        ("FUNCTION FLUSH", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
        ("ECHO hi", "$2\r\nhi\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("COMMAND GETKEYS MSET a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("COMMAND GETKEYSANDFLAGS GET a", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n"),
        ("COMMAND GETKEYSANDFLAGS DELEX a", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RM\r\n+delete\r\n"),
        ("COMMAND GETKEYSANDFLAGS DELEX a IFEQ b", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RW\r\n+delete\r\n"),
        ("COMMAND GETKEYSANDFLAGS DELIFEQ a b", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RW\r\n+delete\r\n"),
        ("CONFIG GET sav?", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG SET save \"\"", "+OK\r\n"),
        ("CONFIG SET loglevel verbose", "+OK\r\n"),
        ("CONFIG GET loglevel", "*2\r\n$8\r\nloglevel\r\n$5\r\ndebug\r\n"),
        (
            "CONFIG SET timeout 9 loglevel wrong",
            "-ERR CONFIG SET failed (possibly related to argument 'loglevel') - expected a level\r\n",
        ),
        ("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"),
        ("ROLE", "*3\r\n$6\r\nmaster\r\n:42\r\n*0\r\n"),
        ("TIME", "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"),
        ("CLIENT SETINFO LIB-NAME redis-py", "+OK\r\n"),
        ("CLIENT NO-EVICT on", "+OK\r\n"),
        ("CLIENT ID", ":1\r\n"),
    ];
    for (command, expected) in cases {
        assert_eq!(client.ask(command), expected, "{command}");
    }
}

#[test]
fn the_third_protocol_has_maps_nulls_and_texts() {
    let house = House::open();
    let mut client = house.client();
    let hello = client.ask("hello 3");
    assert!(hello.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "{hello}");
    assert!(hello.contains("$5\r\nproto\r\n:3\r\n"), "{hello}");
    assert_eq!(client.ask("GET none"), "_\r\n");
    assert_eq!(client.ask("CONFIG GET save"), "%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
    assert!(client.ask("INFO replication").contains("role:master\r\n"));
    assert!(client.ask("CLIENT INFO").starts_with('='));
    assert!(client.ask("COMMAND DOCS get").starts_with("%1\r\n$3\r\nget\r\n%4\r\n"));
    // The protocol of a reply is that of its place in the pipeline.
    client.send(b"GET none\r\nHELLO 2\r\nGET none\r\nSET a 1\r\nGET none\r\nHELLO 3\r\nGET none\r\n");
    assert_eq!(client.reply(), "_\r\n");
    assert!(client.reply().starts_with("*14\r\n"));
    assert_eq!(client.reply(), "$-1\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "$-1\r\n");
    assert!(client.reply().starts_with("%7\r\n"));
    assert_eq!(client.reply(), "_\r\n");
}

#[test]
fn info_has_what_clients_and_exporters_read() {
    let house = House::open();
    let mut client = house.client();
    let info = client.ask("INFO");
    for line in [
        "# Server\r\nredis_version:7.0.15\r\n",
        "redis_mode:standalone\r\n",
        "connected_clients:1\r\n",
        "loading:0\r\n",
        "role:master\r\n",
        "# Keyspace\r\ndb0:keys=7,expires=0,avg_ttl=0\r\ndb15:keys=3,expires=1,avg_ttl=1500\r\n",
        "# Sealkv\r\naead_tier:portable\r\n",
    ] {
        assert!(info.contains(line), "{line:?} in {info}");
    }
    assert!(!client.ask("INFO keyspace").contains("# Server"));
}

#[test]
fn quit_answers_and_closes_and_nothing_after_it_is_run() {
    let house = House::open();
    let mut client = house.client();
    client.send(b"SET a 1\r\nQUIT\r\nSET a 2\r\n");
    assert_eq!(client.rest(), "+OK\r\n+OK\r\n");
    assert_eq!(house.client().ask("GET a"), "$1\r\n1\r\n");
}

#[test]
fn a_client_can_be_listed_and_killed_by_another() {
    let house = House::open();
    let (mut one, mut two) = (house.client(), house.client());
    assert_eq!(one.ask("CLIENT SETNAME victim"), "+OK\r\n");
    let id = one.ask("CLIENT ID");
    let id = id.trim_start_matches(':').trim_end();
    assert!(two.ask("CLIENT LIST").contains("name=victim"));
    assert_eq!(two.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert_eq!(one.rest(), "");
    assert_eq!(two.ask("PING"), "+PONG\r\n");
}

#[test]
fn every_byte_can_be_in_keys_and_values() {
    let house = House::open();
    let mut client = house.client();
    let all: Vec<u8> = (0..=255).collect();
    client.send(&[array(&[b"SET", &all, &all]), array(&[b"EXISTS", &all]), array(&[b"STRLEN", &all])].concat());
    assert_eq!(
        (client.reply(), client.reply(), client.reply()),
        ("+OK\r\n".into(), ":1\r\n".into(), ":256\r\n".into())
    );
}

#[test]
fn commands_stand_in_the_order_in_which_they_are_looked_for() {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    assert!(names.is_sorted_by(|left, right| left < right));
}
