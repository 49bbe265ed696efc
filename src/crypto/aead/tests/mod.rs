//! Every tier that this machine can run against the library, which shares no code with the lanes.

mod differential;
mod fuzz;
mod pages;
mod published;
#[cfg(target_arch = "x86_64")]
mod residue;
mod second;
#[cfg(target_arch = "x86_64")]
mod secret;
mod setting;
mod tags;

use std::sync::Arc;

use crate::crypto::aead::Aead;
use crate::crypto::aead::KEY_LEN;
use crate::crypto::aead::Kernels;
use crate::crypto::aead::Library;
use crate::crypto::aead::Message;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::Tier;
use crate::crypto::aead::Verdict;
use crate::testing::seed::Seeded;

/// The seed of these tests unless `SEALKV_SEED` says otherwise.
const SEED: u64 = 20_261_123;

/// A message that owns its bytes; `text` ends with the space for the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    nonce: [u8; 12],
    aad: Vec<u8>,
    text: Vec<u8>,
}

impl Owned {
    fn random(random: &Seeded, text_len: usize, aad_len: usize) -> Self {
        let nonce = random.array();
        let aad = random.bytes(aad_len);
        Self { nonce, aad, text: random.bytes(text_len + TAG_LEN) }
    }

    fn plain(&self) -> &[u8] {
        &self.text[..self.text.len() - TAG_LEN]
    }
}

/// The tiers that this machine can run, but the library, with `key` expanded.
fn lanes(key: &[u8; KEY_LEN]) -> Vec<Arc<dyn Aead>> {
    Tier::ALL.into_iter().filter(|&tier| tier != Tier::Library).filter_map(|tier| tier.key(key)).collect()
}

fn borrow(messages: &mut [Owned]) -> Vec<Message<'_>> {
    messages
        .iter_mut()
        .map(|message| Message { nonce: message.nonce, aad: &message.aad, text_inout: &mut message.text })
        .collect()
}

fn seal(aead: &dyn Aead, messages: &mut [Owned]) {
    aead.seal_batch(&mut borrow(messages));
}

fn open(aead: &dyn Aead, messages: &mut [Owned]) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Unauthentic; messages.len()];
    aead.open_batch(&mut borrow(messages), &mut verdicts);
    verdicts
}

/// Seals with the tier and with the library, opens each other's, and wants the same bytes.
fn assert_same_both_ways(aead: &dyn Aead, library: &Library, plain: &[Owned], what: &str) {
    let mut expected = plain.to_vec();
    seal(library, &mut expected);
    let mut found = plain.to_vec();
    seal(aead, &mut found);
    for (i, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let len = expected.plain().len();
        assert!(expected == found, "{what}: {} seals message {i} of {len} bytes otherwise", aead.tier());
    }
    let verdicts = open(aead, &mut expected);
    let verdicts_of_library = open(library, &mut found);
    assert_eq!(verdicts, verdicts_of_library, "{what}: {}", aead.tier());
    for (i, (plain, opened)) in plain.iter().zip(&expected).enumerate() {
        assert_eq!(verdicts[i], Verdict::Authentic, "{what}: {} message {i}", aead.tier());
        let len = plain.plain().len();
        assert!(plain.plain() == opened.plain(), "{what}: {} opens message {i} of {len} bytes otherwise", aead.tier());
    }
}
