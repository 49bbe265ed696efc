//! Every start but the first: the disk behind an engine, and what it holds.

use std::sync::Arc;

use crate::wal::error::WalError;
use crate::wal::log_loop::LogLoop;
use crate::wal::log_loop::Recovered;
use crate::wal::options::Options;
use crate::world::Clock;
use crate::world::Entropy;

/// Opens the log's directory and recovers what is in it: [`Options::open_disk`], then [`LogLoop::open`].
///
/// # Errors
/// As those two.
pub fn open(
    options: &Options,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(LogLoop, Recovered), WalError> {
    let disk = options.open_disk()?;
    LogLoop::open(options, disk, clock, entropy)
}
