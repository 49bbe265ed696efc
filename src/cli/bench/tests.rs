//! Every bench works; the node's has a test of its own among those of the binary.

use super::*;

/// Goal: every bench works and checks its results. Method: a second of each in a directory of its own.
#[test]
fn each_bench_but_the_node_measures_every_cell() {
    let dir = tempfile::tempdir().unwrap();
    for subject in [BenchSubject::Crypto, BenchSubject::Log, BenchSubject::Apply] {
        let order = BenchOrder { subject, seconds: 1, json: true, directory: dir.path().to_owned() };
        let rows = in_turns(&mut cells(&order).unwrap(), &order).unwrap();
        assert!(rows.len() >= 4, "{subject:?}");
        assert!(rows.iter().all(|row| row.per_second > 0.0), "{rows:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = PathBuf::from("/nowhere/at/all");
    let order = BenchOrder { subject: BenchSubject::Log, seconds: 1, json: false, directory };
    assert!(cells(&order).err().unwrap().contains("/nowhere/at/all"));
}
