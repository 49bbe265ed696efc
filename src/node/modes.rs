//! Who else can reach the files of a node. What it makes itself is its user's alone; this finds what somebody else widened.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

/// Warns, in one line with the command that mends it, if anything in the directory is open to group or others.
pub(super) fn warn_if_open_to_others(data_dir: &Path) {
    // What cannot be looked at is refused where it is opened.
    if let Ok(Some((path, mode))) = first_open_to_others(data_dir) {
        tracing::warn!(
            path = %path.display(),
            mode = format!("{mode:04o}"),
            "others can reach files of this node, which hold users' keys: chmod -R go-rwx {}",
            data_dir.display()
        );
    }
}

fn first_open_to_others(data_dir: &Path) -> io::Result<Option<(PathBuf, u32)>> {
    let mut open = vec![(data_dir.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 && !metadata.is_symlink() {
            return Ok(Some((path, mode)));
        }
        if metadata.is_dir() && depth < DEPTH && path.file_name() != Some("lost+found".as_ref()) {
            for entry in fs::read_dir(&path)? {
                open.push((entry?.path(), depth + 1));
            }
        }
    }
    Ok(None)
}

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;
/// The directory, `log/` and `state/` in it, and their files.
const DEPTH: u32 = 2;
