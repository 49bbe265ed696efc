//! One thing that is measured: its name, how much it handles, and the work itself.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;
use std::time::Instant;

use criterion::Throughput;
use sealkv::crypto::aead::choose;

use crate::all;
use crate::stages;
use crate::stages::Grid;
use sealkv::testing::workload::Scale;

/// Something to run, and what it must give.
pub struct Bench {
    /// `room::operation/key=value key=value`.
    pub name: String,
    /// Entries, messages, commands: what it does at once.
    pub count: usize,
    /// Bytes of payload of all of them.
    pub bytes: usize,
    /// Bytes that come out for them where that is the question: on the disk, in the log.
    pub bytes_out: usize,
    expected: u64,
    make: Box<dyn Fn() -> Way>,
}

/// How the work is run. The number that it gives is checked.
pub enum Way {
    /// As often as one likes.
    Again(Box<dyn FnMut() -> u64>),
    /// Each time after something that is not measured.
    Once(Box<dyn FnMut() -> Once>),
}

pub type Once = Box<dyn FnOnce() -> u64>;

impl Bench {
    /// `make` makes the inputs and gives the work; only when the bench is run.
    pub fn new(name: String, (count, bytes): (usize, usize), expected: u64, make: impl Fn() -> Way + 'static) -> Bench {
        Bench { name, count, bytes, bytes_out: 0, expected, make: Box::new(make) }
    }

    pub fn with_bytes_out(self, bytes_out: usize) -> Bench {
        Bench { bytes_out, ..self }
    }

    /// `room::operation`.
    pub fn operation(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// `key=value key=value`.
    pub fn keys(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, keys)| keys)
    }

    pub fn throughput(&self) -> Throughput {
        if self.bytes > 0 { Throughput::Bytes(self.bytes as u64) } else { Throughput::Elements(self.count as u64) }
    }

    pub fn way(&self) -> Way {
        (self.make)()
    }

    pub fn check(&self, found: u64) {
        assert_eq!(found, self.expected, "{}: the result is wrong, so its time means nothing", self.name);
    }
}

impl Way {
    pub fn again(work: impl FnMut() -> u64 + 'static) -> Way {
        Way::Again(Box::new(work))
    }

    pub fn once<W: FnOnce() -> u64 + 'static>(mut prepare: impl FnMut() -> W + 'static) -> Way {
        Way::Once(Box::new(move || Box::new(prepare())))
    }

    /// Nanoseconds of the work alone, of each of several runs within about `time`, and how the result was.
    pub fn times(&mut self, time: Duration) -> (Vec<f64>, u64) {
        let begin = Instant::now();
        let mut samples = Vec::new();
        let mut result = 0;
        while samples.len() < SAMPLES_MIN || (begin.elapsed() < time && samples.len() < SAMPLES_MAX) {
            match self {
                Way::Again(work) => {
                    // Short work is run often enough that the clock's own cost disappears.
                    let mut rounds = 0;
                    let at = Instant::now();
                    while rounds == 0 || at.elapsed() < SAMPLE_TIME {
                        for _ in 0..ROUNDS {
                            result = black_box(work());
                        }
                        rounds += ROUNDS;
                    }
                    samples.push(at.elapsed().as_nanos() as f64 / f64::from(rounds));
                }
                Way::Once(prepare) => {
                    let work = prepare();
                    let at = Instant::now();
                    result = black_box(work());
                    samples.push(at.elapsed().as_nanos() as f64);
                }
            }
        }
        (samples, result)
    }
}

/// `NAME...`: medians of these benches in nanoseconds, in the order of `names`; all in turn, three times.
///
/// # Panics
/// If there is no bench of a name.
pub fn times(names: &[String]) {
    let mut known: BTreeMap<String, Bench> =
        all(Scale::Large).into_iter().map(|bench| (bench.name.clone(), bench)).collect();
    let benches: Vec<Bench> =
        names.iter().map(|name| known.remove(name).unwrap_or_else(|| panic!("there is no bench {name:?}"))).collect();
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); benches.len()];
    for _ in 0..3 {
        for (bench, samples) in benches.iter().zip(&mut samples) {
            let (times, result) = bench.way().times(Duration::from_millis(100));
            bench.check(result);
            samples.extend(times);
        }
    }
    for (bench, samples) in benches.iter().zip(&mut samples) {
        samples.sort_by(f64::total_cmp);
        let median = samples[(samples.len() - 1) / 2];
        println!("{{\"name\":\"{}\",\"count\":{},\"nanoseconds\":{median:.1}}}", bench.name, bench.count);
    }
}

/// `TIER SIZES BATCHES NAME...`: runs the benches of these names once unmeasured and once in [`measured`], in the order of `names`,
/// for callgrind. Sizes and batches are those of stages.
///
/// # Panics
/// If there is no bench of a name.
pub fn count(arguments: &[String]) {
    let [tier, sizes, batches, names @ ..] = arguments else {
        panic!("expected a tier, sizes, batches, names of benches")
    };
    let choice = tier.parse().expect("the name of a tier");
    choose(choice).expect("a tier that valgrind knows, before any key is made");
    // Callgrind counts on this thread alone: what would be shared out (frames of a log that is read back) is done here too.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("no pool was there before");
    let grid = Grid::of_words(sizes, batches);
    let benches: Vec<Bench> = all(Scale::Large).into_iter().chain(stages::benches(&grid)).collect();
    for name in names {
        let bench = benches.iter().find(|bench| bench.name == *name);
        let bench = bench.unwrap_or_else(|| panic!("there is no bench {name:?}; `rooms names` lists them"));
        let result = match bench.way() {
            Way::Again(mut work) => {
                bench.check(work());
                measured(&mut work)
            }
            Way::Once(mut prepare) => {
                bench.check(prepare()());
                let mut work = Some(prepare());
                measured(&mut || work.take().expect("called once")())
            }
        };
        bench.check(result);
        println!("{{\"name\":\"{name}\",\"count\":{}}}", bench.count);
    }
}

/// Not inlined: callgrind counts in here and writes what it counted when this ends.
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> u64) -> u64 {
    black_box(work())
}

const SAMPLES_MIN: usize = 5;
const SAMPLES_MAX: usize = 2000;
const SAMPLE_TIME: Duration = Duration::from_micros(300);
const ROUNDS: u32 = 8;
