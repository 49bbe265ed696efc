//! Seal and open by tier and size, 64 messages together.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::bench::cell::Cell;
use crate::cli::bench::cell::Sample;
use crate::cli::bench::cell::for_a_while;
use crate::crypto::aead::Aead;
use crate::crypto::aead::KEY_LEN;
use crate::crypto::aead::Message;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::Tier;
use crate::crypto::aead::Verdict;

struct CryptoCell {
    tier: Tier,
    key: Arc<dyn Aead>,
    size: usize,
    is_sealing: bool,
    /// Sealed texts, from which opening copies.
    sealed: Vec<Vec<u8>>,
    texts: Vec<Vec<u8>>,
}

pub(super) fn cells() -> Vec<Box<dyn Cell>> {
    let mut cells: Vec<Box<dyn Cell>> = Vec::new();
    for tier in Tier::ALL {
        let Some(key) = tier.key(&[7; KEY_LEN]) else { continue };
        for size in SIZES {
            for is_sealing in [true, false] {
                let mut sealed = vec![vec![0x61; size + TAG_LEN]; TOGETHER];
                key.seal_batch(&mut messages(&mut sealed));
                let texts = sealed.clone();
                cells.push(Box::new(CryptoCell { tier, key: Arc::clone(&key), size, is_sealing, sealed, texts }));
            }
        }
    }
    cells
}

fn messages(texts: &mut [Vec<u8>]) -> Vec<Message<'_>> {
    let message = |(number, text)| Message { nonce: nonce(number), aad: &AAD, text_inout: text };
    texts.iter_mut().map(|text| &mut text[..]).enumerate().map(message).collect()
}

fn nonce(number: usize) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&(number as u64).to_be_bytes());
    nonce
}

impl Cell for CryptoCell {
    fn name(&self) -> String {
        let operation = if self.is_sealing { "seal" } else { "open" };
        format!("{operation} {} {} B", self.tier.name(), self.size)
    }

    fn measure(&mut self, time: Duration) -> Result<Sample, String> {
        for_a_while(time, || {
            self.texts.iter_mut().zip(&self.sealed).for_each(|(text, from)| text.copy_from_slice(from));
            if self.is_sealing {
                self.key.seal_batch(&mut messages(&mut self.texts));
                return Ok(TOGETHER as u64);
            }
            let mut verdicts = [Verdict::Unauthentic; TOGETHER];
            self.key.open_batch(&mut messages(&mut self.texts), &mut verdicts);
            let is_right = verdicts.iter().all(|verdict| *verdict == Verdict::Authentic);
            if is_right { Ok(TOGETHER as u64) } else { Err("a message did not open".to_owned()) }
        })
    }
}

const SIZES: [usize; 5] = [64, 256, 1024, 4096, 65536];
const TOGETHER: usize = 64;
/// As long as an entry's.
const AAD: [u8; 31] = [0x52; 31];
