//! One node of real rooms in one thread: raft, log, apply, proposer and keys over a simulated disk, store and clock.
//!
//! What a crash leaves is the node's body, what it loses is its life. Nothing here starts a thread, reads a clock of the
//! machine or draws from the kernel, so that a seed decides everything that a node does.

mod counts;
mod life;
mod log;
mod remains;
mod shared;
mod snapshots;

use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::fsm::command::ReadCommand;
use crate::fsm::command::WriteCommand;
use crate::fsm::kv::NamedRead;
use crate::fsm::kv::ReadAnswer;
use crate::fsm::name::Database;
use crate::fsm::state::Applied;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::keys::keyring::Keyring;
use crate::members::Members;
use crate::node::end::End;
use crate::node::snapshot::install::COMPLETE;
use crate::node::snapshot::install::RECEIVED;
use crate::propose::ClientRequest;
use crate::propose::Gateway;
use crate::propose::Mode;
use crate::propose::ProposeHandle;
use crate::propose::RequestSlot;
use crate::raft::ClockDrift;
use crate::raft::Input;
use crate::raft::Status;
use crate::resp::ClientReads;
use crate::testing::clock::SimClock;
use crate::testing::disk::Fault;
use crate::testing::disk::Platters;
pub use crate::testing::node::counts::InstallDeath;
pub use crate::testing::node::counts::SnapshotCounts;
use crate::testing::node::life::Life;
use crate::testing::node::log::DurableTerms;
use crate::testing::node::remains::Remains;
pub use crate::testing::node::shared::SharedBySimNodes;
use crate::testing::picture::Picture;
use crate::testing::post::Post;
use crate::testing::seed::Seeded;

/// A node that can be crashed and started again.
pub struct SimNode {
    body: Remains,
    shared: SharedBySimNodes,
    chance: Seeded,
    life: Option<Life>,
    is_paused: bool,
    /// Where its clients' requests go while another node leads.
    post: Option<Post>,
    /// What is durable while it has no life.
    durable: DurableTerms,
    /// Those of its starts and crashes.
    snapshots: SnapshotCounts,
    dies_in_installs: bool,
}

impl SimNode {
    /// Founds a node of a new cluster: all founders write the same members as state at index 1, and their logs begin
    /// compacted there.
    ///
    /// # Panics
    /// If the log cannot be made.
    #[must_use]
    pub fn found(node: NodeId, founders: &[NodeId], mode: Mode, shared: &SharedBySimNodes, chance: Seeded) -> SimNode {
        let body = Remains::found(node, founders, mode, &chance);
        let (durable, snapshots) = (DurableTerms::default(), SnapshotCounts::default());
        SimNode {
            body,
            shared: shared.clone(),
            chance,
            life: None,
            is_paused: false,
            post: None,
            durable,
            snapshots,
            dies_in_installs: false,
        }
    }

    /// Starts it, by the install, the checks and the replay of a start. If it is to die in that, it does not run behind it.
    ///
    /// # Errors
    /// Why a node would not start.
    ///
    /// # Panics
    /// If it runs.
    pub fn start(&mut self) -> Result<(), String> {
        assert!(self.life.is_none(), "a node has one life at a time");
        // What came for the process before this one is lost with it.
        drop(self.shared.network.take(self.id()));
        self.shared.parcels.forget(self.id());
        let entropy = Arc::new(Seeded::new(self.chance.bits()));
        let has_snapshot = self.body.has_complete_snapshot();
        if has_snapshot && self.dies_in_installs {
            self.body.files.die_after_changes(Some(self.chance.pick(&CHANGES_BEFORE_A_DEATH)));
        }
        let started = Life::start(&self.body, &self.shared, entropy);
        self.body.files.die_after_changes(None);
        if self.body.files.is_dead() {
            if has_snapshot {
                self.snapshots.died(self.how_far_installed());
            }
            drop(started);
            self.crash();
            return Ok(());
        }
        let life = started?;
        self.post.iter().for_each(|post| life.handle.forward_by(post.of(self.id())));
        (self.life, self.is_paused) = (Some(life), false);
        Ok(())
    }

    /// Of a snapshot that was there when the start began.
    fn how_far_installed(&self) -> InstallDeath {
        let (body, incoming) = (&self.body, &self.body.places.incoming);
        if !body.files.is_there(&incoming.join(COMPLETE)) {
            InstallDeath::Clearing
        } else if body.base().is_none() {
            InstallDeath::StateAside
        } else if !body.files.is_there(&incoming.join(RECEIVED)) {
            InstallDeath::InPlace
        } else if self.applied().index.0 < body.log_begins.load(Relaxed) {
            InstallDeath::LogBegun
        } else {
            InstallDeath::Verifying
        }
    }

    /// From now on its requests go to who leads. Once.
    pub(super) fn forward_by(&mut self, post: &Post) {
        self.life.iter().for_each(|life| life.handle.forward_by(post.of(self.id())));
        self.post = Some(post.clone());
    }

    /// From its next start on it reads by the leader's lease, for clocks that drift by at most that.
    pub fn lease(&mut self, drift: ClockDrift) {
        self.body.lease = Some(drift);
    }

    /// Lets its process stand still until it goes on, or goes on with it. Its clocks go on, and messages wait for it.
    pub fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused && self.life.is_some();
    }

    /// Ends it at once, by the death of its process or by a power cut. Whoever waits for an answer learns nothing.
    pub fn crash(&mut self) {
        self.forget_ways();
        if let Some(life) = self.life.take() {
            self.snapshots.crashes_in_fetches += u64::from(life.is_fetching());
            self.durable = life.log.durable();
        }
        if self.chance.one_in(2) {
            self.body.platters.cut_power(&self.chance);
            self.body.files.cut_power(&self.chance);
        } else {
            self.body.files.end_life();
        }
        self.body.base().iter().for_each(|base| base.crash());
    }

    /// The connections of its process end.
    fn forget_ways(&self) {
        self.post.iter().for_each(|post| post.forget(self.id()));
        self.shared.parcels.forget(self.id());
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// Why it could not.
    pub fn stop(&mut self) -> Result<(), String> {
        self.forget_ways();
        if let Some(mut life) = self.life.take() {
            life.stop()?;
            self.durable = life.log.durable();
        }
        self.body.files.end_life();
        Ok(())
    }

    /// What each of its threads would do next, in an order and a number of turns that its seed chooses.
    ///
    /// # Errors
    /// Why the node ends: a halt, a poisoned log, a fatal error of raft.
    pub fn step(&mut self) -> Result<(), String> {
        let Some(life) = self.life.as_mut().filter(|_| !self.is_paused) else {
            return Ok(());
        };
        life.step_raft(self.shared.network.take(self.body.identity.node.value()))?;
        for _ in 0..self.chance.below(4) {
            match self.chance.below(3) {
                0 => life.log.step()?,
                1 if life.step_apply()? => {
                    self.shared.record.of(self.body.identity.node.value()).note(|| life.applied())
                }
                1 => {}
                _ => life.step_raft(Vec::new())?,
            }
        }
        if self.chance.one_in(50) {
            life.apply.flusher().ask();
        }
        match life.step_snapshots(&self.chance) {
            _ if self.body.files.is_dead() => self.crash(),
            None => {}
            Some(End::Install) => {
                self.stop()?;
                self.start()?;
            }
            Some(other) => return Err(format!("{other:?}")),
        }
        Ok(())
    }

    /// There is no space on its disks any more for its state, for snapshots and for more slots of its log; or there is again.
    pub fn fill(&self, is_full: bool) {
        self.body.files.set_full(is_full);
        self.body.platters.disarm();
        if is_full {
            self.body.platters.arm(Fault::NoCreate(NO_SPACE));
        }
    }

    /// Its process dies in one of its next calls to the disk of snapshots: in a fetch, or in the install of a start.
    pub fn die_in_snapshots(&self, calls: u64) {
        self.body.files.die_after(calls);
    }

    /// From now on most of its installs kill it, at any of their changes of the disk.
    pub fn die_in_installs(&mut self) {
        self.dies_in_installs = true;
    }

    /// Neither of these happens any more.
    pub fn live_on(&mut self) {
        self.dies_in_installs = false;
        self.body.files.live_on();
    }

    /// What became of snapshots until now.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotCounts {
        let numbers = &self.body.numbers;
        let [made, cut_off] = [&numbers.made, &numbers.cut_off].map(|number| number.load(Relaxed));
        SnapshotCounts { made, cut_off, installed: self.body.files.installed(), ..self.snapshots }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.body.identity.node.value()
    }

    /// Whether it has a life.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.life.is_some()
    }

    /// Raft's view of itself; `None` while it does not run.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.life.as_ref().map(Life::status)
    }

    /// The members as raft has them; `None` while it does not run.
    #[must_use]
    pub fn members(&self) -> Option<Members> {
        self.life.as_ref().map(|life| life.raft.members().clone())
    }

    /// Gives its raft loop something to do, if it runs.
    pub(super) fn ask(&mut self, input: Input) {
        if let Some(life) = &mut self.life {
            life.ask(input);
        }
    }

    /// Where clients' requests go; `None` while it does not run.
    #[must_use]
    pub fn handle(&self) -> Option<&ProposeHandle> {
        self.life.as_ref().map(|life| &life.handle)
    }

    /// A read of the applied state, once its read point is reached. Keys that are past due are handed to the proposer.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn read(&self, read: &ReadCommand) -> Result<Option<ReadAnswer>, String> {
        let Some(life) = &self.life else {
            return Ok(None);
        };
        let names = life.reads.names(Database::FIRST, read).map_err(|error| error.to_string())?;
        let read = NamedRead { read, database: Database::FIRST, names: &names };
        let answer = life.reads.read(read, life.handle.now_ms()).map_err(|error| error.to_string())?;
        if let ReadAnswer::PastDue(names) = &answer {
            let removal = RequestSlot::Write(Database::FIRST, WriteCommand::RemoveExpired { names: names.clone() });
            // A full queue drops it: they are found again.
            let _ = life.handle.propose(ClientRequest {
                conditions: Vec::new(),
                slots: vec![removal],
                done: Box::new(|_| ()),
            });
        }
        Ok(Some(answer))
    }

    /// What is applied, or would be found by a start.
    ///
    /// # Panics
    /// If the state has no record.
    #[must_use]
    pub fn applied(&self) -> Position {
        match &self.life {
            Some(life) => life.apply.applied().position,
            None => self.picture().map_or_else(Position::default, |picture| {
                Applied::decode(&picture.applied).expect("this program wrote it").position
            }),
        }
    }

    /// The cutover that its state knows.
    ///
    /// # Panics
    /// If the keyring cannot be read.
    #[must_use]
    pub fn cutover(&self) -> Index {
        let keyring = self.picture().and_then(|picture| picture.keyring);
        keyring.map_or(Index::NEVER, |row| Keyring::decode(&row).expect("this program wrote it").cutover())
    }

    /// Everything that is applied, byte for byte, or that would be found by a start; `None` between two renames of an install.
    #[must_use]
    pub fn picture(&self) -> Option<Picture> {
        match &self.life {
            Some(life) => Some(Picture::of(life.apply.state())),
            None => self.body.base().map(|base| Picture::of_base(&*base)),
        }
    }

    /// Whether its log holds that entry durably.
    #[must_use]
    pub fn has_durably(&self, position: Position) -> bool {
        match &self.life {
            Some(life) => life.log.durable().has(position),
            None => self.durable.has(position),
        }
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.body.clock
    }

    /// Its disk.
    #[must_use]
    pub fn platters(&self) -> &Platters {
        &self.body.platters
    }

    /// Puts everything that can be seen of this node into `hasher`.
    pub fn hash_into(&self, hasher: &mut impl Hasher) {
        self.picture().hash(hasher);
        self.body.platters.checksums().hash(hasher);
        self.body.files.checksum().hash(hasher);
        format!("{:?}", self.snapshots()).hash(hasher);
        format!("{:?}", self.status()).hash(hasher);
    }
}

debug_fields!(self: SimNode { id: self.id(), status: self.status() });

/// ENOSPC.
const NO_SPACE: i32 = 28;
/// An install changes the disk some 15 times: three syncs before its log begins anew, then a rename, which comes more often here
/// because it is the only change before the old state is set aside.
const CHANGES_BEFORE_A_DEATH: [u64; 15] = [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
