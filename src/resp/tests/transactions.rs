//! MULTI, EXEC, DISCARD, WATCH: one entry or nothing, with the words of Redis 7.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::limits::ENTRY_CONDITIONS_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::propose::Outcome;
use crate::resp::tests::double::House;
use crate::resp::tests::double::Mishap;
use crate::resp::tests::double::array;

#[test]
fn a_transaction_is_one_entry_and_its_replies_stand_in_one_array() {
    let house = House::open();
    let mut client = house.client();
    client.send(b"SET a 1\r\nMULTI\r\nINCR a\r\nGET a\r\nPING\r\nSET b x\r\nINCR b\r\nMGET a b\r\nEXEC\r\nGET a\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    (0..6).for_each(|_| assert_eq!(client.reply(), "+QUEUED\r\n"));
    let expected = "*6\r\n:2\r\n$1\r\n2\r\n+PONG\r\n+OK\r\n-ERR value is not an integer or out of range\r\n\
                    *2\r\n$1\r\n2\r\n$1\r\nx\r\n";
    assert_eq!(client.reply(), expected);
    assert_eq!(client.reply(), "$1\r\n2\r\n");
    assert_eq!(*house.below.requests.lock().unwrap(), [(1, 0), (3, 2)]);
}

#[test]
fn nothing_is_run_before_exec_and_nothing_after_discard() {
    let house = House::open();
    let (mut one, mut two) = (house.client(), house.client());
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    assert_eq!(one.ask("SET a 1"), "+QUEUED\r\n");
    assert_eq!(two.ask("EXISTS a"), ":0\r\n");
    assert!(two.ask("CLIENT LIST").contains("flags=x db=0 sub=0 psub=0 ssub=0 multi=1 "));
    assert_eq!(one.ask("DISCARD"), "+OK\r\n");
    assert_eq!(two.ask("EXISTS a"), ":0\r\n");
    assert_eq!(one.ask("EXEC"), "-ERR EXEC without MULTI\r\n");
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    assert_eq!(one.ask("EXEC"), "*0\r\n");
    // The end of the connection is a discard.
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    assert_eq!(one.ask("SET a 1"), "+QUEUED\r\n");
    drop(one);
    assert_eq!(two.ask("EXISTS a"), ":0\r\n");
}

#[test]
fn a_command_that_is_refused_while_it_is_queued_makes_exec_refuse_all() {
    let house = House::open();
    let mut client = house.client();
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    for (refused, words) in [
        ("NOSUCH x", "-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("OBJECT nosuch k", "-ERR unknown subcommand 'nosuch'. Try OBJECT HELP.\r\n"),
        ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command\r\n"),
        ("SEALKV HELP", "-ERR Command not allowed inside a transaction\r\n"),
        ("SAVE", "-ERR Command not allowed inside a transaction\r\n"),
        ("SHUTDOWN", "-ERR Command not allowed inside a transaction\r\n"),
    ] {
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        assert_eq!(client.ask("SET a 1"), "+QUEUED\r\n");
        assert_eq!(client.ask(refused), words);
        assert_eq!(client.ask("SET a 2"), "+QUEUED\r\n");
        assert_eq!(client.ask("EXEC"), aborted);
        assert_eq!(client.ask("EXISTS a"), ":0\r\n", "{refused}");
    }
    // These two do not spoil it, and what Redis finds only when it runs has its place in the array.
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("MULTI"), "-ERR MULTI calls can not be nested\r\n");
    assert_eq!(client.ask("WATCH a"), "-ERR WATCH inside MULTI is not allowed\r\n");
    assert_eq!(client.ask("SET a 1 b"), "+QUEUED\r\n");
    assert_eq!(client.ask("SET a 1"), "+QUEUED\r\n");
    assert_eq!(client.ask("EXEC"), "*2\r\n-ERR syntax error\r\n+OK\r\n");
    assert_eq!(client.ask("GET a"), "$1\r\n1\r\n");
}

#[test]
fn a_watched_key_that_another_client_changes_makes_exec_answer_nothing() {
    let house = House::open();
    let (mut one, mut two) = (house.client(), house.client());
    assert_eq!(one.ask("SET a 1"), "+OK\r\n");
    for change in ["SET a 2", "DEL a", "FLUSHALL", "EXPIRE a 100"] {
        assert_eq!(one.ask("SET a 1"), "+OK\r\n");
        assert_eq!(one.ask("WATCH a none"), "+OK\r\n");
        assert!(!two.ask(change).starts_with('-'));
        assert_eq!(one.ask("MULTI"), "+OK\r\n");
        assert_eq!(one.ask("SET b 1"), "+QUEUED\r\n");
        assert_eq!(one.ask("GET b"), "+QUEUED\r\n");
        assert_eq!(one.ask("EXEC"), "*-1\r\n", "{change}");
        assert_eq!(one.ask("EXISTS b"), ":0\r\n", "{change}");
    }
    // A key that comes, a key of one's own, and a transaction that only reads.
    for change in ["SET none 1", "SET a 3"] {
        assert_eq!(one.ask("FLUSHALL"), "+OK\r\n");
        assert_eq!(one.ask("SET a 1"), "+OK\r\n");
        assert_eq!(one.ask("WATCH none a"), "+OK\r\n");
        assert_eq!(one.ask(change), "+OK\r\n");
        assert_eq!(one.ask("MULTI"), "+OK\r\n");
        assert_eq!(one.ask("GET a"), "+QUEUED\r\n");
        assert_eq!(one.ask("EXEC"), "*-1\r\n", "{change}");
    }
    assert_eq!(one.ask("HELLO 3").as_bytes()[0], b'%');
    assert_eq!(one.ask("WATCH a"), "+OK\r\n");
    assert_eq!(two.ask("SET a 4"), "+OK\r\n");
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    assert_eq!(one.ask("EXEC"), "_\r\n", "a transaction without commands too");
}

#[test]
fn watched_keys_are_let_go_by_exec_discard_unwatch_and_reset() {
    let house = House::open();
    let (mut one, mut two) = (house.client(), house.client());
    for release in ["EXEC", "DISCARD", "UNWATCH", "RESET"] {
        assert_eq!(one.ask("SET a 1"), "+OK\r\n");
        assert_eq!(one.ask("WATCH a"), "+OK\r\n");
        if release == "EXEC" || release == "DISCARD" {
            assert_eq!(one.ask("MULTI"), "+OK\r\n");
        }
        assert!(!one.ask(release).starts_with('-'));
        assert_eq!(two.ask("SET a 2"), "+OK\r\n");
        assert_eq!(one.ask("MULTI"), "+OK\r\n");
        assert_eq!(one.ask("GET a"), "+QUEUED\r\n");
        assert_eq!(one.ask("EXEC"), "*1\r\n$1\r\n2\r\n", "{release}");
    }
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    assert_eq!(one.ask("SET a 3"), "+QUEUED\r\n");
    assert_eq!(one.ask("RESET"), "+RESET\r\n");
    assert_eq!(one.ask("EXEC"), "-ERR EXEC without MULTI\r\n");
    assert_eq!(one.ask("GET a"), "$1\r\n2\r\n");
}

#[test]
fn a_key_that_was_past_due_is_watched_as_one_that_is_not_there() {
    let house = House::open();
    let mut client = house.client();
    assert_eq!(client.ask("SET a 1 PX 100"), "+OK\r\n");
    assert_eq!(client.ask("SET b 1 PX 100"), "+OK\r\n");
    assert_eq!(client.ask("WATCH b"), "+OK\r\n");
    house.below.wall_ms.fetch_add(1000, Ordering::Relaxed);
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("PING"), "+QUEUED\r\n");
    assert_eq!(client.ask("EXEC"), "*-1\r\n", "it was there when it was watched");
    assert_eq!(client.ask("WATCH a"), "+OK\r\n");
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("PING"), "+QUEUED\r\n");
    assert_eq!(client.ask("EXEC"), "*1\r\n+PONG\r\n", "it was gone before");
}

#[test]
fn a_transaction_above_a_bound_is_refused_with_its_name_and_runs_nothing() {
    let house = House::open();
    let mut client = house.client();
    assert_eq!(client.ask("SET kept 1"), "+OK\r\n");
    let value = vec![b'v'; VALUE_BYTES_MAX];
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    client.send(&array(&[b"SET", b"a", &value]));
    assert_eq!(client.reply(), "+QUEUED\r\n");
    client.send(&array(&[b"SET", b"b", &value]));
    assert_eq!(client.reply(), "-ERR the writes of a transaction may take 8 MiB\r\n");
    assert_eq!(client.ask("DEL kept"), "+QUEUED\r\n");
    let words = "-EXECABORT Transaction discarded because of: the writes of a transaction may take 8 MiB\r\n";
    assert_eq!(client.ask("EXEC"), words);
    assert_eq!(client.ask("EXISTS a b kept"), ":1\r\n");

    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    client.send("SETRANGE z 8000000 x\r\n".repeat(9).as_bytes());
    (0..8).for_each(|_| assert_eq!(client.reply(), "+QUEUED\r\n"));
    assert_eq!(client.reply(), "-ERR the SETRANGE of a transaction may make 64 MiB\r\n");
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(client.ask("EXISTS z"), ":0\r\n");

    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    client.send("PING\r\n".repeat(65_537).as_bytes());
    (0..65_536).for_each(|_| assert_eq!(client.reply(), "+QUEUED\r\n"));
    assert_eq!(client.reply(), "-ERR a transaction may have 65536 commands\r\n");
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    assert!(house.stats.buffer_bytes.load(Ordering::Relaxed) < 1 << 20, "what waited is given back");
}

#[test]
fn databases_are_apart_and_a_transaction_selects_on_its_way() {
    let house = House::open();
    let (mut one, mut two) = (house.client(), house.client());
    assert_eq!(one.ask("SET a zero"), "+OK\r\n");
    assert_eq!(one.ask("SELECT 15"), "+OK\r\n");
    assert_eq!(one.ask("GET a"), "$-1\r\n");
    assert_eq!(one.ask("SET a last"), "+OK\r\n");
    assert!(one.ask("CLIENT INFO").contains(" db=15 "));
    // A pipeline changes its database between two commands.
    one.send(b"GET a\r\nSELECT 0\r\nGET a\r\nSELECT 15\r\n");
    let replies: Vec<String> = (0..4).map(|_| one.reply()).collect();
    assert_eq!(replies, ["$4\r\nlast\r\n", "+OK\r\n", "$4\r\nzero\r\n", "+OK\r\n"]);
    assert_eq!(one.ask("WATCH a"), "+OK\r\n");
    assert_eq!(two.ask("SET a other"), "+OK\r\n", "in the first database");
    for line in ["MULTI", "GET a", "SELECT 16", "SELECT 3", "SET a third", "SELECT 0", "GET a"] {
        assert!(!one.ask(line).starts_with('-'), "{line}");
    }
    let executed = "*6\r\n$4\r\nlast\r\n-ERR DB index is out of range\r\n+OK\r\n+OK\r\n+OK\r\n$5\r\nother\r\n";
    assert_eq!(one.ask("EXEC"), executed);
    assert!(one.ask("CLIENT INFO").contains(" db=0 "), "it stays where the transaction went");
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    assert_eq!(one.ask("SELECT 3"), "+QUEUED\r\n");
    assert_eq!(one.ask("DISCARD"), "+OK\r\n");
    assert_eq!(one.ask("GET a"), "$5\r\nother\r\n", "nothing was selected");
    assert_eq!(one.ask("SELECT 15"), "+OK\r\n");
    assert_eq!(one.ask("WATCH a"), "+OK\r\n");
    assert_eq!(two.ask("SELECT 15"), "+OK\r\n");
    assert_eq!(two.ask("FLUSHDB"), "+OK\r\n");
    assert_eq!(one.ask("MULTI"), "+OK\r\n");
    assert_eq!(one.ask("EXEC"), "*-1\r\n");
    assert_eq!(one.ask("EXISTS a"), ":0\r\n");
    assert_eq!(one.ask("RESET"), "+RESET\r\n");
    assert_eq!(one.ask("GET a"), "$5\r\nother\r\n");
}

#[test]
fn a_thousand_keys_are_watched_and_not_many_more() {
    let house = House::open();
    let (mut client, mut other) = (house.client(), house.client());
    let mut line = String::from("WATCH");
    (0..ENTRY_CONDITIONS_MAX).for_each(|number| write!(line, " k{number}").unwrap());
    assert_eq!(client.ask(&line), "+OK\r\n");
    assert_eq!(client.ask("WATCH k7 k7 k8"), "+OK\r\n", "these are watched already");
    assert_eq!(client.ask("WATCH one-more"), "-ERR a client may watch 1024 keys at once\r\n");
    assert_eq!(other.ask("SET k1000 1"), "+OK\r\n");
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("EXEC"), "*-1\r\n");
    let long = vec![b'k'; 60_000];
    for number in 0..18_u8 {
        client.send(&array(&[b"WATCH", &[&[number][..], &long].concat()]));
        let reply = client.reply();
        assert_eq!(reply, if number < 17 { "+OK\r\n" } else { WATCHED_BYTES }, "{number}");
    }
}

#[test]
fn an_exec_that_was_not_executed_says_so_and_one_that_nobody_knows_of_closes() {
    let house = House::open();
    let mut client = house.client();
    for (outcome, words) in [
        (Outcome::TryAgain, "-TRYAGAIN The command was not executed, send it again\r\n"),
        (Outcome::TooLarge, TOO_LARGE),
    ] {
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        assert_eq!(client.ask("SET a 1"), "+QUEUED\r\n");
        house.mishap(Mishap::Ends(outcome));
        assert_eq!(client.ask("EXEC"), words);
        assert_eq!(client.ask("EXEC"), "-ERR EXEC without MULTI\r\n", "it is over all the same");
    }
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert_eq!(client.ask("SET a 1"), "+QUEUED\r\n");
    house.mishap(Mishap::Forgotten);
    client.send(b"EXEC\r\nPING\r\n");
    assert_eq!(client.rest(), "");
}

const WATCHED_BYTES: &str = "-ERR the watched keys of a client may take 1048576 bytes\r\n";
const TOO_LARGE: &str = "-EXECABORT Transaction discarded because of: commands and watched keys are too large for one log \
                         entry (8388608 bytes)\r\n";
