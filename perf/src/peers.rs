//! The implementations: sealkv's tiers, and other libraries behind the same two calls.

use std::rc::Rc;
use std::sync::Arc;

use aes_gcm::AeadInOut;
use aes_gcm::KeyInit;
use aes_gcm::aead::inout::InOutBuf;
use sealkv::crypto::aead::Aead;
use sealkv::crypto::aead::Kernels;
use sealkv::crypto::aead::Message;
use sealkv::crypto::aead::Tier;
use sealkv::crypto::aead::Verdict;

use crate::arena::AAD_LEN;
use crate::arena::LONG_AAD_LEN;
use crate::arena::TAG_LEN;
use crate::ipsec::Ipsec;

/// The key of all.
pub const KEY: [u8; 32] = [0x42; 32];

/// Seals and opens messages in place.
pub trait Peer {
    /// Name and version.
    fn name(&self) -> String;
    /// The tier of sealkv; of others, how they were built.
    fn tier(&self) -> &'static str {
        "default"
    }
    /// Messages of one call.
    fn batch(&self) -> usize {
        1
    }
    /// Bytes of AAD it is measured with.
    fn aad_len(&self) -> usize {
        AAD_LEN
    }
    /// Seals every message.
    fn seal(&mut self, messages: &mut [Message<'_>]);
    /// Opens every message; whether all were authentic.
    fn open(&mut self, messages: &mut [Message<'_>]) -> bool;
}

/// All that can run here with texts of `size`, and those of others that cannot. A tier that this CPU does not have is none of them.
pub fn all(size: usize) -> (Vec<Box<dyn Peer>>, Vec<&'static str>) {
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    let mut missing = Vec::new();
    for tier in Tier::ALL {
        let mut add = |kernels, batch, aad_len| {
            let Some(aead) = tier.key_with(kernels, &KEY) else { return false };
            peers.push(Box::new(Sealkv { aead, kernels, batch, aad_len, verdicts: vec![Verdict::Unauthentic; batch] }));
            true
        };
        if add(Kernels::All, 64, AAD_LEN) && tier != Tier::Library {
            add(Kernels::All, 64, LONG_AAD_LEN);
            add(Kernels::All, 4, AAD_LEN);
            add(Kernels::All, 1, AAD_LEN);
            for kernels in fewer(tier, size) {
                add(kernels, 64, AAD_LEN);
            }
        }
    }
    peers.push(Box::new(aws()));
    peers.push(Box::new(ring()));
    peers.push(Box::new(AesGcm(aes_gcm::Aes256Gcm::new(&KEY.into()))));
    peers.push(Box::new(Graviola(graviola::aead::AesGcm::new(&KEY))));
    match Ipsec::load() {
        None => missing.push("intel-ipsec-mb: apt-get install libipsec-mb1"),
        Some(ipsec) => {
            let ipsec = Rc::new(ipsec);
            match Ipsec::batched(&ipsec) {
                None => missing.push("the QUIC batch call of intel-ipsec-mb: version 1.3 has it"),
                Some(batched) => peers.push(Box::new(batched)),
            }
            peers.push(Box::new(Ipsec::single(&ipsec)));
        }
    }
    (peers, missing)
}

/// Longest text that is taken beside others: longer ones have one kernel, or `segments`, which one tier has.
const BESIDE_OTHERS_MAX: usize = 1024;

/// Which fewer kernels of a tier are not the same ones as more of them, for texts of `size`.
fn fewer(tier: Tier, size: usize) -> impl Iterator<Item = Kernels> {
    let has_own = tier == Tier::Vaes512;
    let is_short = size <= BESIDE_OTHERS_MAX;
    let all = [(Kernels::Shared, has_own), (Kernels::Unlike, is_short), (Kernels::One, is_short)];
    all.into_iter().filter_map(|(kernels, differs)| differs.then_some(kernels))
}

/// Text and tag of a message.
fn split<'a>(message: &'a mut Message<'_>) -> (&'a mut [u8], &'a mut [u8; TAG_LEN]) {
    message.text_inout.split_last_chunk_mut().expect("space for the tag")
}

struct Sealkv {
    aead: Arc<dyn Aead>,
    kernels: Kernels,
    batch: usize,
    aad_len: usize,
    verdicts: Vec<Verdict>,
}

impl Peer for Sealkv {
    fn name(&self) -> String {
        match self.kernels {
            Kernels::All => "sealkv",
            Kernels::Shared => "sealkv kernels=shared",
            Kernels::Unlike => "sealkv kernels=unlike",
            Kernels::One => "sealkv kernels=one",
        }
        .to_owned()
    }

    fn tier(&self) -> &'static str {
        self.aead.tier()
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn aad_len(&self) -> usize {
        self.aad_len
    }

    fn seal(&mut self, messages: &mut [Message<'_>]) {
        for batch in messages.chunks_mut(self.batch) {
            self.aead.seal_batch(batch);
        }
    }

    fn open(&mut self, messages: &mut [Message<'_>]) -> bool {
        let mut all = true;
        for batch in messages.chunks_mut(self.batch) {
            let verdicts = &mut self.verdicts[..batch.len()];
            self.aead.open_batch(batch, verdicts);
            all &= verdicts.iter().all(|&verdict| verdict == Verdict::Authentic);
        }
        all
    }
}

/// `ring` and `aws-lc-rs` have the same interface.
macro_rules! ring_like {
    ($module:ident, $type:ident, $make:ident, $name:literal) => {
        struct $type($module::aead::LessSafeKey);

        fn $make() -> $type {
            let key = $module::aead::UnboundKey::new(&$module::aead::AES_256_GCM, &KEY).expect("32 bytes");
            $type($module::aead::LessSafeKey::new(key))
        }

        impl Peer for $type {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn seal(&mut self, messages: &mut [Message<'_>]) {
                for message in messages {
                    let nonce = $module::aead::Nonce::assume_unique_for_key(message.nonce);
                    let aad = $module::aead::Aad::from(message.aad);
                    let (text, space) = split(message);
                    let tag = self.0.seal_in_place_separate_tag(nonce, aad, text).expect("short enough");
                    space.copy_from_slice(tag.as_ref());
                }
            }

            fn open(&mut self, messages: &mut [Message<'_>]) -> bool {
                let mut all = true;
                for message in messages {
                    let nonce = $module::aead::Nonce::assume_unique_for_key(message.nonce);
                    let aad = $module::aead::Aad::from(message.aad);
                    all &= self.0.open_in_place(nonce, aad, message.text_inout).is_ok();
                }
                all
            }
        }
    };
}
ring_like!(ring, Ring, ring, "ring 0.17");
ring_like!(aws_lc_rs, AwsLc, aws, "aws-lc-rs 1.19");

struct AesGcm(aes_gcm::Aes256Gcm);

impl Peer for AesGcm {
    fn name(&self) -> String {
        "aes-gcm 0.11".to_owned()
    }

    fn seal(&mut self, messages: &mut [Message<'_>]) {
        for message in messages {
            let (nonce, aad) = (message.nonce.into(), message.aad);
            let (text, space) = split(message);
            let tag = self.0.encrypt_inout_detached(&nonce, aad, InOutBuf::from(text)).expect("short enough");
            space.copy_from_slice(&tag);
        }
    }

    fn open(&mut self, messages: &mut [Message<'_>]) -> bool {
        let mut all = true;
        for message in messages {
            let (nonce, aad) = (message.nonce.into(), message.aad);
            let (text, tag) = split(message);
            let tag = (*tag).into();
            all &= self.0.decrypt_inout_detached(&nonce, aad, InOutBuf::from(text), &tag).is_ok();
        }
        all
    }
}

struct Graviola(graviola::aead::AesGcm);

impl Peer for Graviola {
    fn name(&self) -> String {
        "graviola 0.4".to_owned()
    }

    fn seal(&mut self, messages: &mut [Message<'_>]) {
        for message in messages {
            let (nonce, aad) = (message.nonce, message.aad);
            let (text, tag) = split(message);
            self.0.encrypt(&nonce, aad, text, tag);
        }
    }

    fn open(&mut self, messages: &mut [Message<'_>]) -> bool {
        let mut all = true;
        for message in messages {
            let (nonce, aad) = (message.nonce, message.aad);
            let (text, tag) = split(message);
            all &= self.0.decrypt(&nonce, aad, text, tag).is_ok();
        }
        all
    }
}
