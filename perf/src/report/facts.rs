//! The machine of a record, as its reader needs it to know what the numbers are worth.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

/// Everything; `measured_in` is a directory on the disk that was measured.
pub fn machine(measured_in: &Path) -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let tier = tier(&field("flags"));
    let class = format!("{} family {} model {}", field("vendor_id"), field("cpu family"), field("model"));
    json!({
        "cpu": field("model name"),
        "class": class,
        "tier": tier,
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "memory_mib": memory_mib(),
        "kernel": line("/proc/sys/kernel/osrelease"),
        "governor": line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "disk": disk(measured_in),
        "reports_free_pages": reports_free_pages(),
    })
}

/// What a reader must know of a virtual machine whose host takes free memory back: it stands still now and then while files are replaced.
pub fn host_takes_memory(machine: &Value) -> &'static str {
    if machine["reports_free_pages"] == true { ", its host takes free memory back" } else { "" }
}

/// A balloon with `VIRTIO_BALLOON_F_REPORTING`, bit 5 (VIRTIO 1.2, 5.5.3).
fn reports_free_pages() -> bool {
    let devices = fs::read_dir("/sys/bus/virtio/devices").into_iter().flatten().flatten().map(|device| device.path());
    let text = |device: &Path, name: &str| line(&device.join(name).to_string_lossy()).unwrap_or_default();
    devices
        .filter(|device| text(device, "device") == "0x0005")
        .any(|device| text(&device, "features").as_bytes().get(5) == Some(&b'1'))
}

/// A record of this bench: where, of what and when, with all fields of `parts`.
pub fn record(bench: &str, machine: Value, parts: &[Value]) -> Value {
    let (commit, date) = commit_and_date();
    let mut record = json!({"bench": bench, "machine": machine, "commit": commit, "date": date});
    let fields = parts.iter().filter_map(Value::as_object).flatten();
    record.as_object_mut().expect("made as one").extend(fields.map(|(name, value)| (name.clone(), value.clone())));
    record
}

/// The commit from `SEALKV_COMMIT`, and today.
fn commit_and_date() -> (String, String) {
    let commit = std::env::var("SEALKV_COMMIT").unwrap_or_else(|_| "unknown".to_owned());
    let date = Command::new("date").args(["-u", "+%F"]).output().ok();
    let date = date.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    (commit, date.trim().to_owned())
}

/// The tier that a node takes on a CPU with these flags.
fn tier(flags: &str) -> &'static str {
    let has = |names: &[&str]| names.iter().all(|name| flags.split_whitespace().any(|flag| flag == *name));
    if has(&["vaes", "vpclmulqdq", "avx512f", "avx512bw", "avx512vl"]) {
        "vaes512"
    } else if has(&["vaes", "vpclmulqdq", "avx2"]) {
        "vaes256"
    } else if has(&["aes", "pclmulqdq", "ssse3"]) {
        "aesni"
    } else {
        "library"
    }
}

/// Device and file system of the mount that holds the directory.
fn disk(directory: &Path) -> String {
    let output = Command::new("findmnt").args(["-n", "-o", "SOURCE,FSTYPE", "-T"]).arg(directory).output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0_u64) / 1024
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tier_follows_from_the_flags() {
        assert_eq!(tier("sse2 aes pclmulqdq ssse3 avx2 vaes vpclmulqdq"), "vaes256");
        assert_eq!(tier("sse2 aes pclmulqdq ssse3"), "aesni");
        assert_eq!(tier("sse2"), "library");
        assert_eq!(tier("avx2 vaes vpclmulqdq avx512f avx512bw avx512vl"), "vaes512");
    }
}
