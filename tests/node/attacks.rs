//! An attacker who owns the disk and recomputes every checksum that needs no key. Each edit of a data directory ends
//! in one of two ways: the node refuses or halts with 74 or 78, or it serves exactly what was acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use sealkv::fsm::rocks::RocksOptions;
use sealkv::fsm::rocks::RocksStore;
use sealkv::fsm::state::Applied;
use sealkv::fsm::store::Commit;
use sealkv::fsm::store::StateRow;
use sealkv::fsm::store::Store;
use sealkv::ids::Index;
use sealkv::ids::Term;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::fingerprint;
use crate::harness::refused_start;
use crate::harness::sealkv;

const BLOCK: u64 = 4096;

/// What became of a start on an edited directory.
#[derive(Debug)]
enum End {
    /// 74 or 78, at the start or soon after.
    Refused(i32, String),
    /// Everything that was acknowledged, unchanged.
    Whole,
}

impl End {
    fn refused_with(&self, status: i32, words: &[&str]) {
        match self {
            End::Refused(found, output) => {
                assert_eq!(*found, status, "{output}");
                for word in words {
                    assert!(output.contains(word), "{word:?} is not in: {output}");
                }
            }
            End::Whole => panic!("it serves, expected a refusal with {status}"),
        }
    }
}

/// A directory whose node acknowledged `expected`.
struct Victim {
    site: Site,
    expected: BTreeMap<String, String>,
}

impl Victim {
    /// Killed: the state is as at the first start, the log has everything.
    fn killed() -> Victim {
        let (victim, node) = Victim::used();
        node.kill();
        victim
    }

    /// Stopped: the state has everything.
    fn stopped() -> Victim {
        let (victim, node) = Victim::used();
        assert_eq!(node.stop().code(), Some(0));
        victim
    }

    fn used() -> (Victim, Node) {
        let site = Site::new();
        let node = Node::start(&site.sealed());
        let mut client = node.client();
        let mut expected = BTreeMap::new();
        for n in 0..12 {
            let (key, value) = (format!("key-{n}"), format!("value-{n}-{}", "x".repeat(n * 700)));
            assert_eq!(client.call(&[b"SET", key.as_bytes(), value.as_bytes()]), Reply::ok());
            expected.insert(key, value);
        }
        for n in 1..=9 {
            assert_eq!(client.words("INCR counter"), Reply::Integer(n));
        }
        expected.insert("counter".to_owned(), "9".to_owned());
        assert_eq!(client.words("SET lasting v EX 100000"), Reply::ok());
        expected.insert("lasting".to_owned(), "v".to_owned());
        // The idle frame that acknowledges the last one.
        std::thread::sleep(Duration::from_millis(40));
        (Victim { site, expected }, node)
    }

    fn slots(&self) -> Vec<PathBuf> {
        let mut slots: Vec<PathBuf> =
            fs::read_dir(self.site.data().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
        slots.sort();
        slots
    }

    /// The slot of the newest segment.
    fn newest_slot(&self) -> PathBuf {
        let number = |path: &PathBuf| u64::from_be_bytes(read_at(path, 16, 8).try_into().unwrap());
        self.slots().into_iter().max_by_key(number).unwrap()
    }

    fn start(&self) -> End {
        self.start_with(&self.site.sealed())
    }

    /// Starts, reads everything, and says which of the two ends it was; anything else fails the test.
    fn start_with(&self, args: &[String]) -> End {
        let mut child = sealkv().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (lines, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            use std::io::BufRead;
            for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut log = String::new();
        let begin = Instant::now();
        let mut verdict = None;
        while verdict.is_none() {
            assert!(begin.elapsed() < Duration::from_secs(20), "neither refused nor serving: it hangs: {log}");
            match heard.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    if let Some(port) = port_of(&line) {
                        verdict = self.read_all(port).err();
                        if verdict.is_none() {
                            let _ = child.kill();
                            let _ = child.wait();
                            return End::Whole;
                        }
                    }
                    log.push_str(&line);
                    log.push('\n');
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        log.extend(heard.try_iter().map(|line| line + "\n"));
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(!log.contains("a bug"), "it panicked: {log}");
        match (status, verdict) {
            (Some(status), _) => {
                let code = status.code().unwrap_or_else(|| panic!("ended by a signal: {status}: {log}"));
                assert!(code == 74 || code == 78, "status {code}: {log}");
                End::Refused(code, log)
            }
            (None, why) => panic!("it serves what was not acknowledged: {why:?}: {log}"),
        }
    }

    /// Everything as it was acknowledged, or what was found instead.
    fn read_all(&self, port: u16) -> Result<(), String> {
        let mut client = Client::try_connect(port).map_err(|error| error.to_string())?;
        for (key, value) in &self.expected {
            match client.try_call(&[b"GET", key.as_bytes()]) {
                Ok(reply) if reply == Reply::bulk(value) => {}
                other => return Err(format!("{key}: {other:?}")),
            }
        }
        Ok(())
    }

    /// Edits a file, starts, and puts the file back.
    fn with_edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> End {
        let original = fs::read(path).unwrap();
        let mut bytes = original.clone();
        edit(&mut bytes);
        assert!(bytes != original, "the edit changes something");
        fs::write(path, &bytes).unwrap();
        let end = self.start();
        fs::write(path, &original).unwrap();
        end
    }

    /// As `with_edit`, and a refusal must have changed nothing on the disk.
    fn with_log_edit(&self, path: &Path, edits: &[(u64, Vec<u8>)]) -> End {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let before: Vec<(u64, Vec<u8>)> =
            edits.iter().map(|(offset, bytes)| (*offset, read_at(path, *offset, bytes.len()))).collect();
        for (offset, bytes) in edits {
            file.write_all_at(bytes, *offset).unwrap();
        }
        let marked = fingerprint(self.site.path());
        let end = self.start();
        if let End::Refused(_, output) = &end {
            assert!(marked == fingerprint(self.site.path()), "a refused start changed the directory: {output}");
            for (offset, bytes) in before.iter().rev() {
                file.write_all_at(bytes, *offset).unwrap();
            }
        }
        end
    }
}

fn port_of(line: &str) -> Option<u16> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    if value["message"] != "clients" {
        return None;
    }
    value["address"].as_str()?.rsplit(':').next()?.parse().ok()
}

fn read_at(path: &Path, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// A frame as it lies in its slot.
#[derive(Clone, Debug)]
struct Frame {
    offset: u64,
    bytes: Vec<u8>,
    kind: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The frames of a slot, walked as their lengths say.
fn frames(slot: &Path) -> Vec<Frame> {
    let seed = salt_seed(slot);
    let mut frames = Vec::new();
    let mut offset = 2 * BLOCK;
    loop {
        let head = read_at(slot, offset, 64);
        let length = u32_at(&head, 4) as usize;
        if !(80..9 << 20).contains(&length) {
            return frames;
        }
        let bytes = read_at(slot, offset, length);
        if u32_at(&bytes, 0) != crc32c::crc32c_append(seed, &bytes[4..]) {
            return frames;
        }
        frames.push(Frame { offset, kind: u32_at(&bytes, 8), bytes });
        offset += (length as u64).next_multiple_of(BLOCK);
    }
}

fn salt_seed(slot: &Path) -> u32 {
    u32_at(&read_at(slot, 32, 4), 0)
}

fn mend(seed: u32, frame: &mut [u8]) {
    let crc = crc32c::crc32c_append(seed, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_be_bytes());
}

/// Both copies of a header, with the checksum mended.
fn header_edits(slot: &Path, edit: impl FnOnce(&mut [u8])) -> Vec<(u64, Vec<u8>)> {
    let mut header = read_at(slot, 0, 4096);
    edit(&mut header);
    let crc = crc32c::crc32c(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_be_bytes());
    vec![(0, header.clone()), (BLOCK, header)]
}

#[test]
fn frames_that_are_changed_moved_or_repeated_with_their_checksums_mended_are_refused() {
    let victim = Victim::killed();
    let slot = victim.newest_slot();
    let seed = salt_seed(&slot);
    let frames = frames(&slot);
    assert!(frames.len() > 10, "{} frames", frames.len());
    let edited = |at: usize, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = frames[at].bytes.clone();
        edit(&mut bytes);
        mend(seed, &mut bytes);
        victim.with_log_edit(&slot, &[(frames[at].offset, bytes)]).refused_with(74, &["segment"]);
    };
    let last = frames.len() - 1;
    for at in [0, frames.len() / 2, last - 1, last] {
        let len = frames[at].bytes.len();
        // Body, tag, random, number, zero field, watermark, segment, previous tag, kind.
        for byte in [64.min(len - 1), len - 1, 12, 23, 24, 39, 47, 48, 11] {
            edited(at, &|bytes| bytes[byte] ^= 1);
        }
        // The seal taken off.
        edited(at, &|bytes| bytes[8] &= 0x7f);
    }
    // Two of one size change places; an older one is put over a newer.
    let mut same = (0..last).flat_map(|a| (a + 1..=last).map(move |b| (a, b)));
    let (a, b) = same.rfind(|(a, b)| frames[*a].bytes.len() == frames[*b].bytes.len()).unwrap();
    let swapped = [(frames[a].offset, frames[b].bytes.clone()), (frames[b].offset, frames[a].bytes.clone())];
    victim.with_log_edit(&slot, &swapped).refused_with(74, &["segment"]);
    victim.with_log_edit(&slot, &swapped[1..]).refused_with(74, &["segment"]);
    // A sector of zeros in front of others, and the last real frame zeroed while the idle one vouches for it.
    for at in [0, 1, frames.len() / 2, last - 1] {
        let zeroed = [(frames[at].offset, vec![0; 512])];
        victim.with_log_edit(&slot, &zeroed).refused_with(74, &["segment"]);
    }
    assert_ne!(frames[last].kind & 1 << 6, 0, "the last frame is an idle one");
    assert!(matches!(victim.start(), End::Whole), "with everything back it serves");
}

#[test]
fn headers_that_are_changed_with_their_checksums_mended_are_refused() {
    let victim = Victim::killed();
    let slot = victim.newest_slot();
    // Version, block, segment, its bytes, salt, chain, first frame, next index, compacted, its term, term, vote, commit,
    // cutover, node, cluster, slots, padding, GMAC.
    let fields = [15, 23, 31, 40, 70, 87, 95, 103, 111, 119, 127, 135, 143, 159, 170, 179, 1000, 4070];
    for at in fields {
        let end = victim.with_log_edit(&slot, &header_edits(&slot, |header| header[at] ^= 1));
        assert!(matches!(end, End::Refused(..)), "header byte {at}: {end:?}");
    }
    let end = victim.with_log_edit(&slot, &header_edits(&slot, |header| header[4064..4080].fill(0)));
    end.refused_with(74, &["segment"]);
    // Both copies unreadable, or different: the chain of frames proves that it was in use.
    victim.with_log_edit(&slot, &[(100, vec![0xee]), (BLOCK + 100, vec![0xee])]).refused_with(74, &["segment"]);
    let one = header_edits(&slot, |header| header[119] ^= 1).swap_remove(0);
    victim.with_log_edit(&slot, &[one]).refused_with(74, &["segment"]);
    // One copy is enough.
    assert!(matches!(victim.with_log_edit(&slot, &[(100, vec![0xee])]), End::Whole));
}

#[test]
fn slot_files_that_are_exchanged_lost_or_of_another_kind_are_refused_and_nothing_hangs() {
    let victim = Victim::killed();
    let slots = victim.slots();
    let newest = victim.newest_slot();
    let other = slots.iter().find(|slot| **slot != newest).unwrap();
    let aside = victim.site.path().join("aside");
    // The same segment twice.
    fs::rename(other, &aside).unwrap();
    fs::copy(&newest, other).unwrap();
    victim.start().refused_with(74, &["segment"]);
    // Too short, too long, empty.
    for len in [0, 4096, 8192, 8193, (33 << 20) - 4096, (33 << 20) + 4096] {
        fs::remove_file(other).unwrap();
        File::create(other).unwrap().set_len(len).unwrap();
        victim.start().refused_with(74, &["slot"]);
    }
    fs::remove_file(other).unwrap();
    // Another kind of file under its name.
    std::os::unix::fs::symlink(&aside, other).unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(other).unwrap();
    assert!(Command::new("mkfifo").arg(other).status().unwrap().success());
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(other).unwrap();
    fs::create_dir(other).unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_dir(other).unwrap();
    std::os::unix::fs::symlink("/dev/zero", other).unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(other).unwrap();
    // A free slot in the place of the newest, which is then gone: state and log agree on an older past (README).
    fs::rename(&aside, other).unwrap();
    // A strange name beside them is nobody's.
    fs::write(victim.site.data().join("log/slot-9999.wal"), b"x").unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(victim.site.data().join("log/slot-9999.wal")).unwrap();
    // Slots that change their names are all there still.
    fs::rename(&newest, &aside).unwrap();
    fs::rename(other, &newest).unwrap();
    fs::rename(&aside, other).unwrap();
    assert!(matches!(victim.start(), End::Whole));
}

#[test]
fn every_byte_of_identity_counts() {
    let victim = Victim::killed();
    let path = victim.site.data().join("IDENTITY");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let end = victim.with_edit(&path, |bytes| bytes[at] ^= 0x01);
        assert!(matches!(end, End::Refused(..)), "byte {at}");
    }
    for len in [0, 8, 48, good.len() - 1] {
        victim.with_edit(&path, |bytes| bytes.truncate(len)).refused_with(74, &["IDENTITY"]);
    }
    victim.with_edit(&path, |bytes| bytes.push(0)).refused_with(74, &["IDENTITY"]);
    // NO-WAY-DOWN: an IDENTITY in the clear with a right checksum, started with the KEK and without.
    let mut clear = good[..49].to_vec();
    clear[48] = 0;
    clear.extend_from_slice(&crc32c::crc32c(&clear).to_be_bytes());
    fs::write(&path, &clear).unwrap();
    victim.start().refused_with(78, &["KEK"]);
    victim.start_with(&victim.site.clear()).refused_with(74, &["sealed"]);
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    victim.start().refused_with(74, &["IDENTITY"]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, &good).unwrap();
    assert!(matches!(victim.start(), End::Whole));
}

/// Opens a stopped node's state as its own program would.
fn state_of(victim: &Victim) -> RocksStore {
    RocksStore::open(&victim.site.data().join("state"), &RocksOptions::default()).unwrap()
}

/// Writes rows into a stopped node's state, durably.
fn put(victim: &Victim, step: Commit) {
    let store = state_of(victim);
    store.write(step).unwrap();
    store.flush().unwrap();
}

fn row(row: StateRow, bytes: Vec<u8>) -> Commit {
    Commit { state: vec![(row, bytes)], ..Commit::default() }
}

fn copy_dir(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn state_rows_that_are_edited_are_refused() {
    let victim = Victim::stopped();
    let (applied, keyring) = {
        let store = state_of(&victim);
        (store.state(StateRow::Applied).unwrap().unwrap(), store.state(StateRow::Keyring).unwrap().unwrap())
    };
    let refused = |which: StateRow, bytes: Vec<u8>, good: &Vec<u8>| {
        put(&victim, row(which, bytes));
        let end = victim.start();
        put(&victim, row(which, good.clone()));
        assert!(matches!(end, End::Refused(..)), "{end:?}");
    };
    for at in (0..applied.len()).step_by(7).chain([1, 25, 33, 41, applied.len() - 1]) {
        let mut bytes = applied.clone();
        bytes[at] ^= 1;
        refused(StateRow::Applied, bytes, &applied);
    }
    for at in (0..keyring.len()).step_by(23).chain([17, 24, 27, 40, 48, 88, 165, 166 + 5]) {
        let mut bytes = keyring.clone();
        bytes[at] ^= 1;
        refused(StateRow::Keyring, bytes, &keyring);
    }
    // The wrapped bytes and check values of the two DEKs change places.
    let mut swapped = keyring.clone();
    let (one, two) = (166 + 14..166 + 90, 256 + 14..256 + 90);
    swapped[one.clone()].copy_from_slice(&keyring[two.clone()]);
    swapped[two].copy_from_slice(&keyring[one]);
    refused(StateRow::Keyring, swapped, &keyring);
    assert!(matches!(victim.start(), End::Whole));
}

#[test]
fn value_rows_that_are_moved_or_changed_are_never_served() {
    let victim = Victim::stopped();
    let get = |key: &str| state_of(&victim).get(key.as_bytes()).unwrap().unwrap();
    let set = |key: &str, bytes: &[u8]| {
        put(&victim, Commit { puts: vec![(key.as_bytes().to_vec(), bytes.to_vec())], ..Commit::default() });
    };
    let good = get("key-3");
    let other = get("key-4");
    let expiring = get("lasting");
    let mut sooner = expiring.clone();
    sooner[1..9].copy_from_slice(&1_u64.to_le_bytes());
    let mut longer = good.clone();
    longer[1..9].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut clear = vec![0_u8; 9];
    clear.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 5]);
    clear.extend_from_slice(b"forged");
    let mut edits = vec![
        ("key-3", other),
        ("lasting", sooner),
        ("key-3", longer),
        ("key-3", clear),
        ("key-3", Vec::new()),
        ("key-3", good[..9].to_vec()),
        ("key-3", good[..40].to_vec()),
    ];
    for at in [0, 9, 10, 11, 14, 15, 20, 27, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        edits.push(("key-3", bytes));
    }
    let node_args = victim.site.sealed();
    for (key, bytes) in edits {
        let before = get(key);
        set(key, &bytes);
        let mut node = Node::start(&node_args);
        let mut client = node.client();
        for command in ["GET", "STRLEN", "TTL", "EXISTS", "TYPE"] {
            let reply = client.words(&format!("{command} {key}"));
            assert!(matches!(&reply, Reply::Error(line) if line.contains("cannot be read")), "{command}: {reply:?}");
        }
        // A write that reads it cannot be applied: the node halts, and at the next start again.
        let _ = client.send(&encode(&[b"APPEND", key.as_bytes(), b"x"]));
        // An unknown key id is a matter of keys (78), everything else damage.
        let status = node.wait(Duration::from_secs(10)).code();
        assert!(matches!(status, Some(74 | 78)), "{status:?}: {}", node.log());
        assert!(matches!(victim.start(), End::Refused(again, _) if Some(again) == status));
        set(key, &before);
        let node = Node::start(&node_args);
        // The entry is applied now; its effect is taken back for the next round.
        let value = &victim.expected[key];
        assert_eq!(node.client().call(&[b"GET", key.as_bytes()]), Reply::bulk(format!("{value}x")));
        assert_eq!(node.client().call(&[b"SET", key.as_bytes(), value.as_bytes(), b"KEEPTTL"]), Reply::ok());
        assert_eq!(node.stop().code(), Some(0));
    }
}

/// The applied row of an earlier flush is authentic. Put back among newer rows it must not make entries count twice.
#[test]
fn an_older_applied_row_among_newer_values_does_not_apply_entries_twice() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET counter 0"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    let mut victim = Victim { site, expected: BTreeMap::new() };
    let (applied, keyring) = {
        let store = state_of(&victim);
        (store.state(StateRow::Applied).unwrap().unwrap(), store.state(StateRow::Keyring).unwrap().unwrap())
    };
    // Nothing is trimmed beyond that: a second life, killed, then a clean flush of everything by hand.
    let node = Node::start(&victim.site.sealed());
    let mut client = node.client();
    for n in 1..=5 {
        assert_eq!(client.words("INCR counter"), Reply::Integer(n));
    }
    assert_eq!(client.words("APPEND text abc"), Reply::Integer(3));
    std::thread::sleep(Duration::from_millis(40));
    node.kill();
    victim.expected = BTreeMap::from([("counter".to_owned(), "5".to_owned()), ("text".to_owned(), "abc".to_owned())]);
    let killed = victim.site.path().join("killed");
    copy_dir(&victim.site.data(), &killed);
    // What the state would be after everything: from a copy that is started and stopped.
    let node = Node::start(&victim.site.sealed());
    assert_eq!(node.stop().code(), Some(0));
    // The attacker keeps that newer state, puts the log of before back, and the older record.
    fs::remove_dir_all(victim.site.data().join("log")).unwrap();
    copy_dir(&killed.join("log"), &victim.site.data().join("log"));
    let record = vec![(StateRow::Applied, applied), (StateRow::Keyring, keyring)];
    put(&victim, Commit { state: record, ..Commit::default() });
    victim.start().refused_with(74, &["halted", "was written by entry"]);
}

/// Before the bootstrap the applied row has no MAC. A forged one must not make keys expire early, nor hang the node.
#[test]
fn an_applied_row_without_a_mac_is_believed_only_where_it_can_be_true() {
    let victim = Victim::killed();
    let founding = Applied::decode(&state_of(&victim).state(StateRow::Applied).unwrap().unwrap()).unwrap();
    let aside = victim.site.path().join("aside");
    copy_dir(&victim.site.data(), &aside);
    let forge = |edit: &dyn Fn(&mut Applied)| {
        let mut forged = founding.clone();
        edit(&mut forged);
        put(&victim, row(StateRow::Applied, forged.encode(None)));
        let end = victim.start();
        copy_dir(&aside, &victim.site.data());
        end
    };
    // Each is refused, or what is served is whole.
    let ends: [End; 7] = [
        forge(&|applied| applied.last_stamp_ms = u64::MAX / 2),
        forge(&|applied| applied.client_command_applied = true),
        forge(&|applied| applied.addresses.clear()),
        forge(&|applied| applied.position.term = Term(99)),
        forge(&|applied| applied.position.index = Index(2)),
        forge(&|applied| applied.position.index = Index(3)),
        forge(&|applied| applied.position.index = Index(0)),
    ];
    ends[0].refused_with(74, &["last stamp"]);
    ends[3].refused_with(74, &["of another history"]);
}

#[test]
fn an_older_copy_of_the_state_is_refused_or_brought_up_to_date_from_the_log() {
    let victim = Victim::killed();
    let founding = victim.site.path().join("founding-state");
    copy_dir(&victim.site.data().join("state"), &founding);
    // Never trimmed: the whole log replays.
    assert!(matches!(victim.start(), End::Whole));
    let node = Node::start(&victim.site.sealed());
    assert_eq!(node.stop().code(), Some(0));
    let state = victim.site.data().join("state");
    let newer = victim.site.path().join("newer-state");
    fs::rename(&state, &newer).unwrap();
    fs::rename(&founding, &state).unwrap();
    // Trimmed beyond it meanwhile, or else the log brings it up to date.
    let _refused_or_whole: End = victim.start();
    fs::remove_dir_all(&state).unwrap();
    // Odd things in its place.
    fs::write(&state, b"x").unwrap();
    assert!(matches!(victim.start(), End::Refused(..)));
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    victim.start().refused_with(74, &["state"]);
    fs::remove_dir(&state).unwrap();
    fs::rename(&newer, &state).unwrap();
    let backup = victim.site.path().join("backup");
    copy_dir(&victim.site.data(), &backup);
    for name in fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>() {
        fs::remove_file(&name).unwrap();
        // RocksDB makes some of its files again; what is served is whole either way.
        let _refused_or_whole: End = victim.start();
        copy_dir(&backup, &victim.site.data());
        fs::remove_file(&name).unwrap();
        assert!(Command::new("mkfifo").arg(&name).status().unwrap().success());
        victim.start().refused_with(74, &["is a pipe"]);
        copy_dir(&backup, &victim.site.data());
    }
    assert!(matches!(victim.start(), End::Whole));
}

#[test]
fn a_second_process_is_refused_although_somebody_removed_the_locks() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    fs::remove_file(site.data().join("LOCK")).unwrap();
    for lock in ["LOCK", "LOCK", "state/LOCK"] {
        // The second process may have made it anew.
        let _ = fs::remove_file(site.data().join(lock));
        let refusal = refused_start(&site.sealed());
        assert_eq!(refusal.status, 78, "{}", refusal.output);
        assert!(refusal.output.contains("in use by another process"), "{}", refusal.output);
    }
    assert_eq!(node.client().words("GET k"), Reply::bulk("v"), "the first one goes on");
}

/// The longest that `command` took while `work` ran on another connection, and how long that took.
fn worst_beside(node: &Node, command: &str, work: impl FnOnce(&mut Client)) -> (Duration, Duration) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut client = node.client();
            let mut worst = Duration::ZERO;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let begin = Instant::now();
                assert!(!matches!(client.words(command), Reply::Error(_)));
                worst = worst.max(begin.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            worst
        });
        let mut client = node.client();
        let begin = Instant::now();
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut client)));
        let took = begin.elapsed();
        // Said in any case, or the other thread would never end.
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        worked.unwrap();
        (other.join().unwrap(), took)
    })
}

/// Cheap to send, dear to answer: each command opens a value of 2 MB and answers a few bytes.
#[test]
fn one_client_that_has_large_values_opened_over_and_over_does_not_hold_up_the_others() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SETRANGE big 2000000 x"), Reply::Integer(2_000_001));
    let pipeline = |first: &str, command: &str, count: usize| {
        let line = |text: &str| encode(&text.split(' ').map(str::as_bytes).collect::<Vec<&[u8]>>());
        let mut bytes = line(first);
        bytes.extend(line(command).repeat(count));
        move |client: &mut Client| {
            client.send(&bytes).unwrap();
            for _ in 0..=count {
                client.reply().unwrap();
            }
        }
    };
    // Unlike keys: equal ones are opened once.
    let others: String = (0..20).map(|number| format!(" big{number}")).collect();
    for key in others.split_whitespace() {
        assert_eq!(node.client().words(&format!("SETRANGE {key} 2000000 x")), Reply::Integer(2_000_001));
    }
    let exists = format!("EXISTS{others}");
    let cases = [
        ("PING", pipeline("PING", "TTL big", 300)),
        ("PING", pipeline("PING", &exists, 15)),
        ("SET other v", pipeline("SET a b", "SETNX big v", 1000)),
        ("SET other v", pipeline("SET a b", "TTL big", 1000)),
    ];
    for (command, work) in cases {
        let (worst, took) = worst_beside(&node, command, work);
        println!("{command}: worst {worst:?} beside {took:?}");
        assert!(worst < took / 2, "{command} waited {worst:?} while another client was served for {took:?}");
    }
}
