//! The AEAD by tier, size and batch; keys, nonces and the bytes of envelopes.

use std::hint::black_box;
use std::sync::Arc;

use sealkv::crypto::aead::Aead;
use sealkv::crypto::aead::KEY_LEN;
use sealkv::crypto::aead::Library;
use sealkv::crypto::aead::Message;
use sealkv::crypto::aead::NONCE_LEN;
use sealkv::crypto::aead::TAG_LEN;
use sealkv::crypto::aead::Tier;
use sealkv::crypto::aead::Verdict;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::envelope::Envelope;
use sealkv::crypto::keystore::Dek;
use sealkv::crypto::keystore::EntryDek;
use sealkv::crypto::keystore::TermSalt;
use sealkv::crypto::nonce::entry_nonce;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::KeyId;
use sealkv::ids::ProposalId;
use sealkv::testing::workload::OPENER;
use sealkv::testing::workload::Scale;
use sealkv::testing::workload::TERM;
use sealkv::testing::workload::Workload;

use crate::bench::Bench;
use crate::bench::Way;

const SIZES: [usize; 6] = [64, 256, 1024, 4096, 16384, 65536];
const BATCHES: [usize; 5] = [1, 4, 16, 64, 256];
const KEY: [u8; KEY_LEN] = [7; KEY_LEN];
/// As long as an entry's: 31 bytes.
const AAD: [u8; 31] = [0x52; 31];

pub fn all(scale: Scale) -> Vec<Bench> {
    let tiers: Vec<Tier> = Tier::ALL.into_iter().filter(|tier| tier.key(&KEY).is_some()).collect();
    let mut benches = Vec::new();
    for operation in ["seal", "open"] {
        for tier in &tiers {
            for size in scale.of(&SIZES) {
                for batch in scale.of(&BATCHES) {
                    let tier = *tier;
                    let name = format!("crypto::{operation}/tier={} size={size} count={batch}", tier.name());
                    let of = (batch, batch * size);
                    benches.push(match operation {
                        "seal" => Bench::new(name, of, 1, move || sealing(tier, size, batch)),
                        _ => Bench::new(name, of, batch as u64, move || opening(tier, size, batch)),
                    });
                }
            }
        }
    }
    for tier in tiers {
        let name = format!("crypto::key/tier={}", tier.name());
        benches.push(Bench::new(name, (1, 0), 1, move || {
            Way::again(move || u64::from(tier.key(black_box(&KEY)).is_some()))
        }));
    }
    benches.push(Bench::new("crypto::term_key/of=entry".to_owned(), (1, 0), 1, term_key));
    benches.push(Bench::new("crypto::nonce/of=entry".to_owned(), (1, 0), 1, || {
        Way::again(|| u64::from(entry_nonce(OPENER, black_box(Index(77)), [3; 7]).is_ok()))
    }));
    benches.extend(scale.of(&SIZES).into_iter().flat_map(envelopes));
    benches
}

/// What the first sealed entry of each term costs beside the others: its key, derived and expanded.
fn term_key() -> Way {
    let key_id = KeyId::new(1).expect("not 0");
    let dek = EntryDek::new(ClusterId([1; 16]), key_id, Dek::new(&KEY));
    let mut term_salt = TermSalt { term: TERM, index: OPENER, salt: [5; 32] };
    Way::again(move || {
        term_salt.term.0 += 1;
        u64::from(dek.leadership(black_box(&term_salt)).term_salt().term == term_salt.term)
    })
}

/// Texts with space for their tags, and the same texts sealed by the library.
struct Texts {
    plain: Vec<Vec<u8>>,
    sealed: Vec<Vec<u8>>,
}

fn nonce(number: usize) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&(number as u64).to_be_bytes());
    nonce
}

fn messages(texts: &mut [Vec<u8>]) -> Vec<Message<'_>> {
    let message = |(number, text)| Message { nonce: nonce(number), aad: &AAD, text_inout: text };
    texts.iter_mut().map(|text| &mut text[..]).enumerate().map(message).collect()
}

fn texts(size: usize, batch: usize) -> Texts {
    let workload = Workload::new(1);
    let with_tag = |_| [&workload.value(size)[..], &[0; TAG_LEN]].concat();
    let plain: Vec<Vec<u8>> = (0..batch).map(with_tag).collect();
    let mut sealed = plain.clone();
    Library::new(&KEY).seal_batch(&mut messages(&mut sealed));
    Texts { plain, sealed }
}

fn key(tier: Tier) -> Arc<dyn Aead> {
    tier.key(&KEY).expect("this CPU has the tier")
}

/// The copy of the text is part of the cost, as it is for an entry.
fn sealing(tier: Tier, size: usize, batch: usize) -> Way {
    let (key, Texts { plain, sealed }) = (key(tier), texts(size, batch));
    let mut out = plain.clone();
    Way::again(move || {
        out.iter_mut().zip(black_box(&plain)).for_each(|(out, text)| out.copy_from_slice(text));
        key.seal_batch(&mut messages(&mut out));
        // The last tag tells: all of it was compared where the tiers are tested.
        u64::from(out[batch - 1][size..] == sealed[batch - 1][size..])
    })
}

fn opening(tier: Tier, size: usize, batch: usize) -> Way {
    let (key, Texts { plain, sealed }) = (key(tier), texts(size, batch));
    let mut out = plain;
    let mut verdicts = vec![Verdict::Unauthentic; batch];
    Way::again(move || {
        out.iter_mut().zip(black_box(&sealed)).for_each(|(out, text)| out.copy_from_slice(text));
        key.open_batch(&mut messages(&mut out), &mut verdicts);
        verdicts.iter().filter(|verdict| **verdict == Verdict::Authentic).count() as u64
    })
}

/// Entry frame and envelope: drawn, and read back.
fn envelopes(size: usize) -> [Bench; 2] {
    let of = (1, size);
    [
        Bench::new(format!("crypto::frame_encode/size={size}"), of, size as u64 + 9, move || {
            let payload = Workload::new(1).value(size);
            Way::again(move || {
                let frame = EntryFrame { proposal_id: ProposalId(5), payload: black_box(&payload) };
                frame.encode().len() as u64
            })
        }),
        Bench::new(format!("crypto::envelope_decode/size={size}"), of, 1, move || {
            let entry = Workload::new(1).twins(1, size).sealed.remove(0);
            Way::again(move || {
                let frame = EntryFrame::decode(black_box(&entry.data)).expect("sealed by the workload");
                u64::from(Envelope::parse(frame.payload).is_ok())
            })
        }),
    ]
}
