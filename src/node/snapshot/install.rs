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

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::exit::chain;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::node_keys::NodeKeys;
use crate::limits::SNAPSHOT_MANIFEST_BYTES_MAX;
use crate::node::refusal::Refusal;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::snapshot::manifest::SnapshotManifest;
use crate::node::snapshot::places::SnapshotPlaces;
use crate::node::snapshot::verify::KnownHere;
use crate::node::snapshot::verify::SnapshotRefused;
use crate::node::snapshot::verify::check_files;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::LogLoop;
use crate::wal::Recovered;
use crate::wal::WalError;

/// Says that everything of a snapshot is there and durable; its bytes are the manifest.
pub(crate) const COMPLETE: &str = "COMPLETE";
/// The files of the snapshot, in incoming/.
pub(crate) const RECEIVED: &str = "state";

/// What an install needs.
pub(crate) struct InstallParts<'a> {
    /// Where everything is.
    pub(crate) places: &'a SnapshotPlaces,
    /// The disk under it.
    pub(crate) disk: &'a dyn SnapshotDisk,
    /// The keys, before the state has brought any.
    pub(crate) node_keys: &'a NodeKeys,
    /// Opens the log, which nobody else has open.
    pub(crate) open_log: &'a dyn Fn() -> Result<FoundLog, WalError>,
}

debug_fields!(self: InstallParts<'_> { places: self.places });

/// A log that is open, and what it held.
pub(crate) type FoundLog = (LogLoop, Recovered);

/// One step of an install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstallStep {
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
    let (disk, places) = (parts.disk, parts.places);
    let Some(manifest) = complete(disk, places)? else { return Ok((None, opened)) };
    let Some(step) = next_step(parts, &opened.1, manifest.position()) else { return Ok((None, opened)) };
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
            remove_folder(disk, &places.old)?;
            rename(disk, &places.state, &places.old)?;
        }
        InstallStep::PutInPlace => {
            rename(disk, &received(places), &places.state)?;
            tracing::info!(index = manifest.position().index.0, "a snapshot is installed");
        }
    }
    Ok((Some(step), opened))
}

/// What is next, told from what is on the disk.
fn next_step(parts: &InstallParts<'_>, recovered: &Recovered, at: Position) -> Option<InstallStep> {
    let is_received = parts.disk.has_folder(&received(parts.places));
    let has_state = parts.disk.has_folder(&parts.places.state);
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
pub(crate) fn remove_leftovers(disk: &dyn SnapshotDisk, places: &SnapshotPlaces) -> Result<(), Refusal> {
    let complete = places.incoming.join(COMPLETE);
    // Durably before what it speaks of.
    let removed = match disk.length(&complete) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => disk.remove_file(&complete).and_then(|()| disk.sync_name(&complete)),
        Err(error) => Err(error),
    };
    removed.map_err(|source| failed(&complete, source))?;
    [&places.incoming, &places.old, &places.outgoing].into_iter().try_for_each(|path| remove_folder(disk, path))
}

/// The manifest of a snapshot that is there as a whole. One that cannot be read is none: nothing is changed for it.
fn complete(disk: &dyn SnapshotDisk, places: &SnapshotPlaces) -> Result<Option<SnapshotManifest>, Refusal> {
    let path = places.incoming.join(COMPLETE);
    let length = disk.length(&path).map_err(|source| failed(&path, source))?;
    let decoded = match length {
        None => return Ok(None),
        Some(length) if length > SNAPSHOT_MANIFEST_BYTES_MAX as u64 => Err(format!("it has {length} bytes")),
        Some(_) => {
            let bytes = disk.read(&path, 0, SNAPSHOT_MANIFEST_BYTES_MAX).map_err(|source| failed(&path, source))?;
            SnapshotManifest::decode(&bytes).map_err(|error| error.to_string())
        }
    };
    Ok(decoded.map_err(|error| tracing::error!(path = %path.display(), "no manifest of a snapshot: {error}")).ok())
}

fn received(places: &SnapshotPlaces) -> PathBuf {
    places.incoming.join(RECEIVED)
}

/// Whether the log goes on from there, or has gone beyond it. Other entries there are of a history that nobody committed.
fn holds(recovered: &Recovered, at: Position) -> bool {
    recovered.compacted.index >= at.index || recovered.term_at(at.index) == Some(at.term)
}

fn verify(parts: &InstallParts<'_>, recovered: &Recovered, manifest: &SnapshotManifest) -> Result<(), SnapshotRefused> {
    let known = KnownHere { node_keys: parts.node_keys, cutover: recovered.cutover.unwrap_or(Index::NEVER) };
    let folder = received(parts.places);
    known.check_manifest(manifest)?;
    check_files(parts.disk, &folder, manifest)?;
    known.check_state(parts.disk, &folder, manifest)
}

fn begin_log_anew(
    parts: &InstallParts<'_>,
    (mut log, recovered): FoundLog,
    manifest: &SnapshotManifest,
) -> Result<FoundLog, Refusal> {
    // The name of what takes the old state's place must not be younger than the log that needs it.
    let (disk, incoming) = (parts.disk, &parts.places.incoming);
    let synced = disk
        .sync_folder(&received(parts.places))
        .and_then(|()| disk.sync_folder(incoming))
        .and_then(|()| disk.sync_name(incoming));
    synced.map_err(|source| failed(incoming, source))?;
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
    Ok((parts.open_log)()?)
}

/// Durable before the next step.
fn rename(disk: &dyn SnapshotDisk, from: &Path, to: &Path) -> Result<(), Refusal> {
    let renamed = disk.rename(from, to).and_then(|()| disk.sync_name(to)).and_then(|()| disk.sync_name(from));
    renamed.map_err(|source| failed(from, source))
}

fn remove_folder(disk: &dyn SnapshotDisk, path: &Path) -> Result<(), Refusal> {
    disk.remove_folder(path).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> Refusal {
    Refusal::Make { what: format!("{}: a snapshot cannot be installed or removed", path.display()), source }
}

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod tests;
