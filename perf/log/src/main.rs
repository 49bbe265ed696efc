//! `scripts/bench peers log`: groups of entries made durable, sealkv's log beside other logs and a bare loop.
//!
//! One run: every contestant has a process of its own, stays open, and takes its turn at every cell (entry size, entries of
//! a group, groups in flight). Medians of the rounds. Every sync of a process is counted at the C library's door or by the
//! log itself, and a contestant that syncs less than once for each group, one in flight, is marked.

mod bare;
mod ours;
mod peers;
mod process;
mod record;
mod recovery;
mod run;
mod syncs;
mod turns;
#[path = "../../src/watch.rs"]
mod watch;

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use sealkv::disk::Engine;
use sealkv::disk::EngineChoice;

use crate::process::Neighbour;
use crate::process::Process;
use crate::record::Row;
use crate::run::Cell;
use crate::run::Contestant;
use crate::watch::FOREIGN_MAX;
use crate::watch::Watch;
use crate::watch::place_of;

/// What was asked for.
struct Options {
    dir: PathBuf,
    seconds: f64,
    rounds: usize,
    only: Vec<String>,
    cells: Vec<Cell>,
    busy: bool,
    rocksdb: Option<PathBuf>,
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("spin") => loop {
            std::hint::spin_loop();
        },
        Some("contestant") => {
            let (name, dir) = (arguments.next().expect("a name"), arguments.next().expect("a directory"));
            turns::serve(contestant(&name, Path::new(&dir)).as_mut());
            return ExitCode::SUCCESS;
        }
        Some("recovery") => {
            let dir = arguments.next().expect("a directory");
            let mut number = |default: u64| arguments.next().map_or(default, |word| word.parse().expect("a number"));
            let (mib, rounds) = (number(1024), number(5));
            recovery::measure(Path::new(&dir), mib.next_multiple_of(64), rounds as usize);
            return ExitCode::SUCCESS;
        }
        Some("fill") => {
            let mut next = || arguments.next().expect("a data directory, a KEK file, MiB");
            let (data_dir, kek_file, mib) = (next(), next(), next());
            recovery::fill_node(Path::new(&data_dir), Path::new(&kek_file), mib.parse().expect("MiB"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    match options(std::env::args().skip(1)) {
        Ok(options) => compare(&options),
        Err(problem) => {
            eprintln!("{problem}");
            eprintln!(
                "usage: peers log --dir DIR [--seconds S] [--rounds N] [--only NAME,..] [--cells BYTES:GROUP:IN_FLIGHT,..]"
            );
            eprintln!("                 [--busy] [--rocksdb PROGRAM] [--record FILE]");
            ExitCode::from(2)
        }
    }
}

fn compare(options: &Options) -> ExitCode {
    let program = std::env::current_exe().expect("this program");
    let mut processes = processes(options, &program);
    let missing = missing(options, &processes);
    missing.iter().for_each(|words| eprintln!("MISSING: {words}"));
    let neighbour = options.busy.then(|| Neighbour::start(&program));
    let pids: Vec<u32> = processes.iter().map(Process::pid).chain(neighbour.as_ref().map(Neighbour::pid)).collect();
    let begun = Watch::new(&pids);
    let mut rows = Vec::new();
    for cell in options.cells.iter().copied() {
        let mut turns = vec![Vec::new(); processes.len()];
        for round in 0..options.rounds {
            for turn in 0..processes.len() {
                // Another one goes first each time: what ran before leaves its mark on the disk.
                let at = (turn + round) % processes.len();
                turns[at].push(processes[at].measure(cell, options.seconds));
            }
        }
        let names = processes.iter().map(|process| process.name().to_owned());
        let of_cell: Vec<Row> = names.zip(&turns).map(|(name, turns)| Row::new(name, cell, turns)).collect();
        record::print_cell(cell, &of_cell);
        rows.extend(of_cell);
    }
    let foreign_cpus = begun.foreign_cpus();
    drop(neighbour);
    record::print_summary(&rows);
    if foreign_cpus > FOREIGN_MAX {
        eprintln!("others took {foreign_cpus:.2} CPUs meanwhile: these times are worth little");
    }
    let Some(path) = &options.record else { return ExitCode::SUCCESS };
    let is_whole = missing.is_empty() && options.only.is_empty();
    let how = record::How { rounds: options.rounds, busy_core: options.busy, foreign_cpus, missing, is_whole };
    let path = place_of(path, foreign_cpus > FOREIGN_MAX);
    match std::fs::write(&path, record::as_json(&rows, &how)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// What a whole run would have beside these.
fn missing(options: &Options, processes: &[Process]) -> Vec<&'static str> {
    let is_asked = |part: &str| options.only.is_empty() || options.only.iter().any(|only| part.contains(&only[..]));
    let has_uring = processes.iter().any(|process| process.name().ends_with(Engine::Uring.word()));
    let mut missing = Vec::new();
    if !has_uring && ["bare", "sealed", "clear"].into_iter().any(is_asked) {
        missing
            .push("io_uring: it is refused here (sealkv doctor says why), so every log was written with plain calls");
    }
    if options.rocksdb.is_none() && is_asked("rocksdb") {
        missing.push("RocksDB's log: --rocksdb is not given");
    }
    missing
}

fn processes(options: &Options, program: &Path) -> Vec<Process> {
    let dir = |name: &str| {
        let dir = options.dir.join(name);
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a directory for the bench");
        dir.to_str().expect("a path in UTF-8").to_owned()
    };
    let wanted = |name: &&str| options.only.is_empty() || options.only.iter().any(|part| name.contains(part));
    let ours = CONTESTANTS.iter().copied().filter(wanted);
    let mut all: Vec<Process> = ours.map(|name| Process::start(program, &["contestant", name, &dir(name)])).collect();
    if let Some(rocksdb) = options.rocksdb.as_ref().filter(|_| wanted(&"rocksdb")) {
        all.push(Process::start(rocksdb, &[&dir("rocksdb")]));
    }
    all
}

/// Names for `--only`; RocksDB's is a program of its own.
const CONTESTANTS: &[&str] = &["bare", "bare-plain", "sealed", "sealed-plain", "clear", "raft-engine", "okaywal"];

fn contestant(name: &str, dir: &Path) -> Box<dyn Contestant> {
    match name {
        "bare" => Box::new(bare::Bare::new(dir, EngineChoice::Auto)),
        "bare-plain" => Box::new(bare::Bare::new(dir, EngineChoice::Plain)),
        "sealed" => Box::new(ours::Ours::new(dir, true, EngineChoice::Auto)),
        "sealed-plain" => Box::new(ours::Ours::new(dir, true, EngineChoice::Plain)),
        "clear" => Box::new(ours::Ours::new(dir, false, EngineChoice::Auto)),
        "raft-engine" => Box::new(peers::RaftEngine::new(dir)),
        "okaywal" => Box::new(peers::Okay::new(dir)),
        _ => panic!("no contestant {name}"),
    }
}

/// Every cell, small groups first.
fn all_cells() -> Vec<Cell> {
    let sizes = [256, 4096].into_iter();
    let groups = sizes.flat_map(|entry_bytes| [1, 8, 64, 256].map(|group| (entry_bytes, group)));
    groups.flat_map(|(entry_bytes, group)| [1, 4].map(|in_flight| Cell { entry_bytes, group, in_flight })).collect()
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        dir: PathBuf::new(),
        seconds: 0.5,
        rounds: 5,
        only: Vec::new(),
        cells: all_cells(),
        busy: false,
        rocksdb: None,
        record: None,
    };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "peers" | "log" => {}
            "--dir" => options.dir = value()?.into(),
            "--seconds" => options.seconds = value()?.parse().map_err(|error| format!("--seconds: {error}"))?,
            "--rounds" => options.rounds = value()?.parse().map_err(|error| format!("--rounds: {error}"))?,
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--cells" => options.cells = value()?.split(',').map(cell).collect::<Result<_, _>>()?,
            "--busy" => options.busy = true,
            "--rocksdb" => options.rocksdb = Some(value()?.into()),
            "--record" => options.record = Some(value()?.into()),
            _ => return Err(format!("unknown: {name}")),
        }
    }
    let possible = options.rounds > 0 && options.seconds > 0.0 && !options.dir.as_os_str().is_empty();
    if possible { Ok(options) } else { Err("--dir, at least one round and a time above 0 are needed".to_owned()) }
}

fn cell(text: &str) -> Result<Cell, String> {
    let problem = || format!("--cells: {text}: expected BYTES:GROUP:IN_FLIGHT, at most 4096:256:4");
    let numbers: Result<Vec<usize>, _> = text.split(':').map(str::parse).collect();
    let numbers = numbers.map_err(|_| problem())?;
    let [entry_bytes, group, in_flight] = numbers[..] else { return Err(problem()) };
    let possible = (1..=4096).contains(&entry_bytes) && (1..=256).contains(&group) && (1..=4).contains(&in_flight);
    if possible { Ok(Cell { entry_bytes, group, in_flight }) } else { Err(problem()) }
}
