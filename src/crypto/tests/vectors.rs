//! The reference's vectors, and that a vector which does not do as it says is noticed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::crypto::elastickv::vectors;
use crate::crypto::elastickv::vectors::VectorsError;
use crate::crypto::selftest::known_answers;

const FILE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/elastickv-envelopes.json"));

#[test]
fn known_answers_are_right() {
    assert_eq!(known_answers(), Ok(()));
}

#[test]
fn every_vector_of_the_reference_does_as_it_says() {
    let report = vectors::run(FILE).unwrap();
    assert_eq!((report.passed, report.failed, report.lines), (81, 0, vec![]));
}

#[test]
fn a_gzipped_file_gives_the_same_report() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(FILE).unwrap();
    assert_eq!(vectors::run(&packed.finish().unwrap()[..]).unwrap(), vectors::run(FILE).unwrap());
}

/// Every field of a vector of each kind and class is changed in turn: the vector fails, and its line names it.
#[test]
fn a_vector_with_any_field_changed_fails() {
    let file: Value = serde_json::from_slice(FILE).unwrap();
    for n in [1, 2, 30, 31, 33, 34] {
        let vector = file["vectors"][n].as_object().unwrap();
        for (field, value) in vector.iter().filter(|(field, _)| *field != "name") {
            // A refused vector's key, nonce and plaintext say nothing that its refusal depends on.
            let is_ok = vector["open"] == "ok";
            if !is_ok && ["dek", "nonce", "plaintext"].contains(&field.as_str()) {
                continue;
            }
            let mut changed = vector.clone();
            changed[field] = match value {
                Value::String(text) if field == "open" => if text == "ok" { "integrity" } else { "ok" }.into(),
                Value::String(text) if field == "kind" => if text == "raft" { "storage" } else { "raft" }.into(),
                Value::String(text) => flip_last(text).into(),
                other => (other.as_u64().unwrap() ^ 2).into(),
            };
            let name = changed["name"].as_str().unwrap().to_owned();
            let changed = serde_json::to_vec(&serde_json::json!({ "vectors": [changed] })).unwrap();
            let report = vectors::run(&changed[..]).unwrap();
            assert_eq!((report.passed, report.failed), (0, 1), "{name} {field}");
            assert!(report.lines[0].starts_with(&name));
        }
    }
}

fn flip_last(text: &str) -> String {
    let (head, last) = text.split_at(text.len() - 1);
    format!("{head}{}", if last == "0" { '1' } else { '0' })
}

#[test]
fn what_is_no_file_of_vectors_is_an_error() {
    assert!(matches!(vectors::run(&b""[..]), Err(VectorsError::Parse(_))));
    assert!(matches!(vectors::run(&b"{\"vectors\": [{}]}"[..]), Err(VectorsError::Parse(_))));
    assert!(matches!(vectors::run(&[0x1f, 0x8b, 1, 2, 3][..]), Err(VectorsError::Read(_))));
    assert!(matches!(vectors::run(std::io::repeat(b' ')), Err(VectorsError::TooLarge { .. })));
    let other = br#"{"vectors": [], "node_ids": [{"raft_id": "n1", "node_id": 5, "node_id16": 5}]}"#;
    assert_eq!(vectors::run(&other[..]).unwrap().failed, 1);
}
