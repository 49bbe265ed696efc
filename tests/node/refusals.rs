//! Starts that must be refused: one clear line, the right exit status, within 5 s, nothing on disk changed but LOCK.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Refusal;
use crate::harness::Site;
use crate::harness::fingerprint;
use crate::harness::refused_start;
use crate::harness::text;

const DAMAGE: i32 = 74;
const CONFIG: i32 = 78;

/// A site whose node ran, wrote something, and stopped.
fn used_site(sealed: bool) -> Site {
    let site = Site::new();
    let node = Node::start(&if sealed { site.sealed() } else { site.clear() });
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    site
}

/// Runs the start, and checks status, words and that the directory is byte for byte as before.
fn must_refuse(site: &Site, args: &[String], status: i32, words: &[&str]) -> Refusal {
    let before = fingerprint(site.path());
    let refusal = refused_start(args);
    assert_eq!(refusal.status, status, "{}", refusal.output);
    for word in words {
        assert!(refusal.output.contains(word), "{word:?} is not in: {}", refusal.output);
    }
    assert!(before == fingerprint(site.path()), "a refused start changed the directory: {}", refusal.output);
    let errors = refusal.output.lines().filter(|line| line.contains("ERROR") || line.starts_with("sealkv:")).count();
    assert_eq!(errors, 1, "one clear line: {}", refusal.output);
    refusal
}

fn with(mut args: Vec<String>, more: &[&str]) -> Vec<String> {
    args.extend(more.iter().map(|&word| word.to_owned()));
    args
}

#[test]
fn a_wrong_kek_is_refused_with_78() {
    let site = used_site(true);
    let other = site.make_kek("other", 0x77);
    let args = with(site.base(), &["--kek-file", &text(&other)]);
    must_refuse(&site, &args, CONFIG, &["KEK"]);
}

#[test]
fn a_missing_kek_file_is_refused_with_78() {
    let site = used_site(true);
    let args = with(site.base(), &["--kek-file", &text(&site.path().join("nowhere"))]);
    must_refuse(&site, &args, CONFIG, &["nowhere"]);
}

#[test]
fn encryption_off_on_a_sealed_directory_is_refused_with_78() {
    let site = used_site(true);
    must_refuse(&site, &site.clear(), CONFIG, &["KEK"]);
    must_refuse(&site, &site.base(), CONFIG, &["holds a node", "--kek-file"]);
}

#[test]
fn encryption_on_for_a_clear_directory_is_refused_with_78() {
    let site = used_site(false);
    must_refuse(&site, &site.sealed(), CONFIG, &["without"]);
}

#[test]
fn a_kek_file_that_others_can_read_is_refused_with_78() {
    let site = used_site(true);
    // A group of this process may read a file of root, which is how secrets are mounted.
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if is_root {
        std::os::unix::fs::chown(site.kek(), None, Some(54_321)).unwrap();
    }
    for mode in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(site.kek(), fs::Permissions::from_mode(mode)).unwrap();
        must_refuse(&site, &site.sealed(), CONFIG, &["kek"]);
    }
}

#[test]
fn a_kek_of_the_wrong_length_or_kind_is_refused_with_78_and_never_hangs() {
    let site = used_site(true);
    for length in [0, 31, 33, 4096] {
        fs::write(site.kek(), vec![0x5a; length]).unwrap();
        must_refuse(&site, &site.sealed(), CONFIG, &["32"]);
    }
    let fifo = site.path().join("fifo");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&fifo).status().unwrap().success());
    let args = with(site.base(), &["--kek-file", &text(&fifo)]);
    let refusal = refused_start(&args);
    assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
}

#[test]
fn a_second_process_on_the_directory_is_refused_with_78() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let refusal = refused_start(&site.sealed());
    assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
    assert!(refusal.output.contains("in use by another process"), "{}", refusal.output);
    assert_eq!(node.client().words("SET k v"), Reply::ok(), "the first one goes on");
}

#[test]
fn an_unknown_configuration_key_is_refused_with_78() {
    let site = used_site(true);
    let file = site.path().join("sealkv.toml");
    fs::write(&file, "data_dirr = \"x\"\n").unwrap();
    must_refuse(&site, &with(site.sealed(), &["--config", &text(&file)]), CONFIG, &["data_dirr"]);
}

#[test]
fn ready_or_on_without_a_kek_is_refused_with_78() {
    let site = used_site(false);
    for mode in ["ready", "on"] {
        must_refuse(&site, &with(site.base(), &["--encryption", mode]), CONFIG, &["kek-file"]);
    }
}

#[test]
fn a_clear_directory_cannot_become_ready_later() {
    let site = used_site(false);
    must_refuse(&site, &with(site.sealed(), &["--encryption", "ready"]), CONFIG, &["without"]);
}

#[test]
fn a_missing_slot_is_refused_with_74() {
    let site = used_site(true);
    let slot = site.data().join("log/slot-0001.wal");
    let kept = fs::read(&slot).unwrap();
    fs::remove_file(&slot).unwrap();
    must_refuse(&site, &site.sealed(), DAMAGE, &["slot"]);
    fs::write(&slot, kept).unwrap();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("GET k"), Reply::bulk("v"), "with the slot back it starts");
}

#[test]
fn a_log_without_identity_is_refused_with_74() {
    let site = used_site(true);
    fs::remove_file(site.data().join("IDENTITY")).unwrap();
    must_refuse(&site, &site.sealed(), DAMAGE, &["IDENTITY"]);
}

#[test]
fn state_that_is_gone_or_older_than_the_log_allows_is_refused_with_74() {
    let site = used_site(true);
    fs::remove_dir_all(site.data().join("state")).unwrap();
    must_refuse(&site, &site.sealed(), DAMAGE, &["state"]);
}

#[test]
fn another_clusters_state_is_refused_with_78() {
    let (site, other) = (used_site(true), used_site(true));
    fs::remove_dir_all(site.data().join("state")).unwrap();
    fs::rename(other.data().join("state"), site.data().join("state")).unwrap();
    must_refuse(&site, &site.sealed(), CONFIG, &["cluster"]);
}

#[test]
fn another_format_version_is_refused_with_78() {
    let site = used_site(false);
    let identity = site.data().join("IDENTITY");
    let good = fs::read(&identity).unwrap();
    // Three versions of four bytes stand behind the magic; the checksum is mended, as another program would write it.
    let changes = [("identity", 0, 2), ("log", 1, 3), ("state", 2, 4), ("log", 1, 1), ("state", 2, 1), ("state", 2, 2)];
    for (what, version, format) in changes {
        let mut bytes = good.clone();
        bytes[8 + 4 * version + 3] = format;
        let end = bytes.len() - 4;
        let sum = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum.to_be_bytes());
        fs::write(&identity, &bytes).unwrap();
        let says = format!("says {what} format {format}, this program has");
        // The versions before had other bytes there: the line says how to go on.
        must_refuse(&site, &site.clear(), CONFIG, &[&says, "start the version that wrote it", "load the data again"]);
    }
}

#[test]
fn a_flipped_bit_in_identity_is_refused() {
    let site = used_site(true);
    let identity = site.data().join("IDENTITY");
    let good = fs::read(&identity).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&identity, &bytes).unwrap();
        let refusal = refused_start(&site.sealed());
        assert!([DAMAGE, CONFIG].contains(&refusal.status), "byte {at}: {}", refusal.output);
    }
}

#[test]
fn check_config_says_ok_and_touches_nothing() {
    let site = Site::new();
    let checked = refused_start(&with(site.sealed(), &["--check-config"]));
    assert_eq!(checked.status, 0, "{}", checked.output);
    assert!(!site.data().exists());
}
