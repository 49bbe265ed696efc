//! Attacks on a running node: a second process in its directory, a client that is cheap to itself and dear to others.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::refused_start;

#[test]
fn a_second_process_is_refused_although_somebody_removed_the_locks() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    fs::remove_file(site.data().join("LOCK")).unwrap();
    for lock in ["LOCK", "LOCK", "state/LOCK"] {
        // The second process may have made it anew.
        let _ = fs::remove_file(site.data().join(lock));
        let refusal = refused_start(&site.sealed());
        assert_eq!(refusal.status, 78, "{}", refusal.output);
        assert!(refusal.output.contains("in use by another process"), "{}", refusal.output);
    }
    assert_eq!(node.client().words("GET k"), Reply::bulk("v"), "the first one goes on");
}

/// The longest that `command` took while `work` ran on another connection, and how long that took.
fn worst_beside(node: &Node, command: &str, work: &impl Fn(&mut Client)) -> (Duration, Duration) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut client = node.client();
            let mut worst = Duration::ZERO;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let begin = Instant::now();
                assert!(!matches!(client.words(command), Reply::Error(_)));
                worst = worst.max(begin.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            worst
        });
        let mut client = node.client();
        let begin = Instant::now();
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut client)));
        let took = begin.elapsed();
        // Said in any case, or the other thread would never end.
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        worked.unwrap();
        (other.join().unwrap(), took)
    })
}

/// Cheap to send, dear to answer: each command opens a value of 2 MB and answers a few bytes.
#[test]
fn one_client_that_has_large_values_opened_over_and_over_does_not_hold_up_the_others() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SETRANGE big 2000000 x"), Reply::Integer(2_000_001));
    let pipeline = |first: &str, command: &str, count: usize| {
        let line = |text: &str| encode(&text.split(' ').map(str::as_bytes).collect::<Vec<&[u8]>>());
        let mut bytes = line(first);
        bytes.extend(line(command).repeat(count));
        move |client: &mut Client| {
            client.send(&bytes).unwrap();
            for _ in 0..=count {
                client.reply().unwrap();
            }
        }
    };
    // Unlike keys: equal ones are opened once.
    let others: String = (0..20).map(|number| format!(" big{number}")).collect();
    for key in others.split_whitespace() {
        assert_eq!(node.client().words(&format!("SETRANGE {key} 2000000 x")), Reply::Integer(2_000_001));
    }
    // Flushed, so that they have to be opened.
    assert_eq!(node.stop().code(), Some(0));
    let node = Node::start(&site.sealed());
    let exists = format!("EXISTS{others}");
    let cases = [
        ("PING", pipeline("PING", "TTL big", 300)),
        ("PING", pipeline("PING", &exists, 15)),
        // Many entries: others wait for one of them, which is no more than a part of all.
        ("SET other v", pipeline("SET a b", "SETNX big v", 2000)),
        ("SET other v", pipeline("SET a b", "TTL big", 4000)),
    ];
    for (command, work) in cases {
        // Who is held up is held up in every round; a busy machine is not as bad three times.
        let is_served = (0..3).any(|_| {
            let (worst, took) = worst_beside(&node, command, &work);
            println!("{command}: worst {worst:?} beside {took:?}");
            worst < took / 2
        });
        assert!(is_served, "{command} waited as long as another client was served, three times");
    }
}
