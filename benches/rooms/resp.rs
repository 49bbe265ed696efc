//! Requests of clients: bytes of a pipeline into commands, and replies into bytes.

use bytes::BytesMut;
use sealkv::resp::testkit::parse;
use sealkv::resp::testkit::reply_bulks;
use sealkv::testing::workload::Scale;
use sealkv::testing::workload::Workload;

use crate::bench::Bench;
use crate::bench::Way;

const COUNTS: [usize; 3] = [1, 16, 64];
const SIZES: [usize; 3] = [64, 256, 16384];
/// More than this is not parsed in one call: a client's group ends there.
const AT_ONCE_BYTES: usize = 64 << 10;

pub fn all(scale: Scale) -> Vec<Bench> {
    let mut benches = Vec::new();
    for count in scale.of(&COUNTS) {
        for size in scale.of(&SIZES).into_iter().filter(|size| count * size <= AT_ONCE_BYTES) {
            let name = format!("resp::parse/command=set size={size} count={count}");
            benches.push(parsing(name, count, Some(size)));
        }
        benches.push(parsing(format!("resp::parse/command=get count={count}"), count, None));
        for size in scale.of(&SIZES) {
            let name = format!("resp::reply/size={size} count={count}");
            let expected = (count * (format!("${size}\r\n\r\n").len() + size)) as u64;
            benches.push(Bench::new(name, (count, count * size), expected, move || {
                let value = Workload::new(1).value(size);
                let mut out = Vec::new();
                Way::again(move || {
                    out.clear();
                    reply_bulks(&value, count, &mut out);
                    out.len() as u64
                })
            }));
        }
    }
    benches
}

fn parsing(name: String, count: usize, set_bytes: Option<usize>) -> Bench {
    Bench::new(name, (count, 0), count as u64, move || {
        let pipeline = Workload::new(1).pipeline(count, set_bytes);
        Way::once(move || {
            let mut inbox: BytesMut = pipeline.clone();
            move || parse(&mut inbox).expect("well formed") as u64
        })
    })
}
