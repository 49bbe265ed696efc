//! ACK-DURABLE on a disk that fails once: whichever request of the log it is, nothing acknowledged is lost, nothing is synced
//! again, and the node ends.

use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;

use crate::durability::Ledger;
use crate::durability::Load;
use crate::durability::verify;
use crate::failing_disk::FailingDisk;
use crate::failing_disk::Fault;
use crate::failing_disk::Kind;
use crate::failing_disk::Plan;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::sealkv;

/// What a trial saw.
#[derive(Debug, Default)]
struct Saw {
    acknowledged: u64,
    /// From the failed request to the end of the process; `None` if it goes on, or nothing failed.
    ended_after: Option<Duration>,
    has_failed: bool,
}

/// Goal: fail one request of each kind in each way, at random places of a node's life. `SEALKV_RUNS` places.
#[test]
fn a_disk_that_fails_once_ends_the_node_with_74_and_loses_nothing_acknowledged() {
    let (places, chance) = (runs(CI_PLACES), Seeded::fresh());
    let (mut failed, mut acknowledged, mut slowest) = (0, 0, Duration::ZERO);
    for place in 0..places {
        let site = Site::new();
        let Some(disk) = FailingDisk::mount(site.path()) else { return };
        let plan = plan(place, &chance);
        let saw = fail_once(&site, &disk, plan);
        failed += u64::from(saw.has_failed);
        acknowledged += saw.acknowledged;
        slowest = slowest.max(saw.ended_after.unwrap_or_default());
        assert!(slowest < END_WITHIN, "{plan:?}: the node ended {slowest:?} after the request failed");
    }
    println!("{failed} requests failed, {acknowledged} acknowledged and found; the slowest end took {slowest:?}");
    println!("{places} tried, 0 failed");
    assert!(failed * 2 >= places && acknowledged > 0, "vacuous: {failed} failed, {acknowledged} acknowledged");
}

fn plan(place: u64, chance: &Seeded) -> Plan {
    let (io, full, read_only) = (Fault::Error(5), FULL, READ_ONLY);
    let (kind, below) =
        [(Kind::Frame, 60), (Kind::Sync, 60), (Kind::Header, 12), (Kind::Growth, 24), (Kind::Directory, 24)]
            [usize::try_from(place % 5).unwrap()];
    let faults: &[Fault] = match kind {
        Kind::Frame | Kind::Header => &[io, full, read_only, Fault::Short],
        Kind::Sync | Kind::Growth | Kind::Directory => &[io, full, read_only],
    };
    Plan { kind, nth: chance.below(below), fault: faults[chance.index(faults.len())] }
}

fn fail_once(site: &Site, disk: &FailingDisk, plan: Plan) -> Saw {
    site.make_kek("kek", 7);
    let engine = if plan.nth.is_multiple_of(2) { "uring" } else { "plain" };
    let args = |dir: &std::path::Path| {
        let mut args = site.sealed_in(&dir.join("data"));
        args.extend(["--log-engine", engine].map(str::to_owned));
        args
    };
    disk.plan(plan);
    let mut saw = Saw::default();
    let mut command = sealkv();
    command.args(args(&disk.path));
    let ledgers = match Node::try_start_with(command) {
        Ok(node) => work(node, disk, plan, &mut saw),
        Err((status, log)) => {
            assert!(disk.failed_at().is_some(), "{plan:?}: a start without a fault ended with {status}: {log}");
            // A start that finds no space, or a file system that is mounted for reading only, is the operator's to mend.
            let expected: &[i32] = if matches!(plan.fault, FULL | READ_ONLY) { &[74, 78] } else { &[74] };
            assert!(status.code().is_some_and(|code| expected.contains(&code)), "{plan:?}: {status}: {log}");
            Vec::new()
        }
    };
    saw.has_failed = disk.failed_at().is_some();
    // On a healthy disk: the directory behind.
    let node = Node::start(&args(&disk.behind));
    let mut client = node.client();
    for ledger in ledgers {
        verify(&mut client, &ledger, 0, 0);
        saw.acknowledged += ledger.acknowledged;
    }
    assert_eq!(node.stop().code(), Some(0), "{plan:?}");
    saw
}

/// Loads the node until it ends or has gone on long enough.
fn work(mut node: Node, disk: &FailingDisk, plan: Plan, saw: &mut Saw) -> Vec<Ledger> {
    let load = Load::start(node.client_port, CONNECTIONS, &HashMap::new());
    let began = Instant::now();
    let ended = loop {
        let status = node.status();
        if status.is_some() || began.elapsed() > LOAD_FOR {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    if let (Some(_), Some(failed_at)) = (ended, disk.failed_at()) {
        saw.ended_after = Some(failed_at.elapsed());
    }
    let ledgers = load.ledgers();
    // A short write says that nothing is wrong: the rest is written as well.
    let is_fatal = plan.fault != Fault::Short && matches!(plan.kind, Kind::Frame | Kind::Sync | Kind::Header);
    let status = ended.unwrap_or_else(|| {
        let must_end = disk.failed_at().is_some() && is_fatal;
        assert!(!must_end, "{plan:?}: the node goes on: {}", node.log());
        node.signal("-TERM");
        node.wait(Duration::from_secs(30))
    });
    let expected: &[i32] = if disk.failed_at().is_none() { &[0] } else { &[0, 74] };
    assert!(status.code().is_some_and(|code| expected.contains(&code)), "{plan:?}: {status}: {}", node.log());
    if ended.is_some() {
        assert_eq!(status.code(), Some(74), "{plan:?}: {}", node.log());
        // What was under way beside it may still be synced: up to the frames in flight.
        assert!(!is_fatal || disk.syncs_after() <= FRAMES_IN_FLIGHT, "{plan:?}: {} syncs", disk.syncs_after());
    }
    ledgers
}

const FULL: Fault = Fault::Error(28);
const READ_ONLY: Fault = Fault::Error(30);
/// `scripts/slow disk-errors` fails requests at many more.
const CI_PLACES: u64 = 5;
const CONNECTIONS: usize = 4;
/// Of a node whose request does not fail, or which goes on: a new slot that cannot be made is no end.
const LOAD_FOR: Duration = Duration::from_millis(1500);
/// Usually it takes 20 ms.
const END_WITHIN: Duration = Duration::from_secs(1);
/// The default of `--log-frames-in-flight`.
const FRAMES_IN_FLIGHT: u64 = 2;
