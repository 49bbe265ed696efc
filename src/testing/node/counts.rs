//! What became of snapshots at simulated nodes.

use std::iter::Sum;

/// Numbers of one node, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotCounts {
    /// Made for others.
    pub made: u64,
    /// Installed at a start.
    pub installed: u64,
    /// Fetches that ended before all was there, by themselves.
    pub cut_off: u64,
    /// Crashes while one was being fetched.
    pub crashes_in_fetches: u64,
    /// Deaths in starts that had one to install, by how far they came: in the order of [`InstallDeath::ALL`].
    pub deaths_in_installs: [u64; InstallDeath::ALL.len()],
}

impl SnapshotCounts {
    pub(super) fn died(&mut self, death: InstallDeath) {
        self.deaths_in_installs[death as usize] += 1;
    }
}

impl Sum for SnapshotCounts {
    fn sum<I: Iterator<Item = SnapshotCounts>>(counts: I) -> SnapshotCounts {
        counts.fold(SnapshotCounts::default(), |one, other| SnapshotCounts {
            made: one.made + other.made,
            installed: one.installed + other.installed,
            cut_off: one.cut_off + other.cut_off,
            crashes_in_fetches: one.crashes_in_fetches + other.crashes_in_fetches,
            deaths_in_installs: std::array::from_fn(|at| one.deaths_in_installs[at] + other.deaths_in_installs[at]),
        })
    }
}

/// How far an install came in which a process died, by what is on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallDeath {
    /// Nothing is changed: the snapshot was being verified and made durable.
    Verifying,
    /// The log begins behind the snapshot, and the old state is in its place.
    LogBegun,
    /// The old state is set aside, and none is in its place.
    StateAside,
    /// The new state is in its place, and the snapshot still counts as there.
    InPlace,
    /// What is left of it was being removed.
    Clearing,
}

impl InstallDeath {
    /// In the order of an install.
    pub const ALL: [InstallDeath; 5] = [
        InstallDeath::Verifying,
        InstallDeath::LogBegun,
        InstallDeath::StateAside,
        InstallDeath::InPlace,
        InstallDeath::Clearing,
    ];
}
