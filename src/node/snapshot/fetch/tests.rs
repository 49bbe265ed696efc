//! A fetch from its first answer to the last, on simulated disks and by a clock that is moved: how fast it goes, and what it does
//! without space.

use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Receiver;

use super::*;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRows;
use crate::fsm::name::ROW_NAME_LEN;
use crate::fsm::name::RowName;
use crate::fsm::state::Applied;
use crate::ids::NodeId;
use crate::keys::kek::KekSet;
use crate::keys::tests::kit::CLEAR_NAMES;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::at;
use crate::limits::SNAPSHOT_BYTES_PER_SECOND;
use crate::members::Members;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::retention::TrimHold;
use crate::node::snapshot::Snapshots;
use crate::node::snapshot::parts::SnapshotParts;
use crate::node::snapshot::places::SnapshotPlaces;
use crate::raft::SnapshotOffer;
use crate::raft::thread::queue;
use crate::testing::base::MemoryBase;
use crate::testing::clock::SimClock;
use crate::testing::files::SimFiles;

/// One that gives snapshots, or takes them.
struct Side {
    both: Snapshots,
    files: SimFiles,
    places: SnapshotPlaces,
    numbers: Arc<SnapshotNumbers>,
    ended: Receiver<End>,
    /// The giver only borrows it.
    _base: Arc<dyn RowBase>,
}

impl Side {
    fn new(clock: &Arc<SimClock>, index: u64, mib: u8) -> Side {
        let [state, incoming, outgoing, old] = ["state", "incoming", "outgoing", "old"].map(PathBuf::from);
        let places = SnapshotPlaces { state, incoming, outgoing, old };
        let files = SimFiles::with_state(&places.state, base_at(at(3, index), mib));
        let base = files.state(&places.state).unwrap() as Arc<dyn RowBase>;
        let (disk, numbers): (Arc<dyn SnapshotDisk>, Arc<SnapshotNumbers>) =
            (Arc::new(files.of_this_life()), Arc::default());
        let (ends, ended) = Ends::new();
        let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
        let both = Snapshots::new(&SnapshotParts {
            base: &base,
            disk: &disk,
            places: &places,
            node_keys: &Arc::new(NodeKeys::new(CLUSTER, KekSet::default())),
            hold: &Arc::new(TrimHold::default()),
            numbers: &numbers,
            raft: &queue().0,
            ends: &ends,
            clock: &clock,
        });
        Side { both, files, places, numbers, ended, _base: base }
    }
}

/// A state of so many rows of 1 MiB.
fn base_at(position: Position, mib: u8) -> MemoryBase {
    let mut applied = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[1, 2].map(node)), Vec::new());
    applied.position = position;
    let record = StateRows { applied: applied.encode(None), keyring: None };
    let base = MemoryBase::new(record.clone());
    let mut file = base.begin_file(&record).unwrap();
    for number in 0..mib {
        let mut name = [0; ROW_NAME_LEN];
        // Over all files of a simulated checkpoint.
        (name[0], name[1]) = (1, number.wrapping_mul(4));
        file.put(&RowName::from_bytes(&name).unwrap(), &vec![number; 1 << 20]).unwrap();
    }
    file.finish().unwrap().ingest().unwrap();
    base
}

fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

/// A leader with a snapshot of 48 MiB and a member that fetches it, by one clock.
struct Transfer {
    clock: Arc<SimClock>,
    leader: Side,
    member: Side,
    offer: SnapshotOffer,
    /// Bytes that had come with each answer.
    moved: Vec<u64>,
}

impl Transfer {
    fn new() -> Transfer {
        let clock = Arc::<SimClock>::default();
        let (leader, member) = (Side::new(&clock, 50, 48), Side::new(&clock, 1, 0));
        assert!(leader.both.giver.begins());
        let position = leader.both.giver.make_now().unwrap();
        let offer = SnapshotOffer { leader: node(1), position };
        Transfer { clock, leader, member, offer, moved: Vec::new() }
    }

    /// All of it, with a pause once so many bytes are there. How it ended; the words of an error.
    fn run(&mut self, pause_at: u64, pause: Duration) -> Result<u64, String> {
        let (taker, mut pauses) = (&self.member.both.taker, Some(pause).into_iter());
        let mut fetch = taker.begin(self.offer).expect("no fetch is under way");
        let mut request = fetch.first();
        let outcome = loop {
            let answer = self.leader.both.giver.answer(node(2), &request.encode());
            let bytes = self.member.numbers.fetched_bytes.load(Relaxed);
            self.moved.push(bytes);
            if bytes >= pause_at {
                pauses.next().into_iter().for_each(|pause| self.clock.advance(pause));
            }
            match fetch.take(Ok(answer.into())) {
                Ok(FetchStep::Ask { request: next, pause }) => {
                    self.clock.advance(pause);
                    request = next;
                }
                Ok(FetchStep::Complete { bytes }) => break Ok(bytes),
                Err(error) => break Err(error),
            }
        };
        let ended = outcome.as_ref().map(|bytes| *bytes).map_err(ToString::to_string);
        assert_eq!(taker.ended(self.offer, outcome), None, "the leader has done nothing wrong");
        ended
    }
}

// Answers take no time here: without a limit, all of it would come at once.
#[test]
fn a_transfer_keeps_to_its_rate() {
    let mut transfer = Transfer::new();
    let bytes = transfer.run(u64::MAX, Duration::ZERO).unwrap();
    assert!(bytes > 48 << 20);
    let took = transfer.clock.monotonic();
    let due = Duration::from_secs_f64(bytes as f64 / SNAPSHOT_BYTES_PER_SECOND as f64);
    println!("{bytes} bytes in {took:?}");
    assert!(took > due.mul_f64(0.7) && took < due.mul_f64(1.3), "{bytes} bytes in {took:?}, {due:?} are due");
    assert!(matches!(transfer.member.ended.try_recv(), Ok(End::Install)));
}

#[test]
fn a_transfer_that_stood_still_does_not_make_up_for_it() {
    let mut transfer = Transfer::new();
    let bytes = transfer.run(8 << 20, Duration::from_secs(30)).unwrap();
    let took = transfer.clock.monotonic() - Duration::from_secs(30);
    let due = Duration::from_secs_f64(bytes as f64 / SNAPSHOT_BYTES_PER_SECOND as f64);
    println!("{bytes} bytes in {took:?} beside the pause");
    assert!(took > due.mul_f64(0.7) && took < due.mul_f64(1.3), "{bytes} bytes in {took:?}, {due:?} are due");
}

// The node goes on; nothing of the state has come, and nobody is told that the snapshot is bad.
#[test]
fn without_space_nothing_is_fetched_and_a_line_says_how_much_is_needed_until_there_is_some() {
    let mut transfer = Transfer::new();
    let manifest = SnapshotRequest::Manifest(transfer.offer.position).encode();
    let manifest = SnapshotManifest::decode(&transfer.leader.both.giver.answer(node(2), &manifest)).unwrap();
    transfer.member.files.set_full(true);
    for _ in 0..2 {
        let words = transfer.run(u64::MAX, Duration::ZERO).unwrap_err();
        let need = manifest.bytes() + SNAPSHOT_SPACE_LEFT;
        assert_eq!(words, format!("it needs {need} bytes of free space, there are 0: free space on that disk"));
        assert!(transfer.moved.iter().all(|bytes| *bytes == 0));
        assert!(transfer.member.ended.try_recv().is_err(), "the node goes on");
    }
    assert!(!transfer.member.files.is_there(&transfer.member.places.incoming.join(COMPLETE)));
    transfer.member.files.set_full(false);
    assert_eq!(transfer.run(u64::MAX, Duration::ZERO), Ok(manifest.bytes()));
    assert!(transfer.member.files.is_there(&transfer.member.places.incoming.join(COMPLETE)));
    assert!(matches!(transfer.member.ended.try_recv(), Ok(End::Install)));
}
