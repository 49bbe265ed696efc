//! The start matrix of the data directory: what is found, what is refused with which status, and that a refused start
//! changes nothing but LOCK.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;
use tempfile::tempdir;

use crate::exit::Blame;
use crate::exit::chain;
use crate::ids::NodeId;
use crate::keys::identity::Identity;
use crate::keys::identity::IdentityError;
use crate::keys::identity::LogKey;
use crate::keys::kek::KekSet;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::Counting;
use crate::keys::tests::kit::golden;
use crate::keys::tests::kit::keks;
use crate::keys::tests::kit::other_keks;
use crate::node::datadir::DataDir;
use crate::node::datadir::DataDirError;
use crate::node::datadir::DirectoryKind;

fn identity() -> Identity {
    Identity { node: NodeId::new(7).unwrap(), cluster: CLUSTER, log_slots: 8 }
}

fn log_key(keks: &KekSet) -> Option<LogKey> {
    LogKey::make(keks, identity().node, CLUSTER, &Counting::default())
}

/// A whole first start, but for what log and state put into their directories.
fn first_start(path: &Path, keks: &KekSet) {
    let directory = DataDir::lock(path).unwrap();
    assert!(matches!(directory.classify(keks), Ok(DirectoryKind::Fresh | DirectoryKind::Unfinished { .. })));
    directory.begin(&identity(), log_key(keks).as_ref()).unwrap();
    fs::create_dir(directory.log()).unwrap();
    fs::create_dir(directory.state()).unwrap();
    directory.make_flush().unwrap();
    directory.finish().unwrap();
}

/// Every file with its bytes, mode and time of change; LOCK without.
fn tree(path: &Path) -> BTreeMap<PathBuf, (u32, std::time::SystemTime, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            all.extend(tree(&path));
        }
        if !path.ends_with("LOCK") {
            let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            all.insert(path, (metadata.permissions().mode(), metadata.modified().unwrap(), bytes));
        }
    }
    all
}

/// Starts, expects a refusal with `status` in one line that names the directory, and that nothing changed.
fn refused(path: &Path, keks: &KekSet, status: Blame) -> DataDirError {
    let before = tree(path);
    let begin = Instant::now();
    let error = DataDir::lock(path).and_then(|directory| directory.classify(keks)).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(error.blame(), status, "{}", chain(&error));
    assert!(chain(&error).contains(path.to_str().unwrap()) && !chain(&error).contains('\n'), "{}", chain(&error));
    assert!(before == tree(path), "a refused start changes nothing but LOCK");
    error
}

fn sealed() -> TempDir {
    let directory = tempdir().unwrap();
    first_start(directory.path(), &keks());
    directory
}

#[test]
fn missing_directory_is_made_for_its_owner_only() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("a/b");
    let directory = DataDir::lock(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(path.join("LOCK")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(matches!(directory.classify(&keks()), Ok(DirectoryKind::Fresh)));
    assert_eq!(directory.path, path);
}

#[test]
fn first_start_ends_in_a_node_that_is_found_again() {
    for keks in [keks(), KekSet::default()] {
        let directory = tempdir().unwrap();
        first_start(directory.path(), &keks);
        let again = DataDir::lock(directory.path()).unwrap();
        let DirectoryKind::Existing { identity: read, log_key: key } = again.classify(&keks).unwrap() else { panic!() };
        assert_eq!(read, identity());
        assert_eq!(key.map(|key| *key.expose()), log_key(&keks).map(|key| *key.expose()));
        assert!(!directory.path().join("IDENTITY.new").exists());
        assert_eq!(fs::metadata(directory.path().join("IDENTITY")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn second_process_is_refused_until_the_first_is_gone() {
    let directory = sealed();
    let first = DataDir::lock(directory.path()).unwrap();
    let error = refused(directory.path(), &keks(), Blame::Config);
    assert!(chain(&error).contains(&format!("number {}", std::process::id())), "{}", chain(&error));
    drop(first);
    assert!(DataDir::lock(directory.path()).is_ok());
}

/// A crash at any point of a first start leaves what the next start makes again from nothing.
#[test]
fn unfinished_first_start_is_made_again_from_nothing() {
    for parts in [&[][..], &["log"], &["log", "flush"], &["log", "flush", "state"]] {
        let directory = tempdir().unwrap();
        let lock = DataDir::lock(directory.path()).unwrap();
        lock.begin(&identity(), None).unwrap();
        for part in parts {
            fs::create_dir(directory.path().join(part)).unwrap();
            fs::write(directory.path().join(part).join("left over"), b"x").unwrap();
        }
        drop(lock);
        let lock = DataDir::lock(directory.path()).unwrap();
        // Its keys count for nothing yet: another KEK than the first try's is fine.
        assert!(matches!(lock.classify(&keks()), Ok(DirectoryKind::Unfinished { .. })));
        lock.begin(&identity(), log_key(&keks()).as_ref()).unwrap();
        assert!(!lock.log().exists() && !lock.state().exists() && !lock.flush().exists());
        assert_eq!(fs::read(directory.path().join("IDENTITY.new")).unwrap(), golden("identity-sealed"));
    }
}

#[test]
fn half_written_identity_new_is_an_unfinished_first_start() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("IDENTITY.new"), b"SKV").unwrap();
    let lock = DataDir::lock(directory.path()).unwrap();
    assert!(matches!(lock.classify(&keks()), Ok(DirectoryKind::Unfinished { .. })));
    drop(lock);
    first_start(directory.path(), &keks());
}

#[test]
fn log_or_state_without_identity_is_refused_as_damage() {
    for part in ["log", "state", "flush", "incoming", "outgoing", "old"] {
        let directory = tempdir().unwrap();
        fs::create_dir(directory.path().join(part)).unwrap();
        let error = refused(directory.path(), &keks(), Blame::Damage);
        assert!(matches!(error, DataDirError::WithoutIdentity { .. }), "{error}");
        assert!(chain(&error).contains(part));
    }
    let directory = sealed();
    fs::remove_file(directory.path().join("IDENTITY")).unwrap();
    refused(directory.path(), &keks(), Blame::Damage);
}

#[test]
fn directory_of_something_else_is_refused() {
    for has_identity_new in [false, true] {
        let directory = tempdir().unwrap();
        fs::write(directory.path().join("thesis.tex"), b"years of work").unwrap();
        fs::create_dir(directory.path().join("log")).unwrap();
        if has_identity_new {
            fs::write(directory.path().join("IDENTITY.new"), golden("identity-clear")).unwrap();
        }
        let error = refused(directory.path(), &keks(), Blame::Config);
        assert!(matches!(error, DataDirError::Foreign { .. }), "{error}");
        assert!(chain(&error).contains("thesis.tex"));
    }
}

#[test]
fn path_that_is_no_directory_is_refused() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = DataDir::lock(&path).unwrap_err();
    assert!(matches!(error, DataDirError::NotADirectory { .. }));
    assert_eq!(error.blame(), Blame::Config);
    let error = DataDir::lock(&path.join("below")).unwrap_err();
    assert!(matches!(error, DataDirError::Unusable { .. }));
    assert_eq!(error.blame(), Blame::Config);
}

#[test]
fn missing_parts_of_a_node_are_never_created() {
    for part in ["log", "state", "flush"] {
        let directory = sealed();
        fs::remove_dir(directory.path().join(part)).unwrap();
        let error = refused(directory.path(), &keks(), Blame::Damage);
        assert!(matches!(error, DataDirError::Missing { name, .. } if name == part), "{error}");
    }
    // Between the renames of an install the state is in incoming.
    let (directory, incoming) = (sealed(), Path::new("incoming"));
    fs::create_dir(directory.path().join(incoming)).unwrap();
    fs::rename(directory.path().join("state"), directory.path().join(incoming).join("state")).unwrap();
    refused(directory.path(), &keks(), Blame::Damage);
    fs::write(directory.path().join(incoming).join("COMPLETE"), []).unwrap();
    let lock = DataDir::lock(directory.path()).unwrap();
    assert!(matches!(lock.classify(&keks()), Ok(DirectoryKind::Existing { .. })));
}

#[test]
fn wrong_kek_missing_kek_and_kek_for_a_clear_directory_are_refused() {
    let directory = sealed();
    refused(directory.path(), &other_keks(), Blame::Config);
    refused(directory.path(), &KekSet::default(), Blame::Config);
    let clear = tempdir().unwrap();
    first_start(clear.path(), &KekSet::default());
    let error = refused(clear.path(), &keks(), Blame::Config);
    assert!(matches!(error, DataDirError::Identity { source: IdentityError::KekForClear, .. }));
}

#[test]
fn another_format_version_is_refused() {
    let directory = sealed();
    let mut bytes = golden("identity-sealed");
    bytes[15] = 9;
    fs::write(directory.path().join("IDENTITY"), bytes).unwrap();
    let error = refused(directory.path(), &keks(), Blame::Config);
    assert!(chain(&error).contains("log format 9"), "{}", chain(&error));
}

#[test]
fn damaged_identity_is_refused_as_damage() {
    let directory = sealed();
    let path = directory.path().join("IDENTITY");
    let mut changed = golden("identity-sealed");
    changed[30] ^= 1;
    let longer = [&golden("identity-sealed")[..], &[0; 5000]].concat();
    for bytes in [changed, longer, Vec::new(), golden("identity-sealed")[..60].to_vec()] {
        fs::write(&path, bytes).unwrap();
        refused(directory.path(), &keks(), Blame::Damage);
    }
}

#[test]
fn identity_that_is_no_regular_file_does_not_hang() {
    let directory = sealed();
    let path = directory.path().join("IDENTITY");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(directory.path(), &keks(), Blame::Damage);
    fs::remove_dir(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let error = DataDir::lock(directory.path()).and_then(|directory| directory.classify(&keks())).unwrap_err();
    assert!(matches!(error, DataDirError::NotAFile { .. }) && error.blame() == Blame::Damage);
}

#[test]
fn lock_that_is_a_link_or_a_pipe_is_refused_without_waiting() {
    let directory = tempdir().unwrap();
    let lock = directory.path().join("LOCK");
    symlink(directory.path().join("elsewhere"), &lock).unwrap();
    let error = DataDir::lock(directory.path()).unwrap_err();
    assert_eq!(error.blame(), Blame::Config);
    assert!(!directory.path().join("elsewhere").exists());
    fs::remove_file(&lock).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(DataDir::lock(directory.path()).unwrap_err().blame(), Blame::Config);
}

#[test]
#[should_panic(expected = "never has a first start again")]
fn node_is_never_begun_again() {
    let directory = sealed();
    let lock = DataDir::lock(directory.path()).unwrap();
    let _ = lock.begin(&identity(), None);
}
