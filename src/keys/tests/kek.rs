//! KEKs from files and descriptors. Goal: exactly 32 bytes from where only the owner reaches, and nothing hangs.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;
use tempfile::tempdir;

use crate::crypto::keystore::Dek;
use crate::crypto::wrap::Kek;
use crate::crypto::wrap::WRAPPED_LEN;
use crate::keys::file::FileKind;
use crate::keys::kek::KekError;
use crate::keys::kek::KekSet;
use crate::keys::kek::NotAKey;
use crate::keys::kek::UnwrapError;
use crate::keys::kek::from_descriptor;
use crate::keys::kek::from_file;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::golden;
use crate::keys::tests::kit::kek;
use crate::keys::tests::kit::keks;
use crate::keys::tests::kit::other_kek;
use crate::limits::KEK_DESCRIPTOR_WAIT;
use crate::world::Clock;
use crate::world::SystemClock;

fn raw(len: usize) -> Vec<u8> {
    (0..len).map(|i| 0x40 + i as u8).collect()
}

fn file(directory: &TempDir, bytes: &[u8], mode: u32) -> PathBuf {
    let path = directory.path().join("kek");
    let _ = fs::remove_file(&path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    file.write_all(bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// What `load` says, and that it says so soon.
fn promptly<T>(load: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = load();
    assert!(begin.elapsed() < Duration::from_secs(1), "took {:?}", begin.elapsed());
    result
}

fn refused(result: Result<Kek, KekError>) -> KekError {
    let error = result.unwrap_err();
    let line = error.to_string();
    assert!(!line.contains('\n') && line.len() < 300, "{line}");
    error
}

#[test]
fn file_of_32_bytes_that_only_its_owner_reads_is_taken() {
    let directory = tempdir().unwrap();
    for mode in [0o600, 0o400] {
        let kek = from_file(&file(&directory, &raw(32), mode)).unwrap();
        assert_eq!(kek.id().0.to_vec(), golden("kek-id"));
        assert_eq!(kek.check(CLUSTER).to_vec(), golden("kek-check"));
    }
}

#[test]
fn any_other_size_is_refused_and_read_no_further_than_66_bytes() {
    let directory = tempdir().unwrap();
    let counted = NotAKey::Bytes;
    let longer = NotAKey::Longer;
    for (len, shown) in [
        (0, counted(0)),
        (1, counted(1)),
        (31, counted(31)),
        (33, counted(33)),
        (65, counted(65)),
        (66, longer),
        (1 << 20, longer),
    ] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
        match refused(from_file(&file(&directory, &bytes, 0o600))) {
            KekError::Size { found, .. } => assert_eq!(found, shown),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_hex_or_base64_key_is_refused_and_the_line_says_what_is_wanted() {
    let directory = tempdir().unwrap();
    let hex = hex::encode(raw(32));
    let base64 = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=";
    for (bytes, words) in [
        (hex.clone().into_bytes(), "xxd -r -p"),
        (format!("{hex}\n").into_bytes(), "xxd -r -p"),
        (base64.as_bytes().to_vec(), "base64 -d"),
        ([&raw(32)[..], b"\n"].concat(), "a newline"),
    ] {
        let path = file(&directory, &bytes, 0o600);
        let line = refused(from_file(&path)).to_string();
        assert!(line.contains(path.to_str().unwrap()) && line.contains("exactly 32 raw bytes"), "{line}");
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn access_for_group_or_others_is_refused() {
    let directory = tempdir().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o444, 0o777] {
        let path = file(&directory, &raw(32), mode);
        if is_root {
            // A file of root that a group of this process may read is how secrets are mounted: the next test.
            std::os::unix::fs::chown(&path, Some(0), Some(54_321)).unwrap();
        }
        match refused(from_file(&path)) {
            KekError::OpenToOthers { found, .. } => assert_eq!(found.mode, mode),
            other => panic!("{other}"),
        }
    }
}

/// PostgreSQL's rule for key files, which is what an orchestrator's mounted secrets need.
#[test]
fn a_file_of_root_may_be_read_by_a_group_of_this_process() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a file to root");
        return;
    }
    let directory = tempdir().unwrap();
    let path = file(&directory, &raw(32), 0o440);
    let own = rustix::process::getegid().as_raw();
    std::os::unix::fs::chown(&path, Some(0), Some(own)).unwrap();
    for mode in [0o440, 0o640] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(from_file(&path).is_ok(), "{mode:o}");
    }
    for mode in [0o460, 0o660, 0o444, 0o644, 0o450] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(refused(from_file(&path)), KekError::OpenToOthers { .. }), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    std::os::unix::fs::chown(&path, Some(12_345), Some(own)).unwrap();
    assert!(matches!(refused(from_file(&path)), KekError::OpenToOthers { .. }), "another user gave it to the group");
}

#[test]
fn symbolic_link_counts_as_the_file_behind_it() {
    let directory = tempdir().unwrap();
    let link = directory.path().join("link");
    symlink(file(&directory, &raw(32), 0o600), &link).unwrap();
    assert!(from_file(&link).is_ok());
    file(&directory, &raw(32), 0o644);
    assert!(matches!(refused(from_file(&link)), KekError::OpenToOthers { .. }));
    fs::remove_file(directory.path().join("kek")).unwrap();
    assert!(matches!(refused(from_file(&link)), KekError::Open { .. }));
}

#[test]
fn whatever_is_no_regular_file_is_refused_without_waiting() {
    let directory = tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let cases: [(&Path, FileKind); 4] = [
        (&fifo, FileKind::Pipe),
        (&socket, FileKind::Socket),
        (directory.path(), FileKind::Directory),
        (Path::new("/dev/zero"), FileKind::Device),
    ];
    for (path, expected) in cases {
        match promptly(|| refused(from_file(path))) {
            KekError::NotRegular { kind, .. } => assert_eq!(kind, expected),
            other => panic!("{path:?}: {other}"),
        }
    }
}

#[test]
fn missing_file_and_zeros_are_refused() {
    let directory = tempdir().unwrap();
    assert!(matches!(refused(from_file(&directory.path().join("no"))), KekError::Open { .. }));
    assert!(matches!(refused(from_file(&file(&directory, &[0; 32], 0o600))), KekError::Zeros { .. }));
}

#[test]
fn descriptor_of_a_pipe_a_file_or_a_socket_gives_the_kek() {
    let clock = SystemClock::default();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&raw(32)).unwrap();
    drop(writer);
    assert_eq!(from_descriptor(reader.as_raw_fd(), &clock).unwrap().id(), kek().id());

    // A memory file has mode 0777: who holds the descriptor was given it.
    let memory = rustix::fs::memfd_create("kek", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&memory, &raw(32)).unwrap();
    assert_eq!(from_descriptor(memory.as_raw_fd(), &clock).unwrap().id(), kek().id());

    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&raw(32)).unwrap();
    drop(theirs);
    assert_eq!(from_descriptor(ours.as_raw_fd(), &clock).unwrap().id(), kek().id());
}

#[test]
fn descriptor_that_gives_another_size_or_zeros_is_refused() {
    let clock = SystemClock::default();
    for len in [0, 31, 33, 4000] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&vec![1; len]).unwrap();
        drop(writer);
        match refused(from_descriptor(reader.as_raw_fd(), &clock)) {
            KekError::DescriptorSize { found, .. } if len < 66 => assert_eq!(found, NotAKey::Bytes(len)),
            KekError::DescriptorSize { found, .. } => assert_eq!(found, NotAKey::Longer),
            other => panic!("{other}"),
        }
    }
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[0; 32]).unwrap();
    drop(writer);
    assert!(matches!(refused(from_descriptor(reader.as_raw_fd(), &clock)), KekError::DescriptorZeros { .. }));
}

#[test]
fn descriptor_that_is_not_there_or_a_directory_is_refused() {
    let clock = SystemClock::default();
    assert!(matches!(refused(from_descriptor(-1, &clock)), KekError::Descriptor { .. }));
    assert!(matches!(refused(from_descriptor(1_000_000, &clock)), KekError::Descriptor { .. }));
    let directory = tempdir().unwrap();
    let open = fs::File::open(directory.path()).unwrap();
    let error = refused(from_descriptor(open.as_raw_fd(), &clock));
    assert!(matches!(error, KekError::DescriptorKind { kind: FileKind::Directory, .. }), "{error}");
}

/// Almost at the deadline when the wait begins, past it when it is asked again.
struct Late(Mutex<Vec<Duration>>);

impl Clock for Late {
    fn monotonic(&self) -> Duration {
        let mut times = self.0.lock().unwrap();
        if times.len() > 1 { times.remove(0) } else { times[0] }
    }

    fn boottime(&self) -> Duration {
        self.monotonic()
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

#[test]
fn writer_that_stays_silent_or_does_not_close_is_given_up() {
    for len in [0, 5, 32] {
        let nearly = KEK_DESCRIPTOR_WAIT - Duration::from_millis(20);
        let clock = Late(Mutex::new(vec![Duration::ZERO, nearly, nearly, KEK_DESCRIPTOR_WAIT]));
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&raw(len)).unwrap();
        match promptly(|| refused(from_descriptor(reader.as_raw_fd(), &clock))) {
            KekError::DescriptorSlow { found, .. } => assert_eq!(found, NotAKey::Bytes(len)),
            other => panic!("{other}"),
        }
        // A socket cannot be opened again, so it is read where it is: that must not block either.
        let clock = Late(Mutex::new(vec![Duration::ZERO, nearly, nearly, KEK_DESCRIPTOR_WAIT]));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&raw(len)).unwrap();
        match promptly(|| refused(from_descriptor(ours.as_raw_fd(), &clock))) {
            KekError::DescriptorSlow { found, .. } => assert_eq!(found, NotAKey::Bytes(len)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn set_wraps_with_the_first_and_unwraps_with_the_one_that_is_named() {
    let dek = Dek::new(&[7; 32]);
    let wrapped = kek().wrap([1; 12], "label", &[b"place"], &dek);
    let both = KekSet::new(vec![other_kek(), kek()]).unwrap();
    assert_eq!(both.first().unwrap().id(), other_kek().id());
    assert!(both.unwrap("label", &[b"place"], &wrapped).unwrap() == dek);
    let wrapped_by = kek().id();
    let fails = |set: &KekSet, label, place: &[u8], wrapped: &[u8; WRAPPED_LEN]| {
        set.unwrap(label, &[place], wrapped).unwrap_err()
    };
    assert_eq!(fails(&KekSet::default(), "label", b"place", &wrapped), UnwrapError::NoKek { wrapped_by });
    let other = KekSet::new(vec![other_kek()]).unwrap();
    assert_eq!(
        fails(&other, "label", b"place", &wrapped),
        UnwrapError::OtherKek { wrapped_by, given: other_kek().id() }
    );
    assert_eq!(fails(&both, "label", b"other", &wrapped), UnwrapError::Unauthentic { wrapped_by });
    assert_eq!(fails(&both, "other", b"place", &wrapped), UnwrapError::Unauthentic { wrapped_by });
    for place in 8..wrapped.len() {
        let mut changed = wrapped;
        changed[place] ^= 1;
        assert_eq!(fails(&both, "label", b"place", &changed), UnwrapError::Unauthentic { wrapped_by });
    }
}

#[test]
fn same_kek_twice_is_refused() {
    assert!(matches!(KekSet::new(vec![kek(), kek()]), Err(KekError::Twice { .. })));
}

/// NO-SECRETS-OUT: `{:?}` of what holds a KEK shows its id and nothing of its bytes.
#[test]
fn debug_shows_no_key_bytes() {
    let text = format!("{:?} {:?}", kek(), keks());
    assert!(!text.contains("64, 65, 66") && !text.contains("40414243"), "{text}");
}
