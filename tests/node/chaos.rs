//! Three real processes under everything that a test can do to a process, with clients that write all the time.

use std::time::Duration;
use std::time::Instant;

use sealkv::testing::seed::Seeded;

use crate::harness::Node;
use crate::netns::Nets;
use crate::trio::IDS;
use crate::trio::Trio;
use crate::trio::Writers;
use crate::trio::verify;

/// What a run has gone through.
#[derive(Debug, Default)]
struct Counts {
    kills: u32,
    pauses: u32,
    stops: u32,
    both: u32,
    partitions: u32,
    leader_changes: u32,
}

/// Goal: kill -9, SIGSTOP, ordered stops and restarts of the leader or another node, sometimes of two at once, and partitions,
/// while clients write through any node. In the end nothing acknowledged is lost, and all three hold the same. `scripts/chaos`
/// runs it for minutes.
#[test]
fn faults_of_processes_lose_nothing_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("SEALKV_CHAOS_SECONDS").unwrap_or(8);
    let seed = number("SEALKV_SEED").unwrap_or(20_261_129);
    println!("seed {seed}, {seconds} s");
    let (chance, mut counts) = (Seeded::new(seed), Counts::default());
    let nets = Nets::make();
    let trio = match nets {
        Ok(nets) => Trio::apart(nets),
        Err(why) => {
            println!("SKIPPED: partitions, {why}");
            Trio::new()
        }
    };
    let mut trio = trio.running();
    // Each waits for its replies, and for seconds where its node is cut off.
    let writers = Writers::start(trio.addresses(), if seconds >= 60 { 48 } else { 8 });
    let (end, mut leader) = (Instant::now() + Duration::from_secs(seconds), trio.leader());
    while Instant::now() < end {
        sleep(300 + chance.below(1500));
        let now = trio.leader();
        counts.leader_changes += u32::from(now != leader);
        leader = now;
        let node = if counts.kills > 0 && chance.one_in(4) { 1 + chance.below(3) } else { leader };
        fault(&mut trio, node, &chance, &mut counts);
        if seconds > 60 && counts.kills.is_multiple_of(20) {
            println!("{counts:?}, {} acknowledged", writers.count());
        }
    }
    let acknowledged = writers.acknowledged();
    let (index, digest) = trio.digest();
    let count = verify(&mut trio.client(1), &acknowledged);
    println!("acknowledged {count}, lost 0; {counts:?}; all three have digest {digest} at index {index}");
    assert!(count as u64 > 20 * seconds, "vacuous: {count} acknowledged");
    assert!(counts.leader_changes as u64 >= (seconds / 30).max(1), "vacuous: {counts:?}");
}

/// One fault, and its end.
fn fault(trio: &mut Trio, node: u64, chance: &Seeded, counts: &mut Counts) {
    let kinds = if trio.nets.is_some() { 14 } else { 10 };
    // First one after which another node leads, however short the run is.
    let kind = if counts.kills == 0 { 0 } else { chance.below(kinds) };
    match kind {
        10.. => part(trio, node, chance, counts),
        0..4 => {
            let least = if counts.kills == 0 { 2500 } else { 0 };
            counts.kills += 1;
            trio.kill(node);
            sleep(least + chance.below(2500));
            trio.start(node);
        }
        4..7 => {
            counts.pauses += 1;
            let pause = PausedNode::of(trio.node(node));
            sleep(500 + chance.below(3500));
            drop(pause);
        }
        7 => {
            // Nobody can commit until one of them is back.
            counts.both += 1;
            let other = IDS.into_iter().find(|id| *id != node).unwrap();
            trio.kill(node);
            trio.kill(other);
            sleep(chance.below(1500));
            trio.start(other);
            trio.start(node);
        }
        _ => {
            counts.stops += 1;
            trio.stop(node);
            sleep(chance.below(1000));
            trio.start(node);
        }
    }
}

/// Nodes do not hear each other for a while; clients reach all of them.
fn part(trio: &Trio, node: u64, chance: &Seeded, counts: &mut Counts) {
    let nets = trio.nets.as_ref().unwrap();
    counts.partitions += 1;
    if chance.one_in(2) {
        nets.cut_off(node);
    } else {
        nets.part(node, IDS.into_iter().find(|id| *id != node).unwrap());
    }
    // An election takes 1 to 2 s.
    sleep(2000 + chance.below(4000));
    nets.heal();
}

/// A process that does not run until this is dropped.
struct PausedNode(i32);

impl PausedNode {
    fn of(node: &Node) -> PausedNode {
        node.signal("-STOP");
        PausedNode(node.pid())
    }
}

impl Drop for PausedNode {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-CONT", &self.0.to_string()]).status();
    }
}

fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
