//! Frames of the log: drawn, sealed and summed in memory, without a disk.

use criterion::Criterion;
use criterion::Throughput;

use sealkv::wal::testkit::FrameBench;

/// One frame of `count` entries.
pub fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal::frame_encode");
    for is_sealed in [true, false] {
        for (count, size) in [(1, 256), (64, 256), (16, 16384)] {
            let mut frames = FrameBench::new(is_sealed, count, size);
            group.throughput(Throughput::Bytes((count * size) as u64));
            let name = format!("sealed={} count={count} size={size}", u8::from(is_sealed));
            group.bench_function(name, |bencher| bencher.iter(|| frames.encode()));
        }
    }
    group.finish();
}
