//! Requests of clients: bytes of a pipeline into commands.

use criterion::BatchSize;
use criterion::Criterion;
use criterion::Throughput;

use bytes::BytesMut;
use sealkv::resp::testkit::parse;

/// A pipeline of `count` SETs that arrived at once.
pub fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resp::parse");
    for (count, size) in [(1_usize, 256_usize), (16, 256), (16, 16384)] {
        let mut inbox = BytesMut::new();
        for number in 0..count {
            let (key, value) = (format!("key:{number:012}"), "v".repeat(size));
            let command = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${size}\r\n{value}\r\n", key.len());
            inbox.extend_from_slice(command.as_bytes());
        }
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("command=set count={count} size={size}"), |bencher| {
            bencher.iter_batched_ref(
                || inbox.clone(),
                |inbox| assert_eq!(parse(inbox).expect("well formed"), count),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}
