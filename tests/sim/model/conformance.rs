//! What the nodes of the simulation did is what the model allows. A trace that it forbids fails with its step, and one that was
//! made wrong is refused.

use std::sync::LazyLock;

use bytes::Bytes;
use sealkv::crypto::keystore::Purpose;
use sealkv::entry::LogEntry;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::ids::Term;
use sealkv::propose::ControlRequest;
use sealkv::propose::Mode;
use sealkv::testing::cluster::SimCluster;
use sealkv::testing::leader::in_clear;
use sealkv::testing::net::Weather;
use sealkv::testing::record::Deed;
use sealkv::testing::record::Recorded;
use sealkv::testing::seed::Seeded;

use crate::clients::Clients;
use crate::lives::mend;
use crate::lives::of_each_seed;
use crate::lives::restart;
use crate::lives::settle;
use crate::model::rules::Forbidden;
use crate::model::trace::Seen;
use crate::model::trace::Trace;

/// Steps the model with all of `deeds`.
///
/// # Panics
/// At the first that the model forbids.
pub fn follow(nodes: u64, quorum: usize, deeds: &[Recorded]) -> Seen {
    let (refused, seen) = first_refused(nodes, quorum, deeds);
    if let Some((at, why)) = refused {
        let Recorded { step, node, deed } = &deeds[at];
        panic!("the model forbids what node {node} did in step {step}: {why:?}, {deed:?}");
    }
    seen
}

/// The first deed that the model forbids, and what came before.
fn first_refused(nodes: u64, quorum: usize, deeds: &[Recorded]) -> (Option<(usize, Forbidden)>, Seen) {
    let mut trace = Trace::new(usize::try_from(nodes).expect("few nodes"), quorum);
    let refused = deeds.iter().enumerate().find_map(|(at, deed)| trace.take(deed).err().map(|why| (at, why)));
    (refused, trace.seen)
}

/// Clients and operators while nodes crash and the network breaks; keys are rotated in the middle of it.
fn live(seed: u64) -> (u64, Vec<Recorded>) {
    let (nodes, chance) = (if seed.is_multiple_of(4) { 1 } else { 3 }, Seeded::new(seed ^ 0x30de1));
    let mode = if chance.one_in(3) { Mode::On } else { Mode::Ready };
    let mut cluster = SimCluster::with_mode(seed, nodes, mode);
    let record = cluster.record();
    let mut clients = Clients::default();
    cluster.elect();
    for _ in 0..STEPS {
        cluster.step();
        let node = 1 + chance.below(nodes);
        if chance.one_in(4) {
            let asked = cluster.leader().unwrap_or(node);
            clients.send(&mut cluster, asked, &chance);
        }
        match chance.below(300) {
            0..5 => cluster.crash(node),
            5 if cluster.node(node).is_running() => cluster.stop(node),
            6..30 if !cluster.node(node).is_running() => restart(&mut cluster, node),
            // Mostly who leads: what it goes on to seal is dropped later.
            30..33 => cluster.partition(&[&[cluster.leader().unwrap_or(node)]]),
            33..40 => cluster.heal(),
            40 | 41 => cluster.set_weather(Weather { loss_percent: chance.below(20), delay_ms_max: chance.below(60) }),
            42..44 => drop(cluster.control(node, ControlRequest::Enable)),
            44..50 => {
                let purpose = if chance.one_in(2) { Purpose::Entry } else { Purpose::Value };
                cluster.control(cluster.leader().unwrap_or(node), ControlRequest::Rotate(purpose));
            }
            50 => cluster.transfer(node),
            _ => {}
        }
    }
    mend(&mut cluster);
    cluster.steps(200);
    let leader = cluster.elect();
    clients.check(&mut cluster, leader);
    settle(&mut cluster, &(1..=nodes).collect::<Vec<u64>>());
    (nodes, record.take())
}

fn quorum(nodes: u64) -> usize {
    usize::try_from(nodes / 2 + 1).expect("few nodes")
}

#[test]
fn what_nodes_do_under_faults_and_rotations_is_what_the_model_allows() {
    let lived = of_each_seed(CI_RUNS, |seed| {
        let (nodes, deeds) = live(seed);
        follow(nodes, quorum(nodes), &deeds)
    });
    let all = |of: fn(&Seen) -> u64| lived.iter().map(of).sum::<u64>();
    println!("{lived:?}");
    let runs = lived.len() as u64;
    assert!(all(|seen| seen.sealed) >= 20 * runs && all(|seen| seen.applied) >= 50 * runs, "vacuous");
    assert!(all(|seen| seen.rotations) >= runs && all(|seen| seen.openers) >= runs, "vacuous");
    assert!(all(|seen| seen.elections) >= 2 * runs && all(|seen| seen.restarts) >= 2 * runs, "vacuous");
    assert!(all(|seen| seen.cutovers) >= runs / 2 && all(|seen| seen.dropped) >= 1, "vacuous");
}

/// A life without faults: where something is planted, all before it is as it should be.
static QUIET: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let mut cluster = SimCluster::new(71, 3);
    let (record, mut clients, chance) = (cluster.record(), Clients::default(), Seeded::new(72));
    let leader = cluster.elect();
    for _ in 0..60 {
        clients.send(&mut cluster, leader, &chance);
        cluster.step();
    }
    cluster.steps(100);
    let deeds = record.take();
    follow(3, 2, &deeds);
    deeds
});

/// A life in which a node is away until its leader's log lacks what it needs: it starts, starts again with a snapshot in the place
/// of its log, or twice, and in the end once more with a log whose first entries are gone.
static AWAY: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let mut cluster = SimCluster::new(73, 3);
    let (record, mut clients, chance) = (cluster.record(), Clients::default(), Seeded::new(74));
    let leader = cluster.elect();
    let away = 1 + leader % 3;
    let send = |cluster: &mut SimCluster, clients: &mut Clients| {
        clients.send(cluster, cluster.leader().unwrap_or(leader), &chance);
        cluster.step();
    };
    (0..60).for_each(|_| send(&mut cluster, &mut clients));
    cluster.crash(away);
    (0..AWAY_STEPS).for_each(|_| send(&mut cluster, &mut clients));
    restart(&mut cluster, away);
    cluster.until("a snapshot is installed", |cluster| cluster.node(away).snapshots().installed > 0);
    (0..100).for_each(|_| send(&mut cluster, &mut clients));
    settle(&mut cluster, &[1, 2, 3]);
    cluster.crash(away);
    restart(&mut cluster, away);
    let deeds = record.take();
    let seen = follow(3, 2, &deeds);
    assert_eq!((seen.restarts, seen.trimmed), (2 + seen.installed, 1), "vacuous: {seen:?}");
    deeds
});

/// The deed after which a leader has handed over so many entries of clients, as far as their length shows.
fn handed(deeds: &[Recorded], is_it: impl Fn(&[LogEntry]) -> bool) -> usize {
    let handed = |recorded: &Recorded| matches!(&recorded.deed, Deed::Handed { entries, .. } if is_it(entries));
    deeds.iter().position(handed).expect("a quiet life has it")
}

fn entries_of(deed: &mut Deed) -> &mut Vec<LogEntry> {
    match deed {
        Deed::Handed { entries, .. } => entries,
        other => panic!("{other:?}"),
    }
}

/// Plants something at a place, and gives the reason for which the model refuses the first deed from there on.
fn planted(
    lived: &[Recorded],
    place: impl Fn(&[Recorded]) -> usize,
    plant: impl FnOnce(&mut Vec<Recorded>, usize),
) -> Forbidden {
    let mut deeds = lived.to_vec();
    let at = place(&deeds);
    plant(&mut deeds, at);
    let (refused, _) = first_refused(3, 2, &deeds);
    let (refused, why) = refused.expect("what was planted is refused");
    assert!(refused >= at, "refused in front of what was planted: {why:?}");
    why
}

/// The first group of a client's sealed entry, far behind the first opener.
fn of_a_client(deeds: &[Recorded]) -> usize {
    handed(deeds, |entries| entries.first().is_some_and(|entry| entry.index >= Index(10) && !entry.data.is_empty()))
}

#[test]
fn a_trace_that_was_made_wrong_is_refused() {
    // A byte of the ciphertext.
    let why = planted(&QUIET, of_a_client, |deeds, at| {
        let data = &mut entries_of(&mut deeds[at].deed)[0].data;
        let mut bytes = data.to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        *data = Bytes::from(bytes);
    });
    assert_eq!(why, Forbidden::DoesNotOpen);
    // The same entry once more, in the next place.
    let why = planted(&QUIET, of_a_client, |deeds, at| {
        let mut again = deeds[at].clone();
        let first = entries_of(&mut deeds[at].deed)[0].clone();
        let next = Index(entries_of(&mut again.deed).last().expect("one").index.0 + 1);
        *entries_of(&mut again.deed) = vec![LogEntry { index: next, ..first }];
        deeds.insert(at + 1, again);
    });
    assert_eq!(why, Forbidden::DoesNotOpen);
    // A clear entry above the cutover.
    let why = planted(&QUIET, of_a_client, |deeds, at| {
        entries_of(&mut deeds[at].deed)[0].data = in_clear(b"\x01clear");
    });
    assert_eq!(why, Forbidden::OtherEntry);
    // By a node that does not lead.
    let why = planted(&QUIET, of_a_client, |deeds, at| deeds[at].node = 1 + deeds[at].node % 3);
    assert!(matches!(why, Forbidden::NotLeader | Forbidden::OtherHistory), "{why:?}");
}

#[test]
fn a_trace_that_lacks_a_deed_is_refused() {
    // The leader's opener is never applied there.
    let leader_of = |deeds: &[Recorded]| deeds[of_a_client(deeds)].node;
    let applied = |deeds: &[Recorded]| {
        let leader = leader_of(deeds);
        let is_it = |it: &Recorded| it.node == leader && matches!(it.deed, Deed::Applied { .. });
        deeds.iter().position(is_it).expect("a leader applies")
    };
    let why = planted(&QUIET, applied, |deeds, at| {
        let leader = deeds[at].node;
        let mut place = 0;
        deeds.retain(|it| {
            place += 1;
            place <= at || it.node != leader || !matches!(it.deed, Deed::Applied { .. })
        });
    });
    assert_eq!(why, Forbidden::EmptyNotApplied);
    // Followers that never have anything durably.
    let why = planted(
        &QUIET,
        |_| 0,
        |deeds, _| {
            let leader = leader_of(deeds);
            deeds.retain(|it| it.node == leader || !matches!(it.deed, Deed::Persisted(_)));
        },
    );
    assert_eq!(why, Forbidden::BadElection);
    // A keyring that came from nowhere.
    let why = planted(&QUIET, applied, |deeds, at| {
        let newest = deeds.iter().rev().find_map(|it| match &it.deed {
            Deed::Applied { keyring, .. } => Some(keyring.clone()),
            _ => None,
        });
        if let Deed::Applied { keyring, .. } = &mut deeds[at].deed {
            *keyring = newest.expect("somebody applied");
        }
    });
    assert_eq!(why, Forbidden::OtherKeyring);
}

/// What a start found, to be changed.
struct Start<'a> {
    term: &'a mut Term,
    compacted: &'a mut Position,
    entries: &'a mut Vec<Position>,
    applied: &'a mut Position,
    keyring: &'a mut Option<Vec<u8>>,
}

/// Plants something in what a start of [`AWAY`] found: the one of that number, or the last one.
fn planted_in_start(number: usize, plant: impl FnOnce(Start<'_>)) -> Forbidden {
    let starts = |deeds: &[Recorded]| {
        let starts = deeds.iter().enumerate().filter(|(_, it)| matches!(it.deed, Deed::Started { .. }));
        let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
        starts[number.min(starts.len() - 1)]
    };
    planted(&AWAY, starts, |deeds, at| match &mut deeds[at].deed {
        Deed::Started { term, compacted, entries, applied, keyring } => {
            plant(Start { term, compacted, entries, applied, keyring });
        }
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_start_that_was_made_wrong_is_refused() {
    let (behind, installs, trimmed) = (0, 1, usize::MAX);
    // A log makes way for a snapshot although it has the entry at its end, and more.
    let why = planted_in_start(behind, |start| {
        *start.compacted = start.entries[start.entries.len() / 2];
        start.entries.clear();
    });
    assert_eq!(why, Forbidden::OtherRemains);
    // A snapshot of entries that nobody committed.
    let why = planted_in_start(installs, |start| {
        start.compacted.term.0 += 1;
        *start.applied = *start.compacted;
    });
    assert_eq!(why, Forbidden::OtherRemains);
    // The term before the install, and the vote in it, are forgotten.
    let why = planted_in_start(installs, |start| start.term.0 -= 1);
    assert_eq!(why, Forbidden::OtherRemains);
    // The keyring is not the one of the snapshot's index.
    let why = planted_in_start(installs, |start| *start.keyring = None);
    assert_eq!(why, Forbidden::OtherKeyring);
    // The state is one from before the install.
    let why = planted_in_start(installs, |start| start.applied.index.0 -= 1);
    assert_eq!(why, Forbidden::OtherRemains);
    // What a log had durably is not there any more.
    let why = planted_in_start(trimmed, |start| start.entries.truncate(start.entries.len() - 1));
    assert_eq!(why, Forbidden::OtherRemains);
    // More is gone from a log than it says.
    let why = planted_in_start(trimmed, |start| start.entries.drain(..1).for_each(drop));
    assert_eq!(why, Forbidden::OtherRemains);
}

/// `scripts/slow model` makes many more.
const CI_RUNS: u64 = 6;
const STEPS: u64 = 2_000;
/// So many writes are more than a log keeps for a node that is away.
const AWAY_STEPS: u64 = 600;
