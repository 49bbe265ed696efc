//! `scripts/bench base`: files into the base as fast as it takes them, until level 0 and compaction are steady.
//!
//! Rows have the size of a sealed value of 256 bytes, random bytes under random names that never repeat (or under few
//! that do, with `--names`). Before each file it waits as a flush of the node does. What comes out: rows per second,
//! of the second half too; bytes written for each byte taken in; disk used; CPU time by kind of thread; then look-ups.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use sealkv::fsm::base::RowBase;
use sealkv::fsm::base::StateRows;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::RowName;
use sealkv::fsm::rocks::RocksOptions;
use sealkv::fsm::rocks::base::BasePlace;
use sealkv::fsm::rocks::base::RocksBase;
use sealkv::testing::seed::Seeded;

/// Header, envelope, the body's own fields, a key of 16 bytes, a value of 256.
const ROW_BYTES: usize = 9 + 34 + 13 + 16 + 256;
/// About 64 MiB.
const FILE_ROWS: u64 = (64 << 20) / (ROW_BYTES as u64 + 17);

struct Options {
    rows: u64,
    /// Names that rows are drawn from; all differ if there are none.
    names: Option<u64>,
    directory: PathBuf,
}

fn main() {
    let options = options();
    let place = BasePlace { state: options.directory.join("state"), flush: options.directory.join("flush") };
    let _ = fs::remove_dir_all(&place.state);
    let _ = fs::remove_dir_all(&place.flush);
    fs::create_dir_all(&place.flush).unwrap();
    let base = RocksBase::create(&place, &RocksOptions::default(), 1, &record(0)).unwrap();
    let mut source = Source::new(options.names);
    let files = options.rows / FILE_ROWS;
    let begun = Begun::now();
    let mut half = Begun::now();
    let mut times = Times::default();
    for number in 0..files {
        if number == files / 2 {
            half = Begun::now();
        }
        times.add(&take_in(&base, &mut source, number));
        if (number + 1) % 10 == 0 {
            let pressure = base.pressure().unwrap();
            println!(
                "{:>9} rows  {:>7.0} rows/s  level 0 {}  pending {} MiB  disk {} MiB",
                (number + 1) * FILE_ROWS,
                begun.rate((number + 1) * FILE_ROWS),
                pressure.level0_files,
                pressure.pending_bytes >> 20,
                disk_bytes(&place.state) >> 20
            );
        }
    }
    let rows = files * FILE_ROWS;
    let taken_in = rows * (ROW_BYTES as u64 + 17);
    println!(
        "rows/s            {:.0}, second half {:.0}",
        begun.rate(rows),
        half.rate((files - files / 2) * FILE_ROWS)
    );
    println!("write, ingest, wait per file: {}", times.line());
    println!(
        "written           {:.2} bytes for each taken in, second half {:.2}",
        begun.amplification(taken_in),
        half.amplification(taken_in / 2)
    );
    println!("cpu us a row      {}", begun.cpu(rows));
    println!("disk              {} MiB for {} MiB taken in", disk_bytes(&place.state) >> 20, taken_in >> 20);
    look_up(&base, &source);
    drop(base);
    fs::remove_dir_all(&options.directory).unwrap();
}

fn options() -> Options {
    let mut options = Options { rows: 10_000_000, names: None, directory: PathBuf::from("target/ingest") };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--rows" => options.rows = value.parse().unwrap(),
            "--names" => options.names = Some(value.parse().unwrap()),
            "--dir" => options.directory = PathBuf::from(value),
            _ => panic!("expected --rows N, --names N or --dir PATH, found {word}"),
        }
    }
    options
}

fn record(number: u64) -> StateRows {
    StateRows { applied: number.to_be_bytes().to_vec(), keyring: Some(vec![1; 512]) }
}

#[derive(Default)]
struct Times {
    write: Vec<Duration>,
    ingest: Vec<Duration>,
    wait: Vec<Duration>,
}

impl Times {
    fn add(&mut self, [write, ingest, wait]: &[Duration; 3]) {
        self.write.push(*write);
        self.ingest.push(*ingest);
        self.wait.push(*wait);
    }

    fn line(&mut self) -> String {
        let kinds = [&mut self.write, &mut self.ingest, &mut self.wait];
        let words = kinds.map(|times| {
            times.sort_unstable();
            format!("median {:.1?} longest {:.1?}", times[times.len() / 2], times[times.len() - 1])
        });
        words.join("; ")
    }
}

fn take_in(base: &RocksBase, source: &mut Source, number: u64) -> [Duration; 3] {
    let waited = Instant::now();
    while base.pressure().unwrap().is_high(false) {
        thread::sleep(Duration::from_millis(1));
    }
    let waited = waited.elapsed();
    let names = source.file();
    let written = Instant::now();
    let mut file = base.begin_file(&record(number)).unwrap();
    for name in &names {
        file.put(name, source.row(name)).unwrap();
    }
    let file = file.finish().unwrap();
    let written = written.elapsed();
    let ingested = Instant::now();
    file.ingest().unwrap();
    [written, ingested.elapsed(), waited]
}

/// Names and rows, made quickly.
struct Source {
    rng: Seeded,
    names: Option<u64>,
    pool: Vec<u8>,
}

impl Source {
    fn new(names: Option<u64>) -> Source {
        let rng = Seeded::new(1);
        let pool = rng.bytes(32 << 20);
        Source { rng, names, pool }
    }

    fn file(&mut self) -> Vec<RowName> {
        let mut names: Vec<RowName> = (0..FILE_ROWS).map(|_| self.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn name(&self) -> RowName {
        let seed = match self.names {
            Some(names) => Seeded::new(self.rng.below(names)),
            None => Seeded::new(self.rng.bits()),
        };
        let database = Database::new(0).unwrap();
        RowName::new(database, seed.array())
    }

    fn row(&self, name: &RowName) -> &[u8] {
        let bits = u64::from_be_bytes(*name.as_bytes().last_chunk().unwrap());
        let at = usize::try_from(bits).unwrap() % (self.pool.len() - ROW_BYTES);
        &self.pool[at..at + ROW_BYTES]
    }
}

/// A moment that rates and sums are counted from.
struct Begun {
    at: Instant,
    written: u64,
    ticks: Vec<(String, u64)>,
}

impl Begun {
    fn now() -> Begun {
        Begun { at: Instant::now(), written: written_bytes(), ticks: ticks() }
    }

    #[allow(clippy::cast_precision_loss, reason = "shown with few digits")]
    fn rate(&self, rows: u64) -> f64 {
        rows as f64 / self.at.elapsed().as_secs_f64()
    }

    #[allow(clippy::cast_precision_loss, reason = "shown with few digits")]
    fn amplification(&self, taken_in: u64) -> f64 {
        (written_bytes() - self.written) as f64 / taken_in as f64
    }

    #[allow(clippy::cast_precision_loss, reason = "shown with few digits")]
    fn cpu(&self, rows: u64) -> String {
        let words = ticks().into_iter().map(|(name, now)| {
            let before = self.ticks.iter().find(|(other, _)| *other == name).map_or(0, |(_, ticks)| *ticks);
            format!("{name} {:.2}", (now - before) as f64 * 10_000.0 / rows as f64)
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// What this process had written to devices so far.
fn written_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// Ticks of 10 ms by name of thread.
fn ticks() -> Vec<(String, u64)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        match sums.iter_mut().find(|(other, _)| other == name) {
            Some((_, sum)) => *sum += ticks,
            None => sums.push((name.to_owned(), ticks)),
        }
    }
    sums
}

fn disk_bytes(path: &Path) -> u64 {
    fs::read_dir(path).unwrap().map(|file| file.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
}

/// Names that are there, over all of them, and names that are not.
fn look_up(base: &RocksBase, source: &Source) {
    const LOOK_UPS: usize = 40_000;
    let again = Seeded::new(1);
    let skipped = source.pool.len() / 8;
    for _ in 0..skipped {
        again.bits();
    }
    let there = Source { rng: again, names: source.names, pool: Vec::new() };
    // Every hundredth name of those that were written.
    let names: Vec<RowName> = (0..LOOK_UPS * 100).map(|_| there.name()).step_by(100).collect();
    let absent: Vec<RowName> = names
        .iter()
        .map(|name| {
            RowName::new(
                Database::new(0).unwrap(),
                name.as_bytes()[1..].iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>().try_into().unwrap(),
            )
        })
        .collect();
    for (what, names) in [("there", &names), ("absent", &absent)] {
        let begun = Instant::now();
        let found =
            names.iter().filter(|name| base.row(name, &mut |row| assert_eq!(row.len(), ROW_BYTES)).unwrap()).count();
        let single = begun.elapsed();
        let begun = Instant::now();
        for some in names.chunks(16) {
            base.rows(some, &mut |_, _| true).unwrap();
        }
        let batched = begun.elapsed();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(u32::try_from(names.len()).unwrap());
        println!(
            "look-up {what:<9} {:.1} us one by one, {:.1} us in batches of 16 ({found} found)",
            each(single),
            each(batched)
        );
    }
}
