//! How much memory this process may use: what the machine has, or less where a control group or the address space is limited.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::node::process;

/// The least of all limits, if the kernel says any.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = limit_files(&groups).into_iter().filter_map(|file| limit_in(&file));
    of_groups.chain(process::machine_bytes()).chain(getrlimit(Resource::As).current).min()
}

/// The files with the limits of the control groups that `/proc/self/cgroup` names, and of the groups around them. In a container
/// that has its own view of groups, the names may be those outside of it: what is not there is passed over, and the root is the
/// container's own group.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

/// `max`, or a file that is not there, is no limit.
fn limit_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_group_and_of_those_around_it_are_looked_at() {
        let files = limit_files("12:cpu:/a\n4:blkio,memory:/pod/one\n0::/\n");
        let expected = [
            "/sys/fs/cgroup/memory/pod/one/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/pod/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert!(limit_files("").is_empty() && limit_files("nonsense\n::\n").len() == 1);
    }

    #[test]
    fn a_limit_is_a_number_and_everything_else_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.max");
        assert_eq!(limit_in(&file), None);
        fs::write(&file, "max\n").unwrap();
        assert_eq!(limit_in(&file), None);
        fs::write(&file, "536870912\n").unwrap();
        assert_eq!(limit_in(&file), Some(512 << 20));
    }

    #[test]
    fn this_machine_has_some_memory_and_a_group_can_only_lessen_it() {
        let bytes = memory_bytes().unwrap();
        assert!(bytes > 64 << 20 && bytes <= process::machine_bytes().unwrap());
    }
}
