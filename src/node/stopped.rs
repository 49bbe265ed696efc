//! The state of a node that does not run, to be read: what its files hold and, above it, what its log holds, applied in memory.
//!
//! Nothing on the disk changes. What cannot be read is no reason to stop: it is named, and the rest is given. Memory holds the
//! entries that the log has above the state, and what they did: less than the log's slots.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::apply_loop::ApplyParts;
use crate::apply::commit::State;
use crate::apply::flush::Flusher;
use crate::apply::load::LoadError;
use crate::apply::load::load;
use crate::apply::open::Openings;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::ApplyLog;
use crate::apply::ports::CutoverNotDurable;
use crate::apply::replay::replay_in_memory;
use crate::apply::rows::SealedRows;
use crate::apply::run::RunBounds;
use crate::crypto::digest::ContentDigest;
use crate::disk;
use crate::disk::DiskError;
use crate::entry::LogEntry;
use crate::exit::Blame;
use crate::exit::chain;
use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;
use crate::fsm::contents::Content;
use crate::fsm::contents::each_content;
use crate::fsm::reader::RowReader;
use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::base::RocksBase;
use crate::fsm::state::Applied;
use crate::fsm::view::View;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::identity::Identity;
use crate::keys::identity::LogKey;
use crate::keys::kek;
use crate::keys::kek::KekError;
use crate::keys::kek::KekSet;
use crate::keys::node_keys::NodeKeys;
use crate::node::agree;
use crate::node::agree::LogFacts;
use crate::node::datadir::DataDir;
use crate::node::datadir::DataDirError;
use crate::node::place::base_place;
use crate::wal::LogConfig;
use crate::wal::WalError;
use crate::wal::inspect;
use crate::wal::inspect::LogPart;
use crate::world::World;

/// Why nothing can be read at all.
#[derive(Debug, thiserror::Error)]
pub enum StoppedError {
    /// The KEK.
    #[error(transparent)]
    Kek(#[from] KekError),
    /// The directory, or its identity.
    #[error(transparent)]
    Directory(#[from] DataDirError),
    /// The state does not open.
    #[error("state/ cannot be opened")]
    Base(#[from] BaseError),
    /// The state's record, or its keys.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl StoppedError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            StoppedError::Kek(error) => error.blame(),
            StoppedError::Directory(error) => error.blame(),
            StoppedError::Load(error) => error.blame(),
            StoppedError::Base(_) => Blame::Damage,
        }
    }
}

/// A node that does not run, opened to be read.
pub struct StoppedNode {
    reader: RowReader,
    /// What is not in it, in words: the end of a log that is damaged, or that does not apply.
    pub missing: Vec<String>,
    /// Held so that no node starts meanwhile.
    _directory: DataDir,
}

debug_fields!(self: StoppedNode { missing: self.missing });

impl StoppedNode {
    /// Opens the directory of a node.
    ///
    /// # Errors
    /// [`StoppedError`].
    pub fn open(data_dir: &Path, kek_file: Option<&Path>) -> Result<StoppedNode, StoppedError> {
        let keks = KekSet::new(kek_file.map(kek::from_file).transpose()?.into_iter().collect())?;
        let directory = DataDir::look(data_dir)?;
        let (identity, log_key) = directory.identity(&keks)?;
        let node_keys = Arc::new(NodeKeys::new(identity.cluster, keks));
        directory.check_state_files()?;
        let base = RocksBase::open_read_only(&base_place(&directory), &RocksOptions::default())?;
        let base: Arc<dyn RowBase> = Arc::new(base);
        let record = load(&*base, &node_keys)?;
        let applied = record.applied.clone();
        let log: Arc<dyn ApplyLog> = Arc::new(NoLog);
        let flusher = Arc::new(Flusher::new(Arc::default(), Arc::clone(&log)));
        let state = State::new(base, record, Arc::clone(&flusher), Arc::clone(&log), u64::MAX);
        let reader = RowReader::new(Arc::clone(state.views()), Arc::new(SealedRows::new(Arc::clone(&node_keys))));
        let parts = ApplyParts {
            state,
            reader: reader.clone(),
            node_keys,
            waiters: Arc::default(),
            openings: Openings::new(None),
            log,
            port: Box::new(NoPort),
            flusher,
            metrics: Arc::default(),
            clock: World::real().clock,
            bounds: RunBounds::default(),
        };
        let mut missing = Vec::new();
        let entries = entries_above(&directory, &identity, log_key.as_ref(), &applied, &mut missing);
        if let Err(halt) = replay_in_memory(&mut ApplyLoop::new(parts), entries, |_| {}, |_| false) {
            missing.push(format!("the log does not apply from there on: {}", chain(&*halt)));
        }
        Ok(StoppedNode { reader, missing, _directory: directory })
    }

    /// The newest view.
    #[must_use]
    pub fn view(&self) -> Arc<View<dyn RowBase>> {
        self.reader.views().load()
    }

    /// Calls `visit` with every row, or what cannot be read, until it answers false.
    pub fn each(&self, visit: &mut dyn FnMut(Content) -> bool) {
        each_content(&self.reader, &self.view(), visit);
    }
}

/// The digest of everything in a view, or the first thing that cannot be read. Nodes of one cluster have the same one at the
/// same applied index, whatever of it is flushed. `None` once `goes_on`, which is asked at each row, says no.
///
/// # Errors
/// What cannot be read.
pub fn digest(
    reader: &RowReader,
    view: &View<dyn RowBase>,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<[u8; 32]>, String> {
    let mut digest = ContentDigest::default();
    let (mut trouble, mut is_cut) = (None, false);
    each_content(reader, view, &mut |content| {
        match content {
            Content::Row(row) => {
                digest.add(row.name.as_bytes());
                digest.add(&row.header.encode());
                digest.add(&row.body);
            }
            Content::Shut(name, error) => {
                trouble = Some(format!("row {}: {}", hex::encode(name.as_bytes()), chain(&error)))
            }
            Content::Lost(_, why) => trouble = Some(why),
        }
        is_cut = trouble.is_none() && !goes_on();
        trouble.is_none() && !is_cut
    });
    match trouble {
        Some(trouble) => Err(trouble),
        None => Ok((!is_cut).then(|| digest.finish())),
    }
}

impl StoppedNode {
    /// The applied index and the digest of the state there.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn digest(&self) -> Result<(Index, [u8; 32]), String> {
        if let Some(missing) = self.missing.first() {
            return Err(missing.clone());
        }
        let digest = digest(&self.reader, &self.view(), &mut || true)?;
        Ok((self.view().position.index, digest.expect("nothing cuts it")))
    }
}

/// The entries that a start would apply, as far as the log can be read.
fn entries_above(
    directory: &DataDir,
    identity: &Identity,
    log_key: Option<&LogKey>,
    applied: &Applied,
    missing: &mut Vec<String>,
) -> Vec<LogEntry> {
    let above = applied.position.index;
    let mut entries: Vec<LogEntry> = Vec::new();
    let read = read_entries(directory, identity, log_key, &mut |entry| {
        if entry.index > above {
            let place = usize::try_from(entry.index.0 - above.0 - 1).unwrap_or(usize::MAX);
            // A later leader's entry takes the place of an earlier one, and of all behind it.
            entries.truncate(place);
            if entries.len() == place {
                entries.push(entry.clone());
            }
        }
    });
    let commit = match read {
        Ok(facts) if facts.last < above => {
            missing.push(format!("the log ends at {}, before the state at {above}", facts.last));
            above
        }
        Ok(facts) if facts.compacted > above => {
            missing.push(format!("the log begins behind {}, the state is at {above}", facts.compacted));
            above
        }
        // A sole voter commits whatever its log holds.
        Ok(facts) if applied.members.voters.len() <= 1 => facts.last,
        Ok(facts) => agree::commit(above, &facts),
        Err(error) => {
            missing.push(format!("the log cannot be read to its end: {error}"));
            Index(above.0 + entries.len() as u64)
        }
    };
    entries.retain(|entry| entry.index <= commit);
    entries
}

fn read_entries(
    directory: &DataDir,
    identity: &Identity,
    log_key: Option<&LogKey>,
    each: &mut dyn FnMut(&LogEntry),
) -> Result<LogFacts, String> {
    let mut config = LogConfig::new(directory.log(), identity.node, identity.cluster);
    config.log_key = log_key.map(|key| Zeroizing::new(*key.expose()));
    let mut disk = disk::open_to_read(&config.dir).map_err(|error: DiskError| chain(&error))?;
    let summary = inspect::read_through(&config, disk.as_mut(), &mut |part| {
        if let LogPart::Frame { body: Ok(body), .. } = part {
            body.entries.iter().for_each(&mut *each);
        }
        Ok(())
    });
    let summary = summary.map_err(|error: WalError| chain(&error))?;
    Ok(LogFacts {
        compacted: summary.compacted,
        last: summary.last,
        commit: summary.hard_state.commit,
        cutover: Index::NEVER,
    })
}

/// The log of a node that does not run: nothing is written to it.
struct NoLog;

impl ApplyLog for NoLog {
    fn make_durable(&self, _: Index) -> Result<(), CutoverNotDurable> {
        Ok(())
    }

    fn trim(&self, _: Position) {}

    fn bytes_used(&self) -> u64 {
        0
    }

    fn pool_bytes(&self) -> u64 {
        u64::MAX
    }
}

struct NoPort;

impl AppliedPort for NoPort {
    fn applied(&mut self, _: &Applied) {}
}
