//! What the simulated disk keeps of what was not synced, and what a process that died still changes: nothing.

use super::*;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn disk() -> SimFiles {
    let disk = FilesDisk { nodes: vec![FileNode::Folder], ..FilesDisk::default() };
    SimFiles { disk: Arc::new(Mutex::new(disk)), life: 0 }
}

/// How often `is_so` holds behind a power cut of what `make` left, over many seeds.
fn kept(make: impl Fn(&SimFiles), is_so: impl Fn(&SimFiles) -> bool) -> usize {
    let is_kept = |seed: &u64| {
        let files = disk();
        make(&files);
        files.cut_power(&Seeded::new(*seed));
        is_so(&files.of_this_life())
    };
    (0..SEEDS).filter(is_kept).count()
}

#[test]
fn only_what_is_synced_and_whose_name_is_synced_is_sure_to_outlive_a_power_cut() {
    let is_whole = |files: &SimFiles| files.read(path("a"), 0, 9).is_ok_and(|bytes| bytes == b"text");
    let write = |files: &SimFiles| files.write(path("a"), b"text").unwrap();
    let sync = |files: &SimFiles| files.sync(path("a")).unwrap();
    let sync_name = |files: &SimFiles| files.sync_name(path("a")).unwrap();
    let some = |count: usize| count > 0 && count < SEEDS as usize;
    assert!(some(kept(write, is_whole)));
    assert!(some(kept(|files| (write(files), sync(files)).0, is_whole)), "its name is not synced");
    assert!(some(kept(|files| (write(files), sync_name(files)).0, is_whole)), "only its name is synced");
    assert_eq!(kept(|files| (write(files), sync(files), sync_name(files)).0, is_whole), SEEDS as usize);
    assert_eq!(kept(|files| files.write_new(path("a"), b"text").unwrap(), is_whole), SEEDS as usize);
}

#[test]
fn a_folder_is_moved_wholly_or_not_at_all_and_for_sure_once_one_end_is_synced() {
    let make = |files: &SimFiles| {
        files.make_folder(path("in/state")).unwrap();
        files.write_new(path("in/state/a"), b"text").unwrap();
        ["in/state", "in"].iter().for_each(|name| files.sync_name(path(name)).unwrap());
        files.rename(path("in/state"), path("state")).unwrap();
    };
    let places = |files: &SimFiles| ["in/state/a", "state/a"].map(|name| files.is_there(path(name)));
    assert_eq!(kept(make, |files| places(files)[0] != places(files)[1]), SEEDS as usize);
    let moved = kept(make, |files| places(files)[1]);
    assert!(moved > 0 && moved < SEEDS as usize);
    let synced = |files: &SimFiles| (make(files), files.sync_name(path("state")).unwrap()).0;
    assert_eq!(kept(synced, |files| places(files) == [false, true]), SEEDS as usize);
}

#[test]
fn a_process_that_died_changes_nothing_and_the_next_one_goes_on() {
    let files = disk();
    files.die_after(1);
    files.write(path("a"), b"1").unwrap();
    assert!(files.write(path("a"), b"2").is_err() && files.is_dead());
    files.end_life();
    assert!(files.write(path("a"), b"3").is_err(), "of a life before");
    let next = files.of_this_life();
    assert_eq!(next.read(path("a"), 0, 9).unwrap(), b"1");
    next.write(path("a"), b"4").unwrap();
    assert!(!next.is_dead());
}

const SEEDS: u64 = 64;
