//! The first start: slots full of real zeros, and a first segment with the position behind which the log begins.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::Disk;
use crate::disk::SlotId;
use crate::ids::Position;
use crate::wal::Append;
use crate::wal::config::LogConfig;
use crate::wal::config::Sizes;
use crate::wal::error::During;
use crate::wal::error::LogConfigError;
use crate::wal::error::WalError;
use crate::wal::log_loop::LogLoop;
use crate::wal::recovery::Replayed;
use crate::wal::segments::Segments;
use crate::wal::state::LogState;
use crate::world::Clock;
use crate::world::Entropy;

/// Makes a log on an empty disk: every slot, then one durable frame by which the log is compacted at `begins_behind`.
///
/// A founder begins behind (term 1, index 1); a joiner, which has no state yet, behind nothing (term 0, index 0).
/// `progress` gets bytes done and bytes in all.
///
/// # Errors
/// Impossible settings, slots that exist already, or the device's. The slots made so far are of no use: remove them.
pub fn create(
    config: &LogConfig,
    mut disk: Box<dyn Disk>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    begins_behind: Position,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Box<dyn Disk>, WalError> {
    config.check(disk.block_bytes())?;
    if disk.slot_count() != 0 {
        return Err(LogConfigError::SlotsExist.into());
    }
    let sizes = Sizes::new(config.slot_bytes, config.entry_bytes_max, disk.block_bytes())?;
    let total = u64::from(config.slots) * config.slot_bytes;
    for slot in (0..config.slots).map(SlotId) {
        let before = u64::from(slot.0) * config.slot_bytes;
        let made = disk.create_slot(config.slot_bytes, &mut |done| progress(before + done, total));
        made.map_err(|source| WalError::Disk { slot, during: During::Create, source })?;
    }
    let nothing = Replayed::new(sizes, LogState::before_everything(), Segments::all_free(config.slots));
    let mut log = LogLoop::begin(config, disk, clock, entropy, nothing);
    let append = Append { ticket: 1, reset: Some(begins_behind), ..Append::default() };
    log.offer(append).expect("an empty queue takes one");
    while log.step(Duration::from_secs(1))?.persisted_ticket.is_none() {}
    Ok(log.into_disk())
}
