//! Reads by the leader's lease, on a cluster of real processes.

use std::io::ErrorKind;
use std::time::Duration;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::trio::IDS;
use crate::trio::Trio;

/// The reply that comes within `patience`.
fn within(client: &mut Client, patience: Duration) -> Option<Reply> {
    client.clone_stream().set_read_timeout(Some(patience)).unwrap();
    match client.reply() {
        Ok(reply) => Some(reply),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            None
        }
    }
}

fn others(trio: &Trio, leader: u64, signal: &str) {
    IDS.iter().filter(|id| **id != leader).for_each(|id| trio.node(*id).signal(signal));
}

/// Goal: the leader reads without the others, which stand still, while its lease lasts, and not behind its end. Method: a busy
/// machine may let the lease end before the read comes, so one round of several is enough for the first half.
#[test]
fn a_leader_reads_alone_while_its_lease_lasts_and_not_behind_its_end() {
    let trio = Trio::leased().running();
    let get = encode(&[b"GET", b"key"]);
    let mut alone = 0;
    for round in 0..10 {
        let leader = trio.leader();
        let mut client = trio.client(leader);
        assert_eq!(client.words(&format!("SET key {round}")), Reply::ok());
        others(&trio, leader, "-STOP");
        client.send(&get).unwrap();
        let mut late = None;
        if let Some(reply) = within(&mut client, Duration::from_millis(200)) {
            assert_eq!(reply, Reply::bulk(round.to_string()));
            alone += 1;
            std::thread::sleep(Duration::from_millis(600));
            client.send(&get).unwrap();
            late = within(&mut client, Duration::from_millis(200));
        }
        assert!(!matches!(late, Some(Reply::Bulk(_))), "a read behind the end of the lease: {late:?}");
        others(&trio, leader, "-CONT");
        // What it reads once the others are back, or why it does not.
        assert!(late.is_some() || within(&mut client, Duration::from_secs(20)).is_some());
        if alone >= 3 {
            return;
        }
    }
    assert!(alone > 0, "no read was answered by a lease");
}
