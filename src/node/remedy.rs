//! What an operator does about an error, told from its cause: a full disk is no damage, and damage is mended by no permission.

use std::error::Error;

use crate::exit::chain;

/// The exact thing to do about `error`, if the kernel's words in it say what is in the way.
pub(crate) fn by_cause(error: &dyn Error) -> Option<&'static str> {
    let words = chain(error);
    CAUSES.iter().find(|(cause, _)| words.contains(cause)).map(|(_, remedy)| *remedy)
}

/// Words of the kernel, which RocksDB hands on, and the remedy.
const CAUSES: &[(&str, &str)] = &[
    ("No space left on device", "free space on that disk and start again, everything acknowledged is there"),
    ("Disk quota exceeded", "raise the quota or free space and start again, everything acknowledged is there"),
    ("File too large", "raise the limit of file sizes (ulimit -f) and start again"),
    ("Too many open files", "raise the limit of open files (ulimit -n, LimitNOFILE=) and start again"),
    ("Permission denied", "give it to the user of this process, `chown -R USER DIRECTORY`, and start again"),
    ("Operation not permitted", "give it to the user of this process, `chown -R USER DIRECTORY`, and start again"),
    ("Read-only file system", "mount it for writing, `mount -o remount,rw`, and start again"),
    ("Cannot allocate memory", "give the process more memory (ulimit -v, the limit of its container) and start again"),
    (
        "Input/output error",
        "the disk fails (`dmesg` says how): copy the whole directory to another disk and start there",
    ),
];

/// What helps where a part of the directory is damaged or lost. Nothing that is there may be thrown away: it may be whole.
pub(crate) const PUT_BACK: &str = "put it back, or a copy of the whole directory that was made while the node was stopped, \
     and keep what is there now";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::fsm::base::BaseError;

    #[test]
    fn the_remedy_follows_from_the_cause_wherever_it_is_in_the_chain() {
        let full = io::Error::from_raw_os_error(28);
        assert!(by_cause(&full).unwrap().starts_with("free space"));
        let rocks = BaseError::Backend("IO error: While open a file: /x/1.sst: Too many open files".to_owned());
        assert!(by_cause(&rocks).unwrap().contains("ulimit -n"));
        assert_eq!(by_cause(&BaseError::Backend("Corruption: block checksum mismatch".to_owned())), None);
    }
}
