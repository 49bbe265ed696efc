//! Known answers that a tier must give before it is used: one of the GCM specification in every lane, and texts of all
//! kinds of length that must come out as the library makes them.

use std::sync::Arc;

use crate::crypto::aead::library::Library;
use crate::crypto::aead::library_tags::LibraryTags;
use crate::crypto::aead::message::Aead;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_KEYS_LEN;
use crate::crypto::aead::message::TAG_LEN;
use crate::crypto::aead::message::TagMessage;
use crate::crypto::aead::message::Tags;
use crate::crypto::aead::message::Verdict;

/// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew, Viega), appendix B.
const KEY: [u8; KEY_LEN] = [
    0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08, 0xfe, 0xff, 0xe9,
    0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
];
const NONCE: [u8; 12] = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];
const AAD: [u8; 20] = [
    0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda,
    0xd2,
];
const PLAIN: [u8; 60] = [
    0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a, 0x86, 0xa7, 0xa9,
    0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68,
    0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25, 0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba,
    0x63, 0x7b, 0x39,
];
const SEALED: [u8; 76] = [
    0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37, 0xa3, 0x2a, 0x84, 0x42, 0x7d, 0x64, 0x3a, 0x8c,
    0xdc, 0xbf, 0xe5, 0xc0, 0xc9, 0x75, 0x98, 0xa2, 0xbd, 0x25, 0x55, 0xd1, 0xaa, 0x8c, 0xb0, 0x8e, 0x48, 0x59, 0x0d,
    0xbb, 0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56, 0x82, 0x88, 0x38, 0xc5, 0xf6, 0x1e, 0x63, 0x93, 0xba, 0x7a, 0x0a, 0xbc,
    0xc9, 0xf6, 0x62, 0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68, 0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b,
];
/// Lengths of text, each with an AAD of as many bytes modulo 70: none, around blocks and vectors, around the longest
/// that goes side by side, and steps of the long kernel with every kind of rest.
const LENGTHS: [usize; 28] = [
    0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 256, 300, 511, 512, 513, 1000, 1023, 1024, 1025,
    1100, 1537, 2048, 5001,
];

/// Lengths of batches of messages that are alike: one for each kernel that takes them.
const ALIKE: [usize; 9] = [48, 64, 200, 384, 512, 650, 768, 896, 1000];

/// Whether a tier seals and opens as it must. Without a key there is no answer, which is wrong.
pub(super) fn answers_are_right(key: impl Fn(&[u8; KEY_LEN]) -> Option<Arc<dyn Aead>>) -> bool {
    let Some(aead) = key(&KEY) else { return false };
    specification_holds(aead.as_ref())
        && agrees_with_library(aead.as_ref(), &LENGTHS)
        && ALIKE.iter().all(|&len| agrees_with_library(aead.as_ref(), &[len; 20]))
}

/// Whether tags come out as the library makes them: every kind of length, in one batch.
pub(super) fn tags_are_right(tags: &dyn Tags, keys: &[u8; TAG_KEYS_LEN]) -> bool {
    let bytes: Vec<u8> = (0..LENGTHS[LENGTHS.len() - 1]).map(|i| (i * 11) as u8).collect();
    let parts: Vec<[&[u8]; 2]> = LENGTHS.iter().rev().map(|&len| [&bytes[..len / 3], &bytes[..len % 70]]).collect();
    let messages: Vec<TagMessage<'_>> = LENGTHS
        .iter()
        .zip(&parts)
        .map(|(&len, aad)| TagMessage { aad, plaintext: &bytes[..len], place: NONCE })
        .collect();
    let (mut expected, mut found) = ([[0; 16]; LENGTHS.len()], [[0; 16]; LENGTHS.len()]);
    LibraryTags::new(keys).tags(&messages, &mut expected);
    tags.tags(&messages, &mut found);
    found == expected
}

/// Keys to ask tags with.
pub(super) const TAG_KEYS: [u8; TAG_KEYS_LEN] = {
    let mut keys = [0; TAG_KEYS_LEN];
    let mut i = 0;
    while i < TAG_KEYS_LEN {
        keys[i] = (i as u8).wrapping_mul(37) ^ 0xa5;
        i += 1;
    }
    keys
};

/// The case of the specification, five times side by side and once beside one that was tampered with.
fn specification_holds(aead: &dyn Aead) -> bool {
    let mut texts = [[0; PLAIN.len() + TAG_LEN]; 5];
    for text in &mut texts {
        text[..PLAIN.len()].copy_from_slice(&PLAIN);
    }
    aead.seal_batch(&mut texts.each_mut().map(|text| message(text)));
    if texts != [SEALED; 5] {
        return false;
    }
    texts[2][7] ^= 1;
    let mut verdicts = [Verdict::Unauthentic; 5];
    aead.open_batch(&mut texts.each_mut().map(|text| message(text)), &mut verdicts);
    texts.iter().zip(verdicts).enumerate().all(|(i, (text, verdict))| match i {
        2 => verdict == Verdict::Unauthentic && text.iter().all(|&byte| byte == 0),
        _ => verdict == Verdict::Authentic && text[..PLAIN.len()] == PLAIN,
    })
}

fn message(text_inout: &mut [u8]) -> Message<'_> {
    Message { nonce: NONCE, aad: &AAD, text_inout }
}

/// Texts of these lengths, sealed in one batch and opened again.
fn agrees_with_library(aead: &dyn Aead, lengths: &[usize]) -> bool {
    let library = Library::new(&KEY);
    let aad: [u8; 70] = core::array::from_fn(|i| (i * 7) as u8);
    let plain: Vec<Vec<u8>> =
        lengths.iter().map(|&len| (0..len + TAG_LEN).map(|i| (i * 13 + len) as u8).collect()).collect();
    let mut expected = plain.clone();
    let mut found = plain.clone();
    library.seal_batch(&mut batch(&mut expected, &aad));
    aead.seal_batch(&mut batch(&mut found, &aad));
    if found != expected {
        return false;
    }
    let mut verdicts = vec![Verdict::Unauthentic; lengths.len()];
    aead.open_batch(&mut batch(&mut found, &aad), &mut verdicts);
    let opened = verdicts.iter().all(|&verdict| verdict == Verdict::Authentic);
    opened && plain.iter().zip(&found).zip(lengths).all(|((plain, found), &len)| plain[..len] == found[..len])
}

fn batch<'a>(texts: &'a mut [Vec<u8>], aad: &'a [u8]) -> Vec<Message<'a>> {
    let numbered = texts.iter_mut().enumerate();
    numbered
        .map(|(i, text)| {
            let aad = &aad[..(text.len() - TAG_LEN) % aad.len()];
            let mut nonce = NONCE;
            nonce[11] = i as u8;
            Message { nonce, aad, text_inout: text }
        })
        .collect()
}
