//! A start that installs a snapshot, on a real directory: cut off behind each of its steps, and with each of its parts damaged.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::apply::load::load;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::exit::Blame;
use crate::fsm::base::RowBase as _;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::base::BasePlace;
use crate::fsm::rocks::base::RocksBase;
use crate::fsm::state::Applied;
use crate::fsm::state::StateRecord;
use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::ids::Term;
use crate::keys::kek::KekSet;
use crate::keys::keyring::Keyring;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::unwrap_mac;
use crate::keys::tests::kit::CLEAR_NAMES;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::at;
use crate::keys::tests::kit::keks;
use crate::keys::tests::kit::keyring_new;
use crate::keys::tests::kit::other_keks;
use crate::members::Members;
use crate::node::datadir::DataDir;
use crate::node::snapshot::files::SnapshotFiles;
use crate::node::snapshot::manifest::names_in;
use crate::wal;
use crate::wal::LogConfig;
use crate::world::World;

/// Where the snapshot ends.
const SNAPSHOT: Position = Position { term: Term(3), index: Index(50) };

/// A node's directory: its log, its state at (1, 1), and a snapshot that is complete.
struct Site {
    folder: TempDir,
    directory: DataDir,
    places: SnapshotPlaces,
    disk: SnapshotFiles,
    log: LogConfig,
    rocks: RocksOptions,
    node_keys: NodeKeys,
    world: World,
    is_keyed: bool,
}

impl Site {
    /// A clear one, or one whose snapshot brings the keyring.
    fn new(is_keyed: bool) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDir::lock(folder.path()).unwrap();
        directory.make_flush().unwrap();
        fs::create_dir(directory.log()).unwrap();
        let mut log = LogConfig::new(directory.log(), NodeId::new(7).unwrap(), CLUSTER);
        (log.slots, log.slot_bytes, log.entry_bytes_max) = (4, 1 << 20, 64 << 10);
        let world = World::real();
        let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
        let disk = log.open_disk().unwrap();
        wal::create(&log, disk, clock, entropy, at(1, 1), &mut |_, _| {}).unwrap();
        let keks = if is_keyed { keks() } else { KekSet::default() };
        let node_keys = NodeKeys::new(CLUSTER, keks);
        let (places, rocks) = (SnapshotPlaces::of(&directory), RocksOptions::default());
        let disk = SnapshotFiles::new(rocks.clone());
        let site = Site { folder, directory, places, disk, log, rocks, node_keys, world, is_keyed };
        site.make_base(&site.directory.state(), at(1, 1), false);
        site.receive();
        site
    }

    fn make_base(&self, state: &Path, position: Position, is_keyed: bool) -> RocksBase {
        let founders = Members::founders(&[6, 7, 8].map(|id| NodeId::new(id).unwrap()));
        let mut applied = Applied::founding(CLUSTER, CLEAR_NAMES, founders, Vec::new());
        applied.position = position;
        let (keyring, mac) = if is_keyed { self.keyring() } else { return self.create(state, &applied, None) };
        applied.keyring_digest = Some(Keyring::digest(&keyring));
        self.create(state, &applied, Some((keyring, mac)))
    }

    fn keyring(&self) -> (Vec<u8>, Arc<MacKey>) {
        let keyring = keyring_new();
        (keyring.encode(), unwrap_mac(&keks(), &keyring).unwrap())
    }

    fn create(&self, state: &Path, applied: &Applied, keyring: Option<(Vec<u8>, Arc<MacKey>)>) -> RocksBase {
        let place = BasePlace { state: state.to_owned(), flush: self.directory.flush() };
        let (keyring, mac) = keyring.unzip();
        let record = StateRows { applied: applied.encode(mac.as_deref()), keyring };
        RocksBase::create(&place, &self.rocks, applied.position.index.0, &record).unwrap()
    }

    /// Puts a complete snapshot into incoming/.
    fn receive(&self) {
        let received = received(&self.places);
        fs::create_dir_all(self.directory.incoming()).unwrap();
        let elsewhere = self.folder.path().join("elsewhere");
        let base = self.make_base(&elsewhere, SNAPSHOT, self.is_keyed);
        base.checkpoint(&received).unwrap();
        let row = base.flushed_state(StateRow::Applied).unwrap().unwrap();
        drop(base);
        fs::remove_dir_all(&elsewhere).unwrap();
        let (cutover, mac) = match self.is_keyed {
            true => (keyring_new().cutover(), Some(self.keyring().1)),
            false => (Index::NEVER, None),
        };
        let manifest = SnapshotManifest::of(&self.disk, &received, row, cutover, mac.as_deref()).unwrap();
        fs::write(self.directory.incoming().join(COMPLETE), manifest.encode()).unwrap();
    }

    fn try_open_log(&self) -> Result<FoundLog, WalError> {
        wal::open(&self.log, Arc::clone(&self.world.clock), Arc::clone(&self.world.entropy))
    }

    fn open_log(&self) -> FoundLog {
        self.try_open_log().unwrap()
    }

    /// Goes so many steps on, or to the end; which they were.
    fn install(&self, steps: usize) -> Result<(Vec<InstallStep>, Recovered), Refusal> {
        let open_log = || self.try_open_log();
        let Site { places, disk, node_keys, .. } = self;
        let parts = InstallParts { places, disk, node_keys, open_log: &open_log };
        let (mut taken, mut opened) = (Vec::new(), self.open_log());
        while taken.len() < steps {
            let (step, next) = advance(&parts, opened)?;
            opened = next;
            match step {
                Some(step) => taken.push(step),
                None => break,
            }
        }
        Ok((taken, opened.1))
    }

    /// What a start finds in state/ after the install.
    fn record(&self) -> StateRecord {
        let place = BasePlace { state: self.directory.state(), flush: self.directory.flush() };
        load(&RocksBase::open_read_only(&place, &self.rocks).unwrap(), &self.node_keys.untouched()).unwrap()
    }

    /// Appends to the log as raft would.
    fn append(&self, append: Append) {
        let (mut log, _) = self.open_log();
        log.offer(Append { ticket: 1, ..append }).unwrap();
        while log.step(Duration::from_secs(1)).unwrap().persisted_ticket.is_none() {}
    }

    /// A start up to the point where its checks have passed.
    fn start(&self) -> Recovered {
        let (_, recovered) = self.install(usize::MAX).unwrap();
        remove_leftovers(&self.disk, &self.places).unwrap();
        recovered
    }

    fn is_installed(&self, recovered: &Recovered) {
        let commit = recovered.hard_state.commit;
        assert_eq!((recovered.compacted, commit, recovered.entries.len()), (SNAPSHOT, SNAPSHOT.index, 0));
        assert_eq!(recovered.cutover, self.is_keyed.then(|| keyring_new().cutover()));
        assert_eq!(self.record().applied.position, SNAPSHOT);
        self.is_clean();
    }

    fn is_not_installed(&self, recovered: &Recovered, compacted: Position) {
        assert_eq!(recovered.compacted, compacted);
        assert_eq!(self.record().applied.position, at(1, 1));
        self.is_clean();
    }

    fn is_clean(&self) {
        for name in ["incoming", "old", "outgoing"] {
            assert!(!self.folder.path().join(name).exists(), "{name} is left");
        }
    }
}

fn entry(term: u64, index: u64) -> LogEntry {
    LogEntry { term: Term(term), index: Index(index), kind: EntryKind::Normal, data: Bytes::from_static(b"e") }
}

#[test]
fn an_install_that_is_cut_off_behind_any_step_is_finished_by_the_next_start() {
    for is_keyed in [false, true] {
        for steps in 0..=3 {
            let site = Site::new(is_keyed);
            let expected = [InstallStep::BeginLogAnew, InstallStep::SetStateAside, InstallStep::PutInPlace];
            assert_eq!(site.install(steps).unwrap().0, expected[..steps]);
            site.is_installed(&site.start());
            site.is_installed(&site.start());
        }
    }
}

// The removal of what is left can be cut off as well: whatever is gone of it, the node starts with the installed state.
#[test]
fn what_an_install_leaves_is_never_counted_as_state() {
    let site = Site::new(false);
    site.install(usize::MAX).unwrap();
    let old = site.directory.old();
    assert!(old.join("CURRENT").exists());
    fs::remove_file(old.join("CURRENT")).unwrap();
    site.is_installed(&site.start());
    fs::create_dir_all(received(&site.places)).unwrap();
    fs::create_dir_all(site.directory.outgoing()).unwrap();
    fs::write(received(&site.places).join("CURRENT"), "half").unwrap();
    site.is_installed(&site.start());
}

#[test]
fn the_term_and_the_vote_of_the_log_outlive_an_install() {
    for (term, vote, expected) in [(2, 8, (3, 0)), (3, 8, (3, 8)), (9, 6, (9, 6))] {
        let site = Site::new(false);
        let hard_state = HardState { term: Term(term), vote, commit: Index(1) };
        site.append(Append { hard_state: Some(hard_state), ..Append::default() });
        let recovered = site.start();
        site.is_installed(&recovered);
        assert_eq!((recovered.hard_state.term.0, recovered.hard_state.vote), expected);
    }
}

#[test]
fn a_snapshot_that_the_log_has_caught_up_with_is_removed() {
    let site = Site::new(false);
    site.append(Append { entries: (2..=60).map(|index| entry(3, index)).collect(), ..Append::default() });
    let recovered = site.start();
    assert_eq!(recovered.entries.len(), 59);
    site.is_not_installed(&recovered, at(1, 1));
}

// Entries of an older term at the snapshot's index are of a history that nobody committed.
#[test]
fn entries_of_another_history_give_way_to_a_snapshot() {
    let site = Site::new(false);
    site.append(Append { entries: (2..=60).map(|index| entry(2, index)).collect(), ..Append::default() });
    site.is_installed(&site.start());
}

#[test]
fn a_snapshot_with_a_changed_byte_is_refused_and_the_node_starts_with_what_it_has() {
    for is_keyed in [false, true] {
        let kinds = ["sst", "MANIFEST", "CURRENT", "OPTIONS"];
        for kind in kinds {
            let site = Site::new(is_keyed);
            let mut names = names_in(&site.disk, &received(&site.places)).unwrap().into_iter();
            let path = received(&site.places).join(names.find(|name| name.contains(kind)).unwrap());
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
            site.is_not_installed(&site.start(), at(1, 1));
        }
    }
}

#[test]
fn a_snapshot_with_a_file_too_few_or_too_many_is_refused() {
    let site = Site::new(true);
    fs::write(received(&site.places).join("000099.sst"), "more").unwrap();
    site.is_not_installed(&site.start(), at(1, 1));
    let site = Site::new(true);
    fs::remove_file(received(&site.places).join("CURRENT")).unwrap();
    site.is_not_installed(&site.start(), at(1, 1));
}

// Every byte of the manifest is under the MAC; without keys a change is another position, or another file.
#[test]
fn a_manifest_with_a_changed_byte_is_refused() {
    let site = Site::new(true);
    let path = site.directory.incoming().join(COMPLETE);
    let good = fs::read(&path).unwrap();
    for place in (0..good.len()).step_by(7).chain([good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (_, recovered) = site.install(usize::MAX).unwrap();
        assert_eq!(recovered.compacted, at(1, 1), "byte {place}");
    }
    fs::write(&path, good).unwrap();
    site.is_installed(&site.start());
}

#[test]
fn a_snapshot_without_the_cutover_of_the_log_is_refused() {
    for (is_keyed, cutover) in [(false, 3), (true, 4)] {
        let site = Site::new(is_keyed);
        site.append(Append { cutover: Some(Index(cutover)), ..Append::default() });
        site.is_not_installed(&site.start(), at(1, 1));
    }
    let site = Site::new(true);
    site.append(Append { cutover: Some(keyring_new().cutover()), ..Append::default() });
    site.is_installed(&site.start());
}

// The keyring comes with the snapshot; its keys are wrapped by the KEK.
#[test]
fn a_node_without_the_kek_of_a_snapshot_ends_with_78_and_changes_nothing() {
    for others in [KekSet::default(), other_keks()] {
        let mut site = Site::new(true);
        site.node_keys = NodeKeys::new(CLUSTER, others);
        let refusal = site.install(usize::MAX).unwrap_err();
        assert_eq!(refusal.blame(), Blame::Config, "{refusal}");
        assert!(chain(&refusal).contains("KEK"), "{}", chain(&refusal));
        site.node_keys = NodeKeys::new(CLUSTER, keks());
        site.is_installed(&site.start());
    }
}

#[test]
fn a_node_with_a_kek_takes_no_snapshot_that_nothing_authenticates() {
    let mut site = Site::new(false);
    site.node_keys = NodeKeys::new(CLUSTER, keks());
    site.is_not_installed(&site.start(), at(1, 1));
}

#[test]
fn a_snapshot_of_another_cluster_is_refused() {
    let mut site = Site::new(false);
    site.node_keys = NodeKeys::new(ClusterId([1; 16]), KekSet::default());
    let (_, recovered) = site.install(usize::MAX).unwrap();
    assert_eq!(recovered.compacted, at(1, 1));
}
