//! Proposals: commands encoded in place, then sealed at the positions that their batch gets, or left as they are.

use sealkv::fsm::codec::encode_batch;
use sealkv::ids::Position;
use sealkv::ids::ProposalId;
use sealkv::propose::seal::LeaderSealer;
use sealkv::propose::seal::Proposal;
use sealkv::propose::seal::seal_batch;
use sealkv::testing::workload::LogKeys;
use sealkv::testing::workload::OPENER;
use sealkv::testing::workload::Scale;
use sealkv::testing::workload::TERM;
use sealkv::testing::workload::Workload;
use sealkv::world::KernelEntropy;

use crate::bench::Bench;
use crate::bench::Way;

pub const SIZES: [usize; 4] = [64, 256, 4096, 65536];
pub const COUNTS: [usize; 4] = [1, 16, 64, 256];

/// `proposal frame header`, then the payload: what the encoder leaves in front.
const HEADER: usize = 9;
/// What a sealed entry has more than a clear one.
const ENVELOPE: usize = 34;

pub fn all(scale: Scale) -> Vec<Bench> {
    let mut benches = Vec::new();
    for size in scale.of(&SIZES) {
        for count in scale.of(&COUNTS) {
            let name = format!("propose::encode/size={size} count={count}");
            benches.push(Bench::new(name, (count, count * size), count as u64, move || encoding(count, size)));
            for cipher in ["nil", "sealed"] {
                benches.push(sealing(cipher, count, size));
            }
        }
    }
    benches
}

/// The same commands become entries of one SET each.
fn encoding(count: usize, size: usize) -> Way {
    let sets = Workload::new(1).sets(0, count, size);
    Way::again(move || {
        let mut made = 0;
        for (id, set) in (0..).zip(&sets) {
            let mut data = vec![0; HEADER];
            if encode_batch(1, std::slice::from_ref(set), &mut data).is_ok() {
                made += u64::from(Proposal::in_place(ProposalId(id), data).id() == ProposalId(id));
            }
        }
        made
    })
}

pub fn sealing(cipher: &'static str, count: usize, size: usize) -> Bench {
    let name = format!("propose::seal/cipher={cipher} size={size} count={count}");
    let out = count * (size + HEADER + if cipher == "sealed" { ENVELOPE } else { 0 });
    let bench = Bench::new(name, (count, count * size), out as u64, move || {
        let workload = Workload::new(1);
        let proposals: Vec<Proposal> =
            (0..count).map(|id| Proposal::new(ProposalId(id as u64), &workload.value(size))).collect();
        let key = LogKeys::new().leadership();
        let first = Position { term: TERM, index: OPENER.next() };
        Way::once(move || {
            let (batch, key) = (proposals.clone(), key.clone());
            move || {
                let sealer = LeaderSealer::new(&key, &KernelEntropy);
                let sealer = (cipher == "sealed").then_some(&sealer as _);
                let sealed = seal_batch(sealer, first, batch).expect("behind its opener");
                sealed.iter().map(|data| data.len() as u64).sum()
            }
        })
    });
    bench.with_bytes_out(out)
}
