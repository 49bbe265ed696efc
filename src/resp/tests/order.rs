//! A pipeline has the effect and the replies of its commands run one after another, whatever becomes of its requests.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::limits::GROUP_LOADS_MAX;
use crate::limits::GROUP_MADE_BYTES_MAX;
use crate::limits::GROUP_WRITES_MAX;
use crate::propose::Outcome;
use crate::resp::ClientBounds;
use crate::resp::tests::double::House;
use crate::resp::tests::double::Mishap;
use crate::testing::seed::Seeded;

#[test]
fn pipelines_of_mixed_commands_equal_their_commands_one_by_one() {
    let chance = Seeded::replayable(7);
    let (together, alone) = (House::open(), House::open());
    let (mut pipelined, mut single) = (together.client(), alone.client());
    for _ in 0..60 {
        let commands: Vec<String> = (0..=chance.below(40)).map(|_| random_command(&chance)).collect();
        let expected: Vec<String> = commands.iter().map(|command| single.ask(command)).collect();
        pipelined.send((commands.join("\r\n") + "\r\n").as_bytes());
        for (command, expected) in commands.iter().zip(expected) {
            assert_eq!(pipelined.reply(), expected, "{command}");
        }
    }
    let requests = together.below.requests.lock().unwrap().len();
    assert!(requests < alone.below.requests.lock().unwrap().len(), "writes were taken together");
}

fn random_command(chance: &Seeded) -> String {
    let key = chance.pick(&["a", "b", "c", "d", "e"]);
    let other = chance.pick(&["a", "b", "c", "f"]);
    let number = chance.below(100);
    match chance.below(22) {
        0..=3 => format!("SET {key} {number}"),
        4..=6 => format!("GET {key}"),
        7 => format!("INCR {key}"),
        8 => format!("APPEND {key} {number}"),
        9 => format!("MGET {key} {other} nothing"),
        10 => format!("DEL {key} {other}"),
        11 => format!("MSET {key} 1 {other} 2"),
        12 => format!("MSETNX {key} 1 {other} 2"),
        13 => "DBSIZE".to_owned(),
        14 => format!("PING {number}"),
        15 => format!("SET {key} v EX 1000 GET NX"),
        16 => format!("TTL {key}"),
        17 => format!("EXISTS {key} {key} {other}"),
        18 => format!("SETRANGE {key} 3 xyz"),
        19 => format!("GETRANGE {key} 1 -2"),
        20 => "NOSUCH thing".to_owned(),
        _ => format!("GETDEL {key}"),
    }
}

#[test]
fn reads_of_a_node_that_leads_alone_need_no_round() {
    let house = House::open();
    let mut client = house.client();
    house.below.leads_alone.store(true, Ordering::Release);
    assert_eq!(client.ask("SET a 1"), "+OK\r\n");
    client.send("GET a\r\nGET none\r\n".repeat(100).as_bytes());
    for _ in 0..100 {
        assert_eq!((client.reply(), client.reply()), ("$1\r\n1\r\n".to_owned(), "$-1\r\n".to_owned()));
    }
    assert_eq!(house.below.read_rounds.load(Ordering::Relaxed), 0);
    house.below.leads_alone.store(false, Ordering::Release);
    assert_eq!(client.ask("GET a"), "$1\r\n1\r\n");
    assert_eq!(house.below.read_rounds.load(Ordering::Relaxed), 1);
}

#[test]
fn reads_after_a_write_ride_with_it_and_reads_before_share_one_round() {
    let house = House::open();
    let mut client = house.client();
    client.send(b"GET a\r\nGET b\r\nSET a 1\r\nPING\r\nGET a\r\nINCR a\r\nMGET a b\r\nDBSIZE\r\n");
    let replies: Vec<String> = (0..8).map(|_| client.reply()).collect();
    let expected =
        ["$-1\r\n", "$-1\r\n", "+OK\r\n", "+PONG\r\n", "$1\r\n1\r\n", ":2\r\n", "*2\r\n$1\r\n2\r\n$-1\r\n", ":1\r\n"];
    assert_eq!(replies, expected);
    assert_eq!(*house.below.requests.lock().unwrap(), [(2, 2)]);
    // One for both GETs, one for DBSIZE after the entry.
    assert_eq!(house.below.read_rounds.load(Ordering::Relaxed), 2);
}

#[test]
fn a_request_that_was_not_executed_answers_each_of_its_commands() {
    let house = House::open();
    let mut client = house.client();
    house.mishap(Mishap::Ends(Outcome::TryAgain));
    client.send(b"SET a 1\r\nPING\r\nGET a\r\n");
    assert!(client.reply().starts_with("-TRYAGAIN "));
    assert_eq!(client.reply(), "+PONG\r\n");
    assert!(client.reply().starts_with("-TRYAGAIN "));
    house.mishap(Mishap::Ends(Outcome::TooLarge));
    assert!(client.ask("SET a 1").starts_with("-ERR command is too large"));
    house.mishap(Mishap::Ends(Outcome::NotLeader(None)));
    assert!(client.ask("SET a 1").starts_with("-TRYAGAIN "), "a sole voter is only starting");
    assert_eq!(client.ask("GET a"), "$-1\r\n");
}

#[test]
fn a_member_that_does_not_lead_says_so_in_the_words_clients_know() {
    let house = House::open_with(ClientBounds::default(), 3);
    let mut client = house.client();
    house.mishap(Mishap::Ends(Outcome::NotLeader(None)));
    assert_eq!(client.ask("SET a 1"), "-CLUSTERDOWN No leader\r\n");
    house.mishap(Mishap::Ends(Outcome::NotLeader(Some(2))));
    assert_eq!(client.ask("SET a 1"), "-READONLY You can't write against a read only replica.\r\n");
}

#[test]
fn an_unknown_outcome_closes_the_connection_after_the_replies_before_it() {
    for mishap in [Mishap::Forgotten, Mishap::AppliedUnknown, Mishap::Ends(Outcome::Replies(Vec::new()))] {
        let house = House::open();
        let mut client = house.client();
        house.mishap(mishap);
        client.send(b"GET x\r\nSET a 1\r\nPING\r\n");
        assert_eq!(client.rest(), "$-1\r\n");
        assert_eq!(house.stats.outcomes_unknown_total.load(Ordering::Relaxed), 1);
        assert_eq!(house.below.requests.lock().unwrap().len(), 1, "nothing is sent twice");
    }
}

#[test]
fn a_full_queue_is_waited_for_and_then_tried_again_by_the_client() {
    let bounds = ClientBounds { queue_deadline: Duration::from_millis(30), ..ClientBounds::default() };
    let house = House::open_with(bounds, 1);
    let mut client = house.client();
    house.mishap(Mishap::QueueFull);
    house.mishap(Mishap::QueueFull);
    assert_eq!(client.ask("SET a 1"), "+OK\r\n");
    for _ in 0..200 {
        house.mishap(Mishap::QueueFull);
    }
    assert!(client.ask("SET a 2").starts_with("-TRYAGAIN "));
    house.below.mishaps.lock().unwrap().clear();
    assert_eq!(client.ask("GET a"), "$1\r\n1\r\n");
}

#[test]
fn a_key_past_due_by_the_clock_is_removed_through_the_log_before_it_is_answered() {
    let house = House::open();
    let mut client = house.client();
    assert_eq!(client.ask("MSET a 1 b 2 c 3"), "+OK\r\n");
    assert_eq!(client.ask("PEXPIRE b 500"), ":1\r\n");
    house.below.wall_ms.fetch_add(1000, Ordering::Relaxed);
    house.below.requests.lock().unwrap().clear();
    client.send(b"GET a\r\nGET b\r\nMGET b c\r\nDBSIZE\r\n");
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, ["$1\r\n1\r\n", "$-1\r\n", "*2\r\n$-1\r\n$1\r\n3\r\n", ":2\r\n"]);
    assert_eq!(*house.below.requests.lock().unwrap(), [(1, 0)], "one removal for all");
    assert_eq!(house.stats.past_due_total.load(Ordering::Relaxed), 1);
}

#[test]
fn a_removal_that_cannot_be_replicated_answers_try_again_and_not_the_old_value() {
    let house = House::open();
    let mut client = house.client();
    assert_eq!(client.ask("SET b 2 PX 500"), "+OK\r\n");
    house.below.wall_ms.fetch_add(1000, Ordering::Relaxed);
    house.mishap(Mishap::Ends(Outcome::TryAgain));
    assert!(client.ask("GET b").starts_with("-TRYAGAIN "));
    assert_eq!(client.ask("GET b"), "$-1\r\n");
}

#[test]
fn a_large_pipeline_becomes_entries_within_their_bounds() {
    let house = House::open();
    let mut client = house.client();
    let mut input = String::new();
    let value = "v".repeat(100);
    for number in 0..20_000 {
        write!(input, "SET key:{number} {value}\r\n").unwrap();
    }
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, input.as_bytes()).unwrap());
    (0..20_000).for_each(|_| assert_eq!(client.reply(), "+OK\r\n"));
    writing.join().unwrap();
    assert_eq!(client.ask("DBSIZE"), ":20000\r\n");
    let requests = house.below.requests.lock().unwrap();
    assert!(requests.iter().all(|(writes, _)| *writes <= GROUP_WRITES_MAX));
    assert!(requests.len() < 2_000, "{} entries", requests.len());
}

/// How many writes each entry has that a pipeline of `count` commands becomes, each command with its number for `#`.
fn entries_of(command: &str, count: usize) -> Vec<usize> {
    let house = House::open();
    let mut client = house.client();
    let input: String = (0..count).map(|number| command.replace('#', &number.to_string()) + "\r\n").collect();
    client.send(input.as_bytes());
    (0..count).for_each(|_| assert!(client.reply().starts_with(':'), "an integer"));
    house.below.requests.lock().unwrap().iter().map(|(writes, _)| *writes).collect()
}

#[test]
fn bounded_zeros_that_nobody_sent_are_made_in_pieces_and_ordinary_pipelines_stay_whole() {
    let entries = entries_of("SETRANGE k# 8318975 x", 20);
    assert_eq!(entries.iter().sum::<usize>(), 20);
    assert!(entries.iter().all(|writes| writes * 8_318_976 <= GROUP_MADE_BYTES_MAX + 8), "{entries:?}");
    for ordinary in ["SETRANGE k# 100 x", "APPEND k# x", "EXPIRE k# 100"] {
        let entries = entries_of(ordinary, GROUP_LOADS_MAX);
        assert!(entries.len() <= 2, "{ordinary}: {entries:?}");
    }
}
