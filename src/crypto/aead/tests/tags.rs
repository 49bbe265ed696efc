//! Goal: tags in lanes are RFC 8452's. Method: a vector of the RFC with its keys derived as it says, and the `polyval`
//! and `aes` crates over random strings in random parts.

use aes::Aes256Enc;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::KeyInit;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::*;
use crate::crypto::aead::TAG_KEYS_LEN;
use crate::crypto::aead::TagMessage;
use crate::crypto::siv::TagKey;

/// Padded to whole blocks.
fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(16), 0);
    padded
}

/// The tag by the crates.
fn by_library(keys: &[u8; TAG_KEYS_LEN], aad: &[u8], plaintext: &[u8], place: [u8; 12]) -> [u8; 16] {
    let mut input = [padded(aad), padded(plaintext)].concat();
    input.extend((aad.len() as u64 * 8).to_le_bytes());
    input.extend((plaintext.len() as u64 * 8).to_le_bytes());
    let authentication: [u8; 16] = keys[..16].try_into().expect("16 bytes");
    let mut polyval = Polyval::new(&authentication.into());
    polyval.update_padded(&input);
    let mut block = polyval.finalize();
    for (byte, place) in block.iter_mut().zip(place) {
        *byte ^= place;
    }
    block[15] &= 0x7f;
    let encryption: [u8; 32] = keys[16..].try_into().expect("32 bytes");
    let mut block: [u8; 16] = block.into();
    let cipher = Aes256Enc::new(&encryption.into());
    cipher.encrypt_block((&mut block).into());
    block
}

/// RFC 8452 appendix C.2, AES-256: the last case with an AAD of two bytes and a plaintext of three.
#[test]
fn a_vector_of_the_rfc_comes_out() {
    let bytes = |text: &str| hex::decode(text).expect("hex");
    let key: [u8; 32] = {
        let mut key = [0; 32];
        key[0] = 1;
        key
    };
    let nonce: [u8; 12] = bytes("030000000000000000000000").try_into().expect("12 bytes");
    let cipher = Aes256Enc::new(&key.into());
    let mut keys = Vec::new();
    for counter in 0..6u32 {
        let mut block = [0; 16];
        block[..4].copy_from_slice(&counter.to_le_bytes());
        block[4..].copy_from_slice(&nonce);
        cipher.encrypt_block((&mut block).into());
        keys.extend_from_slice(&block[..8]);
    }
    let keys: [u8; TAG_KEYS_LEN] = keys.try_into().expect("48 bytes");
    for (aad, plaintext, tag) in [
        ("", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
        ("", "0100000000000000", "843122130f7364b761e0b97427e3df28"),
        ("01", "0200000000000000", "91213f267e3b452f02d01ae33e4ec854"),
    ] {
        let (aad, plaintext) = (bytes(aad), bytes(plaintext));
        let expected: [u8; 16] = bytes(&tag[..32]).try_into().expect("16 bytes");
        assert_eq!(by_library(&keys, &aad, &plaintext, nonce), expected, "the library");
        for tier in Tier::ALL {
            let Some(lanes) = tier.tag_key(&keys) else { continue };
            let mut tags = [[0; 16]; 5];
            lanes.tags(&[TagMessage { aad: &[&aad], plaintext: &plaintext, place: nonce }; 5], &mut tags);
            assert_eq!(tags, [expected; 5], "{tier}");
        }
    }
}

#[test]
fn tags_are_as_the_library_makes_them() {
    let random = Seeded::replayable(SEED);
    for round in 0..60 {
        let keys = random.array();
        let count = random.index(40);
        let longest = [40, 300, 1100, 5000][round % 4];
        let texts: Vec<(Vec<u8>, Vec<u8>)> = (0..count)
            .map(|_| {
                let (aad_len, len) = (random.index(longest.min(700)), random.index(longest));
                (random.bytes(aad_len), random.bytes(len))
            })
            .collect();
        let parts: Vec<[&[u8]; 3]> = texts
            .iter()
            .map(|(aad, _)| {
                let first = random.index(aad.len() + 1);
                let second = first + random.index(aad.len() - first + 1);
                [&aad[..first], &aad[first..second], &aad[second..]]
            })
            .collect();
        let messages: Vec<TagMessage<'_>> = parts
            .iter()
            .zip(&texts)
            .map(|(parts, (_, text))| TagMessage { aad: parts, plaintext: text, place: random.array() })
            .collect();
        let expected: Vec<[u8; 16]> = messages
            .iter()
            .zip(&texts)
            .map(|(message, (aad, text))| by_library(&keys, aad, text, message.place))
            .collect();
        for tier in Tier::ALL {
            let Some(lanes) = tier.tag_key(&keys) else { continue };
            let mut tags = vec![[0; 16]; count];
            lanes.tags(&messages, &mut tags);
            assert_eq!(tags, expected, "{tier} round {round}");
        }
        assert_eq!(TagKey::from_bytes(&keys).tags(&messages), expected, "what value nonces use, round {round}");
    }
}

/// What names are: no AAD, place zero; every length up to more than the powers reach, at every place of a batch.
#[test]
fn tags_without_aad_are_as_the_library_makes_them_at_every_length() {
    let random = Seeded::replayable(SEED);
    let keys = random.array();
    let bytes = random.bytes(1100);
    let lengths: Vec<usize> = (0..=1100).collect();
    for first in 0..4 {
        let messages: Vec<TagMessage<'_>> = lengths[first..]
            .iter()
            .map(|&len| TagMessage { aad: &[], plaintext: &bytes[..len], place: [0; 12] })
            .collect();
        let expected: Vec<[u8; 16]> =
            lengths[first..].iter().map(|&len| by_library(&keys, b"", &bytes[..len], [0; 12])).collect();
        for tier in Tier::ALL {
            let Some(lanes) = tier.tag_key(&keys) else { continue };
            let mut tags = vec![[0; 16]; messages.len()];
            lanes.tags(&messages, &mut tags);
            assert_eq!(tags, expected, "{tier} from {first}");
        }
    }
}
