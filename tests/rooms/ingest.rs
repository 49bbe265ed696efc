//! A process that dies in the middle of an ingest, at each system call and at random moments, or whose system calls fail:
//! the state is at the index before or the one behind it, whole, and opens again.
//!
//! The child is this binary again. Faults at system calls need `strace`; without it those tests say so and do nothing.

use std::env;
use std::fs;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::panic;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use sealkv::fsm::base::IngestError;
use sealkv::fsm::base::RowBase;
use sealkv::fsm::base::StateRow;
use sealkv::fsm::base::StateRows;
use sealkv::fsm::base::WriteFileError;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::NAME_LEN;
use sealkv::fsm::name::RowName;
use sealkv::fsm::rocks::RocksOptions;
use sealkv::fsm::rocks::base::BasePlace;
use sealkv::fsm::rocks::base::RocksBase;
use sealkv::fsm::rocks::start::LookedAt;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;
use sealkv::world::KernelEntropy;
use sealkv::world::random_array;

/// Set for the child: the directory whose state it takes files into.
const CHILD: &str = "SEALKV_INGEST_CHILD";
/// Files that a child takes in before it ends by itself: beyond level 0's trigger together with those before.
const CHILD_FILES: u64 = 3;
/// Rows that each file writes again.
const SHARED_ROWS: u64 = 40;

fn options() -> RocksOptions {
    RocksOptions { block_cache_bytes: 1 << 20, ..RocksOptions::default() }
}

fn place(directory: &Path) -> BasePlace {
    BasePlace { state: directory.join("state"), flush: directory.join("flush") }
}

fn record(number: u64) -> StateRows {
    StateRows { applied: number.to_be_bytes().to_vec(), keyring: None }
}

fn name(database: u8, number: u64) -> RowName {
    let mut name = [0; NAME_LEN];
    name[8..].copy_from_slice(&number.to_be_bytes());
    RowName::new(Database::new(database).unwrap(), name)
}

fn index(base: &dyn RowBase) -> u64 {
    let row = base.flushed_state(StateRow::Applied).unwrap().expect("the state record is never missing");
    u64::from_be_bytes(row.try_into().unwrap())
}

/// File `number`: rows that every file writes, one of its own, and a database that it clears and writes one row into.
fn write_file(base: &dyn RowBase, number: u64) -> Result<(), EndOfFile> {
    let mut file = base.begin_file(&record(number))?;
    file.clear(Database::new(2).unwrap())?;
    for shared in 0..SHARED_ROWS {
        file.put(&name(0, shared), &[&number.to_be_bytes()[..], &[7; 200]].concat())?;
    }
    file.put(&name(1, number), &number.to_be_bytes())?;
    file.put(&name(2, number), &number.to_be_bytes())?;
    file.finish()?.ingest()?;
    Ok(())
}

enum EndOfFile {
    Again,
    Final,
}

impl From<WriteFileError> for EndOfFile {
    fn from(error: WriteFileError) -> EndOfFile {
        let _ = writeln!(io::stderr(), "{error}");
        EndOfFile::Again
    }
}

impl From<IngestError> for EndOfFile {
    fn from(error: IngestError) -> EndOfFile {
        let _ = writeln!(io::stderr(), "{error}");
        EndOfFile::Final
    }
}

/// The child: opens the state and takes files in, and says each number once it is durable. Never returns where it is one.
#[test]
fn the_child_of_the_other_tests() {
    let Some(directory) = env::var_os(CHILD) else { return };
    // Told from the panic of a harness that cannot print.
    panic::set_hook(Box::new(|_| process::exit(70)));
    let looked = LookedAt::look(&place(Path::new(&directory)), &options());
    let start = u64::from_be_bytes(random_array(&KernelEntropy));
    let opened = looked.and_then(|looked| looked.open(&options(), start));
    let Ok(base) = opened else { process::exit(74) };
    let mut tries = 0;
    for number in index(&base) + 1..=index(&base) + CHILD_FILES {
        loop {
            match write_file(&base, number) {
                Ok(()) => break,
                Err(EndOfFile::Again) if tries < 3 => tries += 1,
                Err(_) => process::exit(74),
            }
        }
        // A line that is lost only makes the other side expect less.
        let _ = writeln!(io::stdout(), "durable {number}").and_then(|()| io::stdout().flush());
    }
    process::exit(0);
}

struct Victim {
    _directory: tempfile::TempDir,
    path: PathBuf,
    /// The highest number that a child said is durable.
    durable: u64,
    /// The highest number that children since the last look may have been at.
    begun: u64,
}

impl Victim {
    fn new() -> Victim {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        fs::create_dir(place(&path).flush).unwrap();
        drop(RocksBase::create(&place(&path), &options(), 1, &record(1)).unwrap());
        Victim { _directory: directory, path, durable: 1, begun: 1 }
    }

    /// The child, under `wrapper` if there is one.
    fn command(&self, wrapper: &[String]) -> Command {
        let words = wrapper.iter().cloned().map(Into::into).chain([env::current_exe().unwrap().into_os_string()]);
        let words: Vec<_> = words.collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.args(["--exact", "ingest::the_child_of_the_other_tests", "--nocapture"]);
        command.env(CHILD, &self.path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Runs a child to its end, or kills it after `delay`. Answers its exit status, none if a signal ended it.
    fn run(&mut self, wrapper: &[String], delay: Option<Duration>) -> Option<i32> {
        let mut child = self.command(wrapper).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            let numbers = output.lines().map_while(Result::ok);
            numbers.filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok()).max()
        });
        if let Some(delay) = delay {
            thread::sleep(delay);
            child.kill().unwrap();
        }
        let status = child.wait().unwrap().code();
        self.durable = reader.join().unwrap().map_or(self.durable, |durable| durable.max(self.durable));
        self.begun += CHILD_FILES;
        status
    }

    /// Opens what is left: it is at one index, whole, and not behind what was said to be durable.
    fn check(&mut self, what: &str) {
        let looked = LookedAt::look(&place(&self.path), &options()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let base = looked.open(&options(), Seeded::fresh().bits()).unwrap();
        let number = index(&base);
        assert!((self.durable..=self.begun).contains(&number), "{what}: {number}, {} durable", self.durable);
        (self.durable, self.begun) = (number, number);
        let mut found = Vec::new();
        let mut keep = |name: RowName, row: &[u8]| {
            found.push((name, u64::from_be_bytes(row[..8].try_into().unwrap())));
            true
        };
        base.walk(name(0, 0)..=name(15, u64::MAX), &mut keep).unwrap();
        let mut expected = Vec::new();
        if number > 1 {
            expected.extend((0..SHARED_ROWS).map(|shared| (name(0, shared), number)));
            expected.extend((2..=number).map(|own| (name(1, own), own)));
            expected.push((name(2, number), number));
        }
        assert_eq!(found, expected, "{what}: rows of one index only");
        assert_eq!(fs::read_dir(place(&self.path).flush).unwrap().count(), 0, "{what}: leftovers are gone");
    }
}

/// Kill -9 at random moments, half of the children killed by the next kill before anything else has looked.
#[test]
fn a_kill_at_any_moment_leaves_the_state_at_one_index() {
    let rng = Seeded::replayable(1);
    let count = runs(20);
    let mut victim = Victim::new();
    let (mut killed, mut ended) = (0, 0);
    // How long a child takes here, which the delays are drawn from.
    let begun = Instant::now();
    assert_eq!(victim.run(&[], None), Some(0));
    let micros = |begun: Instant| u64::try_from(begun.elapsed().as_micros()).unwrap();
    let mut usual = micros(begun);
    for round in 0..count {
        let begun = Instant::now();
        match victim.run(&[], Some(Duration::from_micros(rng.below(usual * 5 / 4)))) {
            None => killed += 1,
            Some(status) => {
                assert_eq!(status, 0);
                ended += 1;
                // The first one may have been a slow one.
                usual = usual.min(micros(begun));
            }
        }
        if rng.one_in(2) || round + 1 == count {
            victim.check(&format!("after round {round}"));
        }
    }
    eprintln!("{killed} killed, {ended} ended before, state at {}", victim.durable);
    assert!(killed * 4 > count, "most children were killed: {killed} of {count}");
    println!("{count} tried, 0 failed");
}

/// What changes something on the disk, and what makes it durable.
const CHANGES: &str = "openat,write,pwrite64,fsync,fdatasync,sync_file_range,fallocate,ftruncate,link,linkat,unlink,unlinkat,rename,renameat,renameat2";

/// The harness around a child cannot print its own lines.
const HARNESS: i32 = 101;

fn strace(inject: &str, nth: u64) -> Vec<String> {
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e"].map(str::to_owned);
    let set = inject.split(':').next().unwrap();
    words.into_iter().chain([format!("trace={set}"), "-e".to_owned(), format!("inject={inject}:when={nth}")]).collect()
}

fn can_strace() -> bool {
    let can = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=close", "true"]).status();
    let can = can.is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: strace cannot be run here, so no system call can be made to fail or kill");
    }
    can
}

/// Kill at each system call of a thread, from its first to its last, and at the same one of the start that follows.
#[test]
fn a_kill_at_each_system_call_twice_leaves_the_state_at_one_index() {
    if !can_strace() {
        return;
    }
    let rng = Seeded::replayable(1);
    let mut victim = Victim::new();
    let inject = format!("{CHANGES}:signal=SIGKILL");
    let (every, mut nth, mut killed, mut survived) = (stride(8), 1 + rng.below(stride(8)), 0, 0);
    // A thread's calls differ a little from child to child: one that lived through is not the end.
    while survived < 3 {
        let what = format!("killed at call {nth}");
        let first = victim.run(&strace(&inject, nth), None);
        if first == Some(0) {
            survived += 1;
        } else {
            (killed, survived) = (killed + 1, 0);
            victim.run(&strace(&inject, nth), None);
        }
        victim.check(&what);
        nth += every;
    }
    eprintln!("killed {killed} times, up to call {nth}");
    assert!(killed > 2, "{killed} of {nth}");
}

/// Each system call of a kind fails once, and then all of its kind from there on.
#[test]
fn a_system_call_that_fails_leaves_the_state_at_one_index() {
    if !can_strace() {
        return;
    }
    let rng = Seeded::replayable(1);
    let mut final_ends = 0;
    for inject in [
        "fsync,fdatasync:error=EIO",
        "write,pwrite64:error=ENOSPC",
        "write,pwrite64:error=EIO",
        "link,linkat:error=EIO",
        "rename,renameat,renameat2:error=EIO",
        "unlink,unlinkat:error=EIO",
    ] {
        let mut victim = Victim::new();
        let mut nth = 1 + rng.below(stride(4));
        loop {
            let what = format!("{inject} at {nth}");
            let once = victim.run(&strace(inject, nth), None);
            assert!(matches!(once, Some(0 | 74 | HARNESS)), "{what}: {once:?}");
            victim.check(&what);
            let mut from_there = strace(inject, nth);
            from_there.last_mut().unwrap().push('+');
            let all = victim.run(&from_there, None);
            assert!(matches!(all, Some(0 | 74 | HARNESS)), "{what} on: {all:?}");
            victim.check(&format!("{what} and all behind it"));
            final_ends += u64::from(once == Some(74)) + u64::from(all == Some(74));
            if (once, all) == (Some(0), Some(0)) && nth > 3 || nth > 300 {
                break;
            }
            nth += stride(4);
        }
    }
    assert!(final_ends > 0, "no fault was met");
}

/// A full disk stops files, compaction too, and nothing else: once there is space, both go on in the same process.
#[test]
fn a_full_disk_refuses_files_until_there_is_space_again() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&directory.path().join("disk"), 64) else { return };
    let place = place(&disk.path);
    fs::create_dir(&place.flush).unwrap();
    let base = RocksBase::create(&place, &options(), 1, &record(1)).unwrap();
    let ballast = disk.path.join("ballast");
    fs::write(&ballast, vec![1; 32 << 20]).unwrap();
    let (mut number, mut refused) = (1, 0);
    while refused < 3 {
        match write_large_file(&base, number + 1) {
            Ok(()) => number += 1,
            Err(EndOfFile::Again) => refused += 1,
            Err(EndOfFile::Final) => panic!("only writing can fail here"),
        }
        assert!(number < 200, "the disk is never full");
        assert_eq!(index(&base), number, "reads go on");
    }
    assert_eq!(fs::read_dir(&place.flush).unwrap().count(), 0, "what was written of them is gone");
    fs::remove_file(&ballast).unwrap();
    let begun = Instant::now();
    for _ in 0..12 {
        // Compaction looks for space by itself, every few seconds.
        while base.pressure().unwrap().is_high(false) || write_large_file(&base, number + 1).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "still stopped: {:?}", base.pressure());
            thread::sleep(Duration::from_millis(100));
        }
        number += 1;
    }
    assert_eq!(index(&base), number);
    let mut rows = 0;
    let mut count = |_: RowName, row: &[u8]| {
        rows += u64::from(row[..8] == number.to_be_bytes());
        true
    };
    base.walk(name(0, 0)..=name(15, u64::MAX), &mut count).unwrap();
    assert_eq!(rows, LARGE_ROWS);
    drop(base);
    let looked = LookedAt::look(&place, &options()).unwrap();
    assert_eq!(index(looked.base()), number);
}

/// One MiB of rows with names of their own, so that no merge makes space.
fn write_large_file(base: &dyn RowBase, number: u64) -> Result<(), EndOfFile> {
    let mut file = base.begin_file(&record(number))?;
    for row in 0..LARGE_ROWS {
        file.put(&name(0, number * LARGE_ROWS + row), &[&number.to_be_bytes()[..], &[7; 4096]].concat())?;
    }
    file.finish()?.ingest()?;
    Ok(())
}

const LARGE_ROWS: u64 = 256;

/// A file system of its own, that can be full; needs root.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path, mib: u64) -> Option<SmallDisk> {
        fs::create_dir(path).unwrap();
        let image = path.with_extension("img");
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let made = has_run(Command::new("mkfs.ext4").args(["-q", "-O", "^has_journal", "-m", "0"]).arg(&image));
        if made && has_run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(path)) {
            return Some(SmallDisk { path: path.to_owned() });
        }
        assert!(env::var_os("CI").is_none(), "CI runs as root and can mount");
        eprintln!("skipped: a file system cannot be mounted here, so none can be full");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for _ in 0..50 {
            if has_run(Command::new("umount").arg(&self.path)) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn has_run(command: &mut Command) -> bool {
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Every one if many runs are asked for, else each `few`th.
fn stride(few: u64) -> u64 {
    if runs(0) >= 200 { 1 } else { few }
}
