//! The SEALKV commands as clients see them, in both protocols.

use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::ids::Index;
use crate::propose::ControlError;
use crate::propose::ControlRequest;
use crate::propose::Purpose;
use crate::resp::ClientBounds;
use crate::resp::tests::double::House;

#[test]
fn changes_are_asked_for_and_answered_in_their_place() {
    let house = House::open();
    let mut client = house.client();
    assert_eq!(client.ask("SEALKV ENCRYPTION ENABLE"), "+OK\r\n");
    assert_eq!(client.ask("sealkv encryption rotate entry"), "+OK\r\n");
    assert_eq!(client.ask("SealKV Encryption Rotate VALUE"), "+OK\r\n");
    let asked = house.below.asked.lock().unwrap().clone();
    assert_eq!(asked[0], ControlRequest::Enable);
    assert_eq!(asked[1..], [Purpose::Entry, Purpose::Value].map(ControlRequest::Rotate));
    client.send(b"SET a 1\r\nSEALKV ENCRYPTION ENABLE\r\nGET a\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "$1\r\n1\r\n");
}

#[test]
fn every_way_in_which_a_change_fails_has_its_words() {
    let house = House::open_with(ClientBounds::default(), 3);
    let mut client = house.client();
    for (end, words) in [
        (ControlError::IsOn { cutover: Index(7) }, "-ERR encryption is on since index 7\r\n"),
        (ControlError::TryAgain, "-TRYAGAIN The command was not executed, send it again\r\n"),
        (ControlError::NotLeader(Some(2)), "-READONLY This node does not lead, ask the leader.\r\n"),
        (ControlError::NotLeader(None), "-CLUSTERDOWN No leader\r\n"),
        (ControlError::Unknown, "-ERR it is not known yet whether this was done, SEALKV ENCRYPTION STATUS tells\r\n"),
    ] {
        house.below.operator_ends.lock().unwrap().push_back(Err(end));
        assert_eq!(client.ask("SEALKV ENCRYPTION ENABLE"), words);
    }
}

#[test]
fn status_and_scan_are_maps() {
    let house = House::open();
    let mut client = house.client();
    let fields = "$4\r\nmode\r\n$5\r\nready\r\n$13\r\napplied_index\r\n:7\r\n$13\r\ncutover_index\r\n";
    let current = "$10\r\nup_to_date\r\n$3\r\nyes\r\n";
    assert_eq!(client.ask("SEALKV ENCRYPTION STATUS"), format!("*8\r\n{fields}$-1\r\n{current}"));
    assert_eq!(client.ask("SEALKV ENCRYPTION SCAN"), "*4\r\n$10\r\nclear_rows\r\n:2\r\n$11\r\nsealed_rows\r\n:3\r\n");
    client.ask("HELLO 3");
    assert_eq!(client.ask("SEALKV ENCRYPTION STATUS"), format!("%4\r\n{fields}_\r\n{current}"));
    assert_eq!(client.ask("SEALKV ENCRYPTION SCAN"), "%2\r\n$10\r\nclear_rows\r\n:2\r\n$11\r\nsealed_rows\r\n:3\r\n");
}

/// Goal: a digest ends with its client, or at its deadline, and meanwhile others read whatever they like.
#[test]
fn bounded_a_digest_is_for_a_client_that_stays_and_holds_up_nobody() {
    let bounds = ClientBounds { walk_deadline: Duration::from_millis(400), ..ClientBounds::default() };
    let house = House::open_with(bounds, 1);
    let given_up = |least: u64| {
        let limit = Instant::now() + Duration::from_secs(10);
        while house.below.given_up.load(Ordering::Relaxed) < least {
            assert!(Instant::now() < limit, "work that nobody waits for goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    house.below.is_large.store(true, Ordering::Relaxed);
    let mut good = house.client();
    assert_eq!(good.ask("SET a 1"), "+OK\r\n");
    // Each gives its turn back, so all of them come to theirs.
    for gone in 1..=8 {
        let mut client = house.client();
        client.send(b"SEALKV DIGEST\r\n");
        assert_eq!(good.ask("DBSIZE"), ":1\r\n");
        drop(client);
        given_up(gone);
    }
    let mut patient = house.client();
    assert!(patient.ask("SEALKV DIGEST").starts_with("-ERR it took too long"));
    given_up(9);
    house.below.is_large.store(false, Ordering::Relaxed);
    // Who sends more meanwhile has not gone.
    patient.send(b"SEALKV DIGEST\r\nGET a\r\n");
    let digest = "ab".repeat(32);
    assert_eq!(patient.reply(), format!("*4\r\n$7\r\napplied\r\n:7\r\n$6\r\ndigest\r\n$64\r\n{digest}\r\n"));
    assert_eq!(patient.reply(), "$1\r\n1\r\n");
}

#[test]
fn what_is_wrong_or_not_there_yet_is_said() {
    let house = House::open();
    let mut client = house.client();
    let help = client.ask("SEALKV HELP");
    for word in ["ENABLE", "STATUS", "ROTATE", "SCAN", "no way back"] {
        assert!(help.contains(word), "{help}");
    }
    let cases = [
        ("SEALKV", "-ERR wrong number of arguments for 'sealkv' command\r\n"),
        ("SEALKV ENCRYPTION", "-ERR wrong number of arguments for 'sealkv|encryption' command\r\n"),
        ("SEALKV NONE", "-ERR unknown subcommand 'NONE'. Try SEALKV HELP.\r\n"),
        ("SEALKV ENCRYPTION NONE", "-ERR syntax error in SEALKV ENCRYPTION NONE. Try SEALKV HELP.\r\n"),
        ("SEALKV ENCRYPTION ENABLE NOW", "-ERR syntax error in SEALKV ENCRYPTION ENABLE. Try SEALKV HELP.\r\n"),
        ("SEALKV ENCRYPTION ROTATE", "-ERR syntax error in SEALKV ENCRYPTION ROTATE. Try SEALKV HELP.\r\n"),
        ("SEALKV ENCRYPTION ROTATE KEK", "-ERR syntax error\r\n"),
        ("SEALKV HELP ME", "-ERR wrong number of arguments for 'sealkv|help' command\r\n"),
    ];
    for (line, expected) in cases {
        assert_eq!(client.ask(line), expected, "{line}");
    }
    assert!(client.ask("SEALKV ENCRYPTION RETIRE 1").starts_with("-ERR keys cannot be retired yet"));
    assert!(house.below.asked.lock().unwrap().is_empty());
}
