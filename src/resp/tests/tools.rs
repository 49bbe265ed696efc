//! What people and monitoring tools ask, commands that are missing and why, and that the README lists what there is.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::resp::commands::COMMANDS;
use crate::resp::commands::Kind;
use crate::resp::tests::double::House;

#[test]
fn monitoring_tools_are_answered_as_by_a_redis_with_nothing_to_show() {
    let house = House::open();
    let mut client = house.client();
    for (line, reply) in [
        ("SLOWLOG LEN", ":0"),
        ("SLOWLOG GET", "*0"),
        ("SLOWLOG GET -1", "*0"),
        ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1"),
        ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1"),
        ("SLOWLOG RESET", "+OK"),
        ("LATENCY LATEST", "*0"),
        ("LATENCY HISTORY command", "*0"),
        ("LATENCY RESET", ":0"),
        ("LATENCY HISTOGRAM", "*0"),
        (
            "COMMAND INFO get nosuch",
            "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n*2\r\n+@read\r\n+@string\r\n*0\r\n\
             *1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n\
             $9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n*-1",
        ),
        ("ACL WHOAMI", "$7\r\ndefault"),
        ("ACL USERS", "*1\r\n$7\r\ndefault"),
        ("ACL LIST", "*1\r\n$34\r\nuser default on nopass ~* &* +@all"),
        ("ACL CAT nosuch", "-ERR Unknown category 'nosuch'"),
        ("ACL SETUSER x", "-ERR there is one user, whose password is in --requirepass-file"),
        ("MODULE LIST", "*0"),
        ("MODULE LOAD x", "-ERR sealkv loads no modules"),
        ("CLUSTER INFO", "-ERR This instance has cluster support disabled"),
        ("READONLY", "+OK"),
        ("READWRITE", "+OK"),
        ("ASKING", "-ERR This instance has cluster support disabled"),
        ("LASTSAVE", ":1700000000"),
        ("SAVE", "+OK"),
        ("BGSAVE", "+Background saving started"),
        ("BGSAVE SCHEDULE", "+Background saving started"),
        ("BGSAVE NOW", "-ERR syntax error"),
        ("WAIT 0 0", ":0"),
        ("WAIT 1 0", ":0"),
        ("WAIT x 0", "-ERR value is not an integer or out of range"),
        ("WAIT 0 -1", "-ERR timeout is negative"),
        ("WAIT 0 x", "-ERR timeout is not an integer or out of range"),
        ("CLIENT UNPAUSE", "+OK"),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT PAUSE 10", "-ERR CLIENT PAUSE is not supported: no client can hold up the others"),
        ("CLIENT REPLY OFF", "-ERR CLIENT REPLY is not supported: every command is answered"),
        ("CLIENT TRACKING ON", "-ERR CLIENT TRACKING is not supported: sealkv tells nobody of changed keys"),
        ("SHUTDOWN ABORT", "-ERR No shutdown in progress."),
        ("SHUTDOWN SOON", "-ERR syntax error"),
    ] {
        assert_eq!(client.ask(line), format!("{reply}\r\n"), "{line}");
    }
    assert_eq!(house.below.flushes.load(Ordering::Relaxed), 3, "SAVE and BGSAVE each ask for a flush");
    assert_eq!(client.ask("SAVE"), "-ERR the state is not flushed: no space\r\n");
    assert_eq!(client.ask("COMMAND LIST FILTERBY MODULE x"), "*0\r\n");
    assert!(client.ask("COMMAND LIST FILTERBY ACLCAT bitmap").contains("\r\nbitop\r\n"));
    assert!(client.ask("ACL CAT").contains("\r\nstring\r\n"));
    assert!(client.ask("ACL CAT bitmap").contains("\r\nsetbit\r\n"));
    assert_eq!(house.below.shut_downs.load(Ordering::Relaxed), 0);
    client.send(b"SHUTDOWN NOSAVE\r\nPING\r\n");
    assert_eq!(client.reply(), "+PONG\r\n", "there is no answer but the end");
    assert_eq!(house.below.shut_downs.load(Ordering::Relaxed), 1);
}

/// Clients look for Redis' words; people read the clause behind them. A transaction with such a command does nothing.
#[test]
fn a_command_that_is_missing_says_why_and_spoils_its_transaction() {
    let house = House::open();
    let mut client = house.client();
    for (line, clause) in [
        ("LPUSH l x", "'l' 'x' (sealkv holds strings only, COMMAND LIST shows what it has)"),
        ("hgetall h", "'h' (sealkv holds strings only, COMMAND LIST shows what it has)"),
        ("EVAL s 0", "'s' '0' (sealkv runs no scripts; SET with IFEQ and DELIFEQ make locks without them)"),
        ("SUBSCRIBE c", "'c' (sealkv has no pub/sub)"),
        ("MONITOR", "(nobody may watch the commands of others)"),
        ("SWAPDB 0 1", "'0' '1' (a row is sealed under its database: every row would be written anew)"),
        ("DEBUG SLEEP 1", "'SLEEP' '1' (there is nothing to debug with on a node that holds data)"),
        ("NOSUCH x", "'x' "),
    ] {
        let name = line.split(' ').next().unwrap();
        let words = format!("-ERR unknown command '{name}', with args beginning with: {clause}\r\n");
        assert_eq!(client.ask(line), words);
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        assert_eq!(client.ask("SET a 1"), "+QUEUED\r\n");
        assert_eq!(client.ask(line), words);
        assert_eq!(client.ask("EXEC"), "-EXECABORT Transaction discarded because of previous errors.\r\n");
        assert_eq!(client.ask("EXISTS a"), ":0\r\n");
    }
}

#[test]
fn the_readme_lists_the_commands_of_the_table() {
    let readme = include_str!("../../../README.md");
    let listed = |rows: &[&str]| -> BTreeSet<String> {
        let rows = readme.lines().filter(|line| rows.iter().any(|row| line.starts_with(&format!("| {row} |"))));
        let words = rows.flat_map(|line| line.split([' ', ':', ',']));
        let is_name =
            |word: &&str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        words.filter(is_name).map(str::to_lowercase).collect()
    };
    let there = |kinds: &[Kind]| -> BTreeSet<String> {
        let shown = COMMANDS.iter().filter(|command| !matches!(command.name, "host:" | "post"));
        shown.filter(|command| kinds.contains(&command.kind)).map(|command| command.name.to_owned()).collect()
    };
    assert_eq!(listed(&["write"]), there(&[Kind::Write]));
    assert_eq!(listed(&["read"]), there(&[Kind::Read]));
    assert_eq!(listed(&["connection, server", "transactions"]), there(&[Kind::Local, Kind::LocalWithoutAuth]));
}
