//! keygen: a key that the node takes, readable by its owner only, and nothing that was there is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use tempfile::tempdir;

use crate::cli::keygen::KeygenError;
use crate::cli::keygen::run;
use crate::keys::kek::from_file;
use crate::world::KernelEntropy;

#[test]
fn new_file_has_32_bytes_mode_0600_and_is_a_kek() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("kek");
    let kek_id = run(&path, &KernelEntropy).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (32, 0o600));
    assert_eq!(from_file(&path).unwrap().id(), kek_id);
    assert_ne!(run(&directory.path().join("other"), &KernelEntropy).unwrap(), kek_id);
}

#[test]
fn existing_file_link_or_directory_is_never_touched() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("kek");
    run(&path, &KernelEntropy).unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(run(&path, &KernelEntropy), Err(KeygenError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
    let link = directory.path().join("link");
    symlink(directory.path().join("nowhere"), &link).unwrap();
    assert!(matches!(run(&link, &KernelEntropy), Err(KeygenError::Exists { .. })));
    assert!(!directory.path().join("nowhere").exists());
    assert!(matches!(run(directory.path(), &KernelEntropy), Err(KeygenError::Exists { .. })));
}

#[test]
fn place_that_cannot_be_written_is_named() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("no/such/place");
    let error = run(&path, &KernelEntropy).unwrap_err();
    assert!(matches!(error, KeygenError::Write { .. }) && error.to_string().contains("no/such/place"), "{error}");
}
