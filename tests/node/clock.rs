//! The wall clock of a running node is wrong for a while: what expires, and what absolute times mean.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use sealkv::testing::clock::ShiftedClock;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::sealkv;
use crate::operator::http;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const TEN_YEARS_MS: i64 = 3652 * DAY_MS;

/// A site whose node believes a wall clock that is off by as much as a file says.
struct Clocked {
    site: Site,
}

impl Clocked {
    fn new() -> Clocked {
        Clocked { site: Site::new() }
    }

    fn file(&self) -> PathBuf {
        self.site.path().join("shift")
    }

    /// What the wall clock of the node is off by, from its next look on.
    fn shift(&self, ms: i64) {
        fs::write(self.site.path().join("shift.new"), ms.to_string()).unwrap();
        fs::rename(self.site.path().join("shift.new"), self.file()).unwrap();
        sleep(Duration::from_millis(300));
    }

    fn start(&self) -> Node {
        let mut command = sealkv();
        command.args(self.site.sealed()).env(ShiftedClock::VARIABLE, self.file());
        Node::start_with(command)
    }
}

fn true_seconds() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn integer(client: &mut Client, line: &str) -> i64 {
    let Reply::Integer(number) = client.words(line) else { panic!("{line} answers a number") };
    number
}

/// SET with EXAT in an hour lives and shows its time; PX 1500 counts down and is gone after its time, by reads alone.
fn expiry_is_right(client: &mut Client, shifted_by: i64) {
    let at = true_seconds() + 3600 + shifted_by / 1000;
    assert_eq!(client.words(&format!("SET later v EXAT {at}")), Reply::ok());
    assert_eq!(client.words("GET later"), Reply::bulk("v"));
    assert_eq!(integer(client, "EXPIRETIME later"), at);
    let left = integer(client, "TTL later");
    assert!((3595..=3600).contains(&left), "{left}");
    assert_eq!(client.words("SET moved v"), Reply::ok());
    assert_eq!(integer(client, &format!("PEXPIREAT moved {}", at * 1000)), 1);
    assert_eq!(integer(client, "PEXPIRETIME moved"), at * 1000);
    assert_eq!(client.words(&format!("SET past v EXAT {}", at - 3700)), Reply::ok());
    assert_eq!(client.words("GET past"), Reply::Null);
    assert_eq!(client.words("SET lock owner NX PX 1500"), Reply::ok());
    sleep(Duration::from_millis(700));
    let left = integer(client, "PTTL lock");
    assert!((1..=900).contains(&left), "{left} ms left of 1500 after 700");
    sleep(Duration::from_millis(900));
    assert_eq!(client.words("GET lock"), Reply::Null);
    assert_eq!(client.words("SET lock other NX"), Reply::ok());
    assert_eq!(client.words("DEL lock"), Reply::Integer(1));
}

#[test]
fn expiry_goes_on_when_the_wall_clock_of_an_idle_node_is_set_back() {
    let clocked = Clocked::new();
    let node = clocked.start();
    let mut client = node.client();
    assert_eq!(client.words("SET before v"), Reply::ok());
    clocked.shift(-2 * DAY_MS);
    assert_eq!(client.words("SET k v PX 1500"), Reply::ok());
    assert_eq!(client.words("DBSIZE"), Reply::Integer(2));
    sleep(Duration::from_millis(1600));
    assert_eq!(client.words("DBSIZE"), Reply::Integer(1), "counted by the clock, with no write meanwhile");
    assert_eq!(client.words("GET k"), Reply::Null);
    expiry_is_right(&mut client, -2 * DAY_MS);
}

#[test]
fn a_spell_ten_years_ahead_expires_nothing() {
    let clocked = Clocked::new();
    let node = clocked.start();
    let mut client = node.client();
    assert_eq!(client.words("SET kept v EX 86400"), Reply::ok());
    clocked.shift(TEN_YEARS_MS);
    sleep(Duration::from_secs(5));
    assert_eq!(client.words("GET kept"), Reply::bulk("v"));
    assert_eq!(client.words("SET during v PX 60000"), Reply::ok());
    assert!(node.says("the wall clock jumped ahead"));
    clocked.shift(0);
    assert_eq!(client.words("GET kept"), Reply::bulk("v"));
    assert_eq!(client.words("GET during"), Reply::bulk("v"));
    expiry_is_right(&mut client, 0);
}

#[test]
fn one_start_ahead_leaves_durations_and_absolute_times_right() {
    for ahead in [HOUR_MS, TEN_YEARS_MS] {
        let clocked = Clocked::new();
        clocked.shift(ahead);
        let node = clocked.start();
        assert_eq!(node.client().words("SET k v"), Reply::ok());
        assert!(node.stop().success());
        clocked.shift(0);
        let node = clocked.start();
        let mut client = node.client();
        expiry_is_right(&mut client, 0);
        let said = node.log().matches("leads its wall clock").count();
        assert_eq!(said, 1, "once, at the start");
        let (_, metrics) = http(node.admin_port, "/metrics");
        let metrics = String::from_utf8(metrics).unwrap();
        let lead = metrics.lines().find_map(|line| line.strip_prefix("sealkv_clock_lead_seconds ")).unwrap();
        let lead: f64 = lead.parse().unwrap();
        assert!((lead - ahead as f64 / 1000.0).abs() < 60.0, "{lead}");
    }
}

#[test]
fn a_start_after_a_day_off_is_taken_as_it_is() {
    let clocked = Clocked::new();
    clocked.shift(-DAY_MS);
    let node = clocked.start();
    let mut client = node.client();
    assert_eq!(client.words("SET gone v EX 3600"), Reply::ok());
    assert_eq!(client.words("SET kept v EX 172800"), Reply::ok());
    assert!(node.stop().success());
    clocked.shift(0);
    let node = clocked.start();
    let mut client = node.client();
    assert_eq!(client.words("GET gone"), Reply::Null);
    let left = integer(&mut client, "TTL kept");
    assert!((86_300..=86_400).contains(&left), "{left}");
    assert!(!node.log().contains("wall clock"));
    expiry_is_right(&mut client, 0);
}
