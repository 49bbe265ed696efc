//! What one operation of each room costs, now. One list of benches, measured in three ways:
//!
//! ```text
//! cargo bench --features testing --bench rooms -- [FILTER]        criterion: nanoseconds
//! ... --bench rooms -- stages [--json]                            each stage nil and sealed: nanoseconds and allocations
//! ... --bench rooms -- times NAME...                              nanoseconds of some, in turn, a line of JSON each
//! ... --bench rooms -- gates                                      instructions against the limits of perf/gates.toml
//! ```
//!
//! Names are `room::operation/key=value`. Inputs are seeded and every result is checked. Without `--bench`, as `cargo test`
//! runs it, each bench runs once at a small size. Numbers of one run compare with each other and with nothing else.

#![allow(clippy::print_stdout, reason = "what is measured is printed")]
#![allow(unsafe_code, reason = "a global allocator that counts is the only witness of allocations")]

mod applier;
mod apply;
mod bench;
mod callgrind;
mod crypto;
mod fsm;
mod gates;
mod hook;
mod propose;
mod resp;
mod stages;
mod wal;

use std::process::ExitCode;
use std::time::Duration;

use criterion::BatchSize;
use criterion::BenchmarkGroup;
use criterion::Criterion;
use criterion::measurement::WallTime;
use sealkv::testing::workload::Scale;

use crate::bench::Bench;
use crate::bench::Way;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let rest = || std::env::args().skip(2).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("gates") => return gates::run(rest()),
        Some("count") => bench::count(&rest().collect::<Vec<_>>()),
        Some("times") => bench::times(&rest().collect::<Vec<_>>()),
        Some("stages") => stages::run(rest()),
        Some("names") => all(Scale::Large).iter().for_each(|bench| println!("{}", bench.name)),
        _ => by_criterion(),
    }
    ExitCode::SUCCESS
}

/// Every bench of every room.
fn all(scale: Scale) -> Vec<Bench> {
    let rooms = [crypto::all, hook::all, apply::all, propose::all, wal::all, resp::all, fsm::all];
    rooms.into_iter().flat_map(|room| room(scale)).collect()
}

fn by_criterion() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    let benches = all(Scale::of_process());
    for of_one in benches.chunk_by(|a, b| a.operation() == b.operation()) {
        let mut group = criterion.benchmark_group(of_one[0].operation());
        of_one.iter().for_each(|bench| measure(&mut group, bench));
        group.finish();
    }
    criterion.final_summary();
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, bench: &Bench) {
    group.throughput(bench.throughput());
    group.bench_function(bench.keys(), |bencher| match bench.way() {
        Way::Again(mut work) => {
            bench.check(work());
            bencher.iter(work);
        }
        Way::Once(mut prepare) => {
            bench.check(prepare()());
            bencher.iter_batched(prepare, |work| work(), BatchSize::PerIteration);
        }
    });
}
