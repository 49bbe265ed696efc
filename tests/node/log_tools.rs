//! `sealkv log verify` and `sealkv log dump --json` on the directory of a node that does not run.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::fingerprint;
use crate::harness::sealkv;
use crate::harness::text;

const CANARY: &str = "canary-in-the-value";

/// A site whose node wrote some values, and stopped.
fn used_site(sealed: bool) -> Site {
    let site = Site::new();
    let node = Node::start(&if sealed { site.sealed() } else { site.clear() });
    for at in 0..50 {
        assert_eq!(node.client().words(&format!("SET key-{at} {CANARY}-{at}")), Reply::ok());
    }
    assert_eq!(node.stop().code(), Some(0));
    site
}

/// Runs a tool, and checks that nothing in the data directory changed.
fn tool(site: &Site, words: &[&str], kek: Option<PathBuf>) -> (i32, String, String) {
    let before = fingerprint(site.path());
    let mut command = sealkv();
    command.arg("log").args(words).args(["--data-dir", &text(&site.data())]);
    if let Some(kek) = kek {
        command.args(["--kek-file", &text(&kek)]);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(before == fingerprint(site.path()), "the tool changed the directory");
    let words = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), words(stdout), words(stderr))
}

/// The objects that `log dump` prints.
fn objects(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_type<'a>(objects: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["type"] == name)
}

#[test]
fn a_whole_log_is_verified_and_dumped_without_plaintext() {
    for sealed in [true, false] {
        let site = used_site(sealed);
        let kek = || sealed.then(|| site.kek());
        let (status, stdout, stderr) = tool(&site, &["verify"], kek());
        assert_eq!(status, 0, "{stderr}");
        assert!(stdout.starts_with("log ok: "), "{stdout}");
        let (status, stdout, stderr) = tool(&site, &["dump", "--json"], kek());
        assert_eq!((status, stderr.as_str()), (0, ""));
        assert!(!stdout.contains(CANARY) && !stdout.contains("key-4"), "no plaintext");
        let objects = objects(&stdout);
        let frames: Vec<u64> = of_type(&objects, "frame").map(|frame| frame["frame"].as_u64().unwrap()).collect();
        assert!(frames.windows(2).all(|pair| pair[1] == pair[0] + 1) && frames.len() > 10, "{frames:?}");
        assert!(of_type(&objects, "frame").all(|frame| frame["verdict"] == "ok"));
        assert!(of_type(&objects, "segment").all(|it| it["file"].as_str().unwrap().starts_with("log/slot-")));
        let opaque = of_type(&objects, "entry").filter(|entry| entry["verdict"] == "not-checked").count();
        assert_eq!(opaque >= 50, sealed, "{opaque} sealed entries");
        let are_whole = of_type(&objects, "entry").filter(|entry| entry["verdict"] == "not-checked").all(|entry| {
            entry["version"].is_u64() && entry["key_id"].is_u64() && entry["nonce"].as_str().unwrap().len() == 24
        });
        assert!(are_whole);
    }
}

#[test]
fn damage_is_named_with_its_place_and_what_is_before_it_is_dumped() {
    let site = used_site(true);
    let (_, stdout, _) = tool(&site, &["dump", "--json"], Some(site.kek()));
    let all = objects(&stdout);
    let middle = of_type(&all, "frame").nth(20).unwrap().clone();
    let path = site.data().join(middle["file"].as_str().unwrap());
    let (offset, slot) = (middle["offset"].as_u64().unwrap(), path.clone());
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset as usize + 70] ^= 1;
    fs::write(&path, bytes).unwrap();
    for words in [&["verify"][..], &["dump", "--json"]] {
        let (status, stdout, stderr) = tool(&site, words, Some(site.kek()));
        assert_eq!(status, 74, "{stderr}");
        assert!(stderr.contains(&format!("at offset {offset}")) && stderr.contains("acknowledged"), "{stderr}");
        let frames = stdout.lines().filter(|line| line.contains(r#""type":"frame""#)).count();
        assert_eq!(frames, if words == ["verify"] { 0 } else { 20 }, "{}", slot.display());
    }
}

#[test]
fn a_wrong_kek_a_running_node_and_no_node_are_refused_with_78() {
    let site = used_site(true);
    let other = site.make_kek("other", 0x77);
    for kek in [None, Some(other), Some(site.path().join("nowhere"))] {
        let (status, _, stderr) = tool(&site, &["verify"], kek);
        assert_eq!(status, 78, "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let empty = Site::new();
    let (status, _, stderr) = tool(&empty, &["verify"], None);
    assert_eq!(status, 78, "{stderr}");
    let node = Node::start(&site.sealed());
    let mut command = sealkv();
    command.args(["log", "verify", "--data-dir", &text(&site.data()), "--kek-file", &text(&site.kek())]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("in use by another process"), "{stderr}");
    assert_eq!(node.stop().code(), Some(0));
}
