//! Whether what is taken for an unfinished first start is one. IDENTITY.new is renamed last of all, so log and state beside it
//! hold at most the founding of the cluster; more than that is a node, and making it again would wipe it.

use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;

use crate::fsm::base::RowBase as _;
use crate::fsm::base::StateRow;
use crate::fsm::rocks::start::LookedAt;
use crate::fsm::state::Applied;
use crate::ids::Index;
use crate::keys::identity::Identity;
use crate::keys::identity::LogKey;
use crate::node::config::Config;
use crate::node::datadir::DataDir;
use crate::node::place::base_place;
use crate::node::refusal::Refusal;
use crate::wal;
use crate::world::World;

/// Looks into log and state, as far as they can be opened. Changes nothing.
///
/// # Errors
/// [`Refusal::Directory`]: they hold more than a first start leaves.
pub(super) fn check(
    config: &Config,
    world: &World,
    directory: &DataDir,
    of: Option<&(Identity, Option<LogKey>)>,
) -> Result<(), Refusal> {
    let found = match of {
        Some((identity, log_key)) => newest_entry(config, world, directory, identity, log_key.as_ref())
            .filter(|newest| *newest > FOUNDING)
            .map(|newest| format!("a log that ends at entry {newest}")),
        None => has_more_than_a_first_frame(&directory.log()).then(|| "a log that was written to".to_owned()),
    };
    let found = found
        .or_else(|| applied(config, directory).filter(|at| *at > FOUNDING).map(|at| format!("a state at entry {at}")));
    match found {
        Some(found) => Err(directory.not_unfinished(found).into()),
        None => Ok(()),
    }
}

/// `None` for a log that cannot be opened: it was not finished.
fn newest_entry(
    config: &Config,
    world: &World,
    directory: &DataDir,
    identity: &Identity,
    log_key: Option<&LogKey>,
) -> Option<Index> {
    let log = config.log(directory.log(), identity, log_key);
    if !log.dir.is_dir() {
        return None;
    }
    let (_, recovered) = wal::open(&log, Arc::clone(&world.clock), Arc::clone(&world.entropy)).ok()?;
    Some(recovered.entries.last().map_or(recovered.compacted.index, |entry| entry.index))
}

/// The applied row needs no key to be read.
fn applied(config: &Config, directory: &DataDir) -> Option<Index> {
    let looked_at = LookedAt::look(&base_place(directory), &config.rocks()).ok()?;
    let row = looked_at.base().flushed_state(StateRow::Applied).ok()??;
    Some(Applied::decode(&row).ok()?.position.index)
}

/// A log that does not open under these keys, judged by where it has bytes at all: slots are zeros until they are written.
fn has_more_than_a_first_frame(log: &Path) -> bool {
    let Ok(entries) = fs::read_dir(log) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let from = if name == "slot-0000.wal" { FIRST_FRAMES_BYTES } else { 0 };
        name.to_string_lossy().ends_with(".wal") && has_bytes(&entry.path(), from).unwrap_or(false)
    })
}

fn has_bytes(slot: &Path, from: u64) -> std::io::Result<bool> {
    let mut file = File::open(slot)?;
    file.seek(SeekFrom::Start(from))?;
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(false),
            count if block[..count].iter().any(|byte| *byte != 0) => return Ok(true),
            _ => {}
        }
    }
}

/// The index of the state that a first start writes.
const FOUNDING: Index = Index(1);
/// Header and first frames of a log that was only made.
const FIRST_FRAMES_BYTES: u64 = 1 << 16;
