//! Nodes on loopback, and strangers that speak to them byte by byte.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use super::kit::*;
use crate::ids::ClusterId;
use crate::limits::PEER_QUEUE_BYTES_MIN;
use crate::limits::PEER_QUEUE_MAX;
use crate::peers::frame::FrameKind;
use crate::peers::frame::frame_of;
use crate::peers::hello::Hello;
use crate::peers::hello::Lane;
use crate::peers::*;
use crate::raft::Transport;

#[test]
fn messages_arrive_as_they_were_sent_on_both_lanes() {
    let [(one, _), (two, behind)] = pair();
    let mut transport = one.transport();
    let sent = [message(7, 1, 2, b""), message(1, 1, 2, b"short"), message(1, 1, 2, &vec![7; 3 << 20])];
    sent.iter().for_each(|message| transport.send(message.clone()));
    until("all are there", || behind.messages.lock().unwrap().len() == 3);
    let arrived = behind.messages.lock().unwrap();
    assert!(sent.iter().all(|message| arrived.contains(message)));
    let status = &two.status()[0];
    assert!(status.received_bytes_total > 3 << 20 && status.dropped_total == 0, "{status:?}");
    assert!(one.status()[0].sent_bytes_total > 3 << 20);
}

#[test]
fn each_side_knows_the_facts_of_the_other() {
    let [(_one, behind_one), (_two, behind_two)] = pair();
    assert!(behind_one.met.lock().unwrap().contains(&(node(2), b"facts".to_vec())));
    assert!(behind_two.met.lock().unwrap().contains(&(node(1), b"facts".to_vec())));
}

#[test]
fn a_request_is_answered_or_its_sender_knows_that_it_did_not_run() {
    let [(one, _), (two, _)] = pair();
    assert_eq!(call(&one, 2, b"echo 1", PATIENCE), Ok(Bytes::from_static(b"echo 1")));
    let long = vec![b'e'; 0].into_iter().chain(*b"echo").chain(vec![1; 5 << 20]).collect::<Vec<u8>>();
    assert_eq!(call(&two, 1, &long, PATIENCE), Ok(long.into()));
    assert_eq!(call(&one, 2, b"other", PATIENCE), Err(CallFailed::NotSent(WhyNotSent::Refused)));
    assert_eq!(call(&one, 3, b"echo", PATIENCE), Err(CallFailed::NotSent(WhyNotSent::NotAMember)));
    let (alone, _) = started(4, &[(5, "127.0.0.1:1".parse().unwrap())]);
    assert_eq!(call(&alone, 5, b"echo", PATIENCE), Err(CallFailed::NotSent(WhyNotSent::NotConnected)));
}

#[test]
fn a_request_that_left_has_an_unknown_outcome_at_its_deadline_and_at_the_end_of_its_peer() {
    let [(one, _), (two, _)] = pair();
    assert_eq!(call(&one, 2, b"never", Duration::from_millis(100)), Err(CallFailed::Unknown));
    let (done, outcome) = std::sync::mpsc::channel();
    one.call_then(node(2), b"never"[..].into(), PATIENCE, Box::new(move |result| done.send(result).unwrap()));
    until("it is written", || one.status()[0].queued == 0);
    sleep(Duration::from_millis(50));
    two.stop();
    assert_eq!(outcome.recv_timeout(PATIENCE).unwrap(), Err(CallFailed::Unknown));
    until("the connection is gone", || !one.status()[0].is_connected);
    assert_eq!(call(&one, 2, b"echo", PATIENCE), Err(CallFailed::NotSent(WhyNotSent::NotConnected)));
}

#[test]
fn a_node_that_stops_answers_every_request_that_waits() {
    let [(one, _), (_two, _)] = pair();
    let (done, outcome) = std::sync::mpsc::channel();
    one.call_then(node(2), b"never"[..].into(), PATIENCE, Box::new(move |result| done.send(result).unwrap()));
    one.stop();
    assert!(outcome.recv_timeout(PATIENCE).unwrap().is_err());
    assert_eq!(call(&one, 2, b"echo", PATIENCE), Err(CallFailed::NotSent(WhyNotSent::NotAMember)));
}

#[test]
fn a_peer_that_comes_back_elsewhere_is_found_and_one_that_is_removed_is_left() {
    let [(one, behind), (two, _)] = pair();
    drop(two);
    until("raft knows", || behind.unreachable.lock().unwrap().contains(&node(2)));
    let (two, behind) = started(2, &[]);
    one.set_members(&members_of(&[(2, two.local_address())]));
    until("it is found", || one.status()[0].is_connected);
    one.transport().send(message(7, 1, 2, b""));
    until("it hears", || !behind.messages.lock().unwrap().is_empty());
    one.set_members(&[]);
    assert!(one.status().is_empty());
    one.transport().send(message(7, 1, 2, b""));
}

#[test]
fn a_node_that_speaks_and_is_not_dialled_is_named_so_that_answers_find_a_way() {
    let (one, behind) = started(1, &[]);
    let (two, _) = started(2, &[(1, one.local_address())]);
    until("it is connected", || two.status()[0].is_connected);
    assert!(behind.undialled.lock().unwrap().is_empty(), "a hello alone needs no answer of raft");
    assert_eq!(call(&two, 1, b"echo", PATIENCE), Ok(Bytes::from_static(b"echo")));
    assert!(behind.undialled.lock().unwrap().is_empty(), "nor does a request");
    let speaks = || {
        two.transport().send(message(7, 2, 1, b""));
        behind.messages.lock().unwrap().len()
    };
    until("it is heard", || speaks() > 0);
    assert_eq!(behind.undialled.lock().unwrap()[0], node(2));
    one.set_members(&members_of(&[(2, two.local_address())]));
    until("the answer has a way", || one.status()[0].is_connected);
    let before = behind.undialled.lock().unwrap().len();
    let heard = behind.messages.lock().unwrap().len();
    until("it is heard again", || speaks() > heard + 3);
    assert!(behind.undialled.lock().unwrap().len() <= before + 1, "one may have been under way");
}

#[test]
fn who_is_turned_out_is_heard_no_more_and_whoever_comes_after_a_pardon_is() {
    let [(one, behind), (two, _)] = pair();
    let heard = || behind.messages.lock().unwrap().len();
    two.transport().send(message(7, 2, 1, b""));
    until("it hears", || heard() == 1);
    let connects = || two.status()[0].connects_total;
    let before = connects();
    one.turn_out(&[node(2)]);
    // Whatever it shows: it comes back and is cut off again and again.
    until("it has come back", || connects() > before + 3);
    two.transport().send(message(7, 2, 1, b""));
    sleep(Duration::from_millis(100));
    assert_eq!(heard(), 1);
    assert_eq!(call(&two, 1, b"echo", Duration::from_secs(1)).ok(), None);
    one.turn_out(&[]);
    until("it is heard again", || {
        two.transport().send(message(7, 2, 1, b""));
        heard() > 1
    });
}

#[test]
fn a_peer_that_takes_nothing_never_holds_up_its_sender() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, behind) = started(1, &[(2, listener.local_addr().unwrap())]);
    // Welcomed, and then never read again.
    let held: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = listener.accept().unwrap().0;
            let hello = read_hello(&mut stream);
            let welcome = Hello { from: node(2), to: node(1), ..hello };
            stream.write_all(&frame_of(FrameKind::Welcome, &welcome.to_bytes())).unwrap();
            stream
        })
        .collect();
    until("both stand", || one.status()[0].is_connected);
    let mut transport = one.transport();
    let begin = Instant::now();
    for _ in 0..2 * PEER_QUEUE_MAX {
        transport.send(message(1, 1, 2, &[1; 100 << 10]));
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(one.status()[0].dropped_total > 1000);
    assert!(behind.unreachable.lock().unwrap().contains(&node(2)), "raft knows");
    drop(held);
}

/// Method: a peer asks for more than may wait for it, and takes no answer until it has asked for all.
#[test]
fn a_peer_that_does_not_take_its_answers_is_told_that_further_requests_did_not_run() {
    const REQUESTS: u64 = 48;
    let (one, _behind) = started(1, &[]);
    let mut stream = TcpStream::connect(one.local_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = Hello { lane: Lane::Fast, cluster: CLUSTER, from: node(2), to: node(1), facts: Bytes::new() };
    stream.write_all(&frame_of(FrameKind::Hello, &hello.to_bytes())).unwrap();
    read_hello(&mut stream);
    let long = [&b"echo"[..], &vec![1; 1 << 20]].concat();
    for number in 0..REQUESTS {
        if number == REQUESTS / 3 * 2 {
            // What came first has run by then, and its answers wait: a fast node takes all requests before the first answer is there.
            sleep(Duration::from_secs(1));
        }
        let body = [&number.to_be_bytes()[..], &[0], &long].concat();
        stream.write_all(&frame_of(FrameKind::Request, &body)).unwrap();
    }
    let mut outcomes = std::collections::BTreeMap::new();
    for _ in 0..REQUESTS {
        let body = read_frame(&mut stream);
        let (number, outcome) = (u64::from_be_bytes(body[..8].try_into().unwrap()), body[8]);
        assert_eq!(body.len() > 9, outcome == 0, "bytes only where it ran");
        assert_eq!(outcomes.insert(number, outcome), None, "one answer each");
    }
    let count = |outcome: u8| outcomes.values().filter(|found| **found == outcome).count();
    let (ran, did_not) = (count(0), count(1));
    assert!(ran >= PEER_QUEUE_BYTES_MIN / 2 / long.len() && did_not > 0, "{ran} ran, {did_not} did not, {outcomes:?}");
}

#[test]
fn who_is_not_a_peer_is_refused_with_words_and_no_message_is_taken() {
    let (one, behind) = started(1, &[]);
    let address = one.local_address();
    let good = Hello { lane: Lane::Fast, cluster: CLUSTER, from: node(2), to: node(1), facts: Bytes::new() };
    let heartbeat = {
        let mut bytes = Vec::new();
        message(7, 2, 1, b"").put_head(&mut bytes);
        frame_of(FrameKind::Message, &bytes)
    };
    let hello = |hello: &Hello| [frame_of(FrameKind::Hello, &hello.to_bytes()), heartbeat.clone()].concat();
    let mut newer = good.to_bytes();
    newer[9] = 7;
    let cases = [
        (hello(&Hello { cluster: ClusterId([8; 16]), ..good.clone() }), "it is of cluster 0808"),
        (hello(&Hello { to: node(3), ..good.clone() }), "it looks for node 3, this is node 1"),
        (hello(&Hello { from: node(1), ..good.clone() }), "it says that it is node 1, which this node is itself"),
        (frame_of(FrameKind::Hello, &newer), "it speaks version 7 of the protocol of peers, this node speaks 2"),
        (frame_of(FrameKind::Hello, b"short"), "its hello ends inside magic: 8 bytes wanted, 5 left"),
    ];
    for (bytes, words) in cases {
        let said = said_to(address, &bytes);
        assert!(said.starts_with(words), "{said:?} is not {words:?}");
    }
    let mut huge = frame_of(FrameKind::Hello, b"");
    huge[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    for silent in
        [huge, heartbeat.clone(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![22, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        assert_eq!(said_to(address, &silent), "");
    }
    *behind.unwanted.lock().unwrap() = Some("no key in common".to_owned());
    assert_eq!(said_to(address, &hello(&good)), "no key in common");
    assert!(behind.messages.lock().unwrap().is_empty());
}

#[test]
fn a_peer_speaks_for_nobody_else_and_is_cut_when_it_does() {
    let (one, behind) = started(1, &[]);
    let hello = Hello { lane: Lane::Fast, cluster: CLUSTER, from: node(2), to: node(1), facts: Bytes::new() };
    for (from, to) in [(3, 1), (2, 3)] {
        let mut stream = TcpStream::connect(one.local_address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&frame_of(FrameKind::Hello, &hello.to_bytes())).unwrap();
        assert_eq!(read_hello(&mut stream).from, node(1));
        let mut bytes = Vec::new();
        message(7, from, to, b"").put_head(&mut bytes);
        stream.write_all(&frame_of(FrameKind::Message, &bytes)).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "it is cut");
    }
    assert!(behind.messages.lock().unwrap().is_empty());
}

#[test]
fn an_address_that_others_reach_needs_certificates_or_the_operators_word() {
    let config = PeersConfig {
        node: node(1),
        cluster: CLUSTER,
        listen: "0.0.0.0:0".parse().unwrap(),
        members: Vec::new(),
        security: Security::InsecurePlain { beyond_loopback: false },
        threads: 1,
        queue_bytes_max: PEER_QUEUE_BYTES_MIN,
    };
    let refused = start(config.clone(), Arc::new(Node::default())).unwrap_err().to_string();
    assert!(refused.starts_with("peer-listen is 0.0.0.0:0, which others reach"), "{refused}");
    let config = PeersConfig { security: Security::InsecurePlain { beyond_loopback: true }, ..config };
    start(config, Arc::new(Node::default())).unwrap();
}
