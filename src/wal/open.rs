//! Every start but the first: the disk behind an engine, and what it holds.

use std::sync::Arc;

use crate::wal::config::LogConfig;
use crate::wal::error::WalError;
use crate::wal::log_loop::LogLoop;
use crate::wal::log_loop::Recovered;
use crate::world::Clock;
use crate::world::Entropy;

/// Opens the log's directory and recovers what is in it: [`LogConfig::open_disk`], then [`LogLoop::open`].
///
/// # Errors
/// As those two.
pub fn open(
    config: &LogConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(LogLoop, Recovered), WalError> {
    let disk = config.open_disk()?;
    LogLoop::open(config, disk, clock, entropy)
}
