//! What the machine says of itself and of the directory. Nothing is judged here; what cannot be read is `None`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::cli::doctor::trial::EngineTrial;
use crate::cli::doctor::trial::try_engine;
use crate::crypto::aead::Tier;
use crate::crypto::aead::TierChoice;
use crate::node::machine;

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct MachineFacts {
    /// The AEAD tier that a node takes, and those that cannot be had here.
    pub(super) tier: &'static str,
    pub(super) tiers_missing: Vec<&'static str>,
    pub(super) cores: usize,
    pub(super) governor: Option<String>,
    pub(super) clock_source: Option<String>,
    /// Seconds since 1970.
    pub(super) wall_seconds: u64,
    /// A limit of the control group counts as the machine's.
    pub(super) memory_bytes: u64,
    pub(super) memory_available_bytes: u64,
    pub(super) swaps: Vec<String>,
    pub(super) memlock_bytes: Option<u64>,
    /// Hard limits; `None` = unlimited.
    pub(super) descriptors: Option<u64>,
    pub(super) file_bytes: Option<u64>,
    pub(super) core_pattern: Option<String>,
    pub(super) transparent_pages: Option<String>,
    /// The balloon of a virtual machine tells the host of free pages, which the host takes away.
    pub(super) reports_free_pages: bool,
    pub(super) uring_disabled: Option<u32>,
    pub(super) place: PlaceFacts,
    pub(super) kek: Option<KekFileFacts>,
}

/// The data directory, or the nearest directory above it that is there.
#[derive(Clone, Debug)]
pub(super) struct PlaceFacts {
    pub(super) asked: PathBuf,
    pub(super) looked_at: PathBuf,
    pub(super) mode: u32,
    pub(super) holds_node: bool,
    pub(super) file_system: &'static str,
    pub(super) free_bytes: u64,
    pub(super) takes_direct: bool,
    /// `write back`, `write through`.
    pub(super) write_cache: Option<String>,
    pub(super) has_fua: Option<bool>,
    pub(super) trial: Result<EngineTrial, String>,
}

/// The file of the KEK.
#[derive(Clone, Debug)]
pub(super) struct KekFileFacts {
    pub(super) path: PathBuf,
    pub(super) bytes: Option<u64>,
    pub(super) mode: u32,
    pub(super) is_on_the_data_disk: bool,
}

impl Default for PlaceFacts {
    fn default() -> PlaceFacts {
        PlaceFacts {
            asked: PathBuf::new(),
            looked_at: PathBuf::new(),
            mode: 0,
            holds_node: false,
            file_system: "unknown",
            free_bytes: 0,
            takes_direct: false,
            write_cache: None,
            has_fua: None,
            trial: Err("it was not looked at".to_owned()),
        }
    }
}

impl MachineFacts {
    pub(super) fn of(data_dir: &Path, kek_file: Option<&Path>) -> MachineFacts {
        let chosen = TierChoice::Fastest.resolve().unwrap_or(Tier::Library);
        let place = PlaceFacts::of(data_dir);
        let memory_bytes = machine::memory_bytes().unwrap_or(0);
        MachineFacts {
            tier: chosen.name(),
            tiers_missing: Tier::ALL.into_iter().filter(|tier| tier.check().is_err()).map(Tier::name).collect(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            wall_seconds: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            memory_bytes,
            memory_available_bytes: kibibytes("MemAvailable:").unwrap_or(0).min(memory_bytes),
            swaps: swaps(&fs::read_to_string("/proc/swaps").unwrap_or_default()),
            memlock_bytes: getrlimit(Resource::Memlock).maximum,
            descriptors: getrlimit(Resource::Nofile).maximum,
            file_bytes: getrlimit(Resource::Fsize).current,
            core_pattern: line("/proc/sys/kernel/core_pattern"),
            transparent_pages: line("/sys/kernel/mm/transparent_hugepage/enabled"),
            reports_free_pages: balloons().any(|features| reports_free_pages(&features)),
            uring_disabled: line("/proc/sys/kernel/io_uring_disabled").and_then(|text| text.parse().ok()),
            kek: kek_file.map(|path| KekFileFacts::of(path, &place.looked_at)),
            place,
        }
    }
}

impl PlaceFacts {
    fn of(asked: &Path) -> PlaceFacts {
        let absolute = std::path::absolute(asked).unwrap_or_else(|_| asked.to_owned());
        let looked_at = absolute.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned();
        let (device, mode) = device_and_mode(&looked_at);
        let queue = device.and_then(queue_of);
        let setting = |name: &str| queue.as_ref().and_then(|queue| line(queue.join(name)));
        let space = rustix::fs::statvfs(&looked_at).ok();
        PlaceFacts {
            holds_node: absolute.join("IDENTITY").exists(),
            file_system: rustix::fs::statfs(&looked_at)
                .map_or("unknown", |found| name_of_file_system(found.f_type as u64)),
            free_bytes: space.map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize)),
            takes_direct: takes_direct(&looked_at),
            write_cache: setting("write_cache"),
            has_fua: setting("fua").map(|text| text == "1"),
            trial: try_engine(&looked_at),
            mode,
            looked_at,
            asked: asked.to_owned(),
        }
    }
}

impl KekFileFacts {
    fn of(path: &Path, data: &Path) -> KekFileFacts {
        let (device, mode) = device_and_mode(path);
        KekFileFacts {
            path: path.to_owned(),
            bytes: fs::metadata(path).ok().map(|found| found.len()),
            mode,
            is_on_the_data_disk: device.is_some() && device == device_and_mode(data).0,
        }
    }
}

/// A small file of /proc or /sys, without its end of line.
fn line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn kibibytes(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Names of what `/proc/swaps` lists below its heading.
fn swaps(text: &str) -> Vec<String> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Features of virtual memory balloons, bit by bit from the lowest, as the kernel shows them.
fn balloons() -> impl Iterator<Item = String> {
    let devices = fs::read_dir("/sys/bus/virtio/devices").into_iter().flatten().flatten().map(|device| device.path());
    let is_balloon = |device: &PathBuf| line(device.join("device")).is_some_and(|id| id == BALLOON);
    devices.filter(is_balloon).filter_map(|device| line(device.join("features")))
}

/// `VIRTIO_BALLOON_F_REPORTING`, bit 5 (VIRTIO 1.2, 5.5.3).
fn reports_free_pages(features: &str) -> bool {
    features.as_bytes().get(5) == Some(&b'1')
}

/// Device id of a memory balloon (VIRTIO 1.2, 5).
const BALLOON: &str = "0x0005";

fn device_and_mode(path: &Path) -> (Option<u64>, u32) {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).map_or((None, 0), |found| (Some(found.dev()), found.mode() & 0o777))
}

/// The directory with the settings of the disk's queue; a partition's are those of its disk.
fn queue_of(device: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let disk = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    [disk.join("queue"), disk.parent()?.join("queue")].into_iter().find(|queue| queue.is_dir())
}

fn takes_direct(dir: &Path) -> bool {
    use rustix::fs::Mode;
    use rustix::fs::OFlags;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::from_raw_mode(0o600)).is_ok()
}

fn name_of_file_system(magic: u64) -> &'static str {
    match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0xf2f5_2010 => "f2fs",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_machine_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let facts = MachineFacts::of(&dir.path().join("not/made/yet"), None);
        assert!(facts.cores > 0 && facts.memory_bytes > 1 << 20, "{facts:?}");
        assert_eq!(facts.place.looked_at, fs::canonicalize(dir.path()).unwrap());
        assert!(facts.place.trial.is_ok(), "{:?}", facts.place.trial);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_balloon_that_reports_free_pages_has_that_feature_and_no_other_one_stands_for_it() {
        assert!(reports_free_pages("0110010100000000000000000000000010"));
        assert!(!reports_free_pages("1111101111111111111111111111111111"));
        assert!(!reports_free_pages(""));
    }

    #[test]
    fn swaps_are_what_stands_below_the_heading() {
        assert!(swaps("Filename Type Size Used Priority\n").is_empty());
        assert_eq!(swaps("Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"), ["/dev/sda2"]);
    }
}
