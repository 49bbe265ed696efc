//! Sealing and opening: the AEAD by tier and size, and whole entries as the proposer and apply handle them.

use std::hint::black_box;
use std::sync::Arc;

use criterion::BatchSize;
use criterion::Criterion;
use criterion::Throughput;

use sealkv::crypto::aead::Aead;
use sealkv::crypto::aead::KEY_LEN;
use sealkv::crypto::aead::Message;
use sealkv::crypto::aead::NONCE_LEN;
use sealkv::crypto::aead::TAG_LEN;
use sealkv::crypto::aead::Tier;
use sealkv::crypto::aead::Verdict;
use sealkv::crypto::keystore::Dek;
use sealkv::crypto::keystore::KeyStore;
use sealkv::crypto::keystore::Purpose;
use sealkv::crypto::keystore::TermSalt;
use sealkv::crypto::open::EntryKeys;
use sealkv::crypto::open::OpenArena;
use sealkv::crypto::open::OpenJob;
use sealkv::crypto::open::open_entries;
use sealkv::crypto::seal::seal_entries;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::KeyId;
use sealkv::ids::Position;
use sealkv::ids::ProposalId;
use sealkv::ids::Term;

const SIZES: [usize; 4] = [64, 256, 4096, 65536];
/// As long as an entry's: 31 bytes.
const AAD: [u8; 31] = [0x52; 31];

fn tiers() -> impl Iterator<Item = (Tier, Arc<dyn Aead>)> {
    Tier::ALL.into_iter().filter_map(|tier| Some((tier, tier.key(&[7; KEY_LEN])?)))
}

/// One message sealed in place.
pub fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crypto::seal");
    for (tier, key) in tiers() {
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let mut text = vec![0; size + TAG_LEN];
            group.bench_function(format!("tier={} size={size}", tier.name()), |bencher| {
                bencher.iter(|| {
                    key.seal_batch(&mut [Message {
                        nonce: [1; NONCE_LEN],
                        aad: &AAD,
                        text_inout: black_box(&mut text),
                    }])
                });
            });
        }
    }
    group.finish();
}

/// One message opened; each time from the same ciphertext, whose copy is part of the cost, as it is in apply.
pub fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crypto::open");
    for (tier, key) in tiers() {
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            let mut sealed = vec![0; size + TAG_LEN];
            key.seal_batch(&mut [Message { nonce: [1; NONCE_LEN], aad: &AAD, text_inout: &mut sealed }]);
            let mut text = sealed.clone();
            group.bench_function(format!("tier={} size={size}", tier.name()), |bencher| {
                bencher.iter(|| {
                    text.copy_from_slice(black_box(&sealed));
                    let mut verdicts = [Verdict::Unauthentic];
                    key.open_batch(
                        &mut [Message { nonce: [1; NONCE_LEN], aad: &AAD, text_inout: &mut text }],
                        &mut verdicts,
                    );
                    assert_eq!(verdicts, [Verdict::Authentic]);
                });
            });
        }
    }
    group.finish();
}

/// A batch of entries: sealed at their positions as by the proposer, opened as by apply.
pub fn entries(criterion: &mut Criterion) {
    let cluster = ClusterId([3; 16]);
    let key_id = KeyId::new(1).expect("not 0");
    let store = KeyStore::new(cluster);
    store.insert(key_id, Purpose::Entry, Dek::new(&[9; KEY_LEN])).expect("an empty store");
    let term_salt = TermSalt { term: Term(2), index: Index(5), salt: [8; 32] };
    let keys = store.snapshot();
    let key = keys.entry(key_id).expect("just inserted").leadership(&term_salt);
    let entry_keys = EntryKeys::new(Arc::clone(&keys), Some(term_salt));
    for (count, size) in [(1, 256), (64, 256), (64, 4096)] {
        let payload = vec![0x61; size];
        let items: Vec<(ProposalId, &[u8])> = (0..count).map(|id| (ProposalId(id), &payload[..])).collect();
        let first = Index(6);
        let label = format!("count={count} size={size}");
        let bytes = Throughput::Bytes(count * size as u64);

        let mut group = criterion.benchmark_group("propose::seal_batch");
        group.throughput(bytes.clone());
        group.bench_function(&label, |bencher| {
            bencher.iter(|| seal_entries(&key, [5; 7], first, black_box(&items)).expect("within the nonce's range"));
        });
        group.finish();

        let sealed = seal_entries(&key, [5; 7], first, &items).expect("within the nonce's range");
        let jobs: Vec<OpenJob<'_>> = sealed
            .iter()
            .zip(first.0..)
            .map(|(data, index)| OpenJob { position: Position { term: term_salt.term, index: Index(index) }, data })
            .collect();
        let mut group = criterion.benchmark_group("apply::open_run");
        group.throughput(bytes);
        group.bench_function(&label, |bencher| {
            bencher.iter_batched_ref(
                OpenArena::default,
                |arena| open_entries(&entry_keys, black_box(&jobs), arena),
                BatchSize::NumIterations(16),
            );
        });
        group.finish();
    }
}
