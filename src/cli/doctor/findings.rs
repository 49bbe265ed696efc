//! Judges the facts: each line is ok, warn or fail, with what was found and what to do.

use std::fmt;
use std::time::Duration;

use crate::cli::doctor::facts::KekFileFacts;
use crate::cli::doctor::facts::MachineFacts;
use crate::cli::doctor::facts::PlaceFacts;
use crate::limits::CLIENTS_MAX;
use crate::limits::LOG_GROWTH_LEAVES_BYTES;
use crate::limits::LOG_SLOT_BYTES;
use crate::limits::LOG_SLOTS;
use crate::limits::MEMORY_BYTES_DEFAULT_MIN;
use crate::limits::OWN_DESCRIPTORS;
use crate::limits::SLOW_SYNC;
use crate::node::words::ByteSize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Ok,
    /// A node runs, and something is slower or less safe than it could be.
    Warn,
    /// A node does not start here, or must not.
    Fail,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) what: &'static str,
    pub(super) found: String,
    /// What to do about it; empty where nothing is to be done.
    pub(super) todo: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        write!(f, "{level}  {}: {}", self.what, self.found)?;
        if self.todo.is_empty() { Ok(()) } else { write!(f, ". {}", self.todo) }
    }
}

/// One line for each thing that is looked at, in the order in which an entry meets them.
pub(super) fn judge(facts: &MachineFacts) -> Vec<Finding> {
    let mut findings = vec![tier(facts), cores(facts), governor(facts), clock(facts), memory(facts), swap(facts)];
    findings.extend([memlock(facts), descriptors(facts), file_size(facts), core_dumps(facts), pages(facts)]);
    findings.push(balloon(facts));
    findings.push(directory(&facts.place));
    findings.push(file_system(&facts.place));
    findings.push(direct(&facts.place));
    findings.push(space(&facts.place));
    findings.push(engine(facts));
    findings.extend(sync_latency(&facts.place));
    findings.push(write_cache(&facts.place));
    findings.extend(facts.kek.iter().map(kek));
    findings
}

fn line(level: Level, what: &'static str, found: impl Into<String>, todo: &'static str) -> Finding {
    let todo = if level == Level::Ok { "" } else { todo };
    Finding { level, what, found: found.into(), todo }
}

fn warn_if(is_bad: bool) -> Level {
    if is_bad { Level::Warn } else { Level::Ok }
}

fn tier(facts: &MachineFacts) -> Finding {
    let missing = facts.tiers_missing.join(", ");
    let found = match missing.as_str() {
        "" => facts.tier.to_owned(),
        _ => format!("{} (this CPU does not have {missing})", facts.tier),
    };
    let is_slow = matches!(facts.tier, "aesni" | "library");
    line(
        warn_if(is_slow),
        "AEAD tier",
        found,
        "Sealing is several times faster on a CPU with VAES and VPCLMULQDQ; in a guest, show them to it",
    )
}

fn cores(facts: &MachineFacts) -> Finding {
    line(
        warn_if(facts.cores < 2),
        "cores",
        facts.cores.to_string(),
        "Clients and the node share the one: give it two or more",
    )
}

fn governor(facts: &MachineFacts) -> Finding {
    let found = facts.governor.as_deref();
    let is_bad = found.is_some_and(|name| matches!(name, "powersave" | "conservative"));
    line(
        warn_if(is_bad),
        "CPU governor",
        found.unwrap_or("not shown, as in most guests"),
        "Latency suffers while the clock rises: cpupower frequency-set -g performance",
    )
}

fn clock(facts: &MachineFacts) -> Finding {
    let source = facts.clock_source.as_deref().unwrap_or("not shown");
    if facts.wall_seconds < BUILT_AFTER {
        return line(
            Level::Fail,
            "clock",
            "it shows a time before this program was made",
            "Set it: keys with an expiry would live too long",
        );
    }
    let is_slow = matches!(source, "hpet" | "acpi_pm" | "jiffies");
    line(
        warn_if(is_slow),
        "clock",
        format!("source {source}"),
        "Each reading is a system call: take the source tsc or kvm-clock",
    )
}

fn memory(facts: &MachineFacts) -> Finding {
    let free = facts.memory_available_bytes;
    let found = format!("{} free of {}", mib(free), mib(facts.memory_bytes));
    let level = match free {
        _ if free < MEMORY_BYTES_DEFAULT_MIN => Level::Fail,
        _ => warn_if(free < MEMORY_GOOD),
    };
    line(
        level,
        "memory",
        found,
        "A node takes 512M at least, and a quarter of the machine if it is told nothing: --memory-bytes",
    )
}

fn swap(facts: &MachineFacts) -> Finding {
    let found = if facts.swaps.is_empty() { "off".to_owned() } else { facts.swaps.join(", ") };
    line(
        warn_if(!facts.swaps.is_empty()),
        "swap",
        found,
        "Plaintext in memory reaches the disk: switch swap off, or encrypt it",
    )
}

fn memlock(facts: &MachineFacts) -> Finding {
    let (found, is_small) = match facts.memlock_bytes {
        None => ("unlimited".to_owned(), false),
        Some(bytes) => (ByteSize(bytes).to_string(), bytes < MEMLOCK_GOOD),
    };
    line(
        warn_if(is_small),
        "locked memory (ulimit -Hl)",
        found,
        "Buffers of the log are not pinned and pages of keys may be swapped: LimitMEMLOCK=64M",
    )
}

fn descriptors(facts: &MachineFacts) -> Finding {
    let need = OWN_DESCRIPTORS + CLIENTS_MAX as u64;
    let (found, limit) = match facts.descriptors {
        None => ("unlimited".to_owned(), u64::MAX),
        Some(limit) => (limit.to_string(), limit),
    };
    let level = if limit < OWN_DESCRIPTORS + 1 { Level::Fail } else { warn_if(limit < need) };
    line(level, "open files (ulimit -Hn)", found, "Fewer clients than the default 10000 are taken: LimitNOFILE=65536")
}

fn file_size(facts: &MachineFacts) -> Finding {
    match facts.file_bytes {
        None => line(Level::Ok, "file size (ulimit -f)", "unlimited", ""),
        Some(bytes) => line(
            Level::Fail,
            "file size (ulimit -f)",
            ByteSize(bytes).to_string(),
            "A larger file ends the node with 74: ulimit -f unlimited",
        ),
    }
}

fn core_dumps(facts: &MachineFacts) -> Finding {
    let pattern = facts.core_pattern.as_deref().unwrap_or("unknown");
    line(Level::Ok, "core dumps", format!("the node turns them off for itself (here they would go to {pattern})"), "")
}

fn pages(facts: &MachineFacts) -> Finding {
    let found = facts.transparent_pages.as_deref().unwrap_or("not shown");
    line(
        warn_if(found.contains("[always]")),
        "transparent huge pages",
        found,
        "They make memory of the node grow beyond what it counts: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    )
}

/// Under ten minutes of writing at full speed (20 million keys, 2 cores, Zen 5, 2026-11-30) the host took back what files that
/// merging replaces had in the kernel's cache, every 2 s. A tenth of all time was near such a moment, and nearly all waits above 80 ms.
fn balloon(facts: &MachineFacts) -> Finding {
    let found = if facts.reports_free_pages {
        "a virtio balloon gives them to the host"
    } else {
        "no virtio balloon gives them to a host"
    };
    line(
        warn_if(facts.reports_free_pages),
        "free pages",
        found,
        "The machine stands still for up to 0.2 s now and then while much is written: switch free page reporting off in its balloon",
    )
}

fn directory(place: &PlaceFacts) -> Finding {
    let asked = place.asked.display();
    let words = match (place.holds_node, place.looked_at == place.asked) {
        (true, _) => "holds a node",
        (false, true) => "is there",
        (false, false) => "will be made",
    };
    match &place.trial {
        Err(problem) => line(
            Level::Fail,
            "data directory",
            format!("{asked} {words}; {problem}"),
            "Give a directory that this user may write to",
        ),
        Ok(_) if place.holds_node && place.mode & 0o077 != 0 => line(
            Level::Warn,
            "data directory",
            format!("{asked} {words}, its mode is {:o}", place.mode),
            "chmod 700 it",
        ),
        Ok(_) => line(Level::Ok, "data directory", format!("{asked} {words}"), ""),
    }
}

fn file_system(place: &PlaceFacts) -> Finding {
    let (level, todo) = match place.file_system {
        "ext4" | "xfs" => (Level::Ok, ""),
        "tmpfs" => (Level::Fail, "Nothing here survives a reboot: take a disk"),
        "nfs" => (Level::Fail, "A network file system may lose what it reports as synced: take a local disk"),
        "overlay" => (Level::Warn, "The data goes with the container: mount a volume at the data directory"),
        "zfs" => (Level::Warn, "io_uring is not used on ZFS; ext4 or XFS are faster"),
        "btrfs" => {
            (Level::Warn, "Copy on write makes each sync slower: ext4 or XFS, or chattr +C on the empty directory")
        }
        _ => (Level::Warn, "It is not among those that the project is tested on: ext4 and XFS"),
    };
    line(level, "file system", place.file_system, todo)
}

fn direct(place: &PlaceFacts) -> Finding {
    let found = if place.takes_direct { "works" } else { "is refused" };
    line(
        warn_if(!place.takes_direct),
        "O_DIRECT",
        found,
        "The log goes through the page cache, with plain system calls: take ext4 or XFS",
    )
}

fn space(place: &PlaceFacts) -> Finding {
    let found = format!("{} free", mib(place.free_bytes));
    let level = if place.free_bytes < SPACE_LEAST { Level::Fail } else { warn_if(place.free_bytes < SPACE_GOOD) };
    line(
        level,
        "space",
        found,
        "The log takes 1 GiB, or what --log-slots says, and may grow to 2 GiB; merging needs as much again as the state takes",
    )
}

fn engine(facts: &MachineFacts) -> Finding {
    let Ok(trial) = &facts.place.trial else {
        return line(Level::Fail, "log engine", "not tried, the directory takes nothing", "See the data directory");
    };
    let Some(refusal) = &trial.refusal else {
        return line(Level::Ok, "log engine", format!("{}: a block was written and synced with it", trial.engine), "");
    };
    let todo = match facts.uring_disabled {
        Some(1 | 2) => "sysctl kernel.io_uring_disabled=0 allows it",
        _ => "Allow io_uring in the seccomp profile of the container, or keep the slower system calls",
    };
    line(Level::Warn, "log engine", format!("{}, since io_uring is refused ({refusal})", trial.engine), todo)
}

fn sync_latency(place: &PlaceFacts) -> Option<Finding> {
    let trial = place.trial.as_ref().ok()?;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let found = format!("{:.2} ms, of a hundred one takes {:.2} ms", ms(trial.median), ms(trial.p99));
    let (level, todo) = match trial.median {
        median if median >= SLOW_SYNC => (Level::Fail, "Every write of a client waits for it: take another disk"),
        median if median >= SYNC_GOOD => (
            Level::Warn,
            "A client that waits for each reply gets one in that time: a disk with a power-safe cache is faster",
        ),
        median if median < SYNC_REAL => {
            (Level::Warn, "No disk is so fast: this one may lose what it reports as synced")
        }
        _ => (Level::Ok, ""),
    };
    Some(line(level, "sync latency", found, todo))
}

fn write_cache(place: &PlaceFacts) -> Finding {
    let found = match (place.write_cache.as_deref(), place.has_fua) {
        (None, _) => "not shown".to_owned(),
        (Some(cache), Some(true)) => format!("{cache}, with FUA"),
        (Some(cache), _) => format!("{cache}, without FUA"),
    };
    line(Level::Ok, "write cache", found, "")
}

fn kek(kek: &KekFileFacts) -> Finding {
    let path = kek.path.display();
    let (level, words, todo) = match kek.bytes {
        None => (Level::Fail, "is not there or cannot be read".to_owned(), "sealkv keygen FILE makes one"),
        Some(bytes) if bytes != 32 => {
            (Level::Fail, format!("has {bytes} bytes, expected 32"), "sealkv keygen FILE makes one")
        }
        Some(_) if kek.mode & 0o027 != 0 => (Level::Fail, format!("has mode {:o}", kek.mode), "chmod 600 it"),
        Some(_) if kek.is_on_the_data_disk => (
            Level::Warn,
            "is on the disk of the data".to_owned(),
            "Who gets that disk has both: keep it on another one",
        ),
        Some(_) => (Level::Ok, "has 32 bytes and is private".to_owned(), ""),
    };
    line(level, "KEK file", format!("{path} {words}"), todo)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// 2026-01-01, in seconds since 1970.
const BUILT_AFTER: u64 = 1_767_225_600;
/// Beside the node there are the kernel, and a start that reads a long log.
const MEMORY_GOOD: u64 = 3 * MEMORY_BYTES_DEFAULT_MIN;
/// Two buffers of a frame are pinned, and pages of keys.
const MEMLOCK_GOOD: u64 = 32 << 20;
/// The log of a first start, and what is left free beside it.
const SPACE_LEAST: u64 = LOG_SLOTS as u64 * LOG_SLOT_BYTES + LOG_GROWTH_LEAVES_BYTES;
const SPACE_GOOD: u64 = 8 << 30;
const SYNC_GOOD: Duration = Duration::from_millis(5);
/// A round trip to any device takes longer.
const SYNC_REAL: Duration = Duration::from_micros(8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::trial::EngineTrial;

    fn trial(micros: u64) -> EngineTrial {
        EngineTrial {
            engine: "uring",
            refusal: None,
            median: Duration::from_micros(micros),
            p99: Duration::from_millis(1),
        }
    }

    fn fit() -> MachineFacts {
        let place = PlaceFacts {
            asked: "/data".into(),
            looked_at: "/data".into(),
            mode: 0o700,
            file_system: "ext4",
            free_bytes: 100 << 30,
            takes_direct: true,
            write_cache: Some("write back".to_owned()),
            has_fua: Some(true),
            trial: Ok(trial(300)),
            holds_node: true,
        };
        let kek = KekFileFacts { path: "/kek".into(), bytes: Some(32), mode: 0o400, is_on_the_data_disk: false };
        MachineFacts {
            tier: "vaes512",
            cores: 4,
            clock_source: Some("tsc".to_owned()),
            wall_seconds: BUILT_AFTER + 1,
            memory_bytes: 8 << 30,
            memory_available_bytes: 4 << 30,
            transparent_pages: Some("always [madvise] never".to_owned()),
            place,
            kek: Some(kek),
            ..MachineFacts::default()
        }
    }

    fn level_of(facts: &MachineFacts, what: &str) -> Level {
        let findings = judge(facts);
        let finding = findings.iter().find(|finding| finding.what == what).unwrap();
        assert_eq!(finding.level == Level::Ok, finding.todo.is_empty(), "{finding}: what to do");
        finding.level
    }

    #[test]
    fn a_fit_machine_has_nothing_to_do() {
        let findings = judge(&fit());
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
    }

    #[test]
    fn each_fault_is_found_and_says_what_to_do() {
        type Fault = (&'static str, Level, fn(&mut MachineFacts));
        let faults: [Fault; 26] = [
            ("AEAD tier", Level::Warn, |facts| facts.tier = "library"),
            ("cores", Level::Warn, |facts| facts.cores = 1),
            ("CPU governor", Level::Warn, |facts| facts.governor = Some("powersave".to_owned())),
            ("clock", Level::Fail, |facts| facts.wall_seconds = 0),
            ("clock", Level::Warn, |facts| facts.clock_source = Some("hpet".to_owned())),
            ("memory", Level::Warn, |facts| facts.memory_available_bytes = 1 << 30),
            ("memory", Level::Fail, |facts| facts.memory_available_bytes = 1 << 28),
            ("swap", Level::Warn, |facts| facts.swaps = vec!["/dev/sda2".to_owned()]),
            ("locked memory (ulimit -Hl)", Level::Warn, |facts| facts.memlock_bytes = Some(64 << 10)),
            ("open files (ulimit -Hn)", Level::Warn, |facts| facts.descriptors = Some(4096)),
            ("open files (ulimit -Hn)", Level::Fail, |facts| facts.descriptors = Some(256)),
            ("file size (ulimit -f)", Level::Fail, |facts| facts.file_bytes = Some(1 << 20)),
            ("transparent huge pages", Level::Warn, |facts| {
                facts.transparent_pages = Some("[always] madvise never".to_owned());
            }),
            ("free pages", Level::Warn, |facts| facts.reports_free_pages = true),
            ("data directory", Level::Fail, |facts| facts.place.trial = Err("read-only".to_owned())),
            ("data directory", Level::Warn, |facts| facts.place.mode = 0o755),
            ("file system", Level::Fail, |facts| facts.place.file_system = "tmpfs"),
            ("file system", Level::Warn, |facts| facts.place.file_system = "btrfs"),
            ("O_DIRECT", Level::Warn, |facts| facts.place.takes_direct = false),
            ("space", Level::Fail, |facts| facts.place.free_bytes = 1 << 20),
            ("log engine", Level::Warn, |facts| {
                facts.uring_disabled = Some(2);
                facts.place.trial = Ok(EngineTrial { refusal: Some("no".to_owned()), ..trial(300) });
            }),
            ("sync latency", Level::Warn, |facts| facts.place.trial = Ok(trial(9_000))),
            ("sync latency", Level::Warn, |facts| facts.place.trial = Ok(trial(2))),
            ("sync latency", Level::Fail, |facts| facts.place.trial = Ok(trial(200_000))),
            ("KEK file", Level::Fail, |facts| facts.kek.as_mut().unwrap().bytes = None),
            ("KEK file", Level::Fail, |facts| facts.kek.as_mut().unwrap().mode = 0o644),
        ];
        for (what, level, fault) in faults {
            let mut facts = fit();
            fault(&mut facts);
            assert_eq!(level_of(&facts, what), level, "{what}");
        }
    }
}
