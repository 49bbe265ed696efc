//! Installs a received snapshot at a start, before anything else looks at the state.
//!
//! ```text
//! 1  incoming/COMPLETE is there, its position is beyond the log,
//!    and everything in it is verified once more                     refused: as if it were not there
//! 2  the log begins anew behind it, durably                         from here on the old state is of no use
//! 3  state/ becomes old/, durably
//! 4  incoming/state becomes state/, durably
//! 5  once the start has passed its checks, COMPLETE goes, then old/, incoming/ and outgoing/
//! ```
//!
//! What is next follows from what is on the disk alone, so there is no difference between going on and beginning again after a
//! crash: behind 2 the log begins at the snapshot's position, behind 3 there is no state/, behind 4 nothing is in incoming/state.
//! A snapshot that the log has caught up with meanwhile is removed by 5.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::exit::chain;
use crate::fsm::rocks::RocksOptions;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::file::sync_directory;
use crate::keys::file::sync_parent;
use crate::keys::file::unless_absent;
use crate::keys::node_keys::NodeKeys;
use crate::limits::SNAPSHOT_MANIFEST_BYTES_MAX;
use crate::node::datadir::DataDir;
use crate::node::refusal::Refusal;
use crate::node::snapshot::manifest::SnapshotManifest;
use crate::node::snapshot::verify::KnownHere;
use crate::node::snapshot::verify::SnapshotRefused;
use crate::node::snapshot::verify::check_files;
use crate::wal;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::LogConfig;
use crate::wal::LogLoop;
use crate::wal::Recovered;
use crate::world::World;

/// Says that everything of a snapshot is there and durable; its bytes are the manifest.
pub(super) const COMPLETE: &str = "COMPLETE";
/// The files of the snapshot, in incoming/.
pub(super) const RECEIVED: &str = "state";

/// What an install needs.
pub(crate) struct InstallParts<'a> {
    pub(crate) directory: &'a DataDir,
    pub(crate) rocks: &'a RocksOptions,
    pub(crate) node_keys: &'a NodeKeys,
    pub(crate) log: &'a LogConfig,
    pub(crate) world: &'a World,
}

/// A log that is open, and what it held.
type FoundLog = (LogLoop, Recovered);

/// One step of an install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InstallStep {
    BeginLogAnew,
    SetStateAside,
    PutInPlace,
}

/// Installs what is there; gives back the log as it is then.
///
/// # Errors
/// [`Refusal`]: the disk, or this node lacks a key.
pub(crate) fn finish(parts: &InstallParts<'_>, mut opened: FoundLog) -> Result<FoundLog, Refusal> {
    loop {
        let (done, next) = advance(parts, opened)?;
        opened = next;
        if done.is_none() {
            return Ok(opened);
        }
    }
}

/// Takes the next step, if there is one, and says which.
fn advance(parts: &InstallParts<'_>, opened: FoundLog) -> Result<(Option<InstallStep>, FoundLog), Refusal> {
    let Some(manifest) = complete(parts.directory)? else { return Ok((None, opened)) };
    let Some(step) = next_step(parts.directory, &opened.1, manifest.position()) else { return Ok((None, opened)) };
    let (state, received) = (parts.directory.state(), received(parts.directory));
    match step {
        InstallStep::BeginLogAnew => match verify(parts, &opened.1, &manifest) {
            Ok(()) => return Ok((Some(step), begin_log_anew(parts, opened, &manifest)?)),
            Err(refused) if refused.is_lack_of_a_key() => return Err(Refusal::Snapshot(refused)),
            Err(refused) => {
                let error = chain(&refused);
                tracing::error!(%error, "a snapshot is refused: it is removed and fetched again");
                return Ok((None, opened));
            }
        },
        InstallStep::SetStateAside => {
            remove_folder(&parts.directory.old())?;
            rename(&state, &parts.directory.old())?;
        }
        InstallStep::PutInPlace => {
            rename(&received, &state)?;
            tracing::info!(index = manifest.position().index.0, "a snapshot is installed");
        }
    }
    Ok((Some(step), opened))
}

/// What is next, told from what is on the disk.
fn next_step(directory: &DataDir, recovered: &Recovered, at: Position) -> Option<InstallStep> {
    let (is_received, has_state) = (received(directory).exists(), directory.state().exists());
    // A log that goes on from there by itself has entries, or its state is the same.
    let is_begun = recovered.compacted == at && recovered.entries.is_empty();
    match (is_received, has_state) {
        // What else was in the log is gone or of no use: the snapshot is all there is.
        (true, true) if is_begun => Some(InstallStep::SetStateAside),
        (true, false) if is_begun => Some(InstallStep::PutInPlace),
        (true, true) if !holds(recovered, at) => Some(InstallStep::BeginLogAnew),
        _ => None,
    }
}

/// Removes what is left of snapshots. Only once the start has passed its checks: then the state is whole without them.
///
/// # Errors
/// The disk's.
pub(crate) fn remove_leftovers(directory: &DataDir) -> Result<(), Refusal> {
    let complete = directory.incoming().join(COMPLETE);
    match fs::remove_file(&complete) {
        // Durably before what it speaks of.
        Ok(()) => sync_parent(&complete).map_err(|source| failed(&complete, source))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(&complete, source)),
    }
    [directory.incoming(), directory.old(), directory.outgoing()].iter().try_for_each(|path| remove_folder(path))
}

/// The manifest of a snapshot that is there as a whole. One that cannot be read is none: nothing is changed for it.
fn complete(directory: &DataDir) -> Result<Option<SnapshotManifest>, Refusal> {
    let path = directory.incoming().join(COMPLETE);
    let length = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(&path, source)),
        Ok(metadata) => metadata.len(),
    };
    let decoded = if length > SNAPSHOT_MANIFEST_BYTES_MAX as u64 {
        Err(format!("it has {length} bytes"))
    } else {
        let bytes = fs::read(&path).map_err(|source| failed(&path, source))?;
        SnapshotManifest::decode(&bytes).map_err(|error| error.to_string())
    };
    Ok(decoded.map_err(|error| tracing::error!(path = %path.display(), "no manifest of a snapshot: {error}")).ok())
}

fn received(directory: &DataDir) -> PathBuf {
    directory.incoming().join(RECEIVED)
}

/// Whether the log goes on from there, or has gone beyond it. Other entries there are of a history that nobody committed.
fn holds(recovered: &Recovered, at: Position) -> bool {
    let entry = recovered.entries.iter().find(|entry| entry.index == at.index);
    recovered.compacted.index >= at.index || entry.is_some_and(|entry| entry.term == at.term)
}

fn verify(parts: &InstallParts<'_>, recovered: &Recovered, manifest: &SnapshotManifest) -> Result<(), SnapshotRefused> {
    let known = KnownHere { node_keys: parts.node_keys, cutover: recovered.cutover.unwrap_or(Index::NEVER) };
    let folder = received(parts.directory);
    known.check_manifest(manifest)?;
    check_files(&folder, manifest)?;
    known.check_state(&folder, manifest, parts.rocks)
}

fn begin_log_anew(
    parts: &InstallParts<'_>,
    (mut log, recovered): FoundLog,
    manifest: &SnapshotManifest,
) -> Result<FoundLog, Refusal> {
    // The name of what takes the old state's place must not be younger than the log that needs it.
    let incoming = parts.directory.incoming();
    let synced = sync_directory(&received(parts.directory))
        .and_then(|()| sync_directory(&incoming))
        .and_then(|()| sync_parent(&incoming));
    synced.map_err(|source| failed(&incoming, source))?;
    let (at, logged) = (manifest.position(), recovered.hard_state);
    let hard_state = if logged.term < at.term {
        HardState { term: at.term, vote: 0, commit: at.index }
    } else {
        HardState { commit: at.index, ..logged }
    };
    let append = Append {
        ticket: 1,
        hard_state: Some(hard_state),
        reset: Some(at),
        cutover: Some(manifest.cutover).filter(|cutover| *cutover != Index::NEVER && recovered.cutover.is_none()),
        ..Append::default()
    };
    log.offer(append).expect("an empty queue takes one");
    while log.step(Duration::from_secs(1))?.persisted_ticket.is_none() {}
    drop(log);
    Ok(wal::open(parts.log, Arc::clone(&parts.world.clock), Arc::clone(&parts.world.entropy))?)
}

/// Durable before the next step.
fn rename(from: &Path, to: &Path) -> Result<(), Refusal> {
    let renamed = fs::rename(from, to).and_then(|()| sync_parent(to)).and_then(|()| sync_parent(from));
    renamed.map_err(|source| failed(from, source))
}

fn remove_folder(path: &Path) -> Result<(), Refusal> {
    unless_absent(fs::remove_dir_all(path)).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> Refusal {
    Refusal::Make { what: format!("{}: a snapshot cannot be installed or removed", path.display()), source }
}

#[cfg(test)]
mod tests;
