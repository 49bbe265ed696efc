//! Opening the sealed entries of a run: on the calling thread alone, and split over a second one.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::Criterion;
use criterion::Throughput;
use sealkv::apply::open::Openings;
use sealkv::crypto::keystore::Dek;
use sealkv::crypto::keystore::KeyStore;
use sealkv::crypto::keystore::Purpose;
use sealkv::crypto::keystore::TermSalt;
use sealkv::crypto::open::EntryKeys;
use sealkv::crypto::open::OpenJob;
use sealkv::crypto::seal::seal_entries;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::KeyId;
use sealkv::ids::Position;
use sealkv::ids::ProposalId;
use sealkv::ids::Term;

/// Payload bytes of an entry, and entries of the run.
const RUNS: [(usize, usize); 9] =
    [(256, 64), (256, 512), (256, 4096), (4096, 16), (4096, 128), (4096, 1024), (65536, 4), (65536, 16), (65536, 128)];

pub fn open(criterion: &mut Criterion) {
    let id = KeyId::new(1).expect("not 0");
    let store = KeyStore::new(ClusterId([1; 16]));
    store.insert(id, Purpose::Entry, Dek::new(&[7; 32])).expect("the first key");
    let term_salt = TermSalt { term: Term(3), index: Index(10), salt: [5; 32] };
    let keys = EntryKeys::new(store.snapshot(), Some(term_salt));
    let key = store.snapshot().entry(id).expect("just inserted").leadership(&term_salt);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let pool = Arc::new(pool);
    for (size, count) in RUNS {
        let payload = vec![0x5a; size];
        let items: Vec<(ProposalId, &[u8])> = (0..count as u64).map(|n| (ProposalId(n), payload.as_slice())).collect();
        let sealed: Vec<Bytes> = seal_entries(&key, [1; 7], Index(11), &items).expect("they fit");
        let job = |(n, data): (u64, _)| OpenJob { position: Position { term: Term(3), index: Index(11 + n) }, data };
        let jobs: Vec<OpenJob<'_>> = (0..).zip(sealed.iter().map(|data| &data[..])).map(job).collect();
        let mut group = criterion.benchmark_group(format!("apply::open/size={size} entries={count}"));
        group.throughput(Throughput::Bytes((size * count) as u64));
        for (way, mut openings) in [("alone", Openings::new(None)), ("split", Openings::eager(Some(Arc::clone(&pool))))]
        {
            group.bench_function(format!("way={way}"), |bencher| {
                bencher.iter(|| openings.open(&keys, black_box(&jobs)));
            });
            assert!(openings.results().all(|opened| opened.is_ok_and(|text| text == payload)), "they open");
        }
        group.finish();
    }
}
