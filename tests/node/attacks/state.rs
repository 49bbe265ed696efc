//! Edits of the state: its record, its values, older copies of either.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sealkv::fsm::base::RowBase;
use sealkv::fsm::base::StateRow;
use sealkv::fsm::base::StateRows;
use sealkv::fsm::name::RowName;
use sealkv::fsm::rocks::RocksOptions;
use sealkv::fsm::rocks::base::BasePlace;
use sealkv::fsm::rocks::base::RocksBase;
use sealkv::fsm::state::Applied;
use sealkv::ids::Index;
use sealkv::ids::Term;
use sealkv::testing::picture::Picture;

use crate::attacks::End;
use crate::attacks::Victim;
use crate::client::Reply;
use crate::client::encode;
use crate::halt::open;
use crate::halt::row_name;
use crate::harness::Node;
use crate::harness::Site;

/// Opens a stopped node's state as its own program would.
fn state_of(victim: &Victim) -> RocksBase {
    let [state, flush] = ["state", "flush"].map(|part| victim.site.data().join(part));
    // A number of its own for each opening, since names of files in flush/ are used once.
    static STARTS: AtomicU64 = AtomicU64::new(1 << 40);
    let start = STARTS.fetch_add(1, Relaxed);
    RocksBase::open(&BasePlace { state, flush }, &RocksOptions::default(), start).unwrap()
}

fn record_of(victim: &Victim) -> (Vec<u8>, Vec<u8>) {
    let Picture { applied, keyring, .. } = Picture::of_base(&state_of(victim));
    (applied, keyring.unwrap())
}

/// Writes a file into a stopped node's state, durably: rows, and the state record as `edit` leaves it.
fn put(victim: &Victim, rows: &[(RowName, Vec<u8>)], edit: impl FnOnce(&mut StateRows)) {
    let base = state_of(victim);
    let Picture { applied, keyring, .. } = Picture::of_base(&base);
    let mut record = StateRows { applied, keyring };
    edit(&mut record);
    let mut file = base.begin_file(&record).unwrap();
    for (name, row) in rows {
        file.put(name, row).unwrap();
    }
    file.finish().unwrap().ingest().unwrap();
}

/// Puts one row of the state record.
fn set_row(which: StateRow, bytes: Vec<u8>) -> impl FnOnce(&mut StateRows) {
    move |record| match which {
        StateRow::Applied => record.applied = bytes,
        StateRow::Keyring => record.keyring = Some(bytes),
    }
}

fn copy_dir(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn state_rows_that_are_edited_are_refused() {
    let victim = Victim::stopped();
    let (applied, keyring) = record_of(&victim);
    let refused = |which: StateRow, bytes: Vec<u8>, good: &Vec<u8>| {
        put(&victim, &[], set_row(which, bytes));
        let end = victim.start();
        put(&victim, &[], set_row(which, good.clone()));
        assert!(matches!(end, End::Refused(..)), "{end:?}");
    };
    for at in (0..applied.len()).step_by(7).chain([1, 25, 33, 41, applied.len() - 1]) {
        let mut bytes = applied.clone();
        bytes[at] ^= 1;
        refused(StateRow::Applied, bytes, &applied);
    }
    for at in (0..keyring.len()).step_by(23).chain([17, 24, 27, 40, 48, 88, 164, 165, 240, 242, 243 + 5]) {
        let mut bytes = keyring.clone();
        bytes[at] ^= 1;
        refused(StateRow::Keyring, bytes, &keyring);
    }
    // The wrapped bytes and check values of the two DEKs change places.
    let mut swapped = keyring.clone();
    let (one, two) = (243 + 14..243 + 90, 333 + 14..333 + 90);
    swapped[one.clone()].copy_from_slice(&keyring[two.clone()]);
    swapped[two].copy_from_slice(&keyring[one]);
    refused(StateRow::Keyring, swapped, &keyring);
    assert!(matches!(victim.start(), End::Whole));
}

#[test]
fn value_rows_that_are_moved_or_changed_are_never_served() {
    let victim = Victim::stopped();
    let opened = open(&victim.site, Some(victim.site.kek()));
    let names = ["key-3", "key-4", "lasting"].map(|key| (key, row_name(&opened, key.as_bytes())));
    drop(opened);
    let name = |key: &str| names.iter().find(|(other, _)| *other == key).unwrap().1;
    let get = |key: &str| Picture::of_base(&state_of(&victim)).rows.remove(&name(key)).unwrap();
    let set = |key: &str, bytes: &[u8]| {
        put(&victim, &[(name(key), bytes.to_vec())], |_| ());
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
    clear.extend_from_slice(b"\0\0\0\x05key-3forged");
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
    let (applied, keyring) = record_of(&victim);
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
    put(&victim, &[], |record| *record = StateRows { applied, keyring: Some(keyring) });
    victim.start().refused_with(74, &["halted", "was written by entry"]);
}

/// Before the bootstrap the applied row has no MAC. A forged one must not make keys expire early, nor hang the node.
#[test]
fn an_applied_row_without_a_mac_is_believed_only_where_it_can_be_true() {
    let victim = Victim::killed();
    let founding = Applied::decode(&Picture::of_base(&state_of(&victim)).applied).unwrap();
    let aside = victim.site.path().join("aside");
    copy_dir(&victim.site.data(), &aside);
    let forge = |edit: &dyn Fn(&mut Applied)| {
        let mut forged = founding.clone();
        edit(&mut forged);
        put(&victim, &[], set_row(StateRow::Applied, forged.encode(None)));
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
    // It would leave names readable for ever.
    ends[1].refused_with(74, &["clients wrote before there were keys"]);
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
