//! Where the state of a data directory lives, and what the files on their way into it are called.

use crate::fsm::rocks::base::BasePlace;
use crate::node::datadir::DataDir;
use crate::world::World;
use crate::world::random_array;

/// Where the state of a directory lives.
#[must_use]
pub(crate) fn base_place(directory: &DataDir) -> BasePlace {
    BasePlace { state: directory.state(), flush: directory.flush() }
}

/// Drawn for one process: it is in the names of the files in `flush/`, each of which is used once.
pub(crate) fn random_start(world: &World) -> u64 {
    u64::from_be_bytes(random_array(&*world.entropy))
}
