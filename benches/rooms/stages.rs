//! `scripts/bench overhead`, first part: what each stage of an entry costs, nil beside sealed, in turn, in one process.
//!
//! One line of JSON a cell: stage, direction, size, batch, cipher; nanoseconds of every sample and allocations, for a batch;
//! bytes that come out. Instructions come from the same benches under callgrind; `perf` puts both together.

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mimalloc::MiMalloc;

use crate::apply;
use crate::bench::Bench;
use crate::bench::Way;
use crate::callgrind::count;
use crate::fsm;
use crate::hook;
use crate::propose;
use crate::wal;

const SHOWN: usize = 64;

/// The sizes and batches of the table.
pub struct Grid {
    sizes: Vec<usize>,
    batches: Vec<usize>,
}

impl Default for Grid {
    fn default() -> Grid {
        Grid { sizes: vec![64, 256, 4096, 65536], batches: vec![1, 16, 64, 256] }
    }
}

impl Grid {
    /// As words of a command line.
    pub fn words(&self) -> [String; 2] {
        [&self.sizes, &self.batches].map(|numbers| {
            let words: Vec<String> = numbers.iter().map(usize::to_string).collect();
            words.join(",")
        })
    }

    /// Those words read again.
    pub fn of_words(sizes: &str, batches: &str) -> Grid {
        Grid { sizes: numbers(sizes), batches: numbers(batches) }
    }
}

fn numbers(words: &str) -> Vec<usize> {
    words.split(',').map(|number| number.parse().expect("expected numbers with commas between them")).collect()
}

/// The stages in the order in which an entry meets them, by direction.
fn stages(Grid { sizes, batches }: &Grid) -> Vec<Stage> {
    let mut stages = Vec::new();
    // Reading back takes long, so it is measured with frames as pictures show them.
    let replayed = if batches.contains(&SHOWN) { [SHOWN; 1] } else { [batches.iter().copied().max().unwrap_or(1)] };
    for &size in sizes {
        for &batch in batches.iter().filter(|batch| **batch * size <= 4 << 20) {
            for cipher in ["nil", "sealed"] {
                let cell = |direction, name, bench| Stage { direction, name, cipher, size, batch, bench };
                stages.push(cell("write", "seal", propose::sealing(cipher, batch, size)));
                stages.push(cell("write", "log", wal::frame(cipher, batch, size)));
                stages.push(cell("write", "open", hook_bench(cipher, batch, size)));
                stages.push(cell("write", "run", apply::running(cipher, batch, size)));
                stages.push(cell("write", "flush", apply::flushing(cipher, batch, size)));
                if batch <= READS_MAX {
                    stages.push(cell("read", "get from disk", fsm::getting(cipher, "base", batch, size)));
                }
                if replayed.contains(&batch) {
                    stages.push(cell("replay", "log", wal::replay(cipher, batch, size)));
                }
            }
        }
    }
    stages
}

/// A cell of the table.
pub struct Stage {
    direction: &'static str,
    name: &'static str,
    cipher: &'static str,
    size: usize,
    batch: usize,
    bench: Bench,
}

fn hook_bench(cipher: &'static str, count: usize, size: usize) -> Bench {
    let expected = (count as u64) << 32 | (count * size) as u64;
    let name = format!("apply::hook/hook={cipher} size={size} count={count}");
    Bench::new(name, (count, 0), expected, move || hook::work(cipher, count, size))
}

/// `[--sizes 64,256] [--batches 1,16] [--instructions TIER] [--rounds N] [--milliseconds N]`.
pub fn run(arguments: impl Iterator<Item = String>) {
    let (mut grid, mut rounds, mut millis) = (Grid::default(), 3, 20);
    let mut tier = None;
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match name.as_str() {
            "--sizes" => grid.sizes = numbers(&value),
            "--batches" => grid.batches = numbers(&value),
            "--instructions" => tier = Some(value),
            "--rounds" => rounds = numbers(&value)[0],
            "--milliseconds" => millis = numbers(&value)[0] as u64,
            _ => panic!("{name}: expected --sizes, --batches, --instructions, --rounds or --milliseconds"),
        }
    }
    let stages = stages(&grid);
    // Nil and sealed of a stage stand beside each other, and the whole list comes again: a slow moment meets both.
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); stages.len()];
    let mut allocations = vec![0; stages.len()];
    for _ in 0..rounds {
        for pair in in_pairs(&stages) {
            for at in pair {
                let mut way = stages[at].bench.way();
                let (times, result) = way.times(Duration::from_millis(millis));
                stages[at].bench.check(result);
                samples[at].extend(times);
                allocations[at] = allocations_of(way);
            }
        }
    }
    let instructions = tier.map_or_else(Vec::new, |tier| instructions(&tier, &grid, &stages));
    for (at, (stage, mut samples)) in stages.iter().zip(samples).enumerate() {
        print_line(stage, &mut samples, allocations[at], instructions.get(at).copied());
    }
}

/// Of each stage once, with the AEAD tier of that name: valgrind has no VAES. None where it fails: times were measured, and hold.
fn instructions(tier: &str, grid: &Grid, stages: &[Stage]) -> Vec<u64> {
    let names: Vec<&str> = stages.iter().map(|stage| &stage.bench.name[..]).collect();
    match count(tier, grid, &names) {
        Ok(counted) => counted.iter().map(|counted| counted.instructions).collect(),
        Err(problem) => {
            eprintln!("instructions are NOT counted: {problem}");
            Vec::new()
        }
    }
}

/// Every bench of the stages at these sizes, for those who look for one by its name.
pub fn benches(grid: &Grid) -> impl Iterator<Item = Bench> {
    stages(grid).into_iter().map(|stage| stage.bench)
}

/// Places of each stage's nil and sealed cell, next to each other.
fn in_pairs(stages: &[Stage]) -> Vec<[usize; 2]> {
    let key = |stage: &Stage| (stage.direction, stage.name, stage.size, stage.batch);
    let nil = stages.iter().enumerate().filter(|(_, stage)| stage.cipher == "nil");
    let partner = |stage: &Stage| stages.iter().position(|other| other.cipher == "sealed" && key(other) == key(stage));
    nil.filter_map(|(at, stage)| Some([at, partner(stage)?])).collect()
}

fn print_line(stage: &Stage, samples: &mut [f64], allocations: u64, instructions: Option<u64>) {
    let instructions = instructions.map_or("null".to_owned(), |count| count.to_string());
    samples.sort_by(f64::total_cmp);
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part).round() as usize];
    let few: Vec<String> = (0..=20).map(|step| format!("{:.0}", at(f64::from(step) / 20.0))).collect();
    println!(
        "{{\"direction\":\"{}\",\"stage\":\"{}\",\"cipher\":\"{}\",\"size\":{},\"batch\":{},\"entries\":{},\"bench\":\"{}\",\"samples\":{},\
         \"nanoseconds\":{:.1},\"lower\":{:.1},\"upper\":{:.1},\"twentieths\":[{}],\"allocations\":{allocations},\
         \"instructions\":{instructions},\"bytes\":{}}}",
        stage.direction,
        stage.name,
        stage.cipher,
        stage.size,
        stage.batch,
        stage.bench.count,
        stage.bench.name,
        samples.len(),
        at(0.5),
        at(0.25),
        at(0.75),
        few.join(","),
        stage.bench.bytes_out,
    );
}

fn allocations_of(way: Way) -> u64 {
    match way {
        Way::Again(mut work) => counted(|| _ = work()),
        Way::Once(mut prepare) => {
            let work = prepare();
            counted(|| _ = work())
        }
    }
}

fn counted(work: impl FnOnce()) -> u64 {
    let before = REQUESTS.load(Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    work();
    COUNTS.store(false, Ordering::Relaxed);
    REQUESTS.load(Ordering::Relaxed) - before
}

/// Requests for memory by any thread, while they are counted.
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static COUNTS: AtomicBool = AtomicBool::new(false);

/// Counts requests for memory, and takes it from where the node's binary takes it: what memory costs is part of what a stage
/// costs. The C library gives blocks of MiBs back each time, and their pages come anew.
struct Counting;

impl Counting {
    fn count() {
        if COUNTS.load(Ordering::Relaxed) {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call is handed to `MiMalloc` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's contract.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's contract.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's contract.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads that are answered in one batch at most.
const READS_MAX: usize = 64;
